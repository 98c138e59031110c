//! What one file is.

use std::path::PathBuf;

use ocelli_gguf::{Gguf, Metadata};
use ocelli_models::Part;
use ocelli_store::FileKind;
use ocelli_text::{TokenKind, Tokenizer, Vocabulary};
use serde::Serialize;

use super::{Opened, TemplateReport, template};
use crate::Error;
use crate::assumed::assumed;

/// What one file is.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The file that was named.
    pub path: PathBuf,
    /// All parts of a split model, in order; else the file alone.
    pub parts: Vec<PathBuf>,
    /// Version of the format.
    pub gguf_version: u32,
    /// Bytes of all parts.
    pub bytes: u64,
    /// What it is, as in "a text model".
    pub kind: String,
    /// `general.architecture`.
    pub architecture: Option<String>,
    /// Type of a projector.
    pub projector_type: Option<String>,
    /// `general.name`.
    pub name: Option<String>,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Number of tensors.
    pub tensors: usize,
    /// Tensors by type, most bytes first.
    pub types: Vec<TypeReport>,
    /// Number of layers.
    pub layers: Option<u64>,
    /// Width of a token's row; of a projector, that of its output.
    pub width: Option<u64>,
    /// Longest context the model was made for.
    pub context_length: Option<u64>,
    /// The chat template.
    pub template: Option<TemplateReport>,
    /// The vocabulary.
    pub vocabulary: Option<VocabularyReport>,
    /// What is assumed about a file of an old or foreign layout, and what is left out.
    pub assumed: Vec<String>,
}

/// Tensors of one type.
#[derive(Clone, Debug, Serialize)]
pub struct TypeReport {
    /// Name of the type.
    pub name: &'static str,
    /// Number of tensors.
    pub tensors: usize,
    /// Their elements.
    pub elements: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether this engine can run it.
    pub is_runnable: bool,
}

/// A vocabulary.
#[derive(Clone, Debug, Serialize)]
pub struct VocabularyReport {
    /// `tokenizer.ggml.model`.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is split into words.
    pub pre: Option<String>,
    /// Number of tokens.
    pub tokens: usize,
    /// Number of merges.
    pub merges: usize,
    /// Number of control tokens.
    pub control_tokens: usize,
    /// Begin and end tokens.
    pub special: Vec<SpecialToken>,
    /// Whether prompts start with the begin token.
    pub adds_bos: Option<bool>,
    /// Why this engine cannot use it; `None` when it can.
    pub problem: Option<String>,
}

/// A token with a role.
#[derive(Clone, Debug, Serialize)]
pub struct SpecialToken {
    /// `bos`, `eos`, ...
    pub role: &'static str,
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: Option<String>,
}

/// Looks at one file.
pub(super) fn report(opened: &Opened) -> Result<FileReport, Error> {
    let (file, metadata) = (&opened.file, opened.file.metadata());
    let projector = match &opened.kind {
        FileKind::Projector(facts) => Some(facts),
        _ => None,
    };
    let architecture = metadata.str("general.architecture")?.map(str::to_owned);
    let prefix = match projector {
        Some(_) => "clip.vision",
        None => architecture.as_deref().unwrap_or_default(),
    };
    let number = |key: &str| metadata.u64(&format!("{prefix}.{key}"));
    let (vocabulary, template) = words(metadata)?;
    let parts = match file.paths() {
        [] => vec![opened.path.clone()],
        paths => paths.to_vec(),
    };
    Ok(FileReport {
        path: opened.path.clone(),
        parts,
        gguf_version: file.version(),
        bytes: file.total_bytes(),
        kind: opened.kind.describe(),
        projector_type: projector.map(|facts| facts.projector_type.clone()),
        name: metadata.str("general.name")?.map(str::to_owned),
        parameters: file
            .tensors()
            .iter()
            .map(|tensor| tensor.elements() as u64)
            .sum(),
        tensors: file.tensors().len(),
        types: types(file),
        layers: number("block_count")?,
        width: match projector {
            Some(facts) => facts.output_width,
            None => number("embedding_length")?,
        },
        context_length: number("context_length")?,
        template,
        vocabulary,
        architecture,
        assumed: assumed(file, parts_of(&opened.kind)),
    })
}

fn parts_of(kind: &FileKind) -> &'static [Part] {
    match kind {
        FileKind::Text(_) => &[Part::Text],
        FileKind::Projector(_) => &[Part::Vision],
        FileKind::Merged(_) => &[Part::Text, Part::Vision],
        FileKind::Other(_) => &[],
    }
}

fn types(file: &Gguf) -> Vec<TypeReport> {
    let mut types: Vec<TypeReport> = Vec::new();
    for tensor in file.tensors() {
        let ty = tensor.ty();
        let at = types
            .iter()
            .position(|known| known.name == ty.name())
            .unwrap_or_else(|| {
                let is_runnable = ty.is_runnable();
                types.push(TypeReport {
                    name: ty.name(),
                    tensors: 0,
                    elements: 0,
                    bytes: 0,
                    is_runnable,
                });
                types.len() - 1
            });
        types[at].tensors += 1;
        types[at].elements += tensor.elements() as u64;
        types[at].bytes += tensor.bytes() as u64;
    }
    types.sort_by_key(|ty| std::cmp::Reverse(ty.bytes));
    types
}

/// The vocabulary and the chat template, which needs it.
fn words(metadata: &Metadata) -> Result<(Option<VocabularyReport>, Option<TemplateReport>), Error> {
    let Some(model) = metadata.str("tokenizer.ggml.model")? else {
        return Ok((None, None));
    };
    let mut report = VocabularyReport {
        model: model.to_owned(),
        pre: metadata.str("tokenizer.ggml.pre")?.map(str::to_owned),
        tokens: 0,
        merges: 0,
        control_tokens: 0,
        special: Vec::new(),
        adds_bos: None,
        problem: None,
    };
    let read = Vocabulary::from_metadata(metadata).and_then(|vocabulary| {
        report.tokens = vocabulary.tokens.len();
        report.merges = vocabulary.merges.len();
        report.control_tokens = vocabulary
            .kinds
            .iter()
            .filter(|kind| **kind == TokenKind::Control)
            .count();
        report.special = special(&vocabulary);
        report.adds_bos = vocabulary.add_bos;
        Tokenizer::new(vocabulary)
    });
    let template = match read {
        Ok(tokenizer) => template::report(metadata, &tokenizer)?,
        Err(error) => {
            // A vocabulary that this engine cannot run is still one that can be looked at.
            report.problem = Some(error.to_string());
            let source = metadata.str("tokenizer.chat_template")?;
            source.map(|source| template::broken(source, "not tried without its vocabulary"))
        }
    };
    Ok((Some(report), template))
}

fn special(vocabulary: &Vocabulary) -> Vec<SpecialToken> {
    let roles = [
        ("bos", vocabulary.bos),
        ("eos", vocabulary.eos),
        ("eot", vocabulary.eot),
        ("eom", vocabulary.eom),
        ("padding", vocabulary.padding),
    ];
    let token = |(role, id): (&'static str, Option<u32>)| {
        let id = id?;
        let text = vocabulary.tokens.get(id as usize).map(str::to_owned);
        Some(SpecialToken { role, id, text })
    };
    roles.into_iter().filter_map(token).collect()
}
