//! Buffers that end where memory ends, instruction sets to test, random numbers.

use std::ops::{Deref, DerefMut};

use ocelli_kernels::{Element, Kernels, KeyPanels, LANES, Matrix, Scalar};

/// The vector sets of this machine; says which it does not have.
pub(crate) fn vector_sets() -> Vec<Box<dyn Kernels>> {
    let mut sets: Vec<Box<dyn Kernels>> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        match ocelli_kernels::Avx2::detect() {
            Some(kernels) => sets.push(Box::new(kernels)),
            None => eprintln!("avx2 is not tested: this processor does not have it"),
        }
        match ocelli_kernels::Avx512::detect() {
            Some(kernels) => sets.push(Box::new(kernels)),
            None => eprintln!("avx512 is not tested: this processor does not have it"),
        }
        match ocelli_kernels::Avx512Vnni::detect() {
            Some(kernels) => sets.push(Box::new(kernels)),
            None => eprintln!("avx512vnni is not tested: this processor does not have it"),
        }
        if let Some(kernels) = ocelli_kernels::Avx512Vnni::with_emulated_amx() {
            sets.push(Box::new(kernels));
        }
        match ocelli_kernels::Avx512Vnni::detect_amx() {
            Ok(kernels) => sets.push(Box::new(kernels)),
            Err(refusal) => eprintln!("amx is not tested: {refusal}"),
        }
    }
    #[cfg(target_arch = "aarch64")]
    match ocelli_kernels::Neon::detect() {
        Some(kernels) => sets.push(Box::new(kernels)),
        None => eprintln!("neon is not tested: this processor does not have it"),
    }
    sets
}

/// All sets of this machine, the scalar one first.
pub(crate) fn all_sets() -> Vec<Box<dyn Kernels>> {
    let mut sets: Vec<Box<dyn Kernels>> = vec![Box::new(Scalar)];
    sets.extend(vector_sets());
    sets
}

/// Elements behind which there is no memory: reading past them ends the test with a signal.
pub(crate) struct Guarded<T> {
    map: guard::Map,
    len: usize,
    element: std::marker::PhantomData<T>,
}

/// A buffer with these elements.
pub(crate) fn guarded<T: Plain>(values: &[T]) -> Guarded<T> {
    let mut buffer = Guarded {
        map: guard::Map::new(size_of_val(values)),
        len: values.len(),
        element: std::marker::PhantomData,
    };
    buffer.copy_from_slice(values);
    buffer
}

/// Numbers that any bits are valid for.
pub(crate) trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for u16 {}
impl Plain for u8 {}

impl<T: Plain> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        guard::elements(self.map.bytes(), self.len)
    }
}

impl<T: Plain> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        guard::elements_mut(self.map.bytes_mut(), self.len)
    }
}

/// On Linux a file is mapped two pages longer than it is: touching the pages behind its end raises a signal.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "memory maps and views of their bytes")]
mod guard {
    use std::sync::atomic::{AtomicU32, Ordering};

    use memmap2::{MmapMut, MmapOptions};

    use super::Plain;

    const PAGE: usize = 4096;

    pub(crate) struct Map {
        map: MmapMut,
        used: std::ops::Range<usize>,
    }

    impl Map {
        pub(crate) fn new(len: usize) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ocelli-guard-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let size = len.next_multiple_of(PAGE).max(PAGE);
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .expect("a temporary file can be mapped");
            std::fs::remove_file(&path).expect("a temporary file can be mapped");
            file.set_len(size as u64)
                .expect("a temporary file can be mapped");
            // SAFETY: the file has no name any more, so nobody else changes it.
            let map = unsafe { MmapOptions::new().len(size + 2 * PAGE).map_mut(&file) }
                .expect("a temporary file can be mapped");
            Self {
                map,
                used: size - len..size,
            }
        }

        pub(crate) fn bytes(&self) -> &[u8] {
            &self.map[self.used.clone()]
        }

        pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.map[self.used.clone()]
        }
    }

    pub(crate) fn elements<T: Plain>(bytes: &[u8], len: usize) -> &[T] {
        // SAFETY: all bits are valid for plain numbers.
        let (before, values, _) = unsafe { bytes.align_to() };
        assert!(before.is_empty() && values.len() == len);
        values
    }

    pub(crate) fn elements_mut<T: Plain>(bytes: &mut [u8], len: usize) -> &mut [T] {
        // SAFETY: all bits are valid for plain numbers.
        let (before, values, _) = unsafe { bytes.align_to_mut() };
        assert!(before.is_empty() && values.len() == len);
        values
    }
}

/// Elsewhere the buffer only has its exact length; bounds are those of the allocator.
#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code, reason = "views of bytes")]
mod guard {
    use super::Plain;

    pub(crate) struct Map(Vec<u64>, usize);

    impl Map {
        pub(crate) fn new(len: usize) -> Self {
            Self(vec![0; len.div_ceil(8)], len)
        }

        pub(crate) fn bytes(&self) -> &[u8] {
            &elements::<u8>(&self.0, self.1)[..self.1]
        }

        pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
            let len = self.1;
            &mut elements_mut::<u8>(&mut self.0, len)[..len]
        }
    }

    pub(crate) fn elements<T: Plain>(bytes: &[impl Copy], len: usize) -> &[T] {
        // SAFETY: all bits are valid for plain numbers.
        let (before, values, _) = unsafe { bytes.align_to() };
        assert!(before.is_empty());
        &values[..len]
    }

    pub(crate) fn elements_mut<T: Plain>(bytes: &mut [impl Copy], len: usize) -> &mut [T] {
        // SAFETY: all bits are valid for plain numbers.
        let (before, values, _) = unsafe { bytes.align_to_mut() };
        assert!(before.is_empty());
        &mut values[..len]
    }
}

/// Random numbers of a fixed sequence, in -1..1.
pub(crate) fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Numbers that go wrong easily, among ordinary ones.
pub(crate) fn extremes(count: usize) -> Vec<f32> {
    let special = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        -1e-42,
        65504.0,
        65520.0,
        -1e30,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        5.96e-8,
        2.98e-8,
        2049.0,
    ];
    let mut values = random(77, count);
    for (i, value) in values.iter_mut().enumerate() {
        if i % 3 == 0 {
            *value = special[i / 3 % special.len()];
        }
    }
    values
}

/// Errors at most `tolerance` of the largest element wanted, or of `terms`.
#[track_caller]
pub(crate) fn assert_close(name: &str, found: &[f32], wanted: &[f32], tolerance: f32, terms: f32) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    let largest = wanted.iter().fold(terms, |m, w| m.max(w.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (found - wanted).abs();
        assert!(
            error <= tolerance * largest,
            "{name}, element {i}: found {found}, wanted {wanted}"
        );
    }
}

/// The same bits.
#[track_caller]
pub(crate) fn assert_same(name: &str, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(
            found.to_bits(),
            wanted.to_bits(),
            "{name}, element {i}: found {found}, wanted {wanted}"
        );
    }
}

/// Elements from one row of [`scores`] to the next: more than there are scores.
pub(crate) fn score_stride(panels: usize) -> usize {
    panels * LANES + 3
}

/// Scores of queries and keys that lie together, in rows [`score_stride`] apart; what lies between
/// them stays 5.
pub(crate) fn scores(
    kernels: &dyn Kernels,
    queries: Matrix<'_>,
    keys: Element<'_>,
    panels: usize,
) -> Vec<f32> {
    let stride = score_stride(panels);
    let mut scores = guarded(&vec![5.0; queries.rows() * stride]);
    let keys = KeyPanels {
        ahead: keys,
        ..KeyPanels::together(keys, queries.columns())
    };
    kernels.scores(queries, keys, &mut scores, stride);
    scores.to_vec()
}

/// Numbers as IEEE halves.
pub(crate) fn halves(values: &[f32]) -> Vec<u16> {
    let mut bits = vec![0; values.len()];
    Scalar.narrow(values, &mut bits);
    bits
}
