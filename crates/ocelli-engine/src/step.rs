//! One piece of work: a slice of a picture's encoding (see `encode.rs`), then one forward pass.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use ocelli_models::{Step, run_step};
use ocelli_tensor::{Pass, Probe, Span, Stage};

use crate::choose::Candidates;
use crate::features::lock;
use crate::isolate::{Panicked, guarded};
use crate::join::Pace;
use crate::lookup::Guess;
use crate::tempo::ExtraRows;
use crate::{Engine, Error, FinishReason, Output, Plan, STEP_ROWS, Sequence, SequenceId};

/// What a step brought, for whom.
pub(crate) type Outputs = Vec<(SequenceId, Output)>;
pub(crate) type See<'a> = &'a mut dyn FnMut(Stage<'_>);

impl Engine {
    /// Does the next piece of work. Nothing comes back when there is none.
    pub fn step(&mut self) -> Outputs {
        let mut outputs = Vec::new();
        self.admit(&mut outputs);
        let has_encoded = self.encode(&mut outputs);
        self.join_prompts(&mut outputs);
        let rows = self.tempo.prompt_rows(STEP_ROWS);
        self.scheduler.set_prompt_rows_beside_generating(rows);
        let plan = self.scheduler.plan();
        if plan.is_empty() {
            if !has_encoded && outputs.is_empty() {
                self.wait_for_disk();
            }
            return outputs;
        }
        let (plan, exact) = self.by_rounding(plan);
        if !plan.is_empty() {
            self.draft(&plan);
            let rows = ExtraRows {
                prompt: plan.prompt_rows(),
                draft: self.draft_rows(&plan),
            };
            let start = Instant::now();
            let attempt = self.attempt(&plan);
            self.tempo.note(rows, start.elapsed());
            self.run(plan, attempt, &mut outputs);
        }
        if !exact.is_empty() {
            let attempt = self.attempt(&exact);
            self.run(exact, attempt, &mut outputs);
        }
        outputs
    }

    fn run(&mut self, plan: Plan, attempt: Result<Vec<f32>, Panicked>, outputs: &mut Outputs) {
        match attempt {
            Ok(mut logits) => {
                self.take_in(&plan, &mut logits, outputs);
                self.logits = logits;
            }
            Err(Panicked) => self.run_one_by_one(plan, outputs),
        }
    }

    /// Notes what a step brought to each of its sequences.
    pub(crate) fn take_in(&mut self, plan: &Plan, logits: &mut [f32], outputs: &mut Outputs) {
        self.counts.steps_total += 1;
        self.scheduler.advance(plan);
        let vocabulary = self.model.text.vocabulary();
        let mut rest = logits;
        let mut rows = |count: usize| {
            let all = std::mem::take(&mut rest);
            let (own, others) = all.split_at_mut(count * vocabulary);
            rest = others;
            own
        };
        let (mut chosen, mut again) = (BTreeMap::new(), Vec::new());
        for (id, tokens) in &plan.prompts {
            let Some(sequence) = self.sequences.get(id) else {
                continue;
            };
            let own = rows(sequence.output_rows(tokens).len());
            if self.take_in_prompt(*id, tokens, own, outputs) {
                let last = own.len() - vocabulary;
                let rows = Candidates::certain(&mut own[last..]);
                chosen.insert(*id, rows);
            }
        }
        for id in &plan.generating {
            let guess = match self.sequences.get_mut(id) {
                Some(sequence) => std::mem::take(&mut sequence.guess),
                None => Guess::default(),
            };
            let own = rows(1 + guess.rows);
            let first = &own[..vocabulary];
            if guess.rows > 0 && !are_finite(first) {
                // Rows of one sequence are read together, so that a guess can be what is not finite.
                again.push(*id);

                continue;
            }
            if !self.check_finite(*id, first, &Plan::of_generating(*id), outputs) {
                continue;
            }
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.ran(&mut self.pools, sequence.cached + 1);
            }
            let certain_or_guessed = Candidates::new(own, vocabulary, guess);
            chosen.insert(*id, certain_or_guessed);
        }
        self.choose(chosen, outputs);
        for id in again {
            self.run_one_by_one(Plan::of_generating(id), outputs);
        }
    }

    /// Notes what a step brought to one prompt, whose rows have these logits: true when its first
    /// token is to be chosen.
    fn take_in_prompt(
        &mut self,
        id: SequenceId,
        tokens: &Range<usize>,
        logits: &[f32],
        outputs: &mut Outputs,
    ) -> bool {
        let single = Plan {
            prompts: vec![(id, tokens.clone())],
            generating: Vec::new(),
        };
        if !self.check_finite(id, logits, &single, outputs) {
            return false;
        }
        let vocabulary = self.model.text.vocabulary();
        let tokenizer = &self.model.tokenizer;
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return false;
        };
        let (done, total) = (tokens.end, sequence.prompt.tokens.len());
        if let Some(scores) = &mut sequence.scores {
            let next = &sequence.prompt.tokens[tokens.start + 1..total.min(done + 1)];
            let scored = guarded(|| scores.take(tokenizer, next, (logits, vocabulary)));
            if scored.is_err() {
                self.fail_by_panic(id, "the probabilities of a prompt", outputs);
                return false;
            }
        }
        sequence.ran(&mut self.pools, done);
        outputs.push((id, Output::Prefill { done, total }));
        if done < total {
            return false;
        }
        let lap = sequence.lap();
        sequence.timings.prefill += lap;
        if let Some(scores) = sequence.scores.take() {
            let first = sequence.prompt.tokens[0];
            outputs.push((id, Output::Scored(scores.finish(tokenizer, first))));
        }
        // A prompt that is only scored has no answer.
        let is_full = sequence.answer.is_full();
        if is_full && let Some(outcome) = self.end(id, FinishReason::Length.into()) {
            outputs.push((id, Output::Done(Box::new(outcome))));
        }
        !is_full
    }

    /// False when a request's logits are not finite: then it is repeated without rounding, or has failed.
    fn check_finite(
        &mut self,
        id: SequenceId,
        row: &[f32],
        single: &Plan,
        outputs: &mut Outputs,
    ) -> bool {
        let is_finite = are_finite(row);
        if !is_finite && !self.repeat_without_rounding(id, single) {
            self.fail_by_numbers(id, single, outputs);
        }
        is_finite
    }

    /// Lets waiting sequences in, each with what the caches know of its prompt.
    fn admit(&mut self, outputs: &mut Outputs) {
        while let Some(id) = self.scheduler.admit() {
            let Some(sequence) = self.sequences.get_mut(&id) else {
                continue;
            };
            sequence.since = Instant::now();
            for image in 0..sequence.pictures.len() {
                if sequence.features[image].is_some() {
                    continue;
                }
                let kept = lock(&self.features).get(&sequence.picture_keys[image]);
                if let Some(kept) = kept {
                    self.counts.feature_hits_total += 1;
                    sequence.set_features(image, kept);
                }
            }
            self.counts.prompt_tokens_total += sequence.prompt.tokens.len() as u64;
            // What it takes over is seen before the next step.
            sequence.pace = Pace::Behind;
            if sequence.answer.is_full()
                && sequence.scores.is_none()
                && let Some(outcome) = self.end(id, FinishReason::Length.into())
            {
                outputs.push((id, Output::Done(Box::new(outcome))));
            }
        }
    }

    /// Runs a plan: logits of the last token of each finished prompt, and of the last and guessed
    /// tokens of each generating sequence, `[rows, vocabulary]`.
    pub(crate) fn forward(&mut self, plan: &Plan, see: Option<See<'_>>) -> Vec<f32> {
        for (id, tokens) in &plan.prompts {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.table.grow(&mut self.pools, tokens.end);
            }
        }
        for id in &plan.generating {
            if let Some(sequence) = self.sequences.get_mut(id) {
                let tokens = sequence.cached + 1 + sequence.guess.rows;
                sequence.table.grow(&mut self.pools, tokens);
            }
        }
        let mut batch = Batch::default();
        for (id, tokens) in &plan.prompts {
            batch.add_prompt(&self.sequences[id], tokens.clone());
        }
        batch.prompt_rows = batch.tokens.len();
        for id in &plan.generating {
            batch.add_generated(&self.sequences[id]);
        }
        let step = Step {
            tokens: &batch.tokens,
            positions: &batch.positions,
            prompt_rows: batch.prompt_rows,
            spans: &batch.spans,
            images: &batch.images,
            output_rows: &batch.output_rows,
        };
        let mut show;
        let probe = match see {
            None => Probe::Off,
            Some(see) => {
                show = move |stage: Stage<'_>| see(stage);
                Probe::On(&mut show)
            }
        };
        let mark = self.text_memory.mark();
        let backend = match self.is_exact(plan) {
            true => self.exact.as_ref().unwrap_or(&self.backend),
            false => &self.backend,
        };
        let mut pass =
            Pass::new(backend.as_ref(), &mut self.text_memory, probe).with_kv(self.kv.as_mut());
        let logits = run_step(self.model.text.as_ref(), &mut pass, &step);
        let mut values = std::mem::take(&mut self.logits);
        pass.download_into(&logits, &mut values);
        self.text_memory.release(mark);
        values
    }

    pub(crate) fn fail(&mut self, id: SequenceId, error: Error, outputs: &mut Outputs) {
        self.end(id, FinishReason::Cancelled.into());
        outputs.push((id, Output::Failed(error)));
    }
}

/// True when all numbers are finite. Run by run: looking for an end after each takes five times as long.
pub(crate) fn are_finite(numbers: &[f32]) -> bool {
    let mut runs = numbers.chunks(1024);
    runs.all(|run| run.iter().fold(true, |all, value| all & value.is_finite()))
}

/// The rows of a step, gathered from its sequences.
#[derive(Default)]
struct Batch<'a> {
    tokens: Vec<u32>,
    positions: Vec<[u32; 3]>,
    spans: Vec<Span<'a>>,
    images: Vec<ocelli_models::ImageRows<'a>>,
    output_rows: Vec<usize>,
    prompt_rows: usize,
}

impl<'a> Batch<'a> {
    fn add_prompt(&mut self, sequence: &'a Sequence, tokens: Range<usize>) {
        let row = self.tokens.len();
        self.images.extend(sequence.image_rows(tokens.clone(), row));
        self.tokens
            .extend_from_slice(&sequence.prompt.tokens[tokens.clone()]);
        self.positions
            .extend_from_slice(&sequence.positions.tokens[tokens.clone()]);
        let outputs = sequence.output_rows(&tokens);
        self.output_rows
            .extend(outputs.map(|token| row + token - tokens.start));
        self.add_span(sequence, row);
    }

    fn add_generated(&mut self, sequence: &'a Sequence) {
        let row = self.tokens.len();
        self.tokens.extend(sequence.next_tokens());
        self.positions.extend(sequence.next_positions());
        self.output_rows.extend(row..self.tokens.len());
        self.add_span(sequence, row);
    }

    fn add_span(&mut self, sequence: &'a Sequence, row: usize) {
        self.spans.push(Span {
            rows: row..self.tokens.len(),
            cached: sequence.cached,
            pages: sequence.table.wide(),
            near_pages: sequence.table.near(),
            both_ways: &sequence.prompt.blocks,
        });
    }
}
