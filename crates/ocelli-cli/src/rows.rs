//! The file of answers of `ocelli batch`: what an earlier run left in it, and adding lines to it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::args::BatchArgs;
use crate::failure::{Code, Failure};
use crate::form::Form;

/// What an earlier run left in the file of answers.
pub(crate) struct Written {
    /// Bytes of whole lines, and of the file. Behind the former stands a line that was cut in two.
    whole: u64,
    length: u64,
    /// Pictures that have a line, with the code of the error that it may have.
    pub(crate) done: HashMap<String, Option<u64>>,
}

impl Written {
    /// Reads the file if there is one, and changes nothing.
    pub(crate) fn read(args: &BatchArgs, form: Option<&Form>) -> Result<Self, Failure> {
        // Devices and pipes cannot be gone on with, and some never end.
        if std::fs::metadata(&args.out).is_ok_and(|found| !found.is_file()) {
            return Err(Failure::usage(format_args!(
                "--out {}: found no regular file, need one: what it holds tells which pictures are done",
                args.out.display()
            )));
        }
        let folder = args.out.parent().filter(|f| !f.as_os_str().is_empty());
        let bytes = match std::fs::read(&args.out) {
            Err(error)
                if error.kind() == ErrorKind::NotFound && folder.is_none_or(Path::is_dir) =>
            {
                Vec::new()
            }
            found => found.map_err(|error| Failure::path("read", &args.out, &error))?,
        };
        let end = bytes.iter().rposition(|b| *b == b'\n');
        let whole = end.map_or(0, |end| end + 1);
        let mut done = HashMap::new();
        for (index, line) in bytes[..whole].split(|b| *b == b'\n').enumerate() {
            if !line.is_empty() {
                let (image, error) = read_row(line, args, form, index + 1)?;
                done.insert(image, error);
            }
        }
        Ok(Self {
            whole: whole as u64,
            length: bytes.len() as u64,
            done,
        })
    }

    /// Takes back a line that was cut in two where there is none to add.
    pub(crate) fn take_back(&self, path: &Path) -> Result<(), Failure> {
        match self.whole < self.length {
            true => Rows::open(path, self).map(drop),
            false => Ok(()),
        }
    }
}

/// The file of answers, while lines are added to it. No other batch writes to it meanwhile.
pub(crate) struct Rows {
    path: PathBuf,
    file: File,
}

impl Rows {
    /// Opens the file behind its last whole line.
    pub(crate) fn open(path: &Path, written: &Written) -> Result<Self, Failure> {
        let wrong = |error| Failure::path("write", path, &error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(wrong)?;
        // Where locks only bind those who ask: on Windows nobody could look at the file until the end.
        let is_ours = cfg!(windows) || !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        // The model took some time to load: another batch may have begun and ended since.
        if !is_ours || file.metadata().map_err(wrong)?.len() != written.length {
            return Err(Failure::usage(format_args!(
                "--out {}: found another program writing to it, need it alone. Wait for its end and run this again",
                path.display()
            )));
        }
        file.set_len(written.whole).map_err(wrong)?;
        file.seek(SeekFrom::End(0)).map_err(wrong)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    pub(crate) fn add(&mut self, row: &Value) -> Result<(), Failure> {
        let line = format!("{row}\n");
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| Failure::path("write", &self.path, &error))
    }
}

/// The picture that a line is about, and the code of its error.
fn read_row(
    line: &[u8],
    args: &BatchArgs,
    form: Option<&Form>,
    number: usize,
) -> Result<(String, Option<u64>), Failure> {
    let wrong = |found: &str| {
        Failure::usage(format_args!(
            "--out {}: line {number}: found {found}, need answers of this prompt. Name another file",
            args.out.display()
        ))
    };
    let row: Value = serde_json::from_slice(line).map_err(|_| wrong("no answer of a batch"))?;
    let image = row.get("image").and_then(Value::as_str);
    let image = image.ok_or_else(|| wrong("no answer of a batch"))?;
    if row.get("prompt").and_then(Value::as_str) != Some(args.prompt.as_str()) {
        return Err(wrong("another prompt"));
    }
    let digest = form.map(|form| form.digest.as_str());
    if row.get("schema").and_then(Value::as_str) != digest {
        return Err(wrong("another schema"));
    }
    Ok((image.to_owned(), error_code(&row)))
}

/// The code of the error that a line has.
pub(crate) fn error_code(row: &Value) -> Option<u64> {
    let error = row.get("error")?;
    Some(error["code"].as_u64().unwrap_or(Code::Image as u64))
}
