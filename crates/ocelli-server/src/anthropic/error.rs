//! Errors in Anthropic's shape.

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
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": failure.message}})
}

/// An answer that is an error, with the request's id, which clients show.
pub(crate) fn render(failure: &Failure, request_id: &str) -> Response {
    let mut body = body(failure);
    body["request_id"] = json!(request_id);
    (failure.status, Json(body)).into_response()
}
