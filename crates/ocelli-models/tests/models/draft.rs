//! A GGUF file to be changed: how tests make other tools' layouts from a golden pair.

use std::path::{Path, PathBuf};

use ocelli_gguf::{Gguf, Value, Writer};
use ocelli_quant::TensorType;

/// One tensor of a draft.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) ty: TensorType,
    pub(crate) data: Vec<u8>,
}

/// Metadata and tensors of a file.
#[derive(Clone)]
pub(crate) struct Draft {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

impl Draft {
    /// Everything in a file.
    pub(crate) fn of(file: &Gguf) -> Self {
        let metadata = file.metadata().iter();
        let tensor = |info: &ocelli_gguf::TensorInfo| Tensor {
            name: info.name().to_owned(),
            shape: info.shape().to_vec(),
            ty: info.ty(),
            data: file.data(info).to_vec(),
        };
        Self {
            metadata: metadata.map(|(k, v)| (k.to_owned(), v.clone())).collect(),
            tensors: file.tensors().iter().map(tensor).collect(),
        }
    }

    /// The file.
    pub(crate) fn file(&self, name: &str) -> Gguf {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.set(key, value.clone());
        }
        for tensor in &self.tensors {
            writer.add_tensor(&tensor.name, &tensor.shape, tensor.ty, &tensor.data[..]);
        }
        Gguf::from_bytes(name, writer.to_bytes().unwrap().into()).unwrap()
    }

    /// Writes the file in so many parts and gives the path of the first.
    pub(crate) fn write_parts(&self, folder: &Path, name: &str, parts: usize) -> PathBuf {
        let path = |part| folder.join(format!("{name}-{part:05}-of-{parts:05}.gguf"));
        let tensors = self.tensors.chunks(self.tensors.len().div_ceil(parts));
        for (part, tensors) in tensors.enumerate() {
            let mut writer = Writer::new();
            for (key, value) in self.metadata.iter().filter(|_| part == 0) {
                writer.set(key, value.clone());
            }
            writer
                .set("split.no", part as u16)
                .set("split.count", parts as u16)
                .set("split.tensors.count", self.tensors.len() as i32);
            for tensor in tensors {
                writer.add_tensor(&tensor.name, &tensor.shape, tensor.ty, &tensor.data[..]);
            }
            writer.write_to(&path(part + 1)).unwrap();
        }
        path(1)
    }

    /// Sets a key.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.to_owned(), value.into()));
        self
    }

    /// Takes a key away and gives its value.
    pub(crate) fn take(&mut self, key: &str) -> Value {
        let at = self.metadata.iter().position(|(known, _)| known == key);
        let at = at.unwrap_or_else(|| panic!("no key `{key}`"));
        self.metadata.remove(at).1
    }

    /// Takes away every key that starts so.
    pub(crate) fn take_all(&mut self, prefix: &str) -> &mut Self {
        self.metadata.retain(|(key, _)| !key.starts_with(prefix));
        self
    }

    /// All keys.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.metadata.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Puts `to` where keys start with `from`.
    pub(crate) fn rename_keys(&mut self, from: &str, to: &str) -> &mut Self {
        for (key, _) in &mut self.metadata {
            if let Some(rest) = key.strip_prefix(from) {
                *key = format!("{to}{rest}");
            }
        }
        self
    }

    /// Puts `to` in place of `from` in the names of tensors.
    ///
    /// # Panics
    /// When no name has it: the test would not change what it says.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> &mut Self {
        let mut count = 0;
        for tensor in &mut self.tensors {
            if tensor.name.contains(from) {
                tensor.name = tensor.name.replacen(from, to, 1);
                count += 1;
            }
        }
        assert!(count > 0, "no tensor has `{from}` in its name");
        self
    }

    /// Adds a tensor of zeros.
    pub(crate) fn add_zeros(&mut self, name: &str, shape: &[u64]) -> &mut Self {
        let count = shape.iter().product::<u64>() as usize;
        self.tensors.push(Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            ty: TensorType::F32,
            data: vec![0; 4 * count],
        });
        self
    }

    /// A tensor.
    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        let found = self.tensors.iter_mut().find(|t| t.name == name);
        found.unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    /// Takes a tensor away.
    pub(crate) fn take_tensor(&mut self, name: &str) -> Tensor {
        let at = self.tensors.iter().position(|t| t.name == name);
        let at = at.unwrap_or_else(|| panic!("no tensor `{name}`"));
        self.tensors.remove(at)
    }

    /// Adds tensors.
    pub(crate) fn extend(&mut self, tensors: impl IntoIterator<Item = Tensor>) -> &mut Self {
        self.tensors.extend(tensors);
        self
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Names of the layers below a prefix, as in `v.blk.3.`.
    pub(crate) fn layers(&self, prefix: &str) -> Vec<String> {
        let layer = |t: &Tensor| {
            let rest = t.name.strip_prefix(prefix)?;
            Some(format!("{prefix}{}.", rest.split('.').next()?))
        };
        let mut layers: Vec<String> = self.tensors.iter().filter_map(layer).collect();
        layers.sort();
        layers.dedup();
        layers
    }

    /// Cuts a tensor into runs of rows (its last dimension) of these lengths and names.
    pub(crate) fn split(&mut self, name: &str, parts: &[(String, u64)]) -> &mut Self {
        let whole = self.take_tensor(name);
        let rows = *whole.shape.last().unwrap();
        assert_eq!(
            parts.iter().map(|p| p.1).sum::<u64>(),
            rows,
            "rows of {name}"
        );
        let row_bytes = whole.data.len() / rows as usize;
        let mut data = &whole.data[..];
        for (part, rows) in parts {
            let (own, rest) = data.split_at(*rows as usize * row_bytes);
            data = rest;
            let mut shape = whole.shape.clone();
            *shape.last_mut().unwrap() = *rows;
            self.tensors.push(Tensor {
                name: part.clone(),
                shape,
                ty: whole.ty,
                data: own.to_vec(),
            });
        }
        self
    }

    /// Puts tensors of one row length below each other, under a new name.
    pub(crate) fn fuse(&mut self, parts: &[String], name: &str) -> &mut Self {
        let parts: Vec<Tensor> = parts.iter().map(|part| self.take_tensor(part)).collect();
        let mut whole = parts[0].clone();
        whole.name = name.to_owned();
        for part in &parts[1..] {
            assert_eq!(part.ty, whole.ty);
            whole.data.extend_from_slice(&part.data);
            *whole.shape.last_mut().unwrap() += part.shape.last().unwrap();
        }
        self.tensors.push(whole);
        self
    }
}
