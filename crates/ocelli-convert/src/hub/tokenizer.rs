//! The tokenizer of a checkpoint as GGUF stores it: byte-level BPE from tokenizer.json, or from the older
//! vocab.json and merges.txt.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ocelli_gguf::Value;
use serde::Deserialize;

use super::settings::{Settings, read_file, read_json};
use super::{Family, TextConfig};
use crate::Error;

const MAIN: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

/// Types of tokens in GGUF.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const UNKNOWN: i32 = 2;
const BYTE: i32 = 6;

/// Vocabulary, merges, special ids and templates.
#[derive(Debug, Default)]
pub(crate) struct Tokenizer {
    /// Name of the rule that cuts text before merging.
    pre: String,
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
    /// Pieces with scores and byte fallback in place of byte-level merges.
    is_sentencepiece: bool,
    /// `bos`, `eos`, `unknown` and `padding` ids that the files state.
    ids: Vec<(&'static str, u32)>,
    adds_bos: Option<bool>,
    template: Option<String>,
    named_templates: Vec<(String, String)>,
}

/// A token beside the vocabulary of the merges.
#[derive(Debug, Deserialize)]
struct Added {
    #[serde(default)]
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

/// What both layouts of the files give.
struct Vocabulary {
    ids: HashMap<String, u32>,
    merges: Vec<String>,
    added: Vec<Added>,
    pre: String,
    is_sentencepiece: bool,
}

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

impl Tokenizer {
    /// Reads the tokenizer of a folder for an embedding of `config.vocabulary` rows.
    pub(crate) fn read(folder: &Path, config: &TextConfig) -> Result<Self, Error> {
        let settings = read_json(folder, CONFIG)?.unwrap_or(serde_json::Value::Null);
        let settings = Settings {
            file: CONFIG,
            value: &settings,
        };
        let mut vocabulary = match read_json::<Main>(folder, MAIN)? {
            Some(main) => from_main(main)?,
            None => from_parts(folder, config.family)?,
        };
        add_decoder(settings, &mut vocabulary)?;
        let mut tokenizer = Self {
            pre: vocabulary.pre,
            merges: vocabulary.merges,
            is_sentencepiece: vocabulary.is_sentencepiece,
            adds_bos: settings.bool("add_bos_token")?,
            ..Self::default()
        };
        if config.sliding.is_some() {
            // What stands for a picture's rows has an id behind those that files of Gemma 3 keep.
            let is_kept = |id: u32| (id as usize) < config.vocabulary;
            vocabulary.ids.retain(|_, id| is_kept(*id));
            vocabulary.added.retain(|token| is_kept(token.id));
        }
        tokenizer.place_tokens(&vocabulary.ids, &vocabulary.added, config.vocabulary)?;
        tokenizer.read_ids(settings, config);
        tokenizer.read_templates(folder, settings)?;
        Ok(tokenizer)
    }

    /// Tokens by id; rows of the embedding without a token get a name and the type "unused".
    fn place_tokens(
        &mut self,
        ids: &HashMap<String, u32>,
        added: &[Added],
        rows: usize,
    ) -> Result<(), Error> {
        let mut placed: Vec<Option<(&str, i32)>> = vec![None; rows];
        let normal = ids.iter().map(|(token, id)| (token.as_str(), *id, NORMAL));
        let added = added.iter().map(|token| {
            let looks_special = token.content.starts_with("<|") && token.content.ends_with("|>");
            let ty = match token.special || looks_special {
                true => CONTROL,
                false => USER_DEFINED,
            };
            (token.content.as_str(), token.id, ty)
        });
        for (token, id, ty) in normal.chain(added) {
            let place = placed.get_mut(id as usize).ok_or_else(|| Error::BadFile {
                file: MAIN.to_owned(),
                problem: format!("token id {id} of {token:?}, but the embedding has {rows} rows"),
            })?;
            *place = Some((token, ty));
        }
        for (id, place) in placed.into_iter().enumerate() {
            let (token, ty) = match place {
                Some((token, _)) if self.is_sentencepiece && token == "<unk>" => {
                    (token.to_owned(), UNKNOWN)
                }
                Some((token, NORMAL)) if self.is_sentencepiece && is_byte(token) => {
                    (token.to_owned(), BYTE)
                }
                Some((token, ty)) => (token.to_owned(), ty),
                None => (format!("[PAD{id}]"), UNUSED),
            };
            self.tokens.push(token);
            self.types.push(ty);
        }
        Ok(())
    }

    /// Ids by the token texts of tokenizer_config.json, else by number from config.json.
    fn read_ids(&mut self, settings: Settings<'_>, config: &TextConfig) {
        let [bos, eos, pad] = config.token_ids;
        for (key, name, stated) in [
            ("bos_token", "bos", bos),
            ("eos_token", "eos", eos),
            ("unk_token", "unknown", None),
            ("pad_token", "padding", pad),
        ] {
            let text = settings.get(key).and_then(|v| match v.get("content") {
                Some(content) => content.as_str(),
                None => v.as_str(),
            });
            let by_text = text.and_then(|text| self.tokens.iter().position(|token| token == text));
            let in_vocabulary = stated.filter(|id| (*id as usize) < self.tokens.len());
            if let Some(id) = by_text.map(|id| id as u32).or(in_vocabulary) {
                self.ids.push((name, id));
            }
        }
    }

    /// The chat template: a file of its own is newer than the one among the settings.
    fn read_templates(&mut self, folder: &Path, settings: Settings<'_>) -> Result<(), Error> {
        if let Some(text) = read_file(folder, "chat_template.jinja")? {
            self.template = Some(String::from_utf8(text).map_err(|_| Error::BadFile {
                file: "chat_template.jinja".to_owned(),
                problem: "not valid UTF-8".to_owned(),
            })?);
        }
        let json = read_json::<serde_json::Value>(folder, "chat_template.json")?;
        for source in [json.as_ref(), Some(settings.value)].into_iter().flatten() {
            match source.get("chat_template") {
                Some(serde_json::Value::String(text)) => {
                    self.template.get_or_insert_with(|| text.clone());
                }
                Some(serde_json::Value::Array(named)) => self.add_named(named),
                _ => {}
            }
        }
        Ok(())
    }

    fn add_named(&mut self, named: &[serde_json::Value]) {
        for entry in named {
            let text = |key: &str| entry.get(key).and_then(|v| v.as_str()).map(str::to_owned);
            match (text("name"), text("template")) {
                (Some(name), Some(template)) if name == "default" => {
                    self.template.get_or_insert(template);
                }
                (Some(name), Some(template)) => self.named_templates.push((name, template)),
                _ => {}
            }
        }
    }

    /// The id of a token.
    pub(crate) fn id(&self, token: &str) -> Option<usize> {
        self.tokens.iter().position(|known| known == token)
    }

    /// The `tokenizer.*` metadata.
    pub(crate) fn into_metadata(self) -> Vec<(String, Value)> {
        let is_llama = self.pre == "llama-bpe";
        let merge_scores = merge_scores(&self.tokens, &self.types, &self.merges);
        let mut metadata: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| metadata.push((format!("tokenizer.{key}"), value));
        let has_no_prefix = self.is_sentencepiece && !self.merges.is_empty();
        if has_no_prefix {
            set("ggml.model", "llama".into());
            set("ggml.scores", merge_scores.into());
            set("ggml.add_space_prefix", false.into());
            set("ggml.add_eos_token", false.into());
        } else if self.is_sentencepiece {
            set("ggml.model", "llama".into());
            set("ggml.scores", scores(&self.types).into());
        } else {
            set("ggml.model", "gpt2".into());
            set("ggml.merges", self.merges.into());
        }
        set("ggml.pre", self.pre.into());
        set("ggml.tokens", self.tokens.into());
        set("ggml.token_type", self.types.into());
        for (name, id) in self.ids {
            set(&format!("ggml.{name}_token_id"), id.into());
        }
        // Readers of llama-bpe add the first token unless told otherwise, readers of the others do not.
        let adds_bos = self.adds_bos.or(has_no_prefix.then_some(true));
        match (adds_bos, is_llama || self.is_sentencepiece) {
            (Some(adds), _) => set("ggml.add_bos_token", adds.into()),
            (None, false) => set("ggml.add_bos_token", false.into()),
            (None, true) => {}
        }
        if !self.named_templates.is_empty() {
            let names: Vec<&str> = self
                .named_templates
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            set("chat_templates", names.into());
        }
        for (name, template) in &self.named_templates {
            set(&format!("chat_template.{name}"), template.as_str().into());
        }
        if let Some(template) = self.template {
            set("chat_template", template.into());
        }
        metadata
    }
}

fn unsupported(found: impl Into<String>, need: &str) -> Error {
    Error::Unsupported {
        what: MAIN.to_owned(),
        found: found.into(),
        need: need.to_owned(),
    }
}

fn from_main(main: Main) -> Result<Vocabulary, Error> {
    let kind = main.model.kind.clone();
    let kind = kind.unwrap_or_else(|| "BPE".to_owned());
    let is_sentencepiece = main.model.byte_fallback == Some(true);
    if kind != "BPE" {
        return Err(unsupported(
            format!("a {kind} vocabulary without byte level"),
            "byte-level BPE, or pieces with byte fallback",
        ));
    }
    if is_sentencepiece {
        // Gemma's text has no space in front; what its merges make says the order of its pieces.
        let has_prefix = has_llama_spaces(&main);
        let merges = main.model.merges.into_iter().map(Merge::text);
        return Ok(Vocabulary {
            ids: main.model.vocab,
            merges: merges.filter(|_| !has_prefix).collect(),
            added: main.added_tokens,
            pre: "default".to_owned(),
            is_sentencepiece,
        });
    }
    Ok(Vocabulary {
        is_sentencepiece,
        ids: main.model.vocab,
        merges: main.model.merges.into_iter().map(Merge::text).collect(),
        added: main.added_tokens,
        pre: pre_name(&main.pre_tokenizer)?.to_owned(),
    })
}

/// True where text gets a space in front and spaces become a character of pieces, as in Llama 2.
fn has_llama_spaces(main: &Main) -> bool {
    let normalizer = main.normalizer.to_string();
    let cutter = main.pre_tokenizer.to_string();
    (normalizer.contains("\"Prepend\"") && normalizer.contains("\"Replace\""))
        || (cutter.contains("\"Metaspace\"") && !cutter.contains("\"never\""))
}

/// `<0x0A>`.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// Earlier pieces are merged first; tokens that are no pieces have no score.
fn scores(types: &[i32]) -> Vec<f32> {
    let score = |(id, ty): (usize, &i32)| match *ty {
        NORMAL => -(id as f32),
        _ => 0.0,
    };
    types.iter().enumerate().map(score).collect()
}

/// Scores that give pieces the order of the merges that make them.
fn merge_scores(tokens: &[String], types: &[i32], merges: &[String]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for merge in merges {
        let next = ranks.len();
        ranks.entry(merge.replacen(' ', "", 1)).or_insert(next);
    }
    let score = |(token, ty): (&String, &i32)| match *ty {
        NORMAL => -(ranks.get(token).copied().unwrap_or(ranks.len()) as f32),
        _ => 0.0,
    };
    tokens.iter().zip(types).map(score).collect()
}

/// The name of the rule that cuts text, by its regular expression.
fn pre_name(pre_tokenizer: &serde_json::Value) -> Result<&'static str, Error> {
    const RULES: [(&str, &str); 4] = [
        (
            "qwen2",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        (
            "llama-bpe",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        (
            "tekken",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        (
            "qwen35",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ];
    let regex = |step: &serde_json::Value| {
        let regex = step.get("pattern")?.get("Regex")?.as_str()?;
        Some(regex.to_owned())
    };
    let steps = pre_tokenizer
        .get("pretokenizers")
        .and_then(|steps| steps.as_array());
    let found = match steps {
        Some(steps) => steps.iter().find_map(regex),
        None => regex(pre_tokenizer),
    };
    let found = found.unwrap_or_else(|| "no regular expression".to_owned());
    match RULES.iter().find(|(_, rule)| *rule == found) {
        Some((name, _)) => Ok(name),
        None => Err(unsupported(
            format!("the cutting rule {found}"),
            "that of Qwen2, Qwen3, Qwen3.5, Llama 3 or tekken",
        )),
    }
}

/// vocab.json, merges.txt and added_tokens.json, of Qwen models that came without tokenizer.json.
fn from_parts(folder: &Path, family: Family) -> Result<Vocabulary, Error> {
    let missing = || Error::MissingFile {
        folder: folder.to_path_buf(),
        what: MAIN.to_owned(),
    };
    let ids = read_json::<HashMap<String, u32>>(folder, "vocab.json")?.ok_or_else(missing)?;
    let merges = read_file(folder, "merges.txt")?.ok_or_else(missing)?;
    if family == Family::Llama {
        return Err(missing());
    }
    let merges = String::from_utf8(merges).map_err(|_| Error::BadFile {
        file: "merges.txt".to_owned(),
        problem: "not valid UTF-8".to_owned(),
    })?;
    let is_merge = |line: &&str| !line.is_empty() && !line.starts_with("#version");
    let added =
        read_json::<BTreeMap<String, u32>>(folder, "added_tokens.json")?.unwrap_or_default();
    let added = added.into_iter().map(|(content, id)| Added {
        id,
        content,
        special: false,
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
        match vocabulary
            .added
            .iter_mut()
            .find(|known| known.id == token.id)
        {
            Some(known) => known.special |= token.special,
            None => vocabulary.added.push(token),
        }
    }
    Ok(())
}
