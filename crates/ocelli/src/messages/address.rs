//! What stands for a picture or video in a message: a `data:` URL, a `file://` URL or a path.
//! Nothing is fetched.

use std::path::Path;

use base64::Engine as _;

use super::wrong;
use crate::{Error, ImageSource};

/// The bytes of a `data:` URL of this kind.
pub(super) fn read_data(url: &str, kind: &str, place: &str) -> Result<Vec<u8>, Error> {
    let need = || wrong(place, format!("data URI must be {kind}*;base64"));
    let rest = url.strip_prefix("data:").unwrap_or(url);
    let (head, data) = rest.split_once(',').ok_or_else(need)?;
    if !head.starts_with(kind) || !head.ends_with(";base64") {
        return Err(need());
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(data.trim());
    decoded.map_err(|_| need())
}

pub(super) fn read_url(url: &str, place: &str, base: &Path) -> Result<ImageSource, Error> {
    if url.starts_with("data:") {
        return Ok(ImageSource::Bytes(read_data(url, "image/", place)?));
    }
    if url.starts_with("http://") || url.starts_with("https://") {
        return Err(wrong(
            place,
            "pictures and videos are not fetched; give a file or a data URI",
        ));
    }
    let Some(address) = url.strip_prefix("file://") else {
        return Ok(ImageSource::File(base.join(url)));
    };
    let path = unescape(address).ok_or_else(|| {
        let need = "the escapes of a file:// URL must be % and two digits each, and make UTF-8";
        wrong(place, need)
    })?;
    let path = path
        .strip_prefix("localhost")
        .filter(|path| path.starts_with('/'))
        .unwrap_or(&path);
    Ok(ImageSource::File(base.join(path)))
}

/// A URL's path with its escapes (`%20`) resolved; `None` where one is broken or what comes out is no text.
fn unescape(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_file_urls_are_resolved_and_those_of_paths_are_names() {
        let path = |url: &str| match read_url(url, "here", Path::new("/dir")) {
            Ok(ImageSource::File(path)) => Ok(path.to_str().unwrap().to_owned()),
            Ok(_) => panic!("{url} is no file"),
            Err(error) => Err(error.to_string()),
        };
        for (url, expected) in [
            ("file:///a%20b/%c3%A9.png", "/a b/é.png"),
            ("file://localhost/a%2520b.png", "/a%20b.png"),
            ("file://localhosts.png", "/dir/localhosts.png"),
            ("file://cat.png", "/dir/cat.png"),
            ("a%20b.png", "/dir/a%20b.png"),
        ] {
            assert_eq!(path(url).unwrap(), expected, "{url}");
        }
        for broken in [
            "file:///a%2",
            "file:///%zz.png",
            "file:///%+1.png",
            "file:///%ff.png",
        ] {
            let error = path(broken).unwrap_err();
            assert!(error.contains("% and two digits"), "{broken}: {error}");
        }
    }
}
