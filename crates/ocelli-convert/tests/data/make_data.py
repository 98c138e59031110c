#!/usr/bin/env python3
"""Remakes the checkpoints beside this file and what tools/reference/to_gguf.py makes of them.

    python make_data.py [NAME]...    (with the packages of tools/reference/requirements.txt)

Each folder is a tiny random checkpoint in one of the layouts that are in use, with `expected.json`: type, shape and
CRC-32 of each tensor, and the metadata, of the files that `to_gguf.py` writes. That tool reads the checkpoint through
transformers, so it agrees with the layout only if the layout is right.
"""

import json
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import gguf
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[3] / "tools" / "reference"))
import make_checkpoint  # noqa: E402
import to_gguf  # noqa: E402

VISION = {"vision.depth": 2}
SETS = {
    # As the hub has it: experts transposed, two parts with an index.
    "qwen3vl-moe": dict(
        family="qwen3vl-moe", types=("q8_0", "f16"), dtype=torch.bfloat16,
        changes=VISION | {
            "text.num_hidden_layers": 2, "text.num_experts": 4, "text.moe_intermediate_size": 16,
            "vision.intermediate_size": 40, "vision.num_position_embeddings": 16,
            "vision.deepstack_visual_indexes": [1],
        },
    ),
    # As current modelling code saves it.
    "qwen2.5vl": dict(
        family="qwen2.5vl", types=("f16", "bf16"), dtype=torch.bfloat16,
        changes=VISION | {
            "text.hidden_size": 32, "text.num_attention_heads": 2, "text.num_key_value_heads": 1,
            "vision.hidden_size": 16, "vision.intermediate_size": 40, "vision.fullatt_block_indexes": [1],
        },
    ),
    # As it was published: the text model's settings at the top, vocab.json and merges.txt, halves.
    "qwen2vl": dict(
        family="qwen2vl", types=("bf16", "q8_0"), dtype=torch.float16,
        changes=VISION | {
            "text.hidden_size": 32, "text.num_attention_heads": 2, "text.num_key_value_heads": 1,
            "text.num_hidden_layers": 2, "vision.embed_dim": 16,
        },
    ),
    # As it was published: the encoder's own level of names, bases of rotary frequencies side by side.
    "gemma3": dict(
        family="gemma3", types=("f16", "f16"), dtype=torch.bfloat16,
        changes={"text.num_hidden_layers": 2, "vision.num_hidden_layers": 2, "vision.intermediate_size": 40},
    ),
    "llama": dict(
        family="llama", types=("f32", None), dtype=torch.bfloat16,
        changes={
            "text.hidden_size": 32, "text.num_attention_heads": 2, "text.num_key_value_heads": 1,
            "text.rope_parameters": dict(
                rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        },
    ),
    "mistral3": dict(
        family="mistral3", types=("q8_0", "f32"), dtype=torch.bfloat16,
        changes={"text.num_hidden_layers": 1, "text.head_dim": 8, "vision.num_hidden_layers": 2, "vision.hidden_size": 16},
    ),
    # What no published model has, under keys that files have only then.
    "mistral3-mixed": dict(
        family="mistral3", types=("f16", "f32"), dtype=torch.float16,
        changes={
            "text.num_hidden_layers": 1, "text.head_dim": 8, "text.model_type": "mistral", "text.sliding_window": 7,
            "text.rms_norm_eps": 1e-2, "text.rope_parameters": dict(rope_type="default", rope_theta=1e5),
            "vision.num_hidden_layers": 1, "vision.hidden_size": 16, "vision.hidden_act": "gelu",
            "vision.rope_parameters": dict(rope_type="axial", rope_theta=1e3), "more.spatial_merge_size": 3,
            "more.multimodal_projector_bias": True,
        },
    ),
    "llava-mixed": dict(
        family="llava", types=("f16", "f16"), dtype=torch.float16,
        changes={
            "text.num_hidden_layers": 1, "vision.num_hidden_layers": 1, "vision.hidden_size": 16,
            "vision.intermediate_size": 16, "vision.hidden_act": "gelu", "vision.layer_norm_eps": 1e-3,
            "more.vision_feature_layer": -1, "more.multimodal_projector_bias": False,
        },
    ),
    "gemma3-layers": dict(
        family="gemma3", types=("f16", "f16"), dtype=torch.bfloat16,
        changes={
            "text.num_hidden_layers": 2, "text.query_pre_attn_scalar": 40,
            "text.layer_types": ["full_attention", "sliding_attention"], "vision.num_hidden_layers": 1,
        },
    ),
    "llava": dict(
        family="llava", types=("f16", "f16"), dtype=torch.float16,
        changes={"text.num_hidden_layers": 1, "vision.num_hidden_layers": 3, "vision.hidden_size": 16},
    ),
    "llava-next": dict(
        family="llava-next", types=("f16", "f16"), dtype=torch.float16,
        changes={"text.num_hidden_layers": 1, "vision.num_hidden_layers": 2, "vision.hidden_size": 16},
    ),
}


def main() -> None:
    for number, (name, recipe) in enumerate(SETS.items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "made"
            make_checkpoint.make(recipe["family"], made, 10 + number, recipe["changes"])
            tensors = load_file(made / "model.safetensors")
            tensors = {key: value.to(recipe["dtype"]).contiguous() for key, value in tensors.items()}
            save_file(tensors, made / "model.safetensors", metadata={"format": "pt"})
            text, mmproj = Path(scratch) / "text.gguf", Path(scratch) / "mmproj.gguf"
            text_type, mmproj_type = recipe["types"]
            to_gguf.convert(made, text, mmproj if mmproj_type else None, text_type, mmproj_type)
            expected = {"types": recipe["types"], "text": describe(text)}
            if mmproj_type:
                expected["mmproj"] = describe(mmproj)
                if recipe["family"] == "mistral3":
                    expected["mmproj"]["tensors"]["v.token_embd.img_break"] = row_end(made, tensors)
            folder = HERE / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            publish(name, made, tensors, folder)
            (folder / "expected.json").write_text(json.dumps(expected, indent=0))


def publish(name: str, made: Path, tensors: dict, folder: Path) -> None:
    """Writes the checkpoint in the layout of its set."""
    for file in made.iterdir():
        if file.suffix in (".json", ".jinja") and file.name != "made_by.json":
            shutil.copy(file, folder)
    if name == "qwen3vl-moe":
        tensors = {
            key: value.transpose(1, 2).contiguous() if ".experts." in key else value for key, value in tensors.items()
        }
        keys = sorted(tensors)
        halves = [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
        index = {}
        for number, half in enumerate(halves, 1):
            file = f"model-{number:05}-of-00002.safetensors"
            save_file({key: tensors[key] for key in half}, folder / file, metadata={"format": "pt"})
            index |= dict.fromkeys(half, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        return
    if name == "gemma3":
        tensors = {published_name(key): value for key, value in tensors.items()}
        publish_gemma3_config(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if name == "qwen2vl":
        flatten(folder)


def published_name(name: str) -> str:
    """The name of one of Gemma 3's tensors on the hub."""
    name = name.removeprefix("model.")
    if name.startswith("vision_tower.") and ".vision_model." not in name:
        name = name.replace("vision_tower.", "vision_tower.vision_model.")
    if name.startswith("language_model.model."):
        return name
    return name.replace("language_model.", "language_model.model.", 1)


def publish_gemma3_config(folder: Path) -> None:
    """Settings as they were before rotary parameters were sorted by kind of layer; defaults left out."""
    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"]
    rope = text.pop("rope_parameters")
    wide, near = rope["full_attention"], rope["sliding_attention"]
    text["rope_theta"], text["rope_local_base_freq"] = wide["rope_theta"], near["rope_theta"]
    text["rope_scaling"] = dict(rope_type=wide["rope_type"], factor=wide["factor"])
    for key in ("layer_types", "rms_norm_eps"):
        text.pop(key)
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def flatten(folder: Path) -> None:
    """The layout of Qwen2-VL's first release."""
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    text.pop("model_type")
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["rope_theta"]
    text["rope_scaling"] = dict(type="mrope", mrope_section=rope["mrope_section"])
    (folder / "config.json").write_text(json.dumps(text | config, indent=1))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    merges = ["#version: 0.2"] + [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n")
    (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["added_tokens_decoder"] = {
        str(token["id"]): dict(content=token["content"], special=token["special"])
        for token in tokenizer["added_tokens"]
    }
    template = folder / "chat_template.jinja"
    settings["chat_template"] = template.read_text()
    template.unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    processor = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps(processor["image_processor"], indent=1))


def row_end(made: Path, tensors: dict) -> list:
    """The embedding of the token that ends a row of a picture, which llama.cpp wants in the projector's file."""
    added = json.loads((made / "tokenizer.json").read_text())["added_tokens"]
    row = next(token["id"] for token in added if token["content"] == "[IMG_BREAK]")
    table = next(value for key, value in tensors.items() if key.endswith("embed_tokens.weight"))
    values = table[row].float().numpy()
    return ["F32", [len(values)], zlib.crc32(values.tobytes())]


def describe(path: Path) -> dict:
    """Type, shape and checksum of each tensor; each metadata value, long lists by checksum."""
    file = gguf.GGUFReader(path)
    tensors = {
        tensor.name: [tensor.tensor_type.name, [int(n) for n in tensor.shape], zlib.crc32(tensor.data.tobytes())]
        for tensor in file.tensors
    }
    metadata = {}
    for key, field in file.fields.items():
        value = field.contents()
        if isinstance(value, list) and len(value) > 100:
            value = dict(length=len(value), crc=zlib.crc32("\n".join(map(str, value)).encode()))
        if not key.startswith("GGUF."):
            metadata[key] = value
    return dict(tensors=tensors, metadata=metadata)


if __name__ == "__main__":
    main()
