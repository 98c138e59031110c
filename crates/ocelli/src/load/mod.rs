//! From files to a model that is ready to answer.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use ocelli_cpu::{CpuBackend, CpuError, CpuOptions};
use ocelli_engine::{Engine, ImageCache};
use ocelli_gguf::Gguf;
use ocelli_models::registry::{check_fit, join, load_text, load_vision};
use ocelli_models::{Join, TextModel, VisionModel};
use ocelli_tensor::Backend;
use ocelli_text::{ChatTemplate, Tokenizer, Vocabulary};
use sha2::{Digest as _, Sha256};

use crate::check::check_finite;
use crate::memory::available;
use crate::model::Parts;
use crate::prepare::Preparer;
use crate::{Error, Model, Options, Sampling, Source};

mod files;
mod limits;

pub(crate) use files::Files;
pub(crate) use limits::{
    CacheSize, DEFAULT_CONTEXT, WEIGHTS_HINT, cache_bytes, check_memory, context_tokens, kept_in,
    kv_element, picture_budget, video_budget,
};
use limits::{engine_settings, reserve_for_videos};

/// Bytes of files that are read before their memory is given back.
const RELEASE_BYTES: u64 = 64 << 20;
/// Vocabularies may be this much smaller than the embedding: converters pad it.
const PADDING_ROWS: usize = 1024;

/// Opens a model. `progress` gets the bytes of weights read so far and of all.
pub(crate) fn load(
    source: &Source,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Model, Error> {
    let start = Instant::now();
    let files = Files::open(source, options)?;
    let name = model_name(&files.text);
    load_files((start, files), name, options, progress)
}

/// Opens a model that its users know by another name than its file's.
pub(crate) fn load_as(name: &str, source: &Source, options: &Options) -> Result<Model, Error> {
    let start = Instant::now();
    let files = Files::open(source, options)?;
    load_files((start, files), name.to_owned(), options, &mut |_, _| {})
}

/// Loads what was opened at `start`.
fn load_files(
    (start, files): (Instant, Files),
    name: String,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Model, Error> {
    if options.check {
        for file in files.all() {
            check_finite(file)?;
        }
    }
    let total = files.weight_bytes();
    check_memory("weights", total, available(), WEIGHTS_HINT)?;
    let (backend, arithmetic) = backend(options)?;
    let (text, vision) = read_weights(&files, backend.as_ref(), progress)?;
    let join = check_pair(&files, text.as_ref(), vision.as_deref())?;
    let (tokenizer, template) = read_text(&files.text, text.as_ref(), join)?;
    let budget = vision
        .as_ref()
        .map(|vision| picture_budget(vision.as_ref(), options))
        .transpose()?;
    let mut settings = engine_settings(text.as_ref(), vision.as_deref(), budget, options)?;
    let video = join.zip(budget).and_then(|(join, budget)| {
        video_budget(vision.as_deref()?, join, &budget, options, settings.context)
    });
    reserve_for_videos(&mut settings, video.as_ref());
    let default_sampling = default_sampling(&files.text)?;
    let longest_token = tokenizer.vocabulary().tokens.iter().map(str::len).max();
    let kv_bytes = settings.kv_layout(text.caches()).bytes();
    let model = Arc::new(ocelli_engine::Model {
        name,
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
            witness: options.witness.clone(),
        },
        engine: {
            let mut engine = Engine::new(model, backend, settings)?;
            if let Some(most) = options.draft_tokens {
                engine.set_draft_tokens(most);
            }
            with_image_cache(engine, &files, &arithmetic, options)?
        },
        assumed: files.assumed(),
        load: start.elapsed(),
        bytes: total + kv_bytes,
        sequences: settings.sequences,
    }))
}

/// What computes, and the name of its arithmetic: what is computed with another may differ in the last bits.
fn backend(options: &Options) -> Result<(Arc<dyn Backend>, String), Error> {
    if let Some(own) = &options.backend {
        return Ok((Arc::clone(&own.0), own.0.describe()));
    }
    let backend = CpuBackend::new(&CpuOptions {
        threads: options.threads,
        isa: options.isa,
        precision: options.precision,
    });
    match backend {
        Ok(backend) => {
            let arithmetic = format!("{} {:?}", backend.isa(), options.precision);
            Ok((Arc::new(backend), arithmetic))
        }
        Err(CpuError::NoThread(source)) => Err(Error::NoThread(source)),
        Err(error) => Err(Error::Backend(error.to_string())),
    }
}

/// Gives an engine its cache on disk, if one is wanted and the model can see.
fn with_image_cache(
    mut engine: Engine,
    files: &Files,
    arithmetic: &str,
    options: &Options,
) -> Result<Engine, Error> {
    if let (Some((folder, bytes)), Some(vision)) = (&options.image_cache, files.vision()) {
        let cache = ImageCache::open(folder, *bytes, digest(vision, arithmetic));
        engine.set_image_cache(cache.map_err(|source| Error::Path {
            action: "write",
            path: folder.clone(),
            source,
        })?);
    }
    Ok(engine)
}

/// Names everything but the picture that an encoder's output depends on: its weights, what metadata
/// says of sizes, colours and layers, and the arithmetic.
fn digest(vision: &Gguf, arithmetic: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"ocelli projector 2");
    part(arithmetic.as_bytes());
    let is_known = |key: &str| {
        !["general.", "tokenizer."]
            .iter()
            .any(|k| key.starts_with(k))
    };
    for (key, value) in vision.metadata().iter().filter(|(key, _)| is_known(key)) {
        part(key.as_bytes());
        part(format!("{value:?}").as_bytes());
    }
    for tensor in vision.tensors() {
        part(tensor.name().as_bytes());
        part(format!("{:?} {:?}", tensor.ty(), tensor.shape()).as_bytes());
        part(vision.data(tensor));
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
    let total = files.weight_bytes();
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

/// Gives the memory of what was read of the files back: each tensor was packed into memory of its
/// own. A tensor that is still being read is read again.
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
    let place = join.map(|join| join.image_token);
    let template = ChatTemplate::from_metadata(file.metadata(), &tokenizer, place);
    let template = template.map_err(wrong)?;
    Ok((tokenizer, template))
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

#[cfg(test)]
mod tests {
    use ocelli_testkit::tiny::{Sizes, TinyFile, qwen3vl_with};

    use super::*;

    #[test]
    fn kept_pictures_are_those_of_the_same_weights_settings_and_arithmetic() {
        let digest_of = |arithmetic: &str, change: &dyn Fn(&mut TinyFile)| {
            let mut projector = qwen3vl_with(1, &Sizes::default()).mmproj;
            change(&mut projector);
            let file = Gguf::from_bytes("mmproj.gguf", projector.to_bytes().into()).unwrap();
            digest(&file, arithmetic)
        };
        let own = digest_of("avx2 Auto", &|_| {});
        let renamed = digest_of("avx2 Auto", &|file| {
            file.set("general.name", "another".into());
        });
        assert_eq!(own, renamed);
        assert_ne!(own, digest_of("avx512 Auto", &|_| {}));
        let other_norm = digest_of("avx2 Auto", &|file| {
            file.set("clip.vision.attention.layer_norm_epsilon", 1e-5_f32.into());
        });
        assert_ne!(own, other_norm);
        let other_weight = digest_of("avx2 Auto", &|file| {
            file.tensor("v.blk.0.ln1.bias").values[0] += 1.0;
        });
        assert_ne!(own, other_weight);
    }
}
