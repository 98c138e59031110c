//! A tiny model with its engine, and requests for it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part; a test may panic"
)]

pub(crate) mod faulty;

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_cpu::{CpuBackend, CpuOptions};
use ocelli_engine::{
    ClientId, Engine, Error, Generate, GrammarSource, Grammars, Model, Outcome, Output, Picture,
    Prompt, Sampling, SequenceId, Settings,
};
use ocelli_gguf::Gguf;
use ocelli_image::{Budget, DecodeOptions, Grid, read};
use ocelli_models::{join, load_text, load_vision};
use ocelli_tensor::{Backend, KvElement};
use ocelli_testkit::{Suite, goldens};
use ocelli_text::{Piece, Tokenizer, Vocabulary};

/// Tokens that a request of the tests may have in all.
pub(crate) const CONTEXT: usize = 160;

/// A loaded model.
pub(crate) struct Bench {
    /// The model.
    pub(crate) model: Arc<Model>,
    /// What it runs on.
    pub(crate) backend: Arc<dyn Backend>,
    budget: Budget,
}

impl Bench {
    /// On the CPU.
    pub(crate) fn new(threads: usize) -> Self {
        Self::on(Arc::new(cpu(threads)))
    }

    /// On any backend.
    pub(crate) fn on(backend: Arc<dyn Backend>) -> Self {
        Self::of("qwen3vl", backend)
    }

    /// The model of a suite, on any backend.
    pub(crate) fn of(suite: &str, backend: Arc<dyn Backend>) -> Self {
        let suite = Suite::load(suite);
        let text = Gguf::open(&suite.text).unwrap();
        let projector = Gguf::open(suite.mmproj.as_ref().unwrap()).unwrap();
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

    /// A fresh engine for so many sequences at a time.
    pub(crate) fn engine(&self, sequences: usize) -> Engine {
        let largest = Grid {
            t: 1,
            h: 2,
            w: 160,
            merge: 2,
            tiles: None,
        };
        let settings = Settings {
            context: CONTEXT,
            sequences,
            cache_tokens: CONTEXT * sequences,
            kv_element: KvElement::F16,
            feature_bytes: 1 << 20,
            largest_picture: Some(largest),
        };
        Engine::new(Arc::clone(&self.model), Arc::clone(&self.backend), settings).unwrap()
    }

    /// A picture of the goldens.
    pub(crate) fn picture(&self, name: &str) -> Picture {
        let vision = self.model.vision.as_ref().unwrap();
        let path = goldens().join("images").join(name);
        let picture = read(path, &DecodeOptions::default()).unwrap();
        let patches = vision.preprocess(&[picture.image], &self.budget).unwrap();
        let key = std::array::from_fn(|i| *name.as_bytes().get(i).unwrap_or(&0));
        Picture::new(patches, key)
    }

    /// A question, with a picture if one is named.
    pub(crate) fn request(&self, question: &str, image: Option<&str>) -> Generate {
        self.request_ending(question, image, "")
    }

    /// A question whose prompt ends with `end`, written by the template.
    pub(crate) fn request_ending(
        &self,
        question: &str,
        image: Option<&str>,
        end: &str,
    ) -> Generate {
        let pictures: Vec<Picture> = image.iter().map(|name| self.picture(name)).collect();
        let place = match image {
            Some(_) => "<|vision_start|><|image_pad|><|vision_end|>",
            None => "",
        };
        let pieces = [
            Piece::template(format!("<|im_start|>user\n{place}")),
            Piece::user(question),
            Piece::template(format!("<|im_end|>\n<|im_start|>assistant\n{end}")),
        ];
        let ids = self.model.tokenizer.encode(&pieces);
        let pad = self.model.image_token().unwrap();
        let slots: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] == pad).collect();
        let images: Vec<_> = pictures.iter().map(Picture::slot).collect();
        let prompt = Prompt::new(&ids, &slots, &images, self.model.layout().as_ref()).unwrap();
        Generate {
            client: ClientId(question.len() as u64),
            ..Generate::new(prompt, pictures, 12)
        }
    }

    /// Requests of every kind.
    pub(crate) fn requests(&self) -> Vec<Generate> {
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
    pub(crate) fn alone(&self) -> Vec<Vec<u32>> {
        let run = |request| self.run(request).unwrap().tokens;
        self.requests().into_iter().map(run).collect()
    }

    /// One request on a fresh engine.
    pub(crate) fn run(&self, request: Generate) -> Result<Outcome, Error> {
        let mut engine = self.engine(1);
        let id = engine.submit(request)?;
        finish_all(&mut engine).remove(&id).unwrap()
    }

    /// What a random model says under a grammar, for a few seeds.
    pub(crate) fn drawn(&self, source: &GrammarSource) -> Vec<Outcome> {
        let grammars = Grammars::new(Arc::clone(&self.model));
        let grammar = grammars.compile(source).unwrap();
        let answer = |seed| {
            let request = Generate {
                grammar: Some(grammar.clone()),
                max_tokens: 120,
                sampling: Sampling {
                    temperature: 1.0,
                    seed,
                    ..Sampling::default()
                },
                ..self.request("Hi", None)
            };
            self.run(request).unwrap()
        };
        (0..8).map(answer).collect()
    }

    /// The id of a token.
    pub(crate) fn token(&self, text: &str) -> u32 {
        self.model.tokenizer.token_id(text).unwrap()
    }
}

/// The CPU.
pub(crate) fn cpu(threads: usize) -> CpuBackend {
    let options = CpuOptions {
        threads: Some(threads),
        ..CpuOptions::default()
    };
    CpuBackend::new(&options).unwrap()
}

/// Steps until nothing is left to do.
pub(crate) fn finish_all(engine: &mut Engine) -> BTreeMap<SequenceId, Result<Outcome, Error>> {
    let mut outcomes = BTreeMap::new();
    let mut steps = 0;
    while !engine.is_idle() {
        steps += 1;
        assert!(steps < 20_000, "no progress");
        for (id, output) in engine.step() {
            match output {
                Output::Done(outcome) => drop(outcomes.insert(id, Ok(*outcome))),
                Output::Failed(error) => drop(outcomes.insert(id, Err(error))),
                _ => {}
            }
        }
    }
    outcomes
}

/// [`finish_all`] where nothing fails.
pub(crate) fn finish(engine: &mut Engine) -> BTreeMap<SequenceId, Outcome> {
    let outcomes = finish_all(engine).into_iter();
    outcomes
        .map(|(id, outcome)| (id, outcome.unwrap()))
        .collect()
}
