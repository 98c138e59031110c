//! What is told about models and pictures, whatever the API.

use std::time::{Duration, SystemTime};

use ocelli::inspect::{Cache, inspect, inspect_demo};
use ocelli::service::{Finished, ModelEntry};
use ocelli::{ImageRecord, Located, Region, Source, TokenLogprob, VideoRecord};
use serde_json::{Value, json};

/// What is known of a model without loading it.
#[derive(Clone, Debug)]
pub(crate) struct ModelFacts {
    pub(crate) name: String,
    /// Bytes of all its files: parts of a split model, and a projector that was found.
    pub(crate) bytes: u64,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    /// `general.architecture`, as in `qwen3vl`.
    pub(crate) family: String,
    pub(crate) parameters: u64,
    /// The type that most of the weights have.
    pub(crate) quantization: String,
    pub(crate) context_length: Option<u64>,
    pub(crate) projector_type: Option<String>,
    pub(crate) can_see: bool,
    /// Whether its template shows descriptions of tools.
    pub(crate) takes_tools: bool,
}

impl ModelFacts {
    /// Reads the heads of a model's files. What cannot be read now is an error when the model is loaded.
    pub(crate) fn new(entry: &ModelEntry) -> Self {
        let modified = entry
            .modified()
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let mut facts = Self {
            name: entry.name.clone(),
            bytes: entry.file_bytes(),
            modified: modified.map_or(0, |time| time.as_secs()),
            family: "unknown".to_owned(),
            parameters: 0,
            quantization: "unknown".to_owned(),
            context_length: None,
            projector_type: None,
            can_see: false,
            takes_tools: false,
        };
        let report = match &entry.source {
            Source::Demo => inspect_demo(Cache::default()),
            Source::File(_) => inspect(&entry.files(), Cache::default()),
        };
        let Ok(report) = report else {
            return facts;
        };
        facts.bytes = report.files.iter().map(|file| file.bytes).sum();
        for file in &report.files {
            if let Some(kind) = &file.projector_type {
                facts.projector_type = Some(kind.clone());
                facts.can_see = true;
                continue;
            }
            facts.family = file.architecture.clone().unwrap_or(facts.family);
            facts.parameters = file.parameters;
            facts.takes_tools = file.template.as_ref().is_some_and(|it| it.shows_tools);
            facts.context_length = file.context_length;
            if let Some(kind) = file.types.first() {
                facts.quantization = kind.name.to_owned();
            }
        }
        facts
    }
}

/// A time as RFC 3339 writes it, in UTC.
pub(crate) fn rfc3339(seconds: u64) -> String {
    // Days to a date: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let rest = seconds % 86_400;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |time| time.as_secs())
}

/// What the model saw of a picture.
pub(crate) fn image(record: &ImageRecord) -> Value {
    json!({
        "width": record.width,
        "height": record.height,
        "resized_width": record.resized_width,
        "resized_height": record.resized_height,
        "tokens": record.tokens,
    })
}

/// What the model saw of each picture.
pub(crate) fn images(records: &[ImageRecord]) -> Value {
    records.iter().map(image).collect()
}

/// What the model saw of each video.
pub(crate) fn videos(records: &[VideoRecord]) -> Value {
    let video = |record: &VideoRecord| {
        json!({
            "width": record.width,
            "height": record.height,
            "source_frames": record.source_frames,
            "frames": record.frames,
            "fps": record.fps,
            "resized_width": record.resized_width,
            "resized_height": record.resized_height,
            "tokens": record.tokens,
        })
    };
    records.iter().map(video).collect()
}

/// Puts into a count of tokens what the model saw of pictures and videos, where there are some.
pub(crate) fn put_media(usage: &mut Value, finished: &Finished) {
    if !finished.images.is_empty() {
        usage["images"] = images(&finished.images);
    }
    if !finished.videos.is_empty() {
        usage["videos"] = videos(&finished.videos);
    }
}

/// Places that an answer names, in pixels of the last picture.
pub(crate) fn boxes(located: &[Located]) -> Value {
    located
        .iter()
        .map(|located| match located.region {
            Region::Box {
                left,
                top,
                right,
                bottom,
            } => json!({"label": located.label, "box": [left, top, right, bottom]}),
            Region::Quad(corners) => json!({"label": located.label, "quad": corners}),
            Region::Point(x, y) => json!({"label": located.label, "point": [x, y]}),
        })
        .collect()
}

/// A token of an answer with its probability and those of its alternatives, as OpenAI and Ollama tell it.
pub(crate) fn token_logprob(token: &TokenLogprob) -> Value {
    let one = |bytes: &[u8], logprob: f32| {
        json!({
            "token": String::from_utf8_lossy(bytes),
            "logprob": logprob.max(-9999.0),
            "bytes": bytes,
        })
    };
    let mut entry = one(&token.bytes, token.logprob);
    let others = token.alternatives.iter();
    entry["top_logprobs"] = others
        .map(|other| one(&other.bytes, other.logprob))
        .collect();
    entry
}

/// Times and rates as llama-server names them.
pub(crate) fn timings(finished: &Finished) -> Value {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let rate = |count: usize, time: Duration| match time.is_zero() {
        true => 0.0,
        false => count as f64 / time.as_secs_f64(),
    };
    let usage = &finished.usage;
    let times = &finished.timings;
    let prompt = usage.prompt_tokens - usage.cached_tokens;
    json!({
        "cache_n": usage.cached_tokens,
        "prompt_n": prompt,
        "prompt_ms": ms(times.prefill),
        "prompt_per_second": rate(prompt, times.prefill),
        "predicted_n": usage.completion_tokens,
        "predicted_ms": ms(times.decode),
        "predicted_per_second": rate(usage.completion_tokens, times.decode),
        "image_decode_ms": ms(times.image_decode),
        "image_preprocess_ms": ms(times.preprocess),
        "image_encode_ms": ms(times.encode),
    })
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_795_305_599), "2026-11-21T23:59:59Z");
    }
}
