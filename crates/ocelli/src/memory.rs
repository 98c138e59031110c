//! How much memory there is.

mod groups;

/// Addresses that are taken for other things than weights and pictures: stacks of threads, and the
/// 64 MiB that glibc sets aside at once for the small pieces of each of them.
const ADDRESSES_OF_THREADS: u64 = 256 << 20;

/// Bytes that this process can still take: the machine's, or its container's, service's or own limit's
/// if that is less.
pub(crate) fn available() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let own = [groups::left(), addresses_left()];
    let machine = system.available_memory();
    own.into_iter().flatten().fold(machine, u64::min)
}

/// What is left of the limit of addresses (`ulimit -v`) for weights and pictures, where the system says so.
fn addresses_left() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = number_behind(&limits, "Max address space")?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let taken_kib = number_behind(&status, "VmSize:")?;
    Some(limit.saturating_sub((taken_kib << 10) + ADDRESSES_OF_THREADS))
}

/// The number behind these words at the beginning of a line; none where it is no number.
fn number_behind(text: &str, words: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Bytes as whole MiB, rounded up.
pub(crate) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::number_behind;

    #[test]
    fn limits_are_read_as_the_system_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\nMax address space         1073741824           unlimited            bytes\n";
        let words = "Max address space";
        assert_eq!(number_behind(text, words), Some(1 << 30));
        let text = "Max address space         unlimited            unlimited            bytes";
        assert_eq!(number_behind(text, words), None);
    }
}
