//! Prompts that begin alike and come at the same time are run once: the later ones wait for the
//! first one's pages, and for the rows of its last page where they end as it does.
//!
//! A request waits only for one that goes on by itself, and only as long as that one runs exactly
//! the page that comes next in its own prompt. So nobody waits in a circle, and when the one in
//! front goes away or turns off, the next goes on.

use crate::step::Outputs;
use crate::{Engine, Output, PAGE_TOKENS, Sequence, SequenceId};

/// Whether a request runs its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It waits for a place.
    Queued,
    /// Another runs what its prompt has next.
    Behind,
    /// It goes on by itself.
    Own,
}

impl Engine {
    /// Takes over what others have run for those who wait for it, and lets those go who wait for nobody.
    pub(crate) fn join_prompts(&mut self, outputs: &mut Outputs) {
        let behind = |(id, sequence): (&_, &Sequence)| {
            let waits = sequence.pace == Pace::Behind;
            waits.then_some(*id)
        };
        let waiting: Vec<_> = self.sequences.iter().filter_map(behind).collect();
        // The oldest first: it may be the one that the others wait for.
        for id in waiting {
            let Some(sequence) = self.sequences.get_mut(&id) else {
                continue;
            };
            let before = sequence.cached;
            let has = |key| self.pools.wide.has(&key);
            if sequence.next_key().is_some_and(has) {
                sequence.reuse(&mut self.pools);
                let more = sequence.cached.saturating_sub(before);
                self.counts.cached_tokens_total += more as u64;
            }
            let next = sequence.next_key();
            let page = sequence.cached / PAGE_TOKENS;
            let Some(sequence) = self.sequences.get(&id) else {
                continue;
            };
            let runs_it = |other: &Sequence| {
                next.is_some_and(|key| other.is_about_to_fill(page, &key))
                    || self.pools.copies_rows() && other.is_about_to_end_as(sequence)
            };
            let pace = match self.sequences.values().any(runs_it) {
                true => Pace::Behind,
                false => Pace::Own,
            };
            if pace == Pace::Own {
                self.take_rows(id);
            }
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.pace = pace;
                let (done, ready) = (sequence.cached, sequence.ready());
                self.scheduler.set_progress(id, done, ready.max(done));
                // Whoever waits sees that it goes on.
                if pace == Pace::Behind && done > before {
                    let total = sequence.prompt.tokens.len();
                    outputs.push((id, Output::Prefill { done, total }));
                }
            }
        }
    }

    /// Copies the rows that another page has in common with the one that a sequence runs next.
    fn take_rows(&mut self, id: SequenceId) {
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return;
        };
        let before = sequence.cached;
        if let Some((from, to)) = sequence.reuse_rows(&mut self.pools) {
            self.kv.copy_page(from, to);
            self.pools.wide.give_back_one(from);
            self.counts.cached_tokens_total += (sequence.cached - before) as u64;
        }
    }
}
