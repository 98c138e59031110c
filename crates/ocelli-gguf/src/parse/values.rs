//! One metadata value from bytes.

use crate::cursor::Cursor;
use crate::error::{Problem, shown};
use crate::limits;
use crate::value::{ARRAY_ID, Array, StringArray, Value};

/// The value of `key` of the given type.
pub(super) fn parse_value(
    cursor: &mut Cursor<'_>,
    key: &str,
    type_id: u32,
) -> Result<Value, Problem> {
    Ok(match type_id {
        0 => Value::U8(u8::from_le_bytes(cursor.array()?)),
        1 => Value::I8(i8::from_le_bytes(cursor.array()?)),
        2 => Value::U16(u16::from_le_bytes(cursor.array()?)),
        3 => Value::I16(i16::from_le_bytes(cursor.array()?)),
        4 => Value::U32(u32::from_le_bytes(cursor.array()?)),
        5 => Value::I32(i32::from_le_bytes(cursor.array()?)),
        6 => Value::F32(f32::from_le_bytes(cursor.array()?)),
        7 => Value::Bool(parse_bool(key, cursor.array::<1>()?[0])?),
        8 => {
            let bytes = cursor.string_bytes(|| shown(key))?;
            Value::String(utf8(bytes, || shown(key))?.to_owned())
        }
        ARRAY_ID => Value::Array(parse_array(cursor, key)?),
        10 => Value::U64(u64::from_le_bytes(cursor.array()?)),
        11 => Value::I64(i64::from_le_bytes(cursor.array()?)),
        12 => Value::F64(f64::from_le_bytes(cursor.array()?)),
        id => {
            return Err(Problem::UnknownValueType {
                key: shown(key),
                id,
            });
        }
    })
}

fn parse_bool(key: &str, byte: u8) -> Result<bool, Problem> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(Problem::BadBool {
            key: shown(key),
            found,
        }),
    }
}

fn parse_array(cursor: &mut Cursor<'_>, key: &str) -> Result<Array, Problem> {
    let type_id = cursor.u32()?;
    let element_bytes = match type_id {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        // A string is at least its length.
        8 | 10..=12 => 8,
        ARRAY_ID => return Err(Problem::NestedArray { key: shown(key) }),
        id => {
            return Err(Problem::UnknownValueType {
                key: shown(key),
                id,
            });
        }
    };
    let length = cursor.u64()?;
    let remaining = cursor.remaining();
    if length > remaining / element_bytes {
        return Err(Problem::ArrayPastEnd {
            key: shown(key),
            length,
            remaining,
        });
    }
    if length > limits::ARRAY_ELEMENTS {
        return Err(Problem::ArrayTooLong {
            key: shown(key),
            length,
            most: limits::ARRAY_ELEMENTS,
        });
    }
    if type_id == 8 {
        return parse_strings(cursor, key, length as usize).map(Array::String);
    }
    let bytes = cursor.take(length * element_bytes)?;
    Ok(match type_id {
        0 => Array::U8(bytes.to_vec()),
        1 => Array::I8(numbers(bytes, i8::from_le_bytes)),
        2 => Array::U16(numbers(bytes, u16::from_le_bytes)),
        3 => Array::I16(numbers(bytes, i16::from_le_bytes)),
        4 => Array::U32(numbers(bytes, u32::from_le_bytes)),
        5 => Array::I32(numbers(bytes, i32::from_le_bytes)),
        6 => Array::F32(numbers(bytes, f32::from_le_bytes)),
        7 => Array::Bool(
            bytes
                .iter()
                .map(|&byte| parse_bool(key, byte))
                .collect::<Result<_, _>>()?,
        ),
        10 => Array::U64(numbers(bytes, u64::from_le_bytes)),
        11 => Array::I64(numbers(bytes, i64::from_le_bytes)),
        _ => Array::F64(numbers(bytes, f64::from_le_bytes)),
    })
}

fn numbers<T, const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&chunk| from(chunk))
        .collect()
}

/// Two passes, lengths then text, so that both allocations have their exact size.
fn parse_strings(cursor: &mut Cursor<'_>, key: &str, count: usize) -> Result<StringArray, Problem> {
    let mut strings = Vec::with_capacity(count);
    let mut total = 0;
    for index in 0..count {
        let bytes = cursor.string_bytes(|| format!("{}[{index}]", shown(key)))?;
        total += bytes.len() as u64;
        strings.push(bytes);
    }
    if total > limits::STRING_ARRAY_BYTES {
        return Err(Problem::StringTooLong {
            place: shown(key),
            length: total,
            most: limits::STRING_ARRAY_BYTES,
        });
    }
    let mut text = Vec::with_capacity(total as usize);
    let mut ends = Vec::with_capacity(count);
    for bytes in strings {
        text.extend_from_slice(bytes);
        ends.push(text.len() as u32);
    }
    StringArray::from_parts(text, ends).map_err(|index| Problem::NotUtf8 {
        place: format!("{}[{index}]", shown(key)),
    })
}

/// Checks a string; `place` names it in the error.
pub(super) fn utf8(bytes: &[u8], place: impl Fn() -> String) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| Problem::NotUtf8 { place: place() })
}
