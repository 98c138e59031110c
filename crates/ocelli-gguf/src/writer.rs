//! Writing version 3 files: all at once or tensor by tensor.

mod split;
mod stream;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use ocelli_quant::TensorType;

use crate::error::{Error, Problem, shown};
use crate::limits;
use crate::parse::check_alignment;
use crate::tensor::{byte_length, check_name};
use crate::value::{ARRAY_ID, Array, Value};

pub use split::Parts;
pub use stream::StreamWriter;

/// Collects metadata and tensors and writes them as one file.
///
/// Tensors come with their bytes ([`Writer::add_tensor`]) for [`Writer::write_to`] and
/// [`Writer::to_bytes`], or are only declared ([`Writer::declare_tensor`]) for [`Writer::start`],
/// which takes the bytes afterwards, in pieces.
#[derive(Debug, Clone, Default)]
pub struct Writer<'a> {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Declared<'a>>,
}

#[derive(Debug, Clone)]
struct Declared<'a> {
    name: String,
    shape: Vec<u64>,
    ty: TensorType,
    data: Option<Cow<'a, [u8]>>,
}

/// Name and bytes of a tensor whose data comes next, and of the padding after it.
#[derive(Debug)]
struct Slot {
    name: String,
    bytes: u64,
    padding: usize,
}

impl<'a> Writer<'a> {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a metadata value; a key that is there already keeps its place. `general.alignment` must
    /// be a `u32`.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        let (key, value) = (key.into(), value.into());
        match self.metadata.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key, value)),
        }
        self
    }

    /// Adds a tensor with its bytes. `shape` is fastest-varying first.
    pub fn add_tensor(
        &mut self,
        name: impl Into<String>,
        shape: &[u64],
        ty: TensorType,
        data: impl Into<Cow<'a, [u8]>>,
    ) -> &mut Self {
        let data = Some(data.into());
        self.tensors.push(Declared {
            name: name.into(),
            shape: shape.to_vec(),
            ty,
            data,
        });
        self
    }

    /// Adds a tensor whose bytes come later. `shape` is fastest-varying first.
    pub fn declare_tensor(
        &mut self,
        name: impl Into<String>,
        shape: &[u64],
        ty: TensorType,
    ) -> &mut Self {
        self.tensors.push(Declared {
            name: name.into(),
            shape: shape.to_vec(),
            ty,
            data: None,
        });
        self
    }

    /// Writes the file: to a temporary name beside `path`, flushed to disk, then renamed.
    ///
    /// # Errors
    /// [`Error::Write`] when the content is no valid file or a tensor has no bytes, [`Error::Io`]
    /// when writing fails.
    pub fn write_to(&self, path: &Path) -> Result<(), Error> {
        let mut stream = self.start(path)?;
        for tensor in &self.tensors {
            stream.write(&tensor.name, tensor.data.as_deref().unwrap_or_default())?;
        }
        stream.finish()
    }

    /// The file as bytes.
    ///
    /// # Errors
    /// [`Error::Write`] when the content is no valid file or a tensor has no bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let (mut bytes, slots) = self.header().map_err(Error::Write)?;
        for (tensor, slot) in self.tensors.iter().zip(slots) {
            let data = tensor.data.as_deref().unwrap_or_default();
            if data.len() as u64 != slot.bytes {
                return Err(Error::Write(slot.wrong_length(data.len() as u64)));
            }
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len() + slot.padding, 0);
        }
        Ok(bytes)
    }

    /// Writes everything before the tensors' bytes; these are then given to [`StreamWriter::write`]
    /// in the order in which the tensors were added.
    ///
    /// # Errors
    /// [`Error::Write`] when the content is no valid file, [`Error::Io`] when writing fails.
    pub fn start(&self, path: &Path) -> Result<StreamWriter, Error> {
        let (header, slots) = self.header().map_err(Error::Write)?;
        StreamWriter::start(path, &header, slots)
    }

    /// Everything up to the data section, and what follows there.
    fn header(&self) -> Result<(Vec<u8>, Vec<Slot>), Problem> {
        let alignment = self.alignment()?;
        let mut out = Vec::new();
        out.extend_from_slice(b"GGUF");
        out.extend_from_slice(&3u32.to_le_bytes());
        put_length(&mut out, self.tensors.len());
        put_length(&mut out, self.metadata.len());
        for (what, found, limit) in [
            ("tensors", self.tensors.len(), limits::TENSORS),
            (
                "metadata entries",
                self.metadata.len(),
                limits::METADATA_ENTRIES,
            ),
        ] {
            if found as u64 > limit {
                return Err(Problem::Count {
                    what,
                    claimed: found as u64,
                    most: limit,
                });
            }
        }
        for (index, (key, value)) in (0..).zip(&self.metadata) {
            check_key(index, key)?;
            put_string(&mut out, key, key)?;
            out.extend_from_slice(&value.type_id().to_le_bytes());
            put_value(&mut out, key, value)?;
        }
        let slots = self.put_tensors(&mut out, alignment)?;
        if !slots.is_empty() {
            out.resize(out.len().next_multiple_of(alignment as usize), 0);
        }
        Ok((out, slots))
    }

    fn alignment(&self) -> Result<u32, Problem> {
        match self
            .metadata
            .iter()
            .find(|(key, _)| key == "general.alignment")
        {
            None => Ok(limits::ALIGNMENT_DEFAULT),
            Some((_, Value::U32(found))) => check_alignment(*found),
            Some((_, other)) => Err(Problem::AlignmentType {
                found: other.type_name(),
            }),
        }
    }

    fn put_tensors(&self, out: &mut Vec<u8>, alignment: u32) -> Result<Vec<Slot>, Problem> {
        let mut names = HashSet::with_capacity(self.tensors.len());
        let mut slots = Vec::with_capacity(self.tensors.len());
        let mut offset = 0u64;
        for (index, tensor) in (0..).zip(&self.tensors) {
            check_name(index, &tensor.name)?;
            if !names.insert(&tensor.name) {
                return Err(Problem::DuplicateTensor {
                    name: shown(&tensor.name),
                });
            }
            let bytes = byte_length(&tensor.name, &tensor.shape, tensor.ty)? as u64;
            put_string(out, &tensor.name, &tensor.name)?;
            out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            for dimension in &tensor.shape {
                out.extend_from_slice(&dimension.to_le_bytes());
            }
            out.extend_from_slice(&tensor.ty.gguf_id().to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            let overflow = || Problem::ElementOverflow {
                name: shown(&tensor.name),
                shape: tensor.shape.clone(),
            };
            let end = offset.checked_add(bytes).ok_or_else(overflow)?;
            offset = end
                .checked_next_multiple_of(alignment.into())
                .ok_or_else(overflow)?;
            slots.push(Slot {
                name: tensor.name.clone(),
                bytes,
                padding: (offset - end) as usize,
            });
        }
        Ok(slots)
    }
}

impl Slot {
    fn wrong_length(&self, found: u64) -> Problem {
        Problem::DataLength {
            name: shown(&self.name),
            found,
            need: self.bytes,
        }
    }
}

fn check_key(index: u64, key: &str) -> Result<(), Problem> {
    let length = key.len() as u64;
    if length == 0 {
        return Err(Problem::EmptyKey { index });
    }
    if length > limits::KEY_BYTES {
        return Err(Problem::KeyTooLong {
            index,
            length,
            most: limits::KEY_BYTES,
        });
    }
    Ok(())
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, place: &str, text: &str) -> Result<(), Problem> {
    let (length, most) = (text.len() as u64, limits::STRING_BYTES);
    if length > most {
        return Err(Problem::StringTooLong {
            place: shown(place),
            length,
            most,
        });
    }
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn put_value(out: &mut Vec<u8>, key: &str, value: &Value) -> Result<(), Problem> {
    match value {
        Value::U8(n) => out.push(*n),
        Value::I8(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::U16(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::I16(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::U32(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::I32(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::F32(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::Bool(b) => out.push((*b).into()),
        Value::String(text) => put_string(out, key, text)?,
        Value::Array(array) => put_array(out, key, array)?,
        Value::U64(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::I64(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::F64(n) => out.extend_from_slice(&n.to_le_bytes()),
    }
    Ok(())
}

fn put_array(out: &mut Vec<u8>, key: &str, array: &Array) -> Result<(), Problem> {
    let (length, most) = (array.len() as u64, limits::ARRAY_ELEMENTS);
    if length > most {
        return Err(Problem::ArrayTooLong {
            key: shown(key),
            length,
            most,
        });
    }
    debug_assert_ne!(
        array.element_type_id(),
        ARRAY_ID,
        "arrays of arrays cannot be built"
    );
    out.extend_from_slice(&array.element_type_id().to_le_bytes());
    put_length(out, array.len());
    match array {
        Array::U8(v) => out.extend_from_slice(v),
        Array::I8(v) => out.extend(v.iter().map(|&n| n as u8)),
        Array::U16(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Array::I16(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Array::U32(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Array::I32(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Array::F32(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|&b| u8::from(b))),
        Array::String(v) => v.iter().try_for_each(|text| put_string(out, key, text))?,
        Array::U64(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Array::I64(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Array::F64(v) => v
            .iter()
            .for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
    }
    Ok(())
}
