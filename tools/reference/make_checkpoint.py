#!/usr/bin/env python3
"""Makes a tiny random Hugging Face checkpoint of one family, for goldens and for trying the other tools.

    make_checkpoint.py qwen3vl --out DIR [--seed 1] [--set text.hidden_size=64 --set vision.depth=5 ...]

The weights are not the usual 0.02 noise. They are scaled so that activations are of order one and every detail of
the arithmetic shows: wrong GELU variants, norm epsilons, interpolation or rope sections change the stage values by
far more than the tolerance of 1e-4.
"""

import argparse
import ast
import json
import math
import zlib
from pathlib import Path

import torch
import transformers
from transformers import AutoProcessor

import gemma3
import still_towers
import tiny_tokenizer

OPENAI_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
OPENAI_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

QWEN3_TEXT = dict(
    vocab_size=608, hidden_size=32, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, max_position_embeddings=4096, rms_norm_eps=1e-6,
    rope_parameters=dict(rope_type="default", rope_theta=5e6, mrope_section=[6, 5, 5], mrope_interleaved=True),
)
QWEN3_VISION = dict(
    depth=4, hidden_size=24, intermediate_size=80, num_heads=2, patch_size=16, num_position_embeddings=36,
    deepstack_visual_indexes=[1, 2],
)
QWEN2_TEXT = dict(
    vocab_size=608, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=4096, rms_norm_eps=1e-6,
    rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 3, 3]),
)

PRESETS = {
    "qwen3vl": dict(text=QWEN3_TEXT, vision=QWEN3_VISION, tied=True),
    "qwen3vl-moe": dict(
        text=QWEN3_TEXT | dict(
            num_hidden_layers=3, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=48,
        ),
        vision=QWEN3_VISION,
        tied=False,
    ),
    "qwen2vl": dict(
        text=QWEN2_TEXT, vision=dict(depth=3, embed_dim=40, num_heads=2, mlp_ratio=3, patch_size=14), tied=True,
    ),
    "qwen2.5vl": dict(
        text=QWEN2_TEXT | dict(num_hidden_layers=2),
        vision=dict(
            depth=4, hidden_size=32, intermediate_size=68, num_heads=2, patch_size=14, window_size=112,
            fullatt_block_indexes=[1, 3], tokens_per_second=2,
        ),
        tied=False,
    ),
    "qwen2": dict(
        text={k: v for k, v in QWEN2_TEXT.items() if k != "rope_parameters"}
        | dict(rope_parameters=dict(rope_type="default", rope_theta=1e6), num_hidden_layers=2),
        tied=False,
    ),
    "qwen3": dict(
        text=QWEN3_TEXT | dict(rope_parameters=dict(rope_type="default", rope_theta=1e6), num_hidden_layers=2),
        tied=True,
    ),
    "llama": dict(
        text=dict(
            vocab_size=576, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=4096, rms_norm_eps=1e-5,
            rope_parameters=dict(rope_type="default", rope_theta=5e5),
        ),
        tied=False,
    ),
} | still_towers.PRESETS | gemma3.PRESETS

CLASSES = {
    "qwen3vl": ("Qwen3VLConfig", "Qwen3VLForConditionalGeneration", "qwen3vl.jinja"),
    "qwen3vl-moe": ("Qwen3VLMoeConfig", "Qwen3VLMoeForConditionalGeneration", "qwen3vl.jinja"),
    "qwen2vl": ("Qwen2VLConfig", "Qwen2VLForConditionalGeneration", "qwen2vl.jinja"),
    "qwen2.5vl": ("Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration", "qwen2vl.jinja"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", "chatml.jinja"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", "chatml.jinja"),
    "llama": ("LlamaConfig", "LlamaForCausalLM", "llama3.jinja"),
    "gemma3": ("Gemma3Config", "Gemma3ForConditionalGeneration", "gemma3.jinja"),
    "gemma3-text": ("Gemma3TextConfig", "Gemma3ForCausalLM", "gemma3.jinja"),
} | still_towers.CLASSES
TOKENIZERS = {
    "llama": tiny_tokenizer.llama, "mistral3": tiny_tokenizer.tekken, "pixtral": tiny_tokenizer.tekken,
    "llava": tiny_tokenizer.sentencepiece, "llava-next": tiny_tokenizer.sentencepiece,
}


def build_config(family: str, preset: dict, tokenizer):
    """The HF config object: one level for text-only families, text and vision inside for the others."""
    if gemma3.is_ours(family):
        return gemma3.config(preset, tokenizer)
    config_class = getattr(transformers, CLASSES[family][0])
    text = dict(preset["text"])
    ids = dict(eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id, pad_token_id=None)
    if "vision" not in preset:
        return config_class(**text, **ids, tie_word_embeddings=preset["tied"])
    if family in still_towers.PRESETS:
        return still_towers.build_config(preset, config_class, tokenizer, ids)
    vision = dict(preset["vision"])
    hidden = text["hidden_size"]
    # Qwen2-VL alone calls the tower's own width `embed_dim` and its output `hidden_size`.
    vision["hidden_size" if family == "qwen2vl" else "out_hidden_size"] = hidden
    if family.startswith("qwen2"):
        text |= ids
    return config_class(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=preset["tied"],
    )


def scale_of(name: str, shape: torch.Size) -> tuple[float, float]:
    """Mean and standard deviation of one parameter's random values."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "class_embedding":
        return (0.0, 0.5)
    if len(shape) == 1:
        if leaf == "bias":
            return (0.0, 0.2)
        return (1.0, 0.25)
    if "embed_tokens" in name:
        # As small as in trained models, so that the epsilon of the first norm is felt.
        return (0.0, 0.02)
    if "pos_embed" in name or "position_embedding" in name:
        return (0.0, 0.05)
    if "patch_embed" in name or "patch_conv" in name:
        return (0.0, 0.1 / math.sqrt(math.prod(shape[1:])))
    fan_in = shape[-1]
    hidden_side = any(part in name for part in ("fc1", "mlp.0", "gate", "up_proj", "qkv", "q_proj", "k_proj"))
    return (0.0, (1.5 if hidden_side else 1.0) / math.sqrt(fan_in))


def fill(model: torch.nn.Module, seed: int, scale_of=scale_of) -> None:
    """Random weights; each tensor depends on the seed and its own name only."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))
            mean, deviation = scale_of(name, parameter.shape)
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * deviation + mean
            if ".patch_embed." in name and parameter.ndim == 1:
                values *= 0.1
            parameter.copy_(values.to(torch.float32))


def build_processor(family: str, preset: dict, tokenizer, pixels: tuple[int, int]):
    """The family's HF processor with the given least and most pixels."""
    if gemma3.is_ours(family):
        return gemma3.processor(preset, tokenizer)
    patch = preset["vision"]["patch_size"]
    ours = family.startswith("qwen3")
    common = dict(
        patch_size=patch, temporal_patch_size=2, merge_size=2,
        image_mean=[0.5] * 3 if ours else OPENAI_CLIP_MEAN,
        image_std=[0.5] * 3 if ours else OPENAI_CLIP_STD,
        size=dict(shortest_edge=pixels[0], longest_edge=pixels[1]),
    )
    image = transformers.Qwen2VLImageProcessor(**common)
    if ours:
        video = transformers.Qwen3VLVideoProcessor(**common)
        return transformers.Qwen3VLProcessor(image, tokenizer, video, chat_template=tokenizer.chat_template)
    video = transformers.Qwen2VLVideoProcessor(**common)
    processor = transformers.Qwen2VLProcessor if family == "qwen2vl" else transformers.Qwen2_5_VLProcessor
    return processor(image, tokenizer, video, chat_template=tokenizer.chat_template)


def make(family: str, out: Path, seed: int, changes: dict | None = None, tokens: tuple[int, int] = (4, 24)) -> None:
    """Writes the checkpoint directory. `tokens`: least and most image tokens of the processor."""
    preset = {k: dict(v) if isinstance(v, dict) else v for k, v in PRESETS[family].items()}
    for key, value in (changes or {}).items():
        part, _, field = key.partition(".")
        if field:
            preset[part][field] = value
        else:
            preset[part] = value
    _, model_class, template = CLASSES[family]
    tokenizer = tiny_tokenizer.gemma(template) if gemma3.is_ours(family) else TOKENIZERS.get(family, tiny_tokenizer.qwen)(template)
    model = getattr(transformers, model_class)._from_config(
        build_config(family, preset, tokenizer), dtype=torch.float32, attn_implementation="eager"
    )
    if gemma3.is_ours(family):
        fill(model, seed, gemma3.scale_of)
        gemma3.silence_padding(model)
    else:
        fill(model, seed)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(out)
    if family in still_towers.PRESETS:
        still_towers.build_processor(preset, tokenizer).save_pretrained(out)
        AutoProcessor.from_pretrained(out)
    elif "vision" in preset:
        factor = preset["vision"]["patch_size"] * 2
        processor = build_processor(family, preset, tokenizer, (tokens[0] * factor**2, tokens[1] * factor**2))
        processor.save_pretrained(out)
        AutoProcessor.from_pretrained(out)
    else:
        tokenizer.save_pretrained(out)
    (out / "made_by.json").write_text(json.dumps(dict(family=family, seed=seed, changes=changes or {}), indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=sorted(PRESETS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="PART.FIELD=VALUE")
    parser.add_argument("--image-tokens", type=int, nargs=2, default=(4, 24), metavar=("LEAST", "MOST"))
    options = parser.parse_args()
    changes = {}
    for item in options.set:
        key, _, value = item.partition("=")
        changes[key] = ast.literal_eval(value)
    make(options.family, options.out, options.seed, changes, tuple(options.image_tokens))


if __name__ == "__main__":
    main()
