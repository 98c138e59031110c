//! The loops of [`crate::peak`] for each instruction set.
//!
//! Loops are plain `for`s: a closure would not get the caller's target features. Each keeps enough
//! sums on their way that none waits for its own last addition: 12 registers, as no processor needs
//! more than 5 cycles for two additions a cycle.
#![allow(
    unsafe_code,
    reason = "calls into code with other target features, loads, and instructions that the compiler does not know"
)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;

use crate::peak::Unit;

/// Sums on their way at a time.
const SUMS: usize = 12;

/// True when the processor has the unit and the system lets programs use it.
pub(crate) fn is_available(unit: Unit) -> bool {
    match unit {
        Unit::ScalarF32 => true,
        Unit::Avx2F32 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        Unit::Avx2Int8 => is_x86_feature_detected!("avx2"),
        Unit::Avx512F32 => is_x86_feature_detected!("avx512f"),
        Unit::Avx512Bf16 => is_x86_feature_detected!("avx512bf16"),
        Unit::Avx512Int8 => is_x86_feature_detected!("avx512vnni"),
        Unit::AmxBf16 => tiles_allowed(22),
        Unit::AmxInt8 => tiles_allowed(25),
    }
}

/// Runs a unit, or gives 0 where it is absent.
pub(crate) fn run(unit: Unit, rounds: u32) -> u64 {
    if !is_available(unit) {
        return 0;
    }
    let operations = match unit {
        Unit::ScalarF32 => 0,
        // SAFETY: AVX2 and FMA are there, see above.
        Unit::Avx2F32 => unsafe { avx2_f32(rounds) },
        // SAFETY: AVX2 is there, see above.
        Unit::Avx2Int8 => unsafe { avx2_int8(rounds) },
        // SAFETY: AVX-512 is there, see above.
        Unit::Avx512F32 => unsafe { avx512_f32(rounds) },
        // SAFETY: AVX-512 with BF16 is there, see above.
        Unit::Avx512Bf16 => unsafe { avx512_bf16(rounds) },
        // SAFETY: AVX-512 with VNNI is there, see above.
        Unit::Avx512Int8 => unsafe { avx512_int8(rounds) },
        Unit::AmxBf16 => tiles_bf16(rounds),
        Unit::AmxInt8 => tiles_int8(rounds),
    };
    u64::from(rounds) * operations
}

#[target_feature(enable = "avx2,fma")]
fn avx2_f32(rounds: u32) -> u64 {
    let (x, y) = black_box((_mm256_set1_ps(0.5), _mm256_set1_ps(0.5)));
    let mut sums = [_mm256_set1_ps(1.0); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, x, y);
        }
    }
    black_box(sums);
    2 * 8 * SUMS as u64
}

#[target_feature(enable = "avx2")]
fn avx2_int8(rounds: u32) -> u64 {
    let (x, y) = black_box((_mm256_set1_epi8(3), _mm256_set1_epi16(1)));
    let mut sums = [_mm256_set1_epi8(5); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            let pairs = _mm256_maddubs_epi16(x, *sum);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, y));
        }
    }
    black_box(sums);
    2 * 32 * SUMS as u64
}

#[target_feature(enable = "avx512f")]
fn avx512_f32(rounds: u32) -> u64 {
    let (x, y) = black_box((_mm512_set1_ps(0.5), _mm512_set1_ps(0.5)));
    let mut sums = [_mm512_set1_ps(1.0); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, y);
        }
    }
    black_box(sums);
    2 * 16 * SUMS as u64
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn avx512_bf16(rounds: u32) -> u64 {
    let halves = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5), _mm512_set1_ps(-0.25));
    let (x, y) = black_box((halves, halves));
    let mut sums = [_mm512_set1_ps(1.0); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, x, y);
        }
    }
    black_box(sums);
    2 * 32 * SUMS as u64
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn avx512_int8(rounds: u32) -> u64 {
    let (x, y) = black_box((
        _mm512_set1_epi32(0x0102_0304),
        _mm512_set1_epi32(0x01ff_02fe),
    ));
    let mut sums = [_mm512_set1_epi32(1); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, x, y);
        }
    }
    black_box(sums);
    2 * 64 * SUMS as u64
}

/// Reads bytes on eight chains of 64 bytes, or gives `None` without AVX2.
pub(crate) fn read(bytes: &[u8]) -> Option<u64> {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512 was found.
        return Some(unsafe { read_avx512(bytes) });
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was found.
        return Some(unsafe { read_avx2(bytes) });
    }
    None
}

/// How far ahead of a read its line is asked for: enough to cover the time that memory takes.
const AHEAD: usize = 4096;

#[target_feature(enable = "avx512f")]
fn read_avx512(bytes: &[u8]) -> u64 {
    let mut all = [_mm512_setzero_si512(); 8];
    let (blocks, rest) = bytes.as_chunks::<512>();
    for block in blocks {
        for (all, line) in all.iter_mut().zip(block.as_chunks::<64>().0) {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast());
            // SAFETY: 64 readable bytes; the load needs no alignment.
            *all = _mm512_xor_si512(*all, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) });
        }
    }
    // Sums mix the chains; an exclusive or of all would let equal changes in two of them cancel.
    let mut mixed = _mm512_setzero_si512();
    for one in all {
        mixed = _mm512_add_epi64(_mm512_rol_epi64::<1>(mixed), one);
    }
    fold_rest(_mm512_reduce_add_epi64(mixed) as u64, rest)
}

#[target_feature(enable = "avx2")]
fn read_avx2(bytes: &[u8]) -> u64 {
    let mut all = [_mm256_setzero_si256(); 8];
    let (blocks, rest) = bytes.as_chunks::<256>();
    for block in blocks {
        _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().wrapping_add(AHEAD).cast());
        for (all, half_line) in all.iter_mut().zip(block.as_chunks::<32>().0) {
            // SAFETY: 32 readable bytes; the load needs no alignment.
            let values = unsafe { _mm256_loadu_si256(half_line.as_ptr().cast()) };
            *all = _mm256_xor_si256(*all, values);
        }
    }
    let mut mixed = 0_u64;
    for one in all {
        for word in [
            _mm256_extract_epi64::<0>(one),
            _mm256_extract_epi64::<1>(one),
            _mm256_extract_epi64::<2>(one),
            _mm256_extract_epi64::<3>(one),
        ] {
            mixed = mixed.rotate_left(1).wrapping_add(word as u64);
        }
    }
    fold_rest(mixed, rest)
}

fn fold_rest(all: u64, rest: &[u8]) -> u64 {
    rest.iter()
        .fold(all, |all, byte| all.rotate_left(8) ^ u64::from(*byte))
}

/// True when CPUID leaf 7 has `bit` (22: BF16 tiles, 25: byte tiles) and tiles (24), and the system
/// grants their state.
fn tiles_allowed(bit: u32) -> bool {
    let leaf = __cpuid_count(7, 0);
    let has = |bit: u32| leaf.edx >> bit & 1 == 1;
    has(24) && has(bit) && is_x86_feature_detected!("xsave") && tile_state_granted()
}

/// Asks Linux for the tiles' state, which it does not give to a process unasked.
#[cfg(target_os = "linux")]
fn tile_state_granted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the call changes only which registers the system saves for this process.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn tile_state_granted() -> bool {
    false
}

/// Eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileShapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: TileShapes = TileShapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// A loop of four products of tiles of zeros: rates do not depend on values.
macro_rules! tile_loop {
    ($rounds:expr, $product:literal) => {{
        let mut left = $rounds;
        if left > 0 {
            // SAFETY: called only where the tiles were found and granted; all tile registers are given up.
            unsafe {
                asm!(
                    "ldtilecfg [{shapes}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                    "2:",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    concat!($product, " tmm2, tmm5, tmm6"),
                    concat!($product, " tmm3, tmm5, tmm7"),
                    "dec {left:e}",
                    "jnz 2b",
                    "tilerelease",
                    shapes = in(reg) &raw const SHAPES,
                    left = inout(reg) left,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
        let _ = left;
    }};
}

/// Operations of a round: four products of 16 x 16 results over 32 pairs.
fn tiles_bf16(rounds: u32) -> u64 {
    tile_loop!(rounds, "tdpbf16ps");
    4 * 2 * 16 * 16 * 32
}

/// Operations of a round: four products of 16 x 16 results over 64 bytes.
fn tiles_int8(rounds: u32) -> u64 {
    tile_loop!(rounds, "tdpbssd");
    4 * 2 * 16 * 16 * 64
}
