//! Files that are sound containers and make no model: each ends with its exit code and one line
//! that names what is wrong. The messages of every value are tests of `ocelli-models`; these are
//! that the command tells them and ends as it should.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, Model, ocelli, picture};
use ocelli_gguf::{Array, Value};
use ocelli_testkit::tiny::TinyFile;

/// What a test breaks in a file.
type Change = fn(&mut TinyFile);

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Each change makes a text model that ends with 3 and these words, and of which `inspect` does not
/// say that it runs.
fn no_text_model(cases: &[(&str, Change)]) {
    for (message, change) in cases {
        let folder = Folder::new();
        let model = folder.model(|pair| change(&mut pair.text));
        std::fs::remove_file(&model.mmproj).unwrap();
        ocelli(&["run", "-m", &model.text, "-n", "1", "x"]).fails(3, message);
        let seen = ocelli(&["inspect", &model.text]);
        let says = |line: &str| line.starts_with("  runs         no: ") && line.contains(message);
        assert!(
            seen.code == Some(3) || seen.stdout.lines().any(says),
            "{message}: {seen:?}"
        );
    }
}

#[test]
fn sizes_and_numbers_that_make_no_text_model_end_with_3() {
    no_text_model(&[
        ("general.architecture", |text| {
            text.remove("general.architecture");
        }),
        ("general.architecture", |text| {
            text.set("general.architecture", Value::U32(7));
        }),
        ("embedding_length 64 but token_embd has 32", |text| {
            text.set("qwen3vl.embedding_length", Value::U32(64));
        }),
        ("embedding_length is 0", |text| {
            text.set("qwen3vl.embedding_length", Value::U32(0));
        }),
        ("embedding_length is 4294967295", |text| {
            text.set("qwen3vl.embedding_length", Value::U32(u32::MAX));
        }),
        ("head_count", |text| {
            text.set("qwen3vl.attention.head_count", Value::U32(3));
        }),
        ("head_count is 0", |text| {
            text.set("qwen3vl.attention.head_count", Value::U32(0));
        }),
        ("head_count", |text| {
            text.set("qwen3vl.attention.head_count", string("four"));
        }),
        ("head_count", |text| {
            text.set("qwen3vl.attention.head_count", Value::from(vec![4u32; 9]));
        }),
        ("rms_norm_eps is NaN", |text| {
            let key = "qwen3vl.attention.layer_norm_rms_epsilon";
            text.set(key, Value::F32(f32::NAN));
        }),
        ("rms_norm_eps is -1", |text| {
            let key = "qwen3vl.attention.layer_norm_rms_epsilon";
            text.set(key, Value::F32(-1.0));
        }),
        ("freq_base is NaN", |text| {
            text.set("qwen3vl.rope.freq_base", Value::F32(f32::NAN));
        }),
        ("freq_base is 0", |text| {
            text.set("qwen3vl.rope.freq_base", Value::F32(0.0));
        }),
    ]);
}

#[test]
fn tensors_and_vocabularies_that_make_no_text_model_end_with_3() {
    no_text_model(&[
        ("context_length", |text| {
            text.set("qwen3vl.context_length", Value::U32(0));
        }),
        ("missing tensor 'output_norm.weight'", |text| {
            text.remove_tensor("output_norm.weight");
        }),
        ("is not used by qwen3vl", |text| {
            text.add_tensor(1, "blk.0.attn_mystery.weight", &[32], (0.0, 1.0));
        }),
        ("blk.0.ffn_up.weight", |text| {
            text.reshape_tensor("blk.0.ffn_up.weight", &[32, 32]);
        }),
        (
            "found `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`, need `gpt2` or `llama`",
            |text| {
                text.set("tokenizer.ggml.model", string(&"x".repeat(70_000)));
            },
        ),
        ("tokenizer.ggml.tokens", |text| {
            text.remove("tokenizer.ggml.tokens");
        }),
        ("tokenizer has 3 tokens, embedding has 320 rows", |text| {
            let tokens = ["a", "b", "c"].map(str::to_owned).to_vec();
            text.set("tokenizer.ggml.tokens", Value::from(tokens));
        }),
        ("token_type", |text| {
            text.set("tokenizer.ggml.token_type", Value::from(vec![1i32; 3]));
        }),
        ("tokenizer.ggml.pre", |text| {
            text.set("tokenizer.ggml.pre", string("nosuch"));
        }),
    ]);
}

#[test]
fn what_would_make_answers_without_sense_where_it_is_missing_is_not_guessed() {
    no_text_model(&[
        ("'qwen3vl.rope.freq_base' is missing", |text| {
            text.remove("qwen3vl.rope.freq_base");
        }),
        ("token_type: found none, need one number", |text| {
            text.remove("tokenizer.ggml.token_type");
        }),
        ("token_type: found none, need one number", |text| {
            text.set("tokenizer.ggml.token_type", Value::from(Vec::<i32>::new()));
        }),
        ("tokenizer.ggml.merges: found none, need", |text| {
            text.set("tokenizer.ggml.merges", Value::from(Vec::<String>::new()));
        }),
        (
            "bos_token_id: found nothing, need the begin token",
            |text| {
                text.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
            },
        ),
        (
            "rope.scaling.type is missing beside rope.scaling.yarn_beta_fast, need 'yarn'",
            |text| {
                text.set("qwen3vl.rope.scaling.factor", Value::F32(4.0));
                text.set("qwen3vl.rope.scaling.yarn_beta_fast", Value::F32(32.0));
            },
        ),
    ]);
}

/// `plan` and `inspect` run nothing, but what they say of a model that cannot be run would be wrong.
#[test]
fn a_model_that_cannot_be_run_is_neither_planned_for_nor_said_to_run() {
    let folder = Folder::new();
    let cases: [(i32, &str, Change); 2] = [
        (3, "token_type: found none", |text| {
            text.remove("tokenizer.ggml.token_type");
        }),
        (
            4,
            "token '<|image_pad|>' not in this model's vocabulary",
            |text| {
                let Some(Value::Array(Array::String(tokens))) = text.get("tokenizer.ggml.tokens")
                else {
                    panic!("a list of tokens");
                };
                let renamed = |text: &str| match text {
                    "<|image_pad|>" => "<|other|>".to_owned(),
                    other => other.to_owned(),
                };
                let tokens: Vec<String> = tokens.iter().map(renamed).collect();
                text.set("tokenizer.ggml.tokens", Value::from(tokens));
            },
        ),
    ];
    for (code, message, change) in cases {
        let model = folder.model(|pair| change(&mut pair.text));
        not_run(&model, code, message);
    }
    // The same bytes under another type of as many: behind the name stand the rank and two dimensions.
    let model = folder.model(|_| {});
    let mut bytes = std::fs::read(&model.text).unwrap();
    let name = b"blk.0.attn_q.weight";
    let at = bytes.windows(name.len()).position(|window| window == name);
    let ty = &mut bytes[at.unwrap() + name.len() + 4 + 2 * 8..][..4];
    assert_eq!(ty, 0u32.to_le_bytes(), "F32");
    ty.copy_from_slice(&26u32.to_le_bytes());
    std::fs::write(&model.text, bytes).unwrap();
    not_run(
        &model,
        3,
        "type I32 cannot be run by this backend; take the model in another",
    );
}

fn not_run(model: &Model, code: i32, message: &str) {
    let scene = picture("photo.png");
    let run = model.run(&["--image", &scene, "-n", "1", "x"]);
    run.fails(code, message);
    ocelli(&model.arguments("plan", &[&scene])).fails(code, message);
    let seen = ocelli(&["inspect", &model.text, &model.mmproj]).ok();
    let says = |line: &str| line.starts_with("  runs         no: ") && line.contains(message);
    assert!(seen.lines().any(says), "{seen}");
}

#[test]
fn a_context_that_is_longer_than_any_machine_holds_is_no_error_of_the_file() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        pair.text
            .set("qwen3vl.context_length", Value::U32(u32::MAX));
    });
    model.run(&["-n", "1", "x"]).ok();
}

#[test]
fn metadata_and_tensors_that_make_no_projector_end_with_3() {
    let cases: [(&str, Change); 14] = [
        ("'nosuch_merger' not supported; supported: ", |mmproj| {
            mmproj.set("clip.projector_type", string("nosuch_merger"));
        }),
        ("image_std[1] is 0", |mmproj| {
            mmproj.set("clip.vision.image_std", Value::from(vec![0.5f32, 0.0, 0.5]));
        }),
        ("image_mean[0] is NaN", |mmproj| {
            let mean = vec![f32::NAN, 0.5, 0.5];
            mmproj.set("clip.vision.image_mean", Value::from(mean));
        }),
        ("image_mean has 4 values, need 3", |mmproj| {
            mmproj.set("clip.vision.image_mean", Value::from(vec![0.5f32; 4]));
        }),
        ("image_std has 2 values", |mmproj| {
            mmproj.set("clip.vision.image_std", Value::from(vec![0.5f32, 0.5]));
        }),
        ("patch_size", |mmproj| {
            mmproj.set("clip.vision.patch_size", Value::U32(0));
        }),
        ("patch_size 1 ", |mmproj| {
            mmproj.set("clip.vision.patch_size", Value::U32(1));
        }),
        ("patch_size", |mmproj| {
            mmproj.set("clip.vision.image_size", Value::U32(9));
        }),
        ("merge 0 inconsistent", |mmproj| {
            mmproj.set("clip.vision.spatial_merge_size", Value::U32(0));
        }),
        ("merge 1 inconsistent", |mmproj| {
            mmproj.set("clip.vision.spatial_merge_size", Value::U32(1));
        }),
        ("merge 3 inconsistent", |mmproj| {
            mmproj.set("clip.vision.spatial_merge_size", Value::U32(3));
        }),
        ("image_min_pixels", |mmproj| {
            mmproj.set("clip.vision.image_min_pixels", Value::I32(-1));
        }),
        ("size rule", |mmproj| {
            mmproj.set("clip.vision.image_min_pixels", Value::U32(1 << 31));
        }),
        ("v.post_ln.weight", |mmproj| {
            mmproj.remove_tensor("v.post_ln.weight");
        }),
    ];
    for (message, change) in cases {
        let folder = Folder::new();
        let model = folder.model(|pair| change(&mut pair.mmproj));
        let ran = model.run(&["-n", "1", "x"]);
        assert_ne!(ran.code, Some(0), "{message}: {ran:?}");
        ran.fails(3, message);
    }
}

#[test]
fn projectors_without_eyes_or_of_another_family_end_with_4() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        pair.mmproj
            .set("clip.has_vision_encoder", Value::Bool(false));
        pair.mmproj.set("clip.has_audio_encoder", Value::Bool(true));
    });
    model.run(&["x"]).fails(4, "has no vision encoder");
    // The widths agree: what says that they do not belong together is the family.
    let (text, projector) = of_one_width();
    ocelli(&["run", "-m", &text, "--mmproj", &projector, "-n", "1", "x"])
        .fails(4, "mmproj is of type qwen3vl_merger, model is qwen2vl");
}

/// The text model of Qwen2-VL and a projector of Qwen3-VL that is made for its width.
fn of_one_width() -> (String, String) {
    let file = |family: &str, name: &str| {
        let path = ocelli_testkit::goldens().join(family).join(name);
        path.to_str().unwrap().to_owned()
    };
    (
        file("qwen2vl", "text.gguf"),
        file("qwen3vl-mixed", "mmproj.gguf"),
    )
}

#[test]
fn videos_without_frames_and_pictures_without_pixels_end_with_6() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let empty = folder.file("none.gif", b"GIF89a\x04\0\x04\0\0\0\0;");
    for flag in ["--video", "--image"] {
        model
            .run(&[flag, &empty, "x"])
            .fails(6, "corrupt GIF: no picture in it");
    }
    let frames = ["--frames", &picture("clip_0.png"), "--fps", "1", "x"];
    model.run(&frames).fails(6, "video has 1 frames");
}
