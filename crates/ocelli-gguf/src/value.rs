//! Metadata values and arrays.

use std::fmt;

/// One metadata value, in the type that the file gives it.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the variants are the value types of the format"
)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata values of one type. The format allows arrays of arrays; no model has them
/// and they are refused.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the variants are the value types of the format"
)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StringArray),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Many strings in one allocation: a vocabulary has hundreds of thousands.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StringArray {
    text: String,
    /// The end of each string in `text`, a character boundary.
    ends: Vec<u32>,
}

impl StringArray {
    /// No strings.
    pub(crate) const EMPTY: Self = Self {
        text: String::new(),
        ends: Vec::new(),
    };

    /// Takes the strings' bytes one after the other and where each one ends, in increasing order,
    /// the last at the end of the text. `Err` is the index of a string that is not UTF-8.
    pub(crate) fn from_parts(text: Vec<u8>, ends: Vec<u32>) -> Result<Self, usize> {
        // One pass over all bytes, then a look at each boundary: the same as checking each string by itself.
        let broken_at = match String::from_utf8(text) {
            Ok(text) => match ends
                .iter()
                .position(|&end| !text.is_char_boundary(end as usize))
            {
                None => return Ok(Self { text, ends }),
                Some(index) => index,
            },
            Err(error) => {
                let byte = error.utf8_error().valid_up_to();
                ends.partition_point(|&end| end as usize <= byte)
            }
        };
        Err(broken_at)
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String number `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1] as usize,
        };
        Some(&self.text[start..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone + '_ {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let string = &self.text[start..end as usize];
            start = end as usize;
            string
        })
    }
}

impl fmt::Debug for StringArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// # Panics
/// When the strings together exceed 4 GiB.
impl<S: AsRef<str>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut array = Self::default();
        for string in strings {
            array.text.push_str(string.as_ref());
            let end = u32::try_from(array.text.len()).expect("strings of one array exceed 4 GiB");
            array.ends.push(end);
        }
        array
    }
}

/// Id of the type of an array in the file.
pub(crate) const ARRAY_ID: u32 = 9;

impl Value {
    /// Id of this value's type in the file.
    pub(crate) fn type_id(&self) -> u32 {
        match self {
            Value::U8(_) => 0,
            Value::I8(_) => 1,
            Value::U16(_) => 2,
            Value::I16(_) => 3,
            Value::U32(_) => 4,
            Value::I32(_) => 5,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::String(_) => 8,
            Value::Array(_) => ARRAY_ID,
            Value::U64(_) => 10,
            Value::I64(_) => 11,
            Value::F64(_) => 12,
        }
    }

    /// The name of this value's type, as the format spells it.
    pub fn type_name(&self) -> &'static str {
        type_name(self.type_id())
    }

    /// The integer, if this is one of any width.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(n) => n.into(),
            Value::I8(n) => n.into(),
            Value::U16(n) => n.into(),
            Value::I16(n) => n.into(),
            Value::U32(n) => n.into(),
            Value::I32(n) => n.into(),
            Value::U64(n) => n.into(),
            Value::I64(n) => n.into(),
            _ => return None,
        })
    }

    /// The number as a float, if this is a float or an integer.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            _ => self.as_integer().map(|n| n as f64),
        }
    }

    /// The truth value, if this is a bool or the integer 0 or 1.
    pub fn as_bool(&self) -> Option<bool> {
        match (self, self.as_integer()) {
            (Value::Bool(b), _) => Some(*b),
            (_, Some(0)) => Some(false),
            (_, Some(1)) => Some(true),
            _ => None,
        }
    }
}

impl Array {
    /// Id of the elements' type in the file.
    pub(crate) fn element_type_id(&self) -> u32 {
        match self {
            Array::U8(_) => 0,
            Array::I8(_) => 1,
            Array::U16(_) => 2,
            Array::I16(_) => 3,
            Array::U32(_) => 4,
            Array::I32(_) => 5,
            Array::F32(_) => 6,
            Array::Bool(_) => 7,
            Array::String(_) => 8,
            Array::U64(_) => 10,
            Array::I64(_) => 11,
            Array::F64(_) => 12,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F64(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `index` as a value of its own.
    pub fn get(&self, index: usize) -> Option<Value> {
        Some(match self {
            Array::U8(v) => Value::U8(*v.get(index)?),
            Array::I8(v) => Value::I8(*v.get(index)?),
            Array::U16(v) => Value::U16(*v.get(index)?),
            Array::I16(v) => Value::I16(*v.get(index)?),
            Array::U32(v) => Value::U32(*v.get(index)?),
            Array::I32(v) => Value::I32(*v.get(index)?),
            Array::F32(v) => Value::F32(*v.get(index)?),
            Array::Bool(v) => Value::Bool(*v.get(index)?),
            Array::String(v) => Value::String(v.get(index)?.to_owned()),
            Array::U64(v) => Value::U64(*v.get(index)?),
            Array::I64(v) => Value::I64(*v.get(index)?),
            Array::F64(v) => Value::F64(*v.get(index)?),
        })
    }
}

/// What a person reads in an error or a listing: long strings and arrays are cut.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(n) => write!(f, "{n}"),
            Value::I8(n) => write!(f, "{n}"),
            Value::U16(n) => write!(f, "{n}"),
            Value::I16(n) => write!(f, "{n}"),
            Value::U32(n) => write!(f, "{n}"),
            Value::I32(n) => write!(f, "{n}"),
            Value::U64(n) => write!(f, "{n}"),
            Value::I64(n) => write!(f, "{n}"),
            Value::F32(x) => write!(f, "{x}"),
            Value::F64(x) => write!(f, "{x}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::String(s) => write!(f, "\"{}\"", crate::error::shown(s)),
            Value::Array(array) => write!(
                f,
                "array of {} {}",
                array.len(),
                type_name(array.element_type_id())
            ),
        }
    }
}

/// The name of a value type, as the format spells it.
pub(crate) fn type_name(id: u32) -> &'static str {
    const NAMES: [&str; 13] = [
        "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64",
        "f64",
    ];
    NAMES.get(id as usize).copied().unwrap_or("unknown")
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $value:expr),+ $(,)?) => {$(
        impl From<$from> for Value {
            fn from($x: $from) -> Self {
                $value
            }
        }
    )+};
}

value_from! {
    u8 => |x| Value::U8(x),
    i8 => |x| Value::I8(x),
    u16 => |x| Value::U16(x),
    i16 => |x| Value::I16(x),
    u32 => |x| Value::U32(x),
    i32 => |x| Value::I32(x),
    u64 => |x| Value::U64(x),
    i64 => |x| Value::I64(x),
    f32 => |x| Value::F32(x),
    f64 => |x| Value::F64(x),
    bool => |x| Value::Bool(x),
    String => |x| Value::String(x),
    &str => |x| Value::String(x.to_owned()),
    Array => |x| Value::Array(x),
    StringArray => |x| Value::Array(Array::String(x)),
    Vec<u8> => |x| Value::Array(Array::U8(x)),
    Vec<u32> => |x| Value::Array(Array::U32(x)),
    Vec<i32> => |x| Value::Array(Array::I32(x)),
    Vec<f32> => |x| Value::Array(Array::F32(x)),
    Vec<bool> => |x| Value::Array(Array::Bool(x)),
    Vec<u64> => |x| Value::Array(Array::U64(x)),
    Vec<String> => |x| Value::Array(Array::String(x.iter().collect())),
    Vec<&str> => |x| Value::Array(Array::String(x.iter().collect())),
}
