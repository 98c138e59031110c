#!/usr/bin/env python3
"""A Hugging Face checkpoint of random numbers, as large as wanted: for timing conversion and loading.

    python make_random_checkpoint.py OUT [--size tiny|0.6|2] [--text-only]

Qwen3-VL (or Qwen3 with --text-only) in BF16 with the tokenizer of the converter's tests, so its answers mean nothing.
`2` has the shapes of Qwen3-VL-2B, for other engines that start from such a folder (tools/bench).
`tiny` has rows of 256, so that every K type can be used for all of its weights.
"""

import argparse
import json
import shutil
import struct
from pathlib import Path

import numpy

DATA = Path(__file__).resolve().parents[2] / "crates" / "ocelli-convert" / "tests" / "data" / "qwen3vl-moe"
COPIED = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "processor_config.json", "generation_config.json"]
SIZES = {
    "tiny": dict(hidden=256, layers=3, mlp=512, heads=4, kv_heads=2, vision=256, vision_layers=3, vision_mlp=512,
                 deepstack=[1]),
    "0.6": dict(hidden=1024, layers=28, mlp=3072, heads=16, kv_heads=8, vision=1024, vision_layers=24,
                vision_mlp=4096, deepstack=[1]),
    "2": dict(hidden=2048, layers=28, mlp=6144, heads=16, kv_heads=8, vision=1024, vision_layers=24,
              vision_mlp=4096, deepstack=[5, 11, 17]),
}
HEAD, VISION_HEAD, PATCH, PLACES = 128, 64, 16, 2304


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=SIZES, default="0.6")
    parser.add_argument("--text-only", action="store_true")
    parser.add_argument("--vocabulary", type=int, default=0, help="rows of the embedding; as many as tokens by default")
    arguments = parser.parse_args()
    sizes = SIZES[arguments.size]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copy(DATA / name, arguments.out / name)
    if arguments.size == "2":
        set_picture_sizes(arguments.out / "processor_config.json")
    config = json.loads((DATA / "config.json").read_text())
    rows = arguments.vocabulary or config["text_config"]["vocab_size"]
    text = text_config(config["text_config"], sizes, rows)
    if arguments.text_only:
        config = dict(text, model_type="qwen3", architectures=["Qwen3ForCausalLM"])
        config["rope_parameters"] = {"rope_theta": 1e6, "rope_type": "default"}
        tensors = text_tensors("model.", sizes, rows)
    else:
        config.update(model_type="qwen3_vl", architectures=["Qwen3VLForConditionalGeneration"], text_config=text)
        config["tie_word_embeddings"] = True
        config["vision_config"].update(
            model_type="qwen3_vl", hidden_size=sizes["vision"], depth=sizes["vision_layers"],
            intermediate_size=sizes["vision_mlp"], num_heads=sizes["vision"] // VISION_HEAD, patch_size=PATCH,
            num_position_embeddings=PLACES, out_hidden_size=sizes["hidden"], deepstack_visual_indexes=sizes["deepstack"])
        tensors = text_tensors("model.language_model.", sizes, rows) | vision_tensors("model.visual.", sizes)
    (arguments.out / "config.json").write_text(json.dumps(config))
    write(arguments.out / "model.safetensors", tensors)


def text_config(config, sizes, rows):
    moe = ["decoder_sparse_step", "mlp_only_layers", "moe_intermediate_size", "num_experts_per_tok", "num_local_experts",
           "output_router_logits", "router_aux_loss_coef"]
    config = {key: value for key, value in config.items() if key not in moe}
    config.update(model_type="qwen3_vl_text", hidden_size=sizes["hidden"], num_hidden_layers=sizes["layers"],
                  intermediate_size=sizes["mlp"], num_attention_heads=sizes["heads"],
                  num_key_value_heads=sizes["kv_heads"], head_dim=HEAD, vocab_size=rows, tie_word_embeddings=True)
    config["rope_parameters"]["mrope_section"] = [24, 20, 20]
    # What releases before transformers 5 read.
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config["rope_scaling"] = dict(rope_type="default", mrope_section=[24, 20, 20], mrope_interleaved=True)
    return config


def set_picture_sizes(path):
    """The limits of published models; those of the tests' data are for tiny pictures."""
    config = json.loads(path.read_text())
    config["image_processor"]["size"] = {"shortest_edge": 65536, "longest_edge": 16777216}
    path.write_text(json.dumps(config))


def text_tensors(prefix, sizes, rows):
    hidden, mlp = sizes["hidden"], sizes["mlp"]
    tensors = {f"{prefix}embed_tokens.weight": [rows, hidden], f"{prefix}norm.weight": [hidden]}
    for layer in range(sizes["layers"]):
        of_layer = {
            "input_layernorm": [hidden], "post_attention_layernorm": [hidden],
            "self_attn.q_norm": [HEAD], "self_attn.k_norm": [HEAD],
            "self_attn.q_proj": [sizes["heads"] * HEAD, hidden], "self_attn.k_proj": [sizes["kv_heads"] * HEAD, hidden],
            "self_attn.v_proj": [sizes["kv_heads"] * HEAD, hidden], "self_attn.o_proj": [hidden, sizes["heads"] * HEAD],
            "mlp.gate_proj": [mlp, hidden], "mlp.up_proj": [mlp, hidden], "mlp.down_proj": [hidden, mlp],
        }
        tensors |= {f"{prefix}layers.{layer}.{name}.weight": shape for name, shape in of_layer.items()}
    return tensors


def vision_tensors(prefix, sizes):
    width, mlp, merged = sizes["vision"], sizes["vision_mlp"], 4 * sizes["vision"]
    of_layer = {"norm1": [width], "norm2": [width], "attn.qkv": [3 * width, width], "attn.proj": [width, width],
                "mlp.linear_fc1": [mlp, width], "mlp.linear_fc2": [width, mlp]}
    parts = {f"blocks.{layer}.{name}": shape for layer in range(sizes["vision_layers"]) for name, shape in of_layer.items()}
    mergers = [("merger", width)] + [(f"deepstack_merger_list.{i}", merged) for i in range(len(sizes["deepstack"]))]
    for merger, norm in mergers:
        parts |= {f"{merger}.norm": [norm], f"{merger}.linear_fc1": [merged, merged],
                  f"{merger}.linear_fc2": [sizes["hidden"], merged]}
    parts["patch_embed.proj"] = [width, 3, 2, PATCH, PATCH]
    tensors = {f"{prefix}{name}.weight": shape for name, shape in parts.items()}
    tensors |= {f"{prefix}{name}.bias": shape[:1] for name, shape in parts.items()}
    return tensors | {f"{prefix}pos_embed.weight": [PLACES, width]}


def write(path, tensors):
    """A safetensors file; numpy has no BF16, so the upper halves of singles are written."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    random = numpy.random.default_rng(1)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for name, shape in tensors.items():
            values = random.standard_normal(shape, dtype=numpy.float32) * numpy.float32(0.03)
            if len(shape) == 1 and name.endswith("weight"):
                values += 1
            file.write((values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes())


if __name__ == "__main__":
    main()
