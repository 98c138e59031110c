//! What the processor says of its caches.

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Bytes of a core's first-level cache for data, 0 when the processor does not say.
pub(super) fn first_level_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    // Intel's leaf; AMD has the same under a number of its own, and nothing under this one.
    *BYTES.get_or_init(|| {
        [4, 0x8000_001D]
            .into_iter()
            .find_map(first_level_of)
            .unwrap_or(0)
    })
}

/// The same as a leaf of CPUID tells it, which has a part for each cache.
fn first_level_of(leaf: u32) -> Option<usize> {
    const DATA: u32 = 1;
    const UNIFIED: u32 = 3;
    /// More than any processor has.
    const MOST_CACHES: u32 = 16;
    let last = __cpuid(leaf & 0x8000_0000).eax;
    if leaf > last {
        return None;
    }
    let caches = (0..MOST_CACHES).map(|cache| __cpuid_count(leaf, cache));
    caches
        .take_while(|cache| cache.eax & 0x1F != 0)
        .find(|cache| [DATA, UNIFIED].contains(&(cache.eax & 0x1F)) && cache.eax >> 5 & 7 == 1)
        .map(|cache| {
            let field =
                |shift: u32, bits: u32| (cache.ebx >> shift & ((1 << bits) - 1)) as usize + 1;
            let (line, parts, ways) = (field(0, 12), field(12, 10), field(22, 10));
            line * parts * ways * (cache.ecx as usize + 1)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_level_cache_has_the_size_of_one_or_is_not_told() {
        let bytes = first_level_bytes();
        assert!(
            bytes == 0 || (8 << 10..=1 << 20).contains(&bytes),
            "{bytes} bytes"
        );
    }
}
