//! The vocabulary as the files of a checkpoint have it: tokens by id, merges, and the rule that cuts text.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::MAIN;
use super::rules::pre_name;
use crate::Error;
use crate::hub::Family;
use crate::hub::settings::{Settings, read_json, read_text};

/// A token beside the vocabulary of the merges.
#[derive(Debug, Deserialize)]
pub(super) struct Added {
    #[serde(default)]
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
    /// White space in front of the token belongs to it.
    #[serde(default)]
    pub(super) lstrip: bool,
    /// White space behind the token belongs to it.
    #[serde(default)]
    pub(super) rstrip: bool,
    /// Only between other words is it the token.
    #[serde(default)]
    pub(super) single_word: bool,
}

/// What both layouts of the files give.
pub(super) struct Vocabulary {
    pub(super) ids: HashMap<String, u32>,
    /// Two tokens each, with a space between them, in the order in which they are joined.
    pub(super) merges: Vec<String>,
    pub(super) added: Vec<Added>,
    /// Name of the rule that cuts text before merging.
    pub(super) pre: String,
    /// Pieces with scores and byte fallback in place of byte-level merges.
    pub(super) is_sentencepiece: bool,
}

impl Vocabulary {
    /// Reads tokenizer.json or, where there is none, the older files; `settings` are those of the tokenizer.
    pub(super) fn read(
        folder: &Path,
        settings: Settings<'_>,
        family: Family,
    ) -> Result<Self, Error> {
        let mut vocabulary = match read_json::<Main>(folder, MAIN)? {
            Some(main) => from_main(main)?,
            None => from_parts(folder, family)?,
        };
        add_decoder(settings, &mut vocabulary)?;
        Ok(vocabulary)
    }
}

/// tokenizer.json.
#[derive(Deserialize)]
struct Main {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: serde_json::Value,
    #[serde(default)]
    pre_tokenizer: serde_json::Value,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

impl Merge {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Pair(left, right) => format!("{left} {right}"),
        }
    }
}

fn from_main(main: Main) -> Result<Vocabulary, Error> {
    match main.model.kind.as_deref() {
        None | Some("BPE") => {}
        Some(kind) => {
            return Err(unsupported(
                format!("a {kind} vocabulary without byte level"),
                "byte-level BPE, or pieces with byte fallback",
            ));
        }
    }
    let is_sentencepiece = main.model.byte_fallback == Some(true);
    let pre = match is_sentencepiece {
        true => "default",
        false => pre_name(&main.pre_tokenizer)?,
    };
    // Pieces of Llama 2 are joined in the order of their ids, those of Gemma, whose text has no
    // space in front, in that of the merges: only there do merges say something.
    let has_merges = !(is_sentencepiece && has_llama_spaces(&main));
    let merges = main.model.merges.into_iter().map(Merge::text);
    Ok(Vocabulary {
        ids: main.model.vocab,
        merges: merges.filter(|_| has_merges).collect(),
        added: main.added_tokens,
        pre: pre.to_owned(),
        is_sentencepiece,
    })
}

/// True where text gets a space in front and spaces become a character of pieces, as in Llama 2.
fn has_llama_spaces(main: &Main) -> bool {
    let normalizer = main.normalizer.to_string();
    let cutter = main.pre_tokenizer.to_string();
    (normalizer.contains("\"Prepend\"") && normalizer.contains("\"Replace\""))
        || (cutter.contains("\"Metaspace\"") && !cutter.contains("\"never\""))
}

/// vocab.json, merges.txt and added_tokens.json, of Qwen models that came without tokenizer.json.
fn from_parts(folder: &Path, family: Family) -> Result<Vocabulary, Error> {
    let missing = || Error::MissingFile {
        folder: folder.to_path_buf(),
        what: MAIN.to_owned(),
    };
    if family == Family::Llama {
        return Err(missing());
    }
    let ids = read_json::<HashMap<String, u32>>(folder, "vocab.json")?.ok_or_else(missing)?;
    let merges = read_text(folder, "merges.txt")?.ok_or_else(missing)?;
    let is_merge = |line: &&str| !line.is_empty() && !line.starts_with("#version");
    let added =
        read_json::<BTreeMap<String, u32>>(folder, "added_tokens.json")?.unwrap_or_default();
    let added = added.into_iter().map(|(content, id)| Added {
        id,
        content,
        special: false,
        lstrip: false,
        rstrip: false,
        single_word: false,
    });
    Ok(Vocabulary {
        ids,
        merges: merges.lines().filter(is_merge).map(str::to_owned).collect(),
        added: added.collect(),
        pre: "qwen2".to_owned(),
        is_sentencepiece: false,
    })
}

/// Tokens that only tokenizer_config.json lists, or whose kind only it knows.
fn add_decoder(settings: Settings<'_>, vocabulary: &mut Vocabulary) -> Result<(), Error> {
    const KEY: &str = "added_tokens_decoder";
    let Some(decoder) = settings.inside(KEY) else {
        return Ok(());
    };
    let decoder: BTreeMap<String, Added> = serde_json::from_value(decoder.value.clone())
        .map_err(|error| settings.error(KEY, error, "tokens by id"))?;
    for (id, mut token) in decoder {
        token.id = id.parse().map_err(|_| settings.error(KEY, &id, "an id"))?;
        let mut known = vocabulary.added.iter_mut();
        match known.find(|known| known.id == token.id) {
            Some(known) => {
                known.special |= token.special;
                known.lstrip |= token.lstrip;
                known.rstrip |= token.rstrip;
                known.single_word |= token.single_word;
            }
            None => vocabulary.added.push(token),
        }
    }
    Ok(())
}

fn unsupported(found: impl Into<String>, need: &str) -> Error {
    Error::Unsupported {
        what: MAIN.to_owned(),
        found: found.into(),
        need: need.to_owned(),
    }
}
