//! The inverse cosine transform, in the accurate integer arithmetic of libjpeg ("islow"): after
//! Loeffler, Ligtenberg and Moschytz, constants with 13 fraction bits, 2 more kept between the passes.

use std::num::Wrapping;

type Word = Wrapping<i32>;

const FRACTION_BITS: usize = 13;
const PASS_BITS: usize = 2;

/// Writes 8 rows of 8 samples, `stride` apart. Both tables are in natural order.
///
/// Wrapping arithmetic: only coefficients that no encoder makes can leave 32 bits.
pub(super) fn block(
    coefficients: &[i16; 64],
    quantization: &[u16; 64],
    samples: &mut [u8],
    stride: usize,
) {
    let dequantized =
        |place: usize| Wrapping(i32::from(coefficients[place]) * i32::from(quantization[place]));
    let mut between = [Wrapping(0); 64];
    for column in 0..8 {
        let is_flat = (1..8).all(|row| coefficients[row * 8 + column] == 0);
        let outputs = if is_flat {
            [dequantized(column) << PASS_BITS; 8]
        } else {
            let inputs = std::array::from_fn(|row| dequantized(row * 8 + column));
            line(&inputs, FRACTION_BITS - PASS_BITS)
        };
        for (row, value) in outputs.into_iter().enumerate() {
            between[row * 8 + column] = value;
        }
    }
    for (row, inputs) in between.as_chunks::<8>().0.iter().enumerate() {
        let outputs = line(inputs, FRACTION_BITS + PASS_BITS + 3);
        for (sample, value) in samples[row * stride..][..8].iter_mut().zip(outputs) {
            *sample = (value + Wrapping(128)).0.clamp(0, 255) as u8;
        }
    }
}

/// One line of eight; the result is rounded and `shift` bits are dropped.
#[inline]
fn line(x: &[Word; 8], shift: usize) -> [Word; 8] {
    // Even part.
    let z1 = (x[2] + x[6]) * Wrapping(4433);
    let t2 = z1 - x[6] * Wrapping(15137);
    let t3 = z1 + x[2] * Wrapping(6270);
    let t0 = (x[0] + x[4]) << FRACTION_BITS;
    let t1 = (x[0] - x[4]) << FRACTION_BITS;
    let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];
    // Odd part.
    let (z1, z2, z3, z4) = (x[7] + x[1], x[5] + x[3], x[7] + x[3], x[5] + x[1]);
    let z5 = (z3 + z4) * Wrapping(9633);
    let z1 = z1 * Wrapping(-7373);
    let z2 = z2 * Wrapping(-20995);
    let z3 = z3 * Wrapping(-16069) + z5;
    let z4 = z4 * Wrapping(-3196) + z5;
    let odd = [
        x[1] * Wrapping(12299) + z1 + z4,
        x[3] * Wrapping(25172) + z2 + z3,
        x[5] * Wrapping(16819) + z2 + z4,
        x[7] * Wrapping(2446) + z1 + z3,
    ];
    let half = Wrapping(1 << (shift - 1));
    let rounded = |sum: Word| (sum + half) >> shift;
    [
        rounded(even[0] + odd[0]),
        rounded(even[1] + odd[1]),
        rounded(even[2] + odd[2]),
        rounded(even[3] + odd[3]),
        rounded(even[3] - odd[3]),
        rounded(even[2] - odd[2]),
        rounded(even[1] - odd[1]),
        rounded(even[0] - odd[0]),
    ]
}
