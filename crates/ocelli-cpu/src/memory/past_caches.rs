//! Stores that leave the caches alone.

/// Copies of numbers past the caches, which all threads may read once this is gone. A store into a
/// line that other cores have read waits until each has given it up, longest where they have
/// another cache in common; these stores do not wait.
pub(crate) struct PastCaches(());

impl PastCaches {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// `to = from`.
    ///
    /// # Panics
    /// When their lengths differ.
    pub(crate) fn copy(&mut self, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len(), "numbers of a copy");
        streams::copy(from, to);
    }
}

impl Drop for PastCaches {
    fn drop(&mut self) {
        streams::fence();
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "stores past the caches have no safe form")]
mod streams {
    use std::arch::x86_64::{_mm_loadu_ps, _mm_sfence, _mm_stream_ps};

    /// Numbers of a vector.
    const VECTOR: usize = 4;

    /// A copy that other threads see only behind a [`fence`].
    pub(super) fn copy(from: &[f32], to: &mut [f32]) {
        // `usize::MAX` if there is no such place, which leaves out everything.
        let before = to.as_ptr().align_offset(VECTOR * size_of::<f32>());
        let (first, to) = to.split_at_mut(before.min(to.len()));
        let (from_first, from) = from.split_at(first.len());
        first.copy_from_slice(from_first);
        let ((from, from_rest), (to, rest)) = (from.as_chunks::<VECTOR>(), to.as_chunks_mut());
        for (from, to) in from.iter().zip(to) {
            // SAFETY: the array has four readable numbers; the load needs no alignment.
            let vector = unsafe { _mm_loadu_ps(from.as_ptr()) };
            let to: &mut [f32; VECTOR] = to;
            // SAFETY: the array has four writable numbers. It starts at a multiple of 16 bytes:
            // the numbers before the first such place were left out, and a vector has 16 bytes.
            unsafe { _mm_stream_ps(to.as_mut_ptr(), vector) };
        }
        rest.copy_from_slice(from_rest);
    }

    /// Orders the copies before what this thread writes later, by which others learn of them.
    pub(super) fn fence() {
        // SAFETY: SSE is part of every 64-bit x86 processor.
        unsafe { _mm_sfence() };
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod streams {
    pub(super) fn copy(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    pub(super) fn fence() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_past_the_caches_are_whole_wherever_they_start() {
        let from: Vec<f32> = (0..64).map(|i| i as f32).collect();
        for start in 0..9 {
            for len in 0..40 {
                let mut to = [-1.0; 64];
                PastCaches::new().copy(&from[start..start + len], &mut to[start..start + len]);
                for (at, value) in to.iter().enumerate() {
                    let expected = if (start..start + len).contains(&at) {
                        at as f32
                    } else {
                        -1.0
                    };
                    assert_eq!(*value, expected, "number {at} of {len} from {start}");
                }
            }
        }
    }
}
