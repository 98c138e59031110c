"""Splits texts as the pre-tokenizers of Hugging Face's tokenizers do: goldens of `ocelli-text`.

Run from the repository's root: python3 tools/text/make_pieces.py (needs tokenizers, made with 0.23).
Writes crates/ocelli-text/tests/goldens/pieces.json: for each text and rule the lengths of the pieces in bytes.
Rules have llama.cpp's names. Their expressions are those that llama.cpp quotes from the models' tokenizer.json or has adapted from it, here with
Unicode's classes in full; that they are still what the models' repositories have was not checked.
"""

import json
import pathlib
import random

from make_tokenizer import CASED, CONTRACTION, GPT2, ODD, RULES, SPACES, TAIL, WORDS
from tokenizers import Regex, pre_tokenizers

GOLDENS = pathlib.Path("crates/ocelli-text/tests/goldens")

MORE = """It'S 'tis o'clock ÄPFEL ПРИВЕТ ΣΊΣΥΦΟΣ здравствуй'T हिन्दी ภาษาไทย 中文字符。，、！？：；“引号”…— ひらがな カタカナ ー々〇 ㄱㄴㄷ ㄅㄆㄇ
1 12 123 1234 123456 1234567 ٣٤٥٦٧ १२३४ １２３４ foo_bar.baz() `code` ```rust ~~ ^_^ |x| ＡＢＣａｂｃ ！＃ ｱｲｳﾊﾟ ا۔ب क।ख Ꭰ ᾼ ꙁ 𐐀 ª º µ ℃ №""".split()
MORE_SPACES = ["    ", " " * 7, " " * 8, " " * 70, "\n \n", "\r", "\t\t", "\v", "\x1c", "\u2028", "\n   "]

HALVES = "".join(r"|\s{%d}(?!\S)" % count for count in (512, 256, 128, 64, 32, 16, 8, 4))
SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+|"
CASED_WITH_SUFFIX = CASED.replace("SUFFIX", CONTRACTION + "?")
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
KANA_AND_HAN = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
DEEPSEEK_LETTERS = (
    "\\s?["
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+"
)
DEEPSEEK_WORDS = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
DIGIT = pre_tokenizers.Digits(individual_digits=True)
DIGITS = pre_tokenizers.Digits(individual_digits=False)
STEPS = RULES | {
    "minicpm5": [r"\p{N}{1,3}", CONTRACTION + "|" + WORD + r"\p{N}+|" + SYMBOLS + TAIL],
    "jais-2": [CONTRACTION + "|" + WORD + r"\p{N}{1,3}|" + SYMBOLS + r"|\s*[\r\n]+" + HALVES + r"|\s{1,2}(?!\S)|\s{1}"],
    "seed-coder": [CONTRACTION + "|" + WORD + r"\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + TAIL],
    "ufakzeka": [WORD + r"\p{N}|" + SYMBOLS + TAIL],
    "laguna": [r"[^\n]+|[\n]+", *RULES["qwen2"]],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "youtu": [
        "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + KANA_AND_HAN,
        CASED_WITH_SUFFIX + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL,
    ],
    "falcon": [pre_tokenizers.Punctuation("contiguous"), GPT2, DIGITS, "[0-9][0-9][0-9]"],
    "smollm": [DIGIT, GPT2],
    "bloom": [BLOOM],
    "viking": [BLOOM, DIGIT],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "deepseek-llm": ["[\r\n]", DEEPSEEK_LETTERS, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", ASIAN, DIGIT],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", ASIAN, DIGIT],
    "deepseek-v3": [r"\p{N}{1,3}", KANA_AND_HAN, DEEPSEEK_WORDS + r"| ?[\p{P}\p{S}]+[\r\n]*" + TAIL],
    "spark2_5": [
        r"\p{N}{1,3}", KANA_AND_HAN, DEEPSEEK_WORDS + r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+", r"\p{N}",
    ],
}


def texts():
    chosen = random.Random(11)
    words, spaces = WORDS + MORE, SPACES + MORE_SPACES
    yield from ("", " " * 1100, " " * 700 + "a", "\t" * 5 + "1", "a  'S", "!!\n\n.", "12345 123\n")
    for _ in range(110):
        yield "".join(chosen.choices(words + spaces * 4 + ODD * 2, k=chosen.randint(3, 12)))
    for _ in range(20):
        yield "".join(chosen.choices("0123456789٣९１½Ⅷ ,.a\n", k=chosen.randint(5, 24)))


def lengths(steps, text):
    splits = [pre_tokenizers.Split(Regex(step), "isolated") if isinstance(step, str) else step for step in steps]
    whole = pre_tokenizers.Sequence(splits) if len(splits) > 1 else splits[0]
    found = [len(piece.encode()) for piece, _ in whole.pre_tokenize_str(text)] if text else []
    assert sum(found) == len(text.encode())
    return " ".join(str(length) for length in found if length)


def main():
    cases = {"texts": list(texts())}
    cases["pieces"] = {name: [lengths(steps, text) for text in cases["texts"]] for name, steps in STEPS.items()}
    (GOLDENS / "pieces.json").write_text(json.dumps(cases, ensure_ascii=True, indent=None) + "\n")
    print(f"{len(cases['texts'])} texts by {len(STEPS)} rules")


if __name__ == "__main__":
    main()
