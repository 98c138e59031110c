//! Files that are sound containers and make no model: each ends with its exit code and one line that names what is wrong. The
//! messages of every value are tests of `ocelli-models`; these are that the command tells them and ends as it should.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, ocelli, picture};
use ocelli_gguf::Value;
use ocelli_testkit::tiny::TinyFile;

/// What a test breaks in a file.
type Change = fn(&mut TinyFile);

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Each change makes a text model that ends with 3 and these words.
fn no_text_model(cases: &[(&str, Change)]) {
    for (message, change) in cases {
        let folder = Folder::new();
        let model = folder.model(|pair| change(&mut pair.text));
        std::fs::remove_file(&model.mmproj).unwrap();
        ocelli(&["run", "-m", &model.text, "-n", "1", "x"]).fails(3, message);
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
    let cases: [(&str, Change); 13] = [
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
