//! Reading little-endian values from bytes; never past the end.

use crate::error::Problem;
use crate::limits;

/// A position in a file's bytes.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position as u64
    }

    pub(crate) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], Problem> {
        if count > self.remaining() {
            let need = self.position().saturating_add(count);
            return Err(Problem::Truncated {
                need,
                have: self.bytes.len() as u64,
            });
        }
        let end = self.position + count as usize;
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string's bytes: length, then bytes. `place` names it in errors.
    pub(crate) fn string_bytes(&mut self, place: impl Fn() -> String) -> Result<&'a [u8], Problem> {
        let length = self.u64()?;
        let remaining = self.remaining();
        if length > remaining {
            return Err(Problem::StringPastEnd {
                place: place(),
                length,
                remaining,
            });
        }
        if length > limits::STRING_BYTES {
            let most = limits::STRING_BYTES;
            return Err(Problem::StringTooLong {
                place: place(),
                length,
                most,
            });
        }
        self.take(length)
    }
}
