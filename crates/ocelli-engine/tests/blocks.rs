//! Pictures whose rows see each other both ways, and pictures of several squares: the same answer alone, beside
//! others, in pieces, and from the cache.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use ocelli_cpu::{CpuBackend, CpuOptions};
use ocelli_engine::{
    ClientId, Engine, Error, Generate, Model, Outcome, Output, Picture, Prompt, STEP_ROWS,
    SequenceId, Settings, Slices,
};
use ocelli_gguf::Gguf;
use ocelli_image::{DecodeOptions, read};
use ocelli_models::{join, load_text, load_vision};
use ocelli_tensor::{Backend, KvElement};
use ocelli_testkit::{Suite, goldens};
use ocelli_text::{Tokenizer, Vocabulary};

const CONTEXT: usize = 160;

struct Bench {
    model: Arc<Model>,
    backend: Arc<dyn Backend>,
}

impl Bench {
    fn new() -> Self {
        Self::of("gemma3-mixed")
    }

    fn of(suite: &str) -> Self {
        let suite = Suite::load(suite);
        let text = Gguf::open(&suite.text).unwrap();
        let projector = Gguf::open(suite.mmproj.as_ref().unwrap()).unwrap();
        let options = CpuOptions {
            threads: Some(2),
            ..CpuOptions::default()
        };
        let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new(&options).unwrap());
        let vocabulary = Vocabulary::from_metadata(text.metadata()).unwrap();
        let model = Model {
            name: "tiny".to_owned(),
            text: load_text(&text, backend.as_ref(), &|_| {}).unwrap(),
            join: Some(join(&text, &projector).unwrap()),
            vision: Some(load_vision(&projector, backend.as_ref(), &|_| {}).unwrap()),
            tokenizer: Tokenizer::new(vocabulary).unwrap(),
        };
        Self {
            model: Arc::new(model),
            backend,
        }
    }

    fn engine(&self, sequences: usize) -> Engine {
        self.engine_for(sequences, CONTEXT)
    }

    fn engine_for(&self, sequences: usize, context: usize) -> Engine {
        let vision = self.model.vision.as_ref().unwrap();
        let settings = Settings {
            context,
            sequences,
            cache_tokens: context * sequences.min(8),
            kv_element: KvElement::F32,
            feature_bytes: 1 << 20,
            largest_picture: Some(vision.largest_grid(&vision.budget())),
        };
        Engine::new(Arc::clone(&self.model), Arc::clone(&self.backend), settings).unwrap()
    }

    /// Some tokens, each picture behind them, some more tokens.
    fn request(&self, before: usize, images: &[&str], after: usize) -> Generate {
        let vision = self.model.vision.as_ref().unwrap();
        let open = |name: &&str| {
            let path = goldens().join("images").join(name);
            let picture = read(path, &DecodeOptions::default()).unwrap();
            let budget = vision.budget();
            let patches = vision.preprocess(&[picture.image], &budget).unwrap();
            let key = std::array::from_fn(|i| *name.as_bytes().get(i).unwrap_or(&0));
            Picture::new(patches, key)
        };
        let pictures: Vec<Picture> = images.iter().map(open).collect();
        let place = self.model.image_token().unwrap();
        let mut ids: Vec<u32> = (0..before as u32).map(|i| 300 + i % 60).collect();
        ids.extend(vec![place; images.len()]);
        ids.extend((0..after as u32).map(|i| 400 + i % 50));
        let slots: Vec<usize> = (before..before + images.len()).collect();
        let slots_of: Vec<_> = pictures.iter().map(Picture::slot).collect();
        let layout = self.model.layout();
        let prompt = Prompt::new(&ids, &slots, &slots_of, layout.as_ref()).unwrap();
        Generate {
            client: ClientId(before as u64),
            ..Generate::new(prompt, pictures, 8)
        }
    }

    fn requests(&self) -> Vec<Generate> {
        vec![
            self.request(10, &["photo.png"], 3),
            self.request(3, &["same_size_a.png", "same_size_b.png"], 20),
            self.request(40, &[], 1),
            self.request(17, &["wide.png"], 5),
        ]
    }
}

fn finish(engine: &mut Engine, ids: &[SequenceId]) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = ids.iter().map(|_| None).collect();
    let mut steps = 0;
    while !engine.is_idle() {
        steps += 1;
        assert!(steps < 50_000, "no progress");
        for (id, output) in engine.step() {
            let at = ids.iter().position(|known| *known == id).unwrap();
            match output {
                Output::Done(outcome) => outcomes[at] = Some(*outcome),
                Output::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    outcomes.into_iter().map(Option::unwrap).collect()
}

#[test]
fn pictures_in_blocks_answer_alike_alone_beside_others_and_from_inside_a_cached_block() {
    let bench = Bench::new();
    let alone = |request| {
        let mut engine = bench.engine(1);
        let id = engine.submit(request).unwrap();
        finish(&mut engine, &[id]).remove(0).tokens
    };
    let expected: Vec<Vec<u32>> = bench.requests().into_iter().map(alone).collect();
    let mut engine = bench.engine(4);
    for round in 0..2 {
        let submit = |request| engine.submit(request).unwrap();
        let ids: Vec<SequenceId> = bench.requests().into_iter().map(submit).collect();
        let outcomes = finish(&mut engine, &ids);
        for (outcome, tokens) in outcomes.iter().zip(&expected) {
            assert_eq!(outcome.tokens, *tokens, "round {round}");
        }
        // The first request's picture stands at 10..26; pages of 16 tokens end inside it.
        assert_eq!(outcomes[0].cached_tokens, [0, 16][round]);
    }
}

/// Attention keeps to the square that a row is of, wherever a piece of it is cut.
#[test]
fn pictures_with_tiles_are_what_they_are_alone_in_pieces_of_any_size_and_beside_others() {
    let bench = Bench::of("llava-next");
    let alone = |request| {
        let mut engine = bench.engine(1);
        let id = engine.submit(request).unwrap();
        finish(&mut engine, &[id]).remove(0).tokens
    };
    let expected: Vec<Vec<u32>> = bench.requests().into_iter().map(alone).collect();
    for piece in [1, 30_000, u64::MAX] {
        let mut engine = bench.engine(3);
        engine.set_slices(Slices {
            time: Duration::ZERO,
            piece,
            long_piece: piece,
        });
        let submit = |request| engine.submit(request).unwrap();
        let ids: Vec<SequenceId> = bench.requests().into_iter().map(submit).collect();
        let outcomes = finish(&mut engine, &ids);
        for (outcome, tokens) in outcomes.iter().zip(&expected) {
            assert_eq!(outcome.tokens, *tokens, "pieces of {piece}");
        }
    }
}

/// Layers that look back over 12 tokens keep a few pages of a long prompt, and answers are those of
/// a prompt that was run from nothing: alone, beside others, from the cache, and behind a prompt
/// that only begins alike.
#[test]
fn long_prompts_keep_few_pages_in_layers_with_a_window_and_answer_alike() {
    let bench = Bench::new();
    let requests = || {
        vec![
            bench.request(600, &["photo.png"], 280),
            bench.request(600, &["photo.png"], 90),
            bench.request(70, &["same_size_a.png", "wide.png"], 700),
            bench.request(900, &[], 1),
        ]
    };
    let context = 1000;
    let alone = |request| {
        let mut engine = bench.engine_for(1, context);
        let id = engine.submit(request).unwrap();
        let mut most = 0;
        let mut tokens = Vec::new();
        while !engine.is_idle() {
            for (_, output) in engine.step() {
                if let Output::Done(outcome) = output {
                    tokens = outcome.tokens;
                }
            }
            most = most.max(engine.stats().near_pages_in_use);
        }
        let stats = engine.stats();
        assert_eq!((stats.near_pages_in_use, stats.near_pages), (0, 40));
        // Twelve tokens of a window never touch more than two pages once a step is done.
        assert!(most <= 2, "{most}");
        (tokens, id)
    };
    let expected: Vec<Vec<u32>> = requests().into_iter().map(|r| alone(r).0).collect();
    let mut engine = bench.engine_for(4, context);
    for round in 0..3 {
        let submit = |request| engine.submit(request).unwrap();
        let ids: Vec<SequenceId> = requests().into_iter().map(submit).collect();
        let outcomes = finish(&mut engine, &ids);
        for (outcome, tokens) in outcomes.iter().zip(&expected) {
            assert_eq!(outcome.tokens, *tokens, "round {round}");
        }
        if round > 0 {
            assert!(outcomes.iter().all(|o| o.cached_tokens > 0), "{outcomes:?}");
        }
    }
}

#[test]
fn a_block_that_fits_no_step_is_refused_with_both_numbers() {
    let bench = Bench::new();
    let mut engine = bench.engine(STEP_ROWS - 10);
    let error = engine
        .submit(bench.request(1, &["photo.png"], 1))
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Block {
                tokens: 16,
                most: 11
            }
        ),
        "{error}"
    );
}

#[test]
fn a_picture_that_does_not_fit_the_context_is_refused_with_its_tokens() {
    let bench = Bench::new();
    let mut engine = bench.engine(1);
    let error = engine
        .submit(bench.request(150, &["photo.png"], 1))
        .unwrap_err();
    assert!(error.to_string().contains("image 1 16"), "{error}");
}
