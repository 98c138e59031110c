//! Rows of 16 as columns: AVX-512.
#![allow(unsafe_code, reason = "loads and stores of vectors")]

use std::arch::x86_64::*;

use crate::LANES;

/// `out[i][j] = rows[j][i]`: pairs of rows, then fours of rows, each within quarters of a vector,
/// then quarters.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
pub(super) fn transpose_block(rows: [&[f32; LANES]; LANES], out: &mut [[f32; LANES]; LANES]) {
    let mut of_four = [_mm512_setzero_ps(); LANES];
    for four in 0..LANES / 4 {
        let mut row = [_mm512_setzero_ps(); 4];
        for (row, from) in row.iter_mut().zip(&rows[4 * four..]) {
            // SAFETY: 64 readable bytes; the load needs no alignment.
            *row = unsafe { _mm512_loadu_ps(from.as_ptr()) };
        }
        let low = [
            _mm512_castps_pd(_mm512_unpacklo_ps(row[0], row[1])),
            _mm512_castps_pd(_mm512_unpacklo_ps(row[2], row[3])),
        ];
        let high = [
            _mm512_castps_pd(_mm512_unpackhi_ps(row[0], row[1])),
            _mm512_castps_pd(_mm512_unpackhi_ps(row[2], row[3])),
        ];
        // Vector `i` has elements `i`, `4 + i`, `8 + i` and `12 + i` of these rows.
        of_four[4 * four] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
        of_four[4 * four + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
        of_four[4 * four + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
        of_four[4 * four + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
    }
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    for i in 0..4 {
        let [a, b, c, d] = [of_four[i], of_four[4 + i], of_four[8 + i], of_four[12 + i]];
        let (even, odd) = (
            [
                _mm512_shuffle_f32x4::<EVEN>(a, b),
                _mm512_shuffle_f32x4::<EVEN>(c, d),
            ],
            [
                _mm512_shuffle_f32x4::<ODD>(a, b),
                _mm512_shuffle_f32x4::<ODD>(c, d),
            ],
        );
        let quarters = [
            _mm512_shuffle_f32x4::<EVEN>(even[0], even[1]),
            _mm512_shuffle_f32x4::<EVEN>(odd[0], odd[1]),
            _mm512_shuffle_f32x4::<ODD>(even[0], even[1]),
            _mm512_shuffle_f32x4::<ODD>(odd[0], odd[1]),
        ];
        for (quarter, values) in quarters.into_iter().enumerate() {
            // SAFETY: 64 writable bytes; the store needs no alignment.
            unsafe { _mm512_storeu_ps(out[4 * quarter + i].as_mut_ptr(), values) };
        }
    }
}
