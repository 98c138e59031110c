//! What a request may ask of an answer's form, checked before it is compiled.

use llguidance::api::TopLevelGrammar;
use ocelli_image::boxes::Convention;
use ocelli_text::Tokenizer;
use serde_json::{Value, json};

use super::{boxes, closed, gbnf, restate, schema, tools};
use crate::Error;

/// Longest schema, expression or grammar, in bytes.
pub const GRAMMAR_BYTES: usize = 256 << 10;
/// Deepest nesting of a schema, or of parentheses.
pub(super) const DEPTH: usize = 64;
/// White space that a JSON answer may hold between two tokens of JSON: a space, or one new line with its
/// indentation. With any more a model that is unsure fills its answer with empty lines and never ends it.
const JSON_SPACE: &str = r" |\n[ \t]{0,40}";

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum GrammarSource {
    /// Any JSON object.
    JsonObject,
    /// JSON by this schema.
    JsonSchema(Value),
    /// Text that matches a regular expression as a whole.
    Regex(String),
    /// A grammar in Lark's notation, or in GBNF when its rules are written with `::=`.
    Grammar(String),
    /// Calls of these tools and nothing else, at least one, as a [`ocelli_text::ToolCallParser`] reads
    /// them: JSON between `<tool_call>` marks. Tools are JSON schemas in OpenAI's form.
    ToolCalls(Vec<Value>),
    /// Boxes and their names, as the model's family was trained to write them: a list in JSON of
    /// `bbox_2d` and `label`, or Qwen2-VL's control tokens. Refused for other families.
    Boxes,
}

impl GrammarSource {
    /// A text that only equal sources share.
    pub(super) fn key(&self) -> String {
        match self {
            Self::JsonObject => "o".to_owned(),
            Self::JsonSchema(schema) => format!("s{schema}"),
            Self::Regex(text) => format!("r{text}"),
            Self::Grammar(text) => format!("g{text}"),
            Self::Boxes => "b".to_owned(),
            Self::ToolCalls(tools) => format!("t{}", Value::Array(tools.clone())),
        }
    }

    /// True when no control token can be part of the answer, as far as that can be told at a glance.
    pub(super) fn is_text(&self, convention: Option<Convention>) -> bool {
        match self {
            Self::JsonObject | Self::JsonSchema(_) | Self::Regex(_) => true,
            Self::Grammar(text) => !text.contains('<'),
            Self::ToolCalls(_) => false,
            Self::Boxes => convention != Some(Convention::Tagged1000),
        }
    }

    /// True where the answer is JSON by rules of ours, and not by the user's own.
    pub(super) fn is_json(&self, convention: Option<Convention>) -> bool {
        match self {
            Self::JsonObject | Self::JsonSchema(_) | Self::ToolCalls(_) => true,
            Self::Regex(_) | Self::Grammar(_) => false,
            Self::Boxes => convention != Some(Convention::Tagged1000),
        }
    }

    /// Refuses what is too large or can be seen to be wrong, in time linear in its size.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::JsonObject | Self::Boxes => Ok(()),
            Self::JsonSchema(schema) => schema::check(schema),
            Self::Regex(text) => check_size("regex", text),
            Self::Grammar(text) => check_size("grammar", text),
            Self::ToolCalls(tools) => schema::check(&tools::schema(tools)?),
        }
    }

    /// What the compiler takes; the model's family writes boxes like this, if it writes any.
    ///
    /// # Errors
    /// When a grammar in GBNF cannot be put in Lark's notation, tools are not as they must be, a number
    /// of a schema could only be enforced roughly, or the model's family writes no boxes.
    pub(super) fn top_level(
        &self,
        tokenizer: &Tokenizer,
        convention: Option<Convention>,
    ) -> Result<TopLevelGrammar, String> {
        let of_schema = |schema: &Value| {
            let schema = with_our_options(schema.clone())?;
            Ok::<_, String>(TopLevelGrammar::from_json_schema(schema))
        };
        Ok(match self {
            Self::JsonObject => of_schema(&json!({"type": "object"}))?,
            Self::JsonSchema(schema) => of_schema(schema)?,
            Self::Regex(text) => TopLevelGrammar::from_regex(text),
            Self::Grammar(text) if gbnf::is_gbnf(text) => {
                TopLevelGrammar::from_lark(gbnf::to_lark(text)?)
            }
            Self::Grammar(text) => TopLevelGrammar::from_lark(text.clone()),
            Self::Boxes => {
                let convention = convention.ok_or("models of this family write no boxes")?;
                match boxes::source(convention) {
                    boxes::Source::Schema(schema) => of_schema(&schema)?,
                    boxes::Source::Lark(text) => TopLevelGrammar::from_lark(text),
                }
            }
            Self::ToolCalls(tools) => {
                let schema = tools::schema(tools).map_err(|error| error.to_string())?;
                TopLevelGrammar::from_lark(tools::lark(tokenizer, &with_our_options(schema)?))
            }
        })
    }
}

/// Sets how a schema is enforced, whatever the request says: `lenient` would leave out what cannot be.
fn with_our_options(mut schema: Value) -> Result<Value, String> {
    restate::restate(&mut schema)?;
    closed::close(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        let options = json!({"whitespace_pattern": JSON_SPACE, "lenient": false});
        object.insert("x-guidance".to_owned(), options);
    }
    Ok(schema)
}

fn check_size(what: &str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::Grammar(format!("{what} is empty")));
    }
    if text.len() > GRAMMAR_BYTES {
        return Err(Error::Grammar(format!(
            "{what} has {} bytes, limit {GRAMMAR_BYTES}",
            text.len()
        )));
    }
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEPTH {
        return Err(Error::Grammar(format!(
            "{what} is nested deeper than {DEPTH}"
        )));
    }
    Ok(())
}
