//! Notices an answer that goes in circles, as models do that read a page they cannot read.

/// When an answer counts as going in circles: its last tokens are one piece over and over again.
///
/// The defaults let pass what real pages have: rows of a table that are alike, dotted lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// Longest piece, in tokens. Default 128.
    pub longest: usize,
    /// How often the piece must come. Default 8.
    pub times: usize,
    /// Tokens that all of them must have together. Default 256.
    pub tokens: usize,
}

impl Default for Repetition {
    fn default() -> Self {
        Self {
            longest: 128,
            times: 8,
            tokens: 256,
        }
    }
}

/// Watches the tokens of one answer.
#[derive(Debug)]
pub(crate) struct RepetitionWatch {
    rule: Repetition,
    /// For each length of a piece, less one: how many of the last tokens equal the one a piece before.
    alike: Vec<usize>,
}

impl RepetitionWatch {
    pub(crate) fn new(rule: Repetition) -> Self {
        Self {
            rule,
            alike: vec![0; rule.longest],
        }
    }

    /// True when the last of `tokens` closes a circle. To be called for every token.
    pub(crate) fn push(&mut self, tokens: &[u32]) -> bool {
        let mut is_circle = false;
        let Some((last, before)) = tokens.split_last() else {
            return false;
        };
        for (length, alike) in (1..).zip(&mut self.alike) {
            let same = before.len() >= length && before[before.len() - length] == *last;
            *alike = if same { *alike + 1 } else { 0 };
            // The first piece equals nothing before it.
            let covered = *alike + length;
            let least = (self.rule.times * length).max(self.rule.tokens);
            is_circle |= same && covered >= least;
        }
        is_circle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_circle(tokens: impl Iterator<Item = u32>) -> Option<usize> {
        let mut watch = RepetitionWatch::new(Repetition::default());
        let mut seen = Vec::new();
        for token in tokens {
            seen.push(token);
            if watch.push(&seen) {
                return Some(seen.len());
            }
        }
        None
    }

    #[test]
    fn a_piece_of_any_length_counts_when_it_came_often_enough() {
        assert_eq!(first_circle((0..2000).map(|_| 7)), Some(256));
        assert_eq!(first_circle((0..2000).map(|i| i % 10)), Some(256));
        assert_eq!(first_circle((0..2000).map(|i| i % 100)), Some(800));
        assert_eq!(
            first_circle((0..9000).map(|i| i % 129)),
            None,
            "longer than a piece"
        );
    }

    #[test]
    fn a_circle_is_found_behind_text_and_a_change_starts_anew() {
        let text = (1000..1050).chain((0..600).map(|i| i % 3));
        assert_eq!(first_circle(text), Some(50 + 256));
        let counting = (0..4000).flat_map(|i| [1, 2, 3, 100 + i]);
        assert_eq!(first_circle(counting), None);
    }
}
