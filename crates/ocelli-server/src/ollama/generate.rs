//! `POST /api/generate`: a prompt, with or without the chat template.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use ocelli::service::{Ask, AskedFor};
use ocelli::{Message, Part, PictureBudget, Role};
use serde_json::{Map, Value};

use super::chat::{Wanted, answer, load, read_images, with_images};
use super::lines::Form;
use super::options;
use crate::app::App;
use crate::failure::Failure;
use crate::fields::{Fields, Kind};
use crate::guard::Caller;
use crate::http::body;

/// Answers a prompt.
pub(crate) async fn generate(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let (wanted, share) = body::parse(&app, request, move |object| read(&reader, object)).await?;
    match wanted {
        Wanted::Load { model, keep } => load(&app, &model, keep, Form::Generate).await,
        Wanted::Answer(common) => answer(&app, caller, (*common, share), Form::Generate).await,
    }
}

fn read(app: &App, object: &Map<String, Value>) -> Result<Wanted, Failure> {
    let fields = Fields::new(object);
    let prompt = fields.string("prompt")?.unwrap_or_default();
    let images = read_images(&fields)?;
    let count = images.len();
    let is_raw = fields.bool("raw")?.unwrap_or(false);
    if fields
        .get("template")
        .is_some_and(|template| template != "")
    {
        return Err(fields.wrong("template", "cannot be set by a request"));
    }
    if fields.get("suffix").is_some_and(|suffix| suffix != "") {
        return Err(fields.wrong("suffix", "is not supported"));
    }
    if fields.list("context")?.is_some_and(|list| !list.is_empty()) {
        let what = "is not supported: send the conversation to /api/chat";
        return Err(fields.wrong("context", what));
    }
    let system = fields.string("system")?.filter(|text| !text.is_empty());
    if is_raw && system.is_some() {
        return Err(fields.wrong("raw", "must be false with system: the template places it"));
    }
    if is_raw && count > 0 {
        return Err(fields.wrong("raw", "must be false with images: the template places them"));
    }
    let mut ask = match is_raw {
        true => Ask::new(AskedFor::Text(prompt.to_owned())),
        false => {
            let system = system.map(|text| Message::text(Role::System, text));
            let is_empty = |parts: &[Part]| parts.is_empty();
            let parts = with_images(prompt, images);
            let user = (!is_empty(&parts)).then(|| Message::new(Role::User, parts));
            Ask::chat(system.into_iter().chain(user).collect())
        }
    };
    ask.budgets = vec![PictureBudget::default(); count];
    let mut common = options::read(app, &fields, ask)?;
    if prompt.is_empty() && count == 0 {
        let model = common.job.model.unwrap_or_default();
        let keep = common.keep;
        return Ok(Wanted::Load { model, keep });
    }
    fields.ignore(Kind::Flag, &["truncate", "shift"])?;
    let warnings = fields.warnings(app.settings.unknown_fields)?;
    common.job.warnings.extend(warnings);
    Ok(Wanted::Answer(Box::new(common)))
}
