//! The names of rules in `tokenizer.ggml.pre`, with the steps of each. Names are llama.cpp's; where
//! its expression only approaches that of the model's own tokenizer, the steps are the tokenizer's.
//!
//! Not here, and so refused: `gemma4`, `granite-embed-multi-311m`, `sarvam-moe` and `whitespace`
//! (vocabularies without byte level), `jina-v1-en`, `jina-v2-code` and `roberta-bpe` (a separator
//! after the text), and `afmoe`, `chameleon`, `cohere2moe`, `exaone-moe`, `kimi-k2` and `tiny_aya`,
//! whose rules only architectures have that do not run here.

use super::class::MARK;
use super::ranges::{
    ASIAN, BOPOMOFO, CHINESE_PUNCTUATION, DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, HANGUL,
    KANA_AND_HAN,
};
use super::rules::{Breaks, Contractions, Suffix, Symbols, Words};
use super::steps::{ALL_PUNCTUATION, LETTERS, Step};

/// What else comes with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) normalizes: bool,
    pub(super) whole_pieces_first: bool,
    pub(super) adds_bos: bool,
}

const PLAIN: Flags = Flags {
    normalizes: false,
    whole_pieces_first: false,
    adds_bos: false,
};
const NORMALIZED: Flags = Flags {
    normalizes: true,
    ..PLAIN
};
const WHOLE: Flags = Flags {
    whole_pieces_first: true,
    ..PLAIN
};
const WHOLE_WITH_BOS: Flags = Flags {
    adds_bos: true,
    ..WHOLE
};

const WORDS: Words = Words {
    digits: 1,
    marks: 0,
    contractions: Contractions::Split,
    symbols: Symbols::WithBreaks,
};
const QWEN2: Step = Step::Words(WORDS);
const QWEN35: Step = Step::Words(Words {
    marks: MARK,
    ..WORDS
});
const LLAMA3: Step = Step::Words(Words { digits: 3, ..WORDS });
const SEED_CODER: Step = Step::Words(Words {
    symbols: Symbols::Alone,
    ..WORDS
});
const UFAKZEKA: Step = Step::Words(Words {
    contractions: Contractions::Joined,
    ..WORDS
});
const TEKKEN: Step = Step::Cased {
    digits: 1,
    suffix: Suffix::None,
};
const YOUTU: Step = Step::Cased {
    digits: 1,
    suffix: Suffix::Contraction,
};
const GPT_4O: Step = Step::Cased {
    digits: 3,
    suffix: Suffix::Contraction,
};
const DIGIT: Step = Step::Numbers(1);
const THREE_AT_MOST: Step = Step::Numbers(3);
const NUMBER_RUN: Step = Step::Numbers(usize::MAX);
const PUNCTUATION: Step = Step::Punctuation { also: b"" };
const PUNCTUATION_AND_BACKTICK: Step = Step::Punctuation { also: b"`" };

/// Names of one rule, its steps, and what else comes with these names.
type Row = (&'static [&'static str], &'static [Step], Flags);

/// All names.
#[rustfmt::skip]
pub(super) const NAMES: &[Row] = &[
    (&["qwen2"], &[QWEN2], NORMALIZED),
    (&["qwen35"], &[QWEN35], NORMALIZED),
    (&["deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2",
       "bailingmoe", "bailingmoe2", "llada-moe"], &[QWEN2], PLAIN),
    (&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
       "jina-v5-nano"], &[LLAMA3], WHOLE_WITH_BOS),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3], PLAIN),
    (&["glm4", "glm5"], &[LLAMA3], WHOLE),
    (&["minicpm5"], &[THREE_AT_MOST, LLAMA3], WHOLE),
    (&["jais-2"], &[LLAMA3, Step::HalvedSpace], PLAIN),
    (&["seed-coder"], &[SEED_CODER], PLAIN),
    (&["ufakzeka"], &[UFAKZEKA], PLAIN),
    (&["laguna"], &[Step::Lines, QWEN2], PLAIN),
    (&["tekken"], &[TEKKEN], WHOLE_WITH_BOS),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT_4O], PLAIN),
    (&["granite-embed-multi-97m"], &[GPT_4O], WHOLE),
    (&["youtu"], &[Step::Ranges(&[HANGUL, CHINESE_PUNCTUATION, BOPOMOFO, KANA_AND_HAN]), YOUTU], WHOLE),
    (&["gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "mellum", "modern-bert", "mpt",
       "olmo", "jais", "trillion", "granite-docling", "gigachat", "a.x-4.0", "exaone4"], &[Step::Gpt2], PLAIN),
    (&["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
     &[DIGIT, Step::Gpt2], PLAIN),
    (&["default"], &[PUNCTUATION, Step::Gpt2, NUMBER_RUN, Step::ThreeDigits], PLAIN),
    (&["falcon"], &[PUNCTUATION_AND_BACKTICK, Step::Gpt2, NUMBER_RUN, Step::ThreeDigits], PLAIN),
    (&["bloom", "poro-chat", "gpt3-finnish"], &[Step::Bloom], PLAIN),
    (&["viking"], &[Step::Bloom, DIGIT], PLAIN),
    (&["superbpe"], &[NUMBER_RUN, Step::Thousands], PLAIN),
    (&["deepseek-llm"], &[Step::LineBreak, Step::SpacedRanges(DEEPSEEK_LETTERS),
        Step::SpacedRanges(DEEPSEEK_PUNCTUATION), Step::TrailingSpace, Step::Ranges(&[ASIAN]), DIGIT], PLAIN),
    (&["deepseek-coder"], &[Step::LineBreak, LETTERS, ALL_PUNCTUATION, Step::Ranges(&[ASIAN]), DIGIT], PLAIN),
    (&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
     &[THREE_AT_MOST, Step::Ranges(&[KANA_AND_HAN]), Step::DeepSeek(Breaks::Joined)], PLAIN),
    (&["spark2_5"],
     &[THREE_AT_MOST, Step::Ranges(&[KANA_AND_HAN]), Step::DeepSeek(Breaks::Single), DIGIT], PLAIN),
];
