//! Guessed tokens that run as rows of a step, beside the token that is certain.
//!
//! Each row's token is chosen from its logits as if it had come alone, and the next row counts only if
//! the token before it was guessed right: answers are the same bit by bit, sampled ones too. What was
//! written to the cache for wrong guesses is written over. A row more costs little where a step's time
//! is that of reading the weights; it is taken as long as it brings more tokens a second.
//!
//! Source of the check: speculative decoding, Leviathan et al. 2023, with a choice that is made anyway.

use ocelli_text::Piece;

use crate::isolate::guarded;
use crate::{Engine, Plan, STEP_ROWS, SequenceId};

/// Most guessed rows of a step: the logits of all are held at once.
pub(crate) const DRAFT_ROWS: usize = 16;

/// Guessed rows of one sequence by default: tokens further on rarely come.
const DRAFT_TOKENS: usize = 8;

/// Most guessed rows of one sequence in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftTokens(usize);

impl Default for DraftTokens {
    fn default() -> Self {
        Self(DRAFT_TOKENS)
    }
}

impl Engine {
    /// Most tokens that are guessed for one request in a step, by what followed the same tokens
    /// before; 0 to guess none. Default 8, at most 16. Answers do not depend on it.
    pub fn set_draft_tokens(&mut self, most: usize) {
        self.draft_tokens = DraftTokens(most.min(DRAFT_ROWS));
    }

    /// Guesses what comes behind the sequences that generate, and gives the guesses that are worth it
    /// rows of the step.
    pub(crate) fn draft(&mut self, plan: &Plan) {
        let prompt_rows = plan.prompt_rows();
        let step = Worth {
            tokens: plan.generating.len() as f32,
            time: self.tempo.relative(prompt_rows),
            row: self.tempo.draft_row(),
        };
        if !step.gains_by(1.0) {
            return;
        }
        let rows = STEP_ROWS.saturating_sub(prompt_rows + plan.generating.len());
        let guess = |id: &SequenceId| self.guess(*id).unwrap_or_default();
        let chances: Vec<Vec<f32>> = plan.generating.iter().map(guess).collect();
        let shares = share(&chances, step, rows.min(DRAFT_ROWS));
        for (id, rows) in plan.generating.iter().zip(shares) {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.guess.rows = rows;
            }
        }
    }

    /// Guesses what comes behind a sequence, and how likely that is: see [`Lookup::chances`].
    ///
    /// [`Lookup::chances`]: crate::lookup::Lookup::chances
    fn guess(&mut self, id: SequenceId) -> Option<Vec<f32>> {
        let sequence = self.sequences.get_mut(&id)?;
        // The last token of an answer needs no row.
        let left = sequence.answer.left().checked_sub(1)?;
        let most = self.draft_tokens.0.min(left);
        if most == 0 {
            return None;
        }
        let forced = guarded(|| sequence.answer.forced()).unwrap_or_default();
        let forced = match forced.is_empty() {
            true => Vec::new(),
            false => self.model.tokenizer.encode(&[Piece::user(forced)]),
        };
        sequence.guess = sequence.lookup.guess(&forced, most);
        Some(sequence.lookup.chances(&sequence.guess))
    }

    /// Forgets the guesses of a step that is run again.
    pub(crate) fn drop_drafts(&mut self, plan: &Plan) {
        for id in &plan.generating {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.guess.rows = 0;
            }
        }
    }

    /// Rows of a step that were guessed.
    pub(crate) fn draft_rows(&self, plan: &Plan) -> usize {
        let rows = |id| self.sequences.get(id).map_or(0, |s| s.guess.rows);
        plan.generating.iter().map(rows).sum()
    }
}

/// What a step brings for its time.
#[derive(Clone, Copy, Debug)]
struct Worth {
    /// Tokens that it chooses, on average.
    tokens: f32,
    /// Time, in steps of one token for each sequence.
    time: f32,
    /// Time that a guessed row adds.
    row: f32,
}

impl Worth {
    /// True when a row whose guess has this chance raises the tokens per time.
    fn gains_by(&self, chance: f32) -> bool {
        chance * self.time > self.row * self.tokens
    }
}

/// How many guessed rows each sequence gets, of `most`: the likeliest ones, as long as each raises the
/// tokens per time. `chances` are, for each sequence, those that a row's guess is right, never growing.
fn share(chances: &[Vec<f32>], mut step: Worth, most: usize) -> Vec<usize> {
    let mut shares = vec![0; chances.len()];
    for _ in 0..most {
        let next = |(index, share): (usize, &usize)| Some((index, *chances[index].get(*share)?));
        let best = shares.iter().enumerate().filter_map(next);
        let Some((index, chance)) = best.max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            break;
        };
        if !step.gains_by(chance) {
            break;
        }
        shares[index] += 1;
        step.tokens += chance;
        step.time += step.row;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Worth = Worth {
        tokens: 1.0,
        time: 1.0,
        row: 0.1,
    };

    #[test]
    fn rows_go_to_the_likeliest_guesses_in_order() {
        let chances = [vec![0.9, 0.8, 0.05], vec![], vec![0.85, 0.2]];
        let step = Worth {
            tokens: 3.0,
            ..ALONE
        };
        assert_eq!(share(&chances, step, 16), [2, 0, 1]);
        assert_eq!(share(&chances, step, 2), [1, 0, 1]);
        assert_eq!(share(&chances, step, 0), [0, 0, 0]);
        assert_eq!(share(&[], ALONE, 16), [0; 0]);
    }

    #[test]
    fn a_row_that_costs_more_than_it_brings_is_left_out() {
        let dear = Worth { row: 0.6, ..ALONE };
        assert_eq!(share(&[vec![0.5, 0.5]], dear, 16), [0]);
        assert_eq!(share(&[vec![0.7, 0.5]], dear, 16), [1]);
        // Where many others wait, each row keeps all of them waiting.
        let beside_many = Worth {
            tokens: 12.0,
            ..ALONE
        };
        assert_eq!(share(&[vec![0.9]], beside_many, 16), [0]);
    }
}
