//! What an answer is bound to: a JSON schema, or boxes.

use std::path::Path;

use ocelli::{Answer, FinishReason, GrammarSource, Model};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::args::AnswerArgs;
use crate::failure::{Code, Failure};
use crate::prompt::{file, utf8};

/// Most bytes of a file with a schema; what a grammar may have is less.
const SCHEMA_BYTES: u64 = 16 << 20;

/// See the module.
pub(crate) struct Form {
    /// As it was asked for on the command line.
    flag: String,
    pub(crate) source: GrammarSource,
    /// Tells forms apart in a file of answers.
    pub(crate) digest: String,
}

impl Form {
    /// Reads what the command line asks for, if it does.
    ///
    /// # Errors
    /// When the schema cannot be read.
    pub(crate) fn read(args: &AnswerArgs) -> Result<Option<Self>, Failure> {
        let boxes = || Self {
            flag: "--boxes".to_owned(),
            source: GrammarSource::Boxes,
            digest: "boxes".to_owned(),
        };
        match &args.schema {
            Some(path) => Self::of_schema(path).map(Some),
            None => Ok(args.boxes.then(boxes)),
        }
    }

    fn of_schema(path: &Path) -> Result<Self, Failure> {
        let text = utf8(file(path, SCHEMA_BYTES)?, "--schema")?;
        let flag = format!("--schema {}", path.display());
        let schema: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::usage(format_args!("{flag}: found no JSON: {error}")))?;
        let digest = Sha256::digest(schema.to_string());
        Ok(Self {
            flag,
            source: GrammarSource::JsonSchema(schema),
            digest: digest[..8].iter().map(|b| format!("{b:02x}")).collect(),
        })
    }

    /// Refuses what answers of the model cannot be bound to.
    ///
    /// # Errors
    /// With the reason.
    pub(crate) fn check(&self, model: &Model) -> Result<(), Failure> {
        let refused = |error| Failure::usage(format_args!("{}: {error}", self.flag));
        model.check_grammar(&self.source).map_err(refused)
    }

    /// The value that an answer by a schema is. Every token was one that the schema allows, so only
    /// an answer that did not come to its end is none.
    pub(crate) fn value(&self, answer: &Answer) -> Option<Result<Value, Failure>> {
        if !matches!(self.source, GrammarSource::JsonSchema(_)) {
            return None;
        }
        let found = match serde_json::from_str(&answer.text) {
            Ok(value) if answer.finish_reason == FinishReason::Stop => return Some(Ok(value)),
            _ => answer.usage.completion_tokens,
        };
        Some(Err(Failure::new(
            Code::Check,
            format_args!(
                "answer: found {found} tokens that are no whole value, need JSON by {}. Raise --max-tokens",
                self.flag
            ),
        )))
    }
}
