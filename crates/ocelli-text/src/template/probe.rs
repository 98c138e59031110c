//! Tries a template with a few conversations when it is loaded: what it can take, and whether it works at all.

use super::render::{self, Request};
use super::values::Form;
use super::{ChatTemplate, RenderOptions};
use crate::Error;
use crate::message::{Content, Message, Role};

/// What a template can do with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Abilities {
    /// Content may be a string.
    pub(super) text: bool,
    /// Content may be a list of parts.
    pub(super) parts: bool,
    /// Parts may be pictures, and the template writes one place for each.
    pub(super) image_parts: bool,
    /// The same for videos.
    pub(super) video_parts: bool,
    /// Descriptions of tools are shown.
    pub(super) tools: bool,
}

const PROBE: &str = "a probe text of 7 words here";
/// The name of a tool that no template knows.
const PROBE_TOOL: &str = "a_probe_tool";

/// Finds out what a template can do.
///
/// # Errors
/// It renders the text of a user in no form, or writes more than one place for a picture.
pub(super) fn probe(template: &ChatTemplate) -> Result<Abilities, Error> {
    let user = [Message::text(Role::User, PROBE)];
    let as_text = plain(template, &user, Form::Text);
    let as_parts = plain(template, &user, Form::Parts);
    // A template that prints the list as it is shows the keys of the parts.
    let shows = |rendered: &String| {
        rendered.contains(PROBE) && !rendered.contains("'type'") && !rendered.contains("\"type\"")
    };
    let mut abilities = Abilities {
        text: as_text.as_ref().is_ok_and(shows),
        parts: as_parts.as_ref().is_ok_and(shows),
        ..Abilities::default()
    };
    if !abilities.text && !abilities.parts {
        as_text?;
        as_parts?;
        let problem =
            "a test message of a user: found a prompt without its text, need the text".to_owned();
        return Err(Error::Template {
            line: None,
            problem,
        });
    }
    if abilities.parts {
        let media = &template.specials.media;
        abilities.image_parts = writes_place(template, Content::Image, media.image.as_deref())?;
        abilities.video_parts = writes_place(template, Content::Video, media.video.as_deref())?;
    }
    let form = match abilities.text {
        true => Form::Text,
        false => Form::Parts,
    };
    abilities.tools = shows_tool(template, &user, form);
    Ok(abilities)
}

/// Whether the description of a tool comes out. A template that fails with one shows none.
fn shows_tool(template: &ChatTemplate, messages: &[Message], form: Form) -> bool {
    let options = RenderOptions {
        tools: vec![serde_json::json!({
            "type": "function",
            "function": {
                "name": PROBE_TOOL,
                "description": "Nothing.",
                "parameters": {"type": "object", "properties": {}},
            },
        })],
        ..RenderOptions::default()
    };
    let request = Request {
        template,
        messages,
        options: &options,
        forms: vec![form; messages.len()],
    };
    render::plain(&request).is_ok_and(|rendered| rendered.contains(PROBE_TOOL))
}

/// Whether the template writes one place for one picture or video, and none for text.
fn writes_place(
    template: &ChatTemplate,
    part: Content,
    place: Option<&str>,
) -> Result<bool, Error> {
    let Some(place) = place else { return Ok(false) };
    let places = |content: Vec<Content>| {
        let message = [Message::new(Role::User, content)];
        plain(template, &message, Form::Parts).map(|rendered| rendered.matches(place).count())
    };
    let text = Content::Text(PROBE.into());
    let (Ok(with), Ok(without)) = (places(vec![part, text.clone()]), places(vec![text])) else {
        return Ok(false);
    };
    match (with, without) {
        (1, 0) => Ok(true),
        (0, 0) => Ok(false),
        _ => {
            let found = format!("{with} with one and {without} without");
            let problem = format!("a test message: found `{place}` {found}, need 1 and 0");
            Err(Error::Template {
                line: None,
                problem,
            })
        }
    }
}

fn plain(template: &ChatTemplate, messages: &[Message], form: Form) -> Result<String, Error> {
    let options = RenderOptions::default();
    let request = Request {
        template,
        messages,
        options: &options,
        forms: vec![form; messages.len()],
    };
    render::plain(&request)
}
