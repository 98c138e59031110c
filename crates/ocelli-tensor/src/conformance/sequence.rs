//! What attention is checked with: queries, keys and values of one sequence, and the formula in `f64`.

use std::ops::Range;

use super::Random;
use crate::Heads;

/// Queries, keys and values of a sequence.
pub(super) struct Sequence {
    pub(super) heads: Heads,
    pub(super) tokens: usize,
    pub(super) queries: Vec<f32>,
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl Sequence {
    pub(super) fn new(heads: Heads, tokens: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut large = |columns: usize| {
            random
                .values(tokens * columns)
                .iter()
                .map(|x| 3.0 * x)
                .collect()
        };
        let queries = large(heads.query_columns());
        let keys = large(heads.key_value_columns());
        Self {
            heads,
            tokens,
            queries,
            keys,
            values: large(heads.key_value_columns()),
        }
    }

    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.heads.dim as f32).sqrt()
    }

    /// One row of the result, by the formula.
    pub(super) fn reference(&self, row: usize, visible: &dyn Fn(usize) -> bool) -> Vec<f64> {
        let Heads {
            query,
            key_value,
            dim,
        } = self.heads;
        let mut out = Vec::new();
        for head in 0..query {
            let place = head / (query / key_value) * dim;
            let at = |values: &[f32], token: usize, d: usize| {
                f64::from(values[token * key_value * dim + place + d])
            };
            let q = &self.queries[row * query * dim + head * dim..][..dim];
            let score = |token: usize| -> f64 {
                let dot: f64 = (0..dim)
                    .map(|d| f64::from(q[d]) * at(&self.keys, token, d))
                    .sum();
                dot * f64::from(self.scale())
            };
            let seen: Vec<usize> = (0..self.tokens).filter(|token| visible(*token)).collect();
            let scores: Vec<f64> = seen.iter().map(|token| score(*token)).collect();
            let largest = scores.iter().fold(f64::MIN, |m, s| m.max(*s));
            let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..dim {
                let sum: f64 = seen
                    .iter()
                    .zip(&weights)
                    .map(|(token, w)| w * at(&self.values, *token, d))
                    .sum();
                out.push(sum / total);
            }
        }
        out
    }

    /// Rows of `values` with `columns` columns.
    pub(super) fn rows(values: &[f32], columns: usize, rows: Range<usize>) -> &[f32] {
        &values[rows.start * columns..rows.end * columns]
    }
}
