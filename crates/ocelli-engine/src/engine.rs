//! The engine: one model's mutable state and the loop that answers a request.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use ocelli_image::Grid;
use ocelli_models::{ImageFeatures, ImageRows, Step, run_step};
use ocelli_tensor::{Backend, KvElement, KvLayout, KvStore, Memory, Pass, Probe, Span, Stage};
use ocelli_text::StopStrings;

use crate::answer::Answer;
use crate::vision::encode;
use crate::{
    Error, Event, FeatureCache, FinishReason, Model, Outcome, PagePool, Picture, Prompt, STEP_ROWS,
    Sampler, Sampling, Sequence, Timings, text_memory, vision_memory,
};

/// Tokens in a page of the cache.
const PAGE_TOKENS: usize = 32;

/// What an engine is built with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tokens that prompt and answer may have together.
    pub context: usize,
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
}

/// See the module.
pub struct Engine {
    pub(crate) model: Arc<Model>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) settings: Settings,
    text_memory: Memory,
    pub(crate) vision_memory: Option<Memory>,
    kv: Box<dyn KvStore>,
    pub(crate) pool: PagePool,
    pub(crate) sequence: Sequence,
    features: FeatureCache,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.model)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

pub(crate) type Observer<'a> = &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>;
pub(crate) type See<'a> = &'a mut dyn FnMut(Stage<'_>);

impl Engine {
    /// Reserves memory for the worst step, the largest picture and the whole context.
    pub fn new(model: Arc<Model>, backend: Arc<dyn Backend>, settings: Settings) -> Self {
        let deepstack = model.vision.as_ref().map_or(0, |v| v.deepstack());
        let text = text_memory(model.text.as_ref(), deepstack);
        let vision = model.vision.as_ref().zip(settings.largest_picture);
        let vision_memory = vision.map(|(vision, grid)| {
            let patch = vision.patch_size() as usize;
            let elements = vision_memory(vision.as_ref(), grid, 6 * patch * patch);
            Memory::reserve(backend.as_ref(), elements)
        });
        let pages = settings.context.div_ceil(PAGE_TOKENS);
        let layout = KvLayout {
            layers: model.text.caches(),
            pages,
            page_tokens: PAGE_TOKENS,
            element: settings.kv_element,
        };
        Self {
            text_memory: Memory::reserve(backend.as_ref(), text),
            vision_memory,
            kv: backend.kv_store(layout),
            pool: PagePool::new(pages, PAGE_TOKENS),
            sequence: Sequence::default(),
            features: FeatureCache::new(settings.feature_bytes),
            model,
            backend,
            settings,
        }
    }

    /// The model that this engine runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.settings.context
    }

    /// Answers a request, telling `observe` what happens; it can stop the request at each event.
    ///
    /// # Errors
    /// When the request does not fit or the arithmetic fails. The engine stays usable.
    pub fn generate(&mut self, request: Generate, observe: Observer<'_>) -> Result<Outcome, Error> {
        request.sampling.check().map_err(Error::Sampling)?;
        self.check_size(&request.prompt)?;
        let stop = StopStrings::new(request.stop)?;
        let mut timings = Timings::default();
        let prompt_tokens = request.prompt.tokens.len();
        let sampler = Sampler::new(request.sampling, &request.prompt.tokens);
        let model = Arc::clone(&self.model);
        self.sequence
            .restart(request.prompt, model.text.as_ref(), &mut self.pool);
        let cached_tokens = self.sequence.cached;
        let cancelled = |timings| Outcome {
            text: String::new(),
            tokens: Vec::new(),
            finish_reason: FinishReason::Cancelled,
            prompt_tokens,
            cached_tokens,
            timings,
        };
        let start = Instant::now();
        let Some(features) = self.encode_pictures(&request.pictures, observe)? else {
            return Ok(cancelled(timings));
        };
        timings.encode = start.elapsed();
        let start = Instant::now();
        let Some(logits) = self.prefill(&features, observe)? else {
            return Ok(cancelled(timings));
        };
        timings.prefill = start.elapsed();
        let start = Instant::now();
        let room = self.settings.context - prompt_tokens;
        let mut answer = Answer::new(&model, sampler, stop, request.max_tokens.min(room));
        let finish_reason = self.decode(logits, &mut answer, observe)?;
        timings.decode = start.elapsed();
        Ok(Outcome {
            text: answer.text,
            tokens: answer.tokens,
            finish_reason,
            prompt_tokens,
            cached_tokens,
            timings,
        })
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

    /// Features of the pictures that prefill will need; `None` for those already in the cache of keys
    /// and values. The outer `None` means that the observer stopped it.
    fn encode_pictures(
        &mut self,
        pictures: &[Picture],
        observe: Observer<'_>,
    ) -> Result<Option<Vec<Option<Arc<ImageFeatures>>>>, Error> {
        let mut features = vec![None; pictures.len()];
        let cached = self.sequence.cached;
        for span in &self.sequence.prompt.images {
            if span.tokens.end <= cached || features[span.image].is_some() {
                continue;
            }
            let picture = &pictures[span.image];
            if let Some(kept) = self.features.get(&picture.key) {
                features[span.image] = Some(kept);
                continue;
            }
            let model = Arc::clone(&self.model);
            let (Some(vision), Some(memory)) = (&model.vision, &mut self.vision_memory) else {
                return Err(Error::NoVision {
                    model: model.name.clone(),
                });
            };
            let work = (span.image, picture);
            let Some(made) = encode(
                vision.as_ref(),
                self.backend.as_ref(),
                memory,
                work,
                observe,
            )?
            else {
                return Ok(None);
            };
            self.features.insert(picture.key, Arc::clone(&made));
            features[span.image] = Some(made);
        }
        Ok(Some(features))
    }

    /// Runs the prompt's tokens that are not cached; logits of the last one, or `None` when stopped.
    fn prefill(
        &mut self,
        features: &[Option<Arc<ImageFeatures>>],
        observe: Observer<'_>,
    ) -> Result<Option<Vec<f32>>, Error> {
        let total = self.sequence.prompt.tokens.len();
        let mut logits = None;
        while self.sequence.cached < total {
            logits = Some(self.prefill_step(features, None));
            let done = self.sequence.cached;
            if observe(Event::Prefill { done, total }).is_break() {
                return Ok(None);
            }
        }
        let logits = logits.ok_or(Error::EmptyPrompt)?;
        check_finite(&logits)?;
        Ok(Some(logits))
    }

    /// One step of the prompt: at most [`STEP_ROWS`] tokens. Logits of its last token.
    pub(crate) fn prefill_step(
        &mut self,
        features: &[Option<Arc<ImageFeatures>>],
        see: Option<See<'_>>,
    ) -> Vec<f32> {
        let sequence = &mut self.sequence;
        let start = sequence.cached;
        let end = sequence.prompt.tokens.len().min(start + STEP_ROWS);
        let grown = self.pool.grow(&mut sequence.pages, end);
        assert!(grown, "the pool has room for the whole context");
        let rows = end - start;
        let images: Vec<ImageRows<'_>> = sequence
            .prompt
            .images
            .iter()
            .filter(|span| span.tokens.start < end && span.tokens.end > start)
            .filter_map(|span| {
                let features = features[span.image].as_deref()?;
                let first = span.tokens.start.max(start);
                let last = span.tokens.end.min(end);
                let offset = span.from.start + first - span.tokens.start;
                Some(ImageRows {
                    features,
                    from: offset..offset + last - first,
                    rows: first - start..last - start,
                })
            })
            .collect();
        let spans = [Span {
            rows: 0..rows,
            cached: start,
            pages: &sequence.pages,
            both_ways: &[],
        }];
        let step = Step {
            tokens: &sequence.prompt.tokens[start..end],
            positions: &sequence.positions.tokens[start..end],
            prompt_rows: rows,
            spans: &spans,
            images: &images,
            output_rows: &[rows - 1],
        };
        let mut show;
        let probe = match see {
            None => Probe::Off,
            Some(see) => {
                show = move |stage: Stage<'_>| see(stage);
                Probe::On(&mut show)
            }
        };
        let mark = self.text_memory.mark();
        let mut pass = Pass::new(self.backend.as_ref(), &mut self.text_memory, probe)
            .with_kv(self.kv.as_mut());
        let logits = run_step(self.model.text.as_ref(), &mut pass, &step);
        let logits = pass.download(&logits);
        self.text_memory.release(mark);
        sequence.cached = end;
        sequence.cached_prompt = end;
        logits
    }

    /// Runs one generated token, number `index` of the answer; its logits.
    pub(crate) fn decode_step(&mut self, token: u32, index: usize) -> Vec<f32> {
        let sequence = &mut self.sequence;
        let grown = self.pool.grow(&mut sequence.pages, sequence.cached + 1);
        assert!(grown, "the pool has room for the whole context");
        let spans = [Span {
            rows: 0..1,
            cached: sequence.cached,
            pages: &sequence.pages,
            both_ways: &[],
        }];
        let step = Step {
            tokens: &[token],
            positions: &[sequence.generated_position(index)],
            prompt_rows: 0,
            spans: &spans,
            images: &[],
            output_rows: &[0],
        };
        let mark = self.text_memory.mark();
        let mut pass = Pass::new(self.backend.as_ref(), &mut self.text_memory, Probe::Off)
            .with_kv(self.kv.as_mut());
        let logits = run_step(self.model.text.as_ref(), &mut pass, &step);
        let logits = pass.download(&logits);
        self.text_memory.release(mark);
        sequence.cached += 1;
        logits
    }

    fn decode(
        &mut self,
        mut logits: Vec<f32>,
        answer: &mut Answer<'_>,
        observe: Observer<'_>,
    ) -> Result<FinishReason, Error> {
        loop {
            if answer.is_full() {
                return Ok(answer.finish(FinishReason::Length, observe));
            }
            let (token, end) = answer.take(&mut logits, observe);
            if let Some(reason) = end {
                return Ok(reason);
            }
            if answer.is_full() {
                continue;
            }
            logits = self.decode_step(token, answer.tokens.len() - 1);
            check_finite(&logits)?;
        }
    }
}

fn check_finite(logits: &[f32]) -> Result<(), Error> {
    if logits.iter().all(|v| v.is_finite()) {
        return Ok(());
    }
    Err(Error::NonFinite {
        what: "logits at layer-stack output".to_owned(),
    })
}
