//! A tokenizer's vocabulary as the matcher wants it.

use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::api::ParserLimits;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use ocelli_text::{TokenKind, Tokenizer};

/// What makes matchers for this vocabulary.
///
/// # Errors
/// When the vocabulary has no token that ends an answer.
pub(super) fn factory(tokenizer: &Tokenizer) -> Result<ParserFactory, String> {
    let end = *tokenizer
        .end_ids()
        .first()
        .ok_or("it has no token that ends an answer")?;
    let words: Vec<Vec<u8>> = (0..tokenizer.len() as u32)
        .map(|id| word(tokenizer, id))
        .collect();
    let info = TokRxInfo::new(words.len() as u32, end);
    let trie = TokTrie::from(&info, &words).with_eos_tokens(&end_tokens(tokenizer, end));
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let capabilities = InferenceCapabilities {
        ff_tokens: false,
        conditional_ff_tokens: false,
        backtrack: false,
        fork: false,
    };
    let slices = llguidance::earley::SlicedBiasComputer::general_slices();
    let mut factory =
        ParserFactory::new(&environment, capabilities, &slices).map_err(|e| e.to_string())?;
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        max_lexer_states: 50_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
        ..ParserLimits::default()
    };
    Ok(factory)
}

/// The matcher's own end token has to come first.
fn end_tokens(tokenizer: &Tokenizer, first: u32) -> Vec<u32> {
    let others = tokenizer.end_ids().iter().copied();
    std::iter::once(first)
        .chain(others.filter(|id| *id != first && (*id as usize) < tokenizer.len()))
        .collect()
}

/// A token's bytes; those that are no text are marked as such.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer
        .token_bytes(id)
        .map(|bytes| bytes.into_owned())
        .unwrap_or_default();
    match tokenizer.kind(id) {
        Some(TokenKind::Control | TokenKind::Unknown | TokenKind::Unused) | None => {
            let mut marked = vec![TokTrie::SPECIAL_TOKEN_MARKER];
            marked.extend(bytes);
            marked
        }
        _ => bytes,
    }
}
