//! A GGUF file to one with fewer bits.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;

use ocelli_gguf::{Gguf, TensorInfo, Value};
use ocelli_models::is_vision;
use ocelli_quant::{TensorType, is_dequantizable};

use crate::convert::{Existing, check_targets, projector_recipe};
use crate::encode::{OnProgress, Output, OutputFile, write_files};
use crate::merge::FILE_TYPE_OF_PROJECTOR;
use crate::recipe::{Recipe, is_kept};
use crate::source::Stored;
use crate::{Error, FileType};

/// What happens to the vision tensors of a file that also holds a text model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VisionTensors {
    /// They stay as they are: they are few, and pictures suffer first.
    #[default]
    Keep,
    /// They are quantised like the text model.
    Quantize,
}

/// How to quantise.
#[derive(Debug, Clone, Default)]
pub struct QuantizeOptions {
    /// Vision tensors of a merged file; those of a projector's own file are always quantised.
    pub vision: VisionTensors,
    /// What happens to a file that is there already.
    pub existing: Existing,
    /// Threads; one for each core by default.
    pub threads: Option<NonZero<usize>>,
}

/// What quantising did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quantized {
    /// Bytes of tensors before.
    pub bytes_before: u64,
    /// Bytes of tensors after.
    pub bytes_after: u64,
    /// True when vision tensors were among those that were quantised.
    pub has_vision: bool,
    /// What the user should know, in sentences.
    pub notes: Vec<String>,
}

/// Writes `input` (a text model, a projector, or a merged file; all parts of a split one) as
/// `file_type` to `output`. All metadata is kept but that of parts. A type that only floats are in
/// (`F16`, ...) makes a file larger again.
///
/// # Errors
/// When the input is no sound GGUF, the output exists, values cannot be written as the type,
/// reading or writing fails, or `on_progress` stops it.
pub fn quantize(
    input: &Path,
    output: &Path,
    file_type: FileType,
    options: &QuantizeOptions,
    on_progress: &mut OnProgress<'_>,
) -> Result<Quantized, Error> {
    let file = Gguf::open(input)?;
    let recipes = Recipes::new(&file, file_type, options.vision)?;
    let mut report = Quantized::default();
    let mut again: BTreeMap<TensorType, usize> = BTreeMap::new();
    let mut tensors = Vec::with_capacity(file.tensors().len());
    for tensor in file.tensors() {
        let ty = recipes.choose(tensor);
        report.bytes_before += tensor.bytes() as u64;
        report.has_vision |= ty != tensor.ty() && is_vision(tensor.name());
        if ty != tensor.ty() && !is_float(tensor.ty()) {
            *again.entry(tensor.ty()).or_default() += 1;
        }
        tensors.push(Output {
            name: tensor.name().to_owned(),
            shape: tensor.shape().to_vec(),
            ty,
            source: Box::new(Stored::whole(&file, tensor)),
        });
    }
    report.bytes_after = tensors.iter().map(Output::bytes).sum();
    report.notes = again
        .into_iter()
        .map(|(ty, count)| {
            format!("{count} tensors were {ty} already: what they lost stays lost; start from F16 or BF16 if you can")
        })
        .collect();
    let files = [OutputFile {
        path: output.to_path_buf(),
        metadata: recipes.metadata(&file),
        tensors,
    }];
    check_targets(&files, options.existing)?;
    write_files(&files, &[&file], options.threads, on_progress)?;
    Ok(report)
}

fn is_float(ty: TensorType) -> bool {
    matches!(ty, TensorType::F32 | TensorType::F16 | TensorType::BF16)
}

struct Recipes {
    file_type: FileType,
    text: Option<Recipe>,
    vision: Option<Recipe>,
}

impl Recipes {
    fn new(file: &Gguf, file_type: FileType, vision: VisionTensors) -> Result<Self, Error> {
        let metadata = file.metadata();
        let architecture = metadata.required_str("general.architecture")?;
        let vision_layers = layers(file, "v.blk.");
        if architecture == "clip" {
            return Ok(Self {
                file_type,
                text: None,
                vision: Some(projector_recipe(file_type, vision_layers)),
            });
        }
        let key = |name: &str| format!("{architecture}.{name}");
        let layers = layers(file, "blk.");
        let first = |name: &str| -> Result<Option<u32>, Error> {
            let values = metadata.per_layer_u32(&key(name), layers)?;
            Ok(values.and_then(|values| values.into_iter().max()))
        };
        let heads = first("attention.head_count")?.unwrap_or(1);
        let kv_heads = first("attention.head_count_kv")?.unwrap_or(heads).max(1);
        Ok(Self {
            file_type,
            text: Some(Recipe {
                file_type,
                architecture: architecture.to_owned(),
                layers,
                queries_per_kv: heads / kv_heads,
                experts: metadata.u32(&key("expert_count"))?.unwrap_or(0),
                has_output: file.tensor("output.weight").is_some(),
            }),
            vision: match vision {
                VisionTensors::Keep => None,
                VisionTensors::Quantize => Some(projector_recipe(file_type, vision_layers)),
            },
        })
    }

    fn choose(&self, tensor: &TensorInfo) -> TensorType {
        let recipe = match is_vision(tensor.name()) {
            true => &self.vision,
            false => &self.text,
        };
        match recipe {
            Some(recipe)
                if !is_kept(tensor.name(), tensor.shape()) && is_dequantizable(tensor.ty()) =>
            {
                recipe.choose(tensor.name(), tensor.shape())
            }
            _ => tensor.ty(),
        }
    }

    fn metadata(&self, file: &Gguf) -> Vec<(String, Value)> {
        let mut metadata: Vec<(String, Value)> = file
            .metadata()
            .iter()
            .filter(|(key, _)| !key.starts_with("split."))
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect();
        let mut set = |key: &str, value: u32| match metadata.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value.into(),
            None => metadata.push((key.to_owned(), value.into())),
        };
        set("general.quantization_version", 2);
        set("general.file_type", self.file_type.id());
        let has_own = file.metadata().get(FILE_TYPE_OF_PROJECTOR).is_some();
        if self.text.is_some() && self.vision.is_some() && has_own {
            set(FILE_TYPE_OF_PROJECTOR, self.file_type.id());
        }
        metadata
    }
}

/// One more than the highest layer that names speak of.
pub(crate) fn layers(file: &Gguf, prefix: &str) -> usize {
    let number = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse().ok();
    let highest: Option<usize> = file.tensors().iter().filter_map(|t| number(t.name())).max();
    highest.map_or(0, |highest| highest.saturating_add(1))
}
