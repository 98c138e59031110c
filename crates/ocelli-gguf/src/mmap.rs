//! The one place with `unsafe`: mapping a file read-only.

#![allow(
    unsafe_code,
    reason = "mapping a file is unsafe by nature; all of it is here"
)]

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Mmap, MmapOptions};

/// A private read-only view of a whole file.
#[derive(Debug)]
pub(crate) struct MappedFile(Mmap);

impl MappedFile {
    /// Maps `file`, which must not be empty.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let options = MmapOptions::new();
        // SAFETY: The view is read-only and private. Another process can still change or truncate
        // the file under it: the bytes are only ever read as plain numbers, so changed bytes give
        // wrong values but no undefined layout, and loaders copy what they keep and then call
        // `Gguf::unchanged`. Truncation can end the process by a signal; that window is the load
        // only.
        let map = unsafe { options.map_copy_read_only(file)? };
        Ok(Self(map))
    }

    /// Lets the system take back the memory of this range; reading it again reads the file again.
    #[cfg(unix)]
    pub(crate) fn release(&self, offset: usize, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: The map is never written, so dropping its pages loses nothing: the next read maps
        // the file's bytes again.
        unsafe {
            self.0
                .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes)
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn release(&self, _offset: usize, _bytes: usize) -> io::Result<()> {
        Ok(())
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
