//! Who attends to whom.

use std::ops::Range;

use crate::{LayerCache, PageId, Tensor};

/// Head counts and size of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key/value heads; each serves `query / key_value` query heads.
    pub key_value: usize,
    /// Elements of one head.
    pub dim: usize,
}

impl Heads {
    /// Columns of the queries: `query * dim`.
    pub fn query_columns(&self) -> usize {
        self.query * self.dim
    }

    /// Columns of the keys, and of the values: `key_value * dim`.
    pub fn key_value_columns(&self) -> usize {
        self.key_value * self.dim
    }
}

/// What an attention is computed of, rows of one pass.
#[derive(Clone, Copy, Debug)]
pub struct QueryKeyValue {
    /// `[rows, query * dim]`.
    pub queries: Tensor,
    /// `[rows, key_value * dim]`.
    pub keys: Tensor,
    /// `[rows, key_value * dim]`.
    pub values: Tensor,
}

/// One sequence's part of a step.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// The sequence's rows in the step's tensors.
    pub rows: Range<usize>,
    /// Tokens of the sequence that were cached before this step; row `rows.start + i` is token
    /// `cached + i` of the sequence.
    pub cached: usize,
    /// The sequence's pages in layers that look at every earlier token, oldest first; they have room for
    /// `cached + rows.len()` tokens.
    pub pages: &'a [PageId],
    /// Its pages in layers that look back over a window, as many. Those that lie wholly behind
    /// every row's window are others' by now: their ids name some page, whose contents nobody may
    /// depend on.
    pub near_pages: &'a [PageId],
    /// Runs of tokens (indices in the sequence) that also attend forward inside their own run.
    pub both_ways: &'a [Range<usize>],
}

impl<'a> Span<'a> {
    /// The sequence's pages in a layer of this kind.
    pub fn pages_in(&self, cache: LayerCache) -> &'a [PageId] {
        match cache {
            LayerCache::Full => self.pages,
            LayerCache::Window(_) => self.near_pages,
        }
    }
}

/// Limits of causal attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Every earlier token and itself.
    Causal,
    /// Itself and the `n - 1` tokens before it.
    Window(usize),
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug)]
pub enum AttentionPlan<'a> {
    /// Rows attend in both directions inside their segment: pictures, frames, windows. Segments are
    /// disjoint runs of rows that cover all rows. Keys and values are tensors of this pass.
    Within {
        /// Row ranges.
        segments: &'a [Range<usize>],
    },
    /// Rows attend to their sequence's cached tokens, in order.
    Paged {
        /// Layer of the cache.
        layer: usize,
        /// Sequences of the step.
        spans: &'a [Span<'a>],
        /// How far back.
        mask: Mask,
    },
}
