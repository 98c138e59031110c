"""Writes a checkpoint as the GGUF pair (text and projector) with the names of llama.cpp, and reads a pair back.

    python export.py --checkpoint run.pt --out ../../crates/ocelli/models
"""

import argparse
import json
import os

import gguf
import numpy as np
import torch

import tokenizer
from model import Config, Model

Q8, F16, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.F32
TEXT, PROJECTOR = "ocelli-demo-text.gguf", "ocelli-demo-mmproj.gguf"

TEXT_LAYER = {
    "input_layernorm.weight": "attn_norm.weight", "self_attn.q_proj.weight": "attn_q.weight", "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight", "self_attn.q_norm.weight": "attn_q_norm.weight", "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight", "post_attention_layernorm.weight": "ffn_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight"}
VISION_BLOCK = {"norm1": "ln1", "norm2": "ln2", "attn.qkv": "attn_qkv", "attn.proj": "attn_out", "mlp.linear_fc1": "ffn_up", "mlp.linear_fc2": "ffn_down"}


def names(c):
    """Pairs of (parameter name, GGUF name) for the text and for the projector, the patch embedding left out."""
    text = [("model.language_model.embed_tokens.weight", "token_embd.weight")]
    for i in range(c.layers):
        text += [(f"model.language_model.layers.{i}.{k}", f"blk.{i}.{v}") for k, v in TEXT_LAYER.items()]
    text.append(("model.language_model.norm.weight", "output_norm.weight"))
    vision = [("model.visual.patch_embed.proj.bias", "v.patch_embd.bias"), ("model.visual.pos_embed.weight", "v.position_embd.weight")]
    both = ("weight", "bias")
    for i in range(c.vision_layers):
        vision += [(f"model.visual.blocks.{i}.{k}.{b}", f"v.blk.{i}.{v}.{b}") for k, v in VISION_BLOCK.items() for b in both]
    for n, layer in enumerate(c.deepstack):
        vision += [(f"model.visual.deepstack_merger_list.{n}.{k}.{b}", f"v.deepstack.{layer}.{v}.{b}")
                   for k, v in (("norm", "norm"), ("linear_fc1", "fc1"), ("linear_fc2", "fc2")) for b in both]
    vision += [(f"model.visual.merger.{k}.{b}", f"{v}.{b}") for k, v in (("norm", "v.post_ln"), ("linear_fc1", "mm.0"), ("linear_fc2", "mm.2")) for b in both]
    return text, vision


def add(writer, name, array):
    """Matrices as Q8_0; vectors, norms and the position table as F32."""
    array = np.ascontiguousarray(array, np.float32)
    if array.ndim == 1 or name == "v.position_embd.weight":
        writer.add_tensor(name, array)
    else:
        writer.add_tensor(name, gguf.quants.quantize(array, Q8), raw_dtype=Q8)


def general(w, name, kind):
    w.add_type(kind)
    w.add_name(name)
    w.add_basename("ocelli-demo")
    w.add_description("A small Qwen3-VL trained from scratch on synthetic scenes; see docs/demo.md")
    w.add_license("MIT OR Apache-2.0")
    w.add_quantization_version(2)
    w.add_file_type(7)


def write_text(path, c, state):
    w = gguf.GGUFWriter(path, "qwen3vl")
    general(w, "Ocelli demo", "model")
    w.add_block_count(c.layers)
    w.add_context_length(c.context)
    w.add_embedding_length(c.hidden)
    w.add_feed_forward_length(c.mlp)
    w.add_head_count(c.heads)
    w.add_head_count_kv(c.kv_heads)
    w.add_rope_freq_base(c.theta)
    w.add_layer_norm_rms_eps(c.eps)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_rope_dimension_sections(c.sections + [0])
    w.add_uint32("qwen3vl.n_deepstack_layers", len(c.deepstack))
    t = tokenizer.load()
    spec = json.loads(t.to_str())
    by_id = sorted(t.get_vocab().items(), key=lambda kv: kv[1])
    assert [i for _, i in by_id] == list(range(c.vocab)), "vocabulary and embedding differ in size"
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list([s for s, _ in by_id])
    w.add_token_types([3 if s in tokenizer.SPECIAL else 1 for s, _ in by_id])
    w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in spec["model"]["merges"]])
    w.add_eos_token_id(t.token_to_id("<|im_end|>"))
    w.add_pad_token_id(t.token_to_id("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(tokenizer.TEMPLATE)
    for source, name in names(c)[0]:
        add(w, name, state[source].numpy())
    finish(w)


def write_projector(path, c, state):
    w = gguf.GGUFWriter(path, "clip")
    general(w, "Ocelli demo projector", "mmproj")
    w.add_bool("clip.has_vision_encoder", True)
    w.add_string("clip.projector_type", "qwen3vl_merger")
    v = "clip.vision."
    for key, value in (("projection_dim", c.hidden), ("image_size", c.position_side * c.patch), ("patch_size", c.patch), ("embedding_length", c.width),
                       ("feed_forward_length", c.vision_mlp), ("block_count", c.vision_layers), ("attention.head_count", c.vision_heads),
                       ("spatial_merge_size", 2), ("image_min_pixels", c.min_pixels), ("image_max_pixels", c.max_pixels)):
        w.add_uint32(v + key, value)
    w.add_array(v + "image_mean", [0.5, 0.5, 0.5])
    w.add_array(v + "image_std", [0.5, 0.5, 0.5])
    w.add_float32(v + "attention.layer_norm_epsilon", 1e-6)
    w.add_bool("clip.use_gelu", True)
    w.add_array(v + "is_deepstack_layers", [i in c.deepstack for i in range(c.vision_layers)])
    patch = state["model.visual.patch_embed.proj.weight"].sum(2).numpy() / 2  # equal slices: a still picture sees only their sum
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        w.add_tensor(name, patch.astype(np.float16))
    for source, name in names(c)[1]:
        add(w, name, state[source].numpy())
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read_pair(folder):
    """The model of a pair with its weights as stored (dequantised), ready for evaluation or for more training."""
    tensors = {}
    for file in (TEXT, PROJECTOR):
        for t in gguf.GGUFReader(os.path.join(folder, file)).tensors:
            tensors[t.name] = torch.from_numpy(np.array(gguf.quants.dequantize(t.data, t.tensor_type), np.float32))
    c = Config()
    state = {source: tensors[name] for part in names(c) for source, name in part}
    state["model.visual.patch_embed.proj.weight"] = torch.stack([tensors["v.patch_embd.weight"], tensors["v.patch_embd.weight.1"]], 2)
    m = Model(c)
    m.load_state_dict(state)
    return m


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--checkpoint", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--weights", choices=["average", "model"], default="average")
    a = p.parse_args()
    torch.set_num_threads(1)
    state = torch.load(a.checkpoint, weights_only=False, mmap=True)[a.weights]
    os.makedirs(a.out, exist_ok=True)
    c = Config()
    write_text(os.path.join(a.out, TEXT), c, state)
    write_projector(os.path.join(a.out, PROJECTOR), c, state)
    total = 0
    for file in (TEXT, PROJECTOR):
        size = os.path.getsize(os.path.join(a.out, file))
        total += size
        print(file, size, "bytes")
    print("pair", total, "bytes")
    read_pair(a.out)


if __name__ == "__main__":
    main()
