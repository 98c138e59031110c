//! A request's tokens are the same alone, beside others, after a cancelled neighbour and with its
//! prompt from the cache.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_cpu::{CpuBackend, CpuOptions};
use ocelli_engine::{
    ClientId, Engine, Generate, Model, Outcome, Output, Picture, Prompt, SequenceId, Settings,
};
use ocelli_gguf::Gguf;
use ocelli_image::{Budget, DecodeOptions, Grid, read};
use ocelli_models::{join, load_text, load_vision};
use ocelli_tensor::{Backend, KvElement};
use ocelli_testkit::{Suite, goldens};
use ocelli_text::{Piece, Tokenizer, Vocabulary};

const CONTEXT: usize = 160;

struct Bench {
    model: Arc<Model>,
    backend: Arc<dyn Backend>,
    budget: Budget,
}

impl Bench {
    fn new(threads: usize) -> Self {
        let suite = Suite::load("qwen3vl");
        let text = Gguf::open(&suite.text).unwrap();
        let projector = Gguf::open(suite.mmproj.as_ref().unwrap()).unwrap();
        let options = CpuOptions {
            threads: Some(threads),
            ..CpuOptions::default()
        };
        let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new(&options).unwrap());
        let vision = load_vision(&projector, backend.as_ref(), &|_| {}).unwrap();
        let budget = Budget::from_tokens(vision.budget().factor, 16, 40).unwrap();
        let vocabulary = Vocabulary::from_metadata(text.metadata()).unwrap();
        let model = Model {
            name: "tiny".to_owned(),
            text: load_text(&text, backend.as_ref(), &|_| {}).unwrap(),
            join: Some(join(&text, &projector).unwrap()),
            vision: Some(vision),
            tokenizer: Tokenizer::new(vocabulary).unwrap(),
        };
        Self {
            model: Arc::new(model),
            backend,
            budget,
        }
    }

    fn engine(&self, sequences: usize) -> Engine {
        let largest = Grid {
            t: 1,
            h: 2,
            w: 80,
            merge: 2,
        };
        let settings = Settings {
            context: CONTEXT,
            sequences,
            cache_tokens: CONTEXT * sequences,
            kv_element: KvElement::F16,
            feature_bytes: 1 << 20,
            largest_picture: Some(largest),
        };
        Engine::new(Arc::clone(&self.model), Arc::clone(&self.backend), settings)
    }

    /// A question, with a picture if one is named.
    fn request(&self, question: &str, image: Option<&str>) -> Generate {
        let vision = self.model.vision.as_ref().unwrap();
        let open = |name: &&str| {
            let path = goldens().join("images").join(name);
            let picture = read(path, &DecodeOptions::default()).unwrap();
            Picture {
                patches: vision.preprocess(&[picture.image], &self.budget).unwrap(),
                key: std::array::from_fn(|i| *name.as_bytes().get(i).unwrap_or(&0)),
            }
        };
        let pictures: Vec<Picture> = image.iter().map(open).collect();
        let place = match image {
            Some(_) => "<|vision_start|><|image_pad|><|vision_end|>",
            None => "",
        };
        let pieces = [
            Piece::template(format!("<|im_start|>user\n{place}")),
            Piece::user(question),
            Piece::template("<|im_end|>\n<|im_start|>assistant\n"),
        ];
        let ids = self.model.tokenizer.encode(&pieces);
        let pad = self.model.image_token().unwrap();
        let slots: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] == pad).collect();
        let images: Vec<_> = pictures.iter().map(Picture::slot).collect();
        let prompt = Prompt::new(&ids, &slots, &images, self.model.join).unwrap();
        Generate {
            client: ClientId(question.len() as u64),
            ..Generate::new(prompt, pictures, 12)
        }
    }

    fn requests(&self) -> Vec<Generate> {
        let long = "A much longer question about nothing in particular, is it not so?";
        vec![
            self.request("What is it?", Some("photo.png")),
            self.request(long, None),
            self.request("How many?", Some("wide.png")),
            self.request("What is it?", Some("same_size_a.png")),
            self.request("What is it?", Some("same_size_b.png")),
            self.request("Hi", None),
            self.request("And this?", Some("tall.png")),
        ]
    }

    /// Each request's tokens when it runs alone on a fresh engine.
    fn alone(&self) -> Vec<Vec<u32>> {
        let run = |request| {
            let mut engine = self.engine(1);
            engine.submit(request).unwrap();
            finish(&mut engine).into_values().next().unwrap().tokens
        };
        self.requests().into_iter().map(run).collect()
    }
}

/// Steps until nothing is left to do.
fn finish(engine: &mut Engine) -> BTreeMap<SequenceId, Outcome> {
    let mut outcomes = BTreeMap::new();
    let mut steps = 0;
    while !engine.is_idle() {
        steps += 1;
        assert!(steps < 5000, "no progress");
        for (id, output) in engine.step() {
            match output {
                Output::Done(outcome) => drop(outcomes.insert(id, *outcome)),
                Output::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    outcomes
}

#[test]
fn seven_requests_in_one_batch_answer_as_each_does_alone() {
    for threads in [1, 3] {
        let bench = Bench::new(threads);
        let expected = bench.alone();
        for sequences in [2, 7] {
            let mut engine = bench.engine(sequences);
            let submit = |request| engine.submit(request).unwrap();
            let ids: Vec<_> = bench.requests().into_iter().map(submit).collect();
            let outcomes = finish(&mut engine);
            for (id, tokens) in ids.iter().zip(&expected) {
                assert_eq!(outcomes[id].tokens, *tokens, "{id:?} of {sequences}");
            }
        }
    }
}

#[test]
fn a_neighbour_that_goes_away_at_any_step_changes_nothing() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    for steps in 0..12 {
        let mut engine = bench.engine(3);
        let mut requests = bench.requests().into_iter();
        let kept = engine.submit(requests.next().unwrap()).unwrap();
        let gone = engine.submit(requests.nth(1).unwrap()).unwrap();
        let mut outcomes = BTreeMap::new();
        for _ in 0..steps {
            for (id, output) in engine.step() {
                if let Output::Done(outcome) = output {
                    outcomes.insert(id, *outcome);
                }
            }
        }
        engine.cancel(gone);
        outcomes.append(&mut finish(&mut engine));
        assert_eq!(outcomes[&kept].tokens, expected[0], "after {steps} steps");
    }
}

#[test]
fn a_prompt_from_the_cache_answers_as_a_fresh_one() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    let mut engine = bench.engine(2);
    let mut reused = 0;
    for round in 0..3 {
        for (request, tokens) in bench.requests().into_iter().zip(&expected) {
            let id = engine.submit(request).unwrap();
            let outcome = finish(&mut engine).remove(&id).unwrap();
            assert_eq!(outcome.tokens, *tokens, "round {round}");
            reused += outcome.cached_tokens;
        }
    }
    assert!(reused > 0, "nothing came from the cache");
}

#[test]
fn requests_of_another_salt_share_nothing() {
    let bench = Bench::new(1);
    let mut engine = bench.engine(2);
    let mut ask = |salt| {
        let mut request = bench.request("What is it?", Some("photo.png"));
        request.salt = [salt; 32];
        let id = engine.submit(request).unwrap();
        finish(&mut engine).remove(&id).unwrap().cached_tokens
    };
    assert_eq!(ask(0), 0);
    assert!(ask(0) > 0);
    assert_eq!(ask(1), 0);
}

#[test]
fn an_answer_of_no_tokens_is_an_answer() {
    let bench = Bench::new(1);
    let mut engine = bench.engine(1);
    let mut request = bench.request("Hi", None);
    request.max_tokens = 0;
    let id = engine.submit(request).unwrap();
    assert!(finish(&mut engine).remove(&id).unwrap().tokens.is_empty());
}
