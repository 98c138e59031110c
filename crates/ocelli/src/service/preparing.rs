//! What is done to a request on the pool, before the engine's thread gets it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ocelli_engine::{Generate, Grammar, Picture, Prompt};
use ocelli_image::{DecodeOptions, Limits};
use ocelli_text::RenderOptions;
use serde_json::Value;

use super::desk::{OtherVideos, ServiceOptions};
use super::pool::{Length, Needs};
use super::status::Status;
use super::updates::Outlet;
use super::{Ask, AskedFor};
use crate::memory::mib;
use crate::prepare::{Asked, Preparer, Seeing, Wanted};
use crate::recognised::{Files, Recognised};
use crate::video::Films;
use crate::{Error, ErrorKind, ImageSource, Part, Video, VideoSource};

/// Tokens that are kept free for an answer of unknown length where a conversation is shortened.
const ROOM: usize = 256;

/// Work on more pixels or bytes of text than these takes long: a third of a second or more.
const SHORT_PIXELS: u64 = 16 << 20;
const SHORT_TEXT: usize = 1 << 20;

/// What preparing a request takes: the memory of its largest picture or video, as they are decoded one
/// after the other, and how long it may take. A file that is not readable costs nothing: its error
/// comes when it is decoded.
///
/// # Errors
/// When that is more memory than there is for all requests.
pub(super) fn needs(ask: &Ask, options: &ServiceOptions) -> Result<Needs, Error> {
    let messages = match &ask.asked {
        AskedFor::Chat(messages) => messages.as_slice(),
        AskedFor::Text(text) => return Ok(of_work(0, (0, text.len()))),
        AskedFor::Tokens(_) => return Ok(Needs::default()),
    };
    let decode = decode_options(options);
    let (limit, mut most) = (options.decoding_bytes, 0);
    let (mut pictures, mut videos) = (0, 0);
    let (mut pixels, mut text_bytes) = (0_u64, 0);
    for part in messages.iter().flat_map(|message| &message.parts) {
        let cost = match part {
            Part::Text(text) => {
                text_bytes += text.len();
                Cost::default()
            }
            Part::Image(source) => {
                pictures += 1;
                of_picture(source, &decode)
            }
            Part::Video(video) => {
                videos += 1;
                of_video(video, &decode)
            }
        };
        if cost.bytes > limit {
            let (needed_mib, limit_mib) = (mib(cost.bytes), limit >> 20);
            return Err(match part {
                Part::Video(_) => Error::Video {
                    number: videos,
                    name: None,
                    what: format!(
                        "decoding takes {needed_mib} MiB, limit {limit_mib} MiB. Save it smaller"
                    ),
                    kind: ErrorKind::Image,
                },
                _ => Error::PictureMemory {
                    number: pictures,
                    needed_mib,
                    limit_mib,
                },
            });
        }
        most = most.max(cost.bytes);
        pixels = pixels.saturating_add(cost.pixels);
    }
    Ok(of_work(most, (pixels, text_bytes)))
}

fn of_work(bytes: u64, (pixels, text_bytes): (u64, usize)) -> Needs {
    let is_short = pixels <= SHORT_PIXELS && text_bytes <= SHORT_TEXT;
    Needs {
        bytes,
        length: match is_short {
            true => Length::Short,
            false => Length::Long,
        },
    }
}

/// What decoding takes.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Memory.
    bytes: u64,
    /// Pixels of all frames.
    pixels: u64,
}

fn of_picture(source: &ImageSource, decode: &DecodeOptions) -> Cost {
    let header = match source {
        ImageSource::Bytes(bytes) => ocelli_image::header(bytes, decode),
        ImageSource::File(path) => ocelli_image::read_header(path, decode),
    };
    header.map_or(Cost::default(), |header| Cost {
        bytes: header.working_bytes,
        pixels: u64::from(header.width) * u64::from(header.height),
    })
}

fn of_video(video: &Video, decode: &DecodeOptions) -> Cost {
    /// What frames of a film are thought to take: another program decodes them.
    const FILM: u64 = 64 << 20;
    let bytes = match &video.source {
        // A temporal patch has two frames at once.
        VideoSource::Frames(frames, _) => {
            let costs = frames.iter().map(|frame| of_picture(frame, decode));
            return costs.fold(Cost::default(), |all, one| Cost {
                bytes: all.bytes.max(2 * one.bytes),
                pixels: all.pixels.saturating_add(one.pixels),
            });
        }
        // The picture so far, what it was before, the frame, and how it is seen.
        VideoSource::Bytes(bytes) => ocelli_image::header(bytes, decode).map_or(FILM, |header| {
            header.working_bytes + 14 * u64::from(header.width) * u64::from(header.height)
        }),
        VideoSource::File(_) => FILM,
    };
    // How many frames there are shows when they are read.
    Cost {
        bytes,
        pixels: u64::MAX,
    }
}

fn decode_options(options: &ServiceOptions) -> DecodeOptions {
    DecodeOptions {
        limits: Limits {
            pixels: options.picture_pixels,
            encoded_bytes: options.picture_bytes,
            ..Limits::default()
        },
        ..DecodeOptions::default()
    }
}

/// Bytes of a request's pictures as the encoder takes them.
pub(super) fn prepared_bytes(pictures: &[Picture]) -> u64 {
    let bytes = |picture: &Picture| 4 * picture.patches.pixels.len() as u64;
    pictures.iter().map(bytes).sum()
}

/// Refuses what waited too long for its turn on the pool.
pub(super) fn check_wait(since: Instant, options: &ServiceOptions) -> Result<(), Error> {
    let waited = since.elapsed();
    match waited > options.most_waiting {
        false => Ok(()),
        true => Err(Error::Waited {
            seconds: waited.as_secs(),
            limit: options.most_waiting.as_secs(),
        }),
    }
}

/// Decodes pictures, renders the template and tokenizes.
pub(super) fn prepare(
    preparer: &Preparer,
    (ask, files): (&Ask, &Files),
    wanted: Wanted<'_>,
    (options, status): (&ServiceOptions, &Status),
) -> Result<Asked, Error> {
    let recognised = Recognised {
        files,
        salt: &ask.salt,
    };
    let seeing = Seeing {
        recognised: Some(recognised),
        decode: decode_options(options),
        decode_time: Some(options.picture_time),
        video_time: Some(options.video_time),
        films: match options.other_videos {
            OtherVideos::Ffmpeg => Films::Read,
            OtherVideos::Refused => Films::Refused,
        },
        budgets: &ask.budgets,
        policy: options.context_policy,
        room: ask.max_tokens.unwrap_or(ROOM).min(preparer.context / 2),
        pan_and_scan: ask.pan_and_scan,
        wanted,
    };
    let render = RenderOptions {
        tools: shown_tools(preparer, ask),
        arguments: ask.arguments.clone(),
        ..RenderOptions::default()
    };
    let asked = match &ask.asked {
        AskedFor::Chat(messages) => preparer.chat(messages, &render, &seeing)?,
        AskedFor::Text(text) => preparer.text(text)?,
        AskedFor::Tokens(tokens) => preparer.tokens(tokens)?,
    };
    let prepared = &asked.prepared;
    status
        .images
        .fetch_add(prepared.records.len() as u64, Relaxed);
    let micros = |time: Duration| time.as_micros() as u64;
    status
        .image_decode_us
        .fetch_add(micros(prepared.decode), Relaxed);
    let preprocess = micros(prepared.preprocess);
    status.image_preprocess_us.fetch_add(preprocess, Relaxed);
    Ok(asked)
}

/// The tools that the template is given. Where a call is forced they bind the form of the answer,
/// so that a template that shows none does not lose them.
fn shown_tools(preparer: &Preparer, ask: &Ask) -> Vec<Value> {
    match ask.is_forced_to_call() && !preparer.template.shows_tools() {
        true => Vec::new(),
        false => ask.tools.clone(),
    }
}

/// What the engine is asked.
pub(super) fn generate(
    preparer: &Preparer,
    ask: Ask,
    (prompt, pictures): (Prompt, Vec<Picture>),
    grammar: Option<Grammar>,
) -> Generate {
    let default = || preparer.default_sampling.clone();
    let generate = Generate::new(prompt, pictures, ask.max_tokens.unwrap_or(usize::MAX));
    Generate {
        sampling: ask.sampling.unwrap_or_else(default),
        min_tokens: ask.min_tokens,
        stop: ask.stop,
        stop_tokens: ask.stop_tokens,
        ignore_end: ask.ignore_end,
        repetition: generate.repetition.filter(|_| !ask.ignore_end),
        logprobs: ask.logprobs,
        prompt_logprobs: ask.prompt_logprobs,
        grammar,
        thinking: ask.thinking,
        show_tool_calls: !ask.tools.is_empty(),
        client: ask.client,
        salt: ask.salt,
        ..generate
    }
}

/// Tells everyone who waits for a request that there will be no answer.
pub(super) fn refuse(outlets: Vec<Outlet>, status: &Status, error: Error) {
    let mut error = Some(error);
    for outlet in outlets {
        let counter = match outlet.is_dropped() {
            true => &status.cancelled,
            false => &status.failed,
        };
        counter.fetch_add(1, Relaxed);
        match error.take() {
            Some(error) => outlet.fail(error),
            None => outlet.fail(Error::Ending),
        }
    }
}
