//! Several models under one budget of memory: each is loaded when it is first asked for and
//! unloaded when nobody has used it for a while, or when another one needs its room.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pool::Meter;
use super::{ModelEntry, Service, ServiceOptions};
use crate::Error;
use crate::load::{Files, WEIGHTS_HINT, check_memory, load_as};
use crate::memory::{available, mib};

/// How long a model stays when nobody uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// Until the end.
    Forever,
    /// This long.
    For(Duration),
}

/// Where a model is now.
#[derive(Clone, Debug)]
pub enum ModelState {
    /// Not in memory.
    Unloaded,
    /// On its way.
    Loading,
    /// Ready.
    Loaded(Loaded),
}

/// A model that is in memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What answers.
    pub service: Arc<Service>,
    /// When it will be unloaded if nobody uses it; `None` for never.
    pub until: Option<Instant>,
}

enum State {
    Unloaded,
    Loading,
    Loaded {
        service: Arc<Service>,
        used: Instant,
        keep: KeepAlive,
    },
}

struct Kept {
    entry: ModelEntry,
    state: Mutex<State>,
    changed: Condvar,
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state() = state;
        self.changed.notify_all();
    }
}

/// See the module.
pub struct Models {
    kept: Vec<Kept>,
    service: ServiceOptions,
    /// Memory for pictures of all models.
    meter: Arc<Meter>,
    keep: KeepAlive,
    /// Most bytes of all models together.
    memory: u64,
    /// One model is loaded at a time.
    loading: Mutex<()>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.debug_struct("Models")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

impl Models {
    /// Models that can be asked for; none is loaded yet. `memory` is the most bytes of all
    /// together; `None` for nine tenths of what is free now.
    ///
    /// # Errors
    /// When there is none, or two have one name.
    pub fn new(
        entries: Vec<ModelEntry>,
        service: ServiceOptions,
        keep: KeepAlive,
        memory: Option<u64>,
    ) -> Result<Self, Error> {
        if entries.is_empty() {
            return Err(Error::Settings("no model: need at least one".to_owned()));
        }
        for (index, entry) in entries.iter().enumerate() {
            if entries[..index]
                .iter()
                .any(|other| other.name == entry.name)
            {
                let name = &entry.name;
                let what = format!(
                    "model name '{name}': found twice, need different names. Give one with -m NAME=FILE"
                );
                return Err(Error::Settings(what));
            }
        }
        let keep_unloaded = |entry| Kept {
            entry,
            state: Mutex::new(State::Unloaded),
            changed: Condvar::new(),
        };
        Ok(Self {
            kept: entries.into_iter().map(keep_unloaded).collect(),
            meter: Meter::new(service.decoding_bytes, service.waiting_picture_bytes),
            service,
            keep,
            memory: memory.unwrap_or_else(|| available() / 10 * 9),
            loading: Mutex::new(()),
        })
    }

    /// The names, in the order in which they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(|kept| kept.entry.name.as_str())
    }

    /// What can be asked for, in the order in which it was given.
    pub fn entries(&self) -> impl Iterator<Item = &ModelEntry> {
        self.kept.iter().map(|kept| &kept.entry)
    }

    /// Where a model is now. `:latest` may follow a name.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn state(&self, name: &str) -> Result<ModelState, Error> {
        let state = self.find(name)?.state();
        Ok(match &*state {
            State::Unloaded => ModelState::Unloaded,
            State::Loading => ModelState::Loading,
            State::Loaded {
                service,
                used,
                keep,
            } => ModelState::Loaded(Loaded {
                service: service.clone(),
                until: match keep {
                    KeepAlive::Forever => None,
                    KeepAlive::For(time) => used.checked_add(*time),
                },
            }),
        })
    }

    /// The model of this name, if it is in memory; it counts as used.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn ready(&self, name: &str) -> Result<Option<Arc<Service>>, Error> {
        Ok(match &mut *self.find(name)?.state() {
            State::Loaded { service, used, .. } if service.health().is_alive => {
                *used = Instant::now();
                Some(service.clone())
            }
            _ => None,
        })
    }

    /// The model of this name, loaded if it is not in memory. This may take long.
    ///
    /// # Errors
    /// When the name is unknown, or the model cannot be loaded.
    pub fn load(&self, name: &str) -> Result<Arc<Service>, Error> {
        let kept = self.find(name)?;
        let mut state = kept.state();
        loop {
            match &mut *state {
                State::Loaded { service, used, .. } if service.health().is_alive => {
                    *used = Instant::now();
                    return Ok(service.clone());
                }
                State::Loading => {
                    let waited = kept.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
                State::Loaded { .. } | State::Unloaded => {
                    let old = std::mem::replace(&mut *state, State::Loading);
                    drop(state);
                    drop(old);
                    return self.load_into(kept);
                }
            }
        }
    }

    fn load_into(&self, kept: &Kept) -> Result<Arc<Service>, Error> {
        /// Whatever happens, nobody waits for a model that is no longer on its way.
        struct Unload<'a>(Option<&'a Kept>);
        impl Drop for Unload<'_> {
            fn drop(&mut self) {
                if let Some(kept) = self.0 {
                    kept.set(State::Unloaded);
                }
            }
        }
        let mut on_its_way = Unload(Some(kept));
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = &kept.entry;
        let weights = Files::open(&entry.source, &entry.options)?.weight_bytes();
        self.make_room(&entry.name, weights)?;
        let model = load_as(&entry.name, &entry.source, &entry.options)?;
        let service = Arc::new(Service::start_with(
            model,
            self.service,
            self.meter.clone(),
        )?);
        on_its_way.0 = None;
        kept.set(State::Loaded {
            service: service.clone(),
            used: Instant::now(),
            keep: self.keep,
        });
        Ok(service)
    }

    /// Says at once whether a model can be in memory at all, were it alone there.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], or [`Error::Memory`] when there is too little for its weights.
    pub fn check_memory(&self, name: &str) -> Result<(), Error> {
        let entry = &self.find(name)?.entry;
        match Files::open(&entry.source, &entry.options) {
            Ok(files) => self.check_alone(&entry.name, files.weight_bytes()),
            // What is wrong with them is told when the model is loaded.
            Err(_) => Ok(()),
        }
    }

    fn check_alone(&self, name: &str, weights: u64) -> Result<(), Error> {
        let what = format!("model '{name}'");
        check_memory(&what, weights, self.memory, WEIGHTS_HINT)
    }

    /// Unloads models that nobody uses, the one that was used longest ago first, until there is
    /// room for so many bytes.
    fn make_room(&self, name: &str, needed: u64) -> Result<(), Error> {
        self.check_alone(name, needed)?;
        loop {
            let taken: u64 = self.kept.iter().map(|kept| bytes(&kept.state())).sum();
            if taken.saturating_add(needed) <= self.memory {
                return Ok(());
            }
            let idle = self.kept.iter().filter_map(|kept| match &*kept.state() {
                State::Loaded { service, used, .. } if is_idle(service) => Some((*used, kept)),
                _ => None,
            });
            let Some((_, oldest)) = idle.min_by_key(|(used, _)| *used) else {
                return Err(Error::Memory {
                    what: format!("model '{name}'"),
                    needed_mib: mib(needed),
                    available_mib: self.memory.saturating_sub(taken) >> 20,
                    hint: "Other models are in use; try again later",
                });
            };
            unload(oldest);
        }
    }

    /// Says how long a model stays from now on, until it is loaded anew.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn keep(&self, name: &str, how_long: KeepAlive) -> Result<(), Error> {
        if let State::Loaded { keep, used, .. } = &mut *self.find(name)?.state() {
            *keep = how_long;
            *used = Instant::now();
        }
        Ok(())
    }

    /// Unloads the models whose time is over. To be called every second or so.
    pub fn unload_idle(&self) {
        for kept in &self.kept {
            let is_over = match &mut *kept.state() {
                State::Loaded {
                    service,
                    used,
                    keep,
                } => {
                    if !is_idle(service) {
                        *used = Instant::now();
                    }
                    match keep {
                        KeepAlive::Forever => false,
                        KeepAlive::For(time) => used.elapsed() >= *time,
                    }
                }
                _ => false,
            };
            if is_over {
                unload(kept);
            }
        }
    }

    /// True while a model is on its way into memory.
    pub fn is_loading(&self) -> bool {
        let is_loading = |kept: &Kept| matches!(&*kept.state(), State::Loading);
        self.kept.iter().any(is_loading)
    }

    /// Every model that is in memory, by name.
    pub fn loaded(&self) -> Vec<(&str, Loaded)> {
        let loaded = |kept: &'_ Kept| match self.state(&kept.entry.name) {
            Ok(ModelState::Loaded(loaded)) => Some(loaded),
            _ => None,
        };
        let names = self.kept.iter();
        names
            .filter_map(|kept| Some((kept.entry.name.as_str(), loaded(kept)?)))
            .collect()
    }

    fn find(&self, name: &str) -> Result<&Kept, Error> {
        let found = self.kept.iter().find(|kept| kept.entry.name == name);
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        found
            .or_else(|| self.kept.iter().find(|kept| kept.entry.name == plain))
            .ok_or_else(|| Error::UnknownModel {
                name: name.escape_default().take(64).collect(),
                known: self.names().collect::<Vec<_>>().join(", "),
            })
    }
}

/// True when nothing but the shelf holds the model, and no request runs on it.
fn is_idle(service: &Arc<Service>) -> bool {
    service.live() == 0 && Arc::strong_count(service) == 1
}

fn bytes(state: &State) -> u64 {
    match state {
        State::Loaded { service, .. } => service.bytes(),
        State::Unloaded | State::Loading => 0,
    }
}

fn unload(kept: &Kept) {
    let mut state = kept.state();
    if matches!(&*state, State::Loaded { service, .. } if is_idle(service)) {
        let old = std::mem::replace(&mut *state, State::Unloaded);
        drop(state);
        // Joins the engine's thread; nobody waits for the lock meanwhile.
        drop(old);
        kept.changed.notify_all();
    }
}
