"""Trains a small byte-level vocabulary and tokenizes texts with it as Hugging Face does: goldens of `ocelli-text`.

Run from the repository's root: python3 tools/text/make_tokenizer.py (needs tokenizers, made with 0.23).
Writes crates/ocelli-text/tests/goldens/vocabulary.json and tokens.json.
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GOLDENS = pathlib.Path("crates/ocelli-text/tests/goldens")

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+SUFFIX"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*SUFFIX"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
RULES = {
    "qwen2": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL],
    "qwen35": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + TAIL],
    "llama-bpe": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL],
    "tekken": [CASED.replace("SUFFIX", "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL],
    "gpt-4o": [CASED.replace("SUFFIX", CONTRACTION + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL],
    "gpt-2": [GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}
NORMALIZED = ("qwen2", "qwen35")
WHOLE_PIECES = ("llama-bpe", "tekken")
CONTROL = ["<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|endoftext|>", "</s>", "<|im_start|>x"]
USER_DEFINED = ["<think>", "</think>", "<tool_call>", "<|im_"]

WORDS = """the of and to in is picture circle square left right top bottom what how many where red green blue number
reads says I'll we've don't it's HTTPServer camelCase naïve café Ünïcode Äpfel straße привет мир здравствуй Ελλάδα
שלום مرحبا नमस्ते สวัสดี 日本語 中文字符 한국어 안녕하세요 ﬁ ǅungla ʰʷ 12345 3.14 1,000,000 ½ ² Ⅷ ٣٤٥ x_y foo(bar) a+b=c
https://example.org/a?b=c&d=e #tag @name $100 50% {"key": [1, 2]} <b>bold</b> -- ... !!! ??? 🙂 👩‍👩‍👧 🇩🇪 é e\u0301 ọ\u0302""".split()
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", " \n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085", "\u200b", "\f"]
ODD = ["'s", "'S", "'ſ", "'LL", "'re", "'x", "''", "\u0301", "\u0323\u0307", "\u1e9b\u0323", "Å", "\u212b", "\uac00", "\u1100\u1161",
       "\ufeff", "\u0000", "\ue000", "\U0001f3fd", "A", "a", "ʰ", "ǅ", "字", "0", "00", "0000", "/", "//\n/", "_", "\u0660"]


def texts():
    chosen = random.Random(7)
    for word in WORDS + SPACES + ODD:
        yield word
    yield "What's in the picture? I'LL say: 12345 circles\n\n  and 3 squares.  \n"
    for _ in range(160):
        parts = chosen.choices(WORDS + SPACES * 4 + ODD * 2, k=chosen.randint(2, 9))
        yield "".join(parts)
    for _ in range(40):
        yield "".join(chosen.choices(WORDS + SPACES * 3 + CONTROL + USER_DEFINED, k=chosen.randint(3, 10)))


def train():
    chosen = random.Random(1)
    corpus = [" ".join(chosen.choices(WORDS, k=30)) for _ in range(400)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def build(vocabulary, merges, name):
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=name in WHOLE_PIECES))
    if name in NORMALIZED:
        tokenizer.normalizer = normalizers.NFC()
    splits = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in RULES[name]]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in USER_DEFINED])
    return tokenizer


def main():
    vocabulary, merges = train()
    tokens = sorted(vocabulary, key=vocabulary.get)
    kinds = [1] * len(tokens) + [3] * len(CONTROL) + [4] * len(USER_DEFINED)
    data = {"tokens": tokens + CONTROL + USER_DEFINED, "kinds": kinds, "merges": [" ".join(pair) for pair in merges]}
    (GOLDENS / "vocabulary.json").write_text(json.dumps(data, ensure_ascii=True, indent=None) + "\n")
    cases = {"texts": list(texts()), "ids": {}}
    for name in RULES:
        tokenizer = build(vocabulary, merges, name)
        assert tokenizer.token_to_id(USER_DEFINED[-1]) == len(data["tokens"]) - 1
        cases["ids"][name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in cases["texts"]]
    (GOLDENS / "tokens.json").write_text(json.dumps(cases, ensure_ascii=True, indent=None) + "\n")
    print(f"{len(tokens)} tokens, {len(merges)} merges, {len(cases['texts'])} texts by {len(RULES)} rules")


if __name__ == "__main__":
    main()
