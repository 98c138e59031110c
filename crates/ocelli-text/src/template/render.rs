//! One rendering: plain first, then with stand-ins until both say the same.

use std::collections::HashSet;
use std::io;

use minijinja::{ErrorKind, Value};
use serde_json::{Map, Value as Json};

use super::budget::{Budget, STEPS};
use super::clock::Clock;
use super::functions::{self, RAISED};
use super::origin::{self, Level, Marks};
use super::values::{Form, Values};
use super::{ChatTemplate, RenderOptions, Specials, is_text};
use crate::Error;
use crate::message::{Content, Message, each_text_of};
use crate::pieces::{Piece, Source};

/// Output that a template may write beyond four times its input.
const OUTPUT_BYTES: usize = 64 << 10;
/// Extra arguments of a request together, as JSON.
const ARGUMENT_BYTES: usize = 64 << 10;
/// Names that the engine gives to templates, or that the reference gives another meaning.
const RESERVED: [&str; 12] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "bos_token",
    "eos_token",
    "pad_token",
    "unk_token",
    "tokenize",
    "chat_template",
    "conversation",
    "continue_final_message",
];

/// What is rendered, the same for all levels.
pub(super) struct Request<'a> {
    pub(super) template: &'a ChatTemplate,
    pub(super) messages: &'a [Message],
    pub(super) options: &'a RenderOptions,
    /// How the content of each message is given.
    pub(super) forms: Vec<Form>,
}

/// Renders with origins.
pub(super) fn with_origins(
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<Vec<Piece>, Error> {
    check_arguments(&options.arguments)?;
    let forms = messages
        .iter()
        .map(|message| form_of(template, message))
        .collect();
    let request = Request {
        template,
        messages,
        options,
        forms,
    };
    let plain = plain(&request)?;
    let mut marks = template
        .marker
        .marks(&request.private_use())
        .ok_or(Error::PrivateUse)?;
    let mut last = Err(Error::PrivateUse);
    for level in [Level::Full, Level::Sparing, Level::Dangerous] {
        marks.prepare(level);
        last = request
            .render(Some((&marks, level)))
            .map(|rendered| marks.pieces(&rendered));
        if last.as_ref().is_ok_and(|pieces| is_text(pieces, &plain)) {
            return last;
        }
    }
    // The template treats control tokens in values specially. What it makes of values without them is safe.
    last
}

/// Renders the values as they are.
pub(super) fn plain(request: &Request<'_>) -> Result<String, Error> {
    request.render(None)
}

/// Strings where the template takes them, as most conversations are written; parts for media, for
/// several texts that it writes all of (it may trim each), and where it must be.
fn form_of(template: &ChatTemplate, message: &Message) -> Form {
    let abilities = template.abilities;
    let has_media = message
        .content
        .iter()
        .any(|part| !matches!(part, Content::Text(_)));
    let writes_all = message.content.iter().all(|part| match part {
        Content::Text(_) => true,
        Content::Image => abilities.image_parts,
        Content::Video => abilities.video_parts,
    });
    let has_texts = !has_media && message.content.len() > 1 && abilities.writes_texts(message.role);
    match (abilities.text, has_media && writes_all || has_texts) {
        (_, true) | (false, _) => Form::Parts,
        (true, false) => Form::Text,
    }
}

fn check_arguments(arguments: &Map<String, Json>) -> Result<(), Error> {
    let wrong = |found: String, need: &str| {
        Err(Error::Argument {
            found,
            need: need.into(),
        })
    };
    if let Some(name) = arguments
        .keys()
        .find(|name| RESERVED.contains(&name.as_str()))
    {
        return wrong(
            format!("`{name}`"),
            "a name that the engine does not set itself",
        );
    }
    if let Some(name) = arguments.keys().find(|name| !super::values::is_word(name)) {
        return wrong(
            format!("{:?}", name.chars().take(64).collect::<String>()),
            "names of letters, digits and `_`",
        );
    }
    let bytes = serde_json::to_string(arguments).map_or(usize::MAX, |json| json.len());
    match bytes <= ARGUMENT_BYTES {
        true => Ok(()),
        false => wrong(format!("{bytes} bytes"), "at most 65536 bytes in all"),
    }
}

impl Request<'_> {
    fn each_text(&self, see: &mut impl FnMut(&str)) {
        self.messages
            .iter()
            .for_each(|message| message.each_text(see));
        self.options
            .tools
            .iter()
            .chain(self.options.arguments.values())
            .for_each(|json| each_text_of(json, see));
    }

    fn private_use(&self) -> HashSet<char> {
        let mut used: HashSet<char> = origin::private_use_of(&self.template.source).collect();
        self.each_text(&mut |text| used.extend(origin::private_use_of(text)));
        used
    }

    /// Bytes of all values, with something for the structure around them.
    fn input_bytes(&self) -> usize {
        let mut bytes = 64 * self.messages.len();
        self.each_text(&mut |text| bytes += text.len() + 16);
        bytes
    }

    fn render(&self, marks: Option<(&Marks<'_>, Level)>) -> Result<String, Error> {
        // Stand-ins have up to four bytes.
        let input = self.input_bytes() * if marks.is_some() { 4 } else { 1 };
        let budget = Budget::new(input);
        let environment = functions::environment(&budget, Clock::new(self.options.now));
        let template = environment
            .template_from_str(&self.template.guarded)
            .map_err(|error| failed(&error))?;
        let mut output = Bounded {
            bytes: Vec::new(),
            most: OUTPUT_BYTES + 4 * input,
        };
        let rendered = template
            .render_captured_to(self.context(marks), &mut output)
            .map(drop);
        if output.bytes.len() > output.most {
            let problem = format!("found more than {} bytes of output, need less", output.most);
            return Err(Error::Template {
                line: None,
                problem,
            });
        }
        rendered.map_err(|error| failed(&error))?;
        let not_text = |_| Error::Template {
            line: None,
            problem: "found output that is not UTF-8".into(),
        };
        String::from_utf8(output.bytes).map_err(not_text)
    }

    fn context(&self, marks: Option<(&Marks<'_>, Level)>) -> Value {
        let Specials {
            bos,
            eos,
            padding,
            unknown,
            media,
            ..
        } = &self.template.specials;
        let values = Values {
            marks,
            image_text: &media.image_text,
            video_text: &media.video_text,
        };
        let messages = self
            .messages
            .iter()
            .zip(&self.forms)
            .map(|(message, &form)| values.message(message, form));
        let tools: Value = match self.options.tools.as_slice() {
            [] => Value::from(()),
            tools => tools
                .iter()
                .map(|tool| values.json(tool, Source::Tool))
                .collect(),
        };
        let mut fields: Vec<(String, Value)> = vec![
            ("messages".into(), messages.collect()),
            ("tools".into(), tools),
            ("documents".into(), Value::from(())),
            (
                "add_generation_prompt".into(),
                Value::from(self.options.add_generation_prompt),
            ),
        ];
        let tokens = [
            ("bos_token", bos),
            ("eos_token", eos),
            ("pad_token", padding),
            ("unk_token", unknown),
        ];
        for (name, text) in tokens {
            fields.extend(
                text.as_ref()
                    .map(|text| (name.to_owned(), Value::from(text.as_str()))),
            );
        }
        for (name, value) in &self.options.arguments {
            fields.push((name.clone(), values.json(value, Source::Parameter)));
        }
        Value::from_pairs(fields)
    }
}

/// Output that stops growing.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        match self.bytes.len() <= self.most {
            true => Ok(bytes.len()),
            false => Err(io::Error::other("the output is too long")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The interpreter's error in our words.
fn failed(error: &minijinja::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        let detail = current
            .downcast_ref::<minijinja::Error>()
            .and_then(minijinja::Error::detail);
        if let Some(message) = detail.and_then(|detail| detail.strip_prefix(RAISED)) {
            return Error::Refused {
                message: message.to_owned(),
            };
        }
        cause = current.source();
    }
    let problem = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("exceeded its step budget of {STEPS} steps"),
        (_, Some(detail)) if detail.starts_with("exceeded") => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    Error::Template {
        line: error.line(),
        problem: problem.chars().take(300).collect(),
    }
}
