#!/usr/bin/env python3
"""Draws growth curves from the JSON of `ocelli bench` as SVG, with nothing but the standard library.

    python tools/bench/plot.py --out docs/performance FILE.json [FILE.json ...]

Writes encode.svg (seconds for a thousand patches against patches), prefill.svg (milliseconds for a token against
prompt tokens) and decode.svg (milliseconds for a step against context), each with one curve a file and, in grey, the
time that the machine's limit asks for. A curve needs two different sizes.
"""

import argparse
import json
import math
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 64, 44, 36, 16
COLOURS = ["#1b6ca8", "#c8553d", "#2e8b57", "#8e5ea2", "#b8860b"]


def encode_points(report: dict) -> tuple[list, list]:
    points, limits = [], []
    for run in report["runs"]:
        stage = run["stages"]["encode"]
        if stage["seconds"]:
            points.append((run["patches"], 1000 * stage["seconds"] / run["patches"]))
            limits.append((run["patches"], points[-1][1] * stage["share_of_limit"]))
    return points, limits


def prefill_points(report: dict) -> tuple[list, list]:
    points, limits = [], []
    for run in report["runs"]:
        stage = run["stages"]["prefill"]
        if stage["seconds"] and not run["image"]:
            points.append((run["prompt_tokens"], 1000 * stage["seconds"] / run["prompt_tokens"]))
            limits.append((run["prompt_tokens"], points[-1][1] * stage["share_of_limit"]))
    return points, limits


def decode_points(report: dict) -> tuple[list, list]:
    points, limits = [], []
    for run in report["runs"]:
        stage = run["stages"]["decode"]
        if stage["seconds"] and run["batch"] == 1:
            context = run["prompt_tokens"] + run["new_tokens"] / 2
            points.append((context, 1000 * stage["seconds"] / (run["new_tokens"] - 1)))
            limits.append((context, points[-1][1] * stage["share_of_limit"]))
    return points, limits


def ticks(most: float) -> list[float]:
    step = 10 ** math.floor(math.log10(most))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if most / s <= 6)
    return [i * step for i in range(int(most / step) + 1)]


def label(value: float) -> str:
    return f"{value:.6g}"


def draw(title: str, across: str, curves: list[tuple[str, list, list]]) -> str:
    """A plot with a logarithmic axis of sizes."""
    everything = [point for _, points, limits in curves for point in points + limits]
    low, high = (f(math.log2(x) for x, _ in everything) for f in (min, max))
    most = 1.1 * max(y for _, y in everything)

    def place(point) -> tuple[float, float]:
        x = LEFT + (math.log2(point[0]) - low) / max(high - low, 1e-9) * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - point[1] / most * (HEIGHT - BOTTOM - TOP)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="14">{title}</text>']
    for value in ticks(most):
        y = place((2 ** low, value))[1]
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label(value)}</text>')
    for size in sorted({x for _, points, _ in curves for x, _ in points}):
        x = place((size, 0))[0]
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{label(size)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{across}</text>')
    for index, (name, points, limits) in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        for run, stroke in ((limits, "#999"), (points, colour)):
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(place, sorted(run)))
            out.append(f'<path d="M{path}" fill="none" stroke="{stroke}" stroke-width="2"/>')
        for x, y in map(place, points):
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT}" y="{20 + 15 * index}" text-anchor="end" fill="{colour}">{name}</text>')
    out.append(f'<text x="{WIDTH - RIGHT}" y="{20 + 15 * len(curves)}" text-anchor="end" fill="#999">at the limit</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("reports", type=Path, nargs="+")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    reports = [json.loads(path.read_text()) for path in args.reports]
    plots = {
        "encode": ("Encoding: seconds for 1000 patches", "patches", encode_points),
        "prefill": ("Prompt: milliseconds for a token", "prompt tokens", prefill_points),
        "decode": ("Decoding: milliseconds for a step", "tokens in the context", decode_points),
    }
    for file, (title, across, points_of) in plots.items():
        curves = []
        for report in reports:
            points, limits = points_of(report)
            if len({x for x, _ in points}) > 1:
                curves.append((f"{report['model']['name']}, {report['machine']['isa']}", points, limits))
        if curves:
            (args.out / f"{file}.svg").write_text(draw(title, across, curves))
            print(args.out / f"{file}.svg")


if __name__ == "__main__":
    main()
