//! An answer being written: tokens in, whole characters out, until it ends.

mod edge;

use ocelli_text::{ControlTokens, DecodeStream, StopStrings, Tokenizer};

use self::edge::Edge;
use crate::grammar::Follow;
use crate::logprobs::Logprobs;
use crate::repetition::RepetitionWatch;
use crate::thinking::{Part, Reasoning};
use crate::{Channel, Error, FinishReason, Generate, Sampler, StopCause, TokenLogprob};

/// Marks of tool calls, which some vocabularies hide as control tokens.
const TOOL_MARKS: [&str; 2] = ["<tool_call>", "</tool_call>"];

/// See the module.
pub(crate) struct Answer {
    sampler: Sampler,
    ending: Ending,
    stream: DecodeStream,
    stop: StopStrings,
    limit: usize,
    reasoning: Reasoning,
    grammar: Option<Follow>,
    repetition: Option<RepetitionWatch>,
    alternatives: Option<usize>,
    /// Reported with the next text.
    fresh: Vec<TokenLogprob>,
    /// White space at an edge of the reasoning or in front of the answer, which is not part of either.
    edge: Edge,
    pub(crate) tokens: Vec<u32>,
    pub(crate) written: Written,
}

/// What an answer has become.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) reasoning_tokens: usize,
    pub(crate) logprobs: Vec<TokenLogprob>,
}

/// What a token brought.
pub(crate) struct Taken {
    /// The token that was chosen; none where the grammar let nothing follow.
    pub(crate) token: Option<u32>,
    /// New texts, of whole characters.
    pub(crate) texts: Vec<Text>,
    /// Why the answer ends here, if it does.
    pub(crate) end: Option<End>,
}

/// New text.
pub(crate) struct Text {
    pub(crate) channel: Channel,
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprob>,
}

/// How an answer ended.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) reason: FinishReason,
    pub(crate) cause: Option<StopCause>,
}

impl From<StopCause> for End {
    fn from(cause: StopCause) -> Self {
        Self {
            reason: FinishReason::Stop,
            cause: Some(cause),
        }
    }
}

impl From<FinishReason> for End {
    fn from(reason: FinishReason) -> Self {
        Self {
            reason,
            cause: None,
        }
    }
}

/// Which tokens end an answer, and from when on.
struct Ending {
    ignore: bool,
    least: usize,
    stop_tokens: Vec<u32>,
}

impl Ending {
    fn cause(&self, tokenizer: &Tokenizer, token: u32) -> Option<StopCause> {
        if tokenizer.is_end(token) {
            return Some(StopCause::End(token));
        }
        let is_stop = self.stop_tokens.contains(&token);
        is_stop.then_some(StopCause::Token(token))
    }

    /// Takes away the tokens that must not end the answer yet.
    fn mask(&self, tokenizer: &Tokenizer, taken: usize, is_thinking: bool, logits: &mut [f32]) {
        let mut forbid = |token: &u32| {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        };
        if self.ignore || taken < self.least || is_thinking {
            tokenizer.end_ids().iter().for_each(&mut forbid);
        }
        if taken < self.least {
            self.stop_tokens.iter().for_each(&mut forbid);
        }
    }
}

impl Answer {
    /// The beginning of an answer of up to `limit` tokens.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        request: &Generate,
        limit: usize,
    ) -> Result<Self, Error> {
        let prompt = &request.prompt.tokens;
        let mut stream = DecodeStream::new(tokenizer, ControlTokens::Hidden);
        let mut shown: Vec<u32> = Vec::new();
        if request.show_tool_calls {
            shown.extend(
                TOOL_MARKS
                    .iter()
                    .filter_map(|mark| tokenizer.token_id(mark)),
            );
        }
        stream.show(shown);
        let repetition = request.repetition.filter(|_| !request.ignore_end);
        let reasoning = Reasoning::new(tokenizer, prompt, request.thinking);
        let is_apart = request.thinking.separate || request.grammar.is_some();
        let edge = match reasoning.is_open() && is_apart {
            true => Edge::open(),
            false => Edge::default(),
        };
        Ok(Self {
            sampler: Sampler::new(request.sampling.clone(), prompt),
            ending: Ending {
                ignore: request.ignore_end,
                least: request.min_tokens.min(limit),
                stop_tokens: request.stop_tokens.clone(),
            },
            stream,
            stop: StopStrings::new(request.stop.clone())?,
            limit,
            reasoning,
            grammar: request.grammar.as_ref().map(|grammar| grammar.follow()),
            repetition: repetition.map(RepetitionWatch::new),
            alternatives: request.logprobs,
            fresh: Vec::new(),
            edge,
            tokens: Vec::new(),
            written: Written::default(),
        })
    }

    /// True when no token is wanted.
    pub(crate) fn is_full(&self) -> bool {
        self.tokens.len() >= self.limit
    }

    /// Tokens that may still come.
    pub(crate) fn left(&self) -> usize {
        self.limit.saturating_sub(self.tokens.len())
    }

    /// The text that has to follow by the grammar, as far as it is whole characters.
    pub(crate) fn forced(&mut self) -> String {
        let is_bound = !self.reasoning.is_open();
        let grammar = self.grammar.as_mut().filter(|_| is_bound);
        let bytes = grammar.map(Follow::forced).unwrap_or_default();
        let text = bytes.utf8_chunks().next().map(|chunk| chunk.valid());
        text.unwrap_or_default().to_owned()
    }

    /// True when choosing a token takes long: as a grammar allows, by chance, or with its probability.
    pub(crate) fn is_slow(&self) -> bool {
        self.grammar.is_some() || self.alternatives.is_some() || !self.sampler.is_greedy()
    }

    /// Chooses a token by its logits (all finite).
    pub(crate) fn take(
        &mut self,
        tokenizer: &Tokenizer,
        logits: &mut [f32],
    ) -> Result<Taken, Error> {
        let count = logits.len().min(tokenizer.len());
        let logits = &mut logits[..count];
        let report = self.alternatives.map(|n| Logprobs::new(logits, n));
        let Some(token) = self.choose(tokenizer, logits)? else {
            // The grammar is complete and only an end that is not wanted could follow.
            return Ok(self.finish(None, StopCause::Grammar.into()));
        };
        self.tokens.push(token);
        let part = self.reasoning.push(token);
        self.written.reasoning_tokens = self.reasoning.tokens;
        let mut is_complete = false;
        if part == Part::Answer
            && let Some(grammar) = &mut self.grammar
        {
            is_complete = grammar.push(token)?;
        }
        if let Some(cause) = self.ending.cause(tokenizer, token) {
            return Ok(self.finish(Some(token), cause.into()));
        }
        let mut texts = Vec::new();
        if part == Part::Mark && self.is_apart() {
            // What stands on both sides of a mark has nothing to do with each other.
            let rest = self.stream.finish();
            let was = if self.reasoning.is_open() {
                Channel::Answer
            } else {
                Channel::Reasoning
            };
            texts.extend(self.write(was, &rest).0);
            self.edge = Edge::open();
        } else {
            let channel = match part {
                Part::Reasoning if self.is_apart() => Channel::Reasoning,
                _ => Channel::Answer,
            };
            if channel == Channel::Answer
                && let Some(report) = report
            {
                self.fresh.push(report.report(tokenizer, token));
            }
            let new = self.stream.push(tokenizer, token);
            let (text, stopped) = self.write(channel, &new);
            texts.extend(text);
            if let Some(cause) = stopped {
                return Ok(self.finish_with(Some(token), texts, cause.into()));
            }
        }
        let end = self.end_after(is_complete);
        Ok(match end {
            Some(end) => self.finish_with(Some(token), texts, end),
            None => Taken {
                token: Some(token),
                texts,
                end: None,
            },
        })
    }

    /// True when reasoning is told apart: always where the answer has a form to keep.
    fn is_apart(&self) -> bool {
        self.reasoning.rule.separate || self.grammar.is_some()
    }

    /// The next token; none when nothing may come but the end.
    fn choose(&mut self, tokenizer: &Tokenizer, logits: &mut [f32]) -> Result<Option<u32>, Error> {
        if let Some(token) = self.reasoning.forced() {
            return Ok(Some(token));
        }
        let is_bound = self.grammar.is_some();
        let is_thinking = self.reasoning.is_open();
        let taken = self.tokens.len();
        self.sampler.add_bias(logits);
        if let Some(token) = self.reasoning.forbidden() {
            logits[token as usize] = f32::NEG_INFINITY;
        }
        self.ending
            .mask(tokenizer, taken, is_thinking && is_bound, logits);
        if let Some(grammar) = self.grammar.as_mut().filter(|_| !is_thinking)
            && !grammar.mask(logits, self.reasoning.may_begin_with())?
        {
            return match grammar.may_end() {
                true => Ok(None),
                false => Err(Error::GrammarDeadEnd),
            };
        }
        Ok(Some(self.sampler.sample(logits, tokenizer.len())))
    }

    fn end_after(&mut self, is_complete: bool) -> Option<End> {
        let is_circle = self
            .repetition
            .as_mut()
            .is_some_and(|watch| watch.push(&self.tokens));
        if is_complete {
            return Some(StopCause::Grammar.into());
        }
        if is_circle && self.tokens.len() >= self.ending.least {
            return Some(FinishReason::Repetition.into());
        }
        self.is_full().then(|| FinishReason::Length.into())
    }

    /// Writes new text, as far as it is clear where it belongs.
    fn write(&mut self, channel: Channel, new: &str) -> (Option<Text>, Option<StopCause>) {
        let new = self.edge.push(channel, new);
        let (text, stopped) = match channel {
            Channel::Reasoning => (new, None),
            Channel::Answer => self.stop.push(&new),
        };
        let cause = stopped.map(|stopped| StopCause::Text(stopped.index));
        (self.record(channel, text), cause)
    }

    fn record(&mut self, channel: Channel, text: String) -> Option<Text> {
        if text.is_empty() {
            return None;
        }
        let logprobs = match channel {
            Channel::Answer => {
                self.written.text.push_str(&text);
                self.written.logprobs.extend(self.fresh.iter().cloned());
                std::mem::take(&mut self.fresh)
            }
            Channel::Reasoning => {
                self.written.reasoning.push_str(&text);
                Vec::new()
            }
        };
        Some(Text {
            channel,
            text,
            logprobs,
        })
    }

    fn finish(&mut self, token: Option<u32>, end: End) -> Taken {
        self.finish_with(token, Vec::new(), end)
    }

    /// Ends the answer: what was held back is clear now.
    fn finish_with(&mut self, token: Option<u32>, mut texts: Vec<Text>, mut end: End) -> Taken {
        let channel = match self.reasoning.is_open() && self.is_apart() {
            true => Channel::Reasoning,
            false => Channel::Answer,
        };
        let is_cut = matches!(end.cause, Some(StopCause::Text(_)));
        if !is_cut {
            let rest = self.stream.finish();
            let (text, stopped) = self.write(channel, &rest);
            texts.extend(text);
            if let Some(cause) = stopped {
                end = cause.into();
            } else {
                let held = self.stop.finish();
                texts.extend(self.record(Channel::Answer, held));
            }
        }
        // Tokens without a text of their own still have their probabilities.
        if !self.fresh.is_empty() {
            self.written.logprobs.extend(self.fresh.iter().cloned());
            texts.push(Text {
                channel: Channel::Answer,
                text: String::new(),
                logprobs: std::mem::take(&mut self.fresh),
            });
        }
        Taken {
            token,
            texts,
            end: Some(end),
        }
    }
}
