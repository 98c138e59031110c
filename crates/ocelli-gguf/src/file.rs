//! An opened model: one file, all parts of a split one, or bytes in memory.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, Problem, shown};
use crate::metadata::Metadata;
use crate::mmap::MappedFile;
use crate::parse::{Content, parse};
use crate::shards;
use crate::tensor::TensorInfo;

/// A GGUF model: metadata, tensors and their bytes. Split files appear as one. Immutable and
/// shareable between threads.
#[derive(Debug)]
pub struct Gguf {
    parts: Vec<Source>,
    paths: Vec<PathBuf>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Indices of `tensors`, sorted by name.
    by_name: Vec<u32>,
}

/// The bytes of one file.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: Arc<str>,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped {
        map: MappedFile,
        file: File,
        path: PathBuf,
        stamp: Stamp,
    },
    Memory(Cow<'static, [u8]>),
}

/// Size and time of a file's last change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

impl Source {
    /// Maps a file.
    pub(crate) fn map(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            action: "open",
            path: path.to_path_buf(),
            source,
        };
        // Asked before opening: opening a pipe would wait for a writer.
        let metadata = fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() {
                "this is a folder, need a file"
            } else {
                "this is no regular file"
            };
            return Err(io(std::io::Error::other(what)));
        }
        let name: Arc<str> = match path.file_name() {
            Some(name) => name.to_string_lossy().into(),
            None => path.to_string_lossy().into(),
        };
        if metadata.len() == 0 {
            return Err(Error::BadFile {
                file: name.to_string(),
                problem: Problem::Empty,
            });
        }
        let file = File::open(path).map_err(io)?;
        let stamp = Stamp::of(&file).map_err(io)?;
        let map = MappedFile::new(&file).map_err(io)?;
        let bytes = Bytes::Mapped {
            map,
            file,
            path: path.to_path_buf(),
            stamp,
        };
        Ok(Self { name, bytes })
    }

    /// Bytes in memory; `name` stands for a file name in messages.
    pub(crate) fn memory(name: Arc<str>, bytes: Cow<'static, [u8]>) -> Self {
        let bytes = Bytes::Memory(bytes);
        Self { name, bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped { map, .. } => map,
            Bytes::Memory(bytes) => bytes,
        }
    }

    pub(crate) fn parse(&self) -> Result<Content, Error> {
        parse(&self.name, self.bytes()).map_err(|problem| self.bad(problem))
    }

    pub(crate) fn bad(&self, problem: Problem) -> Error {
        Error::BadFile {
            file: self.name.to_string(),
            problem,
        }
    }

    fn unchanged(&self) -> Result<(), Error> {
        let Bytes::Mapped {
            file, path, stamp, ..
        } = &self.bytes
        else {
            return Ok(());
        };
        let now = Stamp::of(file).map_err(|source| Error::Io {
            action: "examine",
            path: path.clone(),
            source,
        })?;
        let changed = |what| {
            Err(Error::Changed {
                file: self.name.to_string(),
                what,
            })
        };
        if now.size != stamp.size {
            return changed(format!(
                "found {} bytes, need the {} of the opened file",
                now.size, stamp.size
            ));
        }
        if now.modified != stamp.modified {
            return changed("its time of change is not that of the opened file".to_owned());
        }
        Ok(())
    }
}

impl Gguf {
    /// Opens a model file. For a part of a split model, all parts are opened, whichever one is given.
    ///
    /// # Errors
    /// [`Error::Io`] when a path cannot be read, [`Error::BadFile`] or [`Error::Metadata`] when a
    /// file is no sound GGUF, [`Error::Shards`] when parts are missing or do not belong together.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let source = Source::map(path)?;
        let content = source.parse()?;
        shards::open_all(path, source, content)
    }

    /// Reads a model from bytes in memory. `name` stands for a file name in messages.
    ///
    /// # Errors
    /// As [`Gguf::open`]; a part of a split model cannot be read from memory.
    pub fn from_bytes(name: impl Into<String>, bytes: Cow<'static, [u8]>) -> Result<Self, Error> {
        let source = Source::memory(name.into().into(), bytes);
        let content = source.parse()?;
        let count = shards::count(&content.metadata)?;
        if count > 1 {
            let problem = format!(
                "found one of {count} parts in memory, need a whole model; merge the parts"
            );
            return Err(Error::Shards {
                file: source.name.to_string(),
                problem,
            });
        }
        Self::join(vec![(source, content)], Vec::new())
    }

    /// One model from its parts in order; the first one's metadata is the model's.
    pub(crate) fn join(parts: Vec<(Source, Content)>, paths: Vec<PathBuf>) -> Result<Self, Error> {
        let mut sources = Vec::with_capacity(parts.len());
        let mut tensors: Vec<TensorInfo> = Vec::new();
        let mut first = None;
        for (shard, (source, content)) in parts.into_iter().enumerate() {
            sources.push(source);
            let mut own = content.tensors;
            own.iter_mut()
                .for_each(|tensor| tensor.shard = shard as u32);
            if tensors.is_empty() {
                tensors = own;
            } else {
                tensors.append(&mut own);
            }
            first.get_or_insert((content.version, content.metadata));
        }
        let (version, metadata) = first.expect("a model has at least one part");
        let mut by_name: Vec<u32> = (0..tensors.len() as u32).collect();
        by_name.sort_by(|&a, &b| tensors[a as usize].name.cmp(&tensors[b as usize].name));
        for pair in by_name.windows(2) {
            let (a, b) = (&tensors[pair[0] as usize], &tensors[pair[1] as usize]);
            if a.name == b.name {
                return Err(duplicate(&sources, a, b));
            }
        }
        Ok(Self {
            parts: sources,
            paths,
            version,
            metadata,
            tensors,
            by_name,
        })
    }

    /// The file name, for messages; that of the first part of a split model.
    pub fn name(&self) -> &str {
        &self.parts[0].name
    }

    /// The files, in order of their parts; empty when the model was read from memory.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.parts
            .iter()
            .map(|part| part.bytes().len() as u64)
            .sum()
    }

    /// Version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The key-value section; of a split model, that of the first part.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors in file order, part by part.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let at = self
            .by_name
            .binary_search_by(|&i| (*self.tensors[i as usize].name).cmp(name))
            .ok()?;
        Some(&self.tensors[self.by_name[at] as usize])
    }

    /// The bytes of one of this model's tensors.
    ///
    /// # Panics
    /// When `tensor` belongs to another model and its range is not in this one.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        let start = tensor.offset as usize;
        &self.parts[tensor.shard()].bytes()[start..start + tensor.bytes]
    }

    /// Tells the system that a tensor's bytes were copied and their memory can be used for
    /// something else. Reading them again works and reads the file again. Does nothing for bytes in
    /// memory.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn release(&self, tensor: &TensorInfo) -> Result<(), Error> {
        match &self.parts[tensor.shard()].bytes {
            Bytes::Mapped { map, path, .. } => map
                .release(tensor.offset as usize, tensor.bytes)
                .map_err(|source| Error::Io {
                    action: "release memory of",
                    path: path.clone(),
                    source,
                }),
            Bytes::Memory(_) => Ok(()),
        }
    }

    /// [`Gguf::release`] of everything, metadata included.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn release_all(&self) -> Result<(), Error> {
        self.parts.iter().try_for_each(|part| match &part.bytes {
            Bytes::Mapped { map, path, .. } => {
                map.release(0, map.len()).map_err(|source| Error::Io {
                    action: "release memory of",
                    path: path.clone(),
                    source,
                })
            }
            Bytes::Memory(_) => Ok(()),
        })
    }

    /// Checks that no file was written or cut since it was opened: call it when everything needed
    /// was copied. A file that was replaced by another one under its name does not count: the
    /// opened one is still there.
    ///
    /// # Errors
    /// [`Error::Changed`], or [`Error::Io`] when a file cannot be examined.
    pub fn unchanged(&self) -> Result<(), Error> {
        self.parts.iter().try_for_each(Source::unchanged)
    }
}

fn duplicate(sources: &[Source], a: &TensorInfo, b: &TensorInfo) -> Error {
    let name = shown(&a.name);
    if a.shard == b.shard {
        return sources[a.shard()].bad(Problem::DuplicateTensor { name });
    }
    let (file, other) = (&sources[b.shard()].name, &sources[a.shard()].name);
    let problem =
        format!("parts belong to different models: duplicate tensor '{name}', also in {other}");
    Error::Shards {
        file: file.to_string(),
        problem,
    }
}
