//! Tries a template with a few conversations when it is loaded: what it can take, and whether it
//! works at all.

use super::render::{self, Request};
use super::values::Form;
use super::{ChatTemplate, RenderOptions};
use crate::Error;
use crate::ToolCall;
use crate::message::{Content, Message, Role};

/// What a template can do with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Abilities {
    /// Content may be a string.
    pub(super) text: bool,
    /// Content may be a list of parts.
    pub(super) parts: bool,
    /// The roles of which a list of two texts is written, both of them in order.
    pub(super) texts: [bool; TALKERS.len()],
    /// Parts may be pictures, and the template writes one place for each.
    pub(super) image_parts: bool,
    /// The same for videos.
    pub(super) video_parts: bool,
    /// Descriptions of tools are shown.
    pub(super) tools: bool,
    /// Calls of tools in a conversation are left out without an error.
    pub(super) drops_calls: bool,
    /// The same for results of tools.
    pub(super) drops_results: bool,
}

/// Roles whose messages may be lists of texts.
const TALKERS: [Role; 3] = [Role::System, Role::User, Role::Assistant];

impl Abilities {
    /// Whether all of a list of texts of this role is written.
    pub(super) fn writes_texts(&self, role: Role) -> bool {
        TALKERS
            .iter()
            .zip(self.texts)
            .any(|(talker, writes)| *talker == role && writes)
    }
}

const PROBE: &str = "a probe text of 7 words here";
const PROBE_FOLLOWING: &str = "and another of 5";
/// The name of a tool that no template knows.
const PROBE_TOOL: &str = "a_probe_tool";

/// A call of a tool, and what came of it.
const PROBE_CALL: &str = "a_probe_call";
const PROBE_RESULT: &str = "the result of a probe call";

/// Finds out what a template can do.
///
/// # Errors
/// It renders the text of a user in no form, or writes more than one place for a picture.
pub(super) fn probe(template: &ChatTemplate) -> Result<Abilities, Error> {
    let user = [Message::text(Role::User, PROBE)];
    let as_text = plain(template, &user, Form::Text);
    let as_parts = plain(template, &user, Form::Parts);
    let shows = |rendered: &String| rendered.contains(PROBE) && !shows_keys(rendered);
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
    if abilities.parts {
        abilities.texts = TALKERS.map(|role| writes_texts(template, role, form));
    }
    let with_tool = RenderOptions {
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
    // A template that fails with a tool shows none.
    let shown = with_options(template, (&user, form), &with_tool);
    abilities.tools = shown.is_ok_and(|rendered| rendered.contains(PROBE_TOOL));
    let called = called();
    let options = [RenderOptions::default(), with_tool];
    let rendered = options
        .iter()
        .filter_map(|options| with_options(template, (&called, form), options).ok());
    let rendered: Vec<String> = rendered.collect();
    // What a template refuses is told when it is asked for.
    let drops = |text: &str| !rendered.is_empty() && !rendered.iter().any(|r| r.contains(text));
    abilities.drops_calls = drops(PROBE_CALL);
    abilities.drops_results = drops(PROBE_RESULT);
    Ok(abilities)
}

/// A conversation in which a tool was called.
fn called() -> [Message; 4] {
    // Nine letters and digits: Mistral's templates want them so.
    let id = Some("probe0001".to_owned());
    let mut call = Message::new(Role::Assistant, Vec::new());
    call.tool_calls.push(ToolCall {
        id: id.clone(),
        name: PROBE_CALL.to_owned(),
        arguments: serde_json::json!({}),
    });
    let mut result = Message::text(Role::Tool, PROBE_RESULT);
    result.tool_call_id = id;
    [
        Message::text(Role::User, PROBE),
        call,
        result,
        Message::text(Role::Assistant, PROBE),
    ]
}

fn with_options(
    template: &ChatTemplate,
    (messages, form): (&[Message], Form),
    options: &RenderOptions,
) -> Result<String, Error> {
    render::plain(&Request {
        template,
        messages,
        options,
        forms: vec![form; messages.len()],
    })
}

/// Whether the template writes both texts of a message of this role, which is given as a list. Some
/// read only the first.
fn writes_texts(template: &ChatTemplate, role: Role, form: Form) -> bool {
    let texts = [PROBE, PROBE_FOLLOWING].map(|text| Content::Text(text.into()));
    let list = Message::new(role, texts.to_vec());
    let question = || Message::text(Role::User, "?");
    let (messages, forms) = match role {
        Role::User => (vec![list], vec![Form::Parts]),
        Role::Assistant => (
            vec![question(), list, question()],
            vec![form, Form::Parts, form],
        ),
        _ => (vec![list, question()], vec![Form::Parts, form]),
    };
    let options = RenderOptions::default();
    let rendered = render::plain(&Request {
        template,
        messages: &messages,
        options: &options,
        forms,
    });
    rendered.is_ok_and(|rendered| {
        let following = rendered.split_once(PROBE).map(|(_, following)| following);
        following.is_some_and(|text| text.contains(PROBE_FOLLOWING)) && !shows_keys(&rendered)
    })
}

/// Whether a list was printed as it is, with the keys of its parts.
fn shows_keys(rendered: &str) -> bool {
    rendered.contains("'type'") || rendered.contains("\"type\"")
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
