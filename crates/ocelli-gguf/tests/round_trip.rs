//! What the writer writes, the reader gives back, on disk and in memory.

mod support;

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use ocelli_gguf::{Error, Gguf, StringArray, Value, Writer};
use ocelli_quant::TensorType;
use support::{folder, small_model};

fn from_memory(bytes: Vec<u8>) -> Gguf {
    Gguf::from_bytes("model.gguf", Cow::Owned(bytes)).expect("a valid file")
}

#[test]
fn reading_and_writing_again_gives_the_same_bytes() {
    let bytes = small_model();
    let gguf = from_memory(bytes.clone());
    assert_eq!(gguf.version(), 3);
    assert_eq!(
        Writer::copy_of(&gguf).to_bytes().expect("a valid file"),
        bytes
    );
}

#[test]
fn a_file_on_disk_is_the_same_as_in_memory() {
    let path = folder("on_disk").join("small.gguf");
    let memory = from_memory(small_model());
    Writer::copy_of(&memory).write_to(&path).expect("written");
    assert_eq!(fs::read(&path).expect("read"), small_model());
    let disk = Gguf::open(&path).expect("opened");
    assert_eq!(disk.name(), "small.gguf");
    assert_eq!(disk.paths(), std::slice::from_ref(&path));
    assert_eq!(disk.total_bytes(), small_model().len() as u64);
    assert_eq!(disk.tensors(), memory.tensors());
    for tensor in memory.tensors() {
        assert_eq!(disk.data(tensor), memory.data(tensor));
        disk.release(tensor).expect("released");
        assert_eq!(disk.data(tensor), memory.data(tensor), "pages come back");
    }
    disk.release_all().expect("released");
    for tensor in memory.tensors() {
        assert_eq!(disk.data(tensor), memory.data(tensor), "pages come back");
    }
    let only = fs::read_dir(path.parent().expect("a folder"))
        .expect("listed")
        .count();
    assert_eq!(only, 1, "no temporary file is left");
}

#[test]
fn tensors_are_described_as_written() {
    let gguf = from_memory(small_model());
    let tensor = gguf.tensor("blk.0.attn_q.weight").expect("there");
    assert_eq!(
        (tensor.shape(), tensor.ty()),
        (&[64, 3][..], TensorType::Q4_0)
    );
    assert_eq!(
        (tensor.row_elements(), tensor.rows(), tensor.elements()),
        (64, 3, 192)
    );
    assert_eq!((tensor.bytes(), tensor.shard()), (108, 0));
    assert_eq!(tensor.offset() % 32, 0);
    assert_eq!(gguf.data(tensor), [9; 108]);
    assert!(gguf.tensor("blk.0.attn_q").is_none());
}

#[test]
fn the_alignment_of_the_metadata_is_used() {
    let mut writer = Writer::new();
    writer.set("general.alignment", 256u32);
    for name in ["a", "b"] {
        writer.add_tensor(name, &[3], TensorType::F32, vec![5; 12]);
    }
    let gguf = from_memory(writer.to_bytes().expect("valid"));
    assert!(
        gguf.tensors()
            .iter()
            .all(|tensor| tensor.offset() % 256 == 0)
    );
    assert_eq!(gguf.total_bytes() % 256, 0);
    writer.set("general.alignment", 24u32);
    let error = writer.to_bytes().expect_err("no power of two");
    assert!(
        error
            .to_string()
            .contains("general.alignment 24 is not a power of two"),
        "{error}"
    );
}

#[test]
fn tensors_can_be_streamed_in_pieces() {
    let path = folder("streamed").join("streamed.gguf");
    let whole = from_memory(small_model());
    let mut writer = Writer::new();
    whole.metadata().iter().for_each(|(key, value)| {
        writer.set(key, value.clone());
    });
    for tensor in whole.tensors() {
        writer.declare_tensor(tensor.name(), tensor.shape(), tensor.ty());
    }
    let mut stream = writer.start(&path).expect("started");
    for tensor in whole.tensors() {
        for piece in whole.data(tensor).chunks(50) {
            stream.write(tensor.name(), piece).expect("written");
        }
    }
    assert!(!path.exists(), "nothing appears before the end");
    stream.finish().expect("finished");
    assert_eq!(fs::read(&path).expect("read"), small_model());
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).expect("listed").count()
}

#[test]
fn an_unfinished_stream_leaves_nothing_and_says_what_is_missing() {
    let folder = folder("unfinished");
    let path = folder.join("never.gguf");
    let mut writer = Writer::new();
    writer
        .declare_tensor("a", &[8], TensorType::F32)
        .declare_tensor("b", &[8], TensorType::F32);

    let mut stream = writer.start(&path).expect("started");
    let error = stream.write("b", &[0; 32]).expect_err("a comes first");
    assert!(
        error
            .to_string()
            .contains("found data for tensor 'b', need that of 'a'"),
        "{error}"
    );
    let error = stream.write("a", &[0; 33]).expect_err("too much");
    assert!(
        error
            .to_string()
            .contains("'a': found 33 bytes of data, need 32"),
        "{error}"
    );
    stream.write("a", &[0; 32]).expect("written");
    stream.write("b", &[0; 31]).expect("written");
    let error = stream.finish().expect_err("one byte is missing");
    assert!(
        error
            .to_string()
            .contains("'b': found 31 bytes of data, need 32"),
        "{error}"
    );
    assert_eq!(entries(&folder), 0);

    drop(writer.start(&path).expect("started"));
    assert_eq!(entries(&folder), 0);
}

#[test]
fn a_failed_write_keeps_the_old_file() {
    let folder = folder("kept");
    let path = folder.join("model.gguf");
    Writer::copy_of(&from_memory(small_model()))
        .write_to(&path)
        .expect("written");
    let mut wrong = Writer::new();
    wrong.add_tensor("a", &[8], TensorType::F32, vec![0; 31]);
    assert!(matches!(wrong.write_to(&path), Err(Error::Write(_))));
    assert_eq!(fs::read(&path).expect("read"), small_model());
    assert_eq!(entries(&folder), 1);
    let error = wrong
        .write_to(&folder.join("no/such/folder.gguf"))
        .expect_err("no folder");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn what_the_reader_refuses_is_not_written() {
    let one = |name: &str, shape: &[u64], ty| {
        let mut writer = Writer::new();
        writer.declare_tensor(name, shape, ty);
        writer.to_bytes().expect_err("invalid").to_string()
    };
    assert!(one("", &[1], TensorType::F32).contains("name is empty"));
    assert!(one(&"n".repeat(64), &[1], TensorType::F32).contains("too long (64 > 63)"));
    assert!(one("t", &[0], TensorType::F32).contains("dimension 0 is 0"));
    assert!(one("t", &[], TensorType::F32).contains("found 0 dimensions"));
    assert!(one("t", &[31], TensorType::Q4_0).contains("not a multiple of the Q4_0 block (32)"));
    let mut twice = Writer::new();
    twice
        .declare_tensor("t", &[1], TensorType::F32)
        .declare_tensor("t", &[1], TensorType::F32);
    assert!(
        twice
            .to_bytes()
            .expect_err("invalid")
            .to_string()
            .contains("duplicate tensor 't'")
    );
    let mut no_key = Writer::new();
    no_key.set("", 1u32);
    assert!(
        no_key
            .to_bytes()
            .expect_err("invalid")
            .to_string()
            .contains("key 0 is empty")
    );
}

#[test]
fn setting_a_key_again_keeps_its_place() {
    let mut writer = Writer::new();
    writer.set("a", 1u32).set("b", 2u32).set("a", "new");
    let gguf = from_memory(writer.to_bytes().expect("valid"));
    let entries: Vec<_> = gguf.metadata().iter().collect();
    assert_eq!(
        entries,
        [("a", &Value::from("new")), ("b", &Value::from(2u32))]
    );
}

#[test]
fn string_arrays_give_their_strings_in_order() {
    let strings = ["", "a", "\u{120}long", "", "\u{1f600}"];
    let array: StringArray = strings.iter().collect();
    assert_eq!(array.len(), 5);
    assert!(array.iter().eq(strings));
    assert!((0..5).all(|index| array.get(index) == Some(strings[index])));
    assert_eq!(array.get(5), None);
    let mut writer = Writer::new();
    writer
        .set("s", array.clone())
        .set("e", StringArray::default());
    let gguf = from_memory(writer.to_bytes().expect("valid"));
    assert_eq!(
        gguf.metadata().required_str_array("s").expect("there"),
        &array
    );
    assert!(
        gguf.metadata()
            .required_str_array("e")
            .expect("there")
            .is_empty()
    );
}

// Windows lets nobody replace or cut a file that is mapped.
#[cfg(unix)]
#[test]
fn a_file_written_after_opening_is_reported() {
    let path = folder("changed").join("model.gguf");
    fs::write(&path, small_model()).expect("written");
    let gguf = Gguf::open(&path).expect("opened");
    gguf.unchanged().expect("nothing happened");

    // A new file under the old name leaves the opened one as it was.
    let other = path.with_file_name("other.gguf");
    fs::write(&other, b"something else").expect("written");
    fs::rename(&other, &path).expect("renamed");
    gguf.unchanged().expect("the opened file is still there");

    fs::write(&path, small_model()).expect("written");
    let gguf = Gguf::open(&path).expect("opened");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opened");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("time set");
    let error = gguf.unchanged().expect_err("the time changed");
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    file.set_len(100).expect("cut");
    let error = gguf.unchanged().expect_err("the size changed");
    assert!(
        error
            .to_string()
            .contains("model file changed on disk: model.gguf: found 100 bytes"),
        "{error}"
    );
}

#[test]
fn a_model_can_be_shared_between_threads() {
    let model = from_memory(small_model());
    let sums = std::thread::scope(|scope| {
        let sum = || {
            model
                .tensors()
                .iter()
                .map(|t| model.data(t).len())
                .sum::<usize>()
        };
        [scope.spawn(sum), scope.spawn(sum)].map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(sums, [40 * 68 + 108 + 20; 2]);
}
