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
    /// Vicuna 1.1, as LLaVA-1.5 and LLaVA-1.6 use it.
    Vicuna,
    /// Mistral 7B's `[INST]`, which is plain text to its vocabulary, as LLaVA-1.6 uses it.
    LlavaInst,
    /// `<|im_start|>` turns without a line between them, as LLaVA-1.6 uses them with Yi-34B.
    LlavaChatMl,
    /// Llama 3, text only.
    Llama3,
}

impl Builtin {
    /// All families.
    pub const ALL: [Self; 9] = [
        Self::ChatMl,
        Self::Qwen2Vl,
        Self::Qwen3Vl,
        Self::Gemma3,
        Self::MistralTekken,
        Self::Vicuna,
        Self::LlavaInst,
        Self::LlavaChatMl,
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
            Self::LlavaInst => include_str!("../../templates/llava-inst.jinja"),
            Self::LlavaChatMl => include_str!("../../templates/llava-chatml.jinja"),
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
            // Files of LLaVA's text models are those that carry none.
            "llama" if tokenizer.vocabulary().model == Model::SentencePiece => {
                match has("<|im_start|>") {
                    true => Self::LlavaChatMl,
                    false if is_mistral(tokenizer) => Self::LlavaInst,
                    false => Self::Vicuna,
                }
            }
            _ if has("<|im_start|>") => Self::ChatMl,
            _ => return None,
        })
    }
}

/// Whether a vocabulary is that of Mistral 7B, which has as many pieces as Llama 2's, of the same kinds, in
/// another order.
fn is_mistral(tokenizer: &Tokenizer) -> bool {
    const PIECES: [(u32, &str); 3] = [(733, "▁["), (16_289, "INST"), (28_793, "]")];
    PIECES
        .iter()
        .all(|(id, piece)| tokenizer.token_text(*id) == Some(*piece))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use crate::{TokenKind, Vocabulary};

    /// A vocabulary of as many pieces as Llama 2's, with some in places of their own.
    fn family(pieces: &[(usize, &str)]) -> Option<Builtin> {
        let mut tokens: Vec<String> = (0..32_000).map(|id| format!("piece{id}")).collect();
        for (id, piece) in pieces {
            tokens[*id] = (*piece).to_owned();
        }
        let mut vocabulary = Vocabulary::new(Model::SentencePiece, tokens.iter().collect());
        vocabulary.architecture = Some("llama".to_owned());
        vocabulary.scores = vec![0.0; tokens.len()];
        vocabulary.kinds = vec![TokenKind::Normal; tokens.len()];
        Builtin::of(&Tokenizer::new(vocabulary).unwrap())
    }

    #[test]
    fn texts_of_llava_are_told_by_their_vocabularies() {
        let llama = [(518, "▁["), (25_580, "INST"), (29_962, "]")];
        assert_eq!(family(&llama), Some(Builtin::Vicuna));
        let mistral = [(733, "▁["), (16_289, "INST"), (28_793, "]")];
        assert_eq!(family(&mistral), Some(Builtin::LlavaInst));
        let yi = [(6, "<|im_start|>"), (7, "<|im_end|>")];
        assert_eq!(family(&yi), Some(Builtin::LlavaChatMl));
    }
}
