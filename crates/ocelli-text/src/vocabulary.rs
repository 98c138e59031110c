//! A vocabulary as plain data, read from GGUF metadata or built by hand. It is checked when a
//! [`Tokenizer`] is made.
//!
//! [`Tokenizer`]: crate::Tokenizer

use ocelli_gguf::{Metadata, StringArray};

use crate::Error;

/// Most tokens a vocabulary may have.
const MAX_TOKENS: usize = 1 << 21;

/// How pieces of text become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Model {
    /// Byte-level byte-pair encoding: `gpt2` in GGUF.
    BytePair,
    /// SentencePiece byte-pair encoding with scores and byte tokens: `llama` in GGUF.
    SentencePiece,
}

/// What a token is for; the numbers are those of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TokenKind {
    /// A piece of text.
    Normal = 1,
    /// Stands for text that has no token.
    Unknown = 2,
    /// Steers the model; only the template may write it.
    Control = 3,
    /// A piece of text that is always one token, whoever wrote it.
    UserDefined = 4,
    /// Fills a gap in the numbering.
    Unused = 5,
    /// One raw byte, written `<0x0A>`.
    Byte = 6,
}

impl TokenKind {
    /// The kind with this number in `tokenizer.ggml.token_type`.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// Whether text may become such a token by itself, without a cut and without falling back to bytes.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined)
    }
}

/// Tokens, merges and rules of a tokenizer. `None` and empty lists mean that the file says nothing.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// How text becomes tokens.
    pub model: Model,
    /// Name of the rule that splits text into words before the merges.
    pub pre: Option<String>,
    /// Text of each token, by id.
    pub tokens: StringArray,
    /// Kind of each token; empty means that all are normal.
    pub kinds: Vec<TokenKind>,
    /// Priority of each token (SentencePiece), higher first.
    pub scores: Vec<f32>,
    /// `left right` pairs, first ones first (byte pair).
    pub merges: StringArray,
    /// Begin of text.
    pub bos: Option<u32>,
    /// End of text or of an answer.
    pub eos: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// End of a message.
    pub eom: Option<u32>,
    /// Stands for text without a token.
    pub unknown: Option<u32>,
    /// Padding.
    pub padding: Option<u32>,
    /// Further tokens that end an answer.
    pub further_eos: Vec<u32>,
    /// Whether prompts start with `bos`.
    pub add_bos: Option<bool>,
    /// Whether a space is put in front of text (SentencePiece).
    pub add_space_prefix: Option<bool>,
    /// `general.architecture`: helps where `pre` is missing.
    pub architecture: Option<String>,
}

impl Vocabulary {
    /// A vocabulary with these tokens, all normal, and no rules of its own.
    pub fn new(model: Model, tokens: StringArray) -> Self {
        Self {
            model,
            pre: None,
            tokens,
            kinds: Vec::new(),
            scores: Vec::new(),
            merges: StringArray::default(),
            bos: None,
            eos: None,
            eot: None,
            eom: None,
            unknown: None,
            padding: None,
            further_eos: Vec::new(),
            add_bos: None,
            add_space_prefix: None,
            architecture: None,
        }
    }

    /// Reads the `tokenizer.ggml.*` keys of a file.
    ///
    /// # Errors
    /// A key is missing, has another type, or names a tokenizer model that cannot be run.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, Error> {
        let model = match metadata.required_str("tokenizer.ggml.model")? {
            "gpt2" => Model::BytePair,
            "llama" => Model::SentencePiece,
            other => {
                let key = "tokenizer.ggml.model";
                let other: String = other.chars().take(64).collect();
                return Err(metadata
                    .error(key, format!("`{other}`"), "`gpt2` or `llama`")
                    .into());
            }
        };
        let id = |key: &str| metadata.u32(&format!("tokenizer.ggml.{key}_token_id"));
        let mut vocabulary = Self::new(
            model,
            metadata
                .required_str_array("tokenizer.ggml.tokens")?
                .clone(),
        );
        vocabulary.pre = metadata.str("tokenizer.ggml.pre")?.map(str::to_owned);
        vocabulary.kinds = kinds(metadata)?;
        match model {
            Model::SentencePiece => {
                vocabulary.scores = metadata.required_f32_array("tokenizer.ggml.scores")?
            }
            Model::BytePair => {
                vocabulary.merges = metadata
                    .required_str_array("tokenizer.ggml.merges")?
                    .clone();
                if vocabulary.merges.is_empty()
                    && let Some(token) = vocabulary.first_of_several_bytes()
                {
                    // Every text would fall apart into single bytes, which models answer without sense.
                    return Err(Error::vocabulary(
                        "tokenizer.ggml.merges",
                        "none",
                        format!("what makes tokens of several bytes, such as {token}"),
                    ));
                }
            }
        }
        vocabulary.bos = id("bos")?;
        vocabulary.eos = id("eos")?;
        vocabulary.eot = id("eot")?;
        vocabulary.eom = id("eom")?;
        vocabulary.unknown = id("unknown")?;
        vocabulary.padding = id("padding")?;
        vocabulary.further_eos = metadata
            .u32_array("tokenizer.ggml.eos_token_ids")?
            .unwrap_or_default();
        vocabulary.add_bos = metadata.bool("tokenizer.ggml.add_bos_token")?;
        vocabulary.add_space_prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?;
        vocabulary.architecture = metadata.str("general.architecture")?.map(str::to_owned);
        Ok(vocabulary)
    }

    /// Drops tokens from `count` on: files exist with more tokens than rows in the embedding.
    pub fn truncate(&mut self, count: usize) {
        if count < self.tokens.len() {
            self.tokens = self.tokens.iter().take(count).collect();
            self.kinds.truncate(count);
            self.scores.truncate(count);
        }
    }

    /// Kind of token `id`, as the file says.
    pub fn kind(&self, id: u32) -> TokenKind {
        self.kinds
            .get(id as usize)
            .copied()
            .unwrap_or(TokenKind::Normal)
    }

    /// A piece of text that only merges make: each byte is one character of a byte-level vocabulary.
    fn first_of_several_bytes(&self) -> Option<&str> {
        let is_text = |id: &usize| self.kinds.get(*id) == Some(&TokenKind::Normal);
        let texts = (0..self.tokens.len()).filter(is_text);
        texts
            .filter_map(|id| self.tokens.get(id))
            .find(|token| token.chars().nth(1).is_some())
    }

    /// Checks that lists are of equal length and that ids are in range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let tokens = self.tokens.len();
        if tokens == 0 || tokens > MAX_TOKENS {
            let need = format!("1 to {}", MAX_TOKENS);
            return Err(Error::vocabulary(
                "tokenizer.ggml.tokens",
                format!("{tokens} tokens"),
                need,
            ));
        }
        let per_token = |what: &str, found: usize| match found == tokens {
            true => Ok(()),
            false => Err(Error::vocabulary(
                what,
                format!("{found} values"),
                format!("{tokens}, one for each token"),
            )),
        };
        if !self.kinds.is_empty() {
            per_token("tokenizer.ggml.token_type", self.kinds.len())?;
        }
        if self.model == Model::SentencePiece {
            per_token("tokenizer.ggml.scores", self.scores.len())?;
            if let Some(at) = self.scores.iter().position(|score| score.is_nan()) {
                return Err(Error::vocabulary(
                    format!("tokenizer.ggml.scores[{at}]"),
                    "NaN",
                    "a number",
                ));
            }
        }
        let ids = [
            ("bos", self.bos),
            ("eos", self.eos),
            ("eot", self.eot),
            ("eom", self.eom),
            ("unknown", self.unknown),
            ("padding", self.padding),
        ];
        for (name, id) in ids {
            if let Some(id) = id.filter(|&id| id as usize >= tokens) {
                let what = format!("tokenizer.ggml.{name}_token_id");
                return Err(Error::vocabulary(
                    what,
                    id,
                    format!("a number below {tokens}"),
                ));
            }
        }
        if self.add_bos == Some(true) && self.bos.is_none() {
            return Err(Error::vocabulary(
                "tokenizer.ggml.bos_token_id",
                "nothing",
                "the begin token that tokenizer.ggml.add_bos_token asks for",
            ));
        }
        Ok(())
    }
}

fn kinds(metadata: &Metadata) -> Result<Vec<TokenKind>, Error> {
    let key = "tokenizer.ggml.token_type";
    // Without kinds, what steers a model would be read as plain text: an answer, and no sense in it.
    let numbers = metadata.i32_array(key)?.unwrap_or_default();
    if numbers.is_empty() {
        let need = "one number for each token, which tells control tokens from text";
        return Err(metadata.error(key, "none".to_owned(), need).into());
    }
    let mut kinds = Vec::with_capacity(numbers.len());
    for (id, &number) in numbers.iter().enumerate() {
        let Some(kind) = TokenKind::from_number(number) else {
            return Err(metadata
                .error(key, format!("{number} for token {id}"), "1 to 6")
                .into());
        };
        kinds.push(kind);
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_several_bytes_need_merges() {
        let tokens: StringArray = ["a", "Ġ", "<|im_end|>", "aĠ"].into_iter().collect();
        let mut vocabulary = Vocabulary::new(Model::BytePair, tokens);
        vocabulary.kinds = vec![TokenKind::Normal; 4];
        vocabulary.kinds[2] = TokenKind::Control;
        assert_eq!(vocabulary.first_of_several_bytes(), Some("aĠ"));
        vocabulary.kinds[3] = TokenKind::Unused;
        assert_eq!(vocabulary.first_of_several_bytes(), None);
    }
}
