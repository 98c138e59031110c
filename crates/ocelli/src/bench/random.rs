//! Random bytes that are valid blocks of a type, made at the speed of memory: their values are
//! small numbers around zero, so that activations stay finite through all layers, and their
//! arithmetic costs what a real model's does.

use std::sync::{Mutex, PoisonError};

use ocelli_quant::TensorType;

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// Numbers around zero with a deviation of about [`DEVIATION`].
    Weight,
    /// Numbers just above one: the gains of norms. F32 only.
    Gain,
}

/// One by the square root of 2048, a common width: a product of such a row keeps the size of what
/// it multiplies.
const DEVIATION: f32 = 0.022;

/// Bytes that one thread fills at a time.
const PIECE: usize = 1 << 20;

/// Fills whole blocks of `ty`, on all processors.
pub(super) fn fill(ty: TensorType, purpose: Purpose, bytes: &mut [u8]) {
    let block = ty.row_bytes(ty.block_elements()).unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = (bytes.len() / threads).next_multiple_of(block).max(block);
    let runs = Mutex::new((1_u64..).zip(bytes.chunks_mut(run)));
    let next = || runs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((index, run)) = next() {
            let mut random = Random(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for piece in run.chunks_mut(PIECE / block * block) {
                random.fill(piece);
                piece
                    .chunks_exact_mut(block)
                    .for_each(|block| repair(ty, purpose, block));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without a thread from the system, this one does it all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

/// Splitmix64: as fast as memory, and good enough for weights that nobody reads.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut::<8>();
        words
            .iter_mut()
            .for_each(|word| *word = self.next().to_le_bytes());
        let last = self.next().to_le_bytes();
        rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
    }
}

/// Makes random bytes one block with finite, small values: sets exponents, or the block's scales.
fn repair(ty: TensorType, purpose: Purpose, block: &mut [u8]) {
    // The deviation of a block's values for a scale of one, and its minimum in scales: see the block formats.
    let (at, deviation, minimum) = match ty {
        TensorType::F32 => return set_exponent::<4>(block, 23, purpose),
        TensorType::BF16 => return set_exponent::<2>(block, 7, purpose),
        TensorType::F16 => return set_half(block),
        TensorType::Q4_0 => (0, 4.6, None),
        TensorType::Q5_0 => (0, 9.2, None),
        TensorType::Q8_0 => (0, 73.9, None),
        TensorType::Q4_1 => (0, 4.6, Some(-7.5)),
        TensorType::Q5_1 => (0, 9.2, Some(-15.5)),
        TensorType::Q2_K => (80, 15.0, Some(1.5)),
        TensorType::Q3_K => (108, 43.0, None),
        TensorType::Q4_K => (0, 255.0, Some(7.5)),
        TensorType::Q5_K => (0, 521.0, Some(15.5)),
        TensorType::Q6_K => {
            // Scales of five bits instead of eight keep the block's own scale out of the subnormal halves.
            block[192..208]
                .iter_mut()
                .for_each(|scale| *scale = (*scale & 31).wrapping_sub(16));
            (208, 170.0, None)
        }
        // No file type of the benchmark has others.
        _ => return block.fill(0),
    };
    let scale = DEVIATION / deviation;
    set(block, at, scale);
    if let Some(minimum) = minimum {
        set(block, at + 2, scale * minimum);
    }
}

fn set(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&half(value).to_le_bytes());
}

/// A normal half by cutting the fraction. Subnormals become the smallest normal one.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    if exponent < 1 {
        return sign | 0x0400;
    }
    sign | (exponent.min(30) as u16) << 10 | (bits >> 13 & 0x3ff) as u16
}

/// One float of `N` bytes with `fraction` bits of fraction: from 2^-6 to 2^-5 with any sign, or
/// from 1 to 1.125.
fn set_exponent<const N: usize>(block: &mut [u8], fraction: u32, purpose: Purpose) {
    let mut bits = 0_u32;
    for (i, byte) in block.iter().enumerate().take(N) {
        bits |= u32::from(*byte) << (8 * i);
    }
    let sign = 1 << (8 * N as u32 - 1);
    let mask = (1_u32 << fraction) - 1;
    let bits = match purpose {
        Purpose::Weight => bits & (sign | mask) | (127 - 6) << fraction,
        Purpose::Gain => bits & (mask >> 3) | 127 << fraction,
    };
    block.copy_from_slice(&bits.to_le_bytes()[..N]);
}

fn set_half(block: &mut [u8]) {
    let bits = u16::from_le_bytes([block[0], block[1]]);
    block.copy_from_slice(&(bits & 0x83ff | (15 - 6) << 10).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use ocelli_quant::dequantize;

    use super::*;
    use crate::convert::FileType;

    #[test]
    fn values_of_every_file_type_are_small_and_around_zero() {
        for ty in FileType::ALL.map(FileType::base) {
            let elements = 64 * 256;
            let mut bytes = vec![0; ty.row_bytes(elements).unwrap()];
            fill(ty, Purpose::Weight, &mut bytes);
            let mut values = vec![0.0; elements];
            dequantize(ty, &bytes, &mut values).unwrap();
            let mean: f32 = values.iter().sum::<f32>() / elements as f32;
            let square: f32 = values.iter().map(|v| v * v).sum::<f32>() / elements as f32;
            let deviation = square.sqrt();
            assert!(mean.abs() < 0.3 * deviation, "{ty}: mean {mean}");
            assert!(
                (0.5..2.0).contains(&(deviation / DEVIATION)),
                "{ty}: deviation {deviation}"
            );
        }
    }

    #[test]
    fn gains_are_just_above_one() {
        let mut bytes = vec![0; 4 * 1000];
        fill(TensorType::F32, Purpose::Gain, &mut bytes);
        let mut values = vec![0.0; 1000];
        dequantize(TensorType::F32, &bytes, &mut values).unwrap();
        assert!(values.iter().all(|v| (1.0..1.126).contains(v)));
    }
}
