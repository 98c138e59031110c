//! One request's failure is its own: steps that panic are taken back, and what is not finite is named.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ocelli_tensor::Stage;

use crate::step::Outputs;
use crate::vision::Rounding;
use crate::{Engine, Error, Plan, SequenceId};

/// A computation that panicked; its message went to the panic hook.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs something that must not take others with it.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| Panicked)
}

impl Engine {
    /// Runs a plan. A panic leaves everything as it was: nothing is noted as done before a step has
    /// ended, and what it wrote into pages lies behind what their owners call cached.
    pub(crate) fn attempt(&mut self, plan: &Plan) -> Result<Vec<f32>, Panicked> {
        let mark = self.text_memory.mark();
        let attempt = guarded(|| self.forward(plan, None));
        if attempt.is_err() {
            self.text_memory.release(mark);
        }
        attempt
    }

    /// Runs a plan that panicked again, each of its sequences alone: only the one that panics again
    /// fails. The others' results are what they would have been, since rows do not depend on others.
    pub(crate) fn run_one_by_one(&mut self, plan: Plan, outputs: &mut Outputs) {
        self.drop_drafts(&plan);
        for single in singles(plan) {
            match self.attempt(&single) {
                Ok(mut logits) => self.take_in(&single, &mut logits, outputs),
                Err(Panicked) => {
                    for id in sequences(&single) {
                        self.fail_by_panic(id, "a step of the text model", outputs);
                    }
                }
            }
        }
    }

    pub(crate) fn fail_by_panic(&mut self, id: SequenceId, what: &str, outputs: &mut Outputs) {
        self.counts.panics_total += 1;
        let what = format!("{what} panicked");
        self.fail(id, Error::Panicked { what }, outputs);
    }

    /// Lets a request whose logits are not finite go on without rounding, if it was rounded: a
    /// prompt from its beginning, since any of its rows may be the one that is not finite, an
    /// answer from the token that is.
    pub(crate) fn repeat_without_rounding(&mut self, id: SequenceId, single: &Plan) -> bool {
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return false;
        };
        if self.exact.is_none() || sequence.rounding == Rounding::Without {
            return false;
        }
        self.counts.requests_repeated_total += 1;
        sequence.stop_rounding();
        if !single.prompts.is_empty() {
            sequence.begin_again(&mut self.pools);
            self.scheduler.set_progress(id, 0, sequence.ready());
        }
        true
    }

    /// A plan's rows for the usual backend, and those for the one that rounds nothing.
    pub(crate) fn by_rounding(&self, plan: Plan) -> (Plan, Plan) {
        let is_exact = |id: &SequenceId| {
            let sequence = self.sequences.get(id);
            sequence.is_some_and(|s| s.rounding == Rounding::Without)
        };
        let plan_of = |prompts, generating| Plan {
            prompts,
            generating,
        };
        let mut ids = plan.prompts.iter().map(|(id, _)| id);
        // Nearly always, and then nothing moves.
        if !ids.any(is_exact) && !plan.generating.iter().any(is_exact) {
            return (plan, plan_of(Vec::new(), Vec::new()));
        }
        let (exact_prompts, prompts) = plan.prompts.into_iter().partition(|(id, _)| is_exact(id));
        let (exact_generating, generating) = plan.generating.into_iter().partition(is_exact);
        (
            plan_of(prompts, generating),
            plan_of(exact_prompts, exact_generating),
        )
    }

    /// True for a plan, all of whose rows are of one kind, that is run without rounding.
    pub(crate) fn is_exact(&self, plan: &Plan) -> bool {
        let first = plan.prompts.first().map(|(id, _)| id);
        let first = first.or(plan.generating.first());
        let sequence = first.and_then(|id| self.sequences.get(id));
        sequence.is_some_and(|sequence| sequence.rounding == Rounding::Without)
    }

    /// Ends a request whose logits are not finite. Its pages are forgotten: they may hold the same.
    pub(crate) fn fail_by_numbers(&mut self, id: SequenceId, single: &Plan, outputs: &mut Outputs) {
        let stage = self.first_bad_stage(single);
        let what = format!("values at text {stage}");
        if let Some(sequence) = self.sequences.get(&id) {
            sequence.table.forget(&mut self.pools);
        }
        self.fail(id, Error::NonFinite { what }, outputs);
    }

    /// Name of the first stage of a step with a value that is not finite.
    fn first_bad_stage(&mut self, single: &Plan) -> String {
        let mut bad = None;
        let mut see = |stage: Stage<'_>| {
            if bad.is_none() && !stage.values.iter().all(|v| v.is_finite()) {
                bad = Some(stage.name);
            }
        };
        let mark = self.text_memory.mark();
        if guarded(|| self.forward(single, Some(&mut see))).is_err() {
            self.text_memory.release(mark);
        }
        bad.unwrap_or_else(|| "layer-stack output".to_owned())
    }
}

/// A plan's sequences, each as a plan of its own.
fn singles(plan: Plan) -> impl Iterator<Item = Plan> {
    let prompts = plan.prompts.into_iter().map(|prompt| Plan {
        prompts: vec![prompt],
        generating: Vec::new(),
    });
    prompts.chain(plan.generating.into_iter().map(Plan::of_generating))
}

fn sequences(plan: &Plan) -> Vec<SequenceId> {
    let prompts = plan.prompts.iter().map(|(id, _)| *id);
    prompts.chain(plan.generating.iter().copied()).collect()
}
