//! What a chat template is: its hash, and whether it looks at what is said.

use ocelli_gguf::Metadata;
use ocelli_text::{ChatTemplate, Tokenizer, template_hash};
use serde::Serialize;

use crate::Error;

/// A chat template.
#[derive(Clone, Debug, Serialize)]
pub struct TemplateReport {
    /// Its length.
    pub bytes: usize,
    /// The first 16 hexadecimal digits of the SHA-256 of its bytes: equal hashes, equal templates.
    pub sha256: String,
    /// False when the file has none and the one that is built in for its family is used.
    pub is_in_file: bool,
    /// Conditions that look at the text of messages. Templates of known families have a few (for
    /// tool answers and thoughts); a template that treats some words in a special way shows here.
    pub content_conditions: Vec<String>,
    /// Whether it shows the model descriptions of tools.
    pub shows_tools: bool,
    /// Why this engine cannot use it; `None` when it can.
    pub problem: Option<String>,
}

/// The template that a model with this tokenizer is asked with; `None` when there is none.
pub(super) fn report(
    metadata: &Metadata,
    tokenizer: &Tokenizer,
) -> Result<Option<TemplateReport>, Error> {
    let in_file = metadata.str("tokenizer.chat_template")?;
    Ok(
        match (
            ChatTemplate::from_metadata(metadata, tokenizer, None),
            in_file,
        ) {
            (Ok(template), _) => Some(TemplateReport {
                bytes: template.source().len(),
                sha256: template.hash(),
                is_in_file: in_file.is_some(),
                content_conditions: template.flags_content_conditionals().to_vec(),
                shows_tools: template.shows_tools(),
                problem: None,
            }),
            (Err(error), Some(source)) => Some(broken(source, &error.to_string())),
            (Err(_), None) => None,
        },
    )
}

/// What can be said of a template that cannot be used.
pub(super) fn broken(source: &str, problem: &str) -> TemplateReport {
    TemplateReport {
        bytes: source.len(),
        sha256: template_hash(source),
        is_in_file: true,
        content_conditions: Vec::new(),
        shows_tools: false,
        problem: Some(problem.to_owned()),
    }
}
