//! The next tokens of every sequence that a step ran for: chosen side by side where choosing takes long.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ocelli_text::Tokenizer;

use crate::answer::{Answer, Taken};
use crate::isolate::{Panicked, guarded};
use crate::lookup::Guess;
use crate::step::{Outputs, are_finite};
use crate::{Engine, Error, Output, SequenceId};

/// Most threads that choose.
const MOST_THREADS: usize = 8;

/// What choosing a token gave.
type Choice = Result<Result<Taken, Error>, Panicked>;

/// Logits of a sequence: behind its last token, and behind each guess that ran.
pub(crate) struct Candidates<'a> {
    /// `[1 + guesses, vocabulary]`.
    logits: &'a mut [f32],
    vocabulary: usize,
    guess: Guess,
}

impl<'a> Candidates<'a> {
    /// Of rows whose first is finite.
    pub(crate) fn new(logits: &'a mut [f32], vocabulary: usize, guess: Guess) -> Self {
        Self {
            logits,
            vocabulary,
            guess,
        }
    }

    /// Of one row, which is finite.
    pub(crate) fn certain(logits: &'a mut [f32]) -> Self {
        Self {
            vocabulary: logits.len(),
            logits,
            guess: Guess::default(),
        }
    }
}

/// A sequence whose next tokens are to be chosen.
struct Task<'a> {
    id: SequenceId,
    answer: &'a mut Answer,
    candidates: Candidates<'a>,
}

/// What a sequence's rows brought.
struct Chosen {
    id: SequenceId,
    /// One choice, and one more for each guess that came.
    choices: Vec<Choice>,
    guess: Guess,
}

impl Task<'_> {
    fn run(self, tokenizer: &Tokenizer) -> Chosen {
        let Candidates {
            logits,
            vocabulary,
            guess,
        } = self.candidates;
        let mut choices = Vec::with_capacity(1);
        let guessed = guess.in_step().iter().map(Some).chain([None]);
        for (logits, guessed) in logits.chunks_mut(vocabulary).zip(guessed) {
            if !choices.is_empty() && !are_finite(logits) {
                // The guess that came gets a step of its own, like any token.
                break;
            }
            let choice = guarded(|| self.answer.take(tokenizer, logits));
            let goes_on = match &choice {
                Ok(Ok(taken)) => taken.end.is_none() && taken.token.as_ref() == guessed,
                _ => false,
            };
            choices.push(choice);
            if !goes_on {
                break;
            }
        }
        Chosen {
            id: self.id,
            choices,
            guess,
        }
    }
}

impl Engine {
    /// Chooses the next tokens of each of these sequences by its logits, and ends those of which one
    /// was the last.
    pub(crate) fn choose(
        &mut self,
        mut rows: BTreeMap<SequenceId, Candidates<'_>>,
        outputs: &mut Outputs,
    ) {
        let tokenizer = &self.model.tokenizer;
        let tasks: Vec<Task<'_>> = self
            .sequences
            .iter_mut()
            .filter_map(|(id, sequence)| {
                Some(Task {
                    candidates: rows.remove(id)?,
                    id: *id,
                    answer: &mut sequence.answer,
                })
            })
            .collect();
        for chosen in choices(tasks, tokenizer) {
            self.note_guess(&chosen);
            for choice in chosen.choices {
                self.note_choice(chosen.id, choice, outputs);
            }
        }
    }

    /// Notes which guesses came: their rows are cached as they would be without a guess.
    fn note_guess(&mut self, chosen: &Chosen) {
        let Some(sequence) = self.sequences.get_mut(&chosen.id) else {
            return;
        };
        let token = |choice: &Choice| choice.as_ref().ok()?.as_ref().ok()?.token;
        let tokens: Vec<u32> = chosen.choices.iter().map_while(token).collect();
        let accepted = chosen.choices.len() - 1;
        sequence.drafts.tokens += chosen.guess.rows;
        sequence.drafts.accepted += accepted;
        self.counts.draft_tokens_total += chosen.guess.rows as u64;
        self.counts.draft_tokens_accepted_total += accepted as u64;
        sequence.lookup.learn(&chosen.guess, &tokens);
        tokens.iter().for_each(|token| sequence.lookup.push(*token));
        sequence.ran(&mut self.pools, sequence.cached + accepted);
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
fn choices(tasks: Vec<Task<'_>>, tokenizer: &Tokenizer) -> Vec<Chosen> {
    let slow = tasks.iter().filter(|task| task.answer.is_slow()).count();
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match slow {
        0 | 1 => 1,
        slow => slow.min(available()).min(MOST_THREADS),
    };
    if threads == 1 {
        return tasks.into_iter().map(|task| task.run(tokenizer)).collect();
    }
    let open = Mutex::new(tasks.into_iter());
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
        done.sort_unstable_by_key(|chosen| chosen.id);
        done
    })
}
