//! Errors in Ollama's shape.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::failure::Failure;

/// An answer that is an error.
pub(crate) fn render(failure: &Failure) -> Response {
    (failure.status, Json(json!({"error": failure.message}))).into_response()
}
