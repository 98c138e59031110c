//! The engine: one model's mutable state, and the step that moves every request on.
//!
//! [`Engine::submit`] queues a request, [`Engine::step`] does a bounded piece of work (a layer of a
//! picture's encoder, or one forward pass over tokens of many sequences) and says what came of it.
//! [`Engine::generate`] runs one request to its end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use ocelli_image::Grid;
use ocelli_tensor::{Backend, KvElement, KvLayout, KvStore, Memory};
use ocelli_text::StopStrings;

use crate::answer::Answer;
use crate::vision::Encoder;
use crate::{
    ClientId, Error, Event, FeatureCache, FinishReason, Model, Outcome, Output, PAGE_TOKENS,
    PagePool, Picture, Prompt, STEP_ROWS, Sampler, Sampling, Scheduler, SchedulerLimits, Sequence,
    SequenceId, Submission, text_memory, vision_memory,
};

/// What an engine is built with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tokens that prompt and answer of one request may have together.
    pub context: usize,
    /// Requests that run at the same time.
    pub sequences: usize,
    /// Tokens that the cache holds for all of them; at least `context`.
    pub cache_tokens: usize,
    /// Element type of keys and values.
    pub kv_element: KvElement,
    /// Most bytes of kept picture features.
    pub feature_bytes: usize,
    /// The largest picture that will be encoded.
    pub largest_picture: Option<Grid>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Generate {
    /// What is asked.
    pub prompt: Prompt,
    /// Its pictures, in order.
    pub pictures: Vec<Picture>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Whose it is.
    pub client: ClientId,
    /// Requests share cached prompts only with those of equal salt.
    pub salt: [u8; 32],
}

/// See the module.
pub struct Engine {
    pub(crate) model: Arc<Model>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) settings: Settings,
    pub(crate) text_memory: Memory,
    pub(crate) kv: Box<dyn KvStore>,
    pub(crate) pool: PagePool,
    pub(crate) scheduler: Scheduler,
    pub(crate) sequences: BTreeMap<SequenceId, Sequence>,
    pub(crate) features: FeatureCache,
    pub(crate) encoder: Option<Encoder>,
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
    pub fn new(model: Arc<Model>, backend: Arc<dyn Backend>, settings: Settings) -> Self {
        let deepstack = model.vision.as_ref().map_or(0, |v| v.deepstack());
        let text = text_memory(model.text.as_ref(), deepstack);
        let vision = model.vision.as_ref().zip(settings.largest_picture);
        let encoder = vision.map(|(vision, grid)| {
            let patch = vision.patch_size() as usize;
            let elements = vision_memory(vision.as_ref(), grid, 6 * patch * patch);
            Encoder::new(Memory::reserve(backend.as_ref(), elements))
        });
        let pages = settings
            .cache_tokens
            .max(settings.context)
            .div_ceil(PAGE_TOKENS);
        let layout = KvLayout {
            layers: model.text.caches(),
            pages,
            page_tokens: PAGE_TOKENS,
            element: settings.kv_element,
        };
        Self {
            text_memory: Memory::reserve(backend.as_ref(), text),
            encoder,
            kv: backend.kv_store(layout),
            pool: PagePool::new(pages),
            scheduler: Scheduler::new(SchedulerLimits {
                sequences: settings.sequences,
                step_rows: STEP_ROWS,
                prompt_rows_beside_generating: STEP_ROWS / 2,
                pages,
            }),
            sequences: BTreeMap::new(),
            features: FeatureCache::new(settings.feature_bytes),
            next_id: 0,
            model,
            backend,
            settings,
        }
    }

    /// The model that this engine runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens that prompt and answer of one request may have together.
    pub fn context(&self) -> usize {
        self.settings.context
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
        request.sampling.check().map_err(Error::Sampling)?;
        self.check_size(&request.prompt)?;
        if !request.pictures.is_empty() && self.encoder.is_none() {
            return Err(Error::NoVision {
                model: self.model.name.clone(),
            });
        }
        let stop = StopStrings::new(request.stop)?;
        let prompt_tokens = request.prompt.tokens.len();
        let limit = request
            .max_tokens
            .min(self.settings.context - prompt_tokens);
        let sampler = Sampler::new(request.sampling, &request.prompt.tokens);
        let answer = Answer::new(&self.model.tokenizer, sampler, stop, limit);
        let asked = (request.prompt, request.pictures);
        let sequence = Sequence::new(asked, answer, self.model.text.as_ref(), &request.salt);
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let accepted = self.scheduler.submit(Submission {
            id,
            client: request.client,
            prompt_tokens,
            pages: (prompt_tokens + limit).div_ceil(PAGE_TOKENS),
        });
        assert!(accepted, "the cache holds at least one context");
        self.sequences.insert(id, sequence);
        Ok(id)
    }

    /// Ends a request wherever it is. Its outcome comes at once, if it was still there.
    pub fn cancel(&mut self, id: SequenceId) -> Option<Outcome> {
        self.end(id, FinishReason::Cancelled)
    }

    /// Answers a request, telling `observe` what happens; it can stop the request at each event.
    ///
    /// # Errors
    /// When the request does not fit or the arithmetic fails. The engine stays usable.
    pub fn generate(
        &mut self,
        request: Generate,
        observe: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        let id = self.submit(request)?;
        loop {
            for (whose, output) in self.step() {
                if whose != id {
                    continue;
                }
                let flow = match output {
                    Output::Encoding { image, done, total } => {
                        observe(Event::Encoding { image, done, total })
                    }
                    Output::Prefill { done, total } => observe(Event::Prefill { done, total }),
                    Output::Text { text, .. } => observe(Event::Text(&text)),
                    Output::Done(outcome) => return Ok(*outcome),
                    Output::Failed(error) => return Err(error),
                };
                if flow.is_break()
                    && let Some(outcome) = self.cancel(id)
                {
                    return Ok(outcome);
                }
            }
        }
    }

    pub(crate) fn check_size(&self, prompt: &Prompt) -> Result<(), Error> {
        if prompt.tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.tokens.len() < self.settings.context {
            return Ok(());
        }
        let mut images = vec![0; prompt.keys.len()];
        for span in &prompt.images {
            images[span.image] += span.tokens.len();
        }
        Err(Error::ContextFull {
            text: prompt.tokens.len() - images.iter().sum::<usize>(),
            images,
            context: self.settings.context,
        })
    }

    /// Ends a sequence and gives back its pages.
    pub(crate) fn end(&mut self, id: SequenceId, finish_reason: FinishReason) -> Option<Outcome> {
        let mut sequence = self.sequences.remove(&id)?;
        self.scheduler.finish(id);
        self.pool.give_back(&mut sequence.pages);
        if let Some(encoder) = &mut self.encoder {
            encoder.abandon(id);
        }
        sequence.timings.decode = sequence.lap();
        Some(Outcome {
            text: sequence.answer.text,
            tokens: sequence.answer.tokens,
            finish_reason,
            prompt_tokens: sequence.prompt.tokens.len(),
            cached_tokens: sequence.reused,
            timings: sequence.timings,
        })
    }
}
