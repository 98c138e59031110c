//! What the tests share: finding, reading and breaking the files of `tests/goldens`.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::path::PathBuf;

use ocelli_image::{DecodeOptions, Error, RgbImage, decode};
use serde_json::Value;

/// A golden file, by its path below `tests/goldens`.
pub(crate) fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name)
}

/// A golden JSON list.
pub(crate) fn cases(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(golden(name)).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty(), "{name} has no cases");
    cases
}

/// An integer field.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn integer(case: &Value, field: &str) -> u64 {
    case[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {case}"))
}

/// A string field.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {case}"))
}

/// The 64-bit FNV-1a hash, as the golden maker writes it.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> String {
    let hash = bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// A file among the goldens of decoding.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden(&format!("decode/{name}"))).unwrap()
}

/// Its picture.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn open(bytes: &[u8]) -> Result<RgbImage, Error> {
    decode(bytes, &DecodeOptions::default()).map(|picture| picture.image)
}

/// Why it is no picture.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn message(bytes: &[u8]) -> String {
    match open(bytes) {
        Ok(image) => panic!("decoded as {image:?}"),
        Err(error) => error.to_string(),
    }
}

/// A file whose bytes at `at` are others.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn patched(name: &str, at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = file(name);
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// Where a sequence of bytes begins.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn position(bytes: &[u8], of: &[u8]) -> usize {
    bytes
        .windows(of.len())
        .position(|window| window == of)
        .unwrap()
}

/// Where a baseline JPEG has its start-of-frame marker.
#[allow(dead_code, reason = "not every test program needs every helper")]
pub(crate) fn frame_at(name: &str) -> usize {
    position(&file(name), &[0xff, 0xc0])
}
