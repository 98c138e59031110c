//! The next token of every sequence that a step ran for: chosen side by side where choosing takes long.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ocelli_text::Tokenizer;

use crate::answer::{Answer, Taken};
use crate::isolate::{Panicked, guarded};
use crate::step::Outputs;
use crate::{Engine, Error, Output, SequenceId};

/// Most threads that choose.
const MOST_THREADS: usize = 8;

/// What choosing a token gave.
type Choice = Result<Result<Taken, Error>, Panicked>;

/// A sequence whose token is to be chosen, and its logits.
struct Task<'a> {
    id: SequenceId,
    answer: &'a mut Answer,
    logits: &'a mut [f32],
}

impl Task<'_> {
    fn run(&mut self, tokenizer: &Tokenizer) -> (SequenceId, Choice) {
        let choice = guarded(|| self.answer.take(tokenizer, self.logits));
        (self.id, choice)
    }
}

impl Engine {
    /// Chooses a token for each of these sequences by its logits, and ends those of which it was the last.
    pub(crate) fn choose(
        &mut self,
        mut rows: BTreeMap<SequenceId, &mut [f32]>,
        outputs: &mut Outputs,
    ) {
        let tokenizer = &self.model.tokenizer;
        let tasks: Vec<Task<'_>> = self
            .sequences
            .iter_mut()
            .filter_map(|(id, sequence)| {
                Some(Task {
                    logits: rows.remove(id)?,
                    id: *id,
                    answer: &mut sequence.answer,
                })
            })
            .collect();
        for (id, choice) in choices(tasks, tokenizer) {
            self.note_choice(id, choice, outputs);
        }
    }

    fn note_choice(&mut self, id: SequenceId, choice: Choice, outputs: &mut Outputs) {
        let taken = match choice {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => return self.fail(id, error, outputs),
            Err(Panicked) => return self.fail_by_panic(id, "choosing a token", outputs),
        };
        if let Some(token) = taken.token {
            self.counts.generated_tokens_total += 1;
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.last_token = token;
            }
        }
        for new in taken.texts {
            let output = Output::Text {
                text: new.text,
                channel: new.channel,
                logprobs: new.logprobs,
            };
            outputs.push((id, output));
        }
        if let Some(end) = taken.end
            && let Some(outcome) = self.end(id, end)
        {
            outputs.push((id, Output::Done(Box::new(outcome))));
        }
    }
}

/// Runs all tasks: those that take long on threads of their own where there are several.
fn choices(mut tasks: Vec<Task<'_>>, tokenizer: &Tokenizer) -> Vec<(SequenceId, Choice)> {
    let slow = tasks.iter().filter(|task| task.answer.is_slow()).count();
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match slow {
        0 | 1 => 1,
        slow => slow.min(available()).min(MOST_THREADS),
    };
    if threads == 1 {
        return tasks.iter_mut().map(|task| task.run(tokenizer)).collect();
    }
    let open = Mutex::new(tasks.iter_mut());
    let next = || open.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut done = Vec::new();
        while let Some(task) = next() {
            done.push(task.run(tokenizer));
        }
        done
    };
    std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        // Without a thread from the system, this one does it all.
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_default());
        }
        // In the order of requests, whoever was first.
        done.sort_unstable_by_key(|(id, _)| *id);
        done
    })
}
