//! The engine: one model's mutable state, and the step that moves every request on.
//!
//! [`Engine::submit`] queues a request, [`Engine::step`] does a bounded piece of work (a layer of a
//! picture's encoder, or one forward pass over tokens of many sequences) and says what came of it.
//! [`Engine::generate`] runs one request to its end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use crate::answer::{Answer, End};
use crate::draft::DraftTokens;
use crate::keys::Keys;
use crate::table::{Pools, near_pages};
use crate::tempo::Tempo;
use crate::vision::Encoder;
use crate::{
    Channel, Error, Event, FeatureCache, FinishReason, Generate, ImageCache, KnownPictures, Model,
    Outcome, Output, Owner, PAGE_TOKENS, Prompt, STEP_ROWS, Scheduler, SchedulerLimits, Sequence,
    SequenceId, Stats, Submission, text_memory,
};
use ocelli_image::Grid;
use ocelli_tensor::{Backend, KvElement, KvLayer, KvLayout, KvStore, Memory};

/// What an engine is built with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tokens that prompt and answer of one request may have together.
    pub context: usize,
    /// Requests that run at the same time.
    pub sequences: usize,
    /// Tokens that the cache holds for all of them; at least `context`. Layers with a window hold fewer: see
    /// [`Settings::kv_layout`].
    pub cache_tokens: usize,
    /// Element type of keys and values.
    pub kv_element: KvElement,
    /// Most bytes of kept picture features.
    pub feature_bytes: usize,
    /// The largest picture that will be encoded.
    pub largest_picture: Option<Grid>,
}

impl Settings {
    /// The cache of keys and values that an engine with these settings has for a model of such layers.
    pub fn kv_layout(&self, layers: Vec<KvLayer>) -> KvLayout {
        let tokens = self.cache_tokens.max(self.context);
        let mut layout = KvLayout {
            layers,
            pages: tokens.div_ceil(PAGE_TOKENS),
            near_pages: 0,
            page_tokens: PAGE_TOKENS,
            element: self.kv_element,
        };
        let sizes = (layout.pages, self.context, self.sequences);
        layout.near_pages = near_pages(layout.window(), sizes);
        layout
    }
}

impl Settings {
    /// Refuses what nothing could run with.
    fn check(&self) -> Result<(), Error> {
        let rows = ("sequences at the same time", self.sequences, STEP_ROWS);
        let context = ("tokens of the context", self.context, usize::MAX);
        for (what, found, most) in [rows, context] {
            if !(1..=most).contains(&found) {
                let least = 1;
                return Err(Error::Setting {
                    what,
                    found,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// A small picture has at most one in so many of the largest one's tokens.
const SMALL: u32 = 4;
/// The largest pictures of the encoder for all, and of the encoder for small ones if the model has any:
/// some give all pictures the same size.
fn lanes(model: &Model, largest: Grid) -> Vec<Grid> {
    let patches_of = |side| {
        let vision = model.vision.as_ref()?;
        let grid = vision.grid(side, side, &vision.budget()).ok()?;
        Some(grid.patches())
    };
    let mut lanes = vec![largest];
    // Most pictures of an encoder of squares have about as many tiles: they take turns.
    let blocks = match largest.tiles {
        Some(_) => 0,
        None => largest.w / largest.merge / SMALL,
    };
    if blocks > 0 && patches_of(32) < patches_of(4096) {
        lanes.push(Grid {
            w: blocks * largest.merge,
            ..largest
        });
    }
    lanes
}

/// See the module.
pub struct Engine {
    pub(crate) model: Arc<Model>,
    pub(crate) backend: Arc<dyn Backend>,
    /// The same without rounding, if the backend rounds.
    pub(crate) exact: Option<Arc<dyn Backend>>,
    pub(crate) settings: Settings,
    pub(crate) text_memory: Memory,
    pub(crate) kv: Box<dyn KvStore>,
    /// Memory for the logits of a step.
    pub(crate) logits: Vec<f32>,
    pub(crate) pools: Pools,
    pub(crate) scheduler: Scheduler,
    pub(crate) sequences: BTreeMap<SequenceId, Sequence>,
    pub(crate) features: Arc<Mutex<FeatureCache>>,
    /// One for pictures of every size, and one for small ones.
    pub(crate) encoders: Vec<Encoder>,
    /// Which of them has the next slice.
    pub(crate) next_lane: usize,
    pub(crate) disk: Option<ImageCache>,
    pub(crate) keys: Keys,
    /// How long steps take.
    pub(crate) tempo: Tempo,
    pub(crate) draft_tokens: DraftTokens,
    pub(crate) counts: Stats,
    next_id: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.model)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Reserves memory for the worst step, the largest picture and the whole cache.
    ///
    /// # Errors
    /// When the engine could run nothing, or more sequences than a step has rows.
    pub fn new(
        model: Arc<Model>,
        backend: Arc<dyn Backend>,
        settings: Settings,
    ) -> Result<Self, Error> {
        settings.check()?;
        let deepstack = model.vision.as_ref().map_or(0, |v| v.deepstack());
        let text = text_memory(model.text.as_ref(), deepstack, settings.sequences);
        let lanes = settings
            .largest_picture
            .into_iter()
            .flat_map(|largest| lanes(&model, largest));
        let encoders = lanes.filter_map(|largest| Encoder::new(&model, &backend, largest));
        let layout = settings.kv_layout(model.text.caches());
        Ok(Self {
            text_memory: Memory::reserve(backend.as_ref(), text),
            encoders: encoders.collect(),
            next_lane: 0,
            pools: Pools::new(layout.pages, layout.near_pages, layout.window()),
            scheduler: Scheduler::new(SchedulerLimits {
                sequences: settings.sequences,
                step_rows: STEP_ROWS,
                prompt_rows_beside_generating: STEP_ROWS / 2,
                pages: layout.pages,
            }),
            exact: backend.exact(),
            kv: backend.kv_store(layout),
            logits: Vec::new(),
            sequences: BTreeMap::new(),
            features: Arc::new(Mutex::new(FeatureCache::new(settings.feature_bytes))),
            tempo: Tempo::default(),
            draft_tokens: DraftTokens::default(),
            counts: Stats::default(),
            disk: None,
            keys: Keys::random(),
            next_id: 0,
            model,
            backend,
            settings,
        })
    }

    /// The model that this engine runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens that prompt and answer of one request may have together.
    pub fn context(&self) -> usize {
        self.settings.context
    }

    /// Pictures whose features are kept. To be called when the cache on disk is set, if there is one.
    pub fn known_pictures(&self) -> KnownPictures {
        KnownPictures {
            features: Arc::clone(&self.features),
            keys: self.keys.clone(),
        }
    }

    /// Rows of a step, 1 to [`STEP_ROWS`]. Fewer make others wait less for their next token and cost
    /// throughput; answers do not depend on it.
    pub fn set_step_rows(&mut self, rows: usize) {
        self.scheduler.set_step_rows(rows.clamp(1, STEP_ROWS));
    }

    /// True when no request runs or waits.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Queues a request. It is checked here; what fails later comes as [`Output::Failed`].
    ///
    /// # Errors
    /// When the request does not fit, has pictures that the model cannot see, or a setting is out of
    /// its range.
    pub fn submit(&mut self, request: Generate) -> Result<SequenceId, Error> {
        request.check(self.model.tokenizer.len())?;
        self.check_size(&request.prompt)?;
        self.check_pictures(&request)?;
        let prompt_tokens = request.prompt.tokens.len();
        let limit = request
            .max_tokens
            .min(self.settings.context - prompt_tokens);
        let answer = Answer::new(&self.model.tokenizer, &request, limit)?;
        let client = request.client;
        let is_scored = request.prompt_logprobs.is_some();
        let known = request.pictures.iter().filter(|p| p.features.is_some());
        self.counts.feature_hits_total += known.count() as u64;
        let sequence = Sequence::new(request, answer, self.model.text.as_ref(), &self.keys);
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let submission = Submission {
            id,
            client,
            prompt_tokens,
            pages: (prompt_tokens + limit).div_ceil(PAGE_TOKENS),
        };
        let accepted = self.scheduler.submit(submission);
        assert!(accepted, "the cache holds at least one context");
        self.scheduler
            .keep_whole(id, sequence.prompt.blocks.clone());
        if is_scored {
            self.scheduler.score(id);
        }
        self.sequences.insert(id, sequence);
        self.look_on_disk(id);
        Ok(id)
    }

    /// Queues `answers` answers to one prompt, with the seeds that follow the request's. The prompt
    /// is run once and its pages are shared, as with all requests that begin alike.
    ///
    /// # Errors
    /// As [`Engine::submit`]; then none is queued.
    pub fn submit_answers(
        &mut self,
        request: Generate,
        answers: usize,
    ) -> Result<Vec<SequenceId>, Error> {
        let mut ids: Vec<SequenceId> = Vec::new();
        for index in 0..answers as u64 {
            let mut request = request.clone();
            request.sampling.seed = request.sampling.seed.wrapping_add(index);
            // What is wrong with one is wrong with the first.
            ids.push(self.submit(request)?);
        }
        Ok(ids)
    }

    /// Ends a request wherever it is. Its outcome comes at once, if it was still there.
    pub fn cancel(&mut self, id: SequenceId) -> Option<Outcome> {
        self.end(id, FinishReason::Cancelled.into())
    }

    /// Answers a request, telling `observe` what happens; it can stop the request at each event and is
    /// told nothing more then, though the outcome has all that the step brought. Other requests that run
    /// go on beside it, but what they bring meanwhile is told to nobody.
    ///
    /// # Errors
    /// When the request does not fit or the arithmetic fails. The engine stays usable.
    pub fn generate(
        &mut self,
        request: Generate,
        observe: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        let id = self.submit(request)?;
        let mut is_over = false;
        loop {
            for (whose, output) in self.step() {
                let flow = match output {
                    _ if whose != id => continue,
                    Output::Done(outcome) => return Ok(*outcome),
                    Output::Failed(error) => return Err(error),
                    _ if is_over => continue,
                    Output::Encoding { image, done, total } => {
                        observe(Event::Encoding { image, done, total })
                    }
                    Output::Prefill { done, total } => observe(Event::Prefill { done, total }),
                    Output::Scored(_) => ControlFlow::Continue(()),
                    Output::Text { text, .. } if text.is_empty() => ControlFlow::Continue(()),
                    Output::Text { text, channel, .. } => observe(match channel {
                        Channel::Answer => Event::Text(&text),
                        Channel::Reasoning => Event::Reasoning(&text),
                    }),
                };
                is_over = flow.is_break();
                if is_over && let Some(outcome) = self.cancel(id) {
                    return Ok(outcome);
                }
            }
        }
    }

    /// Refuses pictures that no encoder would ever take.
    fn check_pictures(&self, request: &Generate) -> Result<(), Error> {
        let (shown, given) = (request.prompt.owners.len(), request.pictures.len());
        if shown != given {
            return Err(Error::Pictures { shown, given });
        }
        let most = self.encoders.iter().map(Encoder::most_patches).max();
        for (picture, owner) in request.pictures.iter().zip(&request.prompt.owners) {
            let most = most.ok_or_else(|| Error::NoVision {
                model: self.model.name.clone(),
            })?;
            let patches = picture.patches.grid.patches();
            if picture.features.is_none() && patches > most {
                let owner = *owner;
                return Err(Error::PictureSize {
                    owner,
                    patches,
                    most,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn check_size(&self, prompt: &Prompt) -> Result<(), Error> {
        if prompt.tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        // Beside one token of every other sequence.
        let most = STEP_ROWS.saturating_sub(self.settings.sequences - 1);
        if let Some(block) = prompt.blocks.iter().find(|block| block.len() > most) {
            return Err(Error::Block {
                tokens: block.len(),
                most,
            });
        }
        if prompt.tokens.len() < self.settings.context {
            return Ok(());
        }
        let mut media: Vec<(Owner, usize)> = Vec::new();
        for span in &prompt.images {
            let owner = prompt.owners[span.image];
            match media.iter_mut().find(|(known, _)| *known == owner) {
                Some((_, tokens)) => *tokens += span.tokens.len(),
                None => media.push((owner, span.tokens.len())),
            }
        }
        let seen: usize = prompt.images.iter().map(|span| span.tokens.len()).sum();
        Err(Error::ContextFull {
            text: prompt.tokens.len() - seen,
            media,
            context: self.settings.context,
        })
    }

    /// Ends a sequence and gives back its pages.
    pub(crate) fn end(&mut self, id: SequenceId, end: End) -> Option<Outcome> {
        let mut sequence = self.sequences.remove(&id)?;
        self.scheduler.finish(id);
        sequence.table.give_back(&mut self.pools);
        for encoder in &mut self.encoders {
            encoder.abandon(id);
        }
        sequence.timings.decode = sequence.lap();
        let written = sequence.answer.written;
        Some(Outcome {
            text: written.text,
            reasoning: written.reasoning,
            tokens: sequence.answer.tokens,
            reasoning_tokens: written.reasoning_tokens,
            logprobs: written.logprobs,
            finish_reason: end.reason,
            stopped: end.cause,
            prompt_tokens: sequence.prompt.tokens.len(),
            cached_tokens: sequence.reused,
            drafts: sequence.drafts,
            timings: sequence.timings,
        })
    }
}
