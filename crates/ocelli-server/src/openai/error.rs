//! Errors in OpenAI's shape.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::failure::Failure;

/// The body of an error.
pub(super) fn body(failure: &Failure) -> Value {
    let kind = match failure.status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        500..=599 => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {
        "message": failure.message,
        "type": kind,
        "param": failure.param,
        "code": failure.code,
    }})
}

/// An answer that is an error.
pub(crate) fn render(failure: &Failure) -> Response {
    (failure.status, Json(body(failure))).into_response()
}
