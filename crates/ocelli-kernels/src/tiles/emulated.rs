//! The tile instructions in plain Rust.

use super::{DEPTH, ROWS, TILE, TileUnit, span};
use crate::LANES;

/// The tile instructions in plain Rust, as the processor's manual describes them.
pub(crate) struct Emulated {
    tiles: [[i32; TILE]; 8],
}

impl Emulated {
    pub(crate) fn new() -> Self {
        Self {
            tiles: [[0; TILE]; 8],
        }
    }
}

/// Numbers below the smallest normal one count as 0 of their sign.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() {
        0.0_f32.copysign(x)
    } else {
        x
    }
}

impl TileUnit for Emulated {
    fn ask(&mut self, _: &[i32], _: usize) {}

    fn zero<const T: usize>(&mut self) {
        self.tiles[T] = [0; TILE];
    }

    fn load<const T: usize>(&mut self, from: &[i32], stride: usize) {
        assert!(from.len() >= span(stride), "16 rows of a tile");
        for (row, tile) in self.tiles[T].chunks_exact_mut(DEPTH).enumerate() {
            tile.copy_from_slice(&from[row * stride..][..DEPTH]);
        }
    }

    fn store<const T: usize>(&mut self, to: &mut [i32], stride: usize) {
        assert!(to.len() >= span(stride), "16 rows of a tile");
        for (row, tile) in self.tiles[T].chunks_exact(DEPTH).enumerate() {
            to[row * stride..][..DEPTH].copy_from_slice(tile);
        }
    }

    fn dot_pairs<const C: usize, const A: usize, const B: usize>(&mut self) {
        let halves = |word: i32| {
            let (low, high) = ((word as u32) << 16, word as u32 & !0xFFFF);
            [flush(f32::from_bits(low)), flush(f32::from_bits(high))]
        };
        for (m, n) in (0..ROWS).flat_map(|m| (0..LANES).map(move |n| (m, n))) {
            let mut sums = [0.0_f32; 2];
            for k in 0..DEPTH {
                let a = halves(self.tiles[A][m * DEPTH + k]);
                let b = halves(self.tiles[B][k * LANES + n]);
                for (sum, (a, b)) in sums.iter_mut().zip(a.into_iter().zip(b)) {
                    *sum = flush(a.mul_add(b, *sum));
                }
            }
            let sum = &mut self.tiles[C][m * LANES + n];
            let before = flush(f32::from_bits(*sum as u32));
            *sum = flush(before + flush(sums[0] + sums[1])).to_bits() as i32;
        }
    }

    fn dot_bytes<const C: usize, const A: usize, const B: usize>(&mut self) {
        for (m, n) in (0..ROWS).flat_map(|m| (0..LANES).map(move |n| (m, n))) {
            for k in 0..DEPTH {
                let a = self.tiles[A][m * DEPTH + k].to_le_bytes();
                let b = self.tiles[B][k * LANES + n].to_le_bytes();
                let products = a
                    .iter()
                    .zip(b)
                    .map(|(a, b)| i32::from(*a as i8) * i32::from(b));
                let sum = &mut self.tiles[C][m * LANES + n];
                *sum = sum.wrapping_add(products.sum());
            }
        }
    }
}
