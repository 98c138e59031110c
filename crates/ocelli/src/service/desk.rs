//! Where requests are handed in: counted, prepared on the pool, and passed on to the engine's thread.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocelli_engine::{ContextPolicy, Generate, Grammar, Grammars, Picture, Prompt};
use ocelli_image::{DecodeOptions, Limits};
use ocelli_text::{ControlTokens, Piece, RenderOptions};

use super::pool::Pool;
use super::runner::{Command, Request, Runner};
use super::status::Status;
use super::updates::{Answering, Outlet, Update};
use super::{Ask, AskedFor, Counters, Health};
use crate::chat::to_template;
use crate::model::Parts;
use crate::prepare::{Asked, Preparer, Seeing};
use crate::{Error, Message, Model, Sampling};

/// Tokens that are kept free for an answer of unknown length where a conversation is shortened.
const ROOM: usize = 256;

/// Bounds of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceOptions {
    /// Most requests that run or wait together (default 80).
    pub most_requests: usize,
    /// How long a request may wait for its turn (default 30 s).
    pub most_waiting: Duration,
    /// What happens to a conversation that does not fit (by default an error).
    pub context_policy: ContextPolicy,
    /// Threads that decode pictures and tokenize prompts (default 2).
    pub preparing_threads: usize,
    /// Most pixels of a decoded picture (default 67 million).
    pub picture_pixels: u64,
    /// Most bytes of an encoded picture (default 20 MiB).
    pub picture_bytes: u64,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            most_requests: 80,
            most_waiting: Duration::from_secs(30),
            context_policy: ContextPolicy::Error,
            preparing_threads: 2,
            picture_pixels: 67_108_864,
            picture_bytes: 20 << 20,
        }
    }
}

/// A model on a thread of its own. Dropping it ends every request and gives back the memory.
pub struct Service {
    preparer: Arc<Preparer>,
    pool: Option<Pool>,
    grammars: Arc<Grammars>,
    commands: Sender<Command>,
    status: Arc<Status>,
    options: ServiceOptions,
    load: Duration,
    bytes: u64,
    sequences: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("model", &self.preparer.model)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Gives the model a thread.
    pub fn start(model: Model, options: ServiceOptions) -> Self {
        let Parts {
            engine,
            preparer,
            load,
            bytes,
            sequences,
            ..
        } = model.into_parts();
        let preparer = Arc::new(preparer);
        let status = Arc::new(Status::new());
        let (commands, received) = channel();
        let runner = Runner::new(
            engine,
            preparer.clone(),
            status.clone(),
            options.most_waiting,
        );
        let thread = std::thread::spawn(move || runner.run(&received));
        Self {
            pool: Some(Pool::new(options.preparing_threads)),
            grammars: Arc::new(Grammars::new(preparer.model.clone())),
            preparer,
            commands,
            status,
            options,
            load,
            bytes,
            sequences,
            thread: Mutex::new(Some(thread)),
        }
    }

    /// Hands in a request. What is wrong with it comes as [`Update::Failed`].
    ///
    /// # Errors
    /// [`Error::Busy`] when as many requests as allowed run or wait.
    pub fn submit(&self, ask: Ask) -> Result<Answering, Error> {
        let mut all = self.submit_many(ask, 1)?;
        all.pop().ok_or(Error::Ending)
    }

    /// Hands in a request that wants several answers, with seeds that count up from its own. The prompt is prepared
    /// once.
    ///
    /// # Errors
    /// [`Error::Busy`] when as many requests as allowed run or wait.
    pub fn submit_many(&self, ask: Ask, answers: usize) -> Result<Vec<Answering>, Error> {
        let (outlets, answering) = self.places(answers)?;
        let (preparer, status) = (self.preparer.clone(), self.status.clone());
        let (commands, options) = (self.commands.clone(), self.options);
        let grammars = self.grammars.clone();
        let since = Instant::now();
        let client = ask.client;
        self.run(client, move || {
            let outlets: Vec<Outlet> = outlets.into_iter().filter(|o| !o.is_dropped()).collect();
            if outlets.is_empty() {
                return;
            }
            let prepared = prepare(&preparer, &ask, &options, &status).and_then(|asked| {
                let grammar = ask.grammar.as_ref().map(|source| grammars.compile(source));
                Ok((asked, grammar.transpose()?))
            });
            match prepared {
                Ok((asked, grammar)) => {
                    let Asked {
                        prompt,
                        pictures,
                        prepared,
                        dropped,
                        ..
                    } = asked;
                    let request = Request {
                        dropped,
                        tools: ask.tools.clone(),
                        times: (prepared.decode, prepared.preprocess),
                        images: Arc::new(prepared.records),
                        generate: generate(&preparer, ask, (prompt, pictures), grammar),
                        outlets,
                        since,
                    };
                    // Without a thread the request is dropped with its outlets, which say so.
                    let _ = commands.send(Command::Submit(Box::new(request)));
                }
                Err(error) => refuse(outlets, &status, error),
            }
        });
        Ok(answering)
    }

    /// Prepares a request without answering it: [`Update::Prepared`] says what it would take.
    ///
    /// # Errors
    /// [`Error::Busy`] when as many requests as allowed run or wait.
    pub fn look(&self, ask: Ask) -> Result<Answering, Error> {
        let (mut outlets, mut answering) = self.places(1)?;
        let (preparer, status) = (self.preparer.clone(), self.status.clone());
        let options = self.options;
        self.run(ask.client, move || {
            let Some(outlet) = outlets.pop() else { return };
            match prepare(&preparer, &ask, &options, &status) {
                Ok(asked) => {
                    outlet.send(Update::Prepared {
                        prompt_tokens: asked.prompt.tokens.len(),
                        images: asked.prepared.records,
                        dropped: asked.dropped,
                    });
                    outlet.end();
                }
                Err(error) => refuse(vec![outlet], &status, error),
            }
        });
        answering.pop().ok_or(Error::Ending)
    }

    fn places(&self, count: usize) -> Result<(Vec<Outlet>, Vec<Answering>), Error> {
        let limit = self.options.most_requests;
        let busy = |waiting| Error::Busy { waiting, limit };
        let places = self.status.take(count, limit).map_err(busy)?;
        let ends = places.into_iter().map(|place| {
            let (outlet, shared) = Outlet::new(place);
            let commands = Mutex::new(self.commands.clone());
            let cancel = move || {
                let commands = commands
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner);
                // Without a thread there is nothing left to cancel.
                let _ = commands.send(Command::Look);
            };
            (outlet, Answering::new(shared, Box::new(cancel)))
        });
        Ok(ends.unzip())
    }

    fn run(&self, client: ocelli_engine::ClientId, job: impl FnOnce() + Send + 'static) {
        if let Some(pool) = &self.pool {
            pool.submit(client, Box::new(job));
        }
    }

    /// The model's name: its file's, without the ending.
    pub fn name(&self) -> &str {
        &self.preparer.model.name
    }

    /// True when a projector is there.
    pub fn can_see(&self) -> bool {
        self.preparer.model.vision.is_some()
    }

    /// Tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.preparer.context
    }

    /// Requests that run at the same time.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Least and most tokens of a picture, if the model can see.
    pub fn picture_tokens(&self) -> Option<(u64, u64)> {
        let budget = self.preparer.budget?;
        Some((budget.min_tokens(), budget.max_tokens()))
    }

    /// What the model file recommends, else greedy.
    pub fn default_sampling(&self) -> Sampling {
        self.preparer.default_sampling.clone()
    }

    /// The chat template.
    pub fn template(&self) -> &str {
        self.preparer.template.source()
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.preparer.model.tokenizer.len()
    }

    /// How long opening the model took.
    pub fn load_time(&self) -> Duration {
        self.load
    }

    /// Bytes of weights and caches.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Requests that are prepared, wait or run.
    pub fn live(&self) -> usize {
        self.status.live()
    }

    /// Numbers for monitoring.
    pub fn counters(&self) -> Counters {
        self.status.counters()
    }

    /// How the engine's thread is.
    pub fn health(&self) -> Health {
        self.status.health()
    }

    /// Tokens of a text; control tokens in it are plain text.
    ///
    /// # Errors
    /// When the text is longer than the context could hold.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, Error> {
        let most_bytes = self.preparer.most_bytes();
        if text.len() > most_bytes {
            let bytes = text.len();
            return Err(Error::PromptTooLong { bytes, most_bytes });
        }
        Ok(self.preparer.model.tokenizer.encode(&[Piece::user(text)]))
    }

    /// The text of tokens, control tokens by name.
    pub fn detokenize(&self, tokens: &[u32]) -> String {
        let tokenizer = &self.preparer.model.tokenizer;
        tokenizer.decode(tokens, ControlTokens::Shown)
    }

    /// What the template makes of a conversation.
    ///
    /// # Errors
    /// When the template refuses it.
    pub fn render(&self, messages: &[Message], options: &RenderedWith) -> Result<String, Error> {
        let messages: Vec<_> = messages.iter().map(to_template).collect();
        let options = RenderOptions {
            tools: options.tools.clone(),
            arguments: options.arguments.clone(),
            ..RenderOptions::default()
        };
        let pieces = self.preparer.template.render(&messages, &options);
        let pieces = pieces.map_err(ocelli_engine::Error::Text)?;
        Ok(Piece::text_of(&pieces))
    }
}

/// What a template gets beside the conversation.
#[derive(Clone, Debug, Default)]
pub struct RenderedWith {
    /// Descriptions of tools, as JSON schemas in OpenAI's form.
    pub tools: Vec<serde_json::Value>,
    /// Extra arguments of the template.
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

impl Drop for Service {
    fn drop(&mut self) {
        // First the pool, so that nothing is handed over after the end.
        self.pool = None;
        let _ = self.commands.send(Command::End);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn prepare(
    preparer: &Preparer,
    ask: &Ask,
    options: &ServiceOptions,
    status: &Status,
) -> Result<Asked, Error> {
    let limits = Limits {
        pixels: options.picture_pixels,
        encoded_bytes: options.picture_bytes,
        ..Limits::default()
    };
    let seeing = Seeing {
        decode: DecodeOptions {
            limits,
            ..DecodeOptions::default()
        },
        budgets: &ask.budgets,
        policy: options.context_policy,
        room: ask.max_tokens.unwrap_or(ROOM).min(preparer.context / 2),
        pan_and_scan: ask.pan_and_scan,
    };
    let render = RenderOptions {
        tools: ask.tools.clone(),
        arguments: ask.arguments.clone(),
        ..RenderOptions::default()
    };
    let asked = match &ask.asked {
        AskedFor::Chat(messages) => preparer.chat(messages, &render, &seeing)?,
        AskedFor::Text(text) => preparer.text(text)?,
        AskedFor::Tokens(tokens) => preparer.tokens(tokens)?,
    };
    let prepared = &asked.prepared;
    status
        .images
        .fetch_add(prepared.records.len() as u64, Relaxed);
    let micros = |time: Duration| time.as_micros() as u64;
    status
        .image_decode_us
        .fetch_add(micros(prepared.decode), Relaxed);
    let preprocess = micros(prepared.preprocess);
    status.image_preprocess_us.fetch_add(preprocess, Relaxed);
    Ok(asked)
}

/// What the engine is asked.
fn generate(
    preparer: &Preparer,
    ask: Ask,
    (prompt, pictures): (Prompt, Vec<Picture>),
    grammar: Option<Grammar>,
) -> Generate {
    let default = || preparer.default_sampling.clone();
    let generate = Generate::new(prompt, pictures, ask.max_tokens.unwrap_or(usize::MAX));
    Generate {
        sampling: ask.sampling.unwrap_or_else(default),
        min_tokens: ask.min_tokens,
        stop: ask.stop,
        stop_tokens: ask.stop_tokens,
        ignore_end: ask.ignore_end,
        repetition: generate.repetition.filter(|_| !ask.ignore_end),
        logprobs: ask.logprobs,
        grammar,
        thinking: ask.thinking,
        show_tool_calls: !ask.tools.is_empty(),
        client: ask.client,
        salt: ask.salt,
        ..generate
    }
}

fn refuse(outlets: Vec<Outlet>, status: &Status, error: Error) {
    let mut error = Some(error);
    for outlet in outlets {
        status.failed.fetch_add(1, Relaxed);
        match error.take() {
            Some(error) => outlet.fail(error),
            None => outlet.fail(Error::Ending),
        }
    }
}
