//! What a run prints: the answer as it comes, one JSON object, or the times of its stages.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use ocelli::{Answer, ImageRecord, Located, Region, VideoRecord};
use serde_json::{Value, json};

use crate::failure::{Code, Failure};

/// Standard output. A reader that went away is no error: what it wanted it has.
#[derive(Debug)]
pub(crate) struct Output {
    is_terminal: bool,
    is_closed: bool,
    ends_with_newline: bool,
    failure: Option<io::Error>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: io::stdout().is_terminal(),
            is_closed: false,
            ends_with_newline: true,
            failure: None,
        }
    }

    /// Writes text now. On a terminal, control characters that could steer it are shown instead of sent.
    pub(crate) fn text(&mut self, text: &str) {
        if text.is_empty() || self.is_closed {
            return;
        }
        let mut out = io::stdout().lock();
        let written = match self.is_terminal {
            true => out.write_all(visible(text).as_bytes()),
            false => out.write_all(text.as_bytes()),
        };
        if let Err(error) = written.and_then(|()| out.flush()) {
            self.is_closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failure = Some(error);
            }
        }
        self.ends_with_newline = text.ends_with('\n');
    }

    /// What another writer puts on standard output, by the same rules.
    ///
    /// # Errors
    /// As [`Output::finish`].
    pub(crate) fn print(write: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
        let mut output = Self::new();
        let written = write().and_then(|()| io::stdout().flush());
        output.failure = written
            .err()
            .filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        output.finish()
    }

    /// Ends the last line, if it is open.
    pub(crate) fn end_line(&mut self) {
        if !self.ends_with_newline {
            self.text("\n");
        }
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What went wrong, if it was more than a reader that went away.
    ///
    /// # Errors
    /// When standard output could not be written, for example to a full disk.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.failure {
            None => Ok(()),
            Some(error) => Err(Failure::new(
                Code::Path,
                format_args!("cannot write standard output: {error}"),
            )),
        }
    }
}

/// `1 answer`, `2 answers`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Finds out before minutes of work whether a file can be written at all.
///
/// # Errors
/// When it is a folder, or in none.
pub(crate) fn refuse_bad_target(flag: &str, path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    let found = match (path.is_dir(), folder.is_none_or(Path::is_dir)) {
        (true, _) => "a folder",
        (_, false) => "no such folder",
        _ => return Ok(()),
    };
    Err(Failure::new(
        Code::Path,
        format_args!(
            "{flag} {}: found {found}, need a file name in a folder that exists",
            path.display()
        ),
    ))
}

/// Prints one JSON object on standard output.
///
/// # Errors
/// As [`Output::finish`].
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    let mut output = Output::new();
    output.text(&format!("{value:#}\n"));
    output.finish()
}

/// Text whose control characters, line ends and tabs aside, are replaced by their pictures.
fn visible(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' => character,
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        other => other,
    };
    text.chars().map(shown).collect()
}

/// The object of `run --json`.
pub(crate) fn answer_json(model: &str, answer: &Answer) -> Value {
    let timings = &answer.timings;
    json!({
        "answer": answer.text,
        "finish_reason": answer.finish_reason.name(),
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "cached_tokens": answer.usage.cached_tokens,
            "draft_tokens": answer.usage.drafts.tokens,
            "accepted_draft_tokens": answer.usage.drafts.accepted,
        },
        "images": answer.images.iter().map(image_json).collect::<Vec<Value>>(),
        "videos": answer.videos.iter().map(video_json).collect::<Vec<Value>>(),
        "timings": {
            "load_s": timings.load.as_secs_f64(),
            "image_decode_s": timings.image_decode.as_secs_f64(),
            "preprocess_s": timings.preprocess.as_secs_f64(),
            "encode_s": timings.encode.as_secs_f64(),
            "prefill_s": timings.prefill.as_secs_f64(),
            "decode_s": timings.decode.as_secs_f64(),
        },
        "boxes": answer.boxes.iter().map(box_json).collect::<Vec<Value>>(),
        "model": model,
    })
}

/// A place in pixels of the picture as the user has it.
fn box_json(located: &Located) -> Value {
    let (kind, numbers) = match located.region {
        Region::Box {
            left,
            top,
            right,
            bottom,
        } => ("box", json!([left, top, right, bottom])),
        Region::Quad(corners) => ("quad", json!(corners)),
        Region::Point(x, y) => ("point", json!([x, y])),
    };
    json!({"label": located.label, kind: numbers})
}

pub(crate) fn image_json(record: &ImageRecord) -> Value {
    json!({
        "width": record.width,
        "height": record.height,
        "orientation": record.orientation.exif_value(),
        "resized_width": record.resized_width,
        "resized_height": record.resized_height,
        "grid": [record.grid.t, record.grid.h, record.grid.w],
        "tokens": record.tokens,
    })
}

pub(crate) fn video_json(record: &VideoRecord) -> Value {
    json!({
        "width": record.width,
        "height": record.height,
        "source_frames": record.source_frames,
        "source_fps": record.source_fps,
        "frames": record.frames,
        "fps": record.fps,
        "times_s": record.times,
        "resized_width": record.resized_width,
        "resized_height": record.resized_height,
        "grid": [record.grid.t, record.grid.h, record.grid.w],
        "tokens": record.tokens,
    })
}

/// The lines of `--verbose`, for standard error.
pub(crate) fn report(answer: &Answer) -> String {
    let mut lines = Vec::new();
    for (index, record) in answer.images.iter().enumerate() {
        lines.push(format!("image {:<8} {record}", index + 1));
    }
    for (index, record) in answer.videos.iter().enumerate() {
        lines.push(format!("video {:<8} {record}", index + 1));
    }
    let of_images = answer.images.iter().map(|record| record.tokens);
    let of_videos = answer.videos.iter().map(|record| record.tokens);
    let image_tokens: usize = of_images.chain(of_videos).sum();
    let (timings, usage) = (&answer.timings, &answer.usage);
    let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    let prefilled = match usage.cached_tokens {
        0 => format!("{} tokens", usage.prompt_tokens),
        cached => format!("{computed} tokens, {cached} kept"),
    };
    // The first token comes out of the prompt's last step.
    let decoded = usage.completion_tokens.saturating_sub(1);
    lines.push(format!(
        "{:<14} {:>9.3} s",
        "load",
        timings.load.as_secs_f64()
    ));
    lines.push(format!(
        "{:<14} {:>9.3} s",
        "image decode",
        timings.image_decode.as_secs_f64()
    ));
    lines.push(format!(
        "{:<14} {:>9.3} s",
        "preprocess",
        timings.preprocess.as_secs_f64()
    ));
    lines.push(stage(
        "encode",
        timings.encode,
        image_tokens,
        &format!("{image_tokens} tokens"),
    ));
    lines.push(stage("prefill", timings.prefill, computed, &prefilled));
    let generated = match usage.drafts.accepted {
        0 => format!("{} tokens", usage.completion_tokens),
        guessed => format!("{} tokens, {guessed} guessed", usage.completion_tokens),
    };
    lines.push(stage("decode", timings.decode, decoded, &generated));
    lines.push(format!("{:<14} {}", "finish", answer.finish_reason.name()));
    lines.join("\n")
}

fn stage(name: &str, time: Duration, tokens: usize, what: &str) -> String {
    let seconds = time.as_secs_f64();
    let speed = match tokens > 0 && seconds > 0.0 {
        true => format!(", {:.1} tokens/s", tokens as f64 / seconds),
        false => String::new(),
    };
    format!("{name:<14} {seconds:>9.3} s  {what}{speed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_cannot_steer_the_terminal() {
        assert_eq!(
            visible("a\tb\n\u{1b}[2J\u{9b}x\u{7f}é"),
            "a\tb\n\u{241b}[2J\u{fffd}x\u{2421}é"
        );
    }
}
