//! The goldens of `tests/goldens`: tiny model pairs and cases with every stage.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::compare::{Report, TOLERANCE, compare};
use crate::stages::{Stage, Stages, Values};

/// The folder `tests/goldens` of this repository.
pub fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

/// The names of all suites, in alphabetical order.
///
/// # Panics
/// When the folder cannot be read.
pub fn suites() -> Vec<String> {
    let folder = goldens();
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().join("cases.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// One tiny model and its cases.
#[derive(Debug)]
pub struct Suite {
    /// The folder's name.
    pub name: String,
    /// What its `cases.json` says, for example `qwen3vl` or `gemma3-text`.
    pub family: String,
    /// The text model's GGUF.
    pub text: PathBuf,
    /// The projector's GGUF; none for text-only families.
    pub mmproj: Option<PathBuf>,
    /// In the order of `cases.json`.
    pub cases: Vec<Case>,
}

/// What is asked in a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Conversation {
    /// One user turn, images first.
    Prompt(String),
    /// An OpenAI message list whose images are paths.
    Messages(Value),
}

/// One conversation and the reference's stages.
#[derive(Debug)]
pub struct Case {
    /// The suite's and the case's name.
    pub name: String,
    /// The pictures in the order of their slots.
    pub images: Vec<PathBuf>,
    /// What is asked.
    pub conversation: Conversation,
    /// The prompt as the template gives it; each image pad stands once.
    pub rendered: String,
    /// Number of greedily decoded tokens.
    pub decode: usize,
    /// True when crops of long pictures are shown behind them.
    pub pan_and_scan: bool,
    /// Least and most tokens of an image; none without images.
    pub image_tokens: Option<RangeInclusive<u32>>,
    /// Least and most tokens of a whole video; none without videos.
    pub video_tokens: Option<RangeInclusive<u32>>,
    /// Every stage; `image.{i}.pixels` of a few large pictures is missing.
    pub stages: Stages,
}

impl Suite {
    /// Loads the suite of this name.
    ///
    /// # Panics
    /// When a file is missing or malformed.
    pub fn load(name: &str) -> Self {
        let folder = goldens().join(name);
        let path = folder.join("cases.json");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let listing: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let pixels = listing["pixels"]
            .as_str()
            .map(|file| Stages::read(&folder.join(file)));
        let cases = array(&listing["cases"])
            .map(|entry| Case::from_json(name, entry, &folder, pixels.as_ref()))
            .collect();
        Self {
            name: name.to_owned(),
            family: string(&listing["family"]),
            text: folder.join(string(&listing["text"])),
            mmproj: listing["mmproj"].as_str().map(|file| folder.join(file)),
            cases,
        }
    }

    /// The case of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn case(&self, name: &str) -> &Case {
        let wanted = format!("{}/{name}", self.name);
        let found = self.cases.iter().find(|case| case.name == wanted);
        found.unwrap_or_else(|| panic!("no case `{wanted}`"))
    }
}

impl Case {
    fn from_json(suite: &str, entry: &Value, folder: &Path, pixels: Option<&Stages>) -> Self {
        let images: Vec<PathBuf> = array(&entry["images"])
            .map(|file| folder.join(string(file)))
            .collect();
        let mut stages = Stages::read(&folder.join(string(&entry["tensors"])));
        for (index, image) in images.iter().enumerate() {
            let picture = image.file_stem().unwrap_or_default().to_string_lossy();
            if let Some(stage) = pixels.and_then(|all| all.get(&format!("{picture}.pixels"))) {
                stages.insert(format!("image.{index}.pixels"), stage.clone());
            }
        }
        let conversation = match entry["prompt"].as_str() {
            Some(prompt) => Conversation::Prompt(prompt.to_owned()),
            None => Conversation::Messages(with_paths(&entry["messages"], folder)),
        };
        let limit = |key: &str| entry[key].as_u64().and_then(|n| u32::try_from(n).ok());
        Self {
            name: format!("{suite}/{}", string(&entry["name"])),
            images,
            conversation,
            rendered: string(&entry["rendered"]),
            decode: entry["decode"]
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0),
            pan_and_scan: entry["pan_and_scan"].as_bool().unwrap_or(false),
            image_tokens: limit("image_min_tokens")
                .zip(limit("image_max_tokens"))
                .map(|(least, most)| least..=most),
            video_tokens: limit("video_min_tokens")
                .zip(limit("video_max_tokens"))
                .map(|(least, most)| least..=most),
            stages,
        }
    }

    /// The conversation as an OpenAI message list with absolute image paths.
    pub fn messages(&self) -> Value {
        match &self.conversation {
            Conversation::Messages(messages) => messages.clone(),
            Conversation::Prompt(prompt) if self.images.is_empty() => {
                json!([{"role": "user", "content": prompt}])
            }
            Conversation::Prompt(prompt) => {
                let image = |path: &PathBuf| json!({"type": "image_url", "image_url": {"url": path.to_string_lossy()}});
                let mut content: Vec<Value> = self.images.iter().map(image).collect();
                content.push(json!({"type": "text", "text": prompt}));
                json!([{"role": "user", "content": content}])
            }
        }
    }

    /// The floats of a stage.
    ///
    /// # Panics
    /// When there is no such stage of floats.
    pub fn f32(&self, stage: &str) -> &[f32] {
        match &self.stage(stage).values {
            Values::F32(values) => values,
            Values::I32(_) => panic!("{}: stage `{stage}` has integers", self.name),
        }
    }

    /// The integers of a stage.
    ///
    /// # Panics
    /// When there is no such stage of integers.
    pub fn i32(&self, stage: &str) -> &[i32] {
        match &self.stage(stage).values {
            Values::I32(values) => values,
            Values::F32(_) => panic!("{}: stage `{stage}` has floats", self.name),
        }
    }

    fn stage(&self, stage: &str) -> &Stage {
        let found = self.stages.get(stage);
        found.unwrap_or_else(|| panic!("{}: no stage `{stage}`", self.name))
    }

    /// `prompt.tokens`, image pads expanded.
    pub fn prompt_tokens(&self) -> Vec<u32> {
        unsigned(self.i32("prompt.tokens"))
    }

    /// `decode.tokens`, the greedy answer.
    pub fn answer_tokens(&self) -> Vec<u32> {
        unsigned(self.i32("decode.tokens"))
    }

    /// Compares one stage of floats.
    ///
    /// # Panics
    /// When the error is [`TOLERANCE`] or more; pixels must be equal.
    pub fn assert_stage(&self, stage: &str, got: &[f32]) {
        let report = compare(stage, got, self.f32(stage));
        assert!(
            report.passes(tolerance_of(stage)),
            "{}: {report}",
            self.name
        );
    }

    /// Compares one stage of integers: tokens, positions, grids.
    ///
    /// # Panics
    /// When they are not equal.
    pub fn assert_integers(&self, stage: &str, got: &[i32]) {
        let report = crate::stages::compare_integers(stage, got, self.i32(stage));
        assert!(report.passes(TOLERANCE), "{}: {report}", self.name);
    }

    /// A report for each stage that the reference has, in the order of computation. A stage that
    /// `got` lacks fails.
    pub fn compare_stages(&self, got: &Stages) -> Vec<Report> {
        let of = |name: &str| match got.get(name) {
            Some(stage) => stage.compare(name, self.stage(name)),
            None => Report::failure(name, "is missing".to_owned()),
        };
        self.stages.names().into_iter().map(of).collect()
    }

    /// Compares all stages.
    ///
    /// # Panics
    /// With one line for each stage when one fails, the first failing one marked.
    pub fn assert_stages(&self, got: &Stages) {
        let reports = self.compare_stages(got);
        let failed = |report: &Report| !report.passes(tolerance_of(&report.name));
        if let Some(first) = reports.iter().position(failed) {
            let mark = |index: usize| if index == first { "->" } else { "  " };
            let lines: Vec<String> = reports
                .iter()
                .enumerate()
                .map(|(index, report)| format!("{} {report}", mark(index)))
                .collect();
            panic!(
                "{}: `{}` is off\n{}",
                self.name,
                reports[first].name,
                lines.join("\n")
            );
        }
    }
}

/// Pixels are exact; everything else is measured.
fn tolerance_of(stage: &str) -> f32 {
    if stage.ends_with(".pixels") {
        f32::MIN_POSITIVE
    } else {
        TOLERANCE
    }
}

fn unsigned(values: &[i32]) -> Vec<u32> {
    let token =
        |&value: &i32| u32::try_from(value).unwrap_or_else(|_| panic!("token {value} is negative"));
    values.iter().map(token).collect()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("found {value}, need an array"))
        .iter()
}

fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("found {value}, need a string"))
        .to_owned()
}

/// Message list whose relative image paths are joined to `folder`.
fn with_paths(messages: &Value, folder: &Path) -> Value {
    let mut messages = messages.clone();
    let parts = messages
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(|m| m["content"].as_array_mut())
        .flatten();
    for part in parts {
        if let Some(url) = part["image_url"]["url"].as_str() {
            let path = folder.join(url);
            part["image_url"]["url"] = Value::from(path.to_string_lossy());
        }
        let frames = part.get_mut("video").and_then(Value::as_array_mut);
        for frame in frames.into_iter().flatten() {
            let path = folder.join(frame.as_str().unwrap_or_default());
            *frame = Value::from(path.to_string_lossy());
        }
    }
    messages
}
