//! Named stage values: what a safetensors file of goldens or of `ocelli trace` holds.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::compare::{Report, compare};

/// The values of a stage.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the variants are the element types of the files"
)]
pub enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

/// One stage: its values in row-major order, and its shape, outermost dimension first.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Values,
}

impl Stage {
    /// A stage of floats.
    ///
    /// # Panics
    /// When `values` do not fill `shape`.
    pub fn f32(shape: &[usize], values: Vec<f32>) -> Self {
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "values of shape {shape:?}"
        );
        let (shape, values) = (shape.to_vec(), Values::F32(values));
        Self { shape, values }
    }

    /// A stage of integers: tokens, positions, grids.
    ///
    /// # Panics
    /// When `values` do not fill `shape`.
    pub fn i32(shape: &[usize], values: Vec<i32>) -> Self {
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "values of shape {shape:?}"
        );
        let (shape, values) = (shape.to_vec(), Values::I32(values));
        Self { shape, values }
    }

    /// Compares with the reference: shapes and integers must be equal, floats are measured.
    pub fn compare(&self, name: &str, expected: &Self) -> Report {
        if self.shape != expected.shape {
            let details = format!("has shape {:?}, need {:?}", self.shape, expected.shape);
            return Report::failure(name, details);
        }
        match (&self.values, &expected.values) {
            (Values::F32(got), Values::F32(expected)) => compare(name, got, expected),
            (Values::I32(got), Values::I32(expected)) => compare_integers(name, got, expected),
            _ => Report::failure(name, "has floats for integers, or the reverse".to_owned()),
        }
    }
}

/// Tokens, positions and grids are right or wrong: the error is 0 or infinite.
pub(crate) fn compare_integers(name: &str, got: &[i32], expected: &[i32]) -> Report {
    if got.len() != expected.len() {
        return Report::failure(
            name,
            format!("has {} values, need {}", got.len(), expected.len()),
        );
    }
    match got.iter().zip(expected).position(|(a, b)| a != b) {
        None => compare(name, &[], &[]),
        Some(index) => {
            let (found, need) = (got[index], expected[index]);
            let details = format!(
                "first at value {index} of {}: {found}, need {need}",
                got.len()
            );
            Report::failure(name, details)
        }
    }
}

/// Stages by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stages {
    by_name: BTreeMap<String, Stage>,
}

impl Stages {
    /// No stages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the F32 and I32 tensors of a safetensors file.
    ///
    /// # Panics
    /// When the file cannot be read, or has tensors of other types.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file =
            SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let by_name = file.iter().map(|(name, view)| {
            let words = view
                .data()
                .chunks_exact(4)
                .map(|b| [b[0], b[1], b[2], b[3]]);
            let values = match view.dtype() {
                Dtype::F32 => Values::F32(words.map(f32::from_le_bytes).collect()),
                Dtype::I32 => Values::I32(words.map(i32::from_le_bytes).collect()),
                other => panic!(
                    "{}: stage `{name}`: found {other:?}, need F32 or I32",
                    path.display()
                ),
            };
            let shape = view.shape().to_vec();
            (name.to_owned(), Stage { shape, values })
        });
        Self {
            by_name: by_name.collect(),
        }
    }

    /// Adds or replaces a stage.
    pub fn insert(&mut self, name: impl Into<String>, stage: Stage) {
        self.by_name.insert(name.into(), stage);
    }

    /// The stage of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Stage> {
        self.by_name.get(name)
    }

    /// Names in the order in which the stages are computed: images, then the encoder image by
    /// image, prompt, text layers, logits, decoding.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        names.sort_by_cached_key(|name| rank(name));
        names
    }
}

/// Sort key that puts stages in the order of computation.
fn rank(name: &str) -> (usize, usize, usize, usize, String) {
    // Stages of videos come behind those of images.
    let is_video = name.starts_with("vision.video.") || name.starts_with("video.");
    let name = name.replacen("vision.video.", "vision.", 1);
    let parts: Vec<&str> = name.split('.').collect();
    let behind = usize::from(is_video) << 32;
    let number = |index: usize| {
        parts
            .get(index)
            .and_then(|part| part.parse().ok())
            .unwrap_or(0)
    };
    let stage = match parts[0] {
        "image" | "video" => 0,
        "vision" => 1,
        "prompt" => 2,
        "text" => 3,
        "logits" => 4,
        _ => 5,
    };
    let (step, image) = match parts[0] {
        "vision" => match parts.get(2).copied() {
            Some("patch_embed") => (0, number(1)),
            Some("layer") => (1 + number(3), number(1)),
            Some("deepstack") => (usize::MAX - 1, number(1)),
            _ => (usize::MAX, number(1)),
        },
        "text" => (number(2), 0),
        "decode" if name == "decode.tokens" => (usize::MAX, 0),
        "decode" => (number(1), 0),
        _ => (0, number(1)),
    };
    (stage, behind + image, step, number(3), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_the_order_of_computation() {
        let expected = [
            "image.0.grid",
            "image.0.pixels",
            "vision.0.patch_embed",
            "vision.0.layer.2",
            "vision.0.layer.10",
            "vision.0.deepstack.0",
            "vision.0.deepstack.1",
            "vision.0.output",
            "vision.1.patch_embed",
            "vision.video.0.patch_embed",
            "vision.video.0.layer.2",
            "vision.video.0.layer.10",
            "prompt.positions",
            "prompt.tokens",
            "text.layer.2",
            "text.layer.10",
            "logits",
            "decode.0.logits",
            "decode.10.logits",
            "decode.tokens",
        ];
        let mut stages = Stages::new();
        for name in expected.iter().rev() {
            stages.insert(*name, Stage::i32(&[0], vec![]));
        }
        assert_eq!(stages.names(), expected);
    }

    #[test]
    fn one_wrong_position_fails_whatever_the_tolerance() {
        let expected = Stage::i32(&[3], vec![1, 2, 3]);
        let report = Stage::i32(&[3], vec![1, 2, 4]).compare("prompt.positions", &expected);
        assert!(!report.passes(f32::MAX));
        assert!(
            report.to_string().contains("value 2 of 3: 4, need 3"),
            "{report}"
        );
        assert!(
            expected
                .compare("prompt.positions", &expected)
                .passes(TOLERANCE_OF_INTEGERS)
        );
    }

    const TOLERANCE_OF_INTEGERS: f32 = f32::MIN_POSITIVE;

    #[test]
    fn same_values_in_another_shape_fail() {
        let report =
            Stage::f32(&[4], vec![0.0; 4]).compare("x", &Stage::f32(&[2, 2], vec![0.0; 4]));
        assert!(
            report.to_string().contains("shape [4], need [2, 2]"),
            "{report}"
        );
    }
}
