//! Who runs next: a pure state machine without tensors, clocks or channels.
//!
//! Sequences wait in a queue per client and are admitted in turn, as long as a place is free and the
//! cache could hold the longest answer of each. A step then takes one token of every sequence that
//! generates, and shares the remaining rows, at least one, among the prompts. Same calls, same plans.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use crate::SCORED_ROWS;

/// A sequence, as its owner numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Whoever sends requests: an API key, a connection, the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Bounds of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// Sequences that run at the same time, each with a row of every step: at most `step_rows`.
    pub sequences: usize,
    /// Rows of a step.
    pub step_rows: usize,
    /// Prompt rows of a step while others generate: bounds how long they wait for their next token.
    pub prompt_rows_beside_generating: usize,
    /// Pages of the cache.
    pub pages: usize,
}

/// What is known of a new sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its number.
    pub id: SequenceId,
    /// Whose it is.
    pub client: ClientId,
    /// Tokens of its prompt, at least 1.
    pub prompt_tokens: usize,
    /// Pages that prompt and longest answer take.
    pub pages: usize,
}

/// One forward pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Prompt tokens to run, of each of these sequences.
    pub prompts: Vec<(SequenceId, Range<usize>)>,
    /// Sequences whose last token runs.
    pub generating: Vec<SequenceId>,
}

impl Plan {
    /// One more token of one sequence.
    pub fn of_generating(id: SequenceId) -> Self {
        Self {
            prompts: Vec::new(),
            generating: vec![id],
        }
    }

    /// Rows of prompts.
    pub fn prompt_rows(&self) -> usize {
        self.prompts.iter().map(|(_, tokens)| tokens.len()).sum()
    }

    /// True when there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty() && self.generating.is_empty()
    }
}

#[derive(Clone, Copy, Debug)]
struct Running {
    client: ClientId,
    pages: usize,
    /// Prompt tokens done.
    done: usize,
    /// Prompt tokens that may run: all before the first picture that is not encoded.
    ready: usize,
    total: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    limits: SchedulerLimits,
    /// Clients with waiting sequences, the next one first.
    turns: VecDeque<ClientId>,
    waiting: BTreeMap<ClientId, VecDeque<Submission>>,
    running: BTreeMap<SequenceId, Running>,
    promised_pages: usize,
    /// Rows that a step has room for, however few are wanted: a block is never cut.
    room: usize,
    /// Runs of prompt tokens that no step cuts.
    blocks: BTreeMap<SequenceId, Vec<Range<usize>>>,
    /// Sequences, each of whose prompt rows has logits.
    scored: BTreeSet<SequenceId>,
    /// The prompt that was served last, so that the next step starts behind it.
    last_served: Option<SequenceId>,
    /// The client whose picture was encoded last.
    last_encoded: Option<ClientId>,
}

impl Scheduler {
    /// A scheduler with nothing to do.
    pub fn new(mut limits: SchedulerLimits) -> Self {
        limits.sequences = limits.sequences.min(limits.step_rows);
        Self {
            limits,
            turns: VecDeque::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            promised_pages: 0,
            room: limits.step_rows,
            blocks: BTreeMap::new(),
            scored: BTreeSet::new(),
            last_served: None,
            last_encoded: None,
        }
    }

    /// Changes the rows of a step, to at most those that it began with; half of them are for
    /// prompts while others generate. Sequences that generate, one row of a prompt beside them, and
    /// a block of rows that no step cuts may take more.
    pub fn set_step_rows(&mut self, rows: usize) {
        self.limits.step_rows = rows;
        self.limits.prompt_rows_beside_generating = rows.div_ceil(2);
    }

    /// Changes the prompt rows of a step while others generate, to at most half of the step's.
    pub fn set_prompt_rows_beside_generating(&mut self, rows: usize) {
        self.limits.prompt_rows_beside_generating = rows.min(self.limits.step_rows.div_ceil(2));
    }

    /// Puts a sequence in its client's queue. False when it could never run.
    #[must_use]
    pub fn submit(&mut self, submission: Submission) -> bool {
        if submission.pages > self.limits.pages || self.limits.sequences == 0 {
            return false;
        }
        let queue = self.waiting.entry(submission.client).or_default();
        if queue.is_empty() {
            self.turns.push_back(submission.client);
        }
        queue.push_back(submission);
        true
    }

    /// Names runs of a sequence's prompt tokens, in order, that a step takes whole or not at all.
    /// Each must fit beside one token of every other sequence.
    pub fn keep_whole(&mut self, id: SequenceId, blocks: Vec<Range<usize>>) {
        if !blocks.is_empty() {
            self.blocks.insert(id, blocks);
        }
    }

    /// Says that every row of a sequence's prompt has logits: a step takes at most [`SCORED_ROWS`]
    /// of such rows. The prompt has no runs that must stay whole.
    pub fn score(&mut self, id: SequenceId) {
        self.scored.insert(id);
    }

    /// Sequences that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Lets the next sequence run if there is room, each client in its turn.
    ///
    /// A sequence that has to wait for pages holds up those behind it: a long prompt is never starved
    /// by short ones.
    pub fn admit(&mut self) -> Option<SequenceId> {
        let client = *self.turns.front()?;
        let queue = self.waiting.get_mut(&client)?;
        let next = *queue.front()?;
        let has_pages = self.promised_pages + next.pages <= self.limits.pages;
        if self.running.len() >= self.limits.sequences || !has_pages {
            return None;
        }
        queue.pop_front();
        self.turns.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.promised_pages += next.pages;
        let running = Running {
            client,
            pages: next.pages,
            done: 0,
            ready: 0,
            total: next.prompt_tokens,
        };
        self.running.insert(next.id, running);
        Some(next.id)
    }

    /// Says how many prompt tokens are in the cache already, and how many may run.
    pub fn set_progress(&mut self, id: SequenceId, done: usize, ready: usize) {
        if let Some(running) = self.running.get_mut(&id) {
            assert!(
                done < running.total && ready <= running.total,
                "{done}, {ready} of {}",
                running.total
            );
            (running.done, running.ready) = (done, ready);
        }
    }

    /// Says how many prompt tokens may run, after a picture was encoded.
    pub fn set_ready(&mut self, id: SequenceId, ready: usize) {
        if let Some(running) = self.running.get_mut(&id) {
            assert!(ready <= running.total, "{ready} of {}", running.total);
            running.ready = ready;
        }
    }

    /// The sequence whose picture is encoded next, of those that `wants` one: running ones before the
    /// first waiting one of each client, and clients in turn.
    pub fn next_to_encode(&mut self, wants: &dyn Fn(SequenceId) -> bool) -> Option<SequenceId> {
        let running = self.running.iter().map(|(id, r)| (r.client, *id));
        let mut open: Vec<(ClientId, SequenceId)> = running.filter(|(_, id)| wants(*id)).collect();
        if open.is_empty() {
            let first = |(client, queue): (&ClientId, &VecDeque<Submission>)| {
                let next = queue.iter().find(|s| wants(s.id))?;
                Some((*client, next.id))
            };
            open = self.waiting.iter().filter_map(first).collect();
        }
        let is_behind = |client| self.last_encoded.is_none_or(|last| client > last);
        let (client, id) = open
            .iter()
            .filter(|(client, _)| is_behind(*client))
            .min()
            .or(open.iter().min())
            .copied()?;
        self.last_encoded = Some(client);
        Some(id)
    }

    /// True when some sequence generates, so that other work should not take long.
    pub fn is_generating(&self) -> bool {
        self.running.values().any(|r| r.done == r.total)
    }

    /// The next step. Call [`Scheduler::advance`] when it was run.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        for (id, running) in &self.running {
            if running.done == running.total {
                plan.generating.push(*id);
            }
        }
        // Few rows make everybody slower, not some of them stand still until others have ended.
        let room = self.room - plan.generating.len();
        let left = self.limits.step_rows.saturating_sub(plan.generating.len());
        let mut rows = match plan.generating.is_empty() {
            true => left,
            false => left.min(self.limits.prompt_rows_beside_generating),
        };
        rows = rows.max(1).min(room);
        let is_open = |r: &Running| r.done < r.ready;
        let (before, behind): (Vec<_>, Vec<_>) = self
            .running
            .iter()
            .filter(|(_, r)| is_open(r))
            .partition(|(id, _)| self.last_served.is_some_and(|last| **id <= last));
        let open: Vec<_> = behind.into_iter().chain(before).collect();
        let mut scored_rows = SCORED_ROWS;
        for (i, (id, running)) in open.iter().enumerate() {
            // An even share of what is left; what a short prompt leaves goes to the others.
            let share = rows.div_ceil(open.len() - i);
            let mut count = share.min(running.ready - running.done);
            if self.scored.contains(id) {
                count = count.min(scored_rows);
                scored_rows -= count;
            }
            // The first in turn takes a block even if others wait longer for it: each is the first some time.
            let most = match i {
                0 => room,
                _ => rows,
            };
            let blocks = self.blocks.get(id).map_or(&[][..], Vec::as_slice);
            let count = whole_blocks(blocks, running.done, count, most);
            if count > 0 {
                plan.prompts
                    .push((**id, running.done..running.done + count));
            }
            rows = rows.saturating_sub(count);
        }
        plan
    }

    /// Notes that a step was run.
    pub fn advance(&mut self, plan: &Plan) {
        for (id, tokens) in &plan.prompts {
            if let Some(running) = self.running.get_mut(id) {
                running.done = tokens.end;
                self.last_served = Some(*id);
            }
        }
    }

    /// Ends a sequence, wherever it is. False when it is unknown.
    pub fn finish(&mut self, id: SequenceId) -> bool {
        self.blocks.remove(&id);
        self.scored.remove(&id);
        if let Some(running) = self.running.remove(&id) {
            self.promised_pages -= running.pages;
            return true;
        }
        let found = self.waiting.iter_mut().find_map(|(client, queue)| {
            let place = queue.iter().position(|s| s.id == id)?;
            queue.remove(place);
            Some((*client, queue.is_empty()))
        });
        if let Some((client, true)) = found {
            self.waiting.remove(&client);
            self.turns.retain(|c| *c != client);
        }
        found.is_some()
    }
}

/// About `count` tokens behind `done`, so that no block is cut: fewer, to end where the next block
/// starts, or more, up to `most`, to take a block that comes first. None when that does not fit.
pub(crate) fn whole_blocks(
    blocks: &[Range<usize>],
    done: usize,
    count: usize,
    most: usize,
) -> usize {
    let end = done + count;
    let Some(block) = blocks.iter().find(|b| b.start < end && end < b.end) else {
        return count;
    };
    if block.start > done {
        return block.start - done;
    }
    // A prompt found in the cache may begin inside: what came before was run with the whole block.
    match block.end - done {
        needed if needed <= most => needed,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
