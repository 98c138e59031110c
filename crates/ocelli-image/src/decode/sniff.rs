//! What a file is, by its first bytes: names and media types lie.

use crate::Format;

pub(super) fn format(bytes: &[u8]) -> Option<Format> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
        [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some(Format::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
        // Two letters are little proof: the reserved words and a known header size must follow.
        [
            b'B',
            b'M',
            _,
            _,
            _,
            _,
            0,
            0,
            0,
            0,
            _,
            _,
            _,
            _,
            12 | 40 | 52 | 56 | 64 | 108 | 124,
            0,
            0,
            0,
            ..,
        ] => Some(Format::Bmp),
        _ => None,
    }
}

/// A hint for the message: what was probably given instead of a picture.
pub(super) fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("an empty file");
    }
    if is_start_of_supported(bytes) {
        return Some("the first bytes of a picture, cut off");
    }
    binary(bytes).or_else(|| text(bytes))
}

fn is_start_of_supported(bytes: &[u8]) -> bool {
    let signatures: [&[u8]; 5] = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"GIF87a",
        b"BM",
    ];
    signatures
        .iter()
        .any(|signature| signature.starts_with(bytes))
        || bytes.starts_with(b"BM") && bytes.len() < 18
        || bytes.starts_with(b"RIFF") && bytes.len() < 12
}

fn binary(bytes: &[u8]) -> Option<&'static str> {
    let name = match bytes {
        [b'%', b'P', b'D', b'F', ..] => "a PDF document: convert its pages to PNG first",
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] | [b'I', b'I', b'+', 0, ..] => {
            "TIFF or a camera raw file: convert it to PNG first"
        }
        [_, _, _, _, b'f', b't', b'y', b'p', rest @ ..] => media_container(rest),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => {
            "JPEG XL: convert it to PNG first"
        }
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => {
            "JPEG 2000: convert it to PNG first"
        }
        [0, 0, 1, 0, _, 0, ..] => "a Windows icon: convert it to PNG first",
        [b'8', b'B', b'P', b'S', ..] => "a Photoshop file: export it as PNG first",
        [b'q', b'o', b'i', b'f', ..] => "QOI: convert it to PNG first",
        [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t', ..] => {
            "a Netpbm file: convert it to PNG first"
        }
        [b'D', b'D', b'S', b' ', ..] => "a DDS texture: convert it to PNG first",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF model",
        [b'R', b'I', b'F', b'F', ..] => "audio or video (RIFF)",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "a video (Matroska or WebM)",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive or an office document",
        [0x1f, 0x8b, ..] => "a gzip archive",
        _ => return None,
    };
    Some(name)
}

/// Names a file of the ISO media family by the brand that follows `ftyp`.
fn media_container(brand: &[u8]) -> &'static str {
    match brand.get(..4) {
        Some(b"avif" | b"avis") => "AVIF: convert it to PNG first",
        Some(b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1") => {
            "HEIC: convert it to JPEG first"
        }
        _ => "a video (MP4 or QuickTime)",
    }
}

fn text(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(1024)];
    if head
        .iter()
        .any(|&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c))
    {
        return None;
    }
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if head.starts_with("version https://git-lfs") {
        return Some("a Git LFS pointer: fetch the real file");
    }
    if head.starts_with("data:image/") {
        return Some("a data URI: decode its base64 first");
    }
    if head.starts_with("<svg") || head.starts_with("<?xml") && head.contains("<svg") {
        return Some("SVG: render it to PNG first");
    }
    if head.starts_with("<!doctype html") || head.starts_with("<html") {
        return Some("a web page (HTML)");
    }
    Some("text")
}
