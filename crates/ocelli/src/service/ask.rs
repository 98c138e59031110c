//! What is asked of a service.

use ocelli_engine::{ClientId, GrammarSource, Thinking};
use serde_json::{Map, Value};

use crate::{Message, PictureBudget, Sampling};

/// What an answer continues.
#[derive(Clone, Debug)]
pub enum AskedFor {
    /// A conversation: the answer is its next turn.
    Chat(Vec<Message>),
    /// A text. Control tokens in it are plain text.
    Text(String),
    /// Tokens of the model's vocabulary.
    Tokens(Vec<u32>),
}

/// How many tools an answer may call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calls {
    /// As many as the model wants.
    #[default]
    Many,
    /// One: the answer ends after it.
    One,
}

/// A request to a [`Service`](super::Service): what is asked, how it is to be answered, and for whom.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What the answer continues.
    pub asked: AskedFor,
    /// Descriptions of tools for the chat template, as JSON schemas in OpenAI's form.
    pub tools: Vec<Value>,
    /// How many of them an answer may call.
    pub calls: Calls,
    /// Extra arguments for the chat template, such as `enable_thinking`.
    pub arguments: Map<String, Value>,
    /// How tokens are chosen; `None` for the model's own default.
    pub sampling: Option<Sampling>,
    /// Most tokens of the answer; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Fewest tokens of the answer.
    pub min_tokens: usize,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Further tokens that end the answer.
    pub stop_tokens: Vec<u32>,
    /// Never chooses a token that ends the answer.
    pub ignore_end: bool,
    /// Reports the probability of each token of the answer, and of this many alternatives.
    pub logprobs: Option<usize>,
    /// Reports the same for each token of the prompt, which must be text or tokens.
    pub prompt_logprobs: Option<usize>,
    /// What the answer must look like; compiled before the request is queued.
    pub grammar: Option<GrammarSource>,
    /// A text that the answer may repeat, which makes it come faster and changes nothing else.
    pub prediction: Option<String>,
    /// What happens to reasoning before the answer.
    pub thinking: Thinking,
    /// The budget of each picture, in order; those without one have the model's.
    pub budgets: Vec<PictureBudget>,
    /// Also shows crops of large pictures; an error if the model was not trained for that.
    pub pan_and_scan: bool,
    /// For whom it is answered; clients take turns.
    pub client: ClientId,
    /// Cached prompts and pictures are shared only between requests with equal salt.
    pub salt: [u8; 32],
}

impl Ask {
    /// The next turn of a conversation, with the model's own sampling.
    pub fn chat(messages: Vec<Message>) -> Self {
        Self::new(AskedFor::Chat(messages))
    }

    /// True when the answer can be nothing but calls of tools.
    pub fn is_forced_to_call(&self) -> bool {
        matches!(self.grammar, Some(GrammarSource::ToolCalls(_)))
    }

    /// More of something, with the model's own sampling.
    pub fn new(asked: AskedFor) -> Self {
        Self {
            asked,
            tools: Vec::new(),
            calls: Calls::default(),
            arguments: Map::new(),
            sampling: None,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_end: false,
            logprobs: None,
            prompt_logprobs: None,
            grammar: None,
            prediction: None,
            thinking: Thinking::default(),
            budgets: Vec::new(),
            pan_and_scan: false,
            client: ClientId::default(),
            salt: [0; 32],
        }
    }
}
