//! The tokenizer of a checkpoint as GGUF stores it: byte-level BPE from tokenizer.json, or from the older
//! vocab.json and merges.txt.

mod metadata;
mod rules;
mod vocabulary;

use std::collections::HashMap;
use std::path::Path;

use super::TextConfig;
use super::settings::{Settings, read_json, read_text};
use crate::Error;
use vocabulary::{Added, Vocabulary};

const MAIN: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

/// Types of tokens in GGUF.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
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

impl Tokenizer {
    /// Reads the tokenizer of a folder for an embedding of `config.vocabulary` rows.
    pub(crate) fn read(folder: &Path, config: &TextConfig) -> Result<Self, Error> {
        let settings = read_json(folder, CONFIG)?.unwrap_or(serde_json::Value::Null);
        let settings = Settings {
            file: CONFIG,
            value: &settings,
        };
        let mut vocabulary = Vocabulary::read(folder, settings, config.family)?;
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
        tokenizer.check_strips(&vocabulary.added)?;
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
                None => (format!("[PAD{id}]"), UNUSED),
                Some((token, ty)) => {
                    let ty = match ty {
                        _ if self.is_sentencepiece && token == "<unk>" => UNKNOWN,
                        NORMAL if self.is_sentencepiece && is_byte(token) => BYTE,
                        _ => ty,
                    };
                    (token.to_owned(), ty)
                }
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
        self.template = read_text(folder, "chat_template.jinja")?;
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

    /// Refuses tokens of the chat template that take white space beside them: GGUF cannot state it, and
    /// the white space would come out as tokens that the model has not seen there.
    fn check_strips(&self, added: &[Added]) -> Result<(), Error> {
        let named = self.named_templates.iter().map(|(_, text)| text);
        let templates: Vec<&String> = self.template.iter().chain(named).collect();
        let is_written = |token: &&Added| {
            let named = self.ids.iter().filter(|(_, id)| *id == token.id);
            let mut texts = named.map(|(name, _)| format!("{name}_token"));
            let has = |text: &str| templates.iter().any(|template| template.contains(text));
            has(&token.content) || texts.any(|text| has(&text))
        };
        for token in added.iter().filter(is_written) {
            let flags = [
                ("lstrip", token.lstrip),
                ("rstrip", token.rstrip),
                ("single_word", token.single_word),
            ];
            if let Some((flag, _)) = flags.into_iter().find(|(_, is_set)| *is_set) {
                return Err(Error::Unsupported {
                    what: MAIN.to_owned(),
                    found: format!(
                        "{:?}, which the chat template writes, with {flag}",
                        token.content
                    ),
                    need: "tokens that take no white space beside them, since GGUF cannot state it"
                        .to_owned(),
                });
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
}

/// `<0x0A>`.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}
