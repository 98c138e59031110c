//! What quantising a projector cost: how far each layer of the vision encoder turned away from the
//! original, and whether the answers stayed the same, on pictures that are built in.

mod pictures;

use std::path::{Path, PathBuf};

use ocelli_cpu::{CpuBackend, CpuOptions, Precision};
use ocelli_gguf::Gguf;
use ocelli_image::RgbImage;
use ocelli_models::{Progress, VisionModel, load_vision};
use ocelli_store::{FileKind, find_text_model};
use ocelli_tensor::{Backend, Measure, Memory, Pass, Probe, Stage};
use serde::Serialize;

use crate::load::picture_budget;
use crate::trace::Values;
use crate::{Error, Model, Options, Request, Source};

/// Tokens of a picture: enough to be seen, few enough to be quick.
const IMAGE_TOKENS: u32 = 256;
/// Tokens of context: a picture of any family, the question and the answer.
const CONTEXT: usize = 4096;
const QUESTION: &str = "Describe the picture.";
/// Tokens of each answer that are compared.
const ANSWER_TOKENS: usize = 24;

/// What quantising a projector cost.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// Names of the pictures.
    pub pictures: Vec<&'static str>,
    /// Each stage of the encoder, in order.
    pub stages: Vec<StageQuality>,
    /// Answers about the pictures; `None` without a text model.
    pub answers: Option<AnswerQuality>,
    /// Why there are no answers.
    pub why_no_answers: Option<String>,
}

/// One stage of the encoder, over all pictures.
#[derive(Clone, Debug, Serialize)]
pub struct StageQuality {
    /// As in `vision.layer.3`.
    pub name: String,
    /// Cosine of the angle between all values before and after; 1 is no change.
    pub cosine: f64,
    /// The same for the row (patch or token) that changed most.
    pub worst_row: f64,
}

/// Greedy answers before and after.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerQuality {
    /// The text model that answered.
    pub text: PathBuf,
    /// Pictures whose answers are the same.
    pub equal: usize,
    /// Pictures.
    pub of: usize,
    /// Tokens up to the first that differs, over all answers.
    pub equal_tokens: usize,
    /// Tokens of all answers.
    pub of_tokens: usize,
}

/// Compares the vision parts of two files (projectors, or merged files). Answers are compared when
/// `text`, or a text model beside `original`, is there.
///
/// # Errors
/// When a file is bad, or memory is short.
pub fn compare(
    original: &Path,
    quantized: &Path,
    text: Option<&Path>,
    threads: Option<usize>,
) -> Result<Quality, Error> {
    let made = pictures::pictures().map_err(ocelli_models::Error::Image)?;
    let (before, limit) = stages(original, &made, threads)?;
    let (after, _) = stages(quantized, &made, threads)?;
    let (answers, why_no_answers) = match text_model(original, text)? {
        Ok(text) => {
            let options = Options {
                context: Some(CONTEXT),
                threads,
                image_max_tokens: limit,
                ..Options::default()
            };
            let before = answers(&text, original, &made, &options)?;
            let after = answers(&text, quantized, &made, &options)?;
            (Some(agreement(text, &before, &after)), None)
        }
        Err(why) => (None, Some(why)),
    };
    Ok(Quality {
        pictures: made.iter().map(|(name, _)| *name).collect(),
        stages: turned(&before, &after),
        answers,
        why_no_answers,
    })
}

/// Values of one stage.
struct Values32 {
    name: String,
    columns: usize,
    values: Vec<f32>,
}

/// Every stage of every picture, in order, and the most tokens of a picture; none where all
/// pictures have one size.
fn stages(
    path: &Path,
    pictures: &[(&str, RgbImage)],
    threads: Option<usize>,
) -> Result<(Vec<Values32>, Option<u32>), Error> {
    let file = Gguf::open(path)?;
    let backend = CpuBackend::new(&CpuOptions {
        threads,
        precision: Precision::F32,
        ..CpuOptions::default()
    })
    .map_err(|error| Error::Backend(error.to_string()))?;
    let vision = load_vision(&file, &backend, &|_| {})?;
    let limited = |image_max_tokens| Options {
        image_max_tokens,
        ..Options::default()
    };
    let mut limit = Some(IMAGE_TOKENS);
    if picture_budget(vision.as_ref(), &limited(limit)).is_err() {
        limit = None;
    }
    let budget = picture_budget(vision.as_ref(), &limited(limit))?;
    let mut all = Vec::new();
    for (_, picture) in pictures {
        let patches = vision.preprocess(std::slice::from_ref(picture), &budget)?;
        let mut see = |stage: Stage<'_>| {
            all.push(Values32 {
                name: format!("vision.{}", stage.name),
                columns: stage.columns,
                values: stage.values.to_vec(),
            });
        };
        let vision = vision.as_ref();
        let elements = encode(vision, &Measure, &patches, usize::MAX, &mut |_| {});
        encode(vision, &backend, &patches, elements, &mut see);
    }
    Ok((all, limit))
}

/// Runs the encoder; gives the elements of temporaries that it took.
fn encode(
    vision: &dyn VisionModel,
    backend: &dyn Backend,
    patches: &ocelli_image::Patches,
    elements: usize,
    see: &mut dyn FnMut(Stage<'_>),
) -> usize {
    let mut memory = Memory::reserve(backend, elements);
    let mut pass = Pass::new(backend, &mut memory, Probe::On(see));
    let mut encoding = vision.begin(&mut pass, patches);
    while let Progress::Layers(..) = vision.advance(&mut pass, &mut encoding, vision.layers()) {}
    memory.peak()
}

/// Angles of each stage, over all pictures.
fn turned(before: &[Values32], after: &[Values32]) -> Vec<StageQuality> {
    let mut found: Vec<(StageQuality, Sums)> = Vec::new();
    for (a, b) in before.iter().zip(after) {
        let at = found.iter().position(|(stage, _)| stage.name == a.name);
        let at = at.unwrap_or_else(|| {
            let stage = StageQuality {
                name: a.name.clone(),
                cosine: 1.0,
                worst_row: 1.0,
            };
            found.push((stage, Sums::default()));
            found.len() - 1
        });
        let (stage, sums) = &mut found[at];
        for (a, b) in a.values.chunks(a.columns).zip(b.values.chunks(b.columns)) {
            let row = Sums::of(a, b);
            stage.worst_row = stage.worst_row.min(row.cosine());
            sums.add(&row);
        }
        stage.cosine = sums.cosine();
    }
    found.into_iter().map(|(stage, _)| stage).collect()
}

/// Products of two vectors with each other and themselves.
#[derive(Clone, Copy, Default)]
struct Sums {
    ab: f64,
    aa: f64,
    bb: f64,
}

impl Sums {
    fn of(a: &[f32], b: &[f32]) -> Self {
        let mut sums = Self::default();
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            sums.add(&Self {
                ab: a * b,
                aa: a * a,
                bb: b * b,
            });
        }
        sums
    }

    fn add(&mut self, more: &Self) {
        self.ab += more.ab;
        self.aa += more.aa;
        self.bb += more.bb;
    }

    /// Two zero vectors do not differ.
    fn cosine(&self) -> f64 {
        match (self.aa > 0.0, self.bb > 0.0) {
            (true, true) => self.ab / (self.aa.sqrt() * self.bb.sqrt()),
            (false, false) => 1.0,
            _ => 0.0,
        }
    }
}

/// The text model to ask, or why there is none.
fn text_model(original: &Path, named: Option<&Path>) -> Result<Result<PathBuf, String>, Error> {
    if let Some(text) = named {
        return Ok(Ok(text.to_owned()));
    }
    let file = Gguf::open(original)?;
    Ok(match ocelli_store::classify(&file)? {
        FileKind::Projector(facts) => {
            let (_, pairing) = find_text_model(original, &facts);
            pairing.chosen.ok_or(pairing.reason)
        }
        // A merged file is its own text model.
        _ => Ok(original.to_owned()),
    })
}

/// Greedy tokens about each picture.
fn answers(
    text: &Path,
    vision: &Path,
    pictures: &[(&str, RgbImage)],
    options: &Options,
) -> Result<Vec<Vec<i32>>, Error> {
    let is_merged = is_merged(vision)?;
    let options = Options {
        projector: (!is_merged).then(|| vision.to_owned()),
        ..options.clone()
    };
    let text = if is_merged { vision } else { text };
    let mut model = Model::load(&Source::File(text.to_owned()), &options, &mut |_, _| {})?;
    let mut all = Vec::new();
    for (_, picture) in pictures {
        let file = picture.to_png().map_err(ocelli_models::Error::Image)?;
        let trace = model.trace(&Request::new(QUESTION).image_bytes(file), ANSWER_TOKENS)?;
        all.push(match trace.stages.get("decode.tokens").map(|s| &s.values) {
            Some(Values::I32(tokens)) => tokens.clone(),
            _ => Vec::new(),
        });
    }
    Ok(all)
}

fn is_merged(path: &Path) -> Result<bool, Error> {
    let kind = ocelli_store::classify(&Gguf::open(path)?)?;
    Ok(matches!(kind, FileKind::Merged(_)))
}

fn agreement(text: PathBuf, before: &[Vec<i32>], after: &[Vec<i32>]) -> AnswerQuality {
    let common =
        |(a, b): (&Vec<i32>, &Vec<i32>)| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    AnswerQuality {
        text,
        equal: before.iter().zip(after).filter(|(a, b)| a == b).count(),
        of: before.len(),
        equal_tokens: before.iter().zip(after).map(common).sum(),
        of_tokens: before.iter().map(Vec::len).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(values: &[f32]) -> Values32 {
        Values32 {
            name: "vision.layer.0".to_owned(),
            columns: 2,
            values: values.to_vec(),
        }
    }

    #[test]
    fn a_row_that_turns_by_a_right_angle_is_the_worst_and_lowers_the_cosine_of_all() {
        let turned = turned(
            &[stage(&[3.0, 0.0, 1.0, 0.0])],
            &[stage(&[3.0, 0.0, 0.0, 1.0])],
        );
        assert_eq!(turned.len(), 1);
        assert_eq!(turned[0].worst_row, 0.0);
        assert!((turned[0].cosine - 0.9).abs() < 1e-9);
    }

    #[test]
    fn the_same_values_and_pictures_without_values_count_as_equal() {
        let same = turned(
            &[stage(&[1.0, 2.0, 0.0, 0.0])],
            &[stage(&[1.0, 2.0, 0.0, 0.0])],
        );
        assert!((same[0].cosine - 1.0).abs() < 1e-12);
        assert!((same[0].worst_row - 1.0).abs() < 1e-12);
    }

    #[test]
    fn answers_agree_up_to_their_first_different_token() {
        let found = agreement(
            PathBuf::new(),
            &[vec![1, 2, 3], vec![4, 5, 6]],
            &[vec![1, 2, 3], vec![4, 7, 6]],
        );
        assert_eq!((found.equal, found.of), (1, 2));
        assert_eq!((found.equal_tokens, found.of_tokens), (4, 6));
    }
}
