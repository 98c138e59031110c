//! Memory: a small file cannot make the process large. Alone in its program, because it measures the process.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use ocelli_image::{DecodeOptions, RgbImage, decode};

/// The most memory this process ever held, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn refused_and_truncated_giants_take_no_memory() {
    let small = RgbImage::filled(8, 8, [9; 3]).unwrap().to_png().unwrap();
    let sized = |side: u32| {
        let mut png = small.clone();
        png[16..20].copy_from_slice(&side.to_be_bytes());
        png[20..24].copy_from_slice(&side.to_be_bytes());
        png
    };
    // A JPEG frame of 16384 x 16384 whose scan ends at once.
    let mut jpeg = b"\xff\xd8\xff\xc2\0\x0b\x08\x40\0\x40\0\x01\x01\x11\0".to_vec();
    jpeg.extend_from_slice(b"\xff\xda\0\x08\x01\x01\0\0\0\0\xff\xd9");
    let gif = b"GIF89a\xff\x3f\xff\x3f\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\x3f\xff\x3f\0\x02\x02D\x01\0;";
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend_from_slice(
        b"\0\x40\0\0\0\x40\0\0\x01\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    let files: [&[u8]; 5] = [&sized(22_000), &sized(16_384), &jpeg, gif, &bmp];
    let before = peak_kib();
    for (number, file) in files.iter().enumerate() {
        let error = decode(file, &DecodeOptions::default()).unwrap_err();
        let grown = peak_kib() - before;
        assert!(grown < 16 << 10, "file {number} took {grown} KiB: {error}");
    }
}
