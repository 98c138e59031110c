"""Families whose encoder takes one still picture at a time: Mistral 3 and Pixtral-12B (a Pixtral tower), LLaVA-1.5 and
LLaVA-1.6 (a CLIP tower). What the other tools ask of them: presets, configurations, processors, names, keys and stages.
"""

import re

import gguf
import torch
import transformers
from transformers.image_processing_utils import select_best_resolution

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

TEXT = dict(
    hidden_size=40, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    head_dim=16, max_position_embeddings=4096, rms_norm_eps=1e-5,
)
PIXTRAL = dict(
    model_type="pixtral", hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, head_dim=16,
    patch_size=8, image_size=80, hidden_act="silu", rope_parameters=dict(rope_type="axial", rope_theta=1e4),
)
PRESETS = {
    "mistral3": dict(
        text=TEXT | dict(
            model_type="ministral3",
            # The original length is short, so that a tiny prompt feels both kinds of stretching.
            rope_parameters=dict(
                rope_type="yarn", rope_theta=1e4, factor=8.0, original_max_position_embeddings=24,
                max_position_embeddings=4096, beta_fast=4.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
                llama_4_scaling_beta=0.1,
            ),
        ),
        vision=PIXTRAL,
        more=dict(spatial_merge_size=2),
        tied=False,
    ),
    "pixtral": dict(
        text=TEXT | dict(model_type="mistral", sliding_window=None, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
        vision=PIXTRAL | dict(patch_size=16),
        more=dict(vision_feature_layer=-1, vision_feature_select_strategy="full", projector_hidden_act="gelu"),
        tied=False,
    ),
    "llava": dict(
        text=TEXT | dict(
            model_type="llama", hidden_size=48, num_attention_heads=3, num_key_value_heads=3,
            rope_parameters=dict(rope_type="default", rope_theta=1e4),
        ),
        vision=dict(
            model_type="clip_vision_model", hidden_size=32, intermediate_size=72, num_hidden_layers=4,
            num_attention_heads=2, patch_size=14, image_size=56, projection_dim=24, hidden_act="quick_gelu",
            layer_norm_eps=1e-5,
        ),
        more=dict(vision_feature_layer=-2, vision_feature_select_strategy="default"),
        tied=False,
    ),
}
# Tiles of 3 x 3 patches: sides that are odd, so that as much padding on both sides is no matter of course.
PRESETS["llava-next"] = PRESETS["llava"] | dict(
    vision=PRESETS["llava"]["vision"] | dict(image_size=42, num_hidden_layers=3),
    more=PRESETS["llava"]["more"] | dict(image_grid_pinpoints=[[42, 84], [84, 42], [84, 84], [126, 42], [42, 126]]),
)
CLASSES = {
    "mistral3": ("Mistral3Config", "Mistral3ForConditionalGeneration", "mistral.jinja"),
    "pixtral": ("LlavaConfig", "LlavaForConditionalGeneration", "mistral.jinja"),
    "llava": ("LlavaConfig", "LlavaForConditionalGeneration", "vicuna.jinja"),
    "llava-next": ("LlavaNextConfig", "LlavaNextForConditionalGeneration", "vicuna.jinja"),
}
# By model_type of config.json; a llava with a Pixtral tower is Pixtral-12B.
TEXT_ARCHITECTURES = {"mistral3": "mistral3", "llava": "llama", "llava_next": "llama"}


def is_still(model) -> bool:
    # Gemma 3's tower has the same name, and a module of its own here.
    return hasattr(model.model, "vision_tower") and model.config.model_type in TEXT_ARCHITECTURES


def has_clip(config) -> bool:
    return config.vision_config.model_type == "clip_vision_model"


def has_tiles(config) -> bool:
    return config.model_type == "llava_next"


def merge_of(config) -> int:
    return getattr(config, "spatial_merge_size", 1)


def build_config(preset: dict, config_class, tokenizer, ids: dict):
    image = "<image>" if preset["vision"]["model_type"].startswith("clip") else "[IMG]"
    text = preset["text"] | ids | dict(vocab_size=-(-len(tokenizer) // 32) * 32)
    return config_class(
        text_config=text, vision_config=preset["vision"], image_token_index=tokenizer.convert_tokens_to_ids(image),
        tie_word_embeddings=preset["tied"], **preset["more"],
    )


def build_processor(preset: dict, tokenizer):
    vision = preset["vision"]
    if vision["model_type"].startswith("clip"):
        side = dict(height=vision["image_size"], width=vision["image_size"])
        sizes = dict(size=dict(shortest_edge=vision["image_size"]), crop_size=side)
        if shapes := preset["more"].get("image_grid_pinpoints"):
            image, whole = transformers.LlavaNextImageProcessor(**sizes, image_grid_pinpoints=shapes), transformers.LlavaNextProcessor
        else:
            image, whole = transformers.CLIPImageProcessor(**sizes), transformers.LlavaProcessor
        return whole(
            image, tokenizer, patch_size=vision["patch_size"], vision_feature_select_strategy="default",
            num_additional_image_tokens=1, chat_template=tokenizer.chat_template,
        )
    patch = dict(height=vision["patch_size"], width=vision["patch_size"])
    image = transformers.PixtralImageProcessor(size=dict(longest_edge=vision["image_size"]), patch_size=patch)
    return transformers.PixtralProcessor(
        image, tokenizer, patch_size=vision["patch_size"], spatial_merge_size=preset["more"].get("spatial_merge_size", 1),
        chat_template=tokenizer.chat_template,
    )


PIXTRAL_NAMES = {
    "attention_norm": "ln1", "ffn_norm": "ln2", "attention.q_proj": "attn_q", "attention.k_proj": "attn_k",
    "attention.v_proj": "attn_v", "attention.o_proj": "attn_out", "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up", "feed_forward.down_proj": "ffn_down",
}
# The products of the MLP stand under each other's name, as in all files of LLaVA-1.5.
CLIP_NAMES = {
    "layer_norm1": "ln1", "layer_norm2": "ln2", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_out", "mlp.fc1": "ffn_down", "mlp.fc2": "ffn_up",
}
OTHER_NAMES = {
    "patch_conv.weight": "v.patch_embd.weight", "ln_pre.weight": "v.pre_ln.weight",
    "embeddings.class_embedding": "v.class_embd", "embeddings.patch_embedding.weight": "v.patch_embd.weight",
    "embeddings.position_embedding.weight": "v.position_embd.weight", "pre_layrnorm.weight": "v.pre_ln.weight",
    "pre_layrnorm.bias": "v.pre_ln.bias",
}
# The row that ends a line of patches of LLaVA-1.6, here as in its files.
NEWLINE = "model.image_newline"
PROJECTOR_NAMES = {
    "pixtral": {"norm": "mm.input_norm", "patch_merger.merging_layer": "mm.patch_merger", "linear_1": "mm.1",
                "linear_2": "mm.2"},
    "clip": {"linear_1": "mm.0", "linear_2": "mm.2"},
}


def vision_tensors(model, permute):
    """Yields (HF name, GGUF name, row-major array); `permute` puts rows of q and k in pairs, or leaves them."""
    config = model.config
    clip = has_clip(config)
    heads = config.vision_config.num_attention_heads
    # Only the layers before the one whose rows are taken.
    depth = config.vision_config.num_hidden_layers + 1 + config.vision_feature_layer
    for name, tensor in model.state_dict().items():
        data = tensor.numpy()
        if name == NEWLINE:
            yield name, NEWLINE, data
        if ".multi_modal_projector." in name:
            stem, leaf = name.split(".multi_modal_projector.")[1].rsplit(".", 1)
            yield name, f"{PROJECTOR_NAMES['clip' if clip else 'pixtral'][stem]}.{leaf}", data
        if ".vision_tower." not in name:
            continue
        short = name.split(".vision_tower.")[1].removeprefix("vision_model.")
        found = re.fullmatch(r"(?:transformer|encoder)\.layers\.(\d+)\.(.+)\.(weight|bias)", short)
        if found and int(found[1]) < depth:
            part = (CLIP_NAMES if clip else PIXTRAL_NAMES)[found[2]]
            vision = config.vision_config
            if part.startswith("ffn_") and clip and vision.hidden_size == vision.intermediate_size:
                # Shapes do not tell: names are taken as they are.
                part = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}[part]
            if not clip and part in ("attn_q", "attn_k"):
                data = permute(data, heads)
            yield name, f"v.blk.{found[1]}.{part}.{found[3]}", data
        elif not found and not short.startswith("post_layernorm"):
            yield name, OTHER_NAMES[short], data


def write_projector_keys(writer, config) -> None:
    vision = config.vision_config
    clip = has_clip(config)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp" if clip else "pixtral")
    number = lambda key, value: writer.add_uint32(f"clip.vision.{key}", value)
    # CLIP's own, as in all files of LLaVA-1.5; the projector's output is wider.
    number("projection_dim", vision.projection_dim if clip else config.get_text_config().hidden_size)
    number("image_size", vision.image_size)
    number("patch_size", vision.patch_size)
    number("embedding_length", vision.hidden_size)
    number("feed_forward_length", vision.intermediate_size)
    number("block_count", vision.num_hidden_layers + 1 + config.vision_feature_layer)
    number("attention.head_count", vision.num_attention_heads)
    writer.add_array("clip.vision.image_mean", CLIP_MEAN)
    writer.add_array("clip.vision.image_std", CLIP_STD)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", vision.layer_norm_eps if clip else 1e-5)
    is_gelu = vision.hidden_act == "gelu"
    if clip:
        writer.add_bool("clip.has_text_encoder", False)
        writer.add_bool("clip.has_llava_projector", True)
        writer.add_bool("clip.use_gelu", is_gelu)
        if has_tiles(config):
            writer.add_array("clip.vision.image_grid_pinpoints", sum(config.image_grid_pinpoints, []))
            writer.add_string("clip.vision.image_aspect_ratio", "anyres")
            writer.add_string("clip.vision.mm_patch_merge_type", "spatial_unpad")
        return
    writer.add_bool("clip.use_gelu" if is_gelu else "clip.use_silu", True)
    if merge_of(config) > 1:
        number("spatial_merge_size", merge_of(config))
    # Readers know the usual ones.
    if vision.rope_parameters["rope_theta"] != 1e4:
        writer.add_float32("clip.rope.freq_base", vision.rope_parameters["rope_theta"])
    eps = config.get_text_config().rms_norm_eps
    if config.model_type == "mistral3" and eps != 1e-5:
        writer.add_float32("clip.vision.projector.layer_norm_epsilon", eps)


def write_text_keys(writer, text) -> None:
    """A window, YaRN and the growth of queries, where the text model has them."""
    if getattr(text, "sliding_window", None):
        writer.add_sliding_window(text.sliding_window)
    rope = text.rope_parameters
    if rope["rope_type"] != "yarn":
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_float32("mistral3.rope.scaling.yarn_beta_fast", rope["beta_fast"])
    writer.add_float32("mistral3.rope.scaling.yarn_beta_slow", rope["beta_slow"])
    writer.add_float32("mistral3.rope.scaling.yarn_log_multiplier", rope["mscale_all_dim"])
    writer.add_float32("mistral3.attention.temperature_scale", rope["llama_4_scaling_beta"])


def in_blocks(rows: torch.Tensor, grid: tuple[int, int], merge: int) -> torch.Tensor:
    """Rows of patches, row-major in the picture, in the order of merged blocks."""
    height, width = grid
    cells = rows.reshape(height // merge, merge, width // merge, merge, -1)
    return cells.permute(0, 2, 1, 3, 4).reshape(height * width, -1)


def cut(picture: torch.Tensor, patch: int, merge: int) -> torch.Tensor:
    """Rows of patches of `[3, height, width]`, in the order of merged blocks."""
    grid = (picture.shape[1] // patch, picture.shape[2] // patch)
    rows = picture.reshape(3, grid[0], patch, grid[1], patch).permute(1, 3, 0, 2, 4).reshape(grid[0] * grid[1], -1)
    return in_blocks(rows, grid, merge)


def trace_image(model, index: int, pixels: torch.Tensor, size: list[int], recorder) -> torch.Tensor:
    """Runs tower and projector on one picture alone and records the stages. `pixels` are `[3, height, width]`, of
    LLaVA-1.6 `[squares, 3, height, width]`: the whole picture, then its tiles row by row. Their rows go below each other.
    `size` is the picture's height and width, before it was cut into tiles where it is."""
    config, tower = model.config, model.model.vision_tower
    patch, merge, clip = config.vision_config.patch_size, merge_of(config), has_clip(config)
    squares = pixels if has_tiles(config) else pixels[None]
    grid = (squares.shape[2] // patch, squares.shape[3] // patch)
    name = f"vision.{index}."
    recorder.put(f"image.{index}.pixels", torch.cat([cut(square, patch, merge) for square in squares]))
    recorder.put(f"image.{index}.grid", torch.tensor([len(squares), *grid]))
    inner = getattr(tower, "vision_model", tower)
    kernel = inner.embeddings.patch_embedding if clip else tower.patch_conv
    layers = inner.encoder.layers if clip else tower.transformer.layers

    def embedded(_module, _inputs, out):
        recorder.put(name + "patch_embed", torch.cat([in_blocks(rows.flatten(1).T, grid, merge) for rows in out]))

    hooks = [kernel.register_forward_hook(embedded)]
    for layer, block in enumerate(layers[: len(layers) + 1 + config.vision_feature_layer]):
        def record(_module, _inputs, out, layer=layer):
            rows = out[0] if isinstance(out, tuple) else out
            recorder.put(f"{name}layer.{layer}", rows.flatten(0, 1) if clip else in_blocks(rows[0], grid, merge))
        hooks.append(block.register_forward_hook(record))
    sizes = {} if clip and not has_tiles(config) else {"image_sizes": torch.tensor([size])}
    result = model.model.get_image_features(pixels[None], return_dict=True, **sizes)
    for hook in hooks:
        hook.remove()
    output = torch.cat(list(result.pooler_output))
    recorder.put(name + "output", output)
    return output


def own_pixels(config, picture: torch.Tensor, size: list[int]) -> torch.Tensor:
    """A picture without what it was filled up with to be as large as the others."""
    if not has_tiles(config):
        return picture[:, : size[0], : size[1]]
    height, width = select_best_resolution(size, config.image_grid_pinpoints)
    side = config.vision_config.image_size
    return picture[: 1 + (height // side) * (width // side)]


def trace_images(model, inputs: dict, recorder) -> None:
    """Every picture alone; together they must give the same."""
    if "pixel_values" not in inputs:
        return
    pixels = inputs["pixel_values"]
    sizes = inputs.get("image_sizes", torch.tensor([pixels.shape[2:]] * len(pixels)))
    alone = [
        trace_image(model, index, own_pixels(model.config, picture, size), size, recorder)
        for index, (picture, size) in enumerate(zip(pixels, sizes.tolist()))
    ]
    more = {"image_sizes": sizes} if has_tiles(model.config) or not has_clip(model.config) else {}
    together = torch.cat(list(model.model.get_image_features(pixels, return_dict=True, **more).pooler_output))
    difference = (torch.cat(alone) - together).abs().max() / together.abs().max()
    if difference > 1e-4:
        raise AssertionError(f"images encoded alone and together differ by {difference:.2e}")
