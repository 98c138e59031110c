//! What a file is, and the facts that say which other file belongs to it.

use ocelli_gguf::{Error, Gguf, Metadata};

/// What a GGUF file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A language model, without a vision part.
    Text(TextFacts),
    /// A vision encoder and what projects its rows into the text model.
    Projector(ProjectorFacts),
    /// A language model with vision tensors in the same file.
    Merged(TextFacts),
    /// No model by itself: an adapter, a vocabulary, ... The text says what.
    Other(String),
}

impl FileKind {
    /// The kind as messages say it: "a text model".
    pub fn describe(&self) -> String {
        match self {
            Self::Text(_) => "a text model".to_owned(),
            Self::Projector(_) => "a vision projector".to_owned(),
            Self::Merged(_) => "a merged model (text and vision in one file)".to_owned(),
            Self::Other(what) => what.clone(),
        }
    }
}

/// Facts of a text model that a projector must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFacts {
    /// `general.architecture`.
    pub architecture: String,
    /// Width of a token's row: `{architecture}.embedding_length`, else the row of `token_embd.weight`.
    pub embedding_length: Option<u64>,
    /// `{architecture}.n_deepstack_layers`: how many layers take rows of the encoder.
    pub deepstack_layers: Option<u64>,
    /// `general.name`, else `general.basename`.
    pub name: Option<String>,
}

/// Facts of a projector that a text model must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectorFacts {
    /// `clip.projector_type`, or what older files say in its place.
    pub projector_type: String,
    /// Width of an image token's row: from the last projection's shape, else `clip.vision.projection_dim`.
    pub output_width: Option<u64>,
    /// Number of `v.deepstack.*` layers.
    pub deepstack_layers: u64,
    /// False for projectors of sound only.
    pub has_vision: bool,
    /// The type that most of its bytes are in, for example `F16`.
    pub element_type: String,
    /// `general.name`, else `general.basename`.
    pub name: Option<String>,
}

/// Says what a file is.
///
/// # Errors
/// When `general.architecture` is missing, or a fact has the wrong type.
pub fn classify(file: &Gguf) -> Result<FileKind, Error> {
    let metadata = file.metadata();
    let general_type = metadata.str("general.type")?.unwrap_or("model");
    match general_type {
        "adapter" => return Ok(FileKind::Other("an adapter (LoRA)".to_owned())),
        "imatrix" => return Ok(FileKind::Other("an importance matrix".to_owned())),
        _ => {}
    }
    let architecture = metadata.required_str("general.architecture")?;
    if architecture == "clip" || matches!(general_type, "mmproj" | "projector") {
        return Ok(FileKind::Projector(projector_facts(file)?));
    }
    if file.tensors().is_empty() {
        return Ok(FileKind::Other("a vocabulary without a model".to_owned()));
    }
    let facts = text_facts(file, architecture)?;
    let mut names = file.tensors().iter().map(|tensor| tensor.name());
    if names.clone().any(|name| name.starts_with("v.")) {
        return Ok(FileKind::Merged(facts));
    }
    // Nobody would read such a tensor: the text model leaves it to the encoder, which there is none of.
    Ok(match names.find(|name| is_of_pictures(name)) {
        Some(stray) => FileKind::Other(format!(
            "a text model with the projector's tensor '{stray}' but no vision encoder (v.*), so neither alone nor whole"
        )),
        None => FileKind::Text(facts),
    })
}

/// Whether a tensor brings rows of pictures into the text model; those of sound are left out
/// wherever they are.
fn is_of_pictures(name: &str) -> bool {
    let is_projector = name.starts_with("mm.") && !name.starts_with("mm.a.");
    is_projector || name == "model.image_newline"
}

fn text_facts(file: &Gguf, architecture: &str) -> Result<TextFacts, Error> {
    let metadata = file.metadata();
    let stated = metadata.u64(&format!("{architecture}.embedding_length"))?;
    let row = file
        .tensor("token_embd.weight")
        .map(|tensor| tensor.row_elements() as u64);
    Ok(TextFacts {
        architecture: architecture.to_owned(),
        embedding_length: stated.or(row),
        deepstack_layers: metadata.u64(&format!("{architecture}.n_deepstack_layers"))?,
        name: name(metadata)?,
    })
}

fn projector_facts(file: &Gguf) -> Result<ProjectorFacts, Error> {
    let metadata = file.metadata();
    let output_width = match projection_width(file) {
        Some(width) => Some(width),
        None => metadata.u64("clip.vision.projection_dim")?,
    };
    let deepstack = |name: &str| name.starts_with("v.deepstack.") && name.ends_with(".fc1.weight");
    Ok(ProjectorFacts {
        projector_type: projector_type(file)?,
        output_width,
        deepstack_layers: file
            .tensors()
            .iter()
            .filter(|t| deepstack(t.name()))
            .count() as u64,
        has_vision: file.tensors().iter().any(|t| t.name().starts_with("v.")),
        element_type: main_element_type(file),
        name: name(metadata)?,
    })
}

/// The projector's type; files older than the key have marks in its place, and the oldest none.
fn projector_type(file: &Gguf) -> Result<String, Error> {
    let metadata = file.metadata();
    for key in [
        "clip.projector_type",
        "clip.vision.projector_type",
        "clip.audio.projector_type",
    ] {
        if let Some(stated) = metadata.str(key)? {
            return Ok(stated.to_owned());
        }
    }
    if metadata.bool("clip.has_qwen2vl_merger")?.unwrap_or(false) {
        return Ok("qwen2vl_merger".to_owned());
    }
    Ok(type_by_tensors(file).to_owned())
}

/// The kind of projector that has these tensors: Gemma 3 has one projection, and two temporal
/// kernels mark the Qwen generations.
fn type_by_tensors(file: &Gguf) -> &'static str {
    let has = |name: &str| file.tensor(name).is_some();
    if has("mm.input_projection.weight") {
        return "gemma3";
    }
    if !has("v.patch_embd.weight.1") {
        return "mlp";
    }
    if has("v.patch_embd.bias") {
        return "qwen3vl_merger";
    }
    match has("v.blk.0.ffn_gate.weight") {
        true => "qwen2.5vl_merger",
        false => "qwen2vl_merger",
    }
}

/// Output features of the last projection. Tensors tell the truth where old converters wrote a wrong key.
fn projection_width(file: &Gguf) -> Option<u64> {
    // Gemma 3 keeps its single projection transposed.
    if let Some(tensor) = file.tensor("mm.input_projection.weight") {
        return tensor.shape().first().copied();
    }
    // The last numbered layer that is a matrix; norms among them are vectors.
    file.tensors()
        .iter()
        .filter_map(|tensor| {
            let layer = tensor.name().strip_prefix("mm.")?.strip_suffix(".weight")?;
            match *tensor.shape() {
                [_, width] => Some((layer.parse::<u32>().ok()?, width)),
                _ => None,
            }
        })
        .max()
        .map(|(_, width)| width)
}

fn main_element_type(file: &Gguf) -> String {
    let mut bytes_by_type: Vec<(String, usize)> = Vec::new();
    for tensor in file.tensors() {
        let name = tensor.ty().to_string();
        match bytes_by_type.iter_mut().find(|(known, _)| *known == name) {
            Some((_, bytes)) => *bytes = bytes.saturating_add(tensor.bytes()),
            None => bytes_by_type.push((name, tensor.bytes())),
        }
    }
    let most = bytes_by_type.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.map_or_else(|| "none".to_owned(), |(name, _)| name)
}

fn name(metadata: &Metadata) -> Result<Option<String>, Error> {
    let name = match metadata.str("general.name")? {
        Some(name) => Some(name),
        None => metadata.str("general.basename")?,
    };
    Ok(name.map(str::to_owned))
}
