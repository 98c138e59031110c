//! What the operating system says about the machine and this process.

use sysinfo::System;

/// Name of the processor, bytes of memory, operating system with kernel, load average of the last minute.
pub(super) fn describe() -> (String, u64, String, f64) {
    let mut system = System::new();
    system.refresh_memory();
    system.refresh_cpu_all();
    let cpu = system
        .cpus()
        .first()
        .map(|cpu| cpu.brand().trim().to_owned());
    let name = System::name().unwrap_or_default();
    let kernel = System::kernel_version().unwrap_or_default();
    (
        cpu.unwrap_or_default(),
        system.total_memory(),
        format!("{name} {kernel}").trim().to_owned(),
        System::load_average().one,
    )
}

/// Starts the count of [`peak_bytes`] anew, where the system can.
pub(super) fn forget_peak() {
    // Linux: 5 sets the peak to what is resident now. Where it cannot be written the peak stays the
    // process's own.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process had, in bytes, where the system says (Linux).
pub(super) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
