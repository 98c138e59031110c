"""Loads the demo's weights into transformers' Qwen3VLForConditionalGeneration and compares logits on one picture, and compares the
tokenizer, template, pixels and image size with transformers' own.

    python check_hf.py --pair ../../crates/ocelli/models
"""

import argparse

import torch
from transformers import Qwen2TokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

import data
import evaluate
import export
import prompts
import scenes
import tokenizer
from train import mask_of


def hf_config(c):
    ids = prompts.ID
    return Qwen3VLConfig(
        text_config={"vocab_size": c.vocab, "hidden_size": c.hidden, "intermediate_size": c.mlp, "num_hidden_layers": c.layers, "num_attention_heads": c.heads,
                     "num_key_value_heads": c.kv_heads, "head_dim": c.head_dim, "rms_norm_eps": c.eps, "max_position_embeddings": c.context, "tie_word_embeddings": True,
                     "rope_theta": c.theta, "rope_parameters": {"rope_type": "default", "rope_theta": c.theta, "mrope_section": c.sections, "mrope_interleaved": True}},
        vision_config={"depth": c.vision_layers, "hidden_size": c.width, "intermediate_size": c.vision_mlp, "num_heads": c.vision_heads, "patch_size": c.patch,
                       "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": c.hidden, "num_position_embeddings": c.position_side ** 2,
                       "deepstack_visual_indexes": c.deepstack, "hidden_act": "gelu_pytorch_tanh"},
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--pair", required=True)
    a = p.parse_args()
    model = export.read_pair(a.pair).eval()
    hf = Qwen3VLForConditionalGeneration(hf_config(model.c)).eval()
    missing, unexpected = hf.load_state_dict(model.state_dict(), strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    hf.tie_weights()

    scene, image = scenes.make("heldout", 3)
    pixels = data.pixels_of(image)
    processor = Qwen2VLImageProcessor(patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                                      size={"shortest_edge": model.c.min_pixels, "longest_edge": model.c.max_pixels})
    seen = processor(images=[image], return_tensors="pt")
    grid = seen["image_grid_thw"]
    assert grid.tolist() == [[1, pixels.shape[1] // 16, pixels.shape[2] // 16]], grid

    seq = evaluate.prompt(pixels, "What is in this picture?")
    tokens = torch.tensor([seq.tokens])
    with torch.no_grad():
        merged, taps, _ = model.visual(pixels[None])
        hidden = model.decode(tokens, torch.tensor([seq.positions]), mask_of(torch.tensor([seq.branch])), tokens == prompts.ID["<|image_pad|>"], merged, taps)
        ours = model.logits(hidden)[0]
        kind = (tokens == prompts.ID["<|image_pad|>"]).int()
        theirs = hf(input_ids=tokens, pixel_values=seen["pixel_values"], image_grid_thw=grid, mm_token_type_ids=kind).logits[0]
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    print(f"logits: largest relative difference {error:.2e}")
    assert error < 1e-4

    fast = Qwen2TokenizerFast(tokenizer_object=tokenizer.load())
    fast.chat_template = tokenizer.TEMPLATE
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is in this picture?"}]}]
    text = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    text = text.replace("<|image_pad|>", "<|image_pad|>" * merged.shape[1])
    assert fast(text)["input_ids"] == seq.tokens, "template and training prompts differ"
    print("tokens: equal to the rendered template")


if __name__ == "__main__":
    main()
