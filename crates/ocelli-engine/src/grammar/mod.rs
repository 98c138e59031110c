//! Answers that must have a form: JSON, a schema, a regular expression, a grammar.
//!
//! [`Grammars::compile`] runs on the caller's thread (never the engine's) under limits of size, time and
//! memory, and refuses what it cannot enforce: an answer is never less bound than was asked. What comes
//! out, a [`Grammar`], says before each token which tokens may come.

mod bounds;
mod boxes;
mod cache;
mod closed;
mod follow;
mod gbnf;
mod numbers;
mod restate;
mod schema;
mod source;
mod tools;
mod vocabulary;

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use llguidance::{Matcher, ParserFactory};
use ocelli_image::boxes::Convention;
use ocelli_text::Tokenizer;

use crate::{Error, Model};
use cache::Cache;
use numbers::{DigitTokens, Numbers};
use vocabulary::factory;

pub(crate) use follow::Follow;
pub use source::{GRAMMAR_BYTES, GrammarSource};

/// Longest time that compiling may take.
pub const COMPILE_TIME: Duration = Duration::from_secs(1);
/// Grammars that are compiled at the same time.
const COMPILERS: usize = 2;
/// Stack of a compiling thread: its parsers call themselves.
const STACK: usize = 16 << 20;
/// Compiled grammars that are kept. One of a short source can take megabytes.
const CACHED: usize = 64;
/// Bytes of their sources.
const CACHE_BYTES: usize = 4 << 20;

/// A compiled grammar, to be given with any number of requests to the model it was compiled for.
#[derive(Clone)]
pub struct Grammar {
    /// At the beginning; copied for each answer.
    matcher: Arc<Mutex<Matcher>>,
    /// A copy for the first answer, so that the engine's thread need not make it.
    ready: Arc<Mutex<Option<Matcher>>>,
    /// Whether no control token is part of it.
    is_text: bool,
    /// In JSON, whose numbers must end.
    digits: Option<Arc<DigitTokens>>,
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}

impl Grammar {
    /// A state at the beginning, for one answer.
    pub(crate) fn follow(&self) -> Follow {
        let ready = self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let numbers = self.digits.clone().map(Numbers::new);
        Follow::new(ready.unwrap_or_else(|| self.copy()), numbers, self.is_text)
    }

    fn copy(&self) -> Matcher {
        let matcher = self.matcher.lock().unwrap_or_else(PoisonError::into_inner);
        matcher.deep_clone()
    }

    /// The same with a copy of its own at hand.
    fn at_hand(&self) -> Self {
        Self {
            matcher: Arc::clone(&self.matcher),
            ready: Arc::new(Mutex::new(Some(self.copy()))),
            is_text: self.is_text,
            digits: self.digits.clone(),
        }
    }
}

/// Compiles grammars for one model, and keeps those that come again.
pub struct Grammars {
    shared: Arc<Shared>,
}

struct Shared {
    model: Arc<Model>,
    factory: OnceLock<Result<ParserFactory, String>>,
    digits: OnceLock<Arc<DigitTokens>>,
    cache: Mutex<Cache<Grammar>>,
    compiling: Mutex<usize>,
    freed: Condvar,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

impl Grammars {
    /// A compiler for a model's vocabulary. Its tables are made at the first use.
    pub fn new(model: Arc<Model>) -> Self {
        Self {
            shared: Arc::new(Shared {
                model,
                factory: OnceLock::new(),
                digits: OnceLock::new(),
                cache: Mutex::new(Cache::new(CACHED, CACHE_BYTES)),
                compiling: Mutex::new(0),
                freed: Condvar::new(),
            }),
        }
    }

    /// Compiles, or finds what was compiled before. Takes [`COMPILE_TIME`] at most (and once, at the
    /// first use, the time to make the vocabulary's tables). Not for the engine's thread.
    ///
    /// # Errors
    /// When the source is wrong, asks for what cannot be enforced, or is too expensive.
    pub fn compile(&self, source: &GrammarSource) -> Result<Grammar, Error> {
        let shared = &self.shared;
        source.check()?;
        let key = source.key();
        let locked = || shared.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let known = locked().get(&key);
        if let Some(grammar) = known {
            return Ok(grammar.at_hand());
        }
        shared.factory()?;
        let too_long = || {
            Error::Grammar(format!(
                "compiling took longer than {} ms; make the schema or grammar smaller",
                COMPILE_TIME.as_millis()
            ))
        };
        let deadline = Instant::now() + COMPILE_TIME;
        if !shared.take_place(deadline) {
            return Err(too_long());
        }
        let (send, receive) = mpsc::channel();
        let (worker, source) = (Arc::clone(shared), source.clone());
        let spawned = std::thread::Builder::new()
            .name("ocelli-grammar".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let compiled = worker.compile(&source);
                worker.give_place_back();
                // Nobody may be waiting any more.
                drop(send.send(compiled));
            });
        if spawned.is_err() {
            shared.give_place_back();
            return Err(Error::Grammar("no thread to compile on".to_owned()));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let grammar = receive.recv_timeout(left).map_err(|_| too_long())??;
        locked().insert(key, grammar.clone());
        Ok(grammar.at_hand())
    }
}

impl Shared {
    fn factory(&self) -> Result<&ParserFactory, Error> {
        let made = self.factory.get_or_init(|| factory(&self.model.tokenizer));
        made.as_ref()
            .map_err(|what| Error::Grammar(format!("not possible with this vocabulary: {what}")))
    }

    /// Waits until fewer than [`COMPILERS`] are at work; false when that takes too long.
    fn take_place(&self, deadline: Instant) -> bool {
        let mut count = self
            .compiling
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *count >= COMPILERS {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.freed.wait_timeout(count, left);
            count = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *count += 1;
        true
    }

    fn give_place_back(&self) {
        *self
            .compiling
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
        self.freed.notify_one();
    }

    fn compile(&self, source: &GrammarSource) -> Result<Grammar, Error> {
        let factory = self.factory()?;
        let convention = self.model.join.and_then(|join| join.boxes);
        let matcher = compile(factory, source, &self.model.tokenizer, convention)?;
        let digits = || Arc::new(DigitTokens::new(factory.tok_env()));
        let is_json = source.is_json(convention);
        Ok(Grammar {
            matcher: Arc::new(Mutex::new(matcher)),
            ready: Arc::default(),
            digits: is_json.then(|| Arc::clone(self.digits.get_or_init(digits))),
            is_text: source.is_text(convention),
        })
    }
}

fn compile(
    factory: &ParserFactory,
    source: &GrammarSource,
    tokenizer: &Tokenizer,
    convention: Option<Convention>,
) -> Result<Matcher, Error> {
    let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let parser = factory.create_parser(source.top_level(tokenizer, convention)?);
        let mut matcher = Matcher::new(parser);
        if let Some(error) = matcher.get_error() {
            return Err(error);
        }
        // The first mask: what can never begin can never be satisfied.
        let mask = matcher.compute_mask().map_err(|e| e.to_string())?;
        match mask.is_zero() {
            true => Err("it can never be satisfied".to_owned()),
            false => Ok(matcher),
        }
    }));
    attempt
        .unwrap_or_else(|_| Err("it cannot be compiled".to_owned()))
        .map_err(|what| Error::Grammar(in_our_words(&what)))
}

/// The first lines of what the compiler says, without what it says about itself.
fn in_our_words(what: &str) -> String {
    if what.contains("NoExtensionBias") {
        // What the first mask says of rules that lead only to themselves.
        return "it can never be satisfied: what it refers to never ends".to_owned();
    }
    if let Some((_, reason)) = what.split_once("Unsatisfiable schema") {
        let reason = reason.lines().next().unwrap_or_default();
        let reason: String = reason.chars().take(160).collect();
        return format!("schema can never be satisfied{reason}");
    }
    if let Some((_, keys)) = what.split_once("Unimplemented keys: ") {
        let keys = keys.lines().next().unwrap_or_default();
        let keys: String = keys
            .chars()
            .filter(|c| !"[]\"".contains(*c))
            .take(160)
            .collect();
        return format!("schema uses what cannot be enforced: {keys}");
    }
    if let Some((_, name)) = what.split_once("Unknown format: ") {
        let name: String = name
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(80)
            .collect();
        return format!(
            "schema uses what cannot be enforced: format {name}; leave it out, or state a pattern"
        );
    }
    if what.contains("oneOf constraints are not supported") {
        return "schema uses what cannot be enforced: oneOf whose alternatives could hold together; \
                use anyOf, or give each a required property with a const of its own"
            .to_owned();
    }
    let of_regex = what.lines().find_map(|line| line.strip_prefix("error: "));
    if let (true, Some(reason)) = (what.contains("regex parse error"), of_regex) {
        let reason: String = reason.chars().take(160).collect();
        return format!("bad regular expression: {reason}");
    }
    let line = what
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it cannot be compiled");
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
