//! Reading the JSON files of a checkpoint with errors that name file, key, what was found and what is needed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Error;

/// The most bytes of a settings file; tokenizers have 20 MB at most.
const FILE_BYTES: u64 = 512 << 20;

/// A JSON object of a checkpoint, or one inside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) file: &'a str,
    pub(crate) value: &'a Value,
}

/// Reads a file of the folder; `None` when it is not there.
fn read_file(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = folder.join(name);
    let io = |source| Error::Io {
        action: "read",
        path: path.clone(),
        source,
    };
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        Ok(metadata) if metadata.len() > FILE_BYTES => {
            return Err(Error::BadFile {
                file: name.to_owned(),
                problem: format!("{} bytes, need at most {FILE_BYTES}", metadata.len()),
            });
        }
        Ok(_) => {}
    }
    fs::read(&path).map(Some).map_err(io)
}

/// Reads a text file of the folder; `None` when it is not there.
pub(crate) fn read_text(folder: &Path, name: &str) -> Result<Option<String>, Error> {
    let text = read_file(folder, name)?.map(String::from_utf8).transpose();
    text.map_err(|_| Error::BadFile {
        file: name.to_owned(),
        problem: "not valid UTF-8".to_owned(),
    })
}

/// Reads and parses a JSON file of the folder; `None` when it is not there.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Option<T>, Error> {
    let Some(bytes) = read_file(folder, name)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::BadFile {
            file: name.to_owned(),
            problem: error.to_string(),
        })
}

impl<'a> Settings<'a> {
    /// The value of `key` unless it is missing or null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// The object under `key`.
    pub(crate) fn inside(&self, key: &str) -> Option<Self> {
        let value = self.get(key).filter(|value| value.is_object())?;
        Some(Self {
            file: self.file,
            value,
        })
    }

    pub(crate) fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.read(key, "an integer in 0..4294967295", |v| {
            v.as_u64()?.try_into().ok()
        })
    }

    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.read(key, "a number", |v| {
            Some(v.as_f64()? as f32).filter(|x| x.is_finite())
        })
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(crate) fn str(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.read(key, "a string", Value::as_str)
    }

    pub(crate) fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, Error> {
        self.read(key, "a list of integers", |v| {
            v.as_array()?
                .iter()
                .map(|n| n.as_u64()?.try_into().ok())
                .collect()
        })
    }

    pub(crate) fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.read(key, "a list of numbers", |v| {
            v.as_array()?
                .iter()
                .map(|n| Some(n.as_f64()? as f32))
                .collect()
        })
    }

    pub(crate) fn needed_u32(&self, key: &str) -> Result<u32, Error> {
        self.u32(key)?
            .ok_or_else(|| self.error(key, "nothing", "an integer"))
    }

    /// A count that sizes follow from: at least 1 and small enough that products of a few fit 64 bits.
    pub(crate) fn count(&self, key: &str) -> Result<usize, Error> {
        let found = self.needed_u32(key)?;
        match found {
            1..=0x00ff_ffff => Ok(found as usize),
            _ => Err(self.error(key, found, "1 to 16777215")),
        }
    }

    pub(crate) fn needed_f32(&self, key: &str) -> Result<f32, Error> {
        self.f32(key)?
            .ok_or_else(|| self.error(key, "nothing", "a number"))
    }

    pub(crate) fn error(&self, key: &str, found: impl ToString, need: impl ToString) -> Error {
        Error::Setting {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            need: need.to_string(),
        }
    }

    fn read<T>(
        &self,
        key: &str,
        need: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let converted = convert(value);
        converted
            .map(Some)
            .ok_or_else(|| self.error(key, value, need))
    }
}
