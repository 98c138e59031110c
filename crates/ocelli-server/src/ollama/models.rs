//! What models there are, what they can do, and which are in memory.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::http::body;
use crate::report::{self, ModelFacts, rfc3339};

/// `GET /api/version`.
pub(crate) fn version() -> Response {
    Json(json!({"version": env!("CARGO_PKG_VERSION")})).into_response()
}

fn details(facts: &ModelFacts) -> Value {
    let millions = facts.parameters as f64 / 1e6;
    let size = match millions >= 1000.0 {
        true => format!("{:.1}B", millions / 1000.0),
        false => format!("{millions:.1}M"),
    };
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": facts.family,
        "families": [facts.family],
        "parameter_size": size,
        "quantization_level": facts.quantization,
    })
}

fn capabilities(facts: &ModelFacts) -> Vec<&'static str> {
    let mut capabilities = vec!["completion"];
    if facts.can_see {
        capabilities.push("vision");
    }
    if facts.takes_tools {
        capabilities.push("tools");
    }
    capabilities
}

/// Clients want a digest; a file's whole content would take long to read.
fn digest(facts: &ModelFacts) -> String {
    let mut hasher = Sha256::new();
    hasher.update(facts.name.as_bytes());
    hasher.update(facts.bytes.to_le_bytes());
    hasher.update(facts.modified.to_le_bytes());
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn describe(facts: &ModelFacts) -> Value {
    json!({
        "name": facts.name,
        "model": facts.name,
        "modified_at": rfc3339(facts.modified),
        "size": facts.bytes,
        "digest": digest(facts),
        "details": details(facts),
        "capabilities": capabilities(facts),
    })
}

/// `GET /api/tags`: every model that can be asked for.
pub(crate) fn list(app: &App) -> Response {
    let models: Vec<Value> = app.facts.iter().map(describe).collect();
    Json(json!({"models": models})).into_response()
}

/// `GET /api/ps`: the models in memory.
pub(crate) fn running(app: &App) -> Response {
    let loaded = app.models.loaded();
    let models = loaded.iter().filter_map(|(name, loaded)| {
        let mut model = describe(app.facts(name)?);
        let left = loaded
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        // A model that stays for ever ends in a hundred years.
        let left = left.map_or(100 * 365 * 86_400, |left| left.as_secs());
        model["size"] = json!(loaded.service.bytes());
        model["size_vram"] = json!(0);
        model["expires_at"] = json!(rfc3339(report::now() + left));
        model["context_length"] = json!(loaded.service.context());
        Some(model)
    });
    Json(json!({"models": models.collect::<Vec<_>>()})).into_response()
}

/// `POST /api/show`: one model.
pub(crate) async fn show(app: Arc<App>, request: Request<Body>) -> Result<Response, Failure> {
    let name = body::parse(&app, request, |object| {
        let fields = Fields::new(object);
        let name = fields.string("model")?.or(fields.string("name")?);
        name.map(str::to_owned)
            .ok_or_else(|| fields.wrong("model", "missing, need a name"))
    });
    let (name, _) = name.await?;
    app.models.state(&name)?;
    let facts = app
        .facts(&name)
        .ok_or_else(|| Failure::internal("the model is not described"))?;
    let loaded = app.models.ready(&name)?;
    let template = loaded
        .as_ref()
        .map_or(String::new(), |service| service.template().to_owned());
    let family = &facts.family;
    let mut info = json!({
        "general.architecture": family,
        "general.parameter_count": facts.parameters,
    });
    if let Some(length) = facts.context_length {
        info[format!("{family}.context_length")] = json!(length);
    }
    let mut shown = json!({
        "license": "",
        "modelfile": format!("FROM {}", facts.name),
        "parameters": "",
        "template": template,
        "details": details(facts),
        "model_info": info,
        "capabilities": capabilities(facts),
        "modified_at": rfc3339(facts.modified),
    });
    if let Some(projector) = &facts.projector_type {
        shown["projector_info"] = json!({"clip.projector_type": projector});
    }
    Ok(Json(shown).into_response())
}

/// Why there are no embeddings.
pub(crate) const NO_EMBEDDINGS: &str =
    "this server makes no embeddings: its models answer chats and prompts";

/// Routes for embeddings, which models that answer do not make.
pub(crate) fn embed() -> Failure {
    Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_implemented",
        NO_EMBEDDINGS,
    )
}

/// Routes that would change which models there are.
pub(crate) fn manage() -> Failure {
    let message = "models are not managed over HTTP; use the ocelli command";
    Failure::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", message)
}
