//! From a request to what the engine takes: pictures decoded and cut into patches, text tokenized.
//!
//! A [`Preparer`] never changes, so that many threads can use it beside the one that runs the engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_engine::{ContextPolicy, Outcome, Picture, Prompt, drop_oldest};
use ocelli_image::boxes::{Convention, Located, View, locate};
use ocelli_image::{Budget, DecodeOptions, VideoBudget, VideoRecord};
use ocelli_text::{ChatTemplate, ControlTokens, Piece, RenderOptions};
use serde_json::Value;

use crate::chat::tokenize;
use crate::error::LeftOut;
use crate::pictures::{Crops, Prepared, Viewing};
use crate::recognised::Recognised;
use crate::video::{Clips, Extent, Films, Viewer, arrange};
use crate::{
    Error, Ffmpeg, ImageSource, Message, Part, PictureBudget, Role, Sampling, Video, Witness, Work,
    shorten,
};

/// Times that a conversation is shortened further.
const SHORTENINGS: usize = 8;

/// See the module.
pub(crate) struct Preparer {
    pub(crate) model: Arc<ocelli_engine::Model>,
    pub(crate) template: ChatTemplate,
    pub(crate) default_sampling: Sampling,
    pub(crate) budget: Option<Budget>,
    /// Sizes of videos, if the family sees them.
    pub(crate) video: Option<VideoBudget>,
    pub(crate) ffmpeg: Ffmpeg,
    /// Tokens that prompt and answer may have together.
    pub(crate) context: usize,
    /// Bytes of the longest token.
    pub(crate) longest_token: usize,
    /// Why there is no projector, for the error that a picture gets.
    pub(crate) why_blind: String,
    pub(crate) witness: Option<Witness>,
}

/// A request on its way into the engine.
pub(crate) struct Asked {
    pub(crate) prompt: Prompt,
    /// Pictures and temporal patches in the order of the prompt.
    pub(crate) pictures: Vec<Picture>,
    pub(crate) prepared: Prepared,
    pub(crate) videos: Vec<VideoRecord>,
    /// What went so that the rest fits, in words.
    pub(crate) dropped: Vec<String>,
}

/// How the pictures of a request are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seeing<'a> {
    /// What a picture file may ask for.
    pub(crate) decode: DecodeOptions,
    /// Pictures that were seen before.
    pub(crate) recognised: Option<Recognised<'a>>,
    /// How long decoding one of them may take.
    pub(crate) decode_time: Option<Duration>,
    /// How long reading all videos may take.
    pub(crate) video_time: Option<Duration>,
    /// Whether other programs read videos.
    pub(crate) films: Films,
    /// The budget of each picture; those without one have the model's.
    pub(crate) budgets: &'a [PictureBudget],
    /// What happens when the conversation does not fit.
    pub(crate) policy: ContextPolicy,
    /// Tokens that are kept free for the answer where something goes.
    pub(crate) room: usize,
    /// Also shows crops of large pictures, if the model was trained for that.
    pub(crate) pan_and_scan: bool,
    /// Whether somebody still waits for them.
    pub(crate) wanted: Wanted<'a>,
}

/// Is asked before each picture whether anybody still wants it; without a question, somebody does.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a>(pub(crate) Option<&'a dyn Fn() -> bool>);

impl std::fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted").finish_non_exhaustive()
    }
}

impl Wanted<'_> {
    /// # Errors
    /// [`Error::Ending`], which nobody waits for.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self.0.is_none_or(|ask| ask()) {
            true => Ok(()),
            false => Err(Error::Ending),
        }
    }
}

impl Preparer {
    /// Prepares a conversation.
    pub(crate) fn chat(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        seeing: &Seeing<'_>,
    ) -> Result<Asked, Error> {
        self.check_tools(messages, &options.tools)?;
        let mut prepared = self.pictures(messages, seeing)?;
        let clips = self.watch(messages, seeing)?;
        prepared.decode += clips.time;
        let videos = clips.records.clone();
        let most = self.context.saturating_sub(seeing.room.max(1));
        let (prompt, pictures) = self.lay_out(messages, options, &prepared, clips)?;
        let is_long = prompt.tokens.len() > most && videos.is_empty();
        if seeing.policy == ContextPolicy::DropOldest && is_long {
            let excess = prompt.tokens.len() - most;
            if let Some(shorter) = self.shorten(messages, options, &prepared, most, excess)? {
                return Ok(shorter);
            }
        }
        Ok(Asked {
            prompt,
            pictures,
            prepared,
            videos,
            dropped: Vec::new(),
        })
    }

    /// Renders and tokenizes messages with their pictures and videos, and puts these in the order
    /// of the prompt.
    fn lay_out(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        prepared: &Prepared,
        clips: Clips,
    ) -> Result<(Prompt, Vec<Picture>), Error> {
        let options = RenderOptions {
            crops: prepared.crops.clone(),
            ..options.clone()
        };
        let (ids, places) = tokenize(self, messages, &options, &clips.times())?;
        let arranged = arrange(&places, prepared.pictures.clone(), clips)?;
        let layout = self.model.layout();
        let prompt = Prompt::with_media(&ids, &arranged.slots, &arranged.media, layout.as_ref())?;
        Ok((prompt, arranged.pictures))
    }

    /// Lets the oldest turns and pictures go until at most `most` tokens are left, `excess` fewer
    /// than now. `None` when what may go is not enough.
    fn shorten(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        prepared: &Prepared,
        most: usize,
        mut excess: usize,
    ) -> Result<Option<Asked>, Error> {
        let turns = shorten::turns(&self.model.tokenizer, messages, &prepared.records);
        // What the template writes around a message is not known: what is still too much is asked for again.
        for _ in 0..SHORTENINGS {
            let Some(gone) = drop_oldest(&turns, excess) else {
                return Ok(None);
            };
            let (messages, kept) = shorten::without(messages, &gone);
            let prepared = prepared.only(&kept);
            let (prompt, pictures) =
                self.lay_out(&messages, options, &prepared, Clips::default())?;
            if prompt.tokens.len() <= most {
                return Ok(Some(Asked {
                    prompt,
                    pictures,
                    prepared,
                    videos: Vec::new(),
                    dropped: gone.iter().map(shorten::describe).collect(),
                }));
            }
            excess += prompt.tokens.len() - most;
        }
        Ok(None)
    }

    /// Refuses tools, calls and results that the template would leave out without a word.
    pub(crate) fn check_tools(&self, messages: &[Message], tools: &[Value]) -> Result<(), Error> {
        let template = &self.template;
        let calls = messages
            .iter()
            .any(|message| !message.tool_calls.is_empty());
        let results = messages.iter().any(|message| message.role == Role::Tool);
        let left_out = if !tools.is_empty() && !template.shows_tools() {
            LeftOut::Descriptions
        } else if calls && template.drops_calls() {
            LeftOut::Calls
        } else if results && template.drops_results() {
            LeftOut::Results
        } else {
            return Ok(());
        };
        Err(Error::NoTools {
            model: self.model.name.clone(),
            left_out,
            instead: "Write what the model should know of them into a message, and ask for an answer of a form",
        })
    }

    /// Tells the witness, if there is one.
    pub(crate) fn begin(&self, work: Work<'_>) {
        if let Some(Witness(tell)) = &self.witness {
            tell(work);
        }
    }

    /// Prepares a text to go on with. Control tokens in it are plain text.
    pub(crate) fn text(&self, text: &str) -> Result<Asked, Error> {
        let (bytes, most_bytes) = (text.len(), self.most_bytes());
        if bytes > most_bytes {
            return Err(Error::PromptTooLong { bytes, most_bytes });
        }
        self.begin(Work::Tokenize(text));
        self.tokens(&self.model.tokenizer.encode_prompt(&[Piece::user(text)]))
    }

    /// Tokens of a text that an answer may repeat: its beginning, if it is longer than any answer.
    pub(crate) fn prediction(&self, text: Option<&str>) -> Vec<u32> {
        let text = text.unwrap_or_default();
        let end = text.floor_char_boundary(self.most_bytes().min(text.len()));
        self.model.tokenizer.encode(&[Piece::user(&text[..end])])
    }

    /// Prepares tokens to go on with.
    pub(crate) fn tokens(&self, tokens: &[u32]) -> Result<Asked, Error> {
        let vocabulary = self.model.tokenizer.len();
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::UnknownToken { token, vocabulary });
        }
        let prompt = Prompt::new(tokens, &[], &[], self.model.layout().as_ref())?;
        Ok(Asked {
            prompt,
            pictures: Vec::new(),
            prepared: Prepared::default(),
            videos: Vec::new(),
            dropped: Vec::new(),
        })
    }

    /// Bytes of text that can fit the context.
    pub(crate) fn most_bytes(&self) -> usize {
        self.context.saturating_mul(self.longest_token)
    }

    fn pictures(&self, messages: &[Message], seeing: &Seeing<'_>) -> Result<Prepared, Error> {
        let parts = messages.iter().flat_map(|message| &message.parts);
        let sources: Vec<&ImageSource> = parts
            .filter_map(|part| match part {
                Part::Image(source) => Some(source),
                Part::Text(_) | Part::Video(_) => None,
            })
            .collect();
        let mut prepared = match (&self.model.vision, &self.budget) {
            _ if sources.is_empty() => return Ok(Prepared::default()),
            (Some(vision), Some(budget)) => {
                let viewing = Viewing {
                    vision: vision.as_ref(),
                    budget,
                    seeing,
                    crops: self.crops(seeing)?,
                };
                Prepared::new(&sources, &viewing)?
            }
            _ => {
                return Err(Error::NoVision {
                    model: self.model.name.clone(),
                    why: self.why_blind.clone(),
                });
            }
        };
        if let Some(join) = self.model.join {
            for (record, crops) in prepared.records.iter_mut().zip(&prepared.crops) {
                record.tokens = join.tokens(&record.grid) * (1 + crops);
            }
        }
        Ok(prepared)
    }

    /// How pictures are cut, if that is asked for.
    fn crops(&self, seeing: &Seeing<'_>) -> Result<Option<Crops>, Error> {
        if !seeing.pan_and_scan {
            return Ok(None);
        }
        match self.model.join.and_then(|join| join.crops) {
            Some(crops) => Ok(Some(crops)),
            None => Err(Error::Settings(
                "pan and scan is asked for, but this model was not trained for crops".to_owned(),
            )),
        }
    }

    /// The videos of a request, ready for the encoder.
    fn watch(&self, messages: &[Message], seeing: &Seeing<'_>) -> Result<Clips, Error> {
        let model = &self.model;
        let parts = messages.iter().flat_map(|message| &message.parts);
        let videos: Vec<&Video> = parts
            .filter_map(|part| match part {
                Part::Video(video) => Some(video),
                Part::Text(_) | Part::Image(_) => None,
            })
            .collect();
        if videos.is_empty() {
            return Ok(Clips::default());
        }
        let Some(vision) = &model.vision else {
            return Err(Error::NoVision {
                model: model.name.clone(),
                why: self.why_blind.clone(),
            });
        };
        let rules = model.join.and_then(|join| join.video);
        let rules = rules.map(|rules| rules.stated_by(vision.as_ref()));
        let (Some(rules), Some(budget), Some(_)) = (rules, &self.video, model.video_token()) else {
            return Err(Error::NoVideo {
                model: model.name.clone(),
            });
        };
        let viewer = Viewer {
            vision: vision.as_ref(),
            rules,
            budget,
            ffmpeg: &self.ffmpeg,
            decode: DecodeOptions {
                deadline: seeing.video_time.map(|time| Instant::now() + time),
                ..seeing.decode
            },
            films: seeing.films,
            extent: Extent::Whole,
            salt: [0; 32],
        };
        Clips::new(&videos, &viewer)
    }

    /// Places that an answer names. Some families write them between control tokens, which the text of
    /// an answer leaves out.
    pub(crate) fn boxes(&self, outcome: &Outcome, view: Option<View>) -> Vec<Located> {
        let model = &self.model;
        let boxes = model.join.and_then(|join| join.boxes);
        let (Some(boxes), Some(view)) = (boxes, view) else {
            return Vec::new();
        };
        let shown;
        let text = match boxes {
            Convention::Tagged1000 => {
                shown = model
                    .tokenizer
                    .decode(&outcome.tokens, ControlTokens::Shown);
                &shown
            }
            Convention::Relative1000 | Convention::ResizedPixels => &outcome.text,
        };
        locate(text, boxes, &view)
    }
}
