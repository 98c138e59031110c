//! The arithmetic of prompts of any length, step by step as the engine takes them.

use ocelli_engine::{STEP_ROWS, text_work};
use ocelli_models::TextModel;
use ocelli_tensor::Work;

/// Counts prompts of one model.
pub(super) struct Prefill<'a> {
    text: &'a dyn TextModel,
    /// Entry `i`: the first `i` whole steps together.
    whole: Vec<Work>,
}

impl<'a> Prefill<'a> {
    pub(super) fn new(text: &'a dyn TextModel) -> Self {
        Self {
            text,
            whole: vec![Work::default()],
        }
    }

    /// The arithmetic of a prompt with so many tokens.
    pub(super) fn of(&mut self, tokens: usize) -> Work {
        let (steps, rest) = (tokens / STEP_ROWS, tokens % STEP_ROWS);
        while self.whole.len() <= steps {
            let done = self.whole.len() - 1;
            let step = text_work(self.text, done * STEP_ROWS, STEP_ROWS);
            self.whole.push(add(&self.whole[done], &step));
        }
        match rest {
            0 => self.whole[steps],
            rest => {
                let last = text_work(self.text, steps * STEP_ROWS, rest);
                add(&self.whole[steps], &last)
            }
        }
    }
}

fn add(a: &Work, b: &Work) -> Work {
    Work {
        products: a.products + b.products,
        attention: a.attention + b.attention,
        heads: b.heads.or(a.heads),
        cached_elements: a.cached_elements + b.cached_elements,
    }
}
