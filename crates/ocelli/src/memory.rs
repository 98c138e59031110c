//! How much memory there is.

/// Bytes that this process can still take: the machine's, or its container's if that is less.
pub(crate) fn available() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let machine = system.available_memory();
    match system.cgroup_limits() {
        Some(limits) if limits.free_memory > 0 => machine.min(limits.free_memory),
        _ => machine,
    }
}

/// Bytes as whole MiB, rounded up.
pub(crate) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
