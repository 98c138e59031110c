//! Chat templates: Jinja from the model file, rendered with a budget and with the origin of every byte.
//!
//! A template is code from the internet. It can read nothing but its arguments, its steps, memory
//! and output are bounded, and what it may call is listed in `functions.rs`.

mod budget;
mod builtin;
mod clock;
mod functions;
mod guard;
mod json;
mod origin;
mod probe;
mod render;
mod scan;
mod slices;
mod space;
mod values;

use std::time::SystemTime;

use ocelli_gguf::Metadata;
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use crate::message::Message;
use crate::pieces::{Origin, Piece};
use crate::{Error, TokenKind, Tokenizer};
use origin::Marker;
use probe::Abilities;

pub use builtin::Builtin;

/// Longest template, in bytes.
pub const TEMPLATE_BYTES: usize = 256 << 10;

/// What a template must know of the vocabulary.
#[derive(Debug, Clone, Default)]
pub struct Specials {
    /// Texts of control tokens; only the template may write them.
    pub control: Vec<String>,
    /// Text of the begin token.
    pub bos: Option<String>,
    /// Text of the end token.
    pub eos: Option<String>,
    /// Text of the padding token.
    pub padding: Option<String>,
    /// Text of the unknown token.
    pub unknown: Option<String>,
    /// What stands for media in a prompt.
    pub media: MediaMarkers,
}

/// What stands for pictures and videos in a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaMarkers {
    /// The text that is a picture's place: `<|image_pad|>`.
    pub image: Option<String>,
    /// The text that is a video's place.
    pub video: Option<String>,
    /// What is written for a picture when the template takes only plain text: the place with what
    /// goes around it.
    pub image_text: String,
    /// The same for a video.
    pub video_text: String,
    /// What is written in place of [`MediaMarkers::image`] before and behind a picture's rows. It
    /// becomes tokens together with the text around it, as in the reference.
    pub image_around: [String; 2],
}

impl MediaMarkers {
    /// A place with what goes around it in plain text.
    pub fn new(image: &str, image_text: &str) -> Self {
        Self {
            image: Some(image.into()),
            image_text: image_text.into(),
            ..Self::default()
        }
    }

    /// The places of a known family, by the tokens of its vocabulary and the text of its template.
    pub fn detect(tokenizer: &Tokenizer, template: &str) -> Self {
        let has = |text: &str| tokenizer.token_id(text).is_some();
        if has("<|image_pad|>") && has("<|vision_start|>") {
            let around = |place: &str| format!("<|vision_start|>{place}<|vision_end|>");
            let video = has("<|video_pad|>").then(|| "<|video_pad|>".to_owned());
            let video_text = video.as_deref().map(around).unwrap_or_default();
            return Self {
                video,
                video_text,
                ..Self::new("<|image_pad|>", &around("<|image_pad|>"))
            };
        }
        if has("<start_of_image>") && has("<end_of_image>") {
            let around = ["\n\n<start_of_image>", "<end_of_image>\n\n"];
            return Self {
                image_around: around.map(str::to_owned),
                ..Self::new("<start_of_image>", "<start_of_image>")
            };
        }
        for image in ["<start_of_image>", "[IMG]", "<|image|>"] {
            if has(image) {
                return Self::new(image, image);
            }
        }
        match has("<image>")
            || template.contains("<image>")
            || tokenizer.vocabulary().model == crate::Model::SentencePiece
        {
            true => Self::new("<image>", "<image>\n"),
            false => Self::default(),
        }
    }
}

impl Specials {
    /// Reads a vocabulary; the places of media are those of the family it looks like.
    pub fn of(tokenizer: &Tokenizer, template: &str) -> Self {
        let vocabulary = tokenizer.vocabulary();
        let text = |id: Option<u32>| {
            id.and_then(|id| tokenizer.token_text(id))
                .map(str::to_owned)
        };
        let ids = 0..tokenizer.len() as u32;
        let reserved = |id: &u32| {
            matches!(
                vocabulary.kind(*id),
                TokenKind::Control | TokenKind::Unknown
            )
        };
        Self {
            control: ids
                .filter(reserved)
                .filter_map(|id| text(Some(id)))
                .filter(|text| !text.is_empty())
                .collect(),
            bos: text(vocabulary.bos),
            eos: text(vocabulary.eos),
            padding: text(vocabulary.padding),
            unknown: text(vocabulary.unknown),
            media: MediaMarkers::detect(tokenizer, template),
        }
    }
}

/// Settings of one rendering.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// Whether the prompt ends with the start of an answer.
    pub add_generation_prompt: bool,
    /// Descriptions of tools, as JSON schemas in OpenAI's form.
    pub tools: Vec<Json>,
    /// Extra arguments that the template may know, such as `enable_thinking`.
    pub arguments: Map<String, Json>,
    /// The time for templates that write the date, in UTC.
    pub now: SystemTime,
    /// How many crops of each picture are shown behind it, in order; none for those that are not listed.
    pub crops: Vec<usize>,
}

impl Default for RenderOptions {
    /// A prompt for an answer, without tools.
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            tools: Vec::new(),
            arguments: Map::new(),
            now: SystemTime::now(),
            crops: Vec::new(),
        }
    }
}

/// A chat template that compiled and rendered a few test conversations.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    guarded: String,
    conditionals: Vec<String>,
    marker: Marker,
    specials: Specials,
    abilities: Abilities,
}

impl Specials {
    /// The same, where a projector has `place` stand for a picture that neither vocabulary nor template know.
    #[must_use]
    pub fn for_pictures(mut self, place: Option<&str>) -> Self {
        if let (None, Some(place)) = (&self.media.image, place) {
            self.media = MediaMarkers::new(place, &format!("{place}\n"));
        }
        self
    }
}

impl ChatTemplate {
    /// Compiles a template and tries it.
    ///
    /// # Errors
    /// The template is too long, does not compile, exceeds its budget, or renders no user message.
    pub fn new(source: &str, specials: Specials) -> Result<Self, Error> {
        if source.len() > TEMPLATE_BYTES {
            let problem = format!(
                "found {} bytes, need at most {TEMPLATE_BYTES}",
                source.len()
            );
            return Err(Error::Template {
                line: None,
                problem,
            });
        }
        let guard::Guarded {
            source: guarded,
            literals,
            conditionals,
        } = guard::guard(&slices::without_backward_slices(source)?)?;
        let media = [&specials.media.image, &specials.media.video]
            .into_iter()
            .flatten();
        let reserved: Vec<String> = specials.control.iter().chain(media).cloned().collect();
        let marker = Marker::new(reserved, &literals);
        let source = source.to_owned();
        let abilities = Abilities::default();
        let mut template = Self {
            source,
            guarded,
            conditionals,
            marker,
            specials,
            abilities,
        };
        template.abilities = probe::probe(&template)?;
        Ok(template)
    }

    /// The template of a model file, or the one that is built in for its family. `place` is what the model's
    /// projector has stand for a picture, if there is one.
    ///
    /// # Errors
    /// The file's template is bad, or there is none and the family has none built in.
    pub fn from_metadata(
        metadata: &Metadata,
        tokenizer: &Tokenizer,
        place: Option<&str>,
    ) -> Result<Self, Error> {
        let source = match metadata.str("tokenizer.chat_template")? {
            Some(source) => source,
            None => {
                let architecture = tokenizer
                    .vocabulary()
                    .architecture
                    .as_deref()
                    .unwrap_or_default();
                let missing = || Error::NoTemplate {
                    architecture: architecture.chars().take(64).collect(),
                };
                Builtin::of(tokenizer).ok_or_else(missing)?.source()
            }
        };
        Self::new(source, Specials::of(tokenizer, source).for_pictures(place))
    }

    /// Renders a conversation to text with origins.
    ///
    /// Pieces are exact for every character that can be part of a control token. Other characters
    /// (white space, quotes, letters that no control token has) are joined to the piece before
    /// them.
    ///
    /// # Errors
    /// The template refuses the conversation, fails, or exceeds its budget; an argument has a reserved name.
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Vec<Piece>, Error> {
        render::with_origins(self, messages, options)
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What stands for media in rendered prompts.
    pub fn media(&self) -> &MediaMarkers {
        &self.specials.media
    }

    /// Whether the template itself writes the places of pictures. If not, they are put into the
    /// text before it.
    pub fn writes_image_places(&self) -> bool {
        self.abilities.image_parts
    }

    /// Whether descriptions of tools come out in prompts. If not, they are left out.
    pub fn shows_tools(&self) -> bool {
        self.abilities.tools
    }

    /// Whether calls of tools in a conversation are left out of prompts without an error.
    pub fn drops_calls(&self) -> bool {
        self.abilities.drops_calls
    }

    /// Whether results of tools are left out of prompts without an error.
    pub fn drops_results(&self) -> bool {
        self.abilities.drops_results
    }

    /// A short fingerprint of the template: the first 16 hexadecimal digits of its SHA-256 hash.
    pub fn hash(&self) -> String {
        template_hash(&self.source)
    }

    /// Conditions on what messages say, each with its line: a template can use them to treat some
    /// texts differently.
    pub fn flags_content_conditionals(&self) -> &[String] {
        &self.conditionals
    }
}

/// Whether all of `pieces` together are `text`.
fn is_text(pieces: &[Piece], text: &str) -> bool {
    let mut rest = text;
    pieces
        .iter()
        .all(|piece| match rest.strip_prefix(piece.text.as_str()) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        })
        && rest.is_empty()
}

/// Bytes of the template's own text in `pieces`, as ranges of the text of all of them; neighbours are joined.
pub(crate) fn trusted_ranges(pieces: &[Piece]) -> Vec<std::ops::Range<usize>> {
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut at = 0;
    for piece in pieces {
        let range = at..at + piece.text.len();
        at = range.end;
        if piece.origin != Origin::Template || range.is_empty() {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

/// A short fingerprint of a template: the first 16 hexadecimal digits of the SHA-256 of its bytes.
pub fn template_hash(source: &str) -> String {
    let digest = Sha256::digest(source.as_bytes());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
