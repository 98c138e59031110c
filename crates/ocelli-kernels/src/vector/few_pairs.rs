//! Products of few rows that are not rounded with panels of pairs, as they are stored.
//!
//! ```text
//! for each panel, each 8 rows (or as many as there are):
//!     for each word:   even += x[2 k] low half;   odd += x[2 k + 1] high half
//!     y = even + odd
//! ```
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a panel, not in its inner loop"
)]

use crate::panels::cast;
use crate::strided::StridedMut;
use crate::vector::ahead::{LINE, PanelRead};
use crate::vector::{Simd, halves_of};
use crate::{LANES, Matrix, Panels};

/// `sums = x W^T`.
#[inline(always)]
pub(super) fn multiply<S: Simd>(s: S, x: Matrix<'_>, weight: Panels<'_>, sums: &mut [f32]) {
    let stride = weight.count() * LANES;
    for panel in 0..weight.count() {
        let bytes = weight.panel(panel);
        let mut row = 0;
        while row < x.rows() {
            let left = x.rows() - row;
            let sums = StridedMut {
                values: &mut sums[row * stride + panel * LANES..],
                stride,
            };
            let panel = PanelRead {
                bytes,
                is_first: row == 0,
            };
            let part = x.part(row..x.rows(), 0..x.columns());
            row += if left >= 8 && S::ROWS >= 4 {
                rows::<S, 8>(s, panel, part, sums)
            } else if left >= 4 {
                rows::<S, 4>(s, panel, part, sums)
            } else if left >= 2 {
                rows::<S, 2>(s, panel, part, sums)
            } else {
                rows::<S, 1>(s, panel, part, sums)
            };
        }
    }
}

/// One panel times the first `ROWS` rows, two sums each: even and odd inputs. The number of rows.
#[inline(always)]
fn rows<S: Simd, const ROWS: usize>(
    s: S,
    panel: PanelRead<'_>,
    x: Matrix<'_>,
    sums: StridedMut<'_, f32>,
) -> usize {
    let (values, step, columns) = (x.values(), x.stride(), x.columns());
    let words = cast::words(panel.bytes).as_chunks::<LANES>().0;
    assert!(
        columns == 0 || values.len() >= (ROWS - 1) * step + columns,
        "rows of a product"
    );
    let mut results = [[s.splat(0.0); 2]; ROWS];
    for (k, words) in words[..columns / 2].iter().enumerate() {
        panel.ask::<S, ROWS>(s, k * LINE, LINE);
        let [even, odd] = halves_of(s, s.load_ints(words));
        for (r, [evens, odds]) in results.iter_mut().enumerate() {
            let at = r * step + 2 * k;
            // SAFETY: checked above: 2 k + 1 is a column, and the last row has all of them.
            let first = unsafe { *values.get_unchecked(at) };
            // SAFETY: as above.
            let second = unsafe { *values.get_unchecked(at + 1) };
            *evens = s.fma(s.splat(first), even, *evens);
            *odds = s.fma(s.splat(second), odd, *odds);
        }
    }
    if columns % 2 == 1 {
        let [even, _] = halves_of(s, s.load_ints(&words[columns / 2]));
        for (r, [evens, _]) in results.iter_mut().enumerate() {
            // SAFETY: checked above.
            let last = s.splat(unsafe { *values.get_unchecked(r * step + columns - 1) });
            *evens = s.fma(last, even, *evens);
        }
    }
    for (r, [even, odd]) in results.into_iter().enumerate() {
        let target = sums.values[r * sums.stride..].first_chunk_mut();
        s.store(s.add(even, odd), target.expect("16 sums for each panel"));
    }
    ROWS
}
