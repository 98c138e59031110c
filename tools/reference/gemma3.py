"""Gemma 3 for the reference tools: tokenizer, checkpoint, tensors, keys and stages.

The towers' rows are recorded in the order in which Ocelli's encoder has them: cell by cell, so that the patches that
become one token stand together.
"""

import json
import math
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoProcessor, AutoTokenizer

FIRST = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
NEWLINES = ["\n" * count for count in range(1, 6)]
LAST = ["<start_of_image>", "<end_of_image>"]
SOFT = "<image_soft_token>"
# Rows of HF's embedding behind the last token of the files.
PADDING = 16

TEXT = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=7, num_attention_heads=4, num_key_value_heads=2,
    head_dim=16, query_pre_attn_scalar=16, sliding_window=12, max_position_embeddings=4096, rms_norm_eps=1e-6,
    rope_parameters=dict(
        full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
        sliding_attention=dict(rope_type="default", rope_theta=1e4),
    ),
)
VISION = dict(
    hidden_size=24, intermediate_size=56, num_hidden_layers=3, num_attention_heads=2, image_size=48, patch_size=6,
)
PRESETS = {
    "gemma3": dict(text=TEXT, vision=VISION, image_tokens=4, tied=True),
    "gemma3-text": dict(text=TEXT | dict(num_hidden_layers=6, num_key_value_heads=1, sliding_window=8), tied=True),
}

TEXT_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
VISION_NAMES = {
    "embeddings.patch_embedding": "v.patch_embd", "embeddings.position_embedding": "v.position_embd",
    "post_layernorm": "v.post_ln", "layer_norm1": "ln1", "layer_norm2": "ln2", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
}


def is_ours(kind: str) -> bool:
    return kind.startswith("gemma3")


# The tokenizer.


def vocabulary(corpus: str, size: int) -> tuple[list[str], list[str]]:
    """All tokens in order of their ids, and the learned pieces, best first."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[^▁\n]+"), behavior="isolated")
    trained.train_from_iterator([corpus], trainers.BpeTrainer(vocab_size=size, show_progress=False))
    learned = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    pieces = [piece for piece, _ in learned if piece not in NEWLINES]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    longer = [piece for piece in pieces if len(piece) > 1]
    single = [piece for piece in pieces if len(piece) == 1]
    return FIRST + NEWLINES + byte_tokens + longer + single + LAST, longer


def merges_of(pieces: list[str], known: set[str]) -> list[tuple[str, str]]:
    """Every way to make each piece of two others, as sentencepiece merges them."""
    merges = []
    for piece in pieces:
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        merges += [pair for pair in halves if pair[0] in known and pair[1] in known]
    return merges


def tokenizer(template: Path, corpus: str, size: int = 400) -> transformers.GemmaTokenizer:
    tokens, pieces = vocabulary(corpus, size)
    made = transformers.GemmaTokenizer(
        vocab={token: index for index, token in enumerate([*tokens, SOFT])},
        merges=merges_of(pieces, set(tokens)),
        extra_special_tokens=dict(image_token=SOFT, boi_token=LAST[0], eoi_token=LAST[1]),
    )
    special = [*FIRST[5:], *LAST, SOFT]
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in special], special_tokens=True)
    made.add_tokens([AddedToken(t, special=False, normalized=False) for t in NEWLINES])
    made.eos_token = "<end_of_turn>"
    made.chat_template = template.read_text()
    return made


def file_tokens(directory: Path) -> int:
    """Tokens that files keep: all before the one that stands for a picture's rows."""
    return AutoTokenizer.from_pretrained(directory).convert_tokens_to_ids(SOFT)


# The checkpoint.


def config(preset: dict, tokens):
    count = len(tokens)
    text = dict(preset["text"]) | dict(
        vocab_size=count - 1 + PADDING, pad_token_id=0, eos_token_id=tokens.eos_token_id, bos_token_id=2,
        tie_word_embeddings=preset["tied"],
    )
    if "vision" not in preset:
        return transformers.Gemma3TextConfig(**text)
    return transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**text),
        vision_config=transformers.SiglipVisionConfig(
            **preset["vision"], hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6, vision_use_head=False
        ),
        mm_tokens_per_image=preset["image_tokens"],
        boi_token_index=tokens.boi_token_id, eoi_token_index=tokens.eoi_token_id,
        image_token_index=tokens.image_token_id, tie_word_embeddings=preset["tied"],
    )


def scale_of(name: str, shape: torch.Size) -> tuple[float, float]:
    """Mean and standard deviation of one parameter's random values."""
    if len(shape) == 1:
        if name.endswith("bias"):
            return (0.0, 0.2)
        # SigLIP's norms are plain; the others add one when they run.
        return (1.0, 0.25) if "vision_tower" in name else (0.0, 0.25)
    if "embed_tokens" in name or "position_embedding" in name:
        return (0.0, 0.05)
    if "patch_embedding" in name:
        return (0.0, 0.1 / math.sqrt(math.prod(shape[1:])))
    fan_in = shape[0] if "mm_input_projection" in name else shape[-1]
    hidden_side = any(part in name for part in ("fc1", "gate", "up_proj", "q_proj", "k_proj"))
    return (0.0, (1.5 if hidden_side else 1.0) / math.sqrt(fan_in))


def pool(vision: dict, image_tokens: int) -> int:
    """Patches on each side of a cell."""
    return vision["image_size"] // vision["patch_size"] // math.isqrt(image_tokens)


def silence_padding(model) -> None:
    """No file keeps the rows behind its last token: they must never be the best."""
    with torch.no_grad():
        model.get_input_embeddings().weight[-PADDING:] = 0.0


def processor(preset: dict, tokens):
    side = preset["vision"]["image_size"]
    image = transformers.Gemma3ImageProcessor(
        size=dict(height=side, width=side), image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2,
        do_pan_and_scan=False, pan_and_scan_min_crop_size=256, pan_and_scan_max_num_crops=4,
        pan_and_scan_min_ratio_to_activate=1.2,
    )
    return transformers.Gemma3Processor(
        image, tokens, chat_template=tokens.chat_template, image_seq_length=preset["image_tokens"]
    )


# The files.


def text_tensors(model):
    """Yields (HF name, GGUF name, row-major array) of the text model."""
    for name, tensor in model.state_dict().items():
        short = name.replace("model.language_model.", "").removeprefix("model.")
        if name.startswith(("model.vision_tower", "model.multi_modal")) or short == "lm_head.weight":
            continue
        data = tensor.numpy()
        if short == "embed_tokens.weight":
            yield name, "token_embd.weight", data[:-PADDING]
        elif short == "norm.weight":
            yield name, "output_norm.weight", data
        else:
            _, layer, rest = short.split(".", 2)
            stem, leaf = rest.rsplit(".", 1)
            yield name, f"blk.{layer}.{TEXT_NAMES[stem]}.{leaf}", data


def vision_tensors(model):
    """Yields (HF name, GGUF name, row-major array) of the vision tower and the projector."""
    for name, tensor in model.state_dict().items():
        data = tensor.numpy()
        if name.endswith("mm_input_projection_weight"):
            yield name, "mm.input_projection.weight", data
        elif name.endswith("mm_soft_emb_norm.weight"):
            yield name, "mm.soft_emb_norm.weight", data
        elif ".vision_tower." in name:
            short = name.split(".vision_tower.")[1].removeprefix("vision_model.")
            stem, leaf = short.rsplit(".", 1)
            if stem.startswith("encoder.layers."):
                _, _, layer, part = stem.split(".", 3)
                yield name, f"v.blk.{layer}.{VISION_NAMES[part]}.{leaf}", data
            else:
                yield name, f"{VISION_NAMES[stem]}.{leaf}", data


def stored(name: str, data: np.ndarray) -> np.ndarray:
    """What a file holds of `data`: norms with the one that HF adds when it runs them."""
    adds = name.endswith("norm.weight")
    return data + np.float32(1) if adds else data


def add_text_keys(writer: gguf.GGUFWriter, text) -> None:
    writer.add_sliding_window(text.sliding_window)
    wide, near = text.rope_parameters["full_attention"], text.rope_parameters["sliding_attention"]
    writer.add_rope_freq_base(wide["rope_theta"])
    writer.add_float32(f"{writer.arch}.rope.freq_base_swa", near["rope_theta"])
    if wide["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(wide["factor"])
    # Readers know the usual ones.
    if text.query_pre_attn_scalar != text.head_dim:
        writer.add_float32(f"{writer.arch}.attention.scale", text.query_pre_attn_scalar**-0.5)
    near_layers = [kind == "sliding_attention" for kind in text.layer_types]
    if near_layers != [(layer + 1) % 6 != 0 for layer in range(text.num_hidden_layers)]:
        writer.add_array(f"{writer.arch}.attention.sliding_window_pattern", near_layers)


def add_tokenizer(writer: gguf.GGUFWriter, directory: Path) -> None:
    made = AutoTokenizer.from_pretrained(directory)
    by_id = {index: token for token, index in made.get_vocab().items()}
    merges = json.loads((directory / "tokenizer.json").read_text())["model"]["merges"]
    ranks: dict[str, int] = {}
    for left, right in merges:
        ranks.setdefault(left + right, len(ranks))
    kinds = gguf.TokenType
    tokens, scores, types = [], [], []
    for index in range(file_tokens(directory)):
        token = by_id[index]
        kind = kinds.NORMAL
        if token in NEWLINES:
            kind = kinds.USER_DEFINED
        elif token == "<unk>":
            kind = kinds.UNKNOWN
        elif token in FIRST + LAST:
            kind = kinds.CONTROL
        elif token.startswith("<0x"):
            kind = kinds.BYTE
        tokens.append(token)
        types.append(kind)
        scores.append(-float(ranks.get(token, len(ranks))) if kind == kinds.NORMAL else 0.0)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(made.eos_token_id)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(made.chat_template)


def add_projector_keys(writer: gguf.GGUFWriter, config) -> None:
    vision = config.vision_config
    writer.add_uint32("clip.vision.image_size", vision.image_size)
    writer.add_uint32("clip.vision.patch_size", vision.patch_size)
    writer.add_uint32("clip.vision.embedding_length", vision.hidden_size)
    writer.add_uint32("clip.vision.feed_forward_length", vision.intermediate_size)
    writer.add_uint32("clip.vision.block_count", vision.num_hidden_layers)
    writer.add_uint32("clip.vision.attention.head_count", vision.num_attention_heads)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", vision.layer_norm_eps)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    writer.add_bool("clip.use_gelu", True)
    factor = pool(vision.to_dict(), config.mm_tokens_per_image)
    if factor != 4:
        writer.add_uint32("clip.vision.projector.scale_factor", factor)


# The stages.


def cells(rows: torch.Tensor, side: int, factor: int) -> torch.Tensor:
    """Rows of patches, `[side * side, ...]`, cell by cell."""
    places = torch.arange(side * side).reshape(side // factor, factor, side // factor, factor)
    return rows[places.transpose(1, 2).reshape(-1)]


def trace_image(model, index: int, pixels: torch.Tensor, recorder) -> None:
    """Runs the tower on one image alone and records its stages."""
    vision = model.config.vision_config
    side, patch = vision.image_size // vision.patch_size, vision.patch_size
    factor = pool(vision.to_dict(), model.config.mm_tokens_per_image)
    patches = pixels.reshape(3, side, patch, side, patch).permute(1, 3, 0, 2, 4).reshape(side * side, -1)
    recorder.put(f"image.{index}.pixels", cells(patches, side, factor))
    recorder.put(f"image.{index}.grid", torch.tensor([1, side, side]))
    tower = model.model.vision_tower
    tower = getattr(tower, "vision_model", tower)

    def record(name, rows):
        recorder.put(f"vision.{index}.{name}", cells(rows, side, factor))

    hooks = [
        tower.embeddings.patch_embedding.register_forward_hook(
            lambda _m, _i, out: record("patch_embed", out[0].flatten(1).T)
        )
    ]
    for layer, block in enumerate(tower.encoder.layers):
        def note(_module, _inputs, out, layer=layer):
            record(f"layer.{layer}", (out[0] if isinstance(out, tuple) else out).reshape(side * side, -1))
        hooks.append(block.register_forward_hook(note))
    hidden = model.model.vision_tower(pixel_values=pixels[None]).last_hidden_state
    for hook in hooks:
        hook.remove()
    recorder.put(f"vision.{index}.output", model.model.multi_modal_projector(hidden)[0])


def prepare(model, checkpoint: Path, messages: list, images: list, recorder, pan_and_scan: bool) -> tuple[dict, str]:
    """Inputs of the model and the rendered prompt; stages of the images are recorded."""
    if not hasattr(model.config, "vision_config"):
        made = AutoTokenizer.from_pretrained(checkpoint)
        rendered = made.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return made([rendered], return_tensors="pt", add_special_tokens=False), rendered
    made = AutoProcessor.from_pretrained(checkpoint)
    rendered = made.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = made(
        text=[rendered], images=[images] if images else None, return_tensors="pt", add_special_tokens=False,
        **({"do_pan_and_scan": True} if pan_and_scan else {}),
    )
    for index, pixels in enumerate(inputs.get("pixel_values", [])):
        trace_image(model, index, pixels, recorder)
    inputs.pop("num_crops", None)
    return inputs, rendered
