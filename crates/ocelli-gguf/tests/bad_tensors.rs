//! Bad tensor entries are refused with messages that carry the facts.

mod support;

use support::{Raw, refused};

const F32: u32 = 0;
const Q4_0: u32 = 2;

/// A file with one F32 tensor `t` of this shape, with 64 bytes of data.
fn one_tensor(shape: &[u64]) -> Raw {
    Raw::new(1, 0).tensor("t", shape, F32, 0).data(64)
}

fn of_type(id: u32) -> Raw {
    Raw::new(1, 0).tensor("t", &[32], id, 0).data(4096)
}

fn named(name: &str) -> Raw {
    Raw::new(1, 0).tensor(name, &[4], F32, 0).data(16)
}

#[test]
fn impossible_shapes_are_refused() {
    refused(vec![
        (one_tensor(&[0]), "tensor 't': dimension 0 is 0"),
        (one_tensor(&[4, 0]), "tensor 't': dimension 1 is 0"),
        (
            one_tensor(&[u64::MAX]),
            "tensor 't': element count overflows",
        ),
        (
            one_tensor(&[(1 << 63) + 4, 2]),
            "tensor 't': element count overflows",
        ),
        (
            one_tensor(&[1 << 16; 4]),
            "tensor 't': element count overflows",
        ),
        (
            one_tensor(&[1 << 62]),
            "tensor 't': element count overflows",
        ),
        (
            one_tensor(&[]),
            "tensor 't': found 0 dimensions, need 1 to 4",
        ),
        (
            one_tensor(&[1; 5]),
            "tensor 't': found 5 dimensions, need 1 to 4",
        ),
        (
            Raw::new(1, 0).tensor("t", &[33], Q4_0, 0).data(64),
            "tensor 't': row length 33 is not a multiple of the Q4_0 block (32)",
        ),
    ]);
}

#[test]
fn unknown_and_removed_types_are_refused_by_name() {
    refused(vec![
        (of_type(999), "tensor 't': unknown tensor type 999"),
        (
            of_type(u32::MAX),
            "tensor 't': unknown tensor type 4294967295",
        ),
        (of_type(43), "tensor 't': unknown tensor type 43"),
        (of_type(4), "type Q4_2 was removed"),
        (of_type(5), "type Q4_3 was removed"),
        (of_type(31), "type Q4_0_4_4 was removed"),
        (of_type(32), "type Q4_0_4_8 was removed"),
        (of_type(33), "type Q4_0_8_8 was removed"),
        (of_type(36), "type IQ4_NL_4_4 was removed"),
        (of_type(37), "type IQ4_NL_4_8 was removed"),
        (of_type(38), "type IQ4_NL_8_8 was removed"),
    ]);
}

#[test]
fn types_that_cannot_run_can_still_be_inspected() {
    for (id, name) in [
        (34, "TQ1_0"),
        (15, "Q8_K"),
        (27, "I64"),
        (9, "Q8_1"),
        (40, "NVFP4"),
    ] {
        let gguf = Raw::new(1, 0)
            .tensor("t", &[256], id, 0)
            .data(4096)
            .open()
            .expect("can be opened");
        assert_eq!(gguf.tensors()[0].ty().name(), name);
        assert!(!gguf.tensors()[0].ty().is_runnable());
    }
}

#[test]
fn bad_tensor_names_are_refused() {
    let twice = |second| {
        Raw::new(2, 0)
            .tensor("a", &[4], F32, 0)
            .tensor("a", &[4], F32, second)
            .data(64)
    };
    refused(vec![
        (named(&"n".repeat(65)), "tensor name too long (65 > 63)"),
        (named(&"n".repeat(64)), "tensor name too long (64 > 63)"),
        (named(""), "tensor 0: name is empty"),
        (named("a\0b"), "bad tensor name a\\0b"),
        (named("\u{1b}[2Jx"), "bad tensor name \\u{1b}[2Jx"),
        (
            named("../../etc/passwd"),
            "bad tensor name ../../etc/passwd",
        ),
        (twice(32), "duplicate tensor 'a'"),
        (twice(0), "duplicate tensor 'a'"),
    ]);
    named(&"n".repeat(63)).open().expect("63 bytes are allowed");
}

#[test]
fn data_outside_the_file_is_refused() {
    let at = |offset| Raw::new(1, 0).tensor("t", &[4], F32, offset).data(64);
    let two = |second| {
        Raw::new(2, 0)
            .tensor("a", &[16], F32, 0)
            .tensor("b", &[4], F32, second)
            .data(128)
    };
    refused(vec![
        (
            at(1 << 40),
            "tensor 't': data range 1099511627840..1099511627856 outside file (size 128)",
        ),
        (
            at(u64::MAX - 15),
            "tensor 't': data range 18446744073709551664..18446744073709551680",
        ),
        (at(64), "outside file (size 128)"),
        (
            at(8),
            "tensor 't': offset 8 is not a multiple of the alignment 32",
        ),
        (two(32), "tensor 'b': data overlaps that of 'a'"),
        (two(0), "tensor 'b': data overlaps that of 'a'"),
        (
            Raw::new(1, 0).tensor("t", &[1 << 38], F32, 0).data(64),
            "file truncated: need 1099511627840 bytes, have 128; download incomplete?",
        ),
    ]);
    at(32).open().expect("a gap before the data is allowed");
    two(96).open().expect("a gap between tensors is allowed");
}
