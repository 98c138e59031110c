//! The key-value section, with lenient typed access.
//!
//! Writers disagree on the width of integers, so any non-negative integer is accepted as a count.
//! Every error names the file, the key, what was found and what is needed.

use std::sync::Arc;

use crate::error::{Error, shown};
use crate::limits;
use crate::value::{Array, StringArray, Value};

/// All metadata of a file, in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    file: Arc<str>,
    entries: Vec<(Box<str>, Value)>,
    /// Indices of `entries`, sorted by key.
    by_key: Vec<u32>,
}

impl Metadata {
    /// Takes entries in file order; `Err` is a key that occurs twice.
    pub(crate) fn new(file: Arc<str>, entries: Vec<(Box<str>, Value)>) -> Result<Self, String> {
        let mut by_key: Vec<u32> = (0..entries.len() as u32).collect();
        by_key.sort_by(|&a, &b| entries[a as usize].0.cmp(&entries[b as usize].0));
        for pair in by_key.windows(2) {
            if entries[pair[0] as usize].0 == entries[pair[1] as usize].0 {
                return Err(entries[pair[1] as usize].0.to_string());
            }
        }
        Ok(Self {
            file,
            entries,
            by_key,
        })
    }

    /// Name of the file, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key` as the file has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self
            .by_key
            .binary_search_by(|&i| (*self.entries[i as usize].0).cmp(key))
            .ok()?;
        Some(&self.entries[self.by_key[at] as usize].1)
    }

    /// All entries in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + '_ {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// An error about `key` of this file; for callers that know more about what a value must be.
    pub fn error(&self, key: &str, found: impl ToString, need: impl ToString) -> Error {
        Error::Metadata {
            file: self.file.to_string(),
            key: shown(key),
            found: found.to_string(),
            need: need.to_string(),
        }
    }

    /// A non-negative integer of any width that fits 32 bits.
    ///
    /// # Errors
    /// The key is there with another type or value.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.read(key, "an integer in 0..4294967295", |v| {
            v.as_integer()?.try_into().ok()
        })
    }

    /// A non-negative integer of any width.
    ///
    /// # Errors
    /// The key is there with another type or value.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.read(key, "a non-negative integer", |v| {
            v.as_integer()?.try_into().ok()
        })
    }

    /// A float, or an integer taken as one.
    ///
    /// # Errors
    /// The key is there with another type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.read(key, "a number", |v| v.as_float().map(|x| x as f32))
    }

    /// A bool, or the integer 0 or 1.
    ///
    /// # Errors
    /// The key is there with another type or value.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "a bool", Value::as_bool)
    }

    /// A string.
    ///
    /// # Errors
    /// The key is there with another type.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.read(key, "a string", |v| match v {
            Value::String(s) => Some(s.as_str()),
            _ => None,
        })
    }

    /// An array of non-negative integers that fit 32 bits.
    ///
    /// # Errors
    /// The key is there with another type or value.
    pub fn u32_array(&self, key: &str) -> Result<Option<Vec<u32>>, Error> {
        self.read(key, "an array of integers in 0..4294967295", |v| {
            integers(v)
        })
    }

    /// An array of integers that fit 32 bits with sign.
    ///
    /// # Errors
    /// The key is there with another type or value.
    pub fn i32_array(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        self.read(key, "an array of 32-bit integers", integers)
    }

    /// An array of floats, or of integers taken as floats.
    ///
    /// # Errors
    /// The key is there with another type.
    pub fn f32_array(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.read(key, "an array of numbers", |v| match v {
            Value::Array(Array::F32(floats)) => Some(floats.clone()),
            _ => elements(v, |e| e.as_float().map(|x| x as f32)),
        })
    }

    /// An array of bools, or of the integers 0 and 1.
    ///
    /// # Errors
    /// The key is there with another type or value.
    pub fn bool_array(&self, key: &str) -> Result<Option<Vec<bool>>, Error> {
        self.read(key, "an array of bools", |v| elements(v, |e| e.as_bool()))
    }

    /// An array of strings.
    ///
    /// # Errors
    /// The key is there with another type.
    pub fn str_array(&self, key: &str) -> Result<Option<&StringArray>, Error> {
        static EMPTY: StringArray = StringArray::EMPTY;
        self.read(key, "an array of strings", |v| match v {
            Value::Array(Array::String(strings)) => Some(strings),
            // Some writers give an empty list a type of its own.
            Value::Array(array) if array.is_empty() => Some(&EMPTY),
            _ => None,
        })
    }

    /// One value for each of `layers` layers: an array of that length, or one number for all.
    ///
    /// # Errors
    /// The key is there with another type, value or length; more layers than [`limits::LAYERS`].
    pub fn per_layer_u32(&self, key: &str, layers: usize) -> Result<Option<Vec<u32>>, Error> {
        if layers > limits::LAYERS {
            return Err(self.error(
                key,
                format!("{layers} layers"),
                format!("at most {}", limits::LAYERS),
            ));
        }
        match self.get(key) {
            Some(Value::Array(array)) if array.len() != layers => {
                let need = format!("one value, or one for each of {layers} layers");
                Err(self.error(key, format!("{} values", array.len()), need))
            }
            Some(Value::Array(_)) => self.u32_array(key),
            _ => Ok(self.u32(key)?.map(|value| vec![value; layers])),
        }
    }

    /// [`Metadata::u32`], which must be there.
    ///
    /// # Errors
    /// The key is missing or has another type or value.
    pub fn required_u32(&self, key: &str) -> Result<u32, Error> {
        self.u32(key)?
            .ok_or_else(|| self.missing(key, "an integer"))
    }

    /// [`Metadata::str`], which must be there.
    ///
    /// # Errors
    /// The key is missing or has another type.
    pub fn required_str(&self, key: &str) -> Result<&str, Error> {
        self.str(key)?.ok_or_else(|| self.missing(key, "a string"))
    }

    /// [`Metadata::u32_array`], which must be there.
    ///
    /// # Errors
    /// The key is missing or has another type or value.
    pub fn required_u32_array(&self, key: &str) -> Result<Vec<u32>, Error> {
        self.u32_array(key)?
            .ok_or_else(|| self.missing(key, "an array of integers"))
    }

    /// [`Metadata::i32_array`], which must be there.
    ///
    /// # Errors
    /// The key is missing or has another type or value.
    pub fn required_i32_array(&self, key: &str) -> Result<Vec<i32>, Error> {
        self.i32_array(key)?
            .ok_or_else(|| self.missing(key, "an array of integers"))
    }

    /// [`Metadata::f32_array`], which must be there.
    ///
    /// # Errors
    /// The key is missing or has another type.
    pub fn required_f32_array(&self, key: &str) -> Result<Vec<f32>, Error> {
        self.f32_array(key)?
            .ok_or_else(|| self.missing(key, "an array of numbers"))
    }

    /// [`Metadata::bool_array`], which must be there.
    ///
    /// # Errors
    /// The key is missing or has another type or value.
    pub fn required_bool_array(&self, key: &str) -> Result<Vec<bool>, Error> {
        self.bool_array(key)?
            .ok_or_else(|| self.missing(key, "an array of bools"))
    }

    /// [`Metadata::str_array`], which must be there.
    ///
    /// # Errors
    /// The key is missing or has another type.
    pub fn required_str_array(&self, key: &str) -> Result<&StringArray, Error> {
        self.str_array(key)?
            .ok_or_else(|| self.missing(key, "an array of strings"))
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        need: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => {
                let found = match value {
                    Value::Array(_) => value.to_string(),
                    _ => format!("{} {value}", value.type_name()),
                };
                Err(self.error(key, found, need))
            }
        }
    }

    fn missing(&self, key: &str, need: &str) -> Error {
        self.error(key, "nothing", need)
    }
}

/// All elements converted, or `None` when one cannot be or when `value` is no array.
fn elements<T>(value: &Value, convert: impl Fn(Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        // An array of strings never converts; looking at the first element is enough.
        Value::Array(Array::String(strings)) if !strings.is_empty() => None,
        Value::Array(array) => (0..array.len()).map(|i| convert(array.get(i)?)).collect(),
        _ => None,
    }
}

fn integers<T: TryFrom<i128>>(value: &Value) -> Option<Vec<T>> {
    elements(value, |element| element.as_integer()?.try_into().ok())
}
