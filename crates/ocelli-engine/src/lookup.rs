//! Guesses at an answer's next tokens: what its grammar forces, and what followed the same tokens
//! before, in the prompt or in the answer itself. Answers that repeat themselves (rows of a table, boxes in JSON) or the prompt (a text
//! that is to be corrected) are guessed well.
//!
//! Source: prompt lookup decoding, Saxena 2023; HF `PromptLookupCandidateGenerator`. There the length
//! of the agreement is fixed; here it says how likely the guess is.

use crate::Prompt;

/// Tokens that agree at most: a guess behind more of them is no better.
const LONGEST: usize = 8;

/// Chances of a guess behind so many tokens that agree, one first, until experience tells more, and of
/// a text that has to come: there may be other tokens that write it.
const CHANCES: [f32; LONGEST + 1] = [0.1, 0.3, 0.45, 0.55, 0.6, 0.65, 0.7, 0.75, 0.9];

/// The last of them.
const FORCED: usize = LONGEST;

/// Weight of the last guess in a chance.
const NEW: f32 = 0.1;

/// Stands where a picture's row is, or texts meet that do not belong together: nothing agrees with it,
/// and no guess goes on into it.
const GAP: u32 = u32::MAX;

/// Tokens that may come next.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Guess {
    /// In order.
    pub(crate) tokens: Vec<u32>,
    /// How many of the first have to come, if they are the ones that write it.
    forced: usize,
    /// How many tokens agreed before the others.
    agreeing: usize,
    /// How many of them have a row in the step.
    pub(crate) rows: usize,
}

impl Guess {
    /// Those that have a row in the step.
    pub(crate) fn in_step(&self) -> &[u32] {
        &self.tokens[..self.rows]
    }
}

/// A sequence's tokens, and how well they foretell the next ones.
#[derive(Debug)]
pub(crate) struct Lookup {
    tokens: Vec<u32>,
    chances: [f32; CHANCES.len()],
}

impl Lookup {
    /// Of a sequence that starts with `prompt`; its answer may repeat `prediction`.
    pub(crate) fn new(prediction: &[u32], prompt: &Prompt) -> Self {
        let mut tokens = prediction.to_vec();
        tokens.push(GAP);
        let start = tokens.len();
        tokens.extend_from_slice(&prompt.tokens);
        for image in &prompt.images {
            tokens[start + image.tokens.start..start + image.tokens.end].fill(GAP);
        }
        Self {
            tokens,
            chances: CHANCES,
        }
    }

    /// The next token.
    pub(crate) fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// At most `most` tokens: those that have to come, and behind them what followed the longest run
    /// of tokens that agrees with the last ones, the latest such run. A run that overlaps the end
    /// goes on in circles.
    pub(crate) fn guess(&mut self, forced: &[u32], most: usize) -> Guess {
        let (known, forced) = (self.tokens.len(), &forced[..forced.len().min(most)]);
        self.tokens.extend_from_slice(forced);
        let found = self.find(most - forced.len());
        self.tokens.truncate(known);
        Guess {
            tokens: [forced, &found.tokens].concat(),
            forced: forced.len(),
            ..found
        }
    }

    fn find(&self, most: usize) -> Guess {
        let Some((last, before)) = self.tokens.split_last() else {
            return Guess::default();
        };
        let (mut found, mut longest) = (0, 0);
        let mut rest = before;
        while let Some(place) = rest.iter().rposition(|token| token == last) {
            let agreeing = 1 + agreement(&rest[..place], before);
            if agreeing > longest {
                (found, longest) = (place + 1, agreeing);
            }
            if longest == LONGEST {
                break;
            }
            rest = &rest[..place];
        }
        let mut tokens = Vec::new();
        // Whatever does not agree at all is no guess.
        while longest > 0 && tokens.len() < most {
            let place = found + tokens.len();
            let next = match place.checked_sub(self.tokens.len()) {
                None => self.tokens[place],
                Some(guessed) => tokens[guessed],
            };
            if next == GAP {
                break;
            }
            tokens.push(next);
        }
        Guess {
            tokens,
            forced: 0,
            agreeing: longest,
            rows: 0,
        }
    }

    /// How likely it is, for each guessed token, that it comes and all before it: never growing.
    pub(crate) fn chances(&self, guess: &Guess) -> Vec<f32> {
        let mut all = 1.0;
        (0..guess.tokens.len())
            .map(|place| {
                all *= self.chances[basis(guess, place)];
                all
            })
            .collect()
    }

    /// Learns from what was chosen in place of the guess: up to its first token that did not come.
    pub(crate) fn learn(&mut self, guess: &Guess, chosen: &[u32]) {
        for (place, (guessed, token)) in guess.tokens.iter().zip(chosen).enumerate() {
            let has_come = guessed == token;
            let chance = &mut self.chances[basis(guess, place)];
            *chance += NEW * (f32::from(u8::from(has_come)) - *chance);
            if !has_come {
                break;
            }
        }
    }
}

/// Index of the chance of a guess's token: each one that came before it agrees as well.
fn basis(guess: &Guess, place: usize) -> usize {
    match place.checked_sub(guess.forced) {
        None => FORCED,
        Some(behind) => (guess.agreeing + behind).min(LONGEST) - 1,
    }
}

/// How many of the last tokens agree; at most one less than [`LONGEST`].
fn agreement(a: &[u32], b: &[u32]) -> usize {
    let both = a.iter().rev().zip(b.iter().rev()).take(LONGEST - 1);
    both.take_while(|(a, b)| a == b && **a != GAP).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageSpan;

    fn lookup(tokens: &[u32]) -> Lookup {
        let prompt = Prompt {
            tokens: tokens.to_vec(),
            ..Prompt::default()
        };
        Lookup::new(&[], &prompt)
    }

    fn guessed(tokens: &[u32], most: usize) -> (Vec<u32>, usize) {
        let guess = lookup(tokens).guess(&[], most);
        (guess.tokens, guess.agreeing)
    }

    #[test]
    fn the_longest_agreement_counts_and_the_latest_of_equal_ones() {
        assert_eq!(guessed(&[1, 2, 9, 7, 2, 8, 1, 2], 2), (vec![9, 7], 2));
        assert_eq!(guessed(&[2, 9, 2, 8, 2], 1), (vec![8], 1));
        assert_eq!(guessed(&[1, 2, 3], 4), (vec![], 0), "nothing agrees");
        assert_eq!(guessed(&[], 4), (vec![], 0));
        assert_eq!(guessed(&[5], 4), (vec![], 0));
        let long: Vec<u32> = (0..20).chain(0..19).collect();
        assert_eq!(guessed(&long, 2), (vec![19, 0], LONGEST));
    }

    #[test]
    fn what_overlaps_the_end_goes_on_in_circles() {
        assert_eq!(guessed(&[4, 4], 3), (vec![4, 4, 4], 1));
        let (tokens, agreeing) = guessed(&[1, 2, 3, 1, 2, 3, 1], 7);
        assert_eq!((tokens, agreeing), (vec![2, 3, 1, 2, 3, 1, 2], 4));
    }

    #[test]
    fn what_has_to_come_stands_in_front_and_agrees_with_what_was() {
        let mut lookup = lookup(&[5, 6, 7, 8, 1]);
        let guess = lookup.guess(&[5, 6], 4);
        assert_eq!(
            (guess.tokens.as_slice(), guess.agreeing),
            (&[5, 6, 7, 8][..], 2)
        );
        let chances = lookup.chances(&guess);
        assert!((chances[1] - CHANCES[FORCED].powi(2)).abs() < 1e-6);
        assert!((chances[2] / chances[1] - CHANCES[1]).abs() < 1e-6);
        assert_eq!(lookup.guess(&[5, 6], 1).tokens, [5]);
        assert_eq!(lookup.guess(&[], 4).tokens, [0; 0], "nothing stays behind");
    }

    #[test]
    fn pictures_agree_with_nothing_and_end_a_guess() {
        let tokens = vec![1, 7, 7, 2, 1, 7, 7, 1];
        let span = |tokens| ImageSpan {
            image: 0,
            from: 0..2,
            tokens,
        };
        let prompt = Prompt {
            tokens,
            images: vec![span(1..3), span(5..7)],
            ..Prompt::default()
        };
        let mut lookup = Lookup::new(&[8, 1, 5], &prompt);
        let guess = lookup.guess(&[], 4);
        assert_eq!((guess.tokens.as_slice(), guess.agreeing), (&[][..], 1));
        assert_eq!(
            lookup.guess(&[8], 4).tokens,
            [8, 1, 5],
            "what was predicted"
        );
    }

    #[test]
    fn chances_fall_along_a_guess_and_follow_experience() {
        let mut lookup = lookup(&[1, 2, 3, 1]);
        let guess = lookup.guess(&[], 3);
        assert_eq!(guess.tokens, [2, 3, 1]);
        let before = lookup.chances(&guess);
        assert!(before.is_sorted_by(|a, b| a >= b), "{before:?}");
        assert!((before[1] - CHANCES[0] * CHANCES[1]).abs() < 1e-6);
        for _ in 0..100 {
            lookup.learn(&guess, &[2, 9]);
        }
        let after = lookup.chances(&guess);
        assert!(after[0] > 0.99 && after[1] < 0.01, "{after:?}");
        // Behind the first miss nothing is known.
        assert_eq!(lookup.chances[2], CHANCES[2]);
    }
}
