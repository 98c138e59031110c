//! How long an answer waits for its next token while a large picture is encoded beside it, and what
//! cutting the encoding costs. Weights are random, with a few layers of a common encoder's width.
//!
//! `cargo run --release -p ocelli-engine --example slices`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example may panic, and prints"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_cpu::{CpuBackend, CpuOptions};
use ocelli_engine::{Engine, Generate, Model, Output, Picture, Prompt, Settings, Slices};
use ocelli_gguf::Gguf;
use ocelli_image::{Budget, RgbImage};
use ocelli_models::{join, load_text, load_vision};
use ocelli_tensor::{Backend, KvElement};
use ocelli_testkit::tiny::{Sizes, qwen3vl_with};
use ocelli_text::{Piece, Tokenizer, Vocabulary};

/// Sides of the picture in pixels: 1024 tokens.
const SIDE: u32 = 1024;

fn main() {
    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new(&CpuOptions::default()).unwrap());
    let model = model(backend.as_ref());
    let vision = model.vision.as_ref().unwrap();
    let budget = Budget::from_tokens(vision.budget().factor, 64, 1024).unwrap();
    let pixels = (0..SIDE * SIDE * 3).map(|i| (i % 251) as u8).collect();
    let image = RgbImage {
        width: SIDE,
        height: SIDE,
        pixels,
    };
    let picture = Picture::new(vision.preprocess(&[image], &budget).unwrap(), [1; 32]);
    println!("{}", backend.describe());
    let whole = Slices {
        time: Duration::from_secs(3600),
        piece: u64::MAX,
        long_piece: u64::MAX,
    };
    let settings = Settings {
        context: 4096,
        sequences: 2,
        cache_tokens: 8192,
        kv_element: KvElement::F16,
        feature_bytes: 0,
        largest_picture: Some(picture.patches.grid),
    };
    for round in 0..2 {
        for (name, slices) in [("whole", whole), ("in slices", Slices::default())] {
            let mut engine =
                Engine::new(Arc::clone(&model), Arc::clone(&backend), settings).unwrap();
            engine.set_slices(slices);
            let (encoding, gap) = measure(&mut engine, &model, &picture);
            println!(
                "round {round}, {name}: encoding {encoding:.0?}, longest wait for a token {gap:.0?}"
            );
        }
    }
}

fn model(backend: &dyn Backend) -> Arc<Model> {
    let sizes = Sizes {
        vision_hidden: 1024,
        vision_layers: 3,
        vision_heads: 16,
        vision_feed_forward: 4096,
        ..Sizes::default()
    };
    let pair = qwen3vl_with(1, &sizes);
    let folder = std::env::temp_dir().join(format!("ocelli-slices-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (text, projector) = (folder.join("text.gguf"), folder.join("mmproj.gguf"));
    pair.text.write_to(&text);
    pair.mmproj.write_to(&projector);
    let (text, projector) = (Gguf::open(&text).unwrap(), Gguf::open(&projector).unwrap());
    let vocabulary = Vocabulary::from_metadata(text.metadata()).unwrap();
    let model = Model {
        name: "random".to_owned(),
        text: load_text(&text, backend, &|_| {}).unwrap(),
        vision: Some(load_vision(&projector, backend, &|_| {}).unwrap()),
        join: Some(join(&text, &projector).unwrap()),
        tokenizer: Tokenizer::new(vocabulary).unwrap(),
    };
    std::fs::remove_dir_all(&folder).unwrap();
    Arc::new(model)
}

/// Time of the encoding, and the longest time between two tokens of an answer beside it.
fn measure(engine: &mut Engine, model: &Model, picture: &Picture) -> (Duration, Duration) {
    let ids = model.tokenizer.encode(&[Piece::user("Tell me a story")]);
    let reading = Generate {
        ignore_end: true,
        ..Generate::new(Prompt::new(&ids, &[], &[], None).unwrap(), vec![], 4000)
    };
    let reader = engine.submit(reading).unwrap();
    for _ in 0..8 {
        engine.step();
    }
    let pad = model.image_token().unwrap();
    let prompt = Prompt::new(&[pad], &[0], &[picture.slot()], model.layout().as_ref()).unwrap();
    let seer = engine
        .submit(Generate::new(prompt, vec![picture.clone()], 1))
        .unwrap();
    let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
    let mut encoding = None;
    while encoding.is_none() {
        let outputs = engine.step();
        gap = gap.max(last.elapsed());
        last = Instant::now();
        for (id, output) in outputs {
            match output {
                Output::Done(outcome) if id == seer => encoding = Some(outcome.timings.encode),
                Output::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    engine.cancel(reader);
    (encoding.unwrap_or_default(), gap)
}
