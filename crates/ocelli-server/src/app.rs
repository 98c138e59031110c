//! The server: its state, its start and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ocelli::service::{KeepAlive, Models, Service};
use ocelli::{ClientId, Error as OcelliError};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};

use crate::clients::{Share, Shares};
use crate::failure::Failure;
use crate::guard::{Caller, Guard};
use crate::http::places::Places;
use crate::media::Media;
use crate::metrics::Metrics;
use crate::report::ModelFacts;
use crate::{Error, Settings, http, routes};

/// Threads that move bytes; the models have their own.
const THREADS: usize = 2;

/// Connections that the system keeps until they are accepted.
const WAITING_CONNECTIONS: u32 = 1024;

/// Pictures that are fetched from the web at the same time.
const FETCHES: usize = 4;

/// What all requests share.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) models: Arc<Models>,
    pub(crate) facts: Vec<ModelFacts>,
    pub(crate) guard: Guard,
    /// Where picture files that requests name are.
    pub(crate) media: Media,
    pub(crate) metrics: Metrics,
    /// Open connections.
    pub(crate) places: Arc<Places>,
    /// KiB of bodies that may be read now.
    pub(crate) bodies: Arc<Semaphore>,
    /// Answers that each client waits for.
    answers: Arc<Shares<ClientId>>,
    /// Pictures that may be fetched now.
    pub(crate) fetches: Semaphore,
    /// Seconds since 1970 at the start.
    pub(crate) started: u64,
    /// True once the first model is there.
    is_ready: AtomicBool,
    is_ending: AtomicBool,
    active: AtomicUsize,
    /// Makes identifiers differ.
    next_id: AtomicU64,
    secret: u64,
}

impl App {
    fn new(settings: Settings, models: Models) -> Result<Self, Error> {
        let random = std::hash::RandomState::new();
        let secret = std::hash::BuildHasher::hash_one(&random, Instant::now());
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let kib = settings.limits.all_bodies_bytes >> 10;
        Ok(Self {
            media: Media::open(settings.media_folder.as_deref())?,
            guard: Guard::new(&settings),
            facts: models.entries().map(ModelFacts::new).collect(),
            bodies: Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS))),
            answers: Shares::new(),
            fetches: Semaphore::new(FETCHES),
            models: Arc::new(models),
            metrics: Metrics::default(),
            places: Places::new(settings.limits.connections),
            settings,
            started,
            is_ready: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            secret,
        })
    }

    /// An identifier, as in `chatcmpl-0123456789abcdef`.
    pub(crate) fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:016x}", self.random())
    }

    /// A number that differs from call to call and from process to process.
    pub(crate) fn random(&self) -> u64 {
        // SplitMix64 over a counter: every value once.
        let count = self.next_id.fetch_add(1, Relaxed);
        let mut z = self
            .secret
            .wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Relaxed)
    }

    /// Requests that are being answered.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Relaxed)
    }

    /// Counts a request as active until this is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Relaxed);
        Active(self.clone())
    }

    /// Counts answers that a client waits for.
    ///
    /// # Errors
    /// 429 when it waits for as many as it may already.
    pub(crate) fn expect(&self, caller: Caller, count: usize) -> Result<Expected, Failure> {
        let limit = caller.most_answers;
        let share = self.answers.take(caller.client, count, limit);
        share.map(Expected).ok_or_else(|| {
            let message = format!(
                "this client waits for as many answers as it may, limit {limit}. Try again when one has come"
            );
            let status = axum::http::StatusCode::TOO_MANY_REQUESTS;
            Failure {
                retry_after: Some(1),
                ..Failure::new(status, "too_many_requests", message)
            }
        })
    }

    /// The model of a request, loaded if need be.
    pub(crate) async fn service(&self, name: &str) -> Result<Arc<Service>, Failure> {
        if let Some(service) = self.models.ready(name)? {
            return Ok(service);
        }
        let models = self.models.clone();
        let wanted = name.to_owned();
        let loaded = tokio::task::spawn_blocking(move || models.load(&wanted)).await;
        let loaded = loaded.map_err(|_| Failure::internal("loading the model failed"))?;
        loaded.map_err(|error: OcelliError| Failure::unloadable(name, &error))
    }

    /// The model that answers when none is named.
    pub(crate) fn first_model(&self) -> &str {
        self.models.names().next().unwrap_or_default()
    }

    /// What is known of a model without loading it.
    pub(crate) fn facts(&self, name: &str) -> Option<&ModelFacts> {
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        self.facts
            .iter()
            .find(|facts| facts.name == name || facts.name == plain)
    }
}

/// Answers that a client waits for, until this is dropped.
#[derive(Debug)]
pub(crate) struct Expected(#[allow(dead_code, reason = "held for its end")] Share<ClientId>);

/// An active request.
pub(crate) struct Active(Arc<App>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// Serves models until `stop` becomes true, and then until what runs is answered or its time is
/// over. `ready` is told the address once requests can be answered: when the first model is loaded.
///
/// # Errors
/// When the settings are unsafe, the address is not free, or the first model cannot be loaded.
pub fn serve(
    settings: Settings,
    models: Models,
    stop: &AtomicBool,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    settings.check()?;
    let first = models.names().next().unwrap_or_default();
    models.check_memory(first)?;
    check_threads().map_err(Error::NoThread)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(Error::System)?;
    let app = Arc::new(App::new(settings, models)?);
    let served = runtime.block_on(run(app, stop, ready));
    // A model that is still being loaded must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    served
}

/// Whether the system gives the threads without which the runtime panics: those that move bytes,
/// and the first of those that work for them. It never ends while the server looks after its
/// models; more only make requests wait less.
fn check_threads() -> std::io::Result<()> {
    let (keep, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    // Until the last is there, or refused.
    let work = || drop(wait.lock().map(|wait| wait.recv()));
    std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work);
        let started: Result<Vec<_>, _> = (0..=THREADS).map(start).collect();
        drop(keep);
        started.map(drop)
    })
}

async fn run(
    app: Arc<App>,
    stop: &AtomicBool,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    let address = SocketAddr::new(app.settings.host, app.settings.port);
    let failed = |source| Error::Listen { address, source };
    let listener = listener(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (end, ending) = watch::channel(false);
    let router = routes::router(app.clone());
    let listening = tokio::spawn(http::listen::listen(listener, router, app.clone(), ending));
    let models = app.models.clone();
    let first = app.first_model().to_owned();
    let loaded = tokio::task::spawn_blocking(move || models.load(&first).map(drop)).await;
    loaded.map_err(|error| Error::System(std::io::Error::other(error)))??;
    app.is_ready.store(true, Relaxed);
    ready(address);
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let mut last_look = Instant::now();
    while !stop.load(Relaxed) {
        beat.tick().await;
        if last_look.elapsed() >= Duration::from_secs(1) {
            last_look = Instant::now();
            let models = app.models.clone();
            tokio::task::spawn_blocking(move || models.unload_idle());
        }
    }
    app.is_ending.store(true, Relaxed);
    let _ = end.send(true);
    let _ = listening.await;
    Ok(())
}

/// Listens on an address, with room for many clients that come at the same moment: one that finds none
/// tries again after a second.
fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The address of a server that just ended is free; on Windows this would mean that of any.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_CONNECTIONS)
}

/// Seconds of a length of time as Go writes it, without a sign: `1h30m`, `1.5h`, `300ms`.
fn go_duration(mut text: &str) -> Option<f64> {
    let mut seconds = None;
    while !text.is_empty() {
        let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(unit);
        let next = rest.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, rest) = rest.split_at(next.unwrap_or(rest.len()));
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds = Some(seconds.unwrap_or(0.0) + number.parse::<f64>().ok()? * unit);
        text = rest;
    }
    seconds
}

/// How long a model stays, in the words of Ollama's clients: seconds, `"5m"`, or below zero for ever.
pub(crate) fn keep_alive(value: &serde_json::Value) -> Option<KeepAlive> {
    use serde_json::Value;
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => {
            let (sign, length) = match text.strip_prefix('-') {
                Some(length) => (-1.0, length),
                None => (1.0, text.strip_prefix('+').unwrap_or(text)),
            };
            match length.parse::<f64>() {
                // Without a unit. Words such as `inf` are no lengths.
                Ok(seconds) if length.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                    sign * seconds
                }
                _ => sign * go_duration(length)?,
            }
        }
        _ => return None,
    };
    match seconds < 0.0 {
        true => Some(KeepAlive::Forever),
        false => Duration::try_from_secs_f64(seconds)
            .ok()
            .map(KeepAlive::For),
    }
}
