//! Bad headers, metadata and paths are refused with messages that carry the facts.

mod support;

use std::borrow::Cow;

use ocelli_gguf::{Error, Gguf};
use support::{Raw, refused, small_model};

fn aligned(alignment: u32) -> Raw {
    Raw::new(0, 1).key("general.alignment", 4).u32(alignment)
}

fn text(text: &str) -> Raw {
    Raw(text.as_bytes().to_vec())
}

#[test]
fn files_that_are_no_gguf_are_named_for_what_they_are() {
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1929903264\n";
    refused(vec![
        (text(""), "file is empty (0 bytes)"),
        (text("GGU"), "too short for a GGUF header (3 of 24 bytes)"),
        (text("GGUF"), "too short for a GGUF header (4 of 24 bytes)"),
        (
            Raw(Raw::new(0, 0).0[..23].to_vec()),
            "too short for a GGUF header (23 of 24 bytes)",
        ),
        (
            text(lfs),
            "this is a Git LFS pointer, not the model; download the real file",
        ),
        (
            text("<!DOCTYPE html><html>Not found"),
            "this is a web page (HTML), the download failed",
        ),
        (
            text("\n <HTML lang=en>"),
            "this is a web page (HTML), the download failed",
        ),
        (text("PK\u{3}\u{4}pytorch_model"), "this is a ZIP archive"),
        (
            text("\u{10}\0\0\0\0\0\0\0{\"__metadata__\""),
            "looks like a safetensors file",
        ),
        (text("lmgg0000"), "old GGML file"),
        (text("FUGG0000"), "big-endian"),
        (
            text("{\"error\": \"not found\"}"),
            "starts with [7b, 22, 65, 72], need [47, 47, 55, 46]",
        ),
    ]);
}

#[test]
fn other_versions_are_refused_with_the_way_out() {
    refused(vec![
        (
            Raw::versioned(0, 0, 0),
            "GGUF version 0 not supported (2 and 3 are)",
        ),
        (
            Raw::versioned(99, 0, 0),
            "GGUF version 99 not supported (2 and 3 are)",
        ),
        (Raw::versioned(1, 0, 0), "GGUF v1 is obsolete; re-convert"),
        (
            Raw::versioned(3u32.swap_bytes(), 0, 0),
            "big-endian GGUF (version 3) is not supported",
        ),
    ]);
    Raw::versioned(2, 0, 0).open().expect("version 2 is read");
}

#[test]
fn counts_beyond_the_file_are_refused_before_anything_is_allocated() {
    let one_entry = |entries| Raw::new(0, entries).key("a", 0).bytes(&[1]);
    refused(vec![
        (
            Raw::new(u64::MAX, 0),
            "header claims 18446744073709551615 tensors; file can hold at most 0",
        ),
        (
            one_entry(u64::MAX),
            "header claims 18446744073709551615 metadata entries; file can hold at most 1",
        ),
        (
            one_entry(500_000_000),
            "header claims 500000000 metadata entries; file can hold at most 1",
        ),
        (
            one_entry(2),
            "header claims 2 metadata entries; file can hold at most 1",
        ),
        (
            Raw::new(300_000, 0).data(300_000 * 33),
            "header claims 300000 tensors; file can hold at most 262144",
        ),
        (
            Raw::new(0, 70_000).data(70_000 * 14),
            "header claims 70000 metadata entries; file can hold at most 65536",
        ),
    ]);
}

#[test]
fn bad_keys_are_refused() {
    let key_length = |length| Raw::new(0, 1).u64(length).bytes(&[b'k'; 100_000]);
    let twice = Raw::new(0, 2)
        .key("a.b", 0)
        .bytes(&[1])
        .key("a.b", 0)
        .bytes(&[2]);
    refused(vec![
        (
            key_length(u64::MAX),
            "metadata key 0: length 18446744073709551615 exceeds remaining 100000 bytes",
        ),
        (
            key_length(1 << 30),
            "metadata key 0: length 1073741824 exceeds remaining 100000 bytes",
        ),
        (
            key_length(70_000),
            "metadata key 0: length 70000 exceeds 65535",
        ),
        (key_length(0), "metadata key 0 is empty"),
        (
            Raw::new(0, 1).u64(2).bytes(&[0xff, 0xfe]).bytes(&[0; 8]),
            "metadata key 0: not valid UTF-8",
        ),
        (twice, "duplicate metadata key a.b"),
    ]);
}

#[test]
fn bad_values_are_refused() {
    let name = |length: u64| {
        Raw::new(0, 1)
            .key("general.name", 8)
            .u64(length)
            .bytes(b"abc")
    };
    refused(vec![
        (
            name(1000),
            "general.name: string of 1000 bytes exceeds remaining 3",
        ),
        (
            name(u64::MAX),
            "general.name: string of 18446744073709551615 bytes exceeds remaining 3",
        ),
        (
            Raw::new(0, 1)
                .key("general.name", 8)
                .u64(2)
                .bytes(&[0xc3, 0x28]),
            "general.name: not valid UTF-8",
        ),
        (
            Raw::new(0, 1).key("x", 99).bytes(&[0; 8]),
            "x: unknown metadata type 99",
        ),
        (
            Raw::new(0, 1).key("x", 13).bytes(&[0; 8]),
            "x: unknown metadata type 13",
        ),
        (
            Raw::new(0, 1).key("x", 7).bytes(&[7]),
            "x: bool must be 0 or 1, found 7",
        ),
        (
            Raw::new(0, 1).key("x", 10).bytes(&[0; 3]),
            "file truncated: need 45 bytes, have 40; download incomplete?",
        ),
    ]);
}

#[test]
fn bad_arrays_are_refused_without_a_loop_over_their_claimed_length() {
    let array = |type_id, length| Raw::new(0, 1).array("a", type_id, length).bytes(&[7; 64]);
    let strings = Raw::new(0, 1)
        .array("a", 8, 2)
        .string("ok")
        .u64(60)
        .bytes(&[7; 16]);
    let broken = Raw::new(0, 1)
        .array("a", 8, 3)
        .string("ok")
        .u64(1)
        .bytes(&[0xc3])
        .string("(");
    let split = Raw::new(0, 1)
        .array("a", 8, 2)
        .u64(1)
        .bytes(&[0xc3])
        .u64(1)
        .bytes(&[0xa9]);
    refused(vec![
        (
            array(0, u64::MAX),
            "a: array of 18446744073709551615 elements cannot fit in the file",
        ),
        (
            array(10, 1 << 61),
            "a: array of 2305843009213693952 elements cannot fit in the file",
        ),
        (array(8, 9), "a: array of 9 elements cannot fit in the file"),
        (
            array(4, 17),
            "a: array of 17 elements cannot fit in the file",
        ),
        (array(99, 1), "unknown metadata type 99"),
        (array(9, 1), "a: arrays of arrays are not supported"),
        (array(7, 64), "a: bool must be 0 or 1, found 7"),
        (strings, "a[1]: string of 60 bytes exceeds remaining 16"),
        (broken, "a[1]: not valid UTF-8"),
        (split, "a[0]: not valid UTF-8"),
    ]);
}

#[test]
fn bad_alignment_is_refused() {
    refused(vec![
        (
            aligned(0),
            "general.alignment 0 is not a power of two in 8..65536",
        ),
        (
            aligned(1),
            "general.alignment 1 is not a power of two in 8..65536",
        ),
        (
            aligned(3),
            "general.alignment 3 is not a power of two in 8..65536",
        ),
        (
            aligned(48),
            "general.alignment 48 is not a power of two in 8..65536",
        ),
        (
            aligned(1 << 17),
            "general.alignment 131072 is not a power of two in 8..65536",
        ),
        (
            aligned(1 << 31),
            "general.alignment 2147483648 is not a power of two in 8..65536",
        ),
        (
            Raw::new(0, 1).key("general.alignment", 8).string("32"),
            "general.alignment must be u32, found string",
        ),
        (
            Raw::new(0, 1).key("general.alignment", 5).u32(32),
            "general.alignment must be u32, found i32",
        ),
    ]);
}

#[test]
fn a_file_cut_anywhere_is_refused_and_a_cut_in_the_data_says_so() {
    let whole = small_model();
    let gguf = Gguf::from_bytes("model.gguf", Cow::Owned(whole.clone())).expect("the whole file");
    let last = gguf.tensors().last().expect("tensors");
    let data_start = gguf.tensors()[0].offset() as usize;
    let need = last.offset() as usize + last.bytes();
    for cut in (0..64)
        .map(|n| n * need / 64)
        .chain([data_start - 1, data_start, need - 1])
    {
        let error = Gguf::from_bytes("model.gguf", Cow::Owned(whole[..cut].to_vec()))
            .expect_err("bytes are missing");
        assert!(matches!(error, Error::BadFile { .. }), "{error}");
        if cut >= data_start {
            let message =
                format!("file truncated: need {need} bytes, have {cut}; download incomplete?");
            assert!(
                error.to_string().contains(&message),
                "found `{error}`, need `{message}`"
            );
        }
    }
    // The padding after the last tensor may be missing.
    Gguf::from_bytes("model.gguf", Cow::Owned(whole[..need].to_vec())).expect("all data is there");
}

/// The data would be looked for where the rest of the list stands, and read without a complaint.
#[test]
fn a_list_of_fewer_tensors_than_there_are_is_refused() {
    let whole = small_model();
    let count = u64::from_le_bytes(whole[8..16].try_into().unwrap());
    for fewer in 0..count {
        let mut bytes = whole.clone();
        bytes[8..16].copy_from_slice(&fewer.to_le_bytes());
        let expected = format!("the {fewer} tensors that the header lists are followed by bytes");
        let error = Gguf::from_bytes("model.gguf", Cow::Owned(bytes)).unwrap_err();
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn paths_that_cannot_be_read_are_told_from_bad_files() {
    let folder = support::folder("unreadable");
    let empty = folder.join("empty.gguf");
    std::fs::write(&empty, b"").expect("written");
    let error = Gguf::open(&empty).expect_err("empty");
    assert!(matches!(error, Error::BadFile { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("empty.gguf: file is empty (0 bytes)"),
        "{error}"
    );
    let (missing, file) = (folder.join("missing.gguf"), empty.join("below.gguf"));
    for path in [missing, file, folder] {
        let error = Gguf::open(&path).expect_err("not a file");
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let need = format!("cannot open {}: ", path.display());
        assert!(error.to_string().starts_with(&need), "{error}");
    }
}
