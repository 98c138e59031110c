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
import math
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
import transformers

import make_checkpoint
import make_goldens
import mistakes
import mistakes_still
import to_gguf
import trace_hf

TOLERANCE = 1e-4
MISTAKES = mistakes.MISTAKES | mistakes_still.MISTAKES

# Conversations that show the mistakes, of suites for which neither text nor one picture does.
CASES = {
    "qwen2.5vl": [make_goldens.RAGGED],
    "qwen2.5vl-mixed": [make_goldens.RAGGED],
    "gemma3": [make_goldens.SECOND_TURN],
    "gemma3-mixed": make_goldens.GEMMA_CASES[2:3],
    "gemma3-text": make_goldens.GEMMA_CASES[:1],
    "gemma3-layers": make_goldens.GEMMA_CASES[:1],
} | dict.fromkeys(
    ["mistral3", "mistral3-mixed", "pixtral", "llava", "llava-mixed", "llava-next"], [make_goldens.SECOND_TURN]
) | {"llava-next-mixed": [make_goldens.TILES_OF_TWO]} | {name: recipe["cases"] for name, recipe in make_goldens.GOLDEN_SETS.items() if name.endswith("-video")}


def stages_of(checkpoint: Path, case: dict, sizes: dict, change=None) -> dict:
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
        return trace_hf.trace(checkpoint, messages, folder, 0, sizes)[0]


def error(expected: torch.Tensor, got: torch.Tensor | None) -> float:
    """Relative; without bound where tokens, positions or shapes are others."""
    if got is None or got.shape != expected.shape:
        return math.inf
    if not expected.is_floating_point():
        return 0.0 if torch.equal(got, expected) else math.inf
    return float((got - expected).abs().max() / expected.abs().max())


def compare(expected: dict, got: dict) -> list[tuple[str, float]]:
    return [(name, error(value, got.get(name))) for name, value in expected.items()]


def cases_of(name: str, checkpoint: Path) -> list[tuple[dict, dict]]:
    """The conversations that show a suite's mistakes, and the sizes of their pictures and videos."""
    vision = json.loads((checkpoint / "config.json").read_text()).get("vision_config")
    cases = CASES.get(name) or [make_goldens.ONE_IMAGE if vision else make_goldens.TEXT_CASES[1]]
    if not name.startswith("qwen") or not vision:
        return [(case, {}) for case in cases]
    side = 2 * vision["patch_size"]
    found = []
    for case in cases:
        least, most = case.get("tokens", make_goldens.TOKENS)
        sizes = {"image": {"shortest_edge": least * side**2, "longest_edge": most * side**2}}
        if "video_tokens" in case:
            sizes["video"] = make_goldens.video_size(case, checkpoint, side)
        found.append((case, sizes))
    return found


def check(name: str, scratch: Path) -> bool:
    base = make_goldens.GOLDEN_SETS[name].get("like", name)
    recipe = make_goldens.GOLDEN_SETS[base]
    checkpoint = scratch / name
    seed = make_goldens.seed_of(make_goldens.GOLDENS / base)
    make_checkpoint.make(recipe["family"], checkpoint, seed, recipe.get("changes"))
    cases = [(case, sizes, stages_of(checkpoint, case, sizes)) for case, sizes in cases_of(name, checkpoint)]

    def errors_with(change):
        return [
            (f"{stage} of {case['name']}" if len(cases) > 1 else stage, error)
            for case, sizes, expected in cases
            for stage, error in compare(expected, stages_of(checkpoint, case, sizes, change))
        ]

    worst = max(error for _, error in errors_with(mistakes.rounding))
    good = worst < TOLERANCE / 5
    print(f"{name}: rounding alone, worst {worst:.1e} {'' if good else 'TOO SENSITIVE'}")
    for mistake, change in MISTAKES[name].items():
        errors = errors_with(change)
        first = next((f"{stage} {error:.1e}" for stage, error in errors if error > TOLERANCE), "none")
        worst = max(error for _, error in errors)
        caught = worst > 2 * TOLERANCE
        good &= caught
        print(f"  {mistake:36} worst {worst:.1e}  first {first} {'' if caught else 'NOT CAUGHT'}", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MISTAKES)}")
    options = parser.parse_args()
    if missing := set(make_goldens.GOLDEN_SETS) - set(MISTAKES):
        parser.error(f"no mistakes for {', '.join(sorted(missing))}")
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        results = [check(name, Path(scratch)) for name in options.names or MISTAKES]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
