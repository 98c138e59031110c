//! Running one case: decode of the picture, preprocessing, encoding, prefill, decode, through the
//! engine that answers users.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ocelli_engine::{Engine, Event, Generate, Output, Picture, Prompt, SequenceId};
use ocelli_text::{TokenKind, Tokenizer};

use super::limits::{Limit, Limits};
use super::load::{Loaded, slack};
use super::operations::{Calls, During};
use super::report::{Run, Stage, Stages, TokenStage};
use super::{OnProgress, Progress, picture, work};
use crate::pictures::{Prepared, Viewing};
use crate::prepare::Seeing;
use crate::{Error, ImageSource};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// Width and height of the picture.
    pub(super) image: Option<(u32, u32)>,
    /// Tokens of text in the prompt.
    pub(super) text_tokens: usize,
    /// Sequences in a step of decoding.
    pub(super) batch: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((width, height)) = self.image {
            write!(f, "{width}x{height}, ")?;
        }
        write!(f, "{} text tokens", self.text_tokens)?;
        match self.batch {
            1 => Ok(()),
            batch => write!(f, ", {batch} sequences"),
        }
    }
}

/// Seconds of each repeat.
struct Times {
    image_decode: Vec<f64>,
    preprocess: Vec<f64>,
    encode: Vec<f64>,
    prefill: Vec<f64>,
    decode: Vec<f64>,
    first_token: Vec<f64>,
    /// Tokens in the time of `decode`, for each sequence.
    decoded: usize,
    /// What was called in them.
    calls: Calls,
}

impl Times {
    fn new(calls: Calls) -> Self {
        Self {
            image_decode: Vec::new(),
            preprocess: Vec::new(),
            encode: Vec::new(),
            prefill: Vec::new(),
            decode: Vec::new(),
            first_token: Vec::new(),
            decoded: 0,
            calls,
        }
    }
}

/// A prompt with what belongs to it, and what is known of it.
struct Asked {
    prompt: Prompt,
    prepared: Prepared,
}

impl Loaded {
    /// Runs a case.
    ///
    /// # Errors
    /// When the picture is refused or arithmetic goes wrong.
    pub(super) fn measure(
        &mut self,
        case: &Case,
        limits: &mut Limits,
        progress: OnProgress<'_>,
    ) -> Result<Run, Error> {
        let png = case
            .image
            .map(|(width, height)| picture::png(width, height));
        let png = png.transpose()?.map(ImageSource::Bytes);
        if self.serial == 0 {
            // Touches memory for the first time and wakes the threads; its times do not count.
            progress(Progress::Detail("warming up".to_owned()));
            let times = &mut self.times();
            self.repeat(case, png.as_ref(), (times, limits), progress)?;
        }
        let measured = limits.count();
        limits.refresh();
        let mut times = self.times();
        let mut last = None;
        for repeat in 1..=self.repeats {
            let what = format!("repeat {repeat} of {}", self.repeats);
            progress(Progress::Detail(what));
            last = Some(self.repeat(case, png.as_ref(), (&mut times, limits), progress)?);
        }
        let asked = last.ok_or_else(|| Error::Settings("repeats: found 0".to_owned()))?;
        Ok(self.report(case, &asked, &times, limits.since(measured)))
    }

    fn times(&self) -> Times {
        Times::new(Calls::new(self.timed.as_ref()))
    }

    fn repeat(
        &mut self,
        case: &Case,
        png: Option<&ImageSource>,
        (times, limits): (&mut Times, &mut Limits),
        progress: OnProgress<'_>,
    ) -> Result<Asked, Error> {
        self.serial += 1;
        let start = Instant::now();
        let asked = self.prepare(case, png)?;
        let new_tokens = if case.batch == 1 { self.new_tokens } else { 1 };
        let request = self.request(&asked, asked.prompt.clone(), new_tokens);
        let mut first = None;
        // Between the prompt and the next token the limits are measured, which the time of decoding
        // has in it.
        let mut aside = Duration::ZERO;
        let outcome = self.engine.generate(request, &mut |event| {
            match event {
                Event::Encoding { done, total, .. } => {
                    times.calls.belong_to(During::Encode);
                    progress(Progress::Detail(format!(
                        "encoding, layer {done} of {total}"
                    )));
                }
                Event::Prefill { done, total } => {
                    times.calls.belong_to(During::Prefill);
                    progress(Progress::Detail(format!("prompt, token {done} of {total}")));
                    if done == total {
                        first = Some(start.elapsed().as_secs_f64());
                        let paused = Instant::now();
                        limits.refresh();
                        aside = paused.elapsed();
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        if png.is_some() {
            let prepared = &asked.prepared;
            times.image_decode.push(prepared.decode.as_secs_f64());
            times.preprocess.push(prepared.preprocess.as_secs_f64());
            times.encode.push(outcome.timings.encode.as_secs_f64());
        }
        times.prefill.push(outcome.timings.prefill.as_secs_f64());
        times.first_token.extend(first);
        if case.batch == 1 {
            times.calls.belong_to(During::Decode);
        }
        if case.batch > 1 {
            self.decode_batch(case, &asked, times)?;
        } else if outcome.tokens.len() > 1 {
            let decode = outcome.timings.decode.saturating_sub(aside);
            times.decode.push(decode.as_secs_f64());
            times.decoded = outcome.tokens.len() - 1;
        }
        limits.refresh();
        Ok(asked)
    }

    /// Decodes many sequences in one step, behind prompts that are run before and not counted.
    fn decode_batch(&mut self, case: &Case, asked: &Asked, times: &mut Times) -> Result<(), Error> {
        let steps = self.new_tokens - 1;
        let room = self.new_tokens + slack(case, asked.prompt.tokens.len());
        let mut ids = Vec::with_capacity(case.batch);
        for index in 0..case.batch {
            // A token of its own in front, so that no sequence shares the pages of another.
            let prompt = self.prompt(case, &asked.prepared, Some(index))?;
            let request = self.request(asked, prompt, room);
            ids.push(self.engine.submit(request)?);
        }
        let mut waiting = case.batch;
        while waiting > 0 {
            waiting -= step(&mut self.engine)?;
        }
        times.calls.skip();
        let start = Instant::now();
        for _ in 0..steps {
            step(&mut self.engine)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        times.calls.belong_to(During::Decode);
        // A sequence that ended by itself took no part in every step.
        let is_whole = |id: &SequenceId| self.engine.cancel(*id).is_some();
        let whole = ids.iter().map(is_whole).filter(|&is| is).count();
        if steps > 0 && whole == case.batch {
            times.decode.push(seconds);
            times.decoded = steps;
        }
        Ok(())
    }

    fn prepare(&self, case: &Case, png: Option<&ImageSource>) -> Result<Asked, Error> {
        let model = self.engine.model();
        let mut prepared = match (png, &model.vision, &self.budget) {
            (Some(png), Some(vision), Some(budget)) => {
                let viewing = Viewing {
                    vision: vision.as_ref(),
                    budget,
                    seeing: &Seeing::default(),
                    crops: None,
                };
                Prepared::new(&[png], &viewing)?
            }
            _ => Prepared::default(),
        };
        for picture in &mut prepared.pictures {
            picture.key[..8].copy_from_slice(&self.serial.to_le_bytes());
        }
        let prompt = self.prompt(case, &prepared, None)?;
        Ok(Asked { prompt, prepared })
    }

    /// The picture, so that no text is run before it is encoded, and the text behind it; in front
    /// of both, the ordinary token number `first`.
    fn prompt(
        &self,
        case: &Case,
        prepared: &Prepared,
        first: Option<usize>,
    ) -> Result<Prompt, Error> {
        let model = self.engine.model();
        let images: Vec<_> = prepared.pictures.iter().map(Picture::slot).collect();
        let first = first.and_then(|index| words(&model.tokenizer).nth(index));
        let mut ids: Vec<u32> = first.into_iter().collect();
        let slots: Vec<usize> = images.iter().map(|_| ids.len()).collect();
        ids.extend(model.image_token().filter(|_| !images.is_empty()));
        ids.extend(words(&model.tokenizer).cycle().take(case.text_tokens));
        let layout = model.layout();
        Ok(Prompt::new(&ids, &slots, &images, layout.as_ref())?)
    }

    /// A request that finds nothing of an earlier repeat and is not ended by the model.
    fn request(&self, asked: &Asked, prompt: Prompt, max_tokens: usize) -> Generate {
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&self.serial.to_le_bytes());
        Generate {
            ignore_end: true,
            repetition: None,
            salt,
            ..Generate::new(prompt, asked.prepared.pictures.clone(), max_tokens)
        }
    }

    fn report(&self, case: &Case, asked: &Asked, times: &Times, limit: Limit) -> Run {
        let model = self.engine.model();
        let prompt_tokens = asked.prompt.tokens.len();
        let record = asked.prepared.records.first();
        let grid = record.map(|record| record.grid);
        let encoding = model.vision.as_deref().zip(grid);
        let encoding = encoding.map_or(0, |(vision, grid)| work::encoding(vision, grid));
        let prefill = work::prefill(model.text.as_ref(), &asked.prompt);
        let float = limit.float_tera;
        Run {
            image: case
                .image
                .map(|(width, height)| format!("{width}x{height}")),
            resized: record.map(|r| format!("{}x{}", r.resized_width, r.resized_height)),
            patches: grid.map_or(0, |grid| grid.patches()),
            image_tokens: prompt_tokens - case.text_tokens,
            prompt_tokens,
            new_tokens: times.decoded + 1,
            batch: case.batch,
            read_gbps: limit.read_gbps,
            bf16_tflops: limit.float_tera,
            time_to_first_token_s: Stage::of(&times.first_token).seconds,
            stages: Stages {
                load: self.load,
                image_decode: Stage::of(&times.image_decode),
                preprocess: Stage::of(&times.preprocess),
                encode: Stage::of(&times.encode).against(encoding, float),
                prefill: TokenStage {
                    tokens_per_second: per_second(&times.prefill, prompt_tokens),
                    stage: Stage::of(&times.prefill).against(prefill, float),
                    read_gb_per_step: None,
                },
                decode: self.decode_stage(case, prompt_tokens, times, limit),
            },
            operations: times
                .calls
                .report((&times.encode, &times.prefill, &times.decode), limit),
        }
    }

    fn decode_stage(
        &self,
        case: &Case,
        prompt_tokens: usize,
        times: &Times,
        limit: Limit,
    ) -> TokenStage {
        let stage = Stage::of(&times.decode);
        let Some(seconds) = stage.seconds else {
            return TokenStage::default();
        };
        // The cache grows while tokens come; its mean length counts.
        let tokens = prompt_tokens + times.decoded / 2;
        let text = self.engine.model().text.as_ref();
        let cache = work::cache_read(text, tokens, self.settings.kv_element);
        let read = (self.read_per_token + case.batch as u64 * cache) as f64 / 1e9;
        let step = seconds / times.decoded as f64;
        TokenStage {
            tokens_per_second: per_second(&times.decode, case.batch * times.decoded),
            read_gb_per_step: Some(read),
            stage: Stage {
                share_of_limit: Some(read / step / limit.read_gbps),
                ..stage
            },
        }
    }
}

fn per_second(seconds: &[f64], tokens: usize) -> Option<f64> {
    Stage::of(seconds)
        .seconds
        .map(|seconds| tokens as f64 / seconds)
}

/// One step of the engine. Gives how many prompts were finished by it.
fn step(engine: &mut Engine) -> Result<usize, Error> {
    let mut finished = 0;
    for (_, output) in engine.step() {
        match output {
            Output::Prefill { done, total } if done == total => finished += 1,
            Output::Failed(error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(finished)
}

/// Ordinary tokens, spread over the vocabulary.
fn words(tokenizer: &Tokenizer) -> impl Iterator<Item = u32> + Clone {
    let all = tokenizer.len().max(1);
    let spread = (0..all).map(move |index| (index * 7919 % all) as u32);
    spread.filter(|id| tokenizer.kind(*id) == Some(TokenKind::Normal))
}
