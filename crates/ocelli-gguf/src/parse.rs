//! One file's bytes to metadata and tensors, with every check that needs no knowledge of the model.

mod values;

use std::sync::Arc;

use ocelli_quant::TensorType;

use crate::cursor::Cursor;
use crate::error::{Problem, shown};
use crate::limits;
use crate::metadata::Metadata;
use crate::tensor::{TensorInfo, byte_length, check_name};
use crate::value::Value;
use values::{parse_value, utf8};

/// What one file holds.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) version: u32,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
}

/// Bytes of the smallest metadata entry: key length, one byte of key, type, one byte of value.
const METADATA_ENTRY_LEAST: u64 = 8 + 1 + 4 + 1;
/// Bytes of the smallest tensor entry: name length, one byte of name, rank, one dimension, type, offset.
const TENSOR_ENTRY_LEAST: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// Reads a whole file. `file` is its name, for later messages of the metadata.
pub(crate) fn parse(file: &Arc<str>, bytes: &[u8]) -> Result<Content, Problem> {
    let version = check_start(bytes)?;
    let mut cursor = Cursor::new(bytes);
    cursor.take(8)?;
    let tensor_count = cursor.u64()?;
    let entry_count = cursor.u64()?;
    check_count(
        "tensors",
        tensor_count,
        limits::TENSORS,
        cursor.remaining() / TENSOR_ENTRY_LEAST,
    )?;
    check_count(
        "metadata entries",
        entry_count,
        limits::METADATA_ENTRIES,
        cursor.remaining() / METADATA_ENTRY_LEAST,
    )?;
    let metadata = parse_metadata(file, &mut cursor, entry_count)?;
    let alignment = alignment(&metadata)?;
    let mut tensors = Vec::with_capacity(tensor_count as usize);
    for index in 0..tensor_count {
        tensors.push(parse_tensor(&mut cursor, index)?);
    }
    let data_start = cursor.position().next_multiple_of(alignment.into());
    check_padding(
        &bytes[cursor.position() as usize..],
        data_start - cursor.position(),
        tensor_count,
    )?;
    place_tensors(&mut tensors, data_start, alignment, bytes.len() as u64)?;
    Ok(Content {
        version,
        metadata,
        tensors,
    })
}

/// Checks magic and version and says what the file is when it is no GGUF.
fn check_start(bytes: &[u8]) -> Result<u32, Problem> {
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    let magic = &bytes[..bytes.len().min(4)];
    if magic.len() == 4 && magic != b"GGUF" {
        return Err(identify(bytes));
    }
    let Some(header) = bytes.first_chunk::<24>() else {
        let bytes = bytes.len() as u64;
        return Err(Problem::TooShort { bytes });
    };
    let version = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    match version {
        2 | 3 => Ok(version),
        1 => Err(Problem::Version1),
        _ if (1..=3).contains(&version.swap_bytes()) => Err(Problem::BigEndian {
            version: version.swap_bytes(),
        }),
        _ => Err(Problem::Version { version }),
    }
}

/// What a file without the magic is.
fn identify(bytes: &[u8]) -> Problem {
    let start = &bytes[..bytes.len().min(512)];
    let text = String::from_utf8_lossy(start).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("version https://git-lfs") {
        return Problem::LfsPointer;
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Problem::Html;
    }
    let what = if bytes.starts_with(b"PK\x03\x04") {
        "this is a ZIP archive (PyTorch checkpoint?); convert it to GGUF".to_owned()
    } else if bytes.starts_with(b"FUGG") {
        "this is a big-endian GGUF; re-convert the model".to_owned()
    } else if [&b"lmgg"[..], b"tjgg", b"fmgg"].contains(&&bytes[..4]) {
        "this is an old GGML file; re-convert the model".to_owned()
    } else if bytes.get(8) == Some(&b'{') {
        "this looks like a safetensors file; convert it to GGUF".to_owned()
    } else {
        format!(
            "starts with {:02x?}, need [47, 47, 55, 46] (\"GGUF\")",
            &bytes[..4]
        )
    };
    Problem::NotGguf(what)
}

fn check_count(what: &'static str, claimed: u64, limit: u64, room: u64) -> Result<(), Problem> {
    let most = limit.min(room);
    if claimed > most {
        return Err(Problem::Count {
            what,
            claimed,
            most,
        });
    }
    Ok(())
}

fn parse_metadata(
    file: &Arc<str>,
    cursor: &mut Cursor<'_>,
    count: u64,
) -> Result<Metadata, Problem> {
    let mut entries = Vec::with_capacity(count as usize);
    for index in 0..count {
        let key = parse_key(cursor, index)?;
        let type_id = cursor.u32()?;
        let value = parse_value(cursor, key, type_id)?;
        entries.push((Box::from(key), value));
    }
    Metadata::new(file.clone(), entries).map_err(|key| Problem::DuplicateKey { key: shown(&key) })
}

fn parse_key<'a>(cursor: &mut Cursor<'a>, index: u64) -> Result<&'a str, Problem> {
    let length = cursor.u64()?;
    let remaining = cursor.remaining();
    if length == 0 {
        return Err(Problem::EmptyKey { index });
    }
    if length > remaining {
        return Err(Problem::KeyPastEnd {
            index,
            length,
            remaining,
        });
    }
    if length > limits::KEY_BYTES {
        return Err(Problem::KeyTooLong {
            index,
            length,
            most: limits::KEY_BYTES,
        });
    }
    utf8(cursor.take(length)?, || format!("metadata key {index}"))
}

/// The alignment of the data section.
fn alignment(metadata: &Metadata) -> Result<u32, Problem> {
    match metadata.get("general.alignment") {
        None => Ok(limits::ALIGNMENT_DEFAULT),
        Some(&Value::U32(found)) => check_alignment(found),
        Some(other) => Err(Problem::AlignmentType {
            found: other.type_name(),
        }),
    }
}

pub(crate) fn check_alignment(found: u32) -> Result<u32, Problem> {
    if found.is_power_of_two() && (limits::ALIGNMENT_MIN..=limits::ALIGNMENT_MAX).contains(&found) {
        Ok(found)
    } else {
        Err(Problem::Alignment { found })
    }
}

/// One tensor entry; the offset is still relative to the data section.
fn parse_tensor(cursor: &mut Cursor<'_>, index: u64) -> Result<TensorInfo, Problem> {
    let place = || format!("name of tensor {index}");
    let name = utf8(cursor.string_bytes(place)?, place)?;
    check_name(index, name)?;
    let rank = cursor.u32()?;
    if rank == 0 || rank as usize > limits::DIMENSIONS {
        return Err(Problem::Rank {
            name: shown(name),
            found: rank,
        });
    }
    let mut dimensions = [1; limits::DIMENSIONS];
    for dimension in &mut dimensions[..rank as usize] {
        *dimension = cursor.u64()?;
    }
    let ty = TensorType::from_gguf_id(cursor.u32()?).map_err(|source| Problem::Type {
        name: shown(name),
        source,
    })?;
    let bytes = byte_length(name, &dimensions[..rank as usize], ty)?;
    let offset = cursor.u64()?;
    Ok(TensorInfo {
        name: name.into(),
        dimensions,
        rank: rank as u8,
        ty,
        shard: 0,
        offset,
        bytes,
    })
}

/// Checks that what fills up the header to its alignment is zero, as the format has it: a header
/// that lists fewer tensors than there are would otherwise shift the data of all.
fn check_padding(rest: &[u8], bytes: u64, tensors: u64) -> Result<(), Problem> {
    let padding = &rest[..rest.len().min(bytes as usize)];
    match padding.iter().any(|byte| *byte != 0) {
        true => Err(Problem::Padding { tensors }),
        false => Ok(()),
    }
}

/// Makes offsets absolute and checks that all data is inside the file, aligned and without overlap.
fn place_tensors(
    tensors: &mut [TensorInfo],
    data_start: u64,
    alignment: u32,
    size: u64,
) -> Result<(), Problem> {
    let alignment = u64::from(alignment);
    let end = |tensor: &TensorInfo| {
        u128::from(data_start) + u128::from(tensor.offset) + tensor.bytes as u128
    };
    // Offsets exactly as a writer lays them out: then bytes missing at the end mean a cut file, not
    // a wrong offset.
    let mut next = 0u128;
    let dense = tensors.iter().all(|tensor| {
        let here = next;
        next = (next + tensor.bytes as u128).next_multiple_of(alignment.into());
        here == u128::from(tensor.offset)
    });
    if let (true, Some(last)) = (dense, tensors.last())
        && let Ok(need) = u64::try_from(end(last))
        && need > size
    {
        return Err(Problem::Truncated { need, have: size });
    }
    for tensor in tensors.iter_mut() {
        let end = end(tensor);
        if end > u128::from(size) {
            return Err(Problem::DataRange {
                name: shown(&tensor.name),
                start: end - tensor.bytes as u128,
                end,
                size,
            });
        }
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(Problem::OffsetAlignment {
                name: shown(&tensor.name),
                offset: tensor.offset,
                alignment: alignment as u32,
            });
        }
        tensor.offset += data_start;
    }
    if dense {
        Ok(())
    } else {
        check_overlap(tensors)
    }
}

fn check_overlap(tensors: &[TensorInfo]) -> Result<(), Problem> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].bytes as u64 > pair[1].offset {
            let name = shown(&pair[1].name);
            if pair[0].name == pair[1].name {
                return Err(Problem::DuplicateTensor { name });
            }
            return Err(Problem::Overlap {
                name,
                other: shown(&pair[0].name),
            });
        }
    }
    Ok(())
}
