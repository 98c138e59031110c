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
}


def stages_of(checkpoint: Path, case: dict, size: dict | None, change=None) -> dict:
    messages = case.get("messages") or trace_hf.one_turn(
        case["prompt"], [f"../images/{image}.png" for image in case.get("images", [])]
    )
    folder = make_goldens.GOLDENS / "qwen3vl"

    def load(directory):
        model = to_gguf.load_model(directory)
        if change:
            with torch.no_grad():
                change(model)
        return model

    with mock.patch.object(trace_hf, "load_model", load), contextlib.redirect_stdout(sys.stderr):
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
    if vision := config.get("vision_config"):
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
