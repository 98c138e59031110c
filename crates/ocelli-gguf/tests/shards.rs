//! Split models: any part opens all, and parts that do not belong together are refused.

mod support;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_gguf::{Error, Gguf, Writer};
use ocelli_quant::TensorType;
use support::folder;

fn part_path(folder: &Path, number: u32, count: u32) -> PathBuf {
    folder.join(format!("model-{number:05}-of-{count:05}.gguf"))
}

/// One part with one tensor `t{number}`; the first also has the model's metadata.
fn part(number: u16, count: u16, total: i32) -> Writer<'static> {
    let mut writer = Writer::new();
    if number == 1 {
        writer.set("general.architecture", "qwen3vl");
    }
    writer
        .set("split.no", number - 1)
        .set("split.count", count)
        .set("split.tensors.count", total);
    let data = vec![number as u8; 32];
    writer.add_tensor(format!("t{number}"), &[8], TensorType::F32, data);
    writer
}

/// A sound model of three parts.
fn three_parts(test: &str) -> PathBuf {
    let folder = folder(test);
    for number in 1..=3 {
        let path = part_path(&folder, number, 3);
        part(number as u16, 3, 3).write_to(&path).expect("written");
    }
    folder
}

#[track_caller]
fn refused(path: &Path, need: &str) {
    let error = Gguf::open(path).expect_err(need);
    assert!(matches!(error, Error::Shards { .. }), "{error}");
    assert!(
        error.to_string().contains(need),
        "found `{error}`, need `{need}`"
    );
}

#[test]
fn any_part_opens_the_whole_model() {
    let folder = three_parts("any_part");
    for given in 1..=3 {
        let gguf = Gguf::open(&part_path(&folder, given, 3)).expect("all parts are there");
        assert_eq!(gguf.name(), "model-00001-of-00003.gguf");
        assert_eq!(
            gguf.paths(),
            [1, 2, 3].map(|number| part_path(&folder, number, 3))
        );
        assert_eq!(
            gguf.metadata()
                .required_str("general.architecture")
                .expect("there"),
            "qwen3vl"
        );
        assert_eq!(gguf.metadata().required_u32("split.no").expect("there"), 0);
        for (shard, tensor) in gguf.tensors().iter().enumerate() {
            assert_eq!(
                (tensor.name(), tensor.shard()),
                (&*format!("t{}", shard + 1), shard)
            );
            assert_eq!(gguf.data(tensor), [shard as u8 + 1; 32]);
        }
        assert_eq!(gguf.tensors().len(), 3);
        let sizes = gguf
            .paths()
            .iter()
            .map(|path| fs::metadata(path).expect("there").len());
        assert_eq!(gguf.total_bytes(), sizes.sum::<u64>());
    }
}

#[test]
fn a_first_part_without_tensors_is_fine() {
    let folder = folder("no_tensor_first");
    let mut first = Writer::new();
    first
        .set("general.architecture", "qwen3vl")
        .set("split.no", 0u16)
        .set("split.count", 2u16);
    first
        .set("split.tensors.count", 1i32)
        .write_to(&part_path(&folder, 1, 2))
        .expect("written");
    part(2, 2, 1)
        .write_to(&part_path(&folder, 2, 2))
        .expect("written");
    let gguf = Gguf::open(&part_path(&folder, 2, 2)).expect("opened");
    assert_eq!(gguf.tensor("t2").expect("there").shard(), 1);
}

#[test]
fn a_missing_part_is_named() {
    let folder = three_parts("missing_part");
    fs::remove_file(part_path(&folder, 2, 3)).expect("removed");
    for given in [1, 3] {
        let need = "part 2 of 3 not found: model-00002-of-00003.gguf; need it in the same folder";
        refused(&part_path(&folder, given, 3), need);
    }
}

#[test]
fn a_renamed_part_is_told_its_name() {
    let folder = three_parts("renamed_part");
    let other = folder.join("my-model.gguf");
    fs::copy(part_path(&folder, 2, 3), &other).expect("copied");
    refused(
        &other,
        "this is part 2 of 3, but its name does not end in -00002-of-00003.gguf",
    );
    // The name of another model's part.
    let other = folder.join("model-00002-of-00004.gguf");
    fs::copy(part_path(&folder, 2, 3), &other).expect("copied");
    refused(
        &other,
        "parts belong to different models: the name says part 2 of 4, the file says part 2 of 3",
    );
}

#[test]
fn parts_whose_names_were_exchanged_are_told_from_copies() {
    let folder = three_parts("exchanged");
    let path = |number| part_path(&folder, number, 3);
    let aside = folder.join("aside");
    let exchange = |a, b| {
        fs::rename(path(a), &aside).expect("renamed");
        fs::rename(path(b), path(a)).expect("renamed");
        fs::rename(&aside, path(b)).expect("renamed");
    };
    let second = "the name says part 2 of 3, the file says part 3 (split.no: found 2, need 1); \
                  likely swapped with model-00003-of-00003.gguf, which says part 2; exchange their names";
    exchange(2, 3);
    refused(&path(1), second);
    refused(&path(2), second);
    refused(&path(3), "likely swapped with model-00002-of-00003.gguf");
    // 1, 3, 2 becomes 3, 1, 2: all three under other names.
    exchange(1, 2);
    let around = "the name says part 1 of 3, the file says part 3 (split.no: found 2, need 0); \
                  model-00003-of-00003.gguf says part 2; give each part the name of the number it says";
    refused(&path(1), around);

    let folder = three_parts("copied");
    let path = |number| part_path(&folder, number, 3);
    fs::copy(path(3), path(2)).expect("copied");
    let copy = "model-00003-of-00003.gguf is part 3 too; get part 2 again";
    refused(&path(1), copy);
    refused(&path(2), copy);
    fs::remove_file(path(3)).expect("removed");
    refused(
        &path(2),
        "name it model-00003-of-00003.gguf and put part 2 in its place",
    );
}

#[test]
fn parts_of_different_models_are_refused() {
    let folder = three_parts("different");
    let (first, second) = (part_path(&folder, 1, 3), part_path(&folder, 2, 3));
    let different = |writer: &Writer<'_>, need: &str| {
        writer.write_to(&second).expect("written");
        refused(&first, &format!("parts belong to different models: {need}"));
    };
    different(&part(2, 4, 3), "split.count: found 4, need 3");
    different(&part(2, 3, 9), "split.tensors.count: found 9, need 3");
    let mut architecture = part(2, 3, 3);
    different(
        architecture.set("general.architecture", "llama"),
        "general.architecture: found \"llama\", need \"qwen3vl\"",
    );
    let mut more = part(2, 3, 3);
    more.add_tensor("extra", &[8], TensorType::F32, vec![0; 32]);
    different(&more, "found 4 tensors in all parts, need 3");
    let mut same = part(2, 3, 3);
    same.add_tensor("t1", &[8], TensorType::F32, vec![0; 32]);
    part(1, 3, 4).write_to(&first).expect("written");
    part(3, 3, 4)
        .write_to(&part_path(&folder, 3, 3))
        .expect("written");
    same.set("split.tensors.count", 4i32);
    different(
        &same,
        "duplicate tensor 't1', also in model-00001-of-00003.gguf",
    );
}

#[test]
fn damage_in_another_part_names_that_part() {
    let folder = three_parts("damaged");
    fs::write(part_path(&folder, 3, 3), b"GGUF").expect("written");
    let error = Gguf::open(&part_path(&folder, 1, 3)).expect_err("damaged");
    assert!(matches!(error, Error::BadFile { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("model-00003-of-00003.gguf: too short"),
        "{error}"
    );
}

#[test]
fn wrong_split_numbers_are_refused() {
    let folder = folder("numbers");
    let path = part_path(&folder, 1, 2);
    for (no, count, need) in [
        (
            5u16,
            2u16,
            "split.no: found 5, need less than split.count 2",
        ),
        (0, 60_000, "split.count: found 60000, need at most 1024"),
    ] {
        let mut writer = Writer::new();
        writer.set("split.no", no).set("split.count", count);
        writer.write_to(&path).expect("written");
        let error = Gguf::open(&path).expect_err(need).to_string();
        assert!(error.contains(need), "found `{error}`, need `{need}`");
    }
}

#[test]
fn a_split_count_of_one_is_a_whole_model() {
    let bytes = part(1, 1, 1).to_bytes().expect("valid");
    Gguf::from_bytes("model.gguf", Cow::Owned(bytes)).expect("opened");
    let bytes = part(1, 2, 2).to_bytes().expect("valid");
    let error = Gguf::from_bytes("model.gguf", Cow::Owned(bytes)).expect_err("a part");
    assert!(error.to_string().contains("one of 2 parts"), "{error}");
}

#[test]
fn a_split_model_is_the_same_model_and_can_be_merged() {
    let folder = folder("split_and_merge");
    let mut whole = Writer::new();
    whole
        .set("general.architecture", "qwen3vl")
        .set("general.alignment", 64u32);
    for number in 0..7u8 {
        let data = vec![number; 4 * usize::from(number + 1)];
        whole.add_tensor(
            format!("t{number}"),
            &[u64::from(number) + 1],
            TensorType::F32,
            data,
        );
    }
    let bytes = whole.to_bytes().expect("valid");
    // 4 + 8 + 12, 16, 20, 24, 28 bytes.
    let paths = whole
        .write_split(&folder.join("model"), 27)
        .expect("written");
    assert_eq!(
        paths,
        [1, 2, 3, 4, 5].map(|number| part_path(&folder, number, 5))
    );

    let split = Gguf::open(&paths[3]).expect("all parts are there");
    let shards: Vec<_> = split
        .tensors()
        .iter()
        .map(|tensor| tensor.shard())
        .collect();
    assert_eq!(shards, [0, 0, 0, 1, 2, 3, 4]);
    let merged = Writer::copy_of(&split).to_bytes().expect("valid");
    assert_eq!(merged, bytes);

    let one = whole
        .write_split(&folder.join("one"), u64::MAX)
        .expect("written");
    assert_eq!(one, [folder.join("one-00001-of-00001.gguf")]);
    assert_eq!(Gguf::open(&one[0]).expect("opened").tensors().len(), 7);
}

#[test]
fn a_model_without_tensors_splits_into_one_part() {
    let mut writer = Writer::new();
    writer.set("general.architecture", "qwen3vl");
    let paths = writer
        .write_split(&folder("split_empty").join("m"), 10)
        .expect("written");
    assert_eq!(Gguf::open(&paths[0]).expect("opened").tensors().len(), 0);
}
