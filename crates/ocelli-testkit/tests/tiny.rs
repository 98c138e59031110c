//! Tiny models are files that the reader accepts, and can be broken in the ways the tests need.

use ocelli_gguf::{Gguf, Value};
use ocelli_testkit::tiny::{Sizes, qwen3vl, qwen3vl_with, token_id};

fn open(bytes: Vec<u8>) -> Gguf {
    Gguf::from_bytes("tiny.gguf", bytes.into()).expect("a valid file")
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(qwen3vl(1), qwen3vl(1));
    assert_ne!(qwen3vl(1), qwen3vl(2));
}

#[test]
fn a_pair_has_the_tensors_and_keys_of_the_goldens() {
    let (text, mmproj) = qwen3vl(1);
    let golden = ocelli_testkit::Suite::load("qwen3vl");
    for (tiny, golden) in [
        (text, golden.text.clone()),
        (mmproj, golden.mmproj.clone().unwrap()),
    ] {
        let (tiny, golden) = (open(tiny), Gguf::open(&golden).unwrap());
        let keys = |file: &Gguf| {
            let ignored = ["general.file_type", "general.quantization_version"];
            let mut keys: Vec<String> = file
                .metadata()
                .iter()
                .map(|(key, _)| key.to_owned())
                .collect();
            keys.retain(|key| !ignored.contains(&key.as_str()));
            keys.sort();
            keys
        };
        assert_eq!(keys(&tiny), keys(&golden));
        // Layer numbers differ, the names and numbers of dimensions do not.
        let kinds = |file: &Gguf| {
            let digits = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "N");
            let mut kinds: Vec<(String, usize)> = file
                .tensors()
                .iter()
                .map(|tensor| (digits(tensor.name()), tensor.shape().len()))
                .collect();
            kinds.sort();
            kinds.dedup();
            kinds
        };
        assert_eq!(kinds(&tiny), kinds(&golden));
    }
}

#[test]
fn changes_reach_the_file() {
    let mut pair = qwen3vl_with(3, &Sizes::default());
    pair.text.set("qwen3vl.embedding_length", Value::U32(64));
    pair.text.remove("qwen3vl.rope.dimension_sections");
    pair.text
        .rename_tensor("output_norm.weight", "output_nrm.weight");
    pair.text.reshape_tensor("blk.0.attn_q.weight", &[32, 48]);
    pair.text.add_tensor(3, "extra.weight", &[8], (0.0, 1.0));
    pair.text.tensor("token_embd.weight").values[7] = f32::NAN;
    pair.text.remove_tensor("blk.1.ffn_up.weight");
    let file = open(pair.text.to_bytes());
    assert_eq!(
        file.metadata()
            .required_u32("qwen3vl.embedding_length")
            .unwrap(),
        64
    );
    assert!(
        file.metadata()
            .get("qwen3vl.rope.dimension_sections")
            .is_none()
    );
    assert!(
        file.tensor("output_norm.weight").is_none() && file.tensor("output_nrm.weight").is_some()
    );
    assert_eq!(
        file.tensor("blk.0.attn_q.weight").unwrap().shape(),
        [32, 48]
    );
    assert!(file.tensor("extra.weight").is_some() && file.tensor("blk.1.ffn_up.weight").is_none());
    let data = file.data(file.tensor("token_embd.weight").unwrap());
    assert!(f32::from_le_bytes(data[28..32].try_into().unwrap()).is_nan());
}

#[test]
fn the_image_token_is_in_the_vocabulary() {
    let (text, _) = qwen3vl(1);
    let file = open(text);
    let tokens = file
        .metadata()
        .required_str_array("tokenizer.ggml.tokens")
        .unwrap();
    assert_eq!(
        tokens.get(token_id("<|image_pad|>") as usize),
        Some("<|image_pad|>")
    );
}
