//! How weights are stored must not matter: block types against their own values in F32, and models in
//! several files.

use crate::draft::Draft;
use crate::invariance::{Part, encode, picture, step};
use crate::run::{Model, PAGES};
use ocelli_gguf::Gguf;
use ocelli_image::Budget;
use ocelli_models::ImageFeatures;
use ocelli_quant::{TensorType, dequantize};
use ocelli_tensor::PageId;
use ocelli_testkit::tiny::{Sizes, TinyFile, qwen3vl_with};
use ocelli_testkit::{Suite, TOLERANCE, compare};

/// The same file with every tensor as the F32 values that its blocks stand for.
fn in_f32(file: &Gguf) -> Gguf {
    let mut draft = Draft::of(file);
    for info in file.tensors() {
        let mut values = vec![0.0; info.elements()];
        dequantize(info.ty(), file.data(info), &mut values).unwrap();
        let tensor = draft.tensor(info.name());
        tensor.ty = TensorType::F32;
        tensor.data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    }
    draft.file(file.name())
}

/// What a pair makes of a picture and of a text.
fn answers(text: &Gguf, projector: &Gguf) -> (ImageFeatures, Vec<f32>) {
    let model = Model::load(text, Some(projector)).unwrap_or_else(|error| panic!("{error}"));
    let vision = model.vision.as_deref().unwrap();
    let budget = Budget::from_tokens(vision.budget().factor, 4, 16).unwrap();
    let patches = vision.preprocess(&[picture(3)], &budget).unwrap();
    let pages: Vec<PageId> = (0..PAGES).map(PageId).collect();
    let tokens: Vec<u32> = (0..40).map(|i| i * 7).collect();
    let part = Part {
        tokens: &tokens,
        cached: 0,
        pages: &pages,
    };
    let mut logits = step(&model, model.cache().as_mut(), &[part], 1);
    (encode(&model, &patches), logits.remove(0))
}

fn tiny_file(file: &TinyFile, name: &str) -> Gguf {
    Gguf::from_bytes(name, file.to_bytes().into()).unwrap()
}

#[test]
fn text_and_projector_in_blocks_run_as_their_values_in_f32() {
    // Rows of 256 fill the blocks of every type.
    let sizes = Sizes {
        hidden: 256,
        layers: 1,
        heads: 8,
        head_dim: 32,
        feed_forward: 256,
        vision_hidden: 256,
        vision_layers: 1,
        vision_heads: 4,
        vision_feed_forward: 256,
        deepstack: vec![0],
        ..Sizes::default()
    };
    let pair = qwen3vl_with(9, &sizes);
    // Each family of blocks once; the backend's own tests have them all.
    use TensorType::{BF16, F16, Q4_K, Q5_1, Q6_K, Q8_0};
    for ty in [F16, BF16, Q8_0, Q5_1, Q4_K, Q6_K] {
        let mut pair = pair.clone();
        let text = tiny_file(pair.text.store_as(ty), "text.gguf");
        let projector = tiny_file(pair.mmproj.store_as(ty), "mmproj.gguf");
        let info = projector.tensor("v.blk.0.attn_qkv.weight").unwrap();
        assert_eq!(info.ty(), ty);
        let (features, logits) = answers(&text, &projector);
        let (expected, expected_logits) = answers(&in_f32(&text), &in_f32(&projector));
        for (name, got, expected) in [
            ("rows", &features.rows, &expected.rows),
            ("deepstack", &features.deepstack[0], &expected.deepstack[0]),
            ("logits", &logits, &expected_logits),
        ] {
            let report = compare(name, got, expected);
            assert!(report.passes(TOLERANCE), "{ty}: {report}");
        }
    }
}

#[test]
fn text_and_projector_in_parts_equal_the_reference() {
    let folder = std::env::temp_dir().join(format!("ocelli-parts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let suite = Suite::load("qwen3vl-mixed");
    let open = |name: &str, path: &std::path::Path| {
        let draft = Draft::of(&Gguf::open(path).unwrap());
        let first = draft.write_parts(&folder, name, 3);
        Gguf::open(&first).unwrap()
    };
    let text = open("text", &suite.text);
    let projector = open("mmproj", suite.mmproj.as_deref().unwrap());
    assert_eq!([text.paths().len(), projector.paths().len()], [3, 3]);
    let model = Model::load(&text, Some(&projector)).unwrap();
    let case = suite.case("one_image");
    case.assert_stages(&model.run(case, usize::MAX));
    std::fs::remove_dir_all(&folder).unwrap();
}
