//! Opening the measured model, with an engine just large enough for its cases.

use std::sync::Arc;
use std::time::Instant;

use ocelli_cpu::CpuBackend;
use ocelli_engine::{Engine, PAGE_TOKENS, STEP_ROWS, Settings, text_memory, vision_memory};
use ocelli_image::{Budget, Grid};
use ocelli_models::VisionModel;
use ocelli_tensor::{Backend, Timed};

use super::case::Case;
use super::report::{ModelReport, Stage};
use super::{BenchOptions, OnProgress, Progress, Subject, cases, synthetic, system, work};
use crate::load::{
    Files, check_memory, check_pair, kept_in, picture_budget, read_text, read_weights,
};
use crate::memory::available;
use crate::{Error, Options, Source};

/// Loading is repeated as long as this many seconds have not passed.
const LOAD_PATIENCE_S: f64 = 10.0;

/// A model that is ready to be measured.
pub(super) struct Loaded {
    pub(super) engine: Engine,
    pub(super) budget: Option<Budget>,
    pub(super) cases: Vec<Case>,
    pub(super) repeats: usize,
    pub(super) new_tokens: usize,
    pub(super) settings: Settings,
    pub(super) load: Stage,
    pub(super) read_per_token: u64,
    /// Number of the next request, so that none finds anything of an earlier one.
    pub(super) serial: u64,
    /// Keeps times of operations, if they were asked for.
    pub(super) timed: Option<Arc<Timed>>,
    /// Bytes as stored: text model, projector.
    stored: (u64, u64),
    name: String,
}

impl Loaded {
    pub(super) fn new(
        options: &BenchOptions,
        backend: &Arc<CpuBackend>,
        progress: OnProgress<'_>,
    ) -> Result<Self, Error> {
        let made = match &options.subject {
            Subject::Shape { shape, .. } => {
                progress(Progress::Step(format!("making {shape}")));
                Some(open(options)?)
            }
            Subject::Files { .. } => None,
        };
        let mut seconds = Vec::new();
        let mut loaded = loop {
            progress(Progress::Step("loading".to_owned()));
            let mut report = |done: u64, total: u64| {
                progress(Progress::Detail(format!("{} %", 100 * done / total.max(1))));
            };
            let start = Instant::now();
            let loaded = match &made {
                Some(files) => Self::once(files, options, backend, &mut report)?,
                None => Self::once(&open(options)?, options, backend, &mut report)?,
            };
            seconds.push(start.elapsed().as_secs_f64());
            let spent: f64 = seconds.iter().sum();
            if seconds.len() >= options.repeats || spent > LOAD_PATIENCE_S {
                break loaded;
            }
        };
        if made.is_some() {
            drop(made);
            // What the weights were made of is no part of what a model needs.
            system::forget_peak();
        }
        loaded.load = Stage::of(&seconds);
        Ok(loaded)
    }

    fn once(
        files: &Files,
        options: &BenchOptions,
        backend: &Arc<CpuBackend>,
        report: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        let cpu: Arc<dyn Backend> = Arc::clone(backend) as Arc<dyn Backend>;
        let timed = options
            .operations
            .then(|| Arc::new(Timed::new(Arc::clone(&cpu))));
        let backend = match &timed {
            Some(timed) => Arc::clone(timed) as Arc<dyn Backend>,
            None => cpu,
        };
        let stored = files.all().map(work::stored_bytes);
        let stored = stored.fold((0, 0), |sum, file| (sum.0 + file.0, sum.1 + file.1));
        let needed = stored.0 + stored.1;
        check_memory(
            "weights",
            needed,
            available(),
            "Use a smaller shape or type",
        )?;
        let (text, vision) = read_weights(files, backend.as_ref(), report)?;
        let join = check_pair(files, text.as_ref(), vision.as_deref())?;
        let (tokenizer, _) = read_text(&files.text, text.as_ref(), join)?;
        let budget = vision
            .as_ref()
            .map(|vision| picture_budget(vision.as_ref(), &Options::default()))
            .transpose()?;
        let name = files.text.name();
        let name = name.strip_suffix(".gguf").unwrap_or(name).to_owned();
        let model = ocelli_engine::Model {
            name: name.clone(),
            text,
            vision,
            join,
            tokenizer,
        };
        let cases = cases(options, model.vision.is_some());
        let settings = settings(options, &cases, &model, budget.as_ref())?;
        let mut engine = Engine::new(Arc::new(model), backend, settings)?;
        // Random weights repeat themselves, and how often guesses come says nothing about the machine.
        engine.set_draft_tokens(0);
        Ok(Self {
            engine,
            budget,
            cases,
            repeats: options.repeats,
            new_tokens: options.new_tokens,
            settings,
            load: Stage::default(),
            read_per_token: work::read_per_token(&files.text),
            serial: 0,
            timed,
            stored,
            name,
        })
    }

    /// What was run.
    pub(super) fn describe(&self, options: &BenchOptions) -> ModelReport {
        let mb = |bytes: usize| bytes as f64 / 1e6;
        let model = self.engine.model();
        let vision = model.vision.as_deref();
        let deepstack = vision.map_or(0, |vision| vision.deepstack());
        let arena = vision.zip(self.settings.largest_picture);
        let weights = model.text.weight_bytes() + vision.map_or(0, |v| v.weight_bytes());
        ModelReport {
            name: self.name.clone(),
            is_synthetic: matches!(options.subject, Subject::Shape { .. }),
            precision: format!("{:?}", options.precision).to_lowercase(),
            kv: format!("{:?}", self.settings.kv_element).to_lowercase(),
            text_mb: mb(self.stored.0 as usize),
            projector_mb: vision.map(|_| mb(self.stored.1 as usize)),
            weights_mb: mb(weights),
            cache_mb: mb(self.settings.kv_layout(model.text.caches()).bytes() as usize),
            image_arena_mb: arena.map(|(vision, grid)| {
                let patch = vision.patch_size() as usize;
                mb(4 * vision_memory(vision, grid, 6 * patch * patch))
            }),
            text_arena_mb: mb(4 * text_memory(
                model.text.as_ref(),
                deepstack,
                self.settings.sequences,
            )),
            read_per_token_mb: self.read_per_token as f64 / 1e6,
        }
    }
}

/// Finds out that a file is missing or bad before anything is measured.
pub(super) fn check_subject(options: &BenchOptions) -> Result<(), Error> {
    match &options.subject {
        Subject::Shape { .. } => Ok(()),
        Subject::Files { .. } => open(options).map(drop),
    }
}

fn open(options: &BenchOptions) -> Result<Files, Error> {
    match &options.subject {
        Subject::Shape {
            shape,
            file_type,
            projector_type,
        } => {
            let (text, projector) = synthetic::pair(shape, *file_type, *projector_type)?;
            Ok(Files::from_memory(text, projector))
        }
        Subject::Files { text, projector } => Files::open(
            &Source::File(text.clone()),
            &Options {
                projector: projector.clone(),
                ..Options::default()
            },
        ),
    }
}

/// An engine's settings that are just enough for the cases.
fn settings(
    options: &BenchOptions,
    cases: &[Case],
    model: &ocelli_engine::Model,
    budget: Option<&Budget>,
) -> Result<Settings, Error> {
    let (text, vision) = (&model.text, model.vision.as_deref());
    let pictures = pictures(cases, vision, budget, &model.name)?;
    let largest = pictures.iter().copied().max_by_key(Grid::patches);
    // Some families put tokens between rows of a picture.
    let tokens = |grid: &Grid| grid.tokens() + grid.merged_h() as usize + 64;
    let image_tokens = pictures.iter().map(tokens).max().unwrap_or(0);
    let rooms = cases.iter().map(|case| {
        let prompt = case.text_tokens + image_tokens;
        (
            prompt + options.new_tokens + slack(case, prompt),
            case.batch,
        )
    });
    let (context, sequences) = rooms.fold((0, 1), |(most, wide), (tokens, batch)| {
        (most.max(tokens), wide.max(batch))
    });
    let deepstack = vision.map_or(0, |vision| vision.deepstack());
    let settings = Settings {
        context,
        sequences,
        cache_tokens: sequences * context.next_multiple_of(PAGE_TOKENS),
        kv_element: kept_in(options.kv, options.precision),
        // One picture, so that the sequences of a batch share it.
        feature_bytes: image_tokens * 4 * text.hidden() * (1 + deepstack),
        largest_picture: largest,
    };
    let bytes = settings.kv_layout(text.caches()).bytes();
    let what = format!("keys and values of {} tokens", settings.cache_tokens);
    check_memory(
        &what,
        bytes,
        available(),
        "Ask for fewer tokens or sequences",
    )?;
    Ok(settings)
}

/// Tokens that sequences of a batch generate while the prompts of others are still being run.
pub(super) fn slack(case: &Case, prompt_tokens: usize) -> usize {
    match case.batch {
        1 => 1,
        batch => batch * (prompt_tokens.div_ceil(STEP_ROWS / 2) + 1) + 1,
    }
}

/// The grids of the cases' pictures.
fn pictures(
    cases: &[Case],
    vision: Option<&dyn VisionModel>,
    budget: Option<&Budget>,
    name: &str,
) -> Result<Vec<Grid>, Error> {
    let mut grids = Vec::new();
    for (width, height) in cases.iter().filter_map(|case| case.image) {
        let (Some(vision), Some(budget)) = (vision, budget) else {
            return Err(Error::NoVision {
                model: name.to_owned(),
                why: "no projector was given".to_owned(),
            });
        };
        grids.push(vision.grid(width, height, budget)?);
    }
    Ok(grids)
}
