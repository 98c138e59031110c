//! The other half of a model is found beside it, and the reason is told.

mod support;

use std::path::Path;

use ocelli_quant::TensorType;
use ocelli_store::{Pairing, open};
use support::{Folder, named, projector, projector_in, projector_of, text, text_of, with};

fn pairing(path: &Path) -> Pairing {
    let files = open(path, None).expect("opened");
    let pairing = files.pairing.expect("a search");
    assert_eq!(files.projector.is_some(), pairing.chosen.is_some());
    pairing
}

fn chosen(pairing: &Pairing) -> &str {
    let path = pairing.chosen.as_ref().expect("something was chosen");
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
}

/// The reason against the file of this name.
fn against<'a>(pairing: &'a Pairing, name: &str) -> &'a str {
    let found = pairing
        .rejected
        .iter()
        .find(|(path, _)| path.ends_with(name));
    &found.expect(name).1
}

#[test]
fn a_projector_beside_the_text_model_is_found_by_its_metadata() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text(64));
    folder.add("other-part.gguf", &projector(64));
    let pairing = pairing(&model);
    assert_eq!(chosen(&pairing), "other-part.gguf");
    assert!(
        pairing.reason.contains("outputs 64 as the model expects"),
        "{}",
        pairing.reason
    );
    assert!(
        pairing.reason.contains("2 deepstack layers"),
        "{}",
        pairing.reason
    );
    assert_eq!(pairing.rejected, []);
}

#[test]
fn a_projector_that_does_not_fit_is_left_with_the_reason() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text(64));
    folder.add("mmproj-wide.gguf", &projector(96));
    folder.add(
        "mmproj-new.gguf",
        &with(projector_of("new_kind"), "mm.0.weight", &[8, 64]),
    );
    folder.add("mmproj-silent.gguf", &projector_of("qwen3vl_merger"));
    folder.add("sibling.gguf", &text(64));
    std::fs::write(folder.path().join("half.gguf"), b"GGUF").expect("written");
    let pairing = pairing(&model);
    assert_eq!(pairing.chosen, None);
    assert_eq!(pairing.reason, "none of 5 other files fits");
    for (name, why) in [
        ("mmproj-wide.gguf", "mmproj outputs 96, model expects 64"),
        ("mmproj-new.gguf", "projector type new_kind is not known"),
        (
            "mmproj-silent.gguf",
            "mmproj has 0 deepstack layers, model expects 2",
        ),
        ("sibling.gguf", "this is a text model, not a projector"),
        ("half.gguf", "too short"),
    ] {
        assert!(
            against(&pairing, name).contains(why),
            "{name}: {}",
            against(&pairing, name)
        );
    }
}

#[test]
fn a_text_model_alone_opens_without_a_projector() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text(64));
    let pairing = pairing(&model);
    assert_eq!((pairing.chosen, pairing.rejected), (None, Vec::new()));
    assert_eq!(pairing.reason, "no other GGUF file beside it");
}

#[test]
fn among_fitting_projectors_the_name_decides_then_the_type() {
    let folder = Folder::new();
    let model = folder.add("Eye-2B-Thinking-Q4_K_M.gguf", &text(64));
    folder.add("mmproj-Eye-2B-Instruct-F16.gguf", &projector(64));
    folder.add(
        "mmproj-Eye-2B-Thinking-F32.gguf",
        &projector_in(64, TensorType::F32),
    );
    folder.add(
        "mmproj-Eye-2B-Thinking-BF16.gguf",
        &projector_in(64, TensorType::BF16),
    );
    let pairing = pairing(&model);
    assert_eq!(chosen(&pairing), "mmproj-Eye-2B-Thinking-BF16.gguf");
    let instruct = against(&pairing, "mmproj-Eye-2B-Instruct-F16.gguf");
    assert_eq!(instruct, "fits too, but its name is 50 % alike, not 100 %");
    let wide = against(&pairing, "mmproj-Eye-2B-Thinking-F32.gguf");
    assert_eq!(wide, "fits too, but BF16 is preferred to F32");
}

#[test]
fn stated_names_count_where_file_names_are_alike() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &named(text(64), "Eye 2B"));
    folder.add("mmproj-1-F16.gguf", &named(projector(64), "Ear 2B"));
    folder.add("mmproj-2-F16.gguf", &named(projector(64), "Eye 2B"));
    assert_eq!(chosen(&pairing(&model)), "mmproj-2-F16.gguf");
}

#[test]
fn equal_projectors_are_taken_in_order_of_their_names() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text(64));
    for name in ["mmproj-b.gguf", "mmproj-a.gguf", "mmproj-c.gguf"] {
        folder.add(name, &projector(64));
    }
    let pairing = pairing(&model);
    assert_eq!(chosen(&pairing), "mmproj-a.gguf");
    assert_eq!(
        against(&pairing, "mmproj-b.gguf"),
        "fits too, but mmproj-a.gguf comes first"
    );
}

#[test]
fn a_projector_in_the_folder_above_is_found_by_its_name_only() {
    let folder = Folder::new();
    let model = folder.add("Q4_K_M/model.gguf", &text(64));
    folder.add("other.gguf", &projector(64));
    assert_eq!(pairing(&model).chosen, None);
    folder.add("mmproj-F16.gguf", &projector(64));
    assert_eq!(chosen(&pairing(&model)), "mmproj-F16.gguf");
    folder.add("Q4_K_M/near.gguf", &projector(64));
    assert_eq!(
        chosen(&pairing(&model)),
        "near.gguf",
        "the same folder comes first"
    );
}

#[test]
fn later_parts_of_a_split_model_are_no_candidates() {
    let folder = Folder::new();
    let model = folder.add("model.gguf", &text(64));
    folder.add("big-00002-of-00002.gguf", &text(96));
    assert_eq!(pairing(&model).rejected, []);
}

#[test]
fn the_text_model_of_a_projector_is_found_too() {
    let folder = Folder::new();
    folder.add("Eye-2B-Q8_0.gguf", &text(64));
    folder.add("Eye-2B-Q4_K_M.gguf", &text(64));
    folder.add("Eye-4B-Q4_K_M.gguf", &text(96));
    folder.add("gemma.gguf", &text_of("gemma3", 64, None));
    let path = folder.add("mmproj-Eye-2B-F16.gguf", &projector(64));
    let pairing = pairing(&path);
    assert_eq!(chosen(&pairing), "Eye-2B-Q4_K_M.gguf");
    let other = against(&pairing, "Eye-2B-Q8_0.gguf");
    assert_eq!(
        other,
        "fits too, but Eye-2B-Q4_K_M.gguf is preferred to Eye-2B-Q8_0.gguf"
    );
    assert_eq!(
        against(&pairing, "gemma.gguf"),
        "mmproj is of type qwen3vl_merger, model is gemma3"
    );
}
