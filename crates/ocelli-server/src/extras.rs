//! What llama-server's clients ask beside answers: properties, tokens, and what the template makes of a chat.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use ocelli::service::{RenderedWith, Service};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::http::body;
use crate::openai;

/// Tokens that can be turned to text by one request.
const TOKENS: usize = 1 << 20;

/// `GET /props`: the first model and how it is run.
pub(crate) fn props(app: &App) -> Result<Response, Failure> {
    let name = app.first_model();
    let service = app.models.ready(name)?;
    let facts = app.facts(name);
    let can_see = match &service {
        Some(service) => service.can_see(),
        None => facts.is_some_and(|facts| facts.can_see),
    };
    let context = service.as_ref().map(|service| service.context());
    let sampling = service.as_ref().map(|service| {
        let sampling = service.default_sampling();
        json!({
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repeat_penalty,
        })
    });
    Ok(Json(json!({
        "model_alias": name,
        "default_generation_settings": {"n_ctx": context, "params": sampling},
        "total_slots": service.as_ref().map(|service| service.sequences()),
        "chat_template": service.as_ref().map(|service| service.template()),
        "modalities": {"vision": can_see, "audio": false},
        "picture_tokens": service.as_ref().and_then(|service| service.picture_tokens()),
        "build_info": concat!("ocelli-", env!("CARGO_PKG_VERSION")),
    }))
    .into_response())
}

/// Runs something with the model that a request names, away from the threads that serve others.
async fn with_model(
    app: &Arc<App>,
    request: Request<Body>,
    work: impl FnOnce(&Service, &Map<String, Value>) -> Result<Value, Failure> + Send + 'static,
) -> Result<Response, Failure> {
    let (object, _) = body::parse(app, request, |object| Ok(object.clone())).await?;
    let name = Fields::new(&object).string("model")?.map(str::to_owned);
    let name = name.unwrap_or_else(|| app.first_model().to_owned());
    let service = app.service(&name).await?;
    let worked = tokio::task::spawn_blocking(move || work(&service, &object)).await;
    let value = worked.map_err(|_| Failure::internal("internal error"))??;
    Ok(Json(value).into_response())
}

/// `POST /tokenize`: tokens of a text, in which control tokens are plain text.
pub(crate) async fn tokenize(app: Arc<App>, request: Request<Body>) -> Result<Response, Failure> {
    let work = |service: &Service, object: &Map<String, Value>| {
        let fields = Fields::new(object);
        // Only the text itself is cut: nothing is put before it, and control tokens in it are plain text.
        fields.refuse(&["add_special", "add_special_tokens", "parse_special"])?;
        let text = fields.string("content")?.or(fields.string("prompt")?);
        let text = text.ok_or_else(|| Failure::field("content", "missing, need a string"))?;
        let tokens = service.tokenize(text)?;
        let max = service.context();
        Ok(match fields.bool("with_pieces")?.unwrap_or(false) {
            true => {
                let piece =
                    |token: &u32| json!({"id": token, "piece": service.detokenize(&[*token])});
                json!({"tokens": tokens.iter().map(piece).collect::<Vec<_>>()})
            }
            false => json!({"tokens": tokens, "count": tokens.len(), "max_model_len": max}),
        })
    };
    with_model(&app, request, work).await
}

/// `POST /detokenize`: the text of tokens.
pub(crate) async fn detokenize(app: Arc<App>, request: Request<Body>) -> Result<Response, Failure> {
    let work = |service: &Service, object: &Map<String, Value>| {
        let fields = Fields::new(object);
        let list = fields.list("tokens")?;
        let list = list.ok_or_else(|| Failure::field("tokens", "missing, need a list"))?;
        let wrong = || {
            let most = service.vocabulary();
            fields.wrong(
                "tokens",
                format_args!("must be at most {TOKENS} integers below {most}"),
            )
        };
        if list.len() > TOKENS {
            return Err(wrong());
        }
        let token = |value: &Value| {
            let token = value.as_u64().filter(|t| *t < service.vocabulary() as u64);
            token.map(|token| token as u32).ok_or_else(wrong)
        };
        let tokens: Vec<u32> = list.iter().map(token).collect::<Result<_, _>>()?;
        let text = service.detokenize(&tokens);
        Ok(json!({"content": text, "prompt": text}))
    };
    with_model(&app, request, work).await
}

/// `POST /apply-template`: what the template makes of a chat. Pictures are only places in it.
pub(crate) async fn apply_template(
    app: Arc<App>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let work = |service: &Service, object: &Map<String, Value>| {
        let (messages, tools) = openai::conversation(&Fields::new(object))?;
        let with = RenderedWith {
            tools,
            arguments: Map::new(),
        };
        Ok(json!({"prompt": service.render(&messages, &with)?}))
    };
    with_model(&app, request, work).await
}
