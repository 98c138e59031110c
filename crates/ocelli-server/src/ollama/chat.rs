//! `POST /api/chat`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use ocelli::service::{Ask, KeepAlive};
use ocelli::{Message, Part, PictureBudget, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::lines::{Form, Lines, finish, object, put_logprobs, think, tool_call};
use super::options::{self, Common};
use crate::app::App;
use crate::failure::Failure;
use crate::fields::{Fields, Kind};
use crate::flow::Flow;
use crate::guard::Caller;
use crate::http::body::{self, Share};
use crate::images::from_base64;
use crate::{report, stream, tools};

/// Most messages of a request.
const MESSAGES: usize = 4096;

/// Answers a chat.
pub(crate) async fn chat(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let (wanted, share) = body::parse(&app, request, move |object| read(&reader, object)).await?;
    match wanted {
        Wanted::Load { model, keep } => load(&app, &model, keep, Form::Chat).await,
        Wanted::Answer(common) => answer(&app, caller, (*common, share), Form::Chat).await,
    }
}

/// What a request wants.
pub(super) enum Wanted {
    Answer(Box<Common>),
    /// An empty request loads a model, or unloads it if it is to be kept for no time.
    Load {
        model: String,
        keep: Option<KeepAlive>,
    },
}

/// Answers in one piece or line by line.
pub(super) async fn answer(
    app: &Arc<App>,
    caller: Caller,
    (common, share): (Common, Share),
    form: Form,
) -> Result<Response, Failure> {
    let Common { job, keep, stream } = common;
    let flow = Flow::begin(app, caller, (job, share)).await?;
    if let Some(keep) = keep {
        app.models.keep(&flow.begun.model, keep)?;
    }
    if stream {
        let begun = flow.begun.clone();
        return Ok(stream::respond(flow, Lines { form, begun }));
    }
    let (begun, answers) = flow.finish().await?;
    let finished = answers
        .first()
        .ok_or_else(|| Failure::internal("no answer"))?;
    let mut whole = object(form, &begun.model, &finished.text);
    if !finished.reasoning.is_empty() {
        think(&mut whole, form, &finished.reasoning);
    }
    if !finished.tool_calls.is_empty() {
        whole["message"]["tool_calls"] = finished.tool_calls.iter().map(tool_call).collect();
    }
    put_logprobs(&mut whole, &finished.logprobs);
    finish(&mut whole, &begun, finished);
    if !begun.warnings.is_empty() {
        whole["warnings"] = json!(begun.warnings);
    }
    Ok(Json(whole).into_response())
}

/// Loads or unloads a model.
pub(super) async fn load(
    app: &Arc<App>,
    model: &str,
    keep: Option<KeepAlive>,
    form: Form,
) -> Result<Response, Failure> {
    app.models.state(model)?;
    let is_over = keep == Some(KeepAlive::For(std::time::Duration::ZERO));
    if is_over {
        app.models
            .keep(model, KeepAlive::For(std::time::Duration::ZERO))?;
        let models = app.models.clone();
        let unloaded = tokio::task::spawn_blocking(move || models.unload_idle()).await;
        unloaded.map_err(|_| Failure::internal("unloading failed"))?;
    } else {
        app.service(model).await?;
        if let Some(keep) = keep {
            app.models.keep(model, keep)?;
        }
    }
    let mut whole = object(form, model, "");
    whole["done"] = json!(true);
    whole["done_reason"] = json!(if is_over { "unload" } else { "load" });
    whole["created_at"] = json!(report::rfc3339(report::now()));
    Ok(Json(whole).into_response())
}

fn read(app: &App, object: &Map<String, Value>) -> Result<Wanted, Failure> {
    let fields = Fields::new(object);
    let list = fields
        .list("messages")?
        .map(Vec::as_slice)
        .unwrap_or_default();
    if list.len() > MESSAGES {
        return Err(fields.wrong(
            "messages",
            format_args!("must have at most {MESSAGES} messages"),
        ));
    }
    let mut messages = Vec::with_capacity(list.len());
    let mut images = 0;
    for (index, message) in list.iter().enumerate() {
        let message = read_message(message, &format!("messages[{index}]"))?;
        let is_image = |part: &&Part| matches!(part, Part::Image(_));
        images += message.parts.iter().filter(is_image).count();
        messages.push(message);
    }
    let is_begun = messages.last().is_some_and(|it| it.role == Role::Assistant);
    let mut ask = Ask::chat(messages);
    ask.budgets = vec![PictureBudget::default(); images];
    ask.tools = tools::read(&fields)?;
    let mut common = options::read(app, &fields, ask)?;
    if list.is_empty() {
        let model = common.job.model.unwrap_or_default();
        let keep = common.keep;
        return Ok(Wanted::Load { model, keep });
    }
    fields.ignore(Kind::Flag, &["truncate", "shift"])?;
    let warnings = fields.warnings(app.settings.unknown_fields)?;
    common.job.warnings.extend(warnings);
    if is_begun {
        // Some of Ollama's templates go on with it.
        let warning = "the last message is the assistant's: the answer begins anew and does not go on with it";
        common.job.warnings.push(warning.to_owned());
    }
    Ok(Wanted::Answer(Box::new(common)))
}

/// Pictures come before the text of their message, as Ollama puts them; `[img-0]` in the text says
/// where else.
pub(super) fn with_images(text: &str, images: Vec<Part>) -> Vec<Part> {
    let mut images: Vec<Option<Part>> = images.into_iter().map(Some).collect();
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("[img-") {
        let placed = behind.split_once(']').and_then(|(number, behind)| {
            let image = images.get_mut(number.parse::<usize>().ok()?)?.take()?;
            Some((image, behind))
        });
        let Some((image, behind)) = placed else {
            break;
        };
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(image);
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    images.into_iter().flatten().chain(parts).collect()
}

/// Reads `images` of a message or prompt.
pub(super) fn read_images(fields: &Fields<'_>) -> Result<Vec<Part>, Failure> {
    let list = fields
        .list("images")?
        .map(Vec::as_slice)
        .unwrap_or_default();
    let image = |(index, value): (usize, &Value)| {
        let place = fields.place(&format!("images[{index}]"));
        let text = value.as_str();
        let text =
            text.ok_or_else(|| Failure::field(place.clone(), "must be an image in base64"))?;
        Ok(Part::Image(from_base64(text, &place)?))
    };
    list.iter().enumerate().map(image).collect()
}

fn read_message(value: &Value, place: &str) -> Result<Message, Failure> {
    let fields = Fields::at(value, place)?;
    let need = "need system, user, assistant or tool";
    let name = fields.string("role")?.unwrap_or_default();
    let role = Role::from_name(name).ok_or_else(|| {
        let name: String = name.escape_default().take(64).collect();
        fields.wrong("role", format_args!("'{name}' is unknown, {need}"))
    })?;
    let images = read_images(&fields)?;
    let text = fields.string("content")?.unwrap_or_default();
    let mut message = Message::new(role, with_images(text, images));
    message.reasoning = fields.string("thinking")?.map(str::to_owned);
    message.tool_call_id = fields.string("tool_call_id")?.map(str::to_owned);
    for (index, call) in fields.list("tool_calls")?.into_iter().flatten().enumerate() {
        let call = Fields::at(call, &fields.place(&format!("tool_calls[{index}]")))?;
        let function = call.object("function")?;
        let function = function.ok_or_else(|| call.wrong("function", "missing"))?;
        let name = function.string("name")?;
        let name = name.ok_or_else(|| function.wrong("name", "missing"))?;
        function.ignore(Kind::Object, &["arguments"])?;
        let arguments = function.get("arguments").cloned();
        message.tool_calls.push(ToolCall {
            id: call.string("id")?.map(str::to_owned),
            name: name.to_owned(),
            arguments: arguments.unwrap_or_else(|| json!({})),
        });
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use ocelli::ImageSource;

    use super::*;

    #[test]
    fn pictures_stand_where_the_prompt_says_and_else_before_it() {
        let picture = |n: u8| Part::Image(ImageSource::Bytes(vec![n]));
        let text = |text: &str| Part::Text(text.to_owned());
        let both = vec![picture(0), picture(1)];
        assert_eq!(
            with_images("hi", both.clone()),
            [picture(0), picture(1), text("hi")]
        );
        let got = with_images("a [img-1] b [img-7]", both);
        assert_eq!(
            got,
            [picture(0), text("a "), picture(1), text(" b [img-7]")]
        );
    }
}
