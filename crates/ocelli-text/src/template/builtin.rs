//! Templates of known families, for files that carry none.

use crate::{Model, Tokenizer};

/// A family with a built-in template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Builtin {
    /// `<|im_start|>` turns, text only.
    ChatMl,
    /// Qwen2-VL and Qwen2.5-VL.
    Qwen2Vl,
    /// Qwen3-VL.
    Qwen3Vl,
    /// Gemma 3.
    Gemma3,
    /// Mistral Small 3.1 and later.
    MistralTekken,
    /// Vicuna 1.1, as LLaVA-1.5 uses it.
    Vicuna,
    /// Llama 3, text only.
    Llama3,
}

impl Builtin {
    /// All families.
    pub const ALL: [Self; 7] = [
        Self::ChatMl,
        Self::Qwen2Vl,
        Self::Qwen3Vl,
        Self::Gemma3,
        Self::MistralTekken,
        Self::Vicuna,
        Self::Llama3,
    ];

    /// The template.
    pub fn source(self) -> &'static str {
        match self {
            Self::ChatMl => include_str!("../../templates/chatml.jinja"),
            Self::Qwen2Vl => include_str!("../../templates/qwen2-vl.jinja"),
            Self::Qwen3Vl => include_str!("../../templates/qwen3-vl.jinja"),
            Self::Gemma3 => include_str!("../../templates/gemma3.jinja"),
            Self::MistralTekken => include_str!("../../templates/mistral-tekken.jinja"),
            Self::Vicuna => include_str!("../../templates/vicuna.jinja"),
            Self::Llama3 => include_str!("../../templates/llama3.jinja"),
        }
    }

    /// The family that a vocabulary belongs to, by its architecture and then by its control tokens.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let has = |text: &str| tokenizer.token_id(text).is_some();
        let architecture = tokenizer
            .vocabulary()
            .architecture
            .as_deref()
            .unwrap_or_default();
        Some(match architecture {
            "qwen2vl" => Self::Qwen2Vl,
            _ if architecture.starts_with("qwen3") => Self::Qwen3Vl,
            "gemma3" => Self::Gemma3,
            "mistral3" => Self::MistralTekken,
            _ if has("[SYSTEM_PROMPT]") && has("[INST]") => Self::MistralTekken,
            _ if has("<start_of_turn>") => Self::Gemma3,
            _ if has("<|start_header_id|>") => Self::Llama3,
            _ if has("<|im_start|>") && has("<|image_pad|>") => Self::Qwen2Vl,
            _ if has("<|im_start|>") => Self::ChatMl,
            _ if tokenizer.vocabulary().model == Model::SentencePiece
                && architecture == "llama" =>
            {
                Self::Vicuna
            }
            _ => return None,
        })
    }
}
