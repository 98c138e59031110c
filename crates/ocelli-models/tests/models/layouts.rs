//! Files as other tools write them, made from the golden pairs: each gives the golden's stages.

use crate::draft::{Draft, Tensor};
use crate::run::Model;
use ocelli_gguf::{Array, Gguf, Value};
use ocelli_models::{Part, normalise};
use ocelli_testkit::Suite;

/// The drafts of a suite's pair.
fn pair(suite: &Suite) -> (Draft, Draft) {
    let text = Gguf::open(&suite.text).unwrap();
    let projector = Gguf::open(suite.mmproj.as_ref().unwrap()).unwrap();
    (Draft::of(&text), Draft::of(&projector))
}

/// Runs every case and compares all stages.
fn assert_runs(suite: &Suite, text: &Gguf, projector: &Gguf) {
    let model = Model::load(text, Some(projector)).unwrap_or_else(|error| panic!("{error}"));
    for case in &suite.cases {
        case.assert_stages(&model.run(case, usize::MAX));
    }
}

/// Changes a suite's pair, runs it, and gives what was assumed about the projector.
pub(crate) fn changed(suite: &str, change: impl FnOnce(&mut Draft, &mut Draft)) -> Vec<String> {
    let suite = Suite::load(suite);
    let (mut text, mut projector) = pair(&suite);
    change(&mut text, &mut projector);
    let (text, projector) = (text.file("text.gguf"), projector.file("mmproj.gguf"));
    assert_runs(&suite, &text, &projector);
    notes(&projector)
}

/// Makes one file of a suite's pair, runs it, and gives what was assumed about its vision part.
pub(crate) fn merged(suite: &str, merge: impl FnOnce(&mut Draft, Draft)) -> Vec<String> {
    let suite = Suite::load(suite);
    let (mut text, projector) = pair(&suite);
    merge(&mut text, projector);
    let file = text.file("merged.gguf");
    assert_runs(&suite, &file, &file);
    notes(&file)
}

fn notes(file: &Gguf) -> Vec<String> {
    normalise(file, Part::Vision).unwrap().notes().to_vec()
}

pub(crate) fn assert_noted(notes: &[String], words: &str) {
    assert!(
        notes.iter().any(|n| n.contains(words)),
        "{words}: {notes:#?}"
    );
}

fn i32s(values: &[i32]) -> Value {
    Value::Array(Array::I32(values.to_vec()))
}

/// Cuts `attn_qkv` of every vision layer into thirds.
fn split_qkv(projector: &mut Draft) {
    for layer in projector.layers("v.blk.") {
        for end in ["weight", "bias"] {
            let whole = format!("{layer}attn_qkv.{end}");
            let rows = projector.tensor(&whole).shape.last().unwrap() / 3;
            let parts = ["q", "k", "v"].map(|p| (format!("{layer}attn_{p}.{end}"), rows));
            projector.split(&whole, &parts);
        }
    }
}

/// Puts `attn_q`, `attn_k`, `attn_v` of every layer below each other.
fn fuse_qkv(file: &mut Draft, prefix: &str, ends: &[&str]) {
    for layer in file.layers(prefix) {
        for end in ends {
            let parts = ["q", "k", "v"].map(|p| format!("{layer}attn_{p}.{end}"));
            file.fuse(&parts, &format!("{layer}attn_qkv.{end}"));
        }
    }
}

/// The two temporal kernels in one tensor of `[P, P, 2, 3 * width]`, as Ollama packs them.
fn pack_patches(projector: &mut Draft) {
    let first = projector.take_tensor("v.patch_embd.weight");
    let second = projector.take_tensor("v.patch_embd.weight.1");
    let [p, _, channels, width] = first.shape[..] else {
        panic!("{:?}", first.shape)
    };
    let plane = first.data.len() / (channels * width) as usize;
    let planes = first.data.chunks(plane).zip(second.data.chunks(plane));
    projector.extend([Tensor {
        name: "v.patch_embed.weight".to_owned(),
        shape: vec![p, p, 2, channels * width],
        ty: first.ty,
        data: planes.flat_map(|(a, b)| [a, b].concat()).collect(),
    }]);
}

/// Names and keys of Ollama's `qwen3vl` and `qwen3vlmoe` files.
fn merge_qwen3vl(text: &mut Draft, mut projector: Draft, arch: &str, taps: &[i32]) {
    split_qkv(&mut projector);
    pack_patches(&mut projector);
    projector
        .rename("v.patch_embd.bias", "v.patch_embed.bias")
        .rename("v.position_embd.", "v.pos_embed.")
        .rename(".ln1.", ".norm1.")
        .rename(".ln2.", ".norm2.")
        .rename(".ffn_up.", ".mlp.linear_fc1.")
        .rename(".ffn_down.", ".mlp.linear_fc2.")
        .rename("v.post_ln.", "v.merger.norm.")
        .rename("mm.0.", "v.merger.linear_fc1.")
        .rename("mm.2.", "v.merger.linear_fc2.");
    for (i, layer) in taps.iter().enumerate() {
        let (from, to) = (
            format!("v.deepstack.{layer}."),
            format!("v.deepstack_merger.{i}."),
        );
        projector.rename(&from, &to);
    }
    projector
        .rename(".fc1.", ".linear_fc1.")
        .rename(".fc2.", ".linear_fc2.");
    let Value::Array(Array::I32(sections)) = text.take(&format!("{arch}.rope.dimension_sections"))
    else {
        panic!("sections of another type")
    };
    text.take(&format!("{arch}.n_deepstack_layers"));
    text.set(&format!("{arch}.rope.mrope_section"), i32s(&sections[..3]));
    let vision = format!("{arch}.vision.");
    for key in [
        "block_count",
        "embedding_length",
        "attention.head_count",
        "patch_size",
    ] {
        text.set(
            &format!("{vision}{key}"),
            projector.take(&format!("clip.vision.{key}")),
        );
    }
    for key in ["image_mean", "image_std"] {
        text.set(
            &format!("{vision}{key}"),
            projector.take(&format!("clip.vision.{key}")),
        );
    }
    text.set(&format!("{vision}spatial_merge_size"), 2u32)
        .set(&format!("{vision}temporal_patch_size"), 2u32)
        .set(&format!("{vision}num_channels"), 3u32)
        .set(&format!("{vision}attention.layer_norm_epsilon"), 1e-6f32)
        .set(&format!("{vision}rope.freq_base"), 1e4f32)
        .set(&format!("{vision}shortest_edge"), 65_536u32)
        .set(&format!("{vision}longest_edge"), 16_777_216u32)
        .set(&format!("{vision}deepstack_visual_indexes"), i32s(taps))
        .extend(projector.tensors().to_vec());
}

#[test]
fn ollama_file_of_qwen3vl_runs() {
    let notes = merged("qwen3vl", |text, projector| {
        merge_qwen3vl(text, projector, "qwen3vl", &[1, 2]);
    });
    assert_noted(
        &notes,
        "'v.blk.*.norm1.weight' is read as 'v.blk.*.ln1.weight'",
    );
    assert_noted(&notes, "'qwen3vl_merger' because of the tensors");
    assert!(notes.len() < 40, "one note for all layers: {notes:#?}");
}

#[test]
fn ollama_file_of_qwen3vl_with_half_precision_patches_runs() {
    merged("qwen3vl-mixed", |text, projector| {
        merge_qwen3vl(text, projector, "qwen3vl", &[0, 2, 3]);
    });
}

#[test]
fn ollama_file_of_qwen3vl_moe_without_the_width_of_experts_runs() {
    merged("qwen3vl-moe", |text, projector| {
        merge_qwen3vl(text, projector, "qwen3vlmoe", &[1, 2]);
        text.take("qwen3vlmoe.expert_feed_forward_length");
        text.set("qwen3vlmoe.norm_top_k_prob", true);
    });
}

#[test]
fn ollama_file_of_qwen25vl_without_colours_runs() {
    let notes = merged("qwen2.5vl", |text, mut projector| {
        projector
            .rename("v.patch_embd.weight.1", "v.patch_embd_1.weight")
            .rename("v.patch_embd.weight", "v.patch_embd_0.weight")
            .rename("v.post_ln.", "v.merger.ln_q.")
            .rename("mm.0.", "v.merger.mlp.0.")
            .rename("mm.2.", "v.merger.mlp.2.");
        text.set("general.architecture", "qwen25vl");
        text.rename_keys("qwen2vl.", "qwen25vl.");
        text.take("qwen25vl.rope.dimension_sections");
        text.set("qwen25vl.rope.mrope_section", i32s(&[2, 3, 3]))
            .set("qwen25vl.vision.block_count", 4u32)
            .set("qwen25vl.vision.embedding_length", 32u32)
            .set("qwen25vl.vision.attention.head_count", 2u32)
            .set("qwen25vl.vision.patch_size", 14u32)
            .set("qwen25vl.vision.window_size", 112u32)
            .set("qwen25vl.vision.fullatt_block_indexes", i32s(&[1, 3]))
            .extend(projector.tensors().to_vec());
    });
    assert_noted(&notes, "'v.merger.mlp.0.weight' is read as 'mm.0.weight'");
}

/// Marks and mistakes of the script that made the first Qwen2-VL projectors.
fn age_qwen2vl(projector: &mut Draft) {
    projector
        .set("clip.has_text_encoder", false)
        .set("clip.has_qwen2vl_merger", true)
        .set("clip.use_silu", false)
        .set("clip.use_gelu", false)
        .set("clip.vision.feed_forward_length", 0u32)
        .add_zeros("v.position_embd.weight", &[10, 10])
        .rename(".ffn_up.", ".ffn_between.")
        .rename(".ffn_down.", ".ffn_up.")
        .rename(".ffn_between.", ".ffn_down.");
}

#[test]
fn first_qwen2vl_projectors_with_swapped_mlps_and_dummy_positions_run() {
    let notes = changed("qwen2vl", |_, projector| age_qwen2vl(projector));
    assert_noted(
        &notes,
        "'ffn_up' and 'ffn_down' of the vision layers are swapped",
    );
    assert_noted(&notes, "'v.position_embd.weight' is not needed");
}

#[test]
fn qwen2vl_projector_that_states_no_type_runs() {
    let notes = changed("qwen2vl", |_, projector| {
        age_qwen2vl(projector);
        projector.take("clip.projector_type");
    });
    assert_noted(&notes, "'qwen2vl_merger' because of the tensors");
}

#[test]
fn forked_qwen25vl_projector_under_the_name_of_qwen2vl_runs() {
    let notes = changed("qwen2.5vl", |_, projector| {
        projector.take("clip.vision.n_wa_pattern");
        projector
            .set("clip.projector_type", "qwen2vl_merger")
            .set("clip.is_qwen2_5", true)
            .set("clip.vision.window_size", 112u32)
            .set("clip.vision.fullatt_block_indexes", i32s(&[1, 3]))
            .set("clip.vision.projection_dim", 32u32)
            .set("clip.vision.mm_patch_merge_type", "flat")
            .add_zeros("v.position_embd.weight", &[32, 1600]);
    });
    assert_noted(&notes, "'qwen2vl_merger' is taken as 'qwen2.5vl_merger'");
}

#[test]
fn qwen25vl_projector_from_before_the_merge_into_llama_cpp_runs() {
    changed("qwen2.5vl", |_, projector| {
        projector.take("clip.vision.n_wa_pattern");
        projector.take("clip.projector_type");
        projector
            .set("clip.use_glu_mlp", true)
            .set("clip.use_rms_norm", true)
            .set("clip.vision.fullatt_block_indexes", i32s(&[1, 3]));
    });
}

#[test]
fn projector_type_under_the_key_of_mixed_files_counts() {
    let notes = changed("qwen3vl-mixed", |_, projector| {
        let stated = projector.take("clip.projector_type");
        projector
            .set("clip.vision.projector_type", stated)
            .set("clip.has_audio_encoder", true)
            .add_zeros("mm.a.fc.weight", &[4, 4])
            .add_zeros("a.blk.0.ln1.weight", &[4]);
    });
    assert_noted(&notes, "'a.blk.0.ln1.weight' is not needed");
}

#[test]
fn missing_window_metadata_means_the_released_models_windows() {
    let suite = Suite::load("qwen2.5vl");
    let (text, mut projector) = pair(&suite);
    projector.take("clip.vision.n_wa_pattern");
    let (text, projector) = (text.file("text.gguf"), projector.file("mmproj.gguf"));
    Model::load(&text, Some(&projector)).unwrap_or_else(|error| panic!("{error}"));
    assert_noted(&notes(&projector), "every 8th vision layer");
}

#[test]
fn split_and_fused_projections_are_the_same() {
    changed("qwen3vl-mixed", |text, projector| {
        split_qkv(projector);
        fuse_qkv(text, "blk.", &["weight"]);
    });
    changed("qwen2.5vl", |text, projector| {
        fuse_qkv(projector, "v.blk.", &["weight", "bias"]);
        fuse_qkv(text, "blk.", &["weight", "bias"]);
    });
    changed("qwen2vl", |text, projector| {
        fuse_qkv(projector, "v.blk.", &["weight", "bias"]);
        fuse_qkv(text, "blk.", &["weight", "bias"]);
    });
    changed("qwen3vl-moe", |text, projector| {
        split_qkv(projector);
        fuse_qkv(text, "blk.", &["weight"]);
    });
}

#[test]
fn fused_weight_may_come_with_split_biases() {
    changed("qwen2vl", |text, _| fuse_qkv(text, "blk.", &["weight"]));
}

#[test]
fn one_file_with_current_names_of_both_parts_runs() {
    merged("qwen2vl", |text, mut projector| {
        for (key, value) in [
            ("clip.projector_type", projector.take("clip.projector_type")),
            (
                "clip.vision.block_count",
                projector.take("clip.vision.block_count"),
            ),
            (
                "clip.vision.image_mean",
                projector.take("clip.vision.image_mean"),
            ),
            (
                "clip.vision.image_std",
                projector.take("clip.vision.image_std"),
            ),
            ("clip.vision.attention.head_count", Value::U32(2)),
        ] {
            text.set(key, value);
        }
        text.extend(projector.tensors().to_vec());
    });
}

#[test]
fn numbers_written_once_a_layer_and_sections_of_three_are_read() {
    for (suite, architecture) in [
        ("qwen2vl", "qwen2vl"),
        ("qwen2.5vl", "qwen2vl"),
        ("qwen3vl", "qwen3vl"),
        ("qwen3vl-moe", "qwen3vlmoe"),
    ] {
        changed(suite, |text, _| {
            let Value::U32(layers) = text.take(&format!("{architecture}.block_count")) else {
                panic!("{suite}: layers");
            };
            text.set(&format!("{architecture}.block_count"), layers);
            for key in [
                "feed_forward_length",
                "attention.head_count",
                "attention.head_count_kv",
            ] {
                let key = format!("{architecture}.{key}");
                let Value::U32(number) = text.take(&key) else {
                    panic!("{suite}: {key}");
                };
                text.set(&key, i32s(&vec![number as i32; layers as usize]));
            }
            let key = format!("{architecture}.rope.dimension_sections");
            let Value::Array(Array::I32(sections)) = text.take(&key) else {
                panic!("{suite}: {key}");
            };
            assert_eq!(sections.len(), 4, "{suite}");
            text.set(&key, i32s(&sections[..3]));
        });
    }
}

#[test]
fn two_tensors_of_one_meaning_are_refused() {
    let suite = Suite::load("qwen2vl");
    let (text, mut projector) = pair(&suite);
    projector.add_zeros("v.merger.ln_q.bias", &[40]);
    let (text, projector) = (text.file("text.gguf"), projector.file("mmproj.gguf"));
    let error = Model::load(&text, Some(&projector))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("'v.merger.ln_q.bias' is not used by qwen2vl_merger"),
        "{error}"
    );
}
