//! K-quants: blocks of 256 elements with quantised scales for groups of 16 or 32: Q2_K to Q6_K.
//!
//! Element e lies in half `e / 128`; in a half, 32 consecutive bytes hold several elements each, `e
//! % 32` is the byte and `(e % 128) / 32` which bits of it.

/// Elements of a block of every K-quant.
const ELEMENTS_K: usize = 256;

/// `y = d * s * q - dmin * m`, q of 2 bits, s and m of 4 bits for each 16 elements.
pub mod q2_k {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_K;
    /// Bytes of a block.
    pub const BYTES: usize = 84;
    /// Offset of 16 bytes: scale in the low nibble, minimum in the high one.
    pub const SCALES: usize = 0;
    /// Offset of 64 bytes of codes.
    pub const QS: usize = 16;
    /// Offset of the scale of scales, a half.
    pub const D: usize = 80;
    /// Offset of the scale of minima, a half.
    pub const DMIN: usize = 82;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let (d, dmin) = (read_f16(block, D), read_f16(block, DMIN));
        for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = block[SCALES + group];
            let (scale, min) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
            let shift = group % 8 / 2 * 2;
            let qs = &block[QS + group / 8 * 32 + group % 2 * 16..];
            for (y, &byte) in out.iter_mut().zip(qs) {
                *y = scale * f32::from((byte >> shift) & 3) - min;
            }
        }
    }
}

/// `y = d * (s - 32) * q`, q in -4..=3, s of 6 bits for each 16 elements.
pub mod q3_k {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_K;
    /// Bytes of a block.
    pub const BYTES: usize = 110;
    /// Offset of 32 bytes of high bits: bit `e / 32` of byte `e % 32`; a set bit means that 4 is
    /// not subtracted.
    pub const HMASK: usize = 0;
    /// Offset of 64 bytes of low bits.
    pub const QS: usize = 32;
    /// Offset of 12 bytes of packed scales, see [`scales`].
    pub const SCALES: usize = 96;
    /// Offset of the scale of scales, a half.
    pub const D: usize = 108;

    /// The 16 scales, 0..64; 32 is to be subtracted. Eight bytes have two low nibbles each, four
    /// have the high bits.
    pub fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        let packed = &block[SCALES..SCALES + 12];
        std::array::from_fn(|k| {
            let low = (packed[k % 8] >> (k / 8 * 4)) & 15;
            let high = (packed[8 + k % 4] >> (k / 4 * 2)) & 3;
            low | (high << 4)
        })
    }

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        let scales = scales(block);
        for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * (i32::from(scales[group]) - 32) as f32;
            let shift = group % 8 / 2 * 2;
            let qs = &block[QS + group / 8 * 32 + group % 2 * 16..];
            let high = &block[HMASK + group % 2 * 16..];
            for (j, y) in out.iter_mut().enumerate() {
                let low = i32::from((qs[j] >> shift) & 3);
                let missing = 4 - i32::from((high[j] >> (group / 2)) & 1) * 4;
                *y = scale * (low - missing) as f32;
            }
        }
    }
}

/// `y = d * s * q - dmin * m`, q of 4 bits, s and m of 6 bits for each 32 elements.
pub mod q4_k {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_K;
    /// Bytes of a block.
    pub const BYTES: usize = 144;
    /// Offset of the scale of scales, a half.
    pub const D: usize = 0;
    /// Offset of the scale of minima, a half.
    pub const DMIN: usize = 2;
    /// Offset of 12 bytes of packed scales and minima, see [`super::scale_and_min`].
    pub const SCALES: usize = 4;
    /// Offset of 128 bytes of codes: each 32 bytes hold a group of 32 in the low nibbles and the
    /// next in the high ones.
    pub const QS: usize = 16;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let (d, dmin) = (read_f16(block, D), read_f16(block, DMIN));
        let packed = super::packed_scales(block, SCALES);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = super::scale_and_min(&packed, group);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let qs = &block[QS + group / 2 * 32..];
            for (y, &byte) in out.iter_mut().zip(qs) {
                *y = scale * f32::from((byte >> (group % 2 * 4)) & 15) - min;
            }
        }
    }
}

/// As Q4_K with a fifth bit: bit `e / 32` of byte `e % 32` of `qh`.
pub mod q5_k {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_K;
    /// Bytes of a block.
    pub const BYTES: usize = 176;
    /// Offset of the scale of scales, a half.
    pub const D: usize = 0;
    /// Offset of the scale of minima, a half.
    pub const DMIN: usize = 2;
    /// Offset of 12 bytes of packed scales and minima, see [`super::scale_and_min`].
    pub const SCALES: usize = 4;
    /// Offset of 32 bytes of high bits.
    pub const QH: usize = 16;
    /// Offset of 128 bytes of low bits, as the codes of Q4_K.
    pub const QS: usize = 48;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let (d, dmin) = (read_f16(block, D), read_f16(block, DMIN));
        let packed = super::packed_scales(block, SCALES);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = super::scale_and_min(&packed, group);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let qs = &block[QS + group / 2 * 32..];
            for (j, y) in out.iter_mut().enumerate() {
                let low = (qs[j] >> (group % 2 * 4)) & 15;
                let high = (block[QH + j] >> group) & 1;
                *y = scale * f32::from(low | (high << 4)) - min;
            }
        }
    }
}

/// `y = d * s * (q - 32)`, q of 6 bits, s a signed byte for each 16 elements.
pub mod q6_k {
    use crate::float::read_f16;

    /// Elements of a block.
    pub const ELEMENTS: usize = super::ELEMENTS_K;
    /// Bytes of a block.
    pub const BYTES: usize = 210;
    /// Offset of 128 bytes of low nibbles: in a half, 64 bytes, low nibbles first.
    pub const QL: usize = 0;
    /// Offset of 64 bytes of high bit pairs.
    pub const QH: usize = 128;
    /// Offset of 16 signed bytes of scales.
    pub const SCALES: usize = 192;
    /// Offset of the scale of scales, a half.
    pub const D: usize = 208;

    /// The values of one block.
    pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; ELEMENTS]) {
        let d = read_f16(block, D);
        for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(block[SCALES + group] as i8);
            let (half, quarter, start) = (group / 8, group % 8 / 2, group % 2 * 16);
            let ql = &block[QL + half * 64 + quarter % 2 * 32 + start..];
            let qh = &block[QH + half * 32 + start..];
            for (j, y) in out.iter_mut().enumerate() {
                let low = (ql[j] >> (quarter / 2 * 4)) & 15;
                let high = (qh[j] >> (quarter * 2)) & 3;
                *y = scale * (i32::from(low | (high << 4)) - 32) as f32;
            }
        }
    }
}

/// Scale and minimum, 6 bits each, of group `group` (0..8) of a Q4_K or Q5_K block: groups 0..4
/// have theirs in bytes of their own, groups 4..8 have nibbles in the last four bytes and their
/// high bits above those of groups 0..4.
///
/// # Panics
/// When `group` is not in 0..8.
pub fn scale_and_min(packed: &[u8; 12], group: usize) -> (u8, u8) {
    match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (
            (packed[group + 4] & 15) | (packed[group - 4] >> 6 << 4),
            (packed[group + 4] >> 4) | (packed[group] >> 6 << 4),
        ),
    }
}

/// The 12 bytes at `at`.
fn packed_scales(block: &[u8], at: usize) -> [u8; 12] {
    std::array::from_fn(|k| block[at + k])
}
