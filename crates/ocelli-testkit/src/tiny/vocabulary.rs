//! A byte-level vocabulary of the Qwen kind: 256 bytes, a few merges, the special tokens, fillers.

/// Special tokens of the Qwen vocabulary in their order, after the ordinary ones.
pub const SPECIAL_TOKENS: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// Added, but not special: kept in the output.
const ADDED_TOKENS: [&str; 6] = [
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
];

/// Merges by rank. Every part is a byte or the result of an earlier merge.
pub(crate) const MERGES: [&str; 16] = [
    "h e", "Ġ t", "Ġt he", "i n", "r e", "Ġ a", "e r", "o n", "a t", "Ġ s", "s t", "Ġ i", "u s",
    "us er", "in g", "Ġi s",
];

/// Rows of the embedding: the tokens plus fillers up to a multiple of 32.
pub(crate) const ROWS: usize = 320;

/// Kinds of tokens in `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The printable character that stands for a byte in byte-level vocabularies.
fn byte_character(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    // The other bytes take the characters from U+0100 on, in their order.
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + before).unwrap_or('\u{fffd}')
}

/// Tokens and their types, in the order of their ids.
pub(crate) fn tokens_with_types() -> Vec<(String, i32)> {
    let mut bytes: Vec<char> = (0..=255).map(byte_character).collect();
    bytes.sort_unstable();
    let mut tokens: Vec<(String, i32)> =
        bytes.into_iter().map(|c| (c.to_string(), NORMAL)).collect();
    tokens.extend(MERGES.iter().map(|pair| (pair.replace(' ', ""), NORMAL)));
    tokens.extend(
        SPECIAL_TOKENS
            .iter()
            .map(|token| ((*token).to_owned(), CONTROL)),
    );
    tokens.extend(
        ADDED_TOKENS
            .iter()
            .map(|token| ((*token).to_owned(), USER_DEFINED)),
    );
    let used = tokens.len();
    tokens.extend((used..ROWS).map(|id| (format!("[PAD{id}]"), UNUSED)));
    tokens
}

/// The tokens in the order of their ids.
pub fn tokens() -> Vec<String> {
    tokens_with_types()
        .into_iter()
        .map(|(token, _)| token)
        .collect()
}

/// The id of a token.
///
/// # Panics
/// When the vocabulary has no such token.
pub fn token_id(token: &str) -> u32 {
    let found = tokens().iter().position(|known| known == token);
    found.unwrap_or_else(|| panic!("no token `{token}`")) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_are_distinct_and_fill_the_rows() {
        let tokens = tokens();
        assert_eq!(tokens.len(), ROWS);
        assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), ROWS);
    }

    #[test]
    fn every_merge_joins_known_tokens_to_a_known_token() {
        for merge in MERGES {
            let (left, right) = merge.split_once(' ').unwrap();
            token_id(left);
            token_id(right);
            token_id(&format!("{left}{right}"));
        }
    }
}
