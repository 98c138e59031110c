//! One tensor of a safetensors file, read in runs of elements.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ocelli_quant::{TensorType, dequantize};

use crate::Error;

/// An open safetensors file.
#[derive(Debug)]
pub(crate) struct ShardFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

/// A tensor: where it is and what it is.
#[derive(Debug, Clone)]
pub(crate) struct HubTensor {
    /// Slowest-varying first, as PyTorch has it.
    pub(crate) shape: Vec<usize>,
    pub(crate) ty: TensorType,
    pub(super) file: Arc<ShardFile>,
    /// Where the data starts, from the start of the file.
    pub(super) start: u64,
}

impl HubTensor {
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Appends the bytes of a run of elements.
    pub(crate) fn read_bytes(&self, run: Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        let size = self.ty.block_bytes();
        let filled = out.len();
        out.resize(filled + run.len() * size, 0);
        let at = self.start + (run.start * size) as u64;
        read_at(&self.file.file, at, &mut out[filled..]).map_err(|source| Error::Io {
            action: "read",
            path: self.file.path.clone(),
            source,
        })
    }

    /// Appends the values of a run of elements.
    pub(crate) fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        self.read_bytes(run.clone(), &mut bytes)?;
        let filled = out.len();
        out.resize(filled + run.len(), 0.0);
        dequantize(self.ty, &bytes, &mut out[filled..]).map_err(|source| Error::Quant {
            name: self.file.path.display().to_string(),
            source,
        })
    }
}

// Reads with their own position: threads share the file.
#[cfg(unix)]
fn read_at(file: &File, at: u64, out: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut at: u64, mut out: &mut [u8]) -> std::io::Result<()> {
    while !out.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, out, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        at += read as u64;
        out = &mut out[read..];
    }
    Ok(())
}
