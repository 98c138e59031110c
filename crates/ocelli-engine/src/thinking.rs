//! Reasoning before the answer: where it begins, where it ends, and how long it may be.

use ocelli_text::{TokenKind, Tokenizer};

use crate::Thinking;

/// Marks around reasoning in the families that think.
const MARKS: [(&str, &str); 3] = [
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
];
/// Tokens of white space that templates write behind a mark.
const SPACE_TOKENS: usize = 2;

/// The tokens around reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThinkMarks {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl ThinkMarks {
    /// Those of a vocabulary. Ordinary tokens with such a text mark nothing.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let mark = |text| {
            tokenizer.token_id(text).filter(|&id| {
                matches!(
                    tokenizer.kind(id),
                    Some(TokenKind::Control | TokenKind::UserDefined)
                )
            })
        };
        MARKS.iter().find_map(|(start, end)| {
            Some(Self {
                start: mark(start)?,
                end: mark(end)?,
            })
        })
    }

    /// Which mark a prompt ends with, white space aside. Templates write it last; nothing that a user
    /// says can stand there.
    fn last(self, tokenizer: &Tokenizer, prompt: &[u32]) -> Option<u32> {
        for &token in prompt.iter().rev().take(SPACE_TOKENS + 1) {
            if token == self.start || token == self.end {
                return Some(token);
            }
            let bytes = tokenizer.token_bytes(token)?;
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return None;
            }
        }
        None
    }
}

/// Where an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before its first token: reasoning may begin.
    Start,
    Reasoning,
    Answer,
}

/// Follows the reasoning of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Reasoning {
    pub(crate) rule: Thinking,
    marks: Option<ThinkMarks>,
    place: Place,
    pub(crate) tokens: usize,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Mark,
    Reasoning,
    Answer,
}

impl Reasoning {
    pub(crate) fn new(tokenizer: &Tokenizer, prompt: &[u32], rule: Thinking) -> Self {
        let marks = ThinkMarks::of(tokenizer);
        let place = match marks.map(|marks| (marks, marks.last(tokenizer, prompt))) {
            Some((marks, Some(last))) if last == marks.start => Place::Reasoning,
            Some((_, None)) => Place::Start,
            _ => Place::Answer,
        };
        Self {
            rule,
            marks,
            place,
            tokens: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.place == Place::Reasoning
    }

    /// The mark that may begin reasoning now although no answer does: where reasoning is told apart, so
    /// that the answer keeps its form.
    pub(crate) fn may_begin_with(&self) -> Option<u32> {
        let marks = self.marks.filter(|_| self.place == Place::Start)?;
        let is_wanted = self.rule.separate && self.rule.budget != Some(0);
        is_wanted.then_some(marks.start)
    }

    /// A mark that must not come now.
    pub(crate) fn forbidden(&self) -> Option<u32> {
        let marks = self.marks.filter(|_| self.place == Place::Start)?;
        (self.rule.budget == Some(0)).then_some(marks.start)
    }

    /// The token that has to come now whatever the model wants: reasoning is long enough.
    pub(crate) fn forced(&self) -> Option<u32> {
        let budget = self.rule.budget.filter(|_| self.is_open())?;
        (self.tokens >= budget).then_some(self.marks?.end)
    }

    /// Notes the next token.
    pub(crate) fn push(&mut self, token: u32) -> Part {
        let Some(marks) = self.marks else {
            return Part::Answer;
        };
        match self.place {
            Place::Start if token == marks.start => {
                self.place = Place::Reasoning;
                Part::Mark
            }
            Place::Reasoning if token == marks.end => {
                self.place = Place::Answer;
                Part::Mark
            }
            Place::Reasoning => {
                self.tokens += 1;
                Part::Reasoning
            }
            Place::Start | Place::Answer => {
                self.place = Place::Answer;
                Part::Answer
            }
        }
    }
}
