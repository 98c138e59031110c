//! Writing a file tensor by tensor: to a temporary name that is renamed at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Slot;
use crate::error::{Error, Problem, shown};

/// A file being written, tensor by tensor. Nothing appears under the final name before
/// [`StreamWriter::finish`]; the temporary file is removed when this is dropped without it.
#[derive(Debug)]
pub struct StreamWriter {
    out: BufWriter<File>,
    temporary: Temporary,
    /// Tensors without all their bytes, the next one last.
    slots: Vec<Slot>,
    /// Bytes written of the next tensor.
    written: u64,
}

impl StreamWriter {
    /// Starts with everything before the data; `slots` are what follows, in order.
    pub(super) fn start(path: &Path, header: &[u8], slots: Vec<Slot>) -> Result<Self, Error> {
        let temporary = Temporary::create(path)?;
        let file = temporary.file.try_clone().map_err(|e| temporary.error(e))?;
        let mut stream = Self {
            out: BufWriter::with_capacity(1 << 16, file),
            temporary,
            slots: slots.into_iter().rev().collect(),
            written: 0,
        };
        stream.put(header)?;
        Ok(stream)
    }

    /// Writes the next bytes of tensor `name`, in as many calls as wanted. Tensors come in the
    /// order of declaration.
    ///
    /// # Errors
    /// [`Error::Write`] for another tensor than the next one or too many bytes, [`Error::Io`] when
    /// writing fails.
    pub fn write(&mut self, name: &str, data: &[u8]) -> Result<(), Error> {
        let Some(slot) = self.slots.last() else {
            let (found, need) = (shown(name), "none, all are complete".to_owned());
            return Err(Error::Write(Problem::WriteOrder { found, need }));
        };
        if slot.name != name {
            let (found, need) = (shown(name), shown(&slot.name));
            return Err(Error::Write(Problem::WriteOrder { found, need }));
        }
        let written = self.written + data.len() as u64;
        if written > slot.bytes {
            return Err(Error::Write(slot.wrong_length(written)));
        }
        let (complete, padding) = (written == slot.bytes, slot.padding);
        self.put(data)?;
        self.written = written;
        if complete {
            self.put(&vec![0; padding])?;
            self.slots.pop();
            self.written = 0;
        }
        Ok(())
    }

    /// Flushes the file to disk and gives it its name.
    ///
    /// # Errors
    /// [`Error::Write`] when bytes are missing, [`Error::Io`] when writing fails.
    pub fn finish(mut self) -> Result<(), Error> {
        if let Some(slot) = self.slots.last() {
            return Err(Error::Write(slot.wrong_length(self.written)));
        }
        self.out.flush().map_err(|e| self.temporary.error(e))?;
        self.temporary.publish()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out
            .write_all(bytes)
            .map_err(|e| self.temporary.error(e))
    }
}

/// A file under a name of its own in the folder of its final place.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Temporary {
    fn create(target: &Path) -> Result<Self, Error> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut attempt = 0;
        loop {
            let path =
                target.with_file_name(format!(".{name}.{}-{attempt}.part", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        target: target.to_path_buf(),
                        published: false,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(source) => {
                    return Err(Error::Io {
                        action: "write",
                        path: target.to_path_buf(),
                        source,
                    });
                }
            }
        }
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io {
            action: "write",
            path: self.target.clone(),
            source,
        }
    }

    fn publish(&mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(|e| self.error(e))?;
        fs::rename(&self.path, &self.target).map_err(|e| self.error(e))?;
        self.published = true;
        // The rename itself is safe on disk only when the folder is.
        #[cfg(unix)]
        if let Some(folder) = self.target.parent() {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            File::open(folder)
                .and_then(|f| f.sync_all())
                .map_err(|e| self.error(e))?;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a leftover than what the next run's user sees.
            let _ = fs::remove_file(&self.path);
        }
    }
}
