//! From files to a model that is ready to answer.

use std::cell::Cell;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ocelli_cpu::{CpuBackend, CpuOptions, Precision};
use ocelli_engine::{Engine, ImageCache, Settings};
use ocelli_gguf::Gguf;
use ocelli_image::{Budget, VideoBudget};
use ocelli_models::registry::{check_fit, join, load_text, load_vision};
use ocelli_models::{Join, Part, TextModel, VisionModel};
use ocelli_store::Pairing;
use ocelli_tensor::{Backend, KvElement, Measure};
use ocelli_text::{ChatTemplate, Tokenizer, Vocabulary};
use sha2::{Digest as _, Sha256};

use crate::assumed::assumed;
use crate::check::check_finite;
use crate::memory::{available, mib};
use crate::model::Parts;
use crate::prepare::Preparer;
use crate::{Error, Model, Options, Sampling, Source, demo};

/// Most tokens of context unless asked otherwise.
pub(crate) const DEFAULT_CONTEXT: usize = 32_768;
/// Most tokens of a picture unless asked otherwise.
const DEFAULT_IMAGE_TOKENS: u64 = 4096;
/// Most tokens of a video unless asked otherwise: what Qwen3-VL's own settings come to.
const DEFAULT_VIDEO_TOKENS: u64 = 12_288;
/// Kept features of pictures.
const FEATURE_BYTES: usize = 512 << 20;
/// Bytes of files that are read before their memory is given back.
const RELEASE_BYTES: u64 = 64 << 20;
/// Vocabularies may be this much smaller than the embedding: converters pad it.
const PADDING_ROWS: usize = 1024;

/// The files of a model.
pub(crate) struct Files {
    pub(crate) text: Gguf,
    projector: Option<Gguf>,
    is_merged: bool,
    pairing: Option<Pairing>,
}

impl Files {
    pub(crate) fn open(source: &Source, options: &Options) -> Result<Self, Error> {
        match source {
            Source::Demo => {
                let (text, projector) = demo::files()?;
                Ok(Self {
                    text,
                    projector: Some(projector),
                    is_merged: false,
                    pairing: None,
                })
            }
            Source::File(path) => {
                let files = ocelli_store::open(path, options.projector.as_deref())
                    .map_err(|error| blame(path, options.projector.as_deref(), error))?;
                Ok(Self {
                    text: files.text,
                    projector: files.projector,
                    is_merged: files.is_merged,
                    pairing: files.pairing,
                })
            }
        }
    }

    /// A pair that lies in no file.
    pub(crate) fn from_memory(text: Gguf, projector: Gguf) -> Self {
        Self {
            text,
            projector: Some(projector),
            is_merged: false,
            pairing: None,
        }
    }

    /// The file with the vision tensors.
    pub(crate) fn vision(&self) -> Option<&Gguf> {
        match self.is_merged {
            true => Some(&self.text),
            false => self.projector.as_ref(),
        }
    }

    /// What was assumed about files of old or foreign layouts.
    fn assumed(&self) -> Vec<String> {
        let mut notes = assumed(&self.text, &[Part::Text]);
        if let Some(vision) = self.vision() {
            notes.extend(assumed(vision, &[Part::Vision]));
        }
        notes
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Gguf> {
        std::iter::once(&self.text).chain(&self.projector)
    }

    /// Why there is no projector, for the error that a picture gets.
    pub(crate) fn why_blind(&self) -> String {
        let found = self.pairing.as_ref().map(|pairing| pairing.reason.clone());
        found.unwrap_or_else(|| "no projector was given".to_owned())
    }

    fn total_bytes(&self) -> u64 {
        self.all().map(Gguf::total_bytes).sum()
    }
}

/// A pair may not fit because one of its files is bad by itself: then that is what is wrong.
fn blame(text: &Path, projector: Option<&Path>, error: ocelli_store::Error) -> Error {
    if !matches!(error, ocelli_store::Error::Mismatch { .. }) {
        return error.into();
    }
    let text = Gguf::open(text).map(|file| load_text(&file, &Measure, &|_| {}).err());
    let projector = projector
        .map(|path| Gguf::open(path).map(|file| load_vision(&file, &Measure, &|_| {}).err()));
    let bad_text = text.ok().flatten();
    let bad_projector = projector.and_then(Result::ok).flatten();
    match (bad_text, bad_projector) {
        (Some(own), _) | (None, Some(own)) => own.into(),
        (None, None) => error.into(),
    }
}

/// Opens a model. `progress` gets the bytes of weights read so far and of all.
pub(crate) fn load(
    source: &Source,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Model, Error> {
    let start = Instant::now();
    let files = Files::open(source, options)?;
    if options.check {
        for file in files.all() {
            check_finite(file)?;
        }
    }
    let total = files.total_bytes();
    check_memory("weights", total, available(), "Use a smaller quantisation")?;
    let backend = backend(options)?;
    let (text, vision) = read_weights(&files, backend.as_ref(), progress)?;
    let join = check_pair(&files, text.as_ref(), vision.as_deref())?;
    let (tokenizer, template) = read_text(&files.text, text.as_ref(), join)?;
    let budget = vision
        .as_ref()
        .map(|vision| picture_budget(vision.as_ref(), options))
        .transpose()?;
    let mut settings = engine_settings(text.as_ref(), vision.as_deref(), budget, options)?;
    let video = join.zip(budget).and_then(|(join, budget)| {
        video_budget(
            vision.as_deref()?,
            join,
            &budget,
            (options, settings.context),
        )
    });
    reserve_for_videos(&mut settings, video.as_ref());
    let default_sampling = default_sampling(&files.text)?;
    let longest_token = tokenizer.vocabulary().tokens.iter().map(str::len).max();
    let kv_bytes = settings.kv_layout(text.caches()).bytes();
    let model = Arc::new(ocelli_engine::Model {
        name: model_name(&files.text),
        text,
        vision,
        join,
        tokenizer,
    });
    Ok(Model::from_parts(Parts {
        preparer: Preparer {
            model: model.clone(),
            template,
            default_sampling,
            budget,
            video,
            ffmpeg: options.ffmpeg.clone(),
            context: settings.context,
            longest_token: longest_token.unwrap_or_default(),
            why_blind: files.why_blind(),
        },
        engine: engine(&files, model, backend, (settings, options))?,
        assumed: files.assumed(),
        load: start.elapsed(),
        bytes: total + kv_bytes,
        sequences: settings.sequences,
    }))
}

fn backend(options: &Options) -> Result<Arc<dyn Backend>, Error> {
    let backend = CpuBackend::new(&CpuOptions {
        threads: options.threads,
        isa: options.isa,
        precision: options.precision,
    });
    Ok(Arc::new(
        backend.map_err(|error| Error::Backend(error.to_string()))?,
    ))
}

/// The engine, with its cache on disk if one is wanted and the model can see.
fn engine(
    files: &Files,
    model: Arc<ocelli_engine::Model>,
    backend: Arc<dyn Backend>,
    (settings, options): (Settings, &Options),
) -> Result<Engine, Error> {
    let cache = match (&options.image_cache, files.vision()) {
        (Some((folder, bytes)), Some(vision)) => {
            let opened = ImageCache::open(folder, *bytes, digest(vision, options));
            Some(opened.map_err(|source| Error::Path {
                action: "write",
                path: folder.clone(),
                source,
            })?)
        }
        _ => None,
    };
    let mut engine = Engine::new(model, backend, settings);
    if let Some(cache) = cache {
        engine.set_image_cache(cache);
    }
    Ok(engine)
}

/// Names the weights that pictures are encoded with, and the arithmetic.
fn digest(vision: &Gguf, options: &Options) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let arithmetic = format!("{:?} {:?} ", options.precision, options.isa);
    hasher.update(arithmetic.as_bytes());
    for tensor in vision.tensors() {
        hasher.update((tensor.name().len() as u64).to_le_bytes());
        hasher.update(tensor.name().as_bytes());
        let data = vision.data(tensor);
        hasher.update((data.len() as u64).to_le_bytes());
        hasher.update(data);
    }
    hasher.finalize().into()
}

pub(crate) type Halves = (Box<dyn TextModel>, Option<Box<dyn VisionModel>>);

/// Packs every weight of both halves. After this the files are not needed.
pub(crate) fn read_weights(
    files: &Files,
    backend: &dyn Backend,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Halves, Error> {
    let total = files.total_bytes();
    let (done, kept) = (Cell::new(0), Cell::new(0));
    let progress = RefCell::new(progress);
    let report = |bytes: u64| {
        done.set(done.get() + bytes);
        kept.set(kept.get() + bytes);
        if kept.get() >= RELEASE_BYTES {
            kept.set(0);
            release(files);
        }
        (progress.borrow_mut())(done.get().min(total), total);
    };
    let text = load_text(&files.text, backend, &report)?;
    let vision = files
        .vision()
        .map(|file| load_vision(file, backend, &report))
        .transpose()?;
    release(files);
    for file in files.all() {
        file.unchanged()?;
    }
    Ok((text, vision))
}

/// Gives the memory of what was read of the files back: each tensor was packed into memory of its own. A tensor that is still
/// being read is read again.
fn release(files: &Files) {
    for file in files.all() {
        // A system that refuses keeps the pages; nothing else changes.
        let _ = file.release_all();
    }
}

/// Finds the pair's row and checks that both halves fit.
pub(crate) fn check_pair(
    files: &Files,
    text: &dyn TextModel,
    vision: Option<&dyn VisionModel>,
) -> Result<Option<&'static Join>, Error> {
    let (Some(file), Some(vision)) = (files.vision(), vision) else {
        return Ok(None);
    };
    let join = join(&files.text, file)?;
    check_fit((&files.text, text), (file, vision))?;
    Ok(Some(join))
}

pub(crate) fn model_name(text: &Gguf) -> String {
    let name = text.name();
    name.strip_suffix(".gguf").unwrap_or(name).to_owned()
}

pub(crate) fn read_text(
    file: &Gguf,
    model: &dyn TextModel,
    join: Option<&Join>,
) -> Result<(Tokenizer, ChatTemplate), Error> {
    let wrong = |source| match source {
        // It names the file itself.
        ocelli_text::Error::Metadata(source) => Error::Gguf(source),
        source => Error::Text {
            file: file.name().to_owned(),
            source: Box::new(source),
        },
    };
    let mut vocabulary = Vocabulary::from_metadata(file.metadata()).map_err(wrong)?;
    let (tokens, rows) = (vocabulary.tokens.len(), model.vocabulary());
    let missing = rows.saturating_sub(tokens);
    if missing > PADDING_ROWS.min(rows / 8) || tokens > rows + PADDING_ROWS {
        return Err(Error::Vocabulary {
            file: file.name().to_owned(),
            tokens,
            rows,
        });
    }
    vocabulary.truncate(rows);
    let tokenizer = Tokenizer::new(vocabulary).map_err(wrong)?;
    let mut needed = join.into_iter().flat_map(|join| join.marks);
    if let Some(token) = needed.find(|token| tokenizer.token_id(token).is_none()) {
        return Err(Error::Model(ocelli_models::Error::MissingToken {
            file: file.name().to_owned(),
            token: (*token).to_owned(),
        }));
    }
    let template = ChatTemplate::from_metadata(file.metadata(), &tokenizer).map_err(wrong)?;
    Ok((tokenizer, template))
}

pub(crate) fn picture_budget(vision: &dyn VisionModel, options: &Options) -> Result<Budget, Error> {
    let own = vision.budget();
    if own.min_pixels == own.max_pixels {
        return fixed_budget(own, options);
    }
    let area = u64::from(own.factor) * u64::from(own.factor);
    let default = own.max_pixels.min(DEFAULT_IMAGE_TOKENS * area);
    let most = options
        .image_max_tokens
        .map_or(default, |tokens| u64::from(tokens) * area);
    let least = match options.image_min_tokens {
        Some(tokens) => u64::from(tokens) * area,
        None => own.min_pixels.min(most),
    };
    // Asking for larger pictures than the default allows them.
    let most = match options.image_max_tokens {
        Some(_) => most,
        None => most.max(least),
    };
    Budget::new(own.factor, least, most).map_err(|error| Error::Settings(error.to_string()))
}

/// Of encoders that see every picture at one size.
fn fixed_budget(own: Budget, options: &Options) -> Result<Budget, Error> {
    let tokens = own.max_tokens();
    let asked = [options.image_min_tokens, options.image_max_tokens];
    match asked
        .into_iter()
        .flatten()
        .find(|t| u64::from(*t) != tokens)
    {
        None => Ok(own),
        Some(asked) => Err(Error::Settings(format!(
            "{asked} tokens for a picture, but every picture of this model has {tokens}"
        ))),
    }
}

/// The sizes of videos, if the family sees them.
pub(crate) fn video_budget(
    vision: &dyn VisionModel,
    join: &Join,
    pictures: &Budget,
    (options, context): (&Options, usize),
) -> Option<VideoBudget> {
    let own = DEFAULT_VIDEO_TOKENS.min(context as u64 * 3 / 4).max(1);
    Some(VideoBudget {
        factor: pictures.factor,
        moments: vision.shape().moments,
        rule: join.video()?.size,
        min_tokens: options.video_min_tokens.map(u64::from),
        max_tokens: options.video_max_tokens.map_or(own, u64::from),
        keeps_to_max: options.video_max_tokens.is_some(),
        // A frame is a picture to the encoder: memory for one of this size is there.
        frame_tokens: pictures.max_tokens().max(1),
    })
}

/// Frames are encoded one temporal patch after the other, so that a video needs no more memory than its
/// largest one.
fn reserve_for_videos(settings: &mut Settings, video: Option<&VideoBudget>) {
    if let (Some(grid), Some(video)) = (&mut settings.largest_picture, video) {
        let columns = u64::from(grid.merge) * video.most_frame_tokens();
        grid.w = grid.w.max(u32::try_from(columns).unwrap_or(u32::MAX));
    }
}

fn engine_settings(
    text: &dyn TextModel,
    vision: Option<&dyn VisionModel>,
    budget: Option<Budget>,
    options: &Options,
) -> Result<Settings, Error> {
    let context = context_tokens(text, options)?;
    let largest_picture = vision
        .zip(budget)
        .map(|(vision, budget)| vision.largest_grid(&budget));
    let sequences = options.sequences.unwrap_or(1).max(1);
    let bytes = |tokens| cache_bytes(text, kv_element(options), (context, sequences, tokens));
    let wanted = most_that_fit(context.saturating_mul(sequences), bytes);
    Ok(Settings {
        context,
        sequences,
        cache_tokens: options.cache_tokens.unwrap_or(wanted).max(context),
        kv_element: kv_element(options),
        feature_bytes: FEATURE_BYTES,
        largest_picture,
    })
}

pub(crate) fn kv_element(options: &Options) -> KvElement {
    match options.precision {
        Precision::F32 => KvElement::F32,
        Precision::Auto | Precision::Bf16 | Precision::Int8 => KvElement::F16,
    }
}

/// Bytes of keys and values: a context of so many tokens, for so many sequences, in a cache of so many tokens.
pub(crate) fn cache_bytes(
    text: &dyn TextModel,
    element: KvElement,
    (context, sequences, cache_tokens): (usize, usize, usize),
) -> u64 {
    let settings = Settings {
        context,
        sequences,
        cache_tokens,
        kv_element: element,
        feature_bytes: 0,
        largest_picture: None,
    };
    settings.kv_layout(text.caches()).bytes()
}

/// The most tokens up to `wanted` for which `bytes` are at most half of what is free.
fn most_that_fit(wanted: usize, bytes: impl Fn(usize) -> u64) -> usize {
    let half = available() / 2;
    let (mut fits, mut too_many) = (0, wanted.saturating_add(1));
    while too_many - fits > 1 {
        let middle = fits + (too_many - fits) / 2;
        match bytes(middle) <= half {
            true => fits = middle,
            false => too_many = middle,
        }
    }
    fits
}

/// Tokens that prompt and answer may have together.
pub(crate) fn context_tokens(text: &dyn TextModel, options: &Options) -> Result<usize, Error> {
    let bytes = |tokens| cache_bytes(text, kv_element(options), (tokens, 1, tokens));
    match options.context {
        Some(0) => Err(Error::Settings("context is 0, need at least 1".to_owned())),
        Some(context) => {
            let what = format!("keys and values of {context} tokens");
            check_memory(
                &what,
                bytes(context),
                available(),
                "Lower the context with -c",
            )?;
            Ok(context)
        }
        None => {
            let wanted = text.context_length().min(DEFAULT_CONTEXT);
            Ok(most_that_fit(wanted, bytes).max(1))
        }
    }
}

pub(crate) fn check_memory(
    what: &str,
    needed: u64,
    free: u64,
    hint: &'static str,
) -> Result<(), Error> {
    if needed <= free {
        return Ok(());
    }
    Err(Error::Memory {
        what: what.to_owned(),
        needed_mib: mib(needed),
        available_mib: free >> 20,
        hint,
    })
}

/// Sampling that the file recommends, else greedy.
fn default_sampling(file: &Gguf) -> Result<Sampling, Error> {
    let metadata = file.metadata();
    let number = |name: &str| metadata.f32(&format!("general.sampling.{name}"));
    let count = |name: &str| metadata.u32(&format!("general.sampling.{name}"));
    let mut sampling = Sampling::default();
    if let Some(temperature) = number("temp")? {
        sampling.temperature = temperature;
    }
    if let Some(top_p) = number("top_p")? {
        sampling.top_p = top_p;
    }
    if let Some(min_p) = number("min_p")? {
        sampling.min_p = min_p;
    }
    if let Some(top_k) = count("top_k")? {
        sampling.top_k = top_k;
    }
    if let Some(penalty) = number("penalty_repeat")? {
        sampling.repeat_penalty = penalty;
    }
    if let Some(last) = count("penalty_last_n")? {
        sampling.repeat_last = Some(last as usize);
    }
    sampling.check().map_err(|what| {
        Error::Model(ocelli_models::Error::Invalid {
            file: file.name().to_owned(),
            what: format!("general.sampling: {what}"),
        })
    })?;
    Ok(sampling)
}
