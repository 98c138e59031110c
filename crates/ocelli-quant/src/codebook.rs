//! 4-bit codes into a fixed table of values: IQ4_NL, IQ4_XS, MXFP4.
//!
//! 16 bytes hold 32 elements: the low nibbles are elements 0..16, the high ones 16..32.

/// The values of IQ4_NL and IQ4_XS: denser near zero, as weights are.
pub const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of a 4-bit float (E2M1).
pub const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// `y = d * table[q]`.
pub mod iq4_nl {
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
        super::look_up(read_f16(block, D), &super::IQ4_VALUES, &block[QS..], out);
    }
}

/// `y = d * (s - 32) * table[q]`, s of 6 bits for each 32 elements.
pub mod iq4_xs {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 136;
    /// Offset of the scale of scales, a half.
    pub const D: usize = 0;
    /// Offset of the high bit pairs of the scales, a `u16`.
    pub const SCALES_HIGH: usize = 2;
    /// Offset of 4 bytes of low nibbles of the scales.
    pub const SCALES_LOW: usize = 4;
    /// Offset of 128 bytes of codes, 16 for each 32 elements.
    pub const QS: usize = 8;

    /// The scale of group `group` (0..8), 0..64; 32 is to be subtracted.
    pub fn scale(block: &[u8; BYTES], group: usize) -> u8 {
        let high = u16::from_le_bytes([block[SCALES_HIGH], block[SCALES_HIGH + 1]]);
        let low = (block[SCALES_LOW + group / 2] >> (group % 2 * 4)) & 15;
        low | (((high >> (group * 2)) & 3) << 4) as u8
    }

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scale = d * (i32::from(scale(block, group)) - 32) as f32;
            super::look_up(
                scale,
                &super::IQ4_VALUES,
                &block[QS + group * 16..][..16],
                out,
            );
        }
    }
}

/// `y = 2^(e - 127) * float4[q]`: the microscaling format of OCP.
pub mod mxfp4 {
    /// Elements of a block.
    pub const ELEMENTS: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 17;
    /// Offset of the exponent, a byte.
    pub const E: usize = 0;
    /// Offset of 16 bytes of codes.
    pub const QS: usize = 1;

    /// `2^(e - 128)`: half the scale, because [`super::MXFP4_VALUES`] are doubled.
    pub fn half_scale(e: u8) -> f32 {
        f32::from_bits(match e {
            0 | 1 => 0x0020_0000 << e,
            _ => u32::from(e - 1) << 23,
        })
    }

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        super::look_up(
            half_scale(block[E]),
            &super::MXFP4_VALUES,
            &block[QS..],
            out,
        );
    }
}

fn look_up(scale: f32, table: &[i8; 16], codes: &[u8], out: &mut [f32; 32]) {
    for (j, &byte) in codes.iter().enumerate() {
        out[j] = scale * f32::from(table[usize::from(byte & 15)]);
        out[j + 16] = scale * f32::from(table[usize::from(byte >> 4)]);
    }
}
