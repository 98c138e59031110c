//! Every format and variant against the pixels that Pillow shows (`tools/image/make_goldens.py`).
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::{cases, file, frame_at, golden, open, patched, position, text};
use ocelli_image::{
    DecodeOptions, Format, Orientation, RgbImage, decode, header, read, read_header,
};

/// Largest difference of a sample, and how many samples differ at all.
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, usize) {
    let differences = a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
    (
        differences.clone().max().unwrap_or(0),
        differences.filter(|&d| d > 0).count(),
    )
}

#[test]
fn every_variant_decodes_to_the_reference_pixels() {
    let mut wrong = Vec::new();
    for case in cases("decode/cases.json") {
        let name = text(&case, "file");
        let expected = read(
            golden(&format!("decode/{}", text(&case, "expected"))),
            &DecodeOptions::default(),
        )
        .unwrap();
        match read(golden(&format!("decode/{name}")), &DecodeOptions::default()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(picture)
                if (picture.image.width, picture.image.height)
                    != (expected.image.width, expected.image.height) =>
            {
                wrong.push(format!(
                    "{name}: {:?} instead of {:?}",
                    picture.image, expected.image
                ));
            }
            Ok(picture) => {
                let (most, count) = difference(&picture.image, &expected.image);
                if most > 0 {
                    wrong.push(format!("{name}: {count} samples differ, by at most {most}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_header_says_the_size_and_orientation_that_decoding_gives() {
    for case in cases("decode/cases.json") {
        let path = golden(&format!("decode/{}", text(&case, "file")));
        let options = DecodeOptions::default();
        let (seen, decoded) = (
            read_header(&path, &options).unwrap(),
            read(&path, &options).unwrap(),
        );
        assert_eq!(
            (seen.width, seen.height, seen.orientation, seen.format),
            (
                decoded.image.width,
                decoded.image.height,
                decoded.orientation,
                decoded.format
            ),
            "{}",
            path.display()
        );
    }
}

/// Exif data that says how the camera was held counts before the first scan only, for a header as
/// for a picture.
#[test]
fn exif_behind_the_first_scan_of_a_jpeg_turns_nothing() {
    let case = cases("decode/cases.json")
        .into_iter()
        .find(|case| text(case, "file").ends_with(".jpg"))
        .unwrap();
    let mut bytes = std::fs::read(golden(&format!("decode/{}", text(&case, "file")))).unwrap();
    let options = DecodeOptions::default();
    let plain = decode(&bytes, &options).unwrap();
    // Orientation 8, a quarter turn.
    let exif =
        b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0";
    let mut turned = bytes.clone();
    turned.splice(2..2, *exif);
    assert_eq!(header(&turned, &options).unwrap().width, plain.image.height);
    bytes.splice(bytes.len() - 2..bytes.len() - 2, *exif);
    let late = decode(&bytes, &options).unwrap();
    assert_eq!(late.image.pixels, plain.image.pixels);
    let seen = header(&bytes, &options).unwrap();
    assert_eq!(
        (seen.width, seen.height),
        (plain.image.width, plain.image.height)
    );
}

#[test]
fn the_orientation_and_the_stored_size_are_reported() {
    for value in 1..=8u16 {
        for kind in ["png", "jpg"] {
            let picture = read(
                golden(&format!("decode/exif{value}.{kind}")),
                &DecodeOptions::default(),
            )
            .unwrap();
            assert_eq!(
                Some(picture.orientation),
                Orientation::from_exif_value(value)
            );
            assert_eq!((picture.stored_width, picture.stored_height), (24, 16));
            let swaps = picture.orientation.swaps_sides();
            assert_eq!(
                (picture.image.width, picture.image.height),
                if swaps { (16, 24) } else { (24, 16) }
            );
        }
    }
    let picture = decode(&file("exif_garbage.jpg"), &DecodeOptions::default()).unwrap();
    assert_eq!(
        (picture.orientation, picture.format),
        (Orientation::Upright, Format::Jpeg)
    );
}

#[test]
fn the_background_behind_transparency_can_be_chosen() {
    let options = DecodeOptions {
        background: [1, 2, 3],
        ..DecodeOptions::default()
    };
    let picture = decode(&file("rgba8.png"), &options).unwrap();
    assert_eq!(
        picture.image.pixel(0, 0),
        Some([1, 2, 3]),
        "the upper rows are clear"
    );
    assert_ne!(
        picture.image.pixel(0, 12),
        Some([1, 2, 3]),
        "the next ones are opaque"
    );
}

#[test]
fn a_gif_shows_its_first_colour_where_the_frame_does_not_reach_unless_it_knows_transparency() {
    let red_then_blue = [200, 0, 0, 0, 0, 100];
    // A screen of 3 x 1, a frame of 1 x 1 in its middle, painted with the second colour.
    let gif = |control: &[u8]| {
        let screen = b"GIF89a\x03\0\x01\0\x80\0\0";
        let frame = b",\x01\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
        [&screen[..], &red_then_blue, control, frame].concat()
    };
    let opaque = open(&gif(b"")).unwrap();
    assert_eq!(opaque.pixels, [200, 0, 0, 0, 0, 100, 200, 0, 0]);
    let clear = open(&gif(b"!\xf9\x04\x01\0\0\0\0")).unwrap();
    assert_eq!(clear.pixels, [255, 255, 255, 0, 0, 100, 255, 255, 255]);
}

/// `II*\0`, one entry for the orientation, of a type and number of values, and the bytes in its place.
fn exif_entry(kind: u8, count: u8, value: [u8; 4]) -> Vec<u8> {
    let entry = [0x12, 1, kind, 0, count, 0, 0, 0];
    [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &value, &[0; 4]].concat()
}

#[test]
fn an_orientation_counts_in_every_whole_number_that_the_reference_reads() {
    let six = |kind, count| Orientation::from_exif(&exif_entry(kind, count, [6, 0, 0, 0]));
    for kind in [3, 4, 6, 8, 9, 13] {
        assert_eq!(six(kind, 1), Some(Orientation::Rotate90), "type {kind}");
    }
    // The first of two shorts; two longs lie elsewhere in the block, here on its first directory's
    // last bytes.
    assert_eq!(six(3, 2), Some(Orientation::Rotate90));
    assert_eq!(six(4, 2), Orientation::from_exif_value(0));
    for (kind, count) in [(1, 1), (2, 1), (5, 1), (7, 1), (12, 1), (3, 0)] {
        assert_eq!(six(kind, count), None, "type {kind}, {count} values");
    }
    let doubled = [b"Exif\0\0Exif\0\0".to_vec(), exif_entry(3, 1, [8, 0, 0, 0])].concat();
    assert_eq!(
        Orientation::from_exif(&doubled),
        Some(Orientation::Rotate270)
    );
}

#[test]
fn an_xmp_packet_says_how_the_camera_was_held_where_exif_does_not() {
    let stated = |packet: &str| Orientation::from_xmp(packet.as_bytes());
    let attribute = "<rdf:Description tiff:Orientation=\"6\"/>";
    assert_eq!(stated(attribute), Some(Orientation::Rotate90));
    let element = "<tiff:Orientation>3</tiff:Orientation>";
    assert_eq!(stated(element), Some(Orientation::Rotate180));
    for none in [
        "",
        "tiff:Orientation",
        "tiff:Orientation='6'",
        "tiff:Orientation=\"9\"",
    ] {
        assert_eq!(stated(none), None, "{none}");
    }

    let packet = attribute.as_bytes();
    let turned = |bytes: &[u8]| {
        let seen = decode(bytes, &DecodeOptions::default()).unwrap();
        let said = header(bytes, &DecodeOptions::default()).unwrap();
        assert_eq!(said.orientation, seen.orientation);
        seen.orientation
    };
    // JPEG: a segment of its own. An orientation in EXIF, wherever it stands, counts before.
    let segment = |body: &[u8]| {
        let length = (body.len() as u16 + 2).to_be_bytes();
        [&[0xff, 0xe1][..], &length, body].concat()
    };
    let xmp = segment(&[b"http://ns.adobe.com/xap/1.0/\0", packet].concat());
    let plain = file("444_17x9.jpg");
    let with = |segments: &[u8]| [&plain[..2], segments, &plain[2..]].concat();
    assert_eq!(turned(&with(&xmp)), Orientation::Rotate90);
    let exif = segment(&[&b"Exif\0\0"[..], &exif_entry(3, 1, [3, 0, 0, 0])].concat());
    assert_eq!(turned(&with(&[xmp, exif].concat())), Orientation::Rotate180);
    // WebP: a chunk of its own, which `VP8X` announces.
    let mut webp = patched("exif6.webp", 20, &[4]);
    let at = position(&webp, b"EXIF");
    webp.truncate(at);
    webp.extend_from_slice(b"XMP ");
    webp.extend_from_slice(&(element.len() as u32).to_le_bytes());
    webp.extend_from_slice(element.as_bytes());
    let size = webp.len() as u32 - 8;
    webp[4..8].copy_from_slice(&size.to_le_bytes());
    assert_eq!(turned(&webp), Orientation::Rotate180);
}

/// A chunk of a PNG with its checksum.
fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut sum = u32::MAX;
    for &byte in name.iter().chain(body) {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    let length = (body.len() as u32).to_be_bytes();
    [&length[..], name, body, &(!sum).to_be_bytes()].concat()
}

#[test]
fn texts_of_a_png_say_how_the_camera_was_held_as_image_magick_and_adobe_write_it() {
    let plain = file("rgb8_gamma.png");
    let turned = |chunks: &[u8]| {
        let bytes = [&plain[..33], chunks, &plain[33..]].concat();
        let seen = decode(&bytes, &DecodeOptions::default()).unwrap();
        let said = header(&bytes, &DecodeOptions::default()).unwrap();
        assert_eq!(said.orientation, seen.orientation);
        seen.orientation
    };
    let block = exif_entry(3, 1, [6, 0, 0, 0]);
    let digits: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
    let (first, second) = digits.split_at(30);
    let profile = format!("\nexif\n      26\n{first}\n{second}\n");
    let text = [b"Raw profile type exif\0", profile.as_bytes()].concat();
    assert_eq!(turned(&chunk(b"tEXt", &text)), Orientation::Rotate90);
    // The same packed: one stored block of deflate, with its checksum.
    let (mut a, mut b) = (1u32, 0u32);
    for byte in profile.bytes() {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let length = profile.len() as u16;
    let packed = [
        &b"Raw profile type exif\0\0\x78\x01\x01"[..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        profile.as_bytes(),
        &(b << 16 | a).to_be_bytes(),
    ]
    .concat();
    assert_eq!(turned(&chunk(b"zTXt", &packed)), Orientation::Rotate90);
    let packet = b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation=\"8\"/>";
    assert_eq!(turned(&chunk(b"iTXt", packet)), Orientation::Rotate270);
    // `eXIf` counts before either, and spoilt texts say nothing.
    let held = [chunk(b"iTXt", packet), chunk(b"eXIf", &block)].concat();
    assert_eq!(turned(&held), Orientation::Rotate90);
    let mut spoilt = chunk(b"zTXt", &packed);
    let end = spoilt.len();
    spoilt[end - 6] ^= 1;
    assert_eq!(turned(&spoilt), Orientation::Upright);
    let other = chunk(b"tEXt", b"Comment\0tiff:Orientation=\"6\"");
    assert_eq!(turned(&other), Orientation::Upright);
}

#[test]
fn a_gif_is_shown_that_lacks_its_end_or_its_colours_or_has_bytes_between_its_blocks() {
    // 2 x 1 pixels with the indices 1 and 0, and a palette of red and green.
    let palette = [255, 0, 0, 0, 255, 0];
    let screen =
        |flags: u8, colours: &[u8]| [&b"GIF89a\x02\0\x01\0"[..], &[flags, 0, 0], colours].concat();
    let frame = b",\0\0\0\0\x02\0\x01\0\0\x02\x02\x0c\x0a\0";
    let (red, green) = ([255, 0, 0], [0, 255, 0]);
    let shown = |bytes: &[u8]| {
        let image = open(bytes).unwrap();
        [0, 1].map(|x| image.pixel(x, 0).unwrap())
    };
    let sound = [&screen(0x80, &palette)[..], frame, b";"].concat();
    assert_eq!(shown(&sound), [green, red]);
    for end in [&b""[..], b"\0\0", b"\x07stray", b"\0;behind"] {
        let bytes = [&screen(0x80, &palette)[..], frame, end].concat();
        assert_eq!(shown(&bytes), [green, red], "ends with {end:?}");
    }
    let between = [
        &screen(0x80, &palette)[..],
        b"\x07\x08",
        frame,
        b"\x01",
        frame,
    ]
    .concat();
    assert_eq!(shown(&between), [green, red]);
    let colourless = [&screen(0, &[])[..], frame, b";"].concat();
    assert_eq!(shown(&colourless), [[1; 3], [0; 3]]);
    // What ends inside a frame, or before the first, is still known as cut.
    for cut in [&sound[..19], &sound[..sound.len() - 2]] {
        let error = open(cut).unwrap_err().to_string();
        assert!(error.contains("truncated"), "{error}");
    }
}

#[test]
fn sixteen_bits_of_a_bitmap_are_five_a_colour_where_its_header_names_no_masks() {
    // One pixel, 01000 10000 11000: the oldest header, the usual one, and a long one that names opacity too.
    let pixel = [0x18, 0x22, 0, 0];
    let old = [
        &b"BM\0\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\x01\0\x01\0\x01\0\x10\0"[..],
        &pixel,
    ]
    .concat();
    let long = |size: u8, compression: u8, masks: &[u32]| {
        let mut bytes = vec![0; 14 + usize::from(size)];
        bytes[..2].copy_from_slice(b"BM");
        bytes[10] = 14 + size;
        bytes[14] = size;
        (bytes[18], bytes[22], bytes[26], bytes[28]) = (1, 1, 1, 16);
        bytes[30] = compression;
        for (i, mask) in masks.iter().enumerate() {
            bytes[54 + 4 * i..][..4].copy_from_slice(&mask.to_le_bytes());
        }
        bytes.extend_from_slice(&pixel);
        bytes
    };
    let masks = [0x7c00, 0x03e0, 0x001f, 0x8000];
    for bytes in [old, long(40, 0, &[]), long(56, 3, &masks)] {
        let seen = open(&bytes).unwrap().pixel(0, 0);
        assert_eq!(seen, Some([65, 131, 197]), "{bytes:?}");
    }
}

#[test]
fn components_of_a_jpeg_may_share_an_identifier_and_four_may_be_of_any_adobe_kind() {
    let plain = file("444_17x9.jpg");
    let (frame, scan) = (frame_at("444_17x9.jpg"), position(&plain, &[0xff, 0xda]));
    let mut same = plain.clone();
    for i in 0..3 {
        same[frame + 10 + 3 * i] = 1;
        same[scan + 5 + 2 * i] = 1;
    }
    assert_eq!(open(&same).unwrap(), open(&plain).unwrap());
    // A component that is in no frame, or in a scan twice, is none.
    for wrong in [7, plain[scan + 5]] {
        let mut bytes = plain.clone();
        bytes[scan + 7] = wrong;
        let error = open(&bytes).unwrap_err().to_string();
        assert_eq!(error, "corrupt JPEG: the scan header is wrong");
    }
    // The reference takes every transform but 0 for YCCK.
    let cmyk = file("cmyk.jpg");
    let adobe = position(&cmyk, b"Adobe") + 11;
    let of = |transform: u8| {
        let mut bytes = cmyk.clone();
        bytes[adobe] = transform;
        open(&bytes).unwrap()
    };
    assert_eq!(of(1), of(2));
    assert_eq!(of(3), of(2));
    assert_ne!(of(0), of(2));
}
