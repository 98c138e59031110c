//! What the user names is opened as one model, or refused with the facts.

mod support;

use std::path::Path;

use ocelli_store::{Error, ErrorKind, open};
use support::{Folder, projector, projector_of, text, text_of, with};

fn refused(text: &Path, projector: Option<&Path>) -> Error {
    match open(text, projector) {
        Ok(files) => panic!("opened {}", files.text.name()),
        Err(error) => error,
    }
}

#[test]
fn a_pair_that_fits_opens() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text(64));
    let mmproj = folder.add("mmproj.gguf", &projector(64));
    let files = open(&model, Some(&mmproj)).expect("a pair");
    assert_eq!(files.text.name(), "model.gguf");
    assert_eq!(files.projector.expect("named").name(), "mmproj.gguf");
    assert_eq!((files.is_merged, files.pairing), (false, None));
}

#[test]
fn a_merged_file_opens_alone_and_refuses_a_projector() {
    let folder = Folder::new();
    let merged = with(text_of("gemma3", 64, None), "v.patch_embd.weight", &[8, 8]);
    let model = folder.add("merged.gguf", &merged);
    let mmproj = folder.add("mmproj.gguf", &projector(64));
    let files = open(&model, None).expect("a merged model");
    assert!(files.is_merged && files.projector.is_none());
    assert_eq!(
        refused(&model, Some(&mmproj)).to_string(),
        "merged.gguf holds its own vision tensors; found mmproj.gguf besides, need none. Leave out --mmproj"
    );
}

#[test]
fn a_text_model_with_part_of_a_projector_is_refused_with_and_without_one() {
    let folder = Folder::new();
    let stray = with(text(64), "mm.0.weight", &[32, 32]);
    let model = folder.add("model.gguf", &stray);
    let mmproj = folder.add("mmproj.gguf", &projector(64));
    for named in [Some(mmproj.as_path()), None] {
        let error = refused(&model, named);
        assert_eq!(
            error.to_string(),
            "model.gguf is a text model with the projector's tensor 'mm.0.weight' but no vision encoder (v.*), \
             so neither alone nor whole; -m needs a text model"
        );
        assert_eq!(error.kind(), ErrorKind::Pair);
    }
    // No projector takes it for its text model either.
    assert!(matches!(refused(&mmproj, None), Error::NoTextModel { .. }));
    // Sound is left out in every file.
    let with_sound = with(
        with(text(64), "a.conv1d.1.weight", &[8]),
        "mm.a.fc.weight",
        &[8],
    );
    let speaking = folder.add("speaking/model.gguf", &with_sound);
    open(&speaking, Some(&mmproj)).expect("a pair");
}

#[test]
fn a_text_model_given_as_projector_is_named_and_the_reverse() {
    let folder = Folder::new();
    let a = folder.add("a.gguf", &text(64));
    let b = folder.add("b.gguf", &projector(64));
    let needs = "a.gguf is a text model; --mmproj needs a vision projector (general.type=mmproj)";
    assert_eq!(refused(&a, Some(&a)).to_string(), needs);
    let swapped = refused(&b, Some(&a)).to_string();
    assert!(swapped.starts_with(needs), "{swapped}");
    assert!(swapped.contains("exchange -m and --mmproj"), "{swapped}");
    let two = refused(&b, Some(&b));
    assert_eq!(
        two.to_string(),
        "b.gguf is a vision projector; -m needs a text model"
    );
    assert_eq!(two.kind(), ErrorKind::Pair);
}

#[test]
fn a_pair_that_does_not_fit_is_refused_with_both_numbers_and_names() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text(64));
    let wide = folder.add("wide.gguf", &projector(96));
    let error = refused(&model, Some(&wide));
    assert_eq!(
        error.to_string(),
        "mmproj outputs 96, model expects 64: wrong mmproj for this model (files wide.gguf, model.gguf)"
    );
    assert_eq!(error.kind(), ErrorKind::Pair);
    let three = folder.add("three.gguf", &text_of("qwen3vl", 64, Some(3)));
    let fits_two = folder.add("two.gguf", &projector(64));
    let error = refused(&three, Some(&fits_two)).to_string();
    assert!(
        error.contains("2 deepstack layers, model expects 3"),
        "{error}"
    );
    assert!(error.contains("(files two.gguf, three.gguf)"), "{error}");
}

#[test]
fn a_projector_type_that_the_table_lacks_is_left_to_the_loader_when_named() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text_of("llama", 64, None));
    let mmproj = folder.add("mmproj.gguf", &projector_of("new_kind"));
    assert!(open(&model, Some(&mmproj)).is_ok());
}

#[test]
fn a_projector_without_its_text_model_says_what_was_looked_at() {
    let folder = Folder::new();
    let mmproj = folder.add("mmproj.gguf", &projector(64));
    let error = refused(&mmproj, None).to_string();
    assert!(
        error.contains("no text model beside it that fits. Name one with -m"),
        "{error}"
    );
    folder.add("wide.gguf", &text(96));
    let error = refused(&mmproj, None).to_string();
    assert!(
        error.contains("wide.gguf (mmproj outputs 64, model expects 96)"),
        "{error}"
    );
}

#[test]
fn files_that_are_no_models_are_refused_by_what_they_are() {
    let folder = Folder::new();
    let mut adapter = text(64);
    adapter.set("general.type", "adapter");
    let path = folder.add("lora.gguf", &adapter);
    assert_eq!(
        refused(&path, None).to_string(),
        "lora.gguf is an adapter (LoRA); -m needs a text model"
    );
}

#[test]
fn missing_paths_are_named() {
    let folder = Folder::new();
    let missing = folder.path().join("nowhere.gguf");
    let error = refused(&missing, None);
    assert!(
        matches!(&error, Error::Gguf(ocelli_gguf::Error::Io { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("nowhere.gguf"), "{error}");
    let model = folder.add("model.gguf", &text(64));
    let error = refused(&model, Some(&missing)).to_string();
    assert!(error.contains("nowhere.gguf"), "{error}");
}

#[test]
fn a_folder_stands_for_the_one_text_model_in_it() {
    let folder = Folder::new();
    let error = refused(folder.path(), None).to_string();
    assert!(
        error.contains("found no GGUF file, need a text model"),
        "{error}"
    );
    folder.add("mmproj.gguf", &projector(64));
    let error = refused(folder.path(), None).to_string();
    assert!(
        error.contains("found mmproj.gguf (a vision projector)"),
        "{error}"
    );
    folder.add("model.gguf", &text(64));
    let files = open(folder.path(), None).expect("one model");
    assert_eq!(files.text.name(), "model.gguf");
    assert!(files.projector.is_some());
    folder.add("second.gguf", &text(64));
    let error = refused(folder.path(), None);
    assert!(
        error
            .to_string()
            .contains("found model.gguf, second.gguf, need one"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn a_hugging_face_cache_entry_stands_for_its_current_snapshot() {
    let folder = Folder::new();
    folder.add("models--a--b/snapshots/0123abcd/Q4/model.gguf", &text(64));
    folder.add("models--a--b/snapshots/0123abcd/model.gguf", &text(64));
    folder.add(
        "models--a--b/snapshots/0123abcd/mmproj-F16.gguf",
        &projector(64),
    );
    folder.add("models--a--b/snapshots/ffff/model.gguf", &text(96));
    let entry = folder.path().join("models--a--b");
    std::fs::create_dir_all(entry.join("refs")).expect("a folder");
    std::fs::write(entry.join("refs/main"), "0123abcd\n").expect("written");
    let files = open(&entry, None).expect("the snapshot of main");
    assert!(files.text.paths()[0].ends_with("snapshots/0123abcd/model.gguf"));
    assert!(files.projector.is_some());
    let in_folder = entry.join("snapshots/0123abcd/Q4/model.gguf");
    let files = open(&in_folder, None).expect("a quantisation in its own folder");
    assert!(files.projector.is_some(), "{:?}", files.pairing);
    std::fs::write(entry.join("refs/main"), "../../elsewhere").expect("written");
    assert!(matches!(
        refused(&entry, None),
        Error::NoModelInFolder { .. }
    ));
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_the_folder_of_the_file() {
    let folder = Folder::new();
    let model = folder.add("store/model.gguf", &text(64));
    folder.add("store/mmproj.gguf", &projector(64));
    let link = folder.path().join("current.gguf");
    std::os::unix::fs::symlink(&model, &link).expect("a link");
    let files = open(&link, None).expect("the linked model");
    assert!(files.projector.is_some(), "{:?}", files.pairing);
}
