//! Scratch memory of one thread, kept between calls so that a step allocates nothing.

use std::ops::{Deref, DerefMut};

/// Buffers that kernels fill and read within one call.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) weights: Buffer<f32>,
    pub(crate) sums: Buffer<f32>,
    pub(crate) rows: Buffer<f32>,
    pub(crate) totals: Buffer<f32>,
    pub(crate) words: Buffer<i32>,
    pub(crate) terms: Buffer<i32>,
    pub(crate) scales: Buffer<f32>,
    pub(crate) attention: AttentionSpace,
    /// Numbers of the caller's own, which kernels leave alone: taken out, they can be held while a
    /// kernel has the rest.
    pub spare: Vec<f32>,
}

/// Buffers of an attention.
#[derive(Debug, Default)]
pub(crate) struct AttentionSpace {
    pub(crate) keys: Buffer<f32>,
    pub(crate) values: Buffer<f32>,
    pub(crate) queries: Buffer<f32>,
    pub(crate) scores: Buffer<f32>,
    pub(crate) starts: Buffer<f32>,
    pub(crate) sums: Buffer<f32>,
    pub(crate) largest: Buffer<f32>,
    pub(crate) total: Buffer<f32>,
    pub(crate) key_words: Buffer<f32>,
    pub(crate) value_words: Buffer<i32>,
    pub(crate) weights: Buffer<i32>,
    pub(crate) key_scales: Buffer<f32>,
    pub(crate) value_scales: Buffer<f32>,
    pub(crate) weights_of_bytes: Buffer<f32>,
}

impl Workspace {
    /// Empty buffers; they grow at first use.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Bytes of a cache line: what vectors and rows of tiles should not straddle.
const LINE: usize = 64;

/// Numbers that start at a cache line.
#[derive(Debug, Default)]
pub(crate) struct Buffer<T> {
    values: Vec<T>,
    start: usize,
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..]
    }
}

/// The first `len` elements of a buffer, which grows when it must and then holds zeros.
pub(crate) fn room<T: Copy + Default>(buffer: &mut Buffer<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        let line = LINE / size_of::<T>();
        buffer.values = vec![T::default(); len + line];
        buffer.start = buffer.values.as_ptr().align_offset(LINE).min(line);
    }
    &mut buffer[..len]
}
