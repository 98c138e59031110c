//! The tokenizer as metadata of a GGUF file.

use std::collections::HashMap;

use ocelli_gguf::Value;

use super::{NORMAL, Tokenizer};

impl Tokenizer {
    /// The `tokenizer.*` metadata.
    pub(crate) fn into_metadata(self) -> Vec<(String, Value)> {
        let is_llama = self.pre == "llama-bpe";
        let mut metadata: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| metadata.push((format!("tokenizer.{key}"), value));
        let has_no_prefix = self.is_sentencepiece && !self.merges.is_empty();
        if has_no_prefix {
            set("ggml.model", "llama".into());
            let scores = merge_scores(&self.tokens, &self.types, &self.merges);
            set("ggml.scores", scores.into());
            set("ggml.add_space_prefix", false.into());
            set("ggml.add_eos_token", false.into());
        } else if self.is_sentencepiece {
            set("ggml.model", "llama".into());
            set("ggml.scores", id_scores(&self.types).into());
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
            let names = self.named_templates.iter().map(|(name, _)| name.as_str());
            set("chat_templates", names.collect::<Vec<_>>().into());
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

/// Scores by which pieces with smaller ids are joined first; tokens that are no pieces have 0.
fn id_scores(types: &[i32]) -> Vec<f32> {
    let score = |(id, ty): (usize, &i32)| match *ty {
        NORMAL => -(id as f32),
        _ => 0.0,
    };
    types.iter().enumerate().map(score).collect()
}

/// Scores that give pieces the order of the merges that make them; tokens that are no pieces have 0.
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
