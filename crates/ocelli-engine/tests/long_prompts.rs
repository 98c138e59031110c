//! Prompts of several whole steps: memory that is reserved at load is enough however far into its
//! context a model is.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use ocelli_engine::{Engine, Generate, Model, Prompt, STEP_ROWS, Settings};
use ocelli_gguf::Gguf;
use ocelli_models::load_text;
use ocelli_tensor::{Backend, KvElement};
use ocelli_testkit::{Suite, suites};
use ocelli_text::{Tokenizer, Vocabulary};

use common::{cpu, finish_all};

/// More rows than two steps have, and some that are left over.
const PROMPT: usize = 2 * STEP_ROWS + 9;

#[test]
fn every_text_model_has_memory_for_whole_steps_far_into_its_context() {
    let backend: Arc<dyn Backend> = Arc::new(cpu(2));
    for name in suites() {
        let text = Gguf::open(&Suite::load(&name).text).unwrap();
        let vocabulary = Vocabulary::from_metadata(text.metadata()).unwrap();
        let model = Model {
            name: name.clone(),
            text: load_text(&text, backend.as_ref(), &|_| {}).unwrap(),
            vision: None,
            join: None,
            tokenizer: Tokenizer::new(vocabulary).unwrap(),
        };
        let context = PROMPT + 8;
        let settings = Settings {
            context,
            sequences: 1,
            cache_tokens: context,
            kv_element: KvElement::F32,
            feature_bytes: 0,
            largest_picture: None,
        };
        let ids: Vec<u32> = (0..PROMPT as u32).map(|i| 20 + i % 200).collect();
        let layout = model.layout();
        let prompt = Prompt::new(&ids, &[], &[], layout.as_ref()).unwrap();
        let mut engine = Engine::new(Arc::new(model), Arc::clone(&backend), settings).unwrap();
        let id = engine.submit(Generate::new(prompt, Vec::new(), 4)).unwrap();
        let outcome = finish_all(&mut engine).remove(&id).unwrap();
        let outcome = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!outcome.tokens.is_empty(), "{name}: no token");
    }
}
