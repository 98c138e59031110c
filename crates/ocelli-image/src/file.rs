//! Whole files: the bytes of whatever a path names, bounded in size and, where no byte may ever
//! come, in time; and bytes that are written all or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

/// How long a pipe may be without anybody who writes to it.
const NOBODY: Duration = Duration::from_secs(3);

/// How long somebody who writes may take for the next bytes: a download or a conversion is no
/// reason to give up.
const SILENCE: Duration = Duration::from_secs(60);

const CHUNK_BYTES: u64 = 1 << 20;

/// The first `most` + 1 bytes that a path names, so that a longer file is known by its length.
///
/// Pipes and devices are read too (`<(command)` of a shell is one), unless nobody writes to them
/// within three seconds, or what is written pauses for a minute.
///
/// # Errors
/// When the path cannot be read, or stays silent.
pub fn read_bytes(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let (path, most) = (path.as_ref(), most.saturating_add(1));
    let metadata = fs::metadata(path)?;
    // Files of /proc have no size, and some of them wait as pipes do.
    if metadata.is_file() && metadata.len() > 0 {
        let mut bytes = Vec::new();
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    read_patiently(path.to_owned(), most)
}

/// Writes a file whole: under a name beside its own, flushed to disk and renamed, so that neither a
/// full disk nor a kill leaves a part of it, or nothing of what was there before. What is no file
/// on a disk (`/dev/stdout`) is written to as it is.
///
/// # Errors
/// When writing or renaming fails; then nothing is left.
pub fn write_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let is_other = fs::metadata(path).is_ok_and(|found| !found.is_file());
    let Some(name) = path.file_name().filter(|_| !is_other) else {
        return fs::write(path, bytes);
    };
    // The place that a link points to, so that it stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = name.to_string_lossy();
    let part = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = File::create_new(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&part, &target));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// Reads on a thread of its own, since opening a pipe already waits. It is left behind when nothing comes.
fn read_patiently(path: PathBuf, most: u64) -> io::Result<Vec<u8>> {
    let (send, receive) = mpsc::sync_channel(1);
    std::thread::Builder::new().spawn(move || {
        let failed = send_chunks(&path, most, &send).err();
        // Nobody listens any more when it took too long.
        let _ = send.send(failed.map(Err));
    })?;
    let mut bytes = Vec::new();
    let mut patience = NOBODY;
    loop {
        match receive.recv_timeout(patience) {
            Ok(Some(chunk)) => bytes.append(&mut chunk?),
            Ok(None) => return Ok(bytes),
            Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "nothing came for {} seconds; need a file, or a pipe that is written to",
                        patience.as_secs()
                    ),
                ));
            }
        }
        // Somebody opened the other end.
        patience = SILENCE;
    }
}

/// A part of the bytes (the first is empty and says that the path is open), or why there are no
/// more; none at the end.
type Chunk = Option<io::Result<Vec<u8>>>;

fn send_chunks(path: &Path, most: u64, send: &SyncSender<Chunk>) -> io::Result<()> {
    let mut rest = File::open(path)?.take(most);
    if send.send(Some(Ok(Vec::new()))).is_err() {
        return Ok(());
    }
    loop {
        let mut chunk = vec![0; rest.limit().min(CHUNK_BYTES) as usize];
        let length = rest.read(&mut chunk)?;
        chunk.truncate(length);
        if length == 0 || send.send(Some(Ok(chunk))).is_err() {
            return Ok(());
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn devices_and_files_without_a_size_are_read_up_to_the_limit() {
        assert_eq!(read_bytes("/dev/null", 9).unwrap(), b"");
        assert_eq!(read_bytes("/dev/zero", 9).unwrap(), [0; 10]);
        let most = 3 * CHUNK_BYTES;
        let long = read_bytes("/dev/zero", most).unwrap();
        assert_eq!(long.len() as u64, most + 1);
        assert!(!read_bytes("/proc/self/status", 9).unwrap().is_empty());
        let folder = read_bytes("/proc/self", 9).unwrap_err();
        assert_eq!(folder.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_file_is_written_whole_or_stays_what_it_was() {
        let folder = std::env::temp_dir().join(format!("ocelli-whole-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (file, link) = (folder.join("a"), folder.join("link"));
        std::os::unix::fs::symlink("a", &link).unwrap();
        write_bytes(&file, b"first").unwrap();
        write_bytes(&link, b"second").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"second");
        let full = write_bytes("/dev/full", b"x").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(write_bytes(folder.join("none/a"), b"x").is_err());
        assert!(write_bytes(&folder, b"x").is_err());
        let left: Vec<_> = fs::read_dir(&folder).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_pipe_is_read_while_somebody_writes_to_it_however_slowly_and_given_up_when_nobody_does() {
        let folder = std::env::temp_dir().join(format!("ocelli-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&folder).status();
        assert!(made.unwrap().success());
        let writer = folder.clone();
        let writing = std::thread::spawn(move || {
            let mut pipe = File::create(writer).unwrap();
            pipe.write_all(b"a ").unwrap();
            // Longer than nobody may write.
            std::thread::sleep(NOBODY + Duration::from_secs(1));
            pipe.write_all(b"picture").unwrap();
        });
        let written = read_bytes(&folder, 100).unwrap();
        writing.join().unwrap();
        let silent = read_bytes(&folder, 100).unwrap_err();
        fs::remove_file(&folder).unwrap();
        assert_eq!(written, b"a picture");
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
    }
}
