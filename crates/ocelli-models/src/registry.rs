//! Which file makes which model, and which text model takes which projector.
//!
//! Three tables: text architectures, projector types, and pairs of both. A pair without a row is
//! refused, whatever its widths.

use ocelli_gguf::Gguf;
use ocelli_image::boxes::Convention;
use ocelli_image::{Crop, Grid, VideoRule, pan_and_scan};
use ocelli_tensor::Backend;

use crate::error::shown;
use crate::names::{Part, Projector, classify, normalise};
use crate::text::{
    Gemma3Text, LlamaText, Qwen2Text, Qwen2VlText, Qwen3Text, Qwen3VlMoeText, Qwen3VlText,
};
use crate::video::{TimeRule, VideoRules};
use crate::vision::{
    Gemma3Vision, LlavaVision, PixtralVision, Qwen2VlVision, Qwen3VlVision, Qwen25VlVision,
};
use crate::{Error, Loader, TextModel, VisionModel};

const TEXT: [&str; 8] = [
    "qwen2vl",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen2",
    "qwen3",
    "llama",
    "mistral3",
    "gemma3",
];
const PROJECTORS: [&str; 6] = [
    "qwen2vl_merger",
    "qwen2.5vl_merger",
    "qwen3vl_merger",
    "pixtral",
    "mlp",
    "gemma3",
];

/// A piece of what stands in the token sequence for a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaidOut {
    /// Rows of the encoder, in order; each attends to everything before it.
    Rows(usize),
    /// Rows of the encoder, in order, that see each other both ways: a step runs all of them or none.
    Block(usize),
    /// A control token: its place in [`Join::marks`].
    Mark(usize),
}

/// What a text architecture and a projector have to agree on.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// Text architecture.
    pub text: &'static str,
    /// Projector type.
    pub projector: &'static str,
    /// The token whose id stands in a picture's rows. Where the vocabulary lacks it, the first id behind the
    /// vocabulary does.
    pub image_token: &'static str,
    /// Control tokens in and around a picture's rows; the vocabulary must have them.
    pub marks: &'static [&'static str],
    /// Tokens of other families with this architecture: a vocabulary that has one was trained with
    /// another projector.
    pub foreign: &'static [&'static str],
    /// What takes the image token's place.
    pub lay_out: fn(&Grid) -> Vec<LaidOut>,
    /// How boxes come back, if the family was trained for boxes.
    pub boxes: Option<Convention>,
    /// The crops that can be shown beside a picture of a width and height, if the family was
    /// trained for crops.
    pub crops: Option<fn(u32, u32) -> Vec<Crop>>,
    /// How videos are seen, if the family was trained for videos.
    pub video: Option<VideoRules>,
}

impl Join {
    /// Tokens that a picture takes in the prompt: its rows and the marks among them.
    pub fn tokens(&self, grid: &Grid) -> usize {
        let count = |piece: &LaidOut| match *piece {
            LaidOut::Rows(rows) | LaidOut::Block(rows) => rows,
            LaidOut::Mark(_) => 1,
        };
        (self.lay_out)(grid).iter().map(count).sum()
    }
}

fn rows_only(grid: &Grid) -> Vec<LaidOut> {
    vec![LaidOut::Rows(grid.tokens())]
}

const fn qwen(
    text: &'static str,
    projector: &'static str,
    boxes: Convention,
    video: VideoRules,
) -> Join {
    Join {
        text,
        projector,
        image_token: "<|image_pad|>",
        marks: &["<|image_pad|>"],
        foreign: &[],
        lay_out: rows_only,
        boxes: Some(boxes),
        crops: None,
        video: Some(video),
    }
}

/// Rows of the picture with a break after each but the last, which an end follows.
fn rows_with_breaks(grid: &Grid) -> Vec<LaidOut> {
    let (rows, columns) = (grid.merged_h() as usize, grid.merged_w() as usize);
    let after = |row| LaidOut::Mark(if row + 1 < rows { 1 } else { 2 });
    (0..rows)
        .flat_map(|row| [LaidOut::Rows(columns), after(row)])
        .collect()
}

const fn pixtral(text: &'static str) -> Join {
    Join {
        text,
        projector: "pixtral",
        image_token: "[IMG]",
        marks: &["[IMG]", "[IMG_BREAK]", "[IMG_END]"],
        foreign: &[],
        lay_out: rows_with_breaks,
        boxes: None,
        crops: None,
        video: None,
    }
}

/// Vocabularies of LLaVA-1.5 may have no token for a picture: the template writes `<image>` as text.
const LLAVA: Join = Join {
    text: "llama",
    projector: "mlp",
    image_token: "<image>",
    marks: &[],
    foreign: &["[IMG]"],
    lay_out: rows_only,
    boxes: None,
    crops: None,
    video: None,
};

fn one_block(grid: &Grid) -> Vec<LaidOut> {
    vec![LaidOut::Block(grid.tokens())]
}

const GEMMA3: Join = Join {
    text: "gemma3",
    projector: "gemma3",
    image_token: "<image_soft_token>",
    marks: &["<start_of_image>", "<end_of_image>"],
    foreign: &[],
    lay_out: one_block,
    boxes: None,
    crops: Some(pan_and_scan),
    video: None,
};

const QWEN2_VL_VIDEO: VideoRules = qwen_video(TimeRule::Patches, VideoRule::Frames);
/// Two is the `tokens_per_second` of every released model; files may state another.
const QWEN25_VL_VIDEO: VideoRules =
    qwen_video(TimeRule::Seconds { positions: 2.0 }, VideoRule::Frames);
const QWEN3_VL_VIDEO: VideoRules = qwen_video(TimeRule::Timestamps, VideoRule::Volume);

const fn qwen_video(time: TimeRule, size: VideoRule) -> VideoRules {
    VideoRules {
        token: "<|video_pad|>",
        time,
        size,
    }
}

const JOINS: [Join; 8] = [
    pixtral("mistral3"),
    pixtral("llama"),
    LLAVA,
    qwen(
        "qwen2vl",
        "qwen2vl_merger",
        Convention::Tagged1000,
        QWEN2_VL_VIDEO,
    ),
    qwen(
        "qwen2vl",
        "qwen2.5vl_merger",
        Convention::ResizedPixels,
        QWEN25_VL_VIDEO,
    ),
    qwen(
        "qwen3vl",
        "qwen3vl_merger",
        Convention::Relative1000,
        QWEN3_VL_VIDEO,
    ),
    qwen(
        "qwen3vlmoe",
        "qwen3vl_merger",
        Convention::Relative1000,
        QWEN3_VL_VIDEO,
    ),
    GEMMA3,
];

/// The architecture of a text model: `general.architecture`, or what it stands for.
///
/// # Errors
/// When it is missing or no string.
pub fn architecture(gguf: &Gguf) -> Result<&str, Error> {
    match gguf.metadata().required_str("general.architecture")? {
        // Ollama's merged files; the decoder is the same.
        "qwen25vl" => Ok("qwen2vl"),
        other => Ok(other),
    }
}

/// The projector type of a file with a vision part, whatever its keys say.
///
/// # Errors
/// When the file has no vision part, or nothing says which.
pub fn projector_type(gguf: &Gguf) -> Result<&str, Error> {
    Ok(classify(gguf)?.0.name())
}

/// Loads the text decoder of a file. `report` gets the bytes of each tensor as it is read.
///
/// # Errors
/// When the architecture is unknown, or the file is no sound model of it.
pub fn load_text(
    gguf: &Gguf,
    backend: &dyn Backend,
    report: &dyn Fn(u64),
) -> Result<Box<dyn TextModel>, Error> {
    let architecture = architecture(gguf)?;
    let loader = Loader::new(gguf, backend, normalise(gguf, Part::Text)?).with_progress(report);
    match architecture {
        "gemma3" => Ok(Box::new(Gemma3Text::load(loader)?)),
        "qwen2vl" => Ok(Box::new(Qwen2VlText::load(loader)?)),
        "qwen3vl" => Ok(Box::new(Qwen3VlText::load(loader)?)),
        "qwen3vlmoe" => Ok(Box::new(Qwen3VlMoeText::load(loader)?)),
        "qwen2" => Ok(Box::new(Qwen2Text::load(loader)?)),
        "qwen3" => Ok(Box::new(Qwen3Text::load(loader)?)),
        "llama" | "mistral3" => Ok(Box::new(LlamaText::load(loader)?)),
        other => Err(Error::UnsupportedArchitecture {
            file: gguf.name().to_owned(),
            found: shown(other),
            supported: TEXT.join(", "),
        }),
    }
}

/// Loads the vision encoder and projector of a file.
///
/// # Errors
/// When the projector type is unknown, or the file is no sound model of it.
pub fn load_vision(
    gguf: &Gguf,
    backend: &dyn Backend,
    report: &dyn Fn(u64),
) -> Result<Box<dyn VisionModel>, Error> {
    let (projector, _) = classify(gguf)?;
    let loader = Loader::new(gguf, backend, normalise(gguf, Part::Vision)?).with_progress(report);
    match projector {
        Projector::Llava => Ok(Box::new(LlavaVision::load(loader)?)),
        Projector::Pixtral => Ok(Box::new(PixtralVision::load(loader)?)),
        Projector::Gemma3 => Ok(Box::new(Gemma3Vision::load(loader)?)),
        Projector::Qwen2Vl => Ok(Box::new(Qwen2VlVision::load(loader)?)),
        Projector::Qwen25Vl => Ok(Box::new(Qwen25VlVision::load(loader)?)),
        Projector::Qwen3Vl => Ok(Box::new(Qwen3VlVision::load(loader)?)),
        Projector::Other(other) => Err(Error::UnsupportedProjector {
            file: gguf.name().to_owned(),
            found: shown(other),
            supported: PROJECTORS.join(", "),
        }),
    }
}

/// The row for a pair of files.
///
/// # Errors
/// When the two were never meant for each other.
pub fn join(text: &Gguf, projector: &Gguf) -> Result<&'static Join, Error> {
    let (architecture, projector_type) = (architecture(text)?, projector_type(projector)?);
    let mismatch = |with: String| Error::PairMismatch {
        what: format!(
            "projector type '{}' does not go with {with}",
            shown(projector_type)
        ),
        text_file: text.name().to_owned(),
        projector_file: projector.name().to_owned(),
    };
    let row = JOINS
        .iter()
        .find(|row| row.text == architecture && row.projector == projector_type)
        .ok_or_else(|| mismatch(format!("architecture '{}'", shown(architecture))))?;
    let tokens = text.metadata().str_array("tokenizer.ggml.tokens")?;
    let mut tokens = tokens.into_iter().flat_map(|tokens| tokens.iter());
    match tokens.find(|token| row.foreign.contains(token)) {
        Some(token) => Err(mismatch(format!(
            "a vocabulary that has '{token}': this model is of another family"
        ))),
        None => Ok(row),
    }
}

/// Checks that loaded halves of a pair fit.
///
/// # Errors
/// When widths or deepstack counts differ.
pub fn check_fit(
    (text_file, text): (&Gguf, &dyn TextModel),
    (projector_file, vision): (&Gguf, &dyn VisionModel),
) -> Result<(), Error> {
    let mismatch = |what: String| {
        Err(Error::PairMismatch {
            what,
            text_file: text_file.name().to_owned(),
            projector_file: projector_file.name().to_owned(),
        })
    };
    if vision.output_width() != text.hidden() {
        return mismatch(format!(
            "mmproj outputs {}, model expects {}",
            vision.output_width(),
            text.hidden()
        ));
    }
    let layers = text.shape().caches.len();
    if vision.deepstack() > layers {
        return mismatch(format!(
            "mmproj has {} deepstack outputs, model has only {layers} layers",
            vision.deepstack()
        ));
    }
    let key = format!("{}.n_deepstack_layers", architecture(text_file)?);
    if let Some(needed) = text_file.metadata().u32(&key)?
        && needed as usize != vision.deepstack()
    {
        return mismatch(format!(
            "mmproj has {} deepstack outputs, model expects {needed}",
            vision.deepstack()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_places_a_video_by_its_own_rule() {
        let step = |projector: &str| {
            let join = JOINS.iter().find(|join| join.projector == projector);
            join.and_then(|join| join.video?.time.step(0.5))
        };
        assert_eq!(step("qwen2vl_merger"), Some(1.0));
        assert_eq!(step("qwen2.5vl_merger"), Some(1.0));
        assert_eq!(step("qwen3vl_merger"), None);
    }

    #[test]
    fn a_break_follows_each_row_of_a_picture_and_an_end_the_last() {
        let grid = Grid {
            t: 1,
            h: 4,
            w: 6,
            merge: 2,
            tiles: None,
        };
        let (row, mark) = (LaidOut::Rows(3), LaidOut::Mark);
        assert_eq!(rows_with_breaks(&grid), [row, mark(1), row, mark(2)]);
        assert_eq!(pixtral("llama").tokens(&grid), 2 * (3 + 1));
    }
}
