//! What the processor could do at most: loops that keep one arithmetic unit busy and touch no
//! memory, and a loop that reads memory and does nothing with it.
//!
//! A rate is operations (a multiplication and an addition are two) by the time they took; a caller
//! takes the time and runs one loop on each thread.

#[cfg(target_arch = "x86_64")]
use crate::x86_64::peak as vectors;

/// What a product multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// `f32`.
    F32,
    /// The upper halves of `f32`, summed in `f32`.
    Bf16,
    /// Bytes, summed in 32 bits.
    Int8,
}

impl Operands {
    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// An arithmetic unit: an instruction set with one kind of operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Plain Rust; the compiler uses what every processor of this kind has.
    ScalarF32,
    /// `vfmadd` on 8 lanes.
    Avx2F32,
    /// `vpmaddubsw`, `vpmaddwd` and an addition on 32 bytes.
    Avx2Int8,
    /// `vfmadd` on 16 lanes.
    Avx512F32,
    /// `vdpbf16ps` on 32 pairs.
    Avx512Bf16,
    /// `vpdpbusd` on 64 bytes.
    Avx512Int8,
    /// `tdpbf16ps` on tiles of 16 x 32 pairs.
    AmxBf16,
    /// `tdpbssd` on tiles of 16 x 64 bytes.
    AmxInt8,
}

impl Unit {
    /// All units, by instruction set.
    pub const ALL: [Self; 8] = [
        Self::ScalarF32,
        Self::Avx2F32,
        Self::Avx2Int8,
        Self::Avx512F32,
        Self::Avx512Bf16,
        Self::Avx512Int8,
        Self::AmxBf16,
        Self::AmxInt8,
    ];

    /// The instruction set, as a user would force it. The dot products of AVX-512 belong to `avx512vnni`.
    pub fn isa(self) -> &'static str {
        match self {
            Self::ScalarF32 => "scalar",
            Self::Avx2F32 | Self::Avx2Int8 => "avx2",
            Self::Avx512F32 => "avx512",
            Self::Avx512Bf16 | Self::Avx512Int8 => "avx512vnni",
            Self::AmxBf16 | Self::AmxInt8 => "amx",
        }
    }

    /// What it multiplies.
    pub fn operands(self) -> Operands {
        match self {
            Self::ScalarF32 | Self::Avx2F32 | Self::Avx512F32 => Operands::F32,
            Self::Avx512Bf16 | Self::AmxBf16 => Operands::Bf16,
            Self::Avx2Int8 | Self::Avx512Int8 | Self::AmxInt8 => Operands::Int8,
        }
    }

    /// True when kernels for the instruction set `isa` may use it.
    pub fn is_part_of(self, isa: &str) -> bool {
        let sets: &[&str] = match isa {
            "amx" => &["avx512", "avx512vnni", "amx"],
            "avx512vnni" => &["avx512", "avx512vnni"],
            "avx512" => &["avx512"],
            "avx2" => &["avx2"],
            _ => &["scalar"],
        };
        sets.contains(&self.isa())
    }

    /// True when this processor and system have it.
    pub fn is_available(self) -> bool {
        match self {
            Self::ScalarF32 => true,
            #[cfg(target_arch = "x86_64")]
            _ => vectors::is_available(self),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Keeps the unit busy for `rounds` rounds and gives the operations done; 0 where it is absent.
    pub fn run(self, rounds: u32) -> u64 {
        match self {
            Self::ScalarF32 => plain(rounds),
            #[cfg(target_arch = "x86_64")]
            _ => vectors::run(self, rounds),
            #[cfg(not(target_arch = "x86_64"))]
            _ => 0,
        }
    }
}

/// `s = s x + y` on 64 sums that do not wait for each other.
fn plain(rounds: u32) -> u64 {
    const SUMS: usize = 64;
    let (x, y) = std::hint::black_box((0.5_f32, 0.5_f32));
    let mut sums = [1.0_f32; SUMS];
    for _ in 0..rounds {
        sums.iter_mut().for_each(|sum| *sum = *sum * x + y);
    }
    std::hint::black_box(sums);
    u64::from(rounds) * 2 * SUMS as u64
}

/// Reads every byte, in order, as fast as this processor can, and gives a value that depends on all of them.
pub fn read(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = vectors::read(bytes) {
        return value;
    }
    let (words, rest) = bytes.as_chunks::<8>();
    let all = words
        .iter()
        .fold(0, |all, word| all ^ u64::from_ne_bytes(*word));
    rest.iter().fold(all, |all, byte| all ^ u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_counts_operations_in_proportion_to_its_rounds() {
        for unit in Unit::ALL {
            let (one, three) = (unit.run(10), unit.run(30));
            assert_eq!(three, 3 * one, "{unit:?}");
            assert_eq!(one > 0, unit.is_available(), "{unit:?}");
        }
    }

    #[test]
    fn a_set_includes_what_it_builds_on_and_nothing_above() {
        let of = |isa: &str| Unit::ALL.into_iter().filter(|u| u.is_part_of(isa)).count();
        assert_eq!(
            ["amx", "avx512vnni", "avx512", "avx2", "scalar"].map(of),
            [5, 3, 1, 2, 1]
        );
    }

    #[test]
    fn reading_depends_on_every_byte_whatever_the_length() {
        for length in [0_usize, 1, 7, 8, 63, 64, 65, 1023, 1024, 1025, 5000] {
            let mut bytes: Vec<u8> = (0..length).map(|i| (i * 37 % 251) as u8).collect();
            let whole = read(&bytes);
            for at in [0, length / 2, length.saturating_sub(1)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 0x55;
                    assert_ne!(read(&bytes), whole, "byte {at} of {length}");
                    bytes[at] ^= 0x55;
                }
            }
            assert_eq!(read(&bytes), whole);
        }
    }
}
