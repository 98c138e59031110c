"""Tiny byte-level BPE tokenizers with the special tokens of the real families.

The vocabulary is trained on the text below, which is part of this project, so that nothing is downloaded.
"""

import json
from collections import Counter
from pathlib import Path

from tokenizers import (
    AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers,
)
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

import gemma3

TEMPLATES = Path(__file__).parent / "templates"

QWEN_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
LLAMA_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""

TEKKEN_SPLIT = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# In the order of the real vocabulary; the second list is "added, but not special".
QWEN_SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]
QWEN_ADDED = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
]
LLAMA_SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
]
TEKKEN_SPECIAL = [
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
]


CORPUS = """
A red circle is at the top left of the picture. A large blue square stands below it, and a small green triangle is
to the right of the square. How many shapes are there? There are three shapes. Which one is the largest? The square.
Describe the image. The image shows a star, a ring and a cross on a plain white ground. What does the text say?
It says "hello world". Where is the star? The star is in the middle, between the ring and the cross.
Compare the first picture with the second picture: what is different? The colours are different, the sizes are the same.
Read the number in the picture. The number is 1024. What is 17 times 3? It is 51. I don't know; you're right, we've seen it.
What's this? That's a cat, isn't it? They'll come, I'm sure, and he'd say so. The quick brown fox jumps over the lazy dog.
Das Bild zeigt einen grünen Kreis über einem roten Viereck. Où est l'étoile ? L'étoile est à côté du carré.
图片里有什么？有一个红色的圆形和一个蓝色的正方形。 где находится звезда? Звезда справа.
fn main() { let image = open("picture.png")?; println!("{} x {}", image.width(), image.height()); }
[{"bbox_2d": [120, 64, 480, 512], "label": "circle"}, {"bbox_2d": [0, 0, 1000, 999], "label": "square"}]
"""


def _train(split: str, size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary (token -> id) and merges of a byte-level BPE with `size` entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def qwen(template: str, size: int = 546) -> Qwen2Tokenizer:
    """Qwen tokenizer: `size` ordinary tokens, then the 26 special and added ones."""
    vocab, merges = _train(QWEN_SPLIT, size)
    vocab[QWEN_SPECIAL[0]] = len(vocab)
    # The class turns every name it is given here into an added token at once, so only <|endoftext|> may be named
    # before the others have their places.
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, unk_token=None)
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in QWEN_SPECIAL[1:]], special_tokens=True)
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in QWEN_ADDED])
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = (TEMPLATES / template).read_text()
    return tokenizer


def llama(template: str, size: int = 546) -> PreTrainedTokenizerFast:
    """Llama-3 style tokenizer: the same kind of BPE with groups of up to three digits and a leading BOS."""
    vocab, merges = _train(LLAMA_SPLIT, size)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in LLAMA_SPECIAL])
    bos = "<|begin_of_text|>"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token="<|eot_id|>")
    tokenizer.chat_template = (TEMPLATES / template).read_text()
    return tokenizer


def tekken(template: str, size: int = 492) -> PreTrainedTokenizerFast:
    """Mistral's tekken: special tokens first, single digits, words cut where capitals begin."""
    vocab, merges = _train(TEKKEN_SPLIT, size)
    first = len(TEKKEN_SPECIAL)
    vocab = {token: first + index for token, index in vocab.items()} | {t: i for i, t in enumerate(TEKKEN_SPECIAL)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(TEKKEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in TEKKEN_SPECIAL])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = (TEMPLATES / template).read_text()
    return tokenizer


def sentencepiece(template: str, size: int = 240) -> PreTrainedTokenizerFast:
    """Llama 2's pieces with byte fallback, and `<image>` behind them as in checkpoints of LLaVA-1.5."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    # Rare characters stay out, so that bytes stand in for them. Named, since the trainer chooses by chance among those
    # that are equally rare.
    seen = Counter(CORPUS.replace(" ", "▁"))
    alphabet = sorted(sorted(seen), key=lambda character: -seen[character])[:64]
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False
    )
    learner.train_from_iterator([CORPUS], trainer)
    learned = sorted(learner.get_vocab().items(), key=lambda entry: entry[1])
    # Longer pieces in the order in which they were learnt, then single characters: the order of scores.
    pieces = [p for p, _ in learned if len(p) > 1] + [p for p, _ in learned if len(p) == 1]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocab = {token: index for index, token in enumerate(tokens)}
    cuts = [(p[:i], p[i:]) for p in pieces for i in range(1, len(p))]
    merges = [cut for cut in cuts if cut[0] in vocab and cut[1] in vocab]
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>", "<image>")])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = (TEMPLATES / template).read_text()
    return tokenizer


def gemma(template: str):
    """Gemma 3's pieces."""
    return gemma3.tokenizer(TEMPLATES / template, CORPUS)
