//! A Hugging Face folder to a text model and a projector.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use ocelli_gguf::Value;

use crate::encode::{OnProgress, Output, OutputFile, write_files};
use crate::hub::{Settings, Shelf, TextConfig, Tokenizer, read_config};
use crate::recipe::{Recipe, is_kept, kept_type};
use crate::text::Tensor;
use crate::{Error, FileType, projector, still, text};

/// Whether a file that is there already may be replaced. Replacing is safe: the new file takes the
/// name when it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// An existing file is an error.
    #[default]
    Keep,
    /// An existing file is replaced.
    Replace,
}

/// How to convert.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Type of the text model's file.
    pub text_type: FileType,
    /// Type of the projector's file.
    pub projector_type: FileType,
    /// What the files and `general.name` are called; the folder's name by default.
    pub name: Option<String>,
    /// What happens to files that are there already.
    pub existing: Existing,
    /// Threads; one for each core by default.
    pub threads: Option<NonZero<usize>>,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            text_type: FileType::F16,
            projector_type: FileType::F16,
            name: None,
            existing: Existing::Keep,
            threads: None,
        }
    }
}

/// The files of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The text model.
    pub text: PathBuf,
    /// The projector, unless the model reads text only.
    pub projector: Option<PathBuf>,
}

/// Writes `{name}-{TYPE}.gguf` and, for models that see, `mmproj-{name}-{TYPE}.gguf` into
/// `out_dir`. Every name and shape is checked before the first byte is written; both files appear
/// when both are complete.
///
/// # Errors
/// When the folder is no complete checkpoint of a known family, when files exist, when reading or
/// writing fails, or when `on_progress` stops it.
pub fn convert(
    checkpoint: &Path,
    out_dir: &Path,
    options: &ConvertOptions,
    on_progress: &mut OnProgress<'_>,
) -> Result<Converted, Error> {
    if !out_dir.is_dir() {
        return Err(Error::NoOutputFolder {
            path: out_dir.to_path_buf(),
        });
    }
    let (text_config, vision_config) = read_config(checkpoint)?;
    let mut shelf = Shelf::open(checkpoint)?;
    let name = match &options.name {
        Some(name) => name.clone(),
        None => folder_name(checkpoint),
    };

    let tensors = text::tensors(&text_config, &mut shelf)?;
    let mut metadata = general(
        text_config.family.architecture(),
        "model",
        &name,
        options.text_type,
    );
    metadata.extend(sampling(checkpoint)?);
    let taps = vision_config.as_ref().map_or(0, |vision| vision.taps.len());
    metadata.extend(text::metadata(&text_config, taps));
    let tokenizer = Tokenizer::read(checkpoint, &text_config)?;
    let row_end = tokenizer.id("[IMG_BREAK]");
    metadata.extend(tokenizer.into_metadata());
    let recipe = text_recipe(&text_config, &tensors, options.text_type);
    let path = |prefix: &str, ty: FileType| out_dir.join(format!("{prefix}{name}-{ty}.gguf"));
    let mut files = vec![OutputFile {
        path: path("", options.text_type),
        metadata,
        tensors: typed(tensors, &recipe),
    }];

    if let Some(vision) = &vision_config {
        let ty = options.projector_type;
        let mut tensors = projector::tensors(&text_config, vision, &mut shelf)?;
        tensors.extend(still::row_end(&text_config, row_end, &mut shelf)?);
        let mut metadata = general("clip", "mmproj", &name, ty);
        metadata.extend(projector::metadata(&text_config, vision));
        let recipe = projector_recipe(ty, vision.layers);
        files.push(OutputFile {
            path: path("mmproj-", ty),
            metadata,
            tensors: typed(tensors, &recipe),
        });
    }
    shelf.finish()?;
    check_targets(&files, options.existing)?;
    write_files(&files, &[], options.threads, on_progress)?;
    let mut paths = files.into_iter().map(|file| file.path);
    Ok(Converted {
        text: paths.next().unwrap_or_default(),
        projector: paths.next(),
    })
}

/// Refuses to write over files unless that is wanted.
pub(crate) fn check_targets(files: &[OutputFile<'_>], existing: Existing) -> Result<(), Error> {
    for file in files {
        let folder = file.path.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            return Err(Error::NoOutputFolder {
                path: folder.to_path_buf(),
            });
        }
        if existing == Existing::Keep && file.path.exists() {
            return Err(Error::Exists {
                path: file.path.clone(),
            });
        }
        if std::fs::metadata(&file.path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::NotAFile {
                path: file.path.clone(),
            });
        }
    }
    Ok(())
}

fn general(architecture: &str, ty: &str, name: &str, file_type: FileType) -> Vec<(String, Value)> {
    let set = |key: &str, value: Value| (format!("general.{key}"), value);
    vec![
        set("architecture", architecture.into()),
        set("type", ty.into()),
        set("name", name.into()),
        set("file_type", file_type.id().into()),
        set("quantization_version", 2u32.into()),
    ]
}

/// The sampling that the checkpoint recommends, for readers that follow it.
fn sampling(folder: &Path) -> Result<Vec<(String, Value)>, Error> {
    const FILE: &str = "generation_config.json";
    let Some(value) = crate::hub::read_json::<serde_json::Value>(folder, FILE)? else {
        return Ok(Vec::new());
    };
    let settings = Settings {
        file: FILE,
        value: &value,
    };
    let mut metadata = Vec::new();
    let mut set = |key: &str, value: Option<Value>| {
        metadata.extend(value.map(|value| (format!("general.sampling.{key}"), value)));
    };
    // Advice only: a value that makes no sense is left out.
    let number = |key: &str| settings.f32(key).ok().flatten().map(Value::F32);
    set("temp", number("temperature"));
    let top_k = settings.u32("top_k").ok().flatten();
    set(
        "top_k",
        top_k.and_then(|k| i32::try_from(k).ok()).map(Value::I32),
    );
    set("top_p", number("top_p"));
    set("min_p", number("min_p"));
    set("penalty_repeat", number("repetition_penalty"));
    Ok(metadata)
}

fn text_recipe(config: &TextConfig, tensors: &[Tensor], file_type: FileType) -> Recipe {
    Recipe {
        file_type,
        architecture: config.family.architecture().to_owned(),
        layers: config.layers,
        queries_per_kv: (config.heads / config.kv_heads) as u32,
        experts: config.experts.map_or(0, |experts| experts.count as u32),
        has_output: tensors.iter().any(|tensor| tensor.name == "output.weight"),
    }
}

pub(crate) fn projector_recipe(file_type: FileType, layers: usize) -> Recipe {
    Recipe {
        file_type,
        architecture: "clip".to_owned(),
        layers,
        queries_per_kv: 1,
        experts: 0,
        has_output: true,
    }
}

fn typed(tensors: Vec<Tensor>, recipe: &Recipe) -> Vec<Output<'static>> {
    let typed = |tensor: Tensor| {
        let ty = match is_kept(&tensor.name, &tensor.shape) {
            true => kept_type(&tensor.name, recipe.file_type),
            false => recipe.choose(&tensor.name, &tensor.shape),
        };
        Output {
            name: tensor.name,
            shape: tensor.shape,
            ty,
            source: tensor.source,
        }
    };
    tensors.into_iter().map(typed).collect()
}

/// The folder's name; in the hub's cache, where folders are called by revision, the repository's.
fn folder_name(folder: &Path) -> String {
    let full = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    let repository = full.ancestors().skip(1).find_map(|above| {
        let name = above.file_name()?.to_str()?;
        name.strip_prefix("models--")?
            .rsplit("--")
            .next()
            .map(str::to_owned)
    });
    let own = || {
        full.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    repository
        .or_else(own)
        .unwrap_or_else(|| "model".to_owned())
}
