//! Bad model files and pairs: each class ends with its exit code and one line that says what is wrong.

mod common;

use common::{Folder, ocelli, picture};
use ocelli_gguf::Value;

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn paths_that_lead_nowhere_end_with_8() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let missing = folder.path("missing.gguf");
    ocelli(&["run", "-m", &missing, "x"]).fails(8, "missing.gguf");
    ocelli(&["run", "-m", &model.text, "--mmproj", &missing, "x"]).fails(8, "missing.gguf");
    ocelli(&["inspect", &missing]).fails(8, "missing.gguf");
}

#[test]
fn folders_stand_for_the_one_model_in_them() {
    let folder = Folder::new();
    let here = folder.path("");
    ocelli(&["run", "-m", &here, "x"]).fails(2, "no GGUF file");
    ocelli(&["inspect", &here]).fails(2, "no GGUF file");
    let model = folder.model(|_| {});
    ocelli(&[
        "run",
        "-m",
        &here,
        "-n",
        "1",
        "--image",
        &picture("too_small.png"),
        "x",
    ])
    .ok();
    std::fs::copy(&model.text, folder.path("other.gguf")).unwrap();
    ocelli(&["run", "-m", &here, "x"]).fails(2, "several models");
}

#[test]
fn what_is_no_model_file_is_told_by_its_look() {
    let folder = Folder::new();
    for (name, content, message) in [
        ("empty.gguf", &b""[..], "file is empty (0 bytes)"),
        (
            "short.gguf",
            b"GGU",
            "too short for a GGUF header (3 of 24 bytes)",
        ),
        (
            "pointer.gguf",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
            "this is a Git LFS pointer, not the model; download the real file",
        ),
        (
            "page.gguf",
            b"<!DOCTYPE html>\n<html><body>404 not found</body></html>\n",
            "this is a web page (HTML), the download failed",
        ),
        (
            "old.gguf",
            b"GGUF\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "GGUF v1 is obsolete",
        ),
        (
            "new.gguf",
            b"GGUF\x63\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "GGUF version 99 not supported (2 and 3 are)",
        ),
    ] {
        let path = folder.file(name, content);
        ocelli(&["run", "-m", &path, "x"]).fails(3, message);
        ocelli(&["inspect", &path]).fails(3, message);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let whole = std::fs::read(&model.text).unwrap();
    for part in 1..16 {
        let cut = folder.file("cut.gguf", &whole[..whole.len() * part / 16]);
        ocelli(&["run", "-m", &cut, "x"]).fails(3, "cut.gguf");
    }
}

#[test]
fn an_architecture_that_cannot_be_run_is_named_with_those_that_can() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        pair.text.set("general.architecture", string("nosuch"));
    });
    ocelli(&["run", "-m", &model.text, "x"])
        .fails(3, "architecture 'nosuch' not supported; supported: ");
    model
        .run(&["x"])
        .fails(3, "architecture 'nosuch' not supported; supported: ");
}

#[test]
fn a_pair_whose_text_model_is_bad_by_itself_is_not_called_a_wrong_pair() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        pair.text.set("qwen3vl.embedding_length", Value::U32(64));
    });
    model
        .run(&["x"])
        .fails(3, "embedding_length 64 but token_embd has 32");
}

#[test]
fn a_bad_chat_template_ends_with_3() {
    for template in [
        "{% if %}",
        "{{ messages | nosuchfilter }}",
        "{% for m in messages %}",
    ] {
        let folder = Folder::new();
        let model = folder.model(|pair| {
            pair.text.set("tokenizer.chat_template", string(template));
        });
        model.run(&["-n", "1", "x"]).fails(3, "template");
    }
}

#[test]
fn files_that_do_not_belong_together_end_with_4_and_both_numbers() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let other = folder.path("other.gguf");
    let sizes = ocelli_testkit::tiny::Sizes {
        hidden: 64,
        ..Default::default()
    };
    ocelli_testkit::tiny::qwen3vl_with(1, &sizes)
        .mmproj
        .write_to(other.as_ref());
    ocelli(&["run", "-m", &model.text, "--mmproj", &other, "x"])
        .fails(4, "mmproj outputs 64, model expects 32");
    ocelli(&["run", "-m", &model.text, "--mmproj", &model.text, "x"])
        .fails(4, "is a text model; --mmproj needs");
    ocelli(&["run", "-m", &model.mmproj, "--mmproj", &model.text, "x"])
        .fails(4, "exchange -m and --mmproj");
}

#[test]
fn a_picture_without_a_projector_is_an_error_that_says_what_to_add() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    std::fs::remove_file(&model.mmproj).unwrap();
    let picture = picture("wide.png");
    ocelli(&["run", "-m", &model.text, "--image", &picture, "What?"]).fails(4, "--mmproj");
    ocelli(&["run", "-m", &model.text, "-n", "1", "What?"]).ok();
    let out = folder.path("t.safetensors");
    ocelli(&[
        "trace",
        "-m",
        &model.text,
        "--image",
        &picture,
        "-p",
        "What?",
        "--out",
        &out,
    ])
    .fails(4, "--mmproj");
}

#[test]
fn a_vocabulary_without_the_image_token_cannot_be_paired() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        let tokens: Vec<String> = ocelli_testkit::tiny::tokens();
        let renamed: Vec<String> = tokens
            .into_iter()
            .map(|token| token.replace("<|image_pad|>", "<|gone|>"))
            .collect();
        pair.text.set("tokenizer.ggml.tokens", Value::from(renamed));
    });
    model
        .run(&["-n", "1", "--image", &picture("wide.png"), "x"])
        .fails(4, "<|image_pad|>");
}

#[test]
fn weights_that_are_no_numbers_are_found_at_first_use_or_with_check() {
    let folder = Folder::new();
    let model = folder.model(|pair| pair.text.tensor("output_norm.weight").values[3] = f32::NAN);
    model.run(&["-n", "1", "x"]).fails(70, "non-finite");
    model
        .run(&["-n", "1", "--check", "x"])
        .fails(3, "output_norm.weight");
}

#[test]
fn a_context_that_no_machine_holds_ends_with_5_and_both_sizes() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    model
        .run(&["-c", "4294967296", "x"])
        .fails(5, "MiB available");
}

#[test]
fn one_file_finds_the_other() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let picture = picture("wide.png");
    let asked = model.run(&["-n", "4", "--image", &picture, "What?"]).ok();
    for file in [&model.text, &model.mmproj] {
        assert_eq!(
            ocelli(&["run", "-m", file, "-n", "4", "--image", &picture, "What?"]).ok(),
            asked
        );
    }
}

#[test]
fn parts_that_are_missing_or_of_another_model_end_with_3() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let parts = folder.path("parts");
    std::fs::create_dir(&parts).unwrap();
    let split = [
        "split",
        &model.text,
        "--out",
        &parts,
        "--max-shard-size",
        "60K",
    ];
    let written = ocelli(&split).ok();
    let files: Vec<&str> = written.lines().collect();
    assert!(files.len() > 2, "{written}");
    ocelli(&[
        "run",
        "-m",
        files[1],
        "--mmproj",
        &model.mmproj,
        "-n",
        "1",
        "x",
    ])
    .ok();
    std::fs::rename(files[1], folder.path("aside")).unwrap();
    for command in ["run", "plan"] {
        ocelli(&[command, "-m", files[0], &picture("photo.png")]).fails(3, "part 2 of");
    }
    ocelli(&["inspect", files[0]]).fails(3, "part 2 of");
    let out = folder.path("out.gguf");
    ocelli(&["quantize", files[0], &out, "q8_0"]).fails(3, "part 2 of");
    assert!(!std::path::Path::new(&out).exists());
    std::fs::copy(files[0], files[1]).unwrap();
    ocelli(&["run", "-m", files[0], "x"]).fails(3, "is part 1 too; get part 2 again");
}
