//! Writing a model as several files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Declared, Writer};
use crate::error::{Error, Problem};
use crate::file::Gguf;
use crate::limits;
use crate::shards::part_name;
use crate::tensor::byte_length;
use crate::value::Value;

/// How a model is cut into parts, and what makes a file one of them.
#[derive(Clone, Debug)]
pub struct Parts {
    runs: Vec<Range<usize>>,
    tensors: usize,
}

impl Parts {
    /// Cuts tensors of these sizes, in their order, into parts with at most `most_bytes` each, or
    /// one tensor. A model without tensors has one part.
    pub fn cut(tensor_bytes: impl IntoIterator<Item = u64>, most_bytes: u64) -> Self {
        let mut runs = Vec::new();
        let (mut start, mut bytes, mut tensors) = (0, 0_u64, 0);
        for (index, more) in tensor_bytes.into_iter().enumerate() {
            if index > start && bytes.saturating_add(more) > most_bytes {
                runs.push(start..index);
                (start, bytes) = (index, 0);
            }
            bytes = bytes.saturating_add(more);
            tensors = index + 1;
        }
        runs.push(start..tensors);
        Self { runs, tensors }
    }

    /// Which tensors each part has.
    pub fn runs(&self) -> &[Range<usize>] {
        &self.runs
    }

    /// What a part, counted from 0, says of itself.
    pub fn keys(&self, part: usize) -> [(String, Value); 3] {
        [
            ("split.no".to_owned(), Value::U16(part as u16)),
            ("split.count".to_owned(), Value::U16(self.runs.len() as u16)),
            (
                "split.tensors.count".to_owned(),
                Value::I32(self.tensors as i32),
            ),
        ]
    }

    /// The name by which a part, counted from 0, is found.
    pub fn file_name(&self, stem: &str, part: usize) -> String {
        part_name(stem, part as u32 + 1, self.runs.len() as u32)
    }
}

impl<'a> Writer<'a> {
    /// A writer with everything that `model` holds, as one whole model: without the keys that
    /// describe its parts.
    pub fn copy_of(model: &'a Gguf) -> Self {
        let mut writer = Self::new();
        for (key, value) in model.metadata().iter() {
            if !key.starts_with("split.") {
                writer.set(key, value.clone());
            }
        }
        for tensor in model.tensors() {
            writer.add_tensor(
                tensor.name(),
                tensor.shape(),
                tensor.ty(),
                model.data(tensor),
            );
        }
        writer
    }

    /// Writes parts `{prefix}-00001-of-0000N.gguf` with at most `most_bytes` of tensor data each,
    /// or one tensor. The first part has all metadata. Tensors keep their order. Returns the parts'
    /// paths.
    ///
    /// # Errors
    /// As [`Writer::write_to`]; more than [`limits::SHARDS`] parts. Parts that were complete by
    /// then are left.
    pub fn write_split(&self, prefix: &Path, most_bytes: u64) -> Result<Vec<PathBuf>, Error> {
        let bytes = |tensor: &Declared<'_>| {
            byte_length(&tensor.name, &tensor.shape, tensor.ty).map(|bytes| bytes as u64)
        };
        let bytes: Result<Vec<u64>, Problem> = self.tensors.iter().map(bytes).collect();
        let parts = Parts::cut(bytes.map_err(Error::Write)?, most_bytes);
        let count = parts.runs().len() as u64;
        if count > limits::SHARDS.into() {
            return Err(Error::Write(Problem::Count {
                what: "parts",
                claimed: count,
                most: limits::SHARDS.into(),
            }));
        }
        let stem = prefix.file_name().unwrap_or_default().to_string_lossy();
        let mut paths = Vec::with_capacity(parts.runs().len());
        for (number, run) in parts.runs().iter().enumerate() {
            let mut part = Writer {
                metadata: Vec::new(),
                tensors: self.tensors[run.clone()].to_vec(),
            };
            match number {
                0 => part.metadata.clone_from(&self.metadata),
                // Every part has its own data section, so each needs the alignment.
                _ => part.metadata.extend(
                    self.metadata
                        .iter()
                        .find(|(k, _)| k == "general.alignment")
                        .cloned(),
                ),
            }
            for (key, value) in parts.keys(number) {
                part.set(key, value);
            }
            let path = prefix.with_file_name(parts.file_name(&stem, number));
            part.write_to(&path)?;
            paths.push(path);
        }
        Ok(paths)
    }
}
