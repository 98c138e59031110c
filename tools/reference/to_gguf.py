#!/usr/bin/env python3
"""Converts a (tiny) Hugging Face checkpoint to a text GGUF and a projector GGUF named as llama.cpp names them.

    to_gguf.py DIR --text text.gguf [--mmproj mmproj.gguf] [--type f32|f16|bf16|q8_0] [--mmproj-type ...]
    to_gguf.py DIR --rounded DIR2 --type q8_0     # the checkpoint HF must run to be comparable with such a file

Everything is held in memory: this is for goldens, `ocelli convert` is for real models. Types follow the rule of
llama.cpp's converter: tensors with fewer than two dimensions, norms, biases, routers and position tables stay F32;
the patch embedding is F16 in F16 files and F32 in all others; a row that does not fill Q8_0 blocks stays F16.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

import gemma3
import still_towers

TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, 0),
    "f16": (gguf.GGMLQuantizationType.F16, 1),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, 7),
    "bf16": (gguf.GGMLQuantizationType.BF16, 32),
}
ARCHITECTURES = {
    "qwen2_vl": "qwen2vl", "qwen2_5_vl": "qwen2vl", "qwen3_vl": "qwen3vl", "qwen3_vl_moe": "qwen3vlmoe",
    "qwen2": "qwen2", "qwen3": "qwen3", "llama": "llama", "gemma3": "gemma3", "gemma3_text": "gemma3",
} | still_towers.TEXT_ARCHITECTURES
PROJECTORS = {
    "qwen2_vl": "qwen2vl_merger", "qwen2_5_vl": "qwen2.5vl_merger",
    "qwen3_vl": "qwen3vl_merger", "qwen3_vl_moe": "qwen3vl_merger", "gemma3": "gemma3",
}

TEXT_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp",
}
VISION_NAMES = {
    "norm1": "ln1", "norm2": "ln2", "attn.qkv": "attn_qkv", "attn.proj": "attn_out",
    "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_proj": "ffn_gate",
    "mlp.linear_fc1": "ffn_up", "mlp.linear_fc2": "ffn_down",
}
MERGER_NAMES = {
    "ln_q": "v.post_ln", "norm": "v.post_ln", "mlp.0": "mm.0", "mlp.2": "mm.2", "linear_fc1": "mm.0",
    "linear_fc2": "mm.2",
}


def load_model(directory: Path):
    """The HF model in float32 with eager attention; a vision model where the configuration has one."""
    config = AutoConfig.from_pretrained(directory)
    auto = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    model = auto.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def target_type(name: str, shape: tuple[int, ...], wanted: str) -> str:
    """The type of a tensor with GGUF `name` and row-major `shape` in a file of type `wanted`."""
    if len(shape) < 2 or not re.search(r"\.weight(\.1)?$", name) or wanted == "f32":
        return "f32"
    if "norm" in name or "ffn_gate_inp" in name or "position_embd" in name:
        return "f32"
    if "patch_embd" in name:
        return "f16" if wanted == "f16" else "f32"
    if wanted == "q8_0" and shape[-1] % 32 != 0:
        return "f16"
    return wanted


def permute_llama(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a q or k projection from half-rotation order to the pairwise order of the `llama` architecture."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def text_tensors(model, kind: str):
    """Yields (HF name, GGUF name, row-major array) of the text model."""
    if gemma3.is_ours(model.config.model_type):
        yield from gemma3.text_tensors(model)
        return
    tied = model.config.tie_word_embeddings
    text = model.config.get_text_config()
    for name, tensor in model.state_dict().items():
        if any(part in name for part in (".visual.", ".vision_tower.", ".multi_modal_projector.", still_towers.NEWLINE)):
            continue
        data = tensor.numpy()
        short = name.replace("model.language_model.", "").removeprefix("model.")
        if short == "lm_head.weight":
            if not tied:
                yield name, "output.weight", data
        elif short in ("embed_tokens.weight", "norm.weight"):
            yield name, {"e": "token_embd", "n": "output_norm"}[short[0]] + ".weight", data
        else:
            layer, rest = re.fullmatch(r"layers\.(\d+)\.(.+)", short).groups()
            block = f"blk.{layer}."
            if rest == "mlp.experts.gate_up_proj":
                half = data.shape[1] // 2
                yield name, block + "ffn_gate_exps.weight", data[:, :half]
                yield name, block + "ffn_up_exps.weight", data[:, half:]
            elif rest == "mlp.experts.down_proj":
                yield name, block + "ffn_down_exps.weight", data
            else:
                stem, leaf = rest.rsplit(".", 1)
                if kind in ("llama", "mistral3") and stem in ("self_attn.q_proj", "self_attn.k_proj"):
                    heads = text.num_attention_heads if "q_proj" in stem else text.num_key_value_heads
                    data = permute_llama(data, heads)
                yield name, f"{block}{TEXT_NAMES[stem]}.{leaf}", data


def vision_tensors(model, kind: str):
    """Yields (HF name, GGUF name, row-major array) of the vision tower and the projector."""
    if gemma3.is_ours(kind):
        yield from gemma3.vision_tensors(model)
        return
    if still_towers.is_still(model):
        yield from still_towers.vision_tensors(model, permute_llama if kind != "no permutation" else lambda data, _: data)
        return
    for name, tensor in model.state_dict().items():
        if ".visual." not in name:
            continue
        data = tensor.numpy()
        short = name.split(".visual.")[1]
        stem, leaf = short.rsplit(".", 1)
        if short == "patch_embed.proj.weight":
            yield name, "v.patch_embd.weight", data[:, :, 0]
            yield name, "v.patch_embd.weight.1", data[:, :, 1]
        elif short == "patch_embed.proj.bias":
            yield name, "v.patch_embd.bias", data
        elif short == "pos_embed.weight":
            yield name, "v.position_embd.weight", data
        elif found := re.fullmatch(r"blocks\.(\d+)\.(.+)", stem):
            layer, part = found.groups()
            if part == "attn.qkv" and not kind.startswith("qwen3"):
                for letter, third in zip("qkv", np.split(data, 3)):
                    yield name, f"v.blk.{layer}.attn_{letter}.{leaf}", third
            else:
                yield name, f"v.blk.{layer}.{VISION_NAMES[part]}.{leaf}", data
        elif found := re.fullmatch(r"deepstack_merger_list\.(\d+)\.(.+)", stem):
            # Named by the tower's layer, not by the place in the list.
            layer = model.config.vision_config.deepstack_visual_indexes[int(found[1])]
            part = found[2].replace("linear_", "")
            yield name, f"v.deepstack.{layer}.{part}.{leaf}", data
        else:
            yield name, f"{MERGER_NAMES[stem.removeprefix('merger.')]}.{leaf}", data


def encode(name: str, data: np.ndarray, wanted: str) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
    """Bytes and type under which `data` is stored."""
    kind = TYPES[target_type(name, data.shape, wanted)][0]
    return gguf.quants.quantize(np.ascontiguousarray(data, dtype=np.float32), kind), kind


def in_file(kind: str, name: str, data: np.ndarray) -> np.ndarray:
    """What a file of a kind of model holds of a tensor's values."""
    return gemma3.stored(name, data) if gemma3.is_ours(kind) else data


def write_tensors(writer: gguf.GGUFWriter, tensors, wanted: str, kind: str) -> None:
    for _, name, data in tensors:
        stored, stored_type = encode(name, in_file(kind, name, data), wanted)
        writer.add_tensor(name, stored, raw_dtype=stored_type)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: gguf.GGUFWriter, directory: Path, rows: int, kind: str) -> None:
    """Vocabulary, merges, special ids and template; free rows become `[PADn]` of type unused."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for index in range(rows):
        if index not in by_id:
            tokens.append(f"[PAD{index}]")
            types.append(gguf.TokenType.UNUSED)
        else:
            tokens.append(by_id[index])
            special = index in added and added[index].special
            types.append(
                gguf.TokenType.CONTROL if special
                else gguf.TokenType.USER_DEFINED if index in added
                else gguf.TokenType.NORMAL
            )
    model = json.loads((directory / "tokenizer.json").read_text())["model"]
    if model.get("byte_fallback"):
        add_sentencepiece(writer, tokens, types)
        return
    writer.add_tokenizer_model("gpt2")
    tekken = "[INST]" in by_id.values()
    writer.add_tokenizer_pre("tekken" if tekken else "llama-bpe" if kind == "llama" else "qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if kind != "llama" or tekken:
        writer.add_add_bos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def add_sentencepiece(writer: gguf.GGUFWriter, tokens: list[str], types: list[int]) -> None:
    """A vocabulary of pieces with scores, without a template: as LLaVA-1.5's text files are."""
    kinds = {"<unk>": gguf.TokenType.UNKNOWN} | {f"<0x{byte:02X}>": gguf.TokenType.BYTE for byte in range(256)}
    types = [kinds.get(token, kind) for token, kind in zip(tokens, types)]
    normal = [kind == gguf.TokenType.NORMAL for kind in types]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) if is_piece else 0.0 for index, is_piece in enumerate(normal)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def rope_factors(parameters: dict, head_dim: int) -> np.ndarray:
    """The `rope_freqs.weight` of Llama 3.1: each frequency is divided by its factor."""
    frequencies = 1.0 / parameters["rope_theta"] ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    length, factor = parameters["original_max_position_embeddings"], parameters["factor"]
    wavelengths = 2 * np.pi / frequencies
    smooth = np.clip((length / wavelengths - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)


def write_text(directory: Path, model, path: Path, wanted: str) -> None:
    config = model.config
    text = config.get_text_config()
    kind = config.model_type
    arch = ARCHITECTURES[kind]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type("model")
    writer.add_name(f"Tiny random {arch}")
    writer.add_file_type(TYPES[wanted][1])
    writer.add_quantization_version(2)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    ours = gemma3.is_ours(kind)
    if ours:
        gemma3.add_text_keys(writer, text)
    rope = {} if ours else text.rope_parameters
    if sections := rope.get("mrope_section"):
        writer.add_rope_dimension_sections(list(sections) + [0] * (4 - len(sections)))
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if "head_dim" in text.to_dict() and (arch != "llama" or kind.startswith("llava")):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if arch in ("llama", "mistral3"):
        writer.add_vocab_size(text.vocab_size)
        writer.add_rope_dimension_count(head_dim)
        if rope["rope_type"] == "llama3":
            writer.add_tensor("rope_freqs.weight", rope_factors(rope, head_dim))
        still_towers.write_text_keys(writer, text)
    if kind.startswith("qwen3_vl"):
        writer.add_num_deepstack_layers(len(config.vision_config.deepstack_visual_indexes))
    if kind == "qwen3_vl_moe":
        writer.add_expert_count(text.num_experts)
        writer.add_expert_used_count(text.num_experts_per_tok)
        writer.add_expert_feed_forward_length(text.moe_intermediate_size)
    if ours:
        gemma3.add_tokenizer(writer, directory)
    else:
        add_tokenizer(writer, directory, text.vocab_size, arch)
    write_tensors(writer, text_tensors(model, arch), wanted, kind)
    finish(writer)


def write_projector(directory: Path, model, path: Path, wanted: str) -> None:
    config = model.config
    vision = config.vision_config
    kind = config.model_type
    if still_towers.is_still(model):
        write_still_projector(model, path, wanted)
        return
    processor = json.loads((directory / "processor_config.json").read_text())["image_processor"]
    qwen3 = kind.startswith("qwen3")
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name(f"Tiny random {kind} projector")
    writer.add_file_type(TYPES[wanted][1])
    writer.add_quantization_version(2)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", PROJECTORS[kind])
    writer.add_uint32("clip.vision.projection_dim", config.get_text_config().hidden_size)
    if gemma3.is_ours(kind):
        gemma3.add_projector_keys(writer, config)
        write_tensors(writer, vision_tensors(model, kind), wanted, kind)
        finish(writer)
        return
    side = int(vision.num_position_embeddings**0.5) if qwen3 else 40
    writer.add_uint32("clip.vision.image_size", side * vision.patch_size)
    writer.add_uint32("clip.vision.patch_size", vision.patch_size)
    writer.add_uint32("clip.vision.embedding_length", vision.embed_dim if kind == "qwen2_vl" else vision.hidden_size)
    # For Qwen2-VL llama.cpp's converter writes the text width here; files in the wild have it, so the golden has it.
    feed_forward = vision.hidden_size if kind == "qwen2_vl" else vision.intermediate_size
    writer.add_uint32("clip.vision.feed_forward_length", feed_forward)
    writer.add_uint32("clip.vision.block_count", vision.depth)
    writer.add_uint32("clip.vision.attention.head_count", vision.num_heads)
    writer.add_array("clip.vision.image_mean", processor["image_mean"])
    writer.add_array("clip.vision.image_std", processor["image_std"])
    # A constant of the HF towers, whatever the text model's epsilon is.
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    if kind == "qwen2_5_vl":
        pattern = vision.fullatt_block_indexes[0] + 1
        full = [layer for layer in range(vision.depth) if (layer + 1) % pattern == 0]
        writer.add_bool("clip.use_silu", True)
        if list(vision.fullatt_block_indexes) == full:
            writer.add_uint32("clip.vision.n_wa_pattern", pattern)
        else:
            writer.add_array("clip.vision.fullatt_block_indexes", list(vision.fullatt_block_indexes))
        # Readers know those of released models.
        if vision.window_size != 112:
            writer.add_uint32("clip.vision.window_size", vision.window_size)
        if vision.tokens_per_second != 2:
            writer.add_uint32("clip.vision.tokens_per_second", vision.tokens_per_second)
    if qwen3:
        writer.add_bool("clip.use_gelu", True)
        writer.add_uint32("clip.vision.spatial_merge_size", vision.spatial_merge_size)
        taps = set(vision.deepstack_visual_indexes)
        writer.add_array("clip.vision.is_deepstack_layers", [layer in taps for layer in range(vision.depth)])
    write_tensors(writer, vision_tensors(model, kind), wanted, kind)
    finish(writer)


def write_still_projector(model, path: Path, wanted: str) -> None:
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name(f"Tiny random {model.config.model_type} projector")
    writer.add_file_type(TYPES[wanted][1])
    writer.add_quantization_version(2)
    still_towers.write_projector_keys(writer, model.config)
    write_tensors(writer, vision_tensors(model, "permuted"), wanted, model.config.model_type)
    finish(writer)


def round_weights(model, text_type: str, vision_type: str) -> None:
    """Replaces each weight by what a file of these types gives back. Rounding works along rows, so it commutes with
    the splits and permutations of the conversion."""
    kind = model.config.model_type
    state = model.state_dict()
    pairs = [(text_tensors(model, "no permutation"), text_type)]
    if hasattr(model.config, "vision_config"):
        still = still_towers.is_still(model)
        pairs.append((vision_tensors(model, "no permutation" if still else kind), vision_type))
    for tensors, wanted in pairs:
        for hf_name, name, data in tensors:
            # `data` is a view of the parameter in every case above.
            assert np.shares_memory(data, state[hf_name].numpy()), name
            stored, stored_type = encode(name, data, wanted)
            data[...] = gguf.quants.dequantize(stored, stored_type).reshape(data.shape)


def convert(directory: Path, text: Path | None, mmproj: Path | None, text_type="f32", mmproj_type="f32") -> None:
    model = load_model(directory)
    if text:
        write_text(directory, model, text, text_type)
    if mmproj:
        write_projector(directory, model, mmproj, mmproj_type)


def save_rounded(directory: Path, out: Path, text_type: str, mmproj_type: str) -> None:
    model = load_model(directory)
    round_weights(model, text_type, mmproj_type)
    shutil.copytree(directory, out, dirs_exist_ok=True)
    model.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--mmproj", type=Path)
    parser.add_argument("--rounded", type=Path, metavar="DIR")
    parser.add_argument("--type", choices=sorted(TYPES), default="f32")
    parser.add_argument("--mmproj-type", choices=sorted(TYPES))
    options = parser.parse_args()
    mmproj_type = options.mmproj_type or options.type
    if options.rounded:
        save_rounded(options.checkpoint, options.rounded, options.type, mmproj_type)
    convert(options.checkpoint, options.text, options.mmproj, options.type, mmproj_type)


if __name__ == "__main__":
    main()
