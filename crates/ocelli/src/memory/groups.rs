//! Limits of memory that Linux sets for groups of processes: those of a container, or of a service
//! (`MemoryMax=` of systemd). Both versions of control groups are read.

use std::fs;
use std::path::{Component, Path};

/// Bytes that the groups of this process still have, of the one that has least; `None` without a
/// limit.
pub(super) fn left() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    left_below(Path::new("/sys/fs/cgroup"), &own)
}

/// How a version of control groups calls things.
struct Words {
    limits: &'static [&'static str],
    used: &'static str,
    /// Parts of what is used that the system takes back when memory is short: files that were read.
    reclaimed: &'static [&'static str],
}

static FIRST: Words = Words {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    reclaimed: &["total_inactive_file ", "total_active_file "],
};

static SECOND: Words = Words {
    // Above `high` a process is slowed down until it stands still.
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    reclaimed: &["inactive_file ", "active_file ", "slab_reclaimable "],
};

/// `own` is what the system says of a process: a line `number:controllers:group` for each hierarchy.
fn left_below(mounted: &Path, own: &str) -> Option<u64> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, Path::new(parts.next()?));
        let has_memory = controllers.split(',').any(|name| name == "memory");
        match controllers.is_empty() {
            // Beside the first version, the second one is mounted in a folder of its own.
            true => ["", "unified"]
                .into_iter()
                .filter_map(|folder| least(&mounted.join(folder), group, &SECOND))
                .min(),
            false if has_memory => least(&mounted.join("memory"), group, &FIRST),
            false => None,
        }
    };
    own.lines().filter_map(of_line).min()
}

/// What is left in a group and those around it. In a container the path may be that of the machine,
/// which is not there to be seen: then the outermost folder is the container's own group.
fn least(root: &Path, group: &Path, words: &Words) -> Option<u64> {
    let is_name = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let is_below = group.components().skip(1).all(|part| is_name(&part));
    let inside = group.strip_prefix("/").ok().filter(|_| is_below);
    let folders = inside.unwrap_or(Path::new("")).ancestors();
    folders
        .filter_map(|folder| left_in(&root.join(folder), words))
        .min()
}

fn left_in(folder: &Path, words: &Words) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // Without a limit there is the word `max`.
    let limits = words.limits.iter().filter_map(|name| number(name));
    let limit = limits.min()?;
    let stat = read("memory.stat").unwrap_or_default();
    let part = |name: &&str| {
        let mut lines = stat.lines();
        let bytes = lines.find_map(|line| line.strip_prefix(name))?;
        bytes.trim().parse::<u64>().ok()
    };
    let reclaimed: u64 = words.reclaimed.iter().filter_map(part).sum();
    let used = number(words.used)?.saturating_sub(reclaimed);
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_limit_of_a_service_holds_though_it_is_not_that_of_the_outermost_group() {
        let root = tempfile::tempdir().unwrap();
        // The outermost group of a machine has no limit and no file that says so.
        let slice = root.path().join("system.slice");
        let stat = "anon 1\nfile 9\ninactive_file 31457280\nactive_file 10485760\nslab_reclaimable 1048576\n";
        group(
            &slice,
            &[("memory.max", "max\n"), ("memory.current", "900000000\n")],
        );
        group(
            &slice.join("ocelli.service"),
            &[
                ("memory.max", "104857600\n"),
                ("memory.high", "max\n"),
                ("memory.current", "52428800\n"),
                ("memory.stat", stat),
            ],
        );
        let own = "1:name=systemd:/\n0::/system.slice/ocelli.service\n";
        // Of 50 MiB, 41 are files that were read.
        assert_eq!(left_below(root.path(), own), Some(91 * MIB));
        group(&slice, &[("memory.max", "943718400\n")]);
        assert_eq!(left_below(root.path(), own), Some(43_718_400));
        group(
            &slice.join("ocelli.service"),
            &[("memory.high", "20971520\n")],
        );
        assert_eq!(left_below(root.path(), own), Some(11 * MIB));
        assert_eq!(left_below(root.path(), "0::/other.slice\n"), None);
    }

    #[test]
    fn a_container_that_does_not_see_its_path_has_the_limit_of_the_outermost_folder() {
        let root = tempfile::tempdir().unwrap();
        group(
            root.path(),
            &[
                ("memory.max", "104857600\n"),
                ("memory.current", "104857600\n"),
            ],
        );
        for own in [
            "0::/\n",
            "0::/docker/0123\n",
            "0::/../../other\n",
            "0::/a/../..\n",
        ] {
            assert_eq!(left_below(root.path(), own), Some(0), "{own}");
        }
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_too() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("memory");
        group(
            &folder,
            &[
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.usage_in_bytes", "1\n"),
            ],
        );
        group(
            &folder.join("job"),
            &[
                ("memory.limit_in_bytes", "20971520\n"),
                ("memory.usage_in_bytes", "10485760\n"),
                (
                    "memory.stat",
                    "inactive_file 7\ntotal_inactive_file 2097152\ntotal_active_file 0\n",
                ),
            ],
        );
        let own = "5:cpu,cpuacct:/\n4:hugetlb,memory:/job\n0::/\n";
        assert_eq!(left_below(root.path(), own), Some(12 * MIB));
        for broken in ["", "4", "4:memory", "x:memory:job", "::"] {
            assert!(left_below(root.path(), broken).is_none_or(|left| left > 1 << 40));
        }
    }
}
