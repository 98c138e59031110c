//! What Prometheus' own clients tell of a process, under their names: memory, descriptors, time of
//! processors. Where the system does not tell (`/proc`), a number is left out.

use std::fs;

/// Linux counts times of processors in hundredths of a second, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Name, kind, help, value.
pub(super) type Number = (&'static str, &'static str, &'static str, f64);

/// The numbers of this process, which began at `started` (seconds since 1970).
pub(super) fn numbers(started: u64) -> Vec<Number> {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
    let status = read("status").unwrap_or_default();
    let limits = read("limits").unwrap_or_default();
    let open = fs::read_dir("/proc/self/fd").map(Iterator::count);
    let found = [
        (
            "process_cpu_seconds_total",
            "counter",
            "Time of processors that was used.",
            read("stat").and_then(|stat| cpu_seconds(&stat)),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Memory that is in use.",
            number_behind(&status, "VmRSS:").map(|kib| kib * 1024.0),
        ),
        (
            "process_virtual_memory_bytes",
            "gauge",
            "Addresses that are in use.",
            number_behind(&status, "VmSize:").map(|kib| kib * 1024.0),
        ),
        (
            "process_open_fds",
            "gauge",
            "Open descriptors.",
            // The one that lists them is not counted.
            open.ok().map(|count| count.saturating_sub(1) as f64),
        ),
        (
            "process_max_fds",
            "gauge",
            "Most open descriptors.",
            number_behind(&limits, "Max open files"),
        ),
        (
            "process_start_time_seconds",
            "gauge",
            "When the server began, in seconds since 1970.",
            Some(started as f64),
        ),
    ];
    let known = found.into_iter();
    known
        .filter_map(|(name, kind, help, value)| Some((name, kind, help, value?)))
        .collect()
}

/// The number behind these words at the beginning of a line.
fn number_behind(text: &str, words: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of a process' line; its name, the second, may hold anything in its brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut ticks = behind.split_whitespace().skip(11);
    let (user, system) = (ticks.next()?, ticks.next()?);
    let ticks = user.parse::<u64>().ok()? + system.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_writes_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 10 0 99 1 2";
        assert_eq!(cpu_seconds(stat), Some(1.75));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
        let status = "Name:\tocelli\nVmRSS:\t    2048 kB\n";
        assert_eq!(number_behind(status, "VmRSS:"), Some(2048.0));
        let limits = "Max open files            1024                 4096                 files";
        assert_eq!(number_behind(limits, "Max open files"), Some(1024.0));
        assert!(numbers(1).iter().all(|number| number.3 >= 0.0));
    }
}
