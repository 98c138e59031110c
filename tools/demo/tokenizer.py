"""The demo's byte-level BPE (pre-tokenizer `qwen2`), built from the phrases of questions.py.

Merges grow common words from their leading space (" red" from " re" and "d"), never inside a quoted word: what is written in a picture
is spelled letter by letter, so that reading is spelling. `python tokenizer.py` rewrites tokenizer.json.
"""

import os
from collections import Counter

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = 1280
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
           "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]

TEMPLATE = """{%- set pictures = namespace(count=0) -%}
{%- set videos = namespace(count=0) -%}
{%- macro render(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == 'image' or part.type == 'image_url' or 'image' in part or 'image_url' in part -%}
                {%- set pictures.count = pictures.count + 1 -%}
                {%- if add_vision_id is defined and add_vision_id -%}{{- 'Picture ' ~ pictures.count ~ ': ' -}}{%- endif -%}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif part.type == 'video' or 'video' in part -%}
                {%- set videos.count = videos.count + 1 -%}
                {%- if add_vision_id is defined and add_vision_id -%}{{- 'Video ' ~ videos.count ~ ': ' -}}{%- endif -%}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
            {%- elif 'text' in part -%}
                {{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
    {{- '<|im_start|>' ~ message.role ~ '\\n' -}}
    {{- render(message.content) -}}
    {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}"""


def byte_alphabet():
    """GPT-2's printable stand-ins of the 256 bytes, in byte order."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    out, extra = {}, 0
    for b in range(256):
        if b in printable:
            out[b] = chr(b)
        else:
            out[b], extra = chr(256 + extra), extra + 1
    return [out[b] for b in range(256)]


def corpus_words():
    """Pre-tokens of many questions and answers with their counts."""
    import questions
    import scenes
    rng = np.random.default_rng(5)
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    counts = Counter()
    for i in range(4000):
        scene, _ = scenes.make_scene("train", 10_000_000 + i)
        for _ in range(10):
            _, q, answer = questions.ask(scene, rng)
            for text in (q, answer):
                counts.update(w for w, _ in split.pre_tokenize_str(text))
    for kind in ("who", "other"):
        for line in questions.CHAT[kind]:
            counts.update(w for w, _ in split.pre_tokenize_str(line) if w.startswith(" "))
    return counts


def merges_of(counts, limit):
    """Merges that spell each chosen word from the left, most frequent words first."""
    merges, seen = [], set()
    fixed = ["ssi", "assi", "assis", "assist", "assista", "assistan", "assistant"]
    merges += [("s", "s"), ("ss", "i"), ("a", "ssi"), ("assi", "s"), ("assis", "t"), ("assist", "a"), ("assista", "n"), ("assistan", "t")]
    seen.update(["ss"] + fixed)
    merges += [("b", "b"), ("bb", "o"), ("bbo", "x")]
    seen.update(["bb", "bbo", "bbox"])
    punctuation = {"[{\"", "\":", " [", " \"", "\"}]", "\"},", " {\"", "],", "\".", "[]"}
    for w, n in counts.most_common():
        letters = w.replace(" ", "Ġ")
        if w in punctuation or (w.startswith(" ") and w[1:].isalpha() and w.isascii() and n >= 4):
            for k in range(1, len(letters)):
                if letters[:k + 1] not in seen:
                    if len(seen) >= limit:
                        return merges
                    seen.add(letters[:k + 1])
                    merges.append((letters[:k], letters[k]))
    return merges


def build():
    merges = merges_of(corpus_words(), SIZE - 256 - len(SPECIAL))
    tokens = byte_alphabet() + [x + y for x, y in merges]
    vocab = {t: i for i, t in enumerate(tokens)}
    assert len(vocab) == len(tokens)
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    t.save(os.path.join(HERE, "tokenizer.json"))
    print(len(tokens), "tokens,", len(merges), "merges,", t.get_vocab_size(), "with special tokens")


def load():
    return Tokenizer.from_file(os.path.join(HERE, "tokenizer.json"))


if __name__ == "__main__":
    build()
