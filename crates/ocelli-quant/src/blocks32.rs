//! Blocks of 32 elements with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! `d` and `m` are halves. In the 4- and 5-bit formats byte j of the codes holds element j in its
//! low nibble and element j + 16 in its high nibble.

/// `y = d * (q - 8)`, q of 4 bits.
pub mod q4_0 {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 18;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 16 bytes of codes.
    pub const QS: usize = 2;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (j, &byte) in block[QS..].iter().enumerate() {
            out[j] = d * (i32::from(byte & 15) - 8) as f32;
            out[j + 16] = d * (i32::from(byte >> 4) - 8) as f32;
        }
    }
}

/// `y = d * q + m`, q of 4 bits.
pub mod q4_1 {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 20;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of the minimum, a half.
    pub const M: usize = 2;
    /// Offset of 16 bytes of codes.
    pub const QS: usize = 4;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let (d, m) = (read_f16(block, D), read_f16(block, M));
        for (j, &byte) in block[QS..].iter().enumerate() {
            out[j] = d * f32::from(byte & 15) + m;
            out[j + 16] = d * f32::from(byte >> 4) + m;
        }
    }
}

/// `y = d * (q - 16)`, q of 5 bits: bit j of `qh` is the high bit of element j.
pub mod q5_0 {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 22;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of the high bits, a `u32`.
    pub const QH: usize = 2;
    /// Offset of 16 bytes of low bits.
    pub const QS: usize = 6;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        let (low, high) = super::five_bit_codes(block, QH, QS);
        for j in 0..16 {
            out[j] = d * (i32::from(low[j]) - 16) as f32;
            out[j + 16] = d * (i32::from(high[j]) - 16) as f32;
        }
    }
}

/// `y = d * q + m`, q of 5 bits: bit j of `qh` is the high bit of element j.
pub mod q5_1 {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 24;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of the minimum, a half.
    pub const M: usize = 2;
    /// Offset of the high bits, a `u32`.
    pub const QH: usize = 4;
    /// Offset of 16 bytes of low bits.
    pub const QS: usize = 8;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let (d, m) = (read_f16(block, D), read_f16(block, M));
        let (low, high) = super::five_bit_codes(block, QH, QS);
        for j in 0..16 {
            out[j] = d * f32::from(low[j]) + m;
            out[j + 16] = d * f32::from(high[j]) + m;
        }
    }
}

/// `y = d * q`, q a signed byte.
pub mod q8_0 {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 34;
    /// Offset of the scale, a half.
    pub const D: usize = 0;
    /// Offset of 32 signed bytes.
    pub const QS: usize = 2;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (y, &q) in out.iter_mut().zip(&block[QS..]) {
            *y = d * f32::from(q as i8);
        }
    }
}

/// Codes of elements 0..16 and of 16..32 from high bits at `qh` and nibbles at `qs`.
fn five_bit_codes(block: &[u8], qh: usize, qs: usize) -> ([u8; 16], [u8; 16]) {
    let bits = u32::from_le_bytes([block[qh], block[qh + 1], block[qh + 2], block[qh + 3]]);
    let high_bit = |element: usize| ((bits >> element) & 1) as u8 * 16;
    (
        std::array::from_fn(|j| (block[qs + j] & 15) | high_bit(j)),
        std::array::from_fn(|j| (block[qs + j] >> 4) | high_bit(j + 16)),
    )
}
