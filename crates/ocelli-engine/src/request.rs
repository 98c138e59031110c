//! What is asked of the engine.

use crate::{ClientId, Error, Grammar, Picture, Prompt, Repetition, Sampling};

/// Most alternatives of a token whose probabilities can be asked for.
pub const MOST_ALTERNATIVES: usize = 20;
/// Most tokens whose logits a request can move.
pub const MOST_BIASES: usize = 1024;

/// One request. [`Generate::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Generate {
    /// What is asked.
    pub prompt: Prompt,
    /// Its pictures, in order.
    pub pictures: Vec<Picture>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of the answer, reasoning included.
    pub max_tokens: usize,
    /// Fewest tokens: before that nothing ends the answer but `max_tokens` and stop strings. Default 0.
    pub min_tokens: usize,
    /// Texts that end the answer. Reasoning that is told apart is not searched.
    pub stop: Vec<String>,
    /// Further tokens that end the answer; they are not part of its text.
    pub stop_tokens: Vec<u32>,
    /// Never chooses a token that ends the answer. Default false.
    pub ignore_end: bool,
    /// Reports the probability of each token of the answer and of so many alternatives. Default `None`.
    pub logprobs: Option<usize>,
    /// Reports the same of each token of the prompt but the first. Such a prompt is run whole and
    /// shares no pages with others; it has no pictures. Default `None`.
    pub prompt_logprobs: Option<usize>,
    /// Ends answers that run in circles. On unless `ignore_end`.
    pub repetition: Option<Repetition>,
    /// What the answer must look like. Default `None`: anything.
    pub grammar: Option<Grammar>,
    /// A text that the answer may repeat, as tokens: guesses look there too. It changes no answer.
    /// Default: none.
    pub prediction: Vec<u32>,
    /// What becomes of reasoning before the answer.
    pub thinking: Thinking,
    /// Writes the marks of tool calls into the text even where the vocabulary hides them as control
    /// tokens, so that they can be parsed. Default false.
    pub show_tool_calls: bool,
    /// Whose it is.
    pub client: ClientId,
    /// Requests share cached prompts and pictures only with those of equal salt.
    pub salt: [u8; 32],
}

impl Generate {
    /// A greedy request with nothing special about it, for up to `max_tokens` tokens.
    pub fn new(prompt: Prompt, pictures: Vec<Picture>, max_tokens: usize) -> Self {
        Self {
            prompt,
            pictures,
            sampling: Sampling::default(),
            max_tokens,
            min_tokens: 0,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_end: false,
            logprobs: None,
            prompt_logprobs: None,
            repetition: Some(Repetition::default()),
            grammar: None,
            prediction: Vec::new(),
            thinking: Thinking::default(),
            show_tool_calls: false,
            client: ClientId::default(),
            salt: [0; 32],
        }
    }

    /// Checks what does not depend on the model but on `vocabulary`, its number of tokens.
    pub(crate) fn check(&self, vocabulary: usize) -> Result<(), Error> {
        self.sampling.check().map_err(Error::Sampling)?;
        let wrong = |what: String| Err(Error::Sampling(what));
        let mut counts = self.logprobs.into_iter().chain(self.prompt_logprobs);
        if let Some(count) = counts.find(|count| *count > MOST_ALTERNATIVES) {
            return wrong(format!(
                "top_logprobs is {count}, need at most {MOST_ALTERNATIVES}"
            ));
        }
        if self.prompt_logprobs.is_some() && !self.prompt.images.is_empty() {
            let found = self.prompt.images.len();
            return wrong(format!(
                "prompt_logprobs: found {found} pictures in the prompt, need a prompt of text. Ask for logprobs of the answer"
            ));
        }
        let biases = self.sampling.logit_bias.len();
        if biases > MOST_BIASES {
            return wrong(format!(
                "logit_bias has {biases} tokens, need at most {MOST_BIASES}"
            ));
        }
        let biased = self.sampling.logit_bias.iter().map(|(token, _)| *token);
        let unknown = |token: &u32| *token as usize >= vocabulary;
        if let Some(token) = biased.chain(self.stop_tokens.iter().copied()).find(unknown) {
            return wrong(format!(
                "token {token} is not in the vocabulary of {vocabulary} tokens"
            ));
        }
        Ok(())
    }
}

/// What becomes of the reasoning that thinking models write before their answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thinking {
    /// Tells it apart from the answer; else it stays in the text with its marks. Default false. Under a
    /// grammar it is always told apart, and begins by the model's own will only if this is set.
    pub separate: bool,
    /// Most tokens of it, after which the answer has to begin; 0 for none. Default `None`: no bound.
    pub budget: Option<usize>,
}
