//! Where requests are handed in: counted, prepared on the pool, and passed on to the engine's thread.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocelli_engine::{ClientId, ContextPolicy, Grammars};
use ocelli_text::{ControlTokens, Piece, RenderOptions};

use super::jobs::Desk;
use super::pool::{Again, Meter, Pool};
use super::preparing::{needs, refuse};
use super::runner::{Command, Runner};
use super::status::Status;
use super::updates::{Answering, Outlet};
use super::{Ask, Counters, Health};
use crate::chat::to_template;
use crate::model::Parts;
use crate::prepare::Preparer;
use crate::recognised::Files;
use crate::{Error, Message, Model, Sampling, Work};

/// What happens to videos that Ocelli cannot read itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherVideos {
    /// They are an error.
    #[default]
    Refused,
    /// The machine's `ffmpeg` reads them, whoever sends them.
    Ffmpeg,
}

/// Bounds of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceOptions {
    /// Most requests that run or wait together (default 80).
    pub most_requests: usize,
    /// How long a request may wait for its turn (default 30 s).
    pub most_waiting: Duration,
    /// What happens to a conversation that does not fit (by default an error).
    pub context_policy: ContextPolicy,
    /// Threads that decode pictures and tokenize prompts (default 3). All but one of them work on
    /// requests that take long: many or large pictures, videos, long texts.
    pub preparing_threads: usize,
    /// Most pixels of a decoded picture (default 67 million).
    pub picture_pixels: u64,
    /// Most bytes of an encoded picture (default 20 MiB).
    pub picture_bytes: u64,
    /// How long decoding one picture may take (default 5 s).
    pub picture_time: Duration,
    /// How long reading the videos of a request may take (default 30 s).
    pub video_time: Duration,
    /// Videos that are no GIF, WebP or PNG (default: refused).
    pub other_videos: OtherVideos,
    /// Most memory for decoding pictures, over all requests (default 512 MiB). Pictures beyond that
    /// wait for their turn.
    pub decoding_bytes: u64,
    /// Once decoded pictures that wait for the encoder take this many bytes, over all requests, no
    /// further picture is decoded (default 1 GiB).
    pub waiting_picture_bytes: u64,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            most_requests: 80,
            most_waiting: Duration::from_secs(30),
            context_policy: ContextPolicy::Error,
            preparing_threads: 3,
            picture_pixels: 67_108_864,
            picture_bytes: 20 << 20,
            picture_time: Duration::from_secs(5),
            video_time: Duration::from_secs(30),
            other_videos: OtherVideos::Refused,
            decoding_bytes: 512 << 20,
            waiting_picture_bytes: 1 << 30,
        }
    }
}

/// A model on a thread of its own. Dropping it ends every request and gives back the memory.
pub struct Service {
    preparer: Arc<Preparer>,
    pool: Option<Pool>,
    /// A thread for grammars: they are slow to compile, and nobody else shall wait for them.
    compiling: Option<Pool>,
    meter: Arc<Meter>,
    grammars: Arc<Grammars>,
    /// Pictures that were seen before.
    files: Arc<Files>,
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
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(model: Model, options: ServiceOptions) -> Result<Self, Error> {
        let meter = Meter::new(options.decoding_bytes, options.waiting_picture_bytes);
        Self::start_with(model, options, meter)
    }

    /// As [`Self::start`], with memory for pictures that is shared with other services.
    pub(super) fn start_with(
        model: Model,
        options: ServiceOptions,
        meter: Arc<Meter>,
    ) -> Result<Self, Error> {
        let Parts {
            engine,
            preparer,
            load,
            bytes,
            sequences,
            ..
        } = model.into_parts();
        let preparer = Arc::new(preparer);
        let files = Arc::new(Files::new(engine.known_pictures()));
        let status = Arc::new(Status::new());
        let (commands, received) = channel();
        let runner = Runner::new(
            engine,
            preparer.clone(),
            status.clone(),
            options.most_waiting,
        );
        let pool = Pool::new(options.preparing_threads, meter.clone()).map_err(Error::NoThread)?;
        let compiling = Pool::new(1, meter.clone()).map_err(Error::NoThread)?;
        let thread = std::thread::Builder::new().name("ocelli-engine".to_owned());
        let thread = thread.spawn(move || runner.run(&received));
        let thread = thread.map_err(Error::NoThread)?;
        Ok(Self {
            pool: Some(pool),
            compiling: Some(compiling),
            meter,
            grammars: Arc::new(Grammars::new(preparer.model.clone())),
            files,
            preparer,
            commands,
            status,
            options,
            load,
            bytes,
            sequences,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands in a request. If something is wrong with it, that comes as [`super::Update::Failed`].
    ///
    /// # Errors
    /// [`Error::Busy`] when as many requests as allowed run or wait.
    pub fn submit(&self, ask: Ask) -> Result<Answering, Error> {
        let mut all = self.submit_many(ask, 1)?;
        all.pop().ok_or(Error::Ending)
    }

    /// Hands in a request for several answers, whose seeds count up from the request's own. The
    /// prompt is prepared once.
    ///
    /// # Errors
    /// [`Error::Busy`] when as many requests as allowed run or wait.
    pub fn submit_many(&self, ask: Ask, answers: usize) -> Result<Vec<Answering>, Error> {
        let (outlets, answering) = self.places(answers)?;
        let desk = self.desk();
        let client = ask.client;
        self.run(client, move |again| {
            let outlets: Vec<Outlet> = outlets.into_iter().filter(|o| !o.is_dropped()).collect();
            match needs(&ask, &desk.options) {
                _ if outlets.is_empty() => {}
                Ok(needs) => again.run(client, needs, move || desk.prepare(ask, outlets)),
                Err(error) => refuse(outlets, &desk.status, error),
            }
        });
        Ok(answering)
    }

    /// Prepares a request without answering it: [`super::Update::Prepared`] says what an answer would take.
    ///
    /// # Errors
    /// [`Error::Busy`] when as many requests as allowed run or wait.
    pub fn look(&self, ask: Ask) -> Result<Answering, Error> {
        let (mut outlets, mut answering) = self.places(1)?;
        let desk = self.desk();
        let client = ask.client;
        self.run(client, move |again| {
            let Some(outlet) = outlets.pop().filter(|outlet| !outlet.is_dropped()) else {
                return;
            };
            match needs(&ask, &desk.options) {
                Ok(needs) => again.run(client, needs, move || desk.look(&ask, outlet)),
                Err(error) => refuse(vec![outlet], &desk.status, error),
            }
        });
        answering.pop().ok_or(Error::Ending)
    }

    /// What a job on the pool needs of the service.
    fn desk(&self) -> Desk {
        Desk {
            preparer: self.preparer.clone(),
            status: self.status.clone(),
            commands: self.commands.clone(),
            grammars: self.grammars.clone(),
            files: self.files.clone(),
            compiling: self.compiling.as_ref().map(Pool::again),
            meter: self.meter.clone(),
            options: self.options,
            since: Instant::now(),
        }
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

    fn run(&self, client: ClientId, job: impl FnOnce(&Again) + Send + 'static) {
        if let Some(pool) = &self.pool {
            let again = pool.again();
            pool.submit(client, Box::new(move || job(&again)));
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

    /// How tokens are chosen unless a request says otherwise: as the model file recommends, else greedily.
    pub fn default_sampling(&self) -> Sampling {
        self.preparer.default_sampling.clone()
    }

    /// The chat template.
    pub fn template(&self) -> &str {
        self.preparer.template.source()
    }

    /// Whether the chat template shows tools to the model. If not, a request with tools is an
    /// error, unless a call is forced.
    pub fn shows_tools(&self) -> bool {
        self.preparer.template.shows_tools()
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

    /// Whether the engine's thread makes progress.
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
        self.status.guarded("tokenizing a text", || {
            self.preparer.begin(Work::Tokenize(text));
            Ok(self.preparer.model.tokenizer.encode(&[Piece::user(text)]))
        })
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
        self.preparer.check_tools(messages, &options.tools)?;
        self.status.guarded("rendering a conversation", || {
            self.preparer.begin(Work::Render(messages));
            let messages: Vec<_> = messages.iter().map(to_template).collect();
            let options = RenderOptions {
                tools: options.tools.clone(),
                arguments: options.arguments.clone(),
                ..RenderOptions::default()
            };
            let pieces = self.preparer.template.render(&messages, &options);
            let pieces = pieces.map_err(ocelli_engine::Error::Text)?;
            Ok(Piece::text_of(&pieces))
        })
    }
}

/// What a chat template gets besides the conversation.
#[derive(Clone, Debug, Default)]
pub struct RenderedWith {
    /// Descriptions of tools, as JSON schemas in OpenAI's form.
    pub tools: Vec<serde_json::Value>,
    /// Extra arguments of the template.
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

impl Drop for Service {
    fn drop(&mut self) {
        // First the pools, so that nothing is handed over after the end.
        self.pool = None;
        self.compiling = None;
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
