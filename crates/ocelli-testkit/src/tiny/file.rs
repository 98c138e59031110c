//! A GGUF under construction, open to every change.

use std::path::Path;

use ocelli_gguf::{Value, Writer};
use ocelli_quant::{TensorType, quantize};

use super::random::Random;

/// Metadata and tensors of one file; what a test wants broken it breaks here.
#[derive(Debug, Clone)]
pub struct TinyFile {
    metadata: Vec<(String, Value)>,
    tensors: Vec<TinyTensor>,
}

/// One tensor with its values in F32, stored as `ty` when the file is written.
#[derive(Debug, Clone)]
pub struct TinyTensor {
    /// The tensor's name.
    pub name: String,
    /// Fastest-varying dimension first.
    pub shape: Vec<u64>,
    /// Stored type.
    pub ty: TensorType,
    /// As many as the shape says, else the file cannot be written.
    pub values: Vec<f32>,
}

impl TinyFile {
    pub(crate) fn new() -> Self {
        Self {
            metadata: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Sets a metadata value.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        match self.metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Takes a metadata value away.
    ///
    /// # Panics
    /// When the key is not there: the test would not break what it says.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        let before = self.metadata.len();
        self.metadata.retain(|(known, _)| known != key);
        assert!(self.metadata.len() < before, "no key `{key}`");
        self
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> &[TinyTensor] {
        &self.tensors
    }

    /// A tensor, to change its shape, type or values.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn tensor(&mut self, name: &str) -> &mut TinyTensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    /// Adds an F32 tensor of random values around `mean`. `shape` is fastest-varying first.
    pub fn add_tensor(
        &mut self,
        seed: u64,
        name: &str,
        shape: &[u64],
        (mean, deviation): (f32, f32),
    ) -> &mut Self {
        let mut random = Random::named(seed, name);
        let count = shape.iter().product::<u64>();
        self.tensors.push(TinyTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            ty: TensorType::F32,
            values: (0..count)
                .map(|_| mean + deviation * random.normal())
                .collect(),
        });
        self
    }

    /// Takes a tensor away and returns it.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn remove_tensor(&mut self, name: &str) -> TinyTensor {
        let found = self.tensors.iter().position(|tensor| tensor.name == name);
        self.tensors
            .remove(found.unwrap_or_else(|| panic!("no tensor `{name}`")))
    }

    /// Gives a tensor another name.
    ///
    /// # Panics
    /// When there is none of the old name.
    pub fn rename_tensor(&mut self, from: &str, to: &str) -> &mut Self {
        self.tensor(from).name = to.to_owned();
        self
    }

    /// Gives a tensor another shape; values are repeated or cut to fill it.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn reshape_tensor(&mut self, name: &str, shape: &[u64]) -> &mut Self {
        let tensor = self.tensor(name);
        let count = shape.iter().product::<u64>() as usize;
        tensor.values = tensor.values.iter().copied().cycle().take(count).collect();
        tensor.shape = shape.to_vec();
        self
    }

    /// Stores every tensor of two or more dimensions as `ty` where its rows fill the blocks.
    pub fn store_as(&mut self, ty: TensorType) -> &mut Self {
        for tensor in self
            .tensors
            .iter_mut()
            .filter(|tensor| tensor.shape.len() > 1)
        {
            if ty.row_bytes(tensor.shape[0] as usize).is_some() {
                tensor.ty = ty;
            }
        }
        self
    }

    /// The file's bytes.
    ///
    /// # Panics
    /// When the writer refuses the file: values that do not fill a shape, a name twice.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.set(key.clone(), value.clone());
        }
        for tensor in &self.tensors {
            let mut bytes = Vec::new();
            if tensor.ty == TensorType::F32 {
                bytes.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
            } else {
                quantize(tensor.ty, &tensor.values, &mut bytes)
                    .unwrap_or_else(|e| panic!("`{}`: {e}", tensor.name));
            }
            writer.add_tensor(tensor.name.clone(), &tensor.shape, tensor.ty, bytes);
        }
        writer.to_bytes().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Writes the file.
    ///
    /// # Panics
    /// As [`TinyFile::to_bytes`], and when the path cannot be written.
    pub fn write_to(&self, path: &Path) {
        std::fs::write(path, self.to_bytes()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
