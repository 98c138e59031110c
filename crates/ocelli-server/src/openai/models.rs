//! `GET /v1/models`: what can be asked for.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::app::App;
use crate::failure::Failure;
use crate::percent::unescape;
use crate::report::{self, ModelFacts};

fn describe(app: &App, facts: &ModelFacts) -> Value {
    let loaded = app.models.loaded();
    let loaded = loaded.iter().find(|(name, _)| *name == facts.name);
    let context = match loaded {
        Some((_, loaded)) => Some(loaded.service.context() as u64),
        None => facts.context_length,
    };
    let can_see = match loaded {
        Some((_, loaded)) => loaded.service.can_see(),
        None => facts.can_see,
    };
    let modalities = match can_see {
        true => json!(["text", "image"]),
        false => json!(["text"]),
    };
    json!({
        "id": facts.name,
        "object": "model",
        "created": app.started,
        "owned_by": "ocelli",
        // What clients of Anthropic's API read of the same list.
        "type": "model",
        "display_name": facts.name,
        "created_at": report::rfc3339(app.started),
        "max_model_len": context,
        "architecture": {"input_modalities": modalities, "output_modalities": ["text"]},
        "loaded": loaded.is_some(),
        "meta": {
            "size": facts.bytes,
            "n_params": facts.parameters,
            "n_ctx_train": facts.context_length,
        },
    })
}

/// All models.
pub(crate) fn list(app: &App) -> Response {
    let models: Vec<Value> = app.facts.iter().map(|facts| describe(app, facts)).collect();
    let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    let (first, last) = (id(models.first()), id(models.last()));
    Json(json!({
        "object": "list",
        "data": models,
        "first_id": first,
        "last_id": last,
        "has_more": false,
    }))
    .into_response()
}

/// One model.
pub(crate) fn show(app: &App, name: &str) -> Result<Response, Failure> {
    // Names with a slash come escaped.
    let name = &unescape(name).unwrap_or_else(|| name.to_owned());
    // The error names the models there are.
    app.models.state(name)?;
    let facts = app
        .facts(name)
        .ok_or_else(|| Failure::internal("the model is not described"))?;
    Ok(Json(describe(app, facts)).into_response())
}
