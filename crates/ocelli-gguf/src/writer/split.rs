//! Writing a model as several files.

use std::path::{Path, PathBuf};

use super::{Declared, Writer};
use crate::error::{Error, Problem};
use crate::file::Gguf;
use crate::limits;
use crate::shards::part_name;
use crate::tensor::byte_length;

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
        let parts = self.parts(most_bytes).map_err(Error::Write)?;
        let count = parts.len() as u32;
        if count > limits::SHARDS {
            let most = limits::SHARDS.into();
            return Err(Error::Write(Problem::Count {
                what: "parts",
                claimed: count.into(),
                most,
            }));
        }
        let stem = prefix.file_name().unwrap_or_default().to_string_lossy();
        let mut paths = Vec::with_capacity(parts.len());
        for (number, tensors) in (0..).zip(parts) {
            let mut part = Writer {
                metadata: Vec::new(),
                tensors: tensors.to_vec(),
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
            part.set("split.no", number as u16)
                .set("split.count", count as u16);
            part.set("split.tensors.count", self.tensors.len() as i32);
            let path = prefix.with_file_name(part_name(&stem, number + 1, count));
            part.write_to(&path)?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// Runs of tensors that go into one part each; at least one.
    fn parts(&self, most_bytes: u64) -> Result<Vec<&[Declared<'a>]>, Problem> {
        let mut parts = Vec::new();
        let (mut start, mut bytes) = (0, 0u64);
        for (index, tensor) in self.tensors.iter().enumerate() {
            let more = byte_length(&tensor.name, &tensor.shape, tensor.ty)? as u64;
            if index > start && bytes.saturating_add(more) > most_bytes {
                parts.push(&self.tensors[start..index]);
                (start, bytes) = (index, 0);
            }
            bytes = bytes.saturating_add(more);
        }
        parts.push(&self.tensors[start..]);
        Ok(parts)
    }
}
