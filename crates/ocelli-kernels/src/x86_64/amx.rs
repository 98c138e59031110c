//! AMX: the matrix unit of newer Intel server processors, as [`TileUnit`].
//!
//! Stable Rust has no intrinsics for it, so each instruction is an `asm!` of one line. The compiler
//! never uses tile registers itself, so they keep what they hold between two of them.
#![allow(unsafe_code, reason = "instructions, a system call")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _MM_HINT_T1, _mm_prefetch, _xgetbv};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::tiles::{self, Emulated, Meanwhile, TILE, TileUnit, span};
use crate::vector::Simd;
use crate::word_job::WordJob;

/// Why the matrix unit cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmxRefusal {
    /// The processor does not have it.
    Absent,
    /// The system does not keep its registers.
    NotEnabled,
    /// The system did not allow this process to use it.
    NotPermitted,
    /// Its results are not those of the emulation.
    Wrong,
}

impl fmt::Display for AmxRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the processor has no matrix unit with BF16 and bytes",
            Self::NotEnabled => {
                "the system does not keep the registers of its matrix unit (Linux does from 5.16 on)"
            }
            Self::NotPermitted => "the system does not permit the use of its matrix unit",
            Self::Wrong => "its matrix unit does not compute what its manual says",
        })
    }
}

/// Proof that this process may use the matrix unit, and that it computes what the emulation does;
/// or the emulation itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amx {
    Unit(Proof),
    Emulated,
}

/// Made by [`Amx::detect`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof(());

impl Amx {
    /// The proof.
    pub(super) fn detect() -> Result<Self, AmxRefusal> {
        static RESULT: OnceLock<Result<Proof, AmxRefusal>> = OnceLock::new();
        let result = RESULT.get_or_init(|| {
            is_present()?;
            permit()?;
            let proof = Proof(());
            if checked(&mut Tiles::new(proof)) == checked(&mut Emulated::new()) {
                Ok(proof)
            } else {
                Err(AmxRefusal::Wrong)
            }
        });
        result.map(Self::Unit)
    }

    /// Tiles that stay configured between the jobs of a product while this is kept.
    pub(super) fn held(self) -> Option<Tiles> {
        match self {
            Self::Unit(proof) => Some(Tiles::new(proof)),
            Self::Emulated => None,
        }
    }

    /// See [`tiles::pair_tiles`].
    pub(super) fn pair_tiles<M: Meanwhile + ?Sized>(
        self,
        job: &mut WordJob<'_>,
        meanwhile: &mut M,
    ) {
        match self {
            Self::Unit(proof) => tiles::pair_tiles(&mut Tiles::new(proof), job, meanwhile),
            Self::Emulated => tiles::pair_tiles(&mut Emulated::new(), job, meanwhile),
        }
    }

    /// See [`tiles::byte_tiles`].
    ///
    /// # Safety
    /// The processor has AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
    pub(super) fn byte_tiles<S: Simd>(self, s: S, job: &mut WordJob<'_>) {
        match self {
            Self::Unit(proof) => tiles::byte_tiles(s, &mut Tiles::new(proof), job),
            Self::Emulated => tiles::byte_tiles(s, &mut Emulated::new(), job),
        }
    }
}

/// CPUID leaf 7: tiles, their products of BF16 and of bytes. XCR0: the system keeps both parts of
/// their state.
fn is_present() -> Result<(), AmxRefusal> {
    const TILE_BF16_INT8: u32 = 1 << 24 | 1 << 22 | 1 << 25;
    const STATE: u64 = 1 << 17 | 1 << 18;
    if __cpuid_count(7, 0).edx & TILE_BF16_INT8 != TILE_BF16_INT8 {
        return Err(AmxRefusal::Absent);
    }
    // SAFETY: AVX-512 was detected, which needs a system that allows this instruction.
    if unsafe { _xgetbv(0) } & STATE != STATE {
        return Err(AmxRefusal::NotEnabled);
    }
    Ok(())
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`: Linux gives a process the large state
/// only when asked.
#[cfg(target_os = "linux")]
fn permit() -> Result<(), AmxRefusal> {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: isize = 0x1023;
    const XTILEDATA: isize = 18;
    let result: isize;
    // SAFETY: this call reads and writes no memory of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if result == 0 {
        Ok(())
    } else {
        Err(AmxRefusal::NotPermitted)
    }
}

#[cfg(not(target_os = "linux"))]
fn permit() -> Result<(), AmxRefusal> {
    Err(AmxRefusal::NotPermitted)
}

/// Results of every instruction on numbers whose sums are exact, so that their order does not matter.
fn checked<U: TileUnit>(unit: &mut U) -> [[i32; TILE]; 2] {
    let mut state = 0x2545_F491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let bytes: [i32; 2 * TILE] = std::array::from_fn(|_| next() as i32);
    // Whole numbers from -8 to 7 as upper halves of singles.
    let mut half = || ((next() % 16) as f32 - 8.0).to_bits() >> 16;
    let pairs: [i32; 2 * TILE] = std::array::from_fn(|_| (half() << 16 | half()) as i32);
    let mut results = [[0; TILE]; 2];
    for (result, words) in results.iter_mut().zip([pairs, bytes]) {
        // Rows of the first operand are two tiles' width apart.
        let mut wide = [0; 2 * TILE];
        for (wide, row) in wide.chunks_exact_mut(32).zip(words.chunks_exact(16)) {
            wide[..16].copy_from_slice(row);
        }
        unit.zero::<3>();
        unit.load::<5>(&wide, 32);
        unit.load::<6>(&words[TILE..], 16);
        unit.load::<7>(&words[TILE..], 16);
        if words == pairs {
            unit.dot_pairs::<3, 5, 6>();
            unit.dot_pairs::<3, 5, 7>();
        } else {
            unit.dot_bytes::<3, 5, 6>();
            unit.dot_bytes::<3, 5, 7>();
        }
        unit.store::<3>(&mut wide, 32);
        unit.load::<0>(&wide, 32);
        unit.store::<0>(result, 16);
    }
    results
}

thread_local! {
    /// Whether this thread's tiles are configured.
    static CONFIGURED: Cell<bool> = const { Cell::new(false) };
}

/// The eight tiles of this thread, configured while this lives.
pub(super) struct Tiles {
    /// Whether they were before, so that they stay so behind this: configuring takes as long as a
    /// dozen products of tiles.
    were_configured: bool,
    /// They are this thread's own: no other may have them.
    of_this_thread: PhantomData<*const ()>,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    pub(super) fn new(_: Proof) -> Self {
        let tiles = Self {
            were_configured: CONFIGURED.replace(true),
            of_this_thread: PhantomData,
        };
        if tiles.were_configured {
            return tiles;
        }
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        configuration.row_bytes[..8].fill(64);
        configuration.rows[..8].fill(16);
        // SAFETY: 64 readable bytes that the manual allows; the proof says that the process may use tiles.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly, preserves_flags));
        }
        tiles
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if self.were_configured {
            return;
        }
        CONFIGURED.set(false);
        // SAFETY: tiles were configured; without them the system has less to keep.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}

impl TileUnit for Tiles {
    #[inline(always)]
    fn ask(&mut self, words: &[i32], at: usize) {
        let line = words.as_ptr().wrapping_add(at);
        // SAFETY: a prefetch does not fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
    }

    #[inline(always)]
    fn zero<const T: usize>(&mut self) {
        // SAFETY: tiles are configured while `self` lives.
        unsafe { asm!("tilezero tmm{}", const T, options(nostack, nomem, preserves_flags)) }
    }

    #[inline(always)]
    fn load<const T: usize>(&mut self, from: &[i32], stride: usize) {
        assert!(from.len() >= span(stride), "16 rows of a tile");
        // SAFETY: 16 rows of 64 readable bytes; tiles are configured while `self` lives.
        unsafe {
            asm!(
                "tileloadd tmm{tile}, [{start} + {stride}*1]",
                tile = const T,
                start = in(reg) from.as_ptr(),
                stride = in(reg) 4 * stride,
                options(nostack, readonly, preserves_flags),
            );
        }
    }

    #[inline(always)]
    fn store<const T: usize>(&mut self, to: &mut [i32], stride: usize) {
        assert!(to.len() >= span(stride), "16 rows of a tile");
        // SAFETY: 16 rows of 64 writable bytes; tiles are configured while `self` lives.
        unsafe {
            asm!(
                "tilestored [{start} + {stride}*1], tmm{tile}",
                tile = const T,
                start = in(reg) to.as_mut_ptr(),
                stride = in(reg) 4 * stride,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    fn dot_pairs<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: tiles are configured while `self` lives.
        unsafe {
            asm!(
                "tdpbf16ps tmm{}, tmm{}, tmm{}",
                const C, const A, const B,
                options(nostack, nomem, preserves_flags),
            );
        }
    }

    #[inline(always)]
    fn dot_bytes<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: tiles are configured while `self` lives.
        unsafe {
            asm!(
                "tdpbsud tmm{}, tmm{}, tmm{}",
                const C, const A, const B,
                options(nostack, nomem, preserves_flags),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of a tile: random ones, and two rows of the largest and smallest bytes.
    fn words(mut state: u32) -> [i32; TILE] {
        let mut words = std::array::from_fn(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as i32
        });
        words[16..32].fill(i32::from_ne_bytes([0x80; 4]));
        words[32..48].fill(-1);
        words
    }

    /// As halves from nothing and below the smallest normal number up to `2^33`: no sum of products
    /// is infinite.
    fn as_halves(words: [i32; TILE]) -> [i32; TILE] {
        let half = |bits: u16| (bits & 0x807F) | ((bits >> 7 & 0xFF) % 161) << 7;
        words.map(|w| i32::from(half(w as u16)) | i32::from(half((w >> 16) as u16)) << 16)
    }

    /// Three products on what is there already; rows of operands and results 20 words apart.
    fn results<U: TileUnit, const BYTES: bool>(unit: &mut U, start: i32) -> [i32; TILE] {
        let (mut a, mut b) = (words(1), words(2));
        if !BYTES {
            (a, b) = (as_halves(a), as_halves(b));
        }
        let mut wide = [start; 20 * 16];
        unit.load::<2>(&wide, 20);
        unit.load::<7>(&b, 16);
        for a in [a, b, a] {
            for (wide, row) in wide.chunks_exact_mut(20).zip(a.chunks_exact(16)) {
                wide[..16].copy_from_slice(row);
            }
            unit.load::<4>(&wide, 20);
            if BYTES {
                unit.dot_bytes::<2, 4, 7>();
            } else {
                unit.dot_pairs::<2, 4, 7>();
            }
        }
        unit.store::<2>(&mut wide, 20);
        let mut results = [0; TILE];
        for (row, wide) in results.chunks_exact_mut(16).zip(wide.chunks_exact(20)) {
            row.copy_from_slice(&wide[..16]);
            assert_eq!(wide[16..], [start; 4], "a row ends behind 16 words");
        }
        results
    }

    #[test]
    fn the_unit_sums_signed_by_unsigned_bytes_and_halves_of_any_size_as_the_emulation_does() {
        let proof = match Amx::detect() {
            Ok(Amx::Unit(proof)) => proof,
            refusal => return eprintln!("amx is not tested: {refusal:?}"),
        };
        let wanted = results::<_, true>(&mut Emulated::new(), -77);
        assert_eq!(results::<_, true>(&mut Tiles::new(proof), -77), wanted);
        for start in [0.0, -0.0, 1e20, -1e-40, -3e-38_f32] {
            let start = start.to_bits() as i32;
            let wanted = results::<_, false>(&mut Emulated::new(), start);
            assert_eq!(results::<_, false>(&mut Tiles::new(proof), start), wanted);
        }
    }
}
