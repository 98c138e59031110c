//! Typed access to metadata: lenient about widths, exact about everything else.

mod support;

use std::borrow::Cow;

use ocelli_gguf::{Error, Gguf, Metadata, Writer};
use support::small_model;

fn with(set: impl FnOnce(&mut Writer<'_>)) -> Metadata {
    let mut writer = Writer::new();
    set(&mut writer);
    let bytes = writer.to_bytes().expect("a valid file");
    let gguf = Gguf::from_bytes("model.gguf", Cow::Owned(bytes)).expect("a valid file");
    gguf.metadata().clone()
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, Error>, need: &str) {
    let message = result.expect_err(need).to_string();
    assert_eq!(
        message,
        format!("bad model file: model.gguf: metadata {need}")
    );
}

#[test]
fn counts_may_have_any_integer_type() {
    let metadata = with(|w| {
        w.set("u8", 7u8)
            .set("i8", 7i8)
            .set("u16", 7u16)
            .set("i16", 7i16);
        w.set("u32", 7u32)
            .set("i32", 7i32)
            .set("u64", 7u64)
            .set("i64", 7i64);
    });
    for (key, _) in metadata.iter() {
        assert_eq!(metadata.required_u32(key).expect(key), 7);
        assert_eq!(metadata.u64(key).expect(key), Some(7));
        assert_eq!(metadata.f32(key).expect(key), Some(7.0));
    }
}

#[test]
fn values_that_do_not_fit_are_errors_with_found_and_needed() {
    let metadata = with(|w| {
        w.set("minus", -1i32)
            .set("large", 1u64 << 32)
            .set("text", "a\u{1b}b")
            .set("two", 2u8);
        w.set("float", 1.5f32)
            .set("list", vec![1u32, 2])
            .set("words", vec!["a", "b"]);
    });
    says(
        metadata.u32("minus"),
        "minus: found i32 -1, need an integer in 0..4294967295",
    );
    says(
        metadata.u64("minus"),
        "minus: found i32 -1, need a non-negative integer",
    );
    says(
        metadata.u32("large"),
        "large: found u64 4294967296, need an integer in 0..4294967295",
    );
    says(
        metadata.u32("float"),
        "float: found f32 1.5, need an integer in 0..4294967295",
    );
    says(
        metadata.f32("text"),
        "text: found string \"a\\u{1b}b\", need a number",
    );
    says(metadata.bool("two"), "two: found u8 2, need a bool");
    says(
        metadata.str("list"),
        "list: found array of 2 u32, need a string",
    );
    says(
        metadata.u32_array("words"),
        "words: found array of 2 string, need an array of integers in 0..4294967295",
    );
    says(
        metadata.f32_array("float"),
        "float: found f32 1.5, need an array of numbers",
    );
    says(
        metadata.str_array("list"),
        "list: found array of 2 u32, need an array of strings",
    );
    says(
        metadata.required_u32("gone"),
        "gone: found nothing, need an integer",
    );
    says(
        metadata.required_str("gone"),
        "gone: found nothing, need a string",
    );
    assert_eq!(metadata.u64("large").expect("fits"), Some(1 << 32));
    assert_eq!(metadata.u32("gone").expect("absent is fine"), None);
}

#[test]
fn arrays_are_converted_element_by_element() {
    let metadata = with(|w| {
        w.set("i", vec![1i32, -1])
            .set("u", vec![1u32, 2])
            .set("f", vec![0.5f32, 2.0]);
        w.set("b", vec![true, false])
            .set("z", vec![1u8, 0])
            .set("empty", Vec::<u32>::new());
    });
    assert_eq!(metadata.required_i32_array("i").expect("fits"), [1, -1]);
    assert!(metadata.u32_array("i").is_err());
    assert_eq!(metadata.required_u32_array("u").expect("fits"), [1, 2]);
    assert_eq!(metadata.required_f32_array("f").expect("fits"), [0.5, 2.0]);
    assert_eq!(metadata.required_f32_array("i").expect("fits"), [1.0, -1.0]);
    assert_eq!(
        metadata.required_bool_array("b").expect("fits"),
        [true, false]
    );
    assert_eq!(
        metadata.required_bool_array("z").expect("fits"),
        [true, false]
    );
    assert_eq!(
        metadata.required_str_array("empty").expect("empty").len(),
        0
    );
    assert_eq!(metadata.required_f32_array("empty").expect("empty"), []);
}

#[test]
fn a_value_for_each_layer_may_be_one_number_for_all() {
    let metadata = with(|w| {
        w.set("one", 8u32)
            .set("each", vec![8i32, 4, 2])
            .set("bad", vec![8i32, -4, 2]);
    });
    assert_eq!(
        metadata.per_layer_u32("one", 3).expect("fits"),
        Some(vec![8, 8, 8])
    );
    assert_eq!(
        metadata.per_layer_u32("each", 3).expect("fits"),
        Some(vec![8, 4, 2])
    );
    assert_eq!(metadata.per_layer_u32("none", 3).expect("absent"), None);
    says(
        metadata.per_layer_u32("each", 4),
        "each: found 3 values, need one value, or one for each of 4 layers",
    );
    assert!(metadata.per_layer_u32("bad", 3).is_err());
    says(
        metadata.per_layer_u32("one", 4_000_000_000),
        "one: found 4000000000 layers, need at most 1024",
    );
}

#[test]
fn every_value_type_keeps_its_value() {
    let gguf = Gguf::from_bytes("model.gguf", Cow::Owned(small_model())).expect("a valid file");
    let metadata = gguf.metadata();
    let shown = |key: &str| metadata.get(key).expect(key).to_string();
    assert_eq!(metadata.len(), 17);
    assert_eq!(
        metadata.iter().next().map(|(key, _)| key),
        Some("general.architecture")
    );
    for (key, need) in [
        ("general.name", "\"Small\""),
        ("test.u8", "200"),
        ("test.i8", "-3"),
        ("test.u16", "60000"),
        ("test.i16", "-3"),
        ("test.i32", "-70000"),
        ("test.u64", "1099511627776"),
        ("test.i64", "-1"),
        ("test.f64", "0.1"),
        ("test.bools", "array of 3 bool"),
        ("tokenizer.ggml.add_bos_token", "false"),
        ("tokenizer.ggml.tokens", "array of 40 string"),
    ] {
        assert_eq!(shown(key), need, "{key}");
    }
}
