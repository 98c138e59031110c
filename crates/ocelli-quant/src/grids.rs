//! Types whose codes are indices into a grid of 4 or 8 elements: IQ1_S to IQ3_S. Blocks of 256,
//! worked in 8 groups of 32.
//!
//! The 2- and 3-bit grids hold magnitudes; signs come as bytes (bit set = negative) or as 7-bit
//! indices whose eighth sign makes the number of minus signs even. The 1-bit grid holds -1, 0, 1,
//! shifted by an eighth of the scale.

mod tables_1;
mod tables_2;
mod tables_3;

/// Elements of a block of every grid type.
const ELEMENTS_GRID: usize = 256;

/// `y = d * (s + 1/2) / 4 * grid[q]`: 8-bit indices, s of 4 bits for each 32 elements.
pub mod iq2_xxs {
    use super::{even_signs, put_signed_8, read_u32};
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_GRID;
    /// Bytes of a block.
    pub const BYTES: usize = 66;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 8 groups: 4 indices, then a `u32` of four sign indices of 7 bits and a scale of 4.
    pub const QS: usize = 2;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let indices = &block[QS + group * 8..][..4];
            let packed = read_u32(block, QS + group * 8 + 4);
            let scale = d * (0.5 + (packed >> 28) as f32) * 0.25;
            for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let code = super::tables_2::IQ2_XXS[usize::from(indices[l])];
                put_signed_8(scale, code, even_signs(packed >> (7 * l)), out);
            }
        }
    }
}

/// `y = d * (s + 1/2) / 4 * grid[q]`: 9-bit indices, s of 4 bits for each 16 elements.
pub mod iq2_xs {
    use super::{even_signs, put_signed_8, quarter_scales};
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_GRID;
    /// Bytes of a block.
    pub const BYTES: usize = 74;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 32 `u16`: index of 9 bits, sign index of 7.
    pub const QS: usize = 2;
    /// Offset of 8 bytes of scales: the low nibble is that of the first 16 elements.
    pub const SCALES: usize = 66;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scales = quarter_scales(d, block[SCALES + group]);
            for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let at = QS + group * 8 + l * 2;
                let packed = u16::from_le_bytes([block[at], block[at + 1]]);
                let code = super::tables_2::IQ2_XS[usize::from(packed & 511)];
                put_signed_8(scales[l / 2], code, even_signs(u32::from(packed >> 9)), out);
            }
        }
    }
}

/// `y = d * (s + 1/2) / 4 * grid[q]`: 10-bit indices, all signs stored, s of 4 bits for each 16 elements.
pub mod iq2_s {
    use super::{put_signed_8, quarter_scales};
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_GRID;
    /// Bytes of a block.
    pub const BYTES: usize = 82;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 32 bytes: the low 8 bits of the indices.
    pub const QS: usize = 2;
    /// Offset of 32 bytes of signs.
    pub const SIGNS: usize = 34;
    /// Offset of 8 bytes: four pairs of high index bits for each group.
    pub const QH: usize = 66;
    /// Offset of 8 bytes of scales: the low nibble is that of the first 16 elements.
    pub const SCALES: usize = 74;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scales = quarter_scales(d, block[SCALES + group]);
            for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let high = usize::from(block[QH + group] >> (2 * l) & 3) << 8;
                let index = usize::from(block[QS + group * 4 + l]) | high;
                let code = super::tables_2::IQ2_S[index];
                put_signed_8(scales[l / 2], code, block[SIGNS + group * 4 + l], out);
            }
        }
    }
}

/// `y = d * (s + 1/2) / 2 * grid[q]`: 8-bit indices of 4 elements, s of 4 bits for each 32 elements.
pub mod iq3_xxs {
    use super::{even_signs, put_signed_4, read_u32};
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_GRID;
    /// Bytes of a block.
    pub const BYTES: usize = 98;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 64 bytes of indices.
    pub const QS: usize = 2;
    /// Offset of 8 `u32`: four sign indices of 7 bits and a scale of 4.
    pub const SCALES_SIGNS: usize = 66;
    /// Values of an element.
    const VALUES: [u8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let packed = read_u32(block, SCALES_SIGNS + group * 4);
            let scale = d * (0.5 + (packed >> 28) as f32) * 0.5;
            for (l, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let code = super::tables_3::IQ3_XXS[usize::from(block[QS + group * 8 + l])];
                let signs = even_signs(packed >> (7 * (l / 2))) >> (l % 2 * 4);
                put_signed_4(scale, code, &VALUES, signs, out);
            }
        }
    }
}

/// `y = d * (2 s + 1) * grid[q]`: 9-bit indices of 4 elements, all signs stored, s of 4 bits for
/// each 32 elements.
pub mod iq3_s {
    use super::put_signed_4;
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_GRID;
    /// Bytes of a block.
    pub const BYTES: usize = 110;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 64 bytes: the low 8 bits of the indices.
    pub const QS: usize = 2;
    /// Offset of 8 bytes: eight high index bits for each group.
    pub const QH: usize = 66;
    /// Offset of 32 bytes of signs.
    pub const SIGNS: usize = 74;
    /// Offset of 4 bytes of scales: the low nibble is that of the first of two groups.
    pub const SCALES: usize = 106;
    /// Values of an element.
    const VALUES: [u8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let s = block[SCALES + group / 2] >> (group % 2 * 4) & 15;
            let scale = d * f32::from(1 + 2 * s);
            for (l, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let high = usize::from(block[QH + group] >> l & 1) << 8;
                let code = super::tables_3::IQ3_S[usize::from(block[QS + group * 8 + l]) | high];
                let signs = block[SIGNS + group * 4 + l / 2] >> (l % 2 * 4);
                put_signed_4(scale, code, &VALUES, signs, out);
            }
        }
    }
}

/// `y = d * (2 s + 1) * (grid[q] + delta)`: 11-bit indices, s of 3 bits and delta of 1/8 for each
/// 32 elements.
pub mod iq1_s {
    use super::{delta, put_shifted};
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_GRID;
    /// Bytes of a block.
    pub const BYTES: usize = 50;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 32 bytes: the low 8 bits of the indices.
    pub const QS: usize = 2;
    /// Offset of 8 `u16`: four high index parts of 3 bits, scale of 3 bits, sign of delta.
    pub const QH: usize = 34;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let packed = u16::from_le_bytes([block[QH + group * 2], block[QH + group * 2 + 1]]);
            let scale = d * f32::from(2 * ((packed >> 12) & 7) + 1);
            let delta = delta(packed & 0x8000 != 0);
            for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let high = usize::from((packed >> (3 * l)) & 7) << 8;
                put_shifted(
                    scale,
                    usize::from(block[QS + group * 4 + l]) | high,
                    delta,
                    out,
                );
            }
        }
    }
}

/// `y = d * (2 s + 1) * (grid[q] + delta)`: 11-bit indices, s of 3 bits for each 16 elements, delta
/// of 1/8 for each 8.
pub mod iq1_m {
    use super::{delta, put_shifted};
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_GRID;
    /// Bytes of a block.
    pub const BYTES: usize = 56;
    /// Offset of 32 bytes: the low 8 bits of the indices.
    pub const QS: usize = 0;
    /// Offset of 16 bytes: in each nibble, high index bits (3) and sign of delta.
    pub const QH: usize = 32;
    /// Offset of 4 `u16`: four scales of 3 bits each; the top nibbles are the half-precision scale,
    /// lowest first.
    pub const SCALES: usize = 48;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let packed =
            |k: usize| u16::from_le_bytes([block[SCALES + k * 2], block[SCALES + k * 2 + 1]]);
        let half = (0..4).fold(0u16, |half, k| half | (packed(k) >> 12 << (4 * k)));
        let d = read_f16(&half.to_le_bytes(), 0);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let s = packed(group / 2) >> (6 * (group % 2) + 3 * (l / 2)) & 7;
                let scale = d * f32::from(2 * s + 1);
                let nibble = block[QH + group * 2 + l / 2] >> (l % 2 * 4);
                let index = usize::from(block[QS + group * 4 + l]) | usize::from(nibble & 7) << 8;
                put_shifted(scale, index, delta(nibble & 8 != 0), out);
            }
        }
    }
}

fn read_u32(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Scales of the first and the last 16 elements of a group.
fn quarter_scales(d: f32, nibbles: u8) -> [f32; 2] {
    [nibbles & 15, nibbles >> 4].map(|s| d * (0.5 + f32::from(s)) * 0.25)
}

/// Eight signs from the low 7 bits of `index`, with an even number of minus signs.
fn even_signs(index: u32) -> u8 {
    let seven = (index & 127) as u8;
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

fn signed(value: f32, signs: u8, place: usize) -> f32 {
    if signs >> place & 1 == 0 {
        value
    } else {
        -value
    }
}

/// Eight elements of a 2-bit grid.
fn put_signed_8(scale: f32, code: u16, signs: u8, out: &mut [f32; 8]) {
    const VALUES: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
    for (j, y) in out.iter_mut().enumerate() {
        *y = scale * signed(VALUES[usize::from(code >> (2 * j) & 3)], signs, j);
    }
}

/// Four elements of a 3-bit grid.
fn put_signed_4(scale: f32, code: u16, values: &[u8; 8], signs: u8, out: &mut [f32; 4]) {
    for (j, y) in out.iter_mut().enumerate() {
        *y = scale
            * signed(
                f32::from(values[usize::from(code >> (4 * j) & 7)]),
                signs,
                j,
            );
    }
}

fn delta(negative: bool) -> f32 {
    if negative { -0.125 } else { 0.125 }
}

/// Eight elements of the 1-bit grid.
fn put_shifted(scale: f32, index: usize, delta: f32, out: &mut [f32; 8]) {
    let code = tables_1::IQ1[index];
    for (j, y) in out.iter_mut().enumerate() {
        *y = scale * (f32::from(code >> (2 * j) & 3) - 1.0 + delta);
    }
}
