"""Where each part of an answer is seen: spans of the answer's characters with the boxes that they speak of.

Training shows these to two attention heads of the last layers ("look here while you say this"). Found from the answer's text and the
scene, so that question makers need not know of it. Where an answer compares two things, each head looks at one of them.
"""

import re

import numpy as np

from questions import box_1000
from scenes import COLOR_NAMES, SHAPES

ROW = re.compile(r'\{"bbox_2d": \[(\d+), (\d+), (\d+), (\d+)\], "label": "[^"]*"\}')
QUOTED = re.compile(r'"([^"]+)"( in the [a-z]+(?: [a-z]+)?)?')
PHRASE = re.compile(rf'(small|large) ({"|".join(COLOR_NAMES)}) ({"|".join(SHAPES)})(?: in the (?:top|middle|bottom|center)(?: left| middle| right)?)?')
NAMED = re.compile(r"^(?:Yes, |No, )?[Tt]he ([a-z ]+?) is (?!no)(.*)\.$")
RELATED = re.compile(r"^(?:to the left of|to the right of|above|below) the ([a-z ]+)$")
THERE = re.compile(r"^Yes, there is an? ([a-z ]+?)( in the .*)\.$")


def named(scene, name):
    """The one object or text that a phrase like `small red circle` or `word` means, or None."""
    parts = name.split()
    if parts[-1] in ("text", "word", "number"):
        hits = [t for t in scene["texts"] if parts[-1] in ("text", t["kind"])]
    else:
        tests = {**{c: "color" for c in COLOR_NAMES}, **{s: "shape" for s in SHAPES}, "small": "size", "large": "size"}
        hits = [o for o in scene["objects"] if all(o[tests[p]] == p for p in parts if p in tests)]
    return hits[0]["box"] if len(hits) == 1 else None


def letter_box(t, i):
    x0, y0, x1, y1 = t["box"]
    return [t["origin"][0] + t["edges"][i], y0, t["origin"][0] + t["edges"][i + 1], y1]


def spans(scene, answer):
    """List of (first character, end, box for each of the two heads)."""
    out = []
    if answer.startswith("["):
        items = {tuple(box_1000(scene, i)): i["box"] for i in scene["objects"] + scene["texts"]}
        for m in ROW.finditer(answer):
            box = items.get(tuple(int(v) for v in m.groups()))
            if box:
                out.append((m.start(), m.end(), (box, box)))
        return out
    left = list(scene["texts"])
    for m in QUOTED.finditer(answer):
        t = next((t for t in left if t["text"] == m.group(1)), None)
        if t is None:
            continue
        left.remove(t)
        out += [(m.start(1) + i, m.start(1) + i + 1, (letter_box(t, i),) * 2) for i in range(len(t["text"]))]
        if m.group(2):
            out.append((m.start(2), m.end(2), (t["box"],) * 2))
    objects = list(scene["objects"])
    found = list(PHRASE.finditer(answer))
    if answer.startswith(("There is a ", "In the ")):
        for m in found:
            o = next((o for o in objects if (o["size"], o["color"], o["shape"]) == m.groups()), None)
            if o:
                objects.remove(o)
                out.append((m.start(), m.end(), (o["box"],) * 2))
    elif (m := NAMED.match(answer)) and (box := named(scene, m.group(1))):
        other = RELATED.match(m.group(2))
        boxes = (box, (other and named(scene, other.group(1))) or box)
        out.append((m.start(2), m.end(2), boxes))
        if answer.startswith(("Yes", "No")):
            out.append((0, 2, boxes))
    elif (m := THERE.match(answer)) and (box := named(scene, m.group(1))):
        out += [(0, 2, (box, box)), (m.start(2), m.end(2), (box, box))]
    return out


def cells(scene, boxes, lh, lw):
    """Bool `[boxes, cells]`: which 32 x 32 cells each box covers."""
    sx, sy = lw / scene["w"], lh / scene["h"]
    on = np.zeros((len(boxes), lh, lw), bool)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        ox = np.clip(np.minimum(np.arange(lw) + 1, x1 * sx) - np.maximum(np.arange(lw), x0 * sx), 0, 1)
        oy = np.clip(np.minimum(np.arange(lh) + 1, y1 * sy) - np.maximum(np.arange(lh), y0 * sy), 0, 1)
        cover = oy[:, None] * ox[None]
        on[k] = (cover > 0.3) | (cover > 0.25 * (x1 - x0) * sx * (y1 - y0) * sy)
    return on.reshape(len(boxes), -1)
