//! The media folder: picture files that requests may name by `file:` addresses, and nothing outside of it.
//!
//! A path is walked name by name from the open folder, and no name may be a link: so it does not
//! matter what is swapped in the folder meanwhile, a walk never leaves it. Whoever asks learns only
//! that there is no such picture, not why.

use std::path::Path;

use crate::Error;
use crate::failure::Failure;
use crate::percent::unescape;

/// True for addresses of files.
pub(crate) fn is_file(url: &str) -> bool {
    rest(url).is_some()
}

/// What follows `file:` in an address.
fn rest(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    scheme.eq_ignore_ascii_case("file").then_some(rest)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Media {
    folder: Option<unix::Folder>,
}

impl Media {
    /// Opens the folder, if there is to be one.
    ///
    /// # Errors
    /// When it is no folder, or on systems where it could not be guarded.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self { folder: None });
        };
        let folder = unix::Folder::open(path).map_err(|error| {
            let (path, what) = (path.display(), error.kind());
            Error::Settings(format!("--media-dir {path}: {what}, need a folder"))
        })?;
        Ok(Self {
            folder: Some(folder),
        })
    }

    /// Reads a picture file of at most so many bytes.
    ///
    /// # Errors
    /// When there is no folder, no such file in it, or it is larger.
    pub(crate) fn read(&self, url: &str, most_bytes: u64) -> Result<Vec<u8>, Failure> {
        let refused = |message: String| Failure {
            code: "image_file_not_allowed",
            ..Failure::bad(message)
        };
        let Some(folder) = &self.folder else {
            let message = "image files are not read by this server; send the image as a data URI, or start with --media-dir";
            return Err(refused(message.to_owned()));
        };
        let bytes = names(url, folder.path())
            .and_then(|names| folder.read(&names, most_bytes))
            .ok_or_else(|| refused("no such image in the server's media folder".to_owned()))?;
        match bytes.len() as u64 > most_bytes {
            true => Err(refused(format!(
                "the image file is too large, limit {most_bytes} bytes"
            ))),
            false => Ok(bytes),
        }
    }
}

/// The names that lead from the folder to a file: an address is absolute and begins with the
/// folder's path (`file:///media/cat.png`), or is meant from there (`file:cat.png`,
/// `file://cat.png`). `None` when it leads elsewhere.
fn names(url: &str, folder: &Path) -> Option<Vec<String>> {
    let rest = rest(url)?;
    // What follows these is for web servers.
    let rest = unescape(rest).filter(|_| !rest.contains(['?', '#']))?;
    let rest = rest.strip_prefix("//").unwrap_or(&rest);
    let rest = rest
        .strip_prefix("localhost/")
        .map_or_else(|| rest.to_owned(), |path| format!("/{path}"));
    let inside = match rest.starts_with('/') {
        true => {
            let inside = Path::new(&rest).strip_prefix(folder).ok()?;
            inside.to_str()?.to_owned()
        }
        false => rest,
    };
    let names: Vec<String> = inside.split('/').map(str::to_owned).collect();
    let is_plain =
        |name: &String| !matches!(name.as_str(), "" | "." | "..") && !name.contains(['\\', '\0']);
    names.iter().all(is_plain).then_some(names)
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::{self, Read as _};
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};

    use rustix::fs::{Mode, OFlags, open, openat};

    /// An open folder.
    #[derive(Debug)]
    pub(super) struct Folder {
        /// Without links.
        path: PathBuf,
        folder: OwnedFd,
    }

    const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
    /// A pipe that is opened must not wait for its other end.
    const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK);

    impl Folder {
        pub(super) fn open(path: &Path) -> io::Result<Self> {
            let path = path.canonicalize()?;
            let folder = open(&path, FOLDER, Mode::empty())?;
            Ok(Self { path, folder })
        }

        pub(super) fn path(&self) -> &Path {
            &self.path
        }

        /// Reads a regular file: one byte more than `most_bytes` if it is larger.
        pub(super) fn read(&self, names: &[String], most_bytes: u64) -> Option<Vec<u8>> {
            let (last, folders) = names.split_last()?;
            let next = |from: &OwnedFd, name: &String, flags: OFlags| {
                let flags = flags | OFlags::NOFOLLOW | OFlags::RDONLY;
                openat(from, name, flags, Mode::empty()).ok()
            };
            let mut inner: Option<OwnedFd> = None;
            for name in folders {
                inner = Some(next(inner.as_ref().unwrap_or(&self.folder), name, FOLDER)?);
            }
            let file = next(inner.as_ref().unwrap_or(&self.folder), last, FILE)?;
            let file = File::from(file);
            file.metadata().ok().filter(|found| found.is_file())?;
            let mut bytes = Vec::new();
            let mut limited = file.take(most_bytes.saturating_add(1));
            limited.read_to_end(&mut bytes).ok()?;
            Some(bytes)
        }
    }
}

/// Where a walk cannot be kept from following links, there is no media folder.
#[cfg(not(unix))]
mod unix {
    use std::io;
    use std::path::Path;

    #[derive(Debug)]
    pub(super) enum Folder {}

    impl Folder {
        pub(super) fn open(_: &Path) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn path(&self) -> &Path {
            match *self {}
        }

        pub(super) fn read(&self, _: &[String], _: u64) -> Option<Vec<u8>> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_into_the_folder_or_nowhere() {
        let found = |url: &str| names(url, Path::new("/media")).map(|names| names.join("|"));
        for url in [
            "file:///media/a/b%20c.png",
            "file://localhost/media/a/b c.png",
            "FILE:a/b c.png",
            "file://a/b%20c.png",
        ] {
            assert_eq!(found(url).as_deref(), Some("a|b c.png"), "{url}");
        }
        for url in [
            "file:///etc/passwd",
            "file:///media",
            "file:///media/",
            "file:///media/../etc/passwd",
            "file:///media/a/../../etc/passwd",
            "file:///mediaother/a.png",
            "file:../a.png",
            "file:%2e%2e/a.png",
            "file:a/%2e%2e%2fb.png",
            "file:./a.png",
            "file:a//b.png",
            "file:",
            "file://",
            "file:a%00.png",
            "file:a\\b.png",
            "file:a%zz.png",
            "file:a%2",
            "file:a.png?x=1",
            "file:%ff.png",
        ] {
            assert_eq!(found(url), None, "{url}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_pipes_and_folders_are_no_pictures() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("media");
        std::fs::create_dir_all(folder.join("in")).unwrap();
        std::fs::write(folder.join("in/a.png"), b"picture").unwrap();
        std::fs::write(place.path().join("secret"), b"secret").unwrap();
        let link =
            |from: &str, to: &Path| std::os::unix::fs::symlink(to, folder.join(from)).unwrap();
        link("file", &place.path().join("secret"));
        link("folder", place.path());
        link("own", Path::new("in/a.png"));
        link("round", Path::new("round"));
        let media = Media::open(Some(&folder)).unwrap();
        assert_eq!(media.read("file:in/a.png", 7).unwrap(), b"picture");
        let too_large = media.read("file:in/a.png", 6).unwrap_err();
        assert!(too_large.message.contains("limit 6"), "{too_large:?}");
        for url in [
            "file:file",
            "file:folder/secret",
            "file:own",
            "file:round",
            "file:in",
            "file:nosuch.png",
            "file:in/a.png/b",
        ] {
            let failure = media.read(url, 7).unwrap_err();
            let expected = "no such image in the server's media folder";
            assert_eq!(failure.message, expected, "{url}");
        }
        let none = Media::open(None).unwrap().read("file:in/a.png", 7);
        assert!(none.unwrap_err().message.contains("--media-dir"));
        assert!(Media::open(Some(&folder.join("nosuch"))).is_err());
        assert!(Media::open(Some(&folder.join("in/a.png"))).is_err());
    }
}
