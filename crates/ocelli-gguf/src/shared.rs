//! A model without a file whose tensors share their bytes: what a benchmark measures takes the
//! memory of its largest tensors instead of all of them.

use std::borrow::Cow;
use std::sync::Arc;

use ocelli_quant::TensorType;

use crate::error::{Error, Problem, shown};
use crate::file::{Gguf, Source};
use crate::metadata::Metadata;
use crate::parse::Content;
use crate::tensor::{TensorInfo, byte_length, check_name};
use crate::value::Value;

/// A tensor whose bytes are a run of one of the byte strings of [`Gguf::from_shared`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedTensor {
    /// The name.
    pub name: String,
    /// Fastest-varying dimension first.
    pub shape: Vec<u64>,
    /// Type of the elements.
    pub ty: TensorType,
    /// Which byte string.
    pub source: usize,
    /// Where in it the tensor's bytes start.
    pub offset: usize,
}

impl SharedTensor {
    /// Bytes that the tensor takes.
    ///
    /// # Errors
    /// [`Error::Write`] when the shape is impossible or its rows are no whole blocks.
    pub fn bytes(&self) -> Result<usize, Error> {
        byte_length(&self.name, &self.shape, self.ty).map_err(Error::Write)
    }

    fn check(&self, index: u64, sources: &[Vec<u8>]) -> Result<usize, Error> {
        check_name(index, &self.name).map_err(Error::Write)?;
        let bytes = self.bytes()?;
        let room = sources.get(self.source).map_or(0, Vec::len);
        let end = self.offset.checked_add(bytes);
        if self.shape.len() > crate::limits::DIMENSIONS || end.is_none_or(|end| end > room) {
            return Err(Error::Write(Problem::DataLength {
                name: shown(&self.name),
                found: room.saturating_sub(self.offset) as u64,
                need: bytes as u64,
            }));
        }
        Ok(bytes)
    }
}

impl Gguf {
    /// A model of these metadata and tensors, which may share bytes. `name` stands for a file name
    /// in messages.
    ///
    /// # Errors
    /// [`Error::Write`] when a key or a tensor is there twice, a name is bad, or a tensor leaves
    /// its byte string.
    pub fn from_shared(
        name: impl Into<String>,
        metadata: Vec<(String, Value)>,
        tensors: &[SharedTensor],
        sources: Vec<Vec<u8>>,
    ) -> Result<Self, Error> {
        let name: Arc<str> = name.into().into();
        let entries = metadata
            .into_iter()
            .map(|(key, value)| (key.into_boxed_str(), value))
            .collect();
        let wrong = |key: String| Error::Write(Problem::DuplicateKey { key: shown(&key) });
        let metadata = Metadata::new(name.clone(), entries).map_err(wrong)?;
        let mut infos: Vec<Vec<TensorInfo>> = vec![Vec::new(); sources.len()];
        for (index, tensor) in (0..).zip(tensors) {
            let bytes = tensor.check(index, &sources)?;
            let mut dimensions = [1; crate::limits::DIMENSIONS];
            dimensions[..tensor.shape.len()].copy_from_slice(&tensor.shape);
            infos[tensor.source].push(TensorInfo {
                name: tensor.name.clone().into(),
                dimensions,
                rank: tensor.shape.len() as u8,
                ty: tensor.ty,
                shard: 0,
                offset: tensor.offset as u64,
                bytes,
            });
        }
        let parts = sources.into_iter().zip(infos).map(|(bytes, tensors)| {
            let content = Content {
                version: 3,
                metadata: metadata.clone(),
                tensors,
            };
            (Source::memory(name.clone(), Cow::Owned(bytes)), content)
        });
        Self::join(parts.collect(), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, source: usize, offset: usize) -> SharedTensor {
        SharedTensor {
            name: name.to_owned(),
            shape: vec![32, 2],
            ty: TensorType::Q8_0,
            source,
            offset,
        }
    }

    #[test]
    fn tensors_see_their_own_run_of_shared_bytes() {
        let bytes: Vec<u8> = (0..100).collect();
        let model = Gguf::from_shared(
            "shape",
            vec![("general.architecture".to_owned(), "x".into())],
            &[tensor("a", 1, 0), tensor("b", 1, 32), tensor("c", 0, 0)],
            vec![vec![7; 68], bytes],
        )
        .unwrap();
        let data = |name: &str| model.data(model.tensor(name).unwrap());
        assert_eq!(data("a")[..3], [0, 1, 2]);
        assert_eq!((data("b")[0], data("b").len()), (32, 68));
        assert_eq!(data("c"), [7; 68]);
        assert_eq!(
            model.metadata().str("general.architecture").unwrap(),
            Some("x")
        );
    }

    #[test]
    fn tensors_outside_their_bytes_and_names_given_twice_are_refused() {
        let make = |tensors: &[SharedTensor]| {
            Gguf::from_shared("shape", Vec::new(), tensors, vec![vec![0; 99]])
        };
        assert!(make(&[tensor("a", 0, 31)]).is_ok());
        for bad in [
            tensor("a", 0, 32),
            tensor("a", 1, 0),
            tensor("a", 0, usize::MAX),
        ] {
            let error = make(&[bad]).unwrap_err().to_string();
            assert!(error.contains("'a'") && error.contains("68"), "{error}");
        }
        assert!(make(&[tensor("a", 0, 0), tensor("a", 0, 1)]).is_err());
    }
}
