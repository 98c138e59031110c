//! Scratch memory of one thread, kept between calls so that a step allocates nothing.

/// Buffers that kernels fill and read within one call.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) weights: Vec<f32>,
    pub(crate) sums: Vec<f32>,
    pub(crate) rows: Vec<f32>,
    pub(crate) totals: Vec<f32>,
    pub(crate) attention: AttentionSpace,
}

/// Buffers of an attention.
#[derive(Debug, Default)]
pub(crate) struct AttentionSpace {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
    pub(crate) queries: Vec<f32>,
    pub(crate) scores: Vec<f32>,
    pub(crate) sums: Vec<f32>,
    pub(crate) largest: Vec<f32>,
    pub(crate) total: Vec<f32>,
}

impl Workspace {
    /// Empty buffers; they grow at first use.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The first `len` elements of a buffer, which grows when it must.
pub(crate) fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
