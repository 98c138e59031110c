//! Named intermediate values of a run, as a file, and how two runs compare.
//!
//! A trace is a safetensors file. Names: `image.{i}.pixels`, `image.{i}.grid`,
//! `vision.{i}.patch_embed`, `vision.{i}.layer.{n}`, `vision.{i}.output`,
//! `vision.{i}.deepstack.{k}`, `prompt.tokens`, `prompt.positions`, `text.layer.{n}`, `logits`,
//! `decode.{k}.logits`, `decode.tokens`. Of videos: `video.{i}.pixels`, `video.{i}.grid`,
//! `vision.video.{i}.patch_embed` and so on, with the rows of all temporal patches one below the
//! other. `docs/verify.md` has the shapes.

mod compare;
mod finite;
mod record;

pub use compare::{StageReport, compare};
pub(crate) use record::Recorder;

use std::collections::BTreeMap;
use std::path::Path;

use ocelli_image::write_bytes;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::Error;

/// Values of one stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers that may differ a little.
    F32(Vec<f32>),
    /// Numbers that must be equal.
    I32(Vec<i32>),
}

/// One stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Size of each dimension, slowest first.
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub values: Values,
}

/// All stages of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Each stage by its name.
    pub stages: BTreeMap<String, Entry>,
}

impl Trace {
    /// Writes the trace.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes: Vec<(&String, Dtype, &Vec<usize>, Vec<u8>)> = self
            .stages
            .iter()
            .map(|(name, entry)| match &entry.values {
                Values::F32(v) => (
                    name,
                    Dtype::F32,
                    &entry.shape,
                    to_bytes(v, |v| v.to_le_bytes()),
                ),
                Values::I32(v) => (
                    name,
                    Dtype::I32,
                    &entry.shape,
                    to_bytes(v, |v| v.to_le_bytes()),
                ),
            })
            .collect();
        let unusable = |what: String| Error::Trace {
            path: path.to_owned(),
            what,
        };
        let views = bytes
            .iter()
            .map(|(name, dtype, shape, data)| {
                let view = TensorView::new(*dtype, (*shape).clone(), data);
                Ok((name.as_str(), view.map_err(|e| unusable(e.to_string()))?))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let about = [
            ("format", "ocelli-trace"),
            ("version", "1"),
            ("engine", "ocelli"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let file = safetensors::serialize(views, Some(about.into()))
            .map_err(|error| unusable(error.to_string()))?;
        write_bytes(path, &file).map_err(|source| Error::Path {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Reads a trace, from this program or from the reference.
    ///
    /// # Errors
    /// When the file is missing, no safetensors file, or holds other types than F32, I32 and I64.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Path {
            action: "read",
            path: path.to_owned(),
            source,
        };
        // Asked before opening: a pipe could wait and a device go on for ever.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !(metadata.is_file() || metadata.is_dir()) {
            return Err(failed(std::io::Error::other("this is no regular file")));
        }
        let file = std::fs::read(path).map_err(failed)?;
        let unusable = |what: String| Error::Trace {
            path: path.to_owned(),
            what,
        };
        let tensors = SafeTensors::deserialize(&file).map_err(|e| unusable(e.to_string()))?;
        let mut trace = Self::default();
        for (name, view) in tensors.tensors() {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => Values::F32(numbers(data, f32::from_le_bytes)),
                Dtype::I32 => Values::I32(numbers(data, i32::from_le_bytes)),
                Dtype::I64 => {
                    let values = numbers(data, i64::from_le_bytes);
                    Values::I32(narrow(&name, &values).map_err(unusable)?)
                }
                other => return Err(unusable(format!("{name} is {other:?}, need F32 or I32"))),
            };
            let shape = view.shape().to_vec();
            trace.stages.insert(name, Entry { shape, values });
        }
        Ok(trace)
    }
}

fn to_bytes<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| bytes(*v)).collect()
}

fn numbers<T, const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|b| number(*b)).collect()
}

/// Whole numbers of a reference that keeps them in 64 bits.
fn narrow(name: &str, values: &[i64]) -> Result<Vec<i32>, String> {
    let narrow = |value: &i64| {
        i32::try_from(*value).map_err(|_| format!("{name} has {value}, need numbers of 32 bits"))
    };
    values.iter().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_64_bits_is_never_cut_to_one_that_happens_to_be_right() {
        assert_eq!(narrow("prompt.tokens", &[7, -1]), Ok(vec![7, -1]));
        let error = narrow("prompt.tokens", &[(1 << 32) + 7]).unwrap_err();
        assert!(error.contains("prompt.tokens has 4294967303"), "{error}");
    }

    #[test]
    fn a_trace_comes_back_from_its_file() {
        let dir = std::env::temp_dir().join(format!("ocelli-trace-{}", std::process::id()));
        let logits = Entry {
            shape: vec![2],
            values: Values::F32(vec![1.0, -2.5]),
        };
        let tokens = Entry {
            shape: vec![2],
            values: Values::I32(vec![3, -4]),
        };
        let written = Trace {
            stages: BTreeMap::from([
                ("logits".to_owned(), logits),
                ("prompt.tokens".to_owned(), tokens),
            ]),
        };
        written.write(&dir).unwrap();
        let read = Trace::read(&dir);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(read.unwrap(), written);
    }
}
