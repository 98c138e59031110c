#!/usr/bin/env python3
"""Shows that the goldens would catch the usual mistakes: runs the reference with one mistake at a time.

    check_sensitivity.py [NAME]...

Prints for each mistake the first stage that leaves the tolerance and the largest error of all stages; fails when a
mistake stays under twice the tolerance everywhere. Before the mistakes it changes every weight by about one part in ten
million, as another order of summation would change the sums: that must stay under a fifth of the tolerance.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
import transformers
from torch import nn

import make_checkpoint
import make_goldens
import tiny_tokenizer
import to_gguf
import trace_hf

TOLERANCE = 1e-4


def rounding(model):
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.mul_(1 + 1e-7 * torch.randn(parameter.shape, generator=generator))


def erf_instead_of_tanh(model):
    for block in model.model.visual.blocks:
        block.mlp.act_fn = nn.GELU()


def gelu_instead_of_quick(model):
    for block in model.model.visual.blocks:
        block.mlp.act = nn.GELU()


def tanh_in_mergers(model):
    for module in model.model.visual.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.GELU):
                setattr(module, name, nn.GELU(approximate="tanh"))


def vision_epsilon(value):
    def change(model):
        for module in model.model.visual.modules():
            for field in ("eps", "variance_epsilon"):
                if isinstance(getattr(module, field, None), float):
                    setattr(module, field, value)
    return change


def text_epsilon(value):
    def change(model):
        text = getattr(model.model, "language_model", model.model)
        for module in text.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = value
    return change


def half_pixel_positions(model):
    model.model.visual.interpolation_align_corners = False


def shifted_deepstack(model):
    indexes = list(model.model.visual.deepstack_visual_indexes)
    model.model.visual.deepstack_visual_indexes = [index + 1 for index in indexes]


def no_deepstack(model):
    text = model.model.language_model
    text._deepstack_process = lambda hidden, mask, rows: hidden



def contiguous_sections(model):
    rotary = model.model.language_model.rotary_emb

    def recompose(freq):
        parts = [freq[i, ..., start:end] for i, (start, end) in enumerate(spans)]
        joined = torch.cat(parts, dim=-1)
        return torch.cat((joined, joined), dim=-1)

    ends = [sum(rotary.mrope_section[: i + 1]) for i in range(3)]
    spans = list(zip([0, *ends[:2]], ends))
    rotary.recomposition_frequencies = recompose


def base_of_rope(factor):
    def change(model):
        text = getattr(model.model, "language_model", model.model)
        text.rotary_emb.inv_freq.mul_(factor ** torch.linspace(0, 1, len(text.rotary_emb.inv_freq)))
    return change


def full_attention_everywhere(model):
    model.model.visual.fullatt_block_indexes = list(range(len(model.model.visual.blocks)))


def wrong_full_layers(model):
    model.model.visual.fullatt_block_indexes = [i - 1 for i in model.model.visual.fullatt_block_indexes]


def no_bias_on_patches(model):
    model.model.visual.patch_embed.proj.bias.data.zero_()


def one_temporal_slice(model):
    weight = model.model.visual.patch_embed.proj.weight.data
    weight[:, :, 1] = weight[:, :, 0]


# Families that see still pictures. A mistake that changes more than the model gives what undoes it.


def tower_of(model):
    tower = model.model.vision_tower
    return getattr(tower, "vision_model", tower)


def exact_gelu_in_blocks(model):
    for module in tower_of(model).modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = nn.GELU()


def tower_epsilon(value):
    def change(model):
        for module in tower_of(model).modules():
            for field in ("eps", "variance_epsilon"):
                if isinstance(getattr(module, field, None), float):
                    setattr(module, field, value)
    return change


def tanh_in_projector(model):
    model.model.multi_modal_projector.act = nn.GELU(approximate="tanh")


def no_biases_in_projector(model):
    for name, parameter in model.model.multi_modal_projector.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()


def no_stretching(model):
    text = model.config.get_text_config()
    places = torch.arange(0, text.head_dim, 2, dtype=torch.float32) / text.head_dim
    model.model.language_model.rotary_emb.inv_freq.copy_(text.rope_parameters["rope_theta"] ** -places)


def queries_that_do_not_grow(model):
    model.config.get_text_config().rope_parameters["llama_4_scaling_beta"] = 0.0


def break_rows_of_zeros(model):
    model.get_input_embeddings().weight[tiny_tokenizer.TEKKEN_SPECIAL.index("[IMG_BREAK]")] = 0.0


def height_and_width_exchanged(model):
    frequencies = model.model.vision_tower.patch_positional_embedding.inv_freq
    frequencies.copy_(frequencies.roll(len(frequencies) // 2))


def merger_column_by_column(model):
    weight = model.model.multi_modal_projector.patch_merger.merging_layer.weight
    width = weight.shape[0]
    weight.copy_(weight.reshape(width, width, 2, 2).transpose(2, 3).reshape(width, -1))


def projector_epsilon(value):
    def change(model):
        model.model.multi_modal_projector.norm.variance_epsilon = value
    return change


def class_token_behind(model):
    embeddings = tower_of(model).embeddings
    plain, places = embeddings.forward, embeddings.position_embedding.weight
    embeddings.forward = lambda *args, **more: (plain(*args, **more) - places).roll(-1, dims=1) + places


def rows_of_the_last_layer(model):
    model.config.vision_feature_layer = -1


def no_norm_before_the_layers(model):
    tower_of(model).pre_layrnorm.forward = lambda rows: rows


def look_back_one_further(model):
    model.config.get_text_config().sliding_window += 1


def blocks_that_look_back_only(model):
    plain = model.forward
    model.forward = lambda **inputs: plain(**{k: v for k, v in inputs.items() if k != "token_type_ids"})


def blocks_that_see_each_other(model):
    module = sys.modules[type(model).__module__]
    patch = mock.patch.object(
        module, "get_block_sequence_ids_for_mask", lambda kinds, device=None: torch.where(kinds == 1, 0, -1)
    )
    patch.start()
    return patch.stop


def unscaled_embedding(model):
    model.get_input_embeddings().embed_scale.fill_(1.0)


def scaled_pictures(model):
    scale = model.get_input_embeddings().embed_scale
    model.model.multi_modal_projector.register_forward_hook(lambda _m, _i, rows: rows * scale)


def text_of(model):
    return getattr(model.model, "language_model", model.model)


def wide_layers_not_stretched(model):
    rotary = text_of(model).rotary_emb
    rotary.full_attention_inv_freq.mul_(8.0)


def one_base_for_all_layers(model):
    rotary = text_of(model).rotary_emb
    rotary.sliding_attention_inv_freq.copy_(rotary.full_attention_inv_freq)


def near_base_off(model):
    frequencies = text_of(model).rotary_emb.sliding_attention_inv_freq
    frequencies.mul_(1.1 ** torch.linspace(0, 1, len(frequencies)))


def scores_by_width(model):
    text = model.config.get_text_config()
    for layer in text_of(model).layers:
        layer.self_attn.scaling = (text.hidden_size / text.num_attention_heads) ** -0.5


def wide_layers_one_early(model):
    layers = text_of(model).layers
    kinds = [layer.self_attn.layer_type for layer in layers]
    text = model.config.get_text_config()
    text.layer_types = kinds[1:] + kinds[:1]
    for layer, kind in zip(layers, text.layer_types):
        layer.self_attn.layer_type = kind


def norms_without_their_one(model):
    for module in text_of(model).modules():
        if hasattr(module, "eps") and hasattr(module, "weight"):
            module.weight.sub_(1.0)


def gemma_epsilon(value):
    def change(model):
        for module in text_of(model).modules():
            if hasattr(module, "eps"):
                module.eps = value
    return change


COMMON = {
    "tanh GELU in the mergers": tanh_in_mergers,
    "vision epsilon 1e-5": vision_epsilon(1e-5),
    "second temporal kernel ignored": one_temporal_slice,
}
TEXT = {
    "text epsilon 0": text_epsilon(0.0),
    "text epsilon tenfold": text_epsilon(1e-5),
    "rope base 10 % off": base_of_rope(1.1),
}
QWEN3 = COMMON | TEXT | {
    "erf GELU in the blocks": erf_instead_of_tanh,
    "half-pixel position table": half_pixel_positions,
    "deepstack from the layer after": shifted_deepstack,
    "deepstack rows not added": no_deepstack,
    "rope sections contiguous": contiguous_sections,
    "patch bias missing": no_bias_on_patches,
}
TEXT_OF_STILL = {
    "text epsilon tenfold": text_epsilon(1e-4),
    "rope base 10 % off": base_of_rope(1.1),
}
GEMMA = {
    # Rows of the embedding are scaled to order one: a factor of ten stays under the tolerance.
    "text epsilon 1e-4": gemma_epsilon(1e-4),
    "one token further back": look_back_one_further,
    "one rotary base for all layers": one_base_for_all_layers,
    "near base 10 % off": near_base_off,
    "embedding not scaled": unscaled_embedding,
    "scores by the width": scores_by_width,
    "wide layers one early": wide_layers_one_early,
    "norms without their one": norms_without_their_one,
}
GEMMA_PICTURES = {
    "erf GELU in the blocks": exact_gelu_in_blocks,
    "vision epsilon 1e-4": tower_epsilon(1e-4),
    "rows of pictures scaled": scaled_pictures,
    "blocks look back only": blocks_that_look_back_only,
}
MISTAKES = {
    "qwen3vl": QWEN3,
    "qwen3vl-mixed": QWEN3 | {"text epsilon tenfold": text_epsilon(1e-6)},
    "qwen3vl-moe": QWEN3,
    "qwen2vl": COMMON | TEXT | {"erf GELU in the blocks": gelu_instead_of_quick},
    "qwen2.5vl": COMMON | TEXT | {
        "full attention everywhere": full_attention_everywhere,
        "full attention one layer early": wrong_full_layers,
    },
    "qwen2": TEXT,
    "qwen3": TEXT,
    "llama": TEXT | {"text epsilon tenfold": text_epsilon(1e-6)},
    "mistral3": TEXT_OF_STILL | {
        "tanh GELU in the projector": tanh_in_projector,
        "vision epsilon 1e-6": tower_epsilon(1e-6),
        "height and width exchanged": height_and_width_exchanged,
        "merger column by column": merger_column_by_column,
        "no stretching": no_stretching,
        "queries do not grow": queries_that_do_not_grow,
        "rows of zeros for breaks": break_rows_of_zeros,
    },
    "mistral3-mixed": TEXT_OF_STILL | {
        "text epsilon tenfold": text_epsilon(1e-1),
        "projector epsilon as the encoder's": projector_epsilon(1e-5),
        "one token further back": look_back_one_further,
        "biases of the projector missing": no_biases_in_projector,
    },
    "pixtral": TEXT_OF_STILL | {
        "vision epsilon 1e-6": tower_epsilon(1e-6),
        "height and width exchanged": height_and_width_exchanged,
        "rows of zeros for breaks": break_rows_of_zeros,
        "biases of the projector missing": no_biases_in_projector,
    },
    "llava": TEXT_OF_STILL | {
        "tanh GELU in the projector": tanh_in_projector,
        "erf GELU in the blocks": exact_gelu_in_blocks,
        "vision epsilon 1e-6": tower_epsilon(1e-6),
        "class token behind the patches": class_token_behind,
        "rows of the last layer": rows_of_the_last_layer,
        "no norm before the layers": no_norm_before_the_layers,
        "biases of the projector missing": no_biases_in_projector,
    },
    "gemma3": GEMMA | GEMMA_PICTURES | {"wide layers not stretched": wide_layers_not_stretched},
    "gemma3-mixed": GEMMA | GEMMA_PICTURES | {"blocks see each other": blocks_that_see_each_other},
    "gemma3-text": GEMMA | {"wide layers not stretched": wide_layers_not_stretched},
    "gemma3-layers": GEMMA | {
        "text epsilon 1e-4": gemma_epsilon(1e-4), "wide layers one early": wide_layers_one_early,
    },
}

# Conversations that show the mistakes of families that see still pictures, by suite.
CASES = {
    "gemma3": make_goldens.SECOND_TURN,
    "gemma3-mixed": make_goldens.GEMMA_CASES[2],
    "gemma3-text": make_goldens.GEMMA_CASES[0],
    "gemma3-layers": make_goldens.GEMMA_CASES[0],
} | dict.fromkeys(["mistral3", "mistral3-mixed", "pixtral", "llava"], make_goldens.SECOND_TURN)


def stages_of(checkpoint: Path, case: dict, size: dict | None, change=None) -> dict:
    messages = case.get("messages") or trace_hf.one_turn(
        case["prompt"], [f"../images/{image}.png" for image in case.get("images", [])]
    )
    folder = make_goldens.GOLDENS / "qwen3vl"
    undo = contextlib.ExitStack()

    def load(directory):
        model = to_gguf.load_model(directory)
        if change:
            with torch.no_grad():
                if undoing := change(model):
                    undo.callback(undoing)
        return model

    with undo, mock.patch.object(trace_hf, "load_model", load), contextlib.redirect_stdout(sys.stderr):
        return trace_hf.trace(checkpoint, messages, folder, 0, size)[0]


def compare(expected: dict, got: dict) -> list[tuple[str, float]]:
    return [
        (name, float((got[name] - value).abs().max() / value.abs().max()))
        for name, value in expected.items()
        if value.is_floating_point()
    ]


def check(name: str, scratch: Path) -> bool:
    recipe = make_goldens.GOLDEN_SETS[name]
    checkpoint = scratch / name
    make_checkpoint.make(recipe["family"], checkpoint, 100 * recipe["seed"], recipe.get("changes"))
    config = json.loads((checkpoint / "config.json").read_text())
    size = None
    case = make_goldens.TEXT_CASES[1]
    if name in CASES:
        case = CASES[name]
    elif vision := config.get("vision_config"):
        side = 2 * vision["patch_size"]
        windows = name == "qwen2.5vl"
        case = make_goldens.RAGGED if windows else make_goldens.ONE_IMAGE
        size = {"shortest_edge": 4 * side**2, "longest_edge": (128 if windows else 24) * side**2}
    expected = stages_of(checkpoint, case, size)
    worst = max(error for _, error in compare(expected, stages_of(checkpoint, case, size, rounding)))
    good = worst < TOLERANCE / 5
    print(f"{name:14} {'rounding alone':74} worst {worst:.1e} {'' if good else 'TOO SENSITIVE'}")
    for mistake, change in MISTAKES[name].items():
        errors = compare(expected, stages_of(checkpoint, case, size, change))
        first = next((f"{stage} {error:.1e}" for stage, error in errors if error > TOLERANCE), "none")
        worst = max(error for _, error in errors)
        caught = worst > 2 * TOLERANCE
        good &= caught
        print(f"{name:14} {mistake:32} first {first:34} worst {worst:.1e} {'' if caught else 'NOT CAUGHT'}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MISTAKES)}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        results = [check(name, Path(scratch)) for name in options.names or MISTAKES]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
