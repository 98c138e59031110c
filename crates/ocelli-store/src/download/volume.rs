//! The disk, as far as it can fail in ways that tests must be able to cause.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// What a download asks of the disk.
pub(super) trait Volume {
    /// Bytes that are free for this user on the disk of an existing folder; `None` when the system
    /// does not tell.
    fn available(&self, folder: &Path) -> Option<u64>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// As the system.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Makes `link` lead to `target`, which is relative to the link's folder.
    ///
    /// # Errors
    /// As the system; also where links to files need a privilege.
    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()>;
}

/// The real disk.
pub(super) struct Disk;

impl Volume for Disk {
    fn available(&self, folder: &Path) -> Option<u64> {
        fs4::available_space(folder).ok()
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        #[cfg(unix)]
        return std::os::unix::fs::symlink(target, link);
        #[cfg(windows)]
        return std::os::windows::fs::symlink_file(target, link);
        #[cfg(not(any(unix, windows)))]
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
}
