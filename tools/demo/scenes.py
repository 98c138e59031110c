"""Scenes of the demo's world: what is in them, and how they are drawn.

A scene is a plain dict (canvas, ground, objects, texts) made by `layout` from a random generator; `render` draws it.
Which set (train, validation, held-out) a scene belongs to follows from a hash of its content, see `split_of`: the three sets
cannot share a scene whatever the seeds are.
"""

import glob
import hashlib
import io
import math
import os
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

SHAPES = ["circle", "square", "triangle", "star", "ring", "cross"]

# Each colour name is the set of mixtures of its anchors, plus a little noise.
COLORS = {
    "red": [(255, 0, 0), (220, 20, 30), (239, 68, 68), (204, 0, 0), (230, 30, 45), (244, 67, 54)],
    "orange": [(255, 165, 0), (255, 128, 0), (249, 115, 22), (255, 140, 0), (243, 146, 40), (255, 152, 0)],
    "yellow": [(255, 255, 0), (250, 220, 20), (255, 235, 59), (240, 210, 30), (255, 225, 50), (234, 200, 8)],
    "green": [(0, 128, 0), (0, 200, 0), (34, 160, 70), (76, 175, 80), (0, 255, 0), (20, 110, 40), (50, 205, 50)],
    "blue": [(0, 0, 255), (30, 90, 220), (59, 130, 246), (33, 110, 230), (20, 40, 170), (30, 144, 255)],
    "purple": [(128, 0, 128), (128, 40, 190), (147, 51, 234), (106, 27, 154), (150, 60, 200), (156, 39, 176)],
    "pink": [(255, 192, 203), (255, 105, 180), (244, 140, 190), (255, 130, 170), (236, 72, 153), (255, 160, 190)],
    "brown": [(139, 69, 19), (150, 75, 0), (121, 85, 72), (101, 67, 33), (165, 42, 42), (140, 90, 50), (120, 60, 20)],
    "black": [(0, 0, 0), (15, 15, 15), (28, 26, 30), (5, 5, 20)],
    "gray": [(128, 128, 128), (150, 150, 150), (110, 112, 116), (160, 163, 168), (100, 100, 100)],
}
COLOR_NAMES = list(COLORS)

# Grounds: (name used in answers, anchor colours, weight).
GROUNDS = [
    ("white", [(255, 255, 255), (250, 250, 250), (253, 252, 248)], 8),
    ("light gray", [(225, 225, 225), (211, 211, 211), (232, 234, 237)], 3),
    ("light blue", [(214, 232, 250), (200, 222, 245), (225, 240, 255)], 2),
    ("light green", [(218, 240, 214), (205, 235, 210), (228, 245, 225)], 2),
    ("light yellow", [(255, 250, 215), (250, 243, 205), (255, 248, 225)], 2),
    ("light pink", [(253, 230, 236), (250, 224, 228), (255, 236, 240)], 1.5),
    ("dark gray", [(60, 60, 64), (45, 45, 48), (70, 70, 72)], 1),
    ("black", [(0, 0, 0), (18, 18, 20), (12, 12, 12)], 1),
    ("dark blue", [(15, 25, 70), (20, 30, 60), (10, 15, 80)], 1),
]

PLACES = [
    ["top left", "top middle", "top right"],
    ["middle left", "center", "middle right"],
    ["bottom left", "bottom middle", "bottom right"],
]

FONT_GLOBS = [
    "dejavu/DejaVuSans.ttf", "dejavu/DejaVuSans-Bold.ttf", "dejavu/DejaVuSansCondensed*.ttf", "dejavu/DejaVuSansMono*.ttf",
    "dejavu/DejaVuSerif*.ttf", "liberation/*.ttf", "freefont/*.ttf", "roboto/unhinted/**/*.ttf", "open-sans/*.ttf", "lato/*.ttf",
    "cantarell/*.otf", "crosextra/*.ttf", "comfortaa/*.ttf", "inconsolata/*.otf", "hack/*.ttf", "firacode/*.ttf", "comic-neue/*.otf",
    "croscore/*.ttf", "linux-libertine/LinLibertine_*.otf", "linux-libertine/LinBiolinum_R*.otf", "quicksand/*.ttf",
    "urw-base35/*.otf",
]
FONT_REFUSED = ["italic", "oblique", "-it.", "hairline", "thin", "d050000l", "symbols", "z003", "_k.", "_i.", "_ri", "_rbi", "_rzi",
                "_mo.", "_mbo", "extralight", "_mb", "demiitalic", "lightitalic", "dingbats"]

SPLIT_SEEDS = {"train": 1, "validation": 2, "heldout": 3}


@lru_cache
def fonts():
    """Upright font files found on this machine, sorted."""
    found = []
    for root in ("/usr/share/fonts/truetype", "/usr/share/fonts/opentype"):
        for pattern in FONT_GLOBS:
            found += glob.glob(os.path.join(root, pattern), recursive=True)
    keep = [f for f in found if not any(r in os.path.basename(f).lower() for r in FONT_REFUSED)
            and not os.path.basename(f).endswith(("Italic.ttf", "Italic.otf"))]
    if not keep:
        raise SystemExit("no fonts found: install those that tools/demo/README.md names")
    return sorted(set(keep))


@lru_cache(maxsize=4096)
def font(path, size):
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache
def words():
    with open(os.path.join(os.path.dirname(__file__), "words.txt")) as f:
        return f.read().split()


# ---------------------------------------------------------------- layout


def mix(rng, anchors, noise=6):
    a, b = (np.array(anchors[rng.integers(len(anchors))], float) for _ in range(2))
    c = a + (b - a) * rng.random() * 0.5 + rng.normal(0, noise / 2, 3)
    return tuple(int(v) for v in np.clip(np.round(c), 0, 255))


def contrast(a, b):
    """Rough perceptual distance of two RGB colours, 0 to about 765."""
    r = (a[0] + b[0]) / 2
    d = [(x - y) ** 2 for x, y in zip(a, b)]
    return math.sqrt((2 + r / 256) * d[0] + 4 * d[1] + (2 + (255 - r) / 256) * d[2])


COMMON_CANVASES = [(640, 480), (512, 512), (800, 600), (256, 256), (320, 240), (400, 300), (600, 400), (480, 640), (1024, 768),
                   (1024, 1024), (640, 360), (300, 300), (400, 400), (500, 500), (600, 600), (800, 450), (224, 224), (1000, 600)]


def canvas(rng):
    u = rng.random()
    if u < 0.35:
        return COMMON_CANVASES[rng.integers(len(COMMON_CANVASES))]
    while True:
        area_side = math.exp(rng.uniform(math.log(140), math.log(900)))
        limit = 1.0 if u > 0.96 else 0.35
        aspect = math.exp(rng.uniform(-1, 1) * 2 * limit)
        w, h = round(area_side * math.sqrt(aspect)), round(area_side / math.sqrt(aspect))
        if 128 <= w <= 1024 and 128 <= h <= 1024:
            return w, h


def unit_polygon(obj):
    """Outline of a polygonal shape as points around (0, 0) before scaling by the radius."""
    kind, rot, p = obj["shape"], obj["rotation"], obj["detail"]
    if kind == "square":
        pts = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        pts = [(x * 0.886, y * 0.886) for x, y in pts]
    elif kind == "triangle":
        half = 0.6 + 0.75 * p
        pts = [(0, -1), (half, 0.75), (-half, 0.75)]
    elif kind == "star":
        n, inner = obj["points"], 0.36 + 0.16 * p
        pts = []
        for i in range(2 * n):
            radius = 1 if i % 2 == 0 else inner
            a = -math.pi / 2 + math.pi * i / n
            pts.append((radius * math.cos(a), radius * math.sin(a)))
    else:  # cross
        t = 0.2 + 0.24 * p
        pts = [(-t, -1), (t, -1), (t, -t), (1, -t), (1, t), (t, t), (t, 1), (-t, 1), (-t, t), (-1, t), (-1, -t), (-t, -t)]
    c, s = math.cos(rot), math.sin(rot)
    return [(x * c - y * s, x * s + y * c) for x, y in pts]


def tight_box(obj):
    r, cx, cy = obj["radius"], obj["cx"], obj["cy"]
    if obj["shape"] in ("circle", "ring"):
        return [cx - r, cy - r, cx + r, cy + r]
    pts = unit_polygon(obj)
    xs, ys = [x for x, _ in pts], [y for _, y in pts]
    return [cx + r * min(xs), cy + r * min(ys), cx + r * max(xs), cy + r * max(ys)]


def rotation(rng, shape):
    u = rng.random()
    if shape == "square":
        return 0.0 if u < 0.75 else (rng.uniform(-0.2, 0.2) if u < 0.92 else math.pi / 4)
    if shape == "triangle":
        return 0.0 if u < 0.7 else (math.pi if u < 0.78 else rng.uniform(-0.5, 0.5) if u < 0.92 else rng.uniform(0, 6.28))
    if shape == "star":
        return 0.0 if u < 0.65 else rng.uniform(-0.6, 0.6)
    if shape == "cross":
        return 0.0 if u < 0.72 else (math.pi / 4 if u < 0.86 else rng.uniform(-0.25, 0.25))
    return 0.0


def overlaps(a, b, gap):
    return a[0] - gap < b[2] and b[0] - gap < a[2] and a[1] - gap < b[3] and b[1] - gap < a[3]


def place_of(box, w, h):
    cx, cy = (box[0] + box[2]) / 2 / w, (box[1] + box[3]) / 2 / h
    return PLACES[min(2, int(cy * 3))][min(2, int(cx * 3))]


def place_margin(box, w, h):
    """Distance of the centre from the lines of the 3 x 3 places, as a part of the canvas."""
    cx, cy = (box[0] + box[2]) / 2 / w, (box[1] + box[3]) / 2 / h
    return min(abs(cx - 1 / 3), abs(cx - 2 / 3), abs(cy - 1 / 3), abs(cy - 2 / 3))


def make_object(rng, w, h, shape, color, size, ground_rgb):
    side = min(w, h)
    lo, hi = (0.085, 0.19) if size == "small" else (0.27, 0.48)
    extent = side * math.exp(rng.uniform(math.log(lo), math.log(hi)))
    obj = {"shape": shape, "color": color, "size": size, "rotation": float(rotation(rng, shape)), "detail": float(rng.random()),
           "points": 5 if rng.random() < 0.9 else int(rng.choice([4, 6])), "inner": float(rng.uniform(0.42, 0.76)), "radius": 1.0, "cx": 0.0, "cy": 0.0}
    box = tight_box(obj)
    obj["radius"] = extent / max(box[2] - box[0], box[3] - box[1])
    for _ in range(30):
        rgb = mix(rng, COLORS[color])
        if contrast(rgb, ground_rgb) > 110:
            obj["rgb"] = rgb
            break
    else:
        return None
    obj["outline"] = None
    u = rng.random()
    if u < 0.3:
        choices = [(0, 0, 0), (255, 255, 255), tuple(int(v * 0.55) for v in rgb), tuple(int(v + (255 - v) * 0.5) for v in rgb), (40, 40, 40)]
        thickest = 0.1 if shape in ("circle", "square") else 0.06
        obj["outline"] = {"rgb": choices[rng.integers(len(choices))], "width": float(obj["radius"] * rng.uniform(0.03, thickest))}
    obj["shade"] = float(rng.uniform(-0.25, 0.25)) if rng.random() < 0.12 else 0.0
    obj["shadow"] = bool(rng.random() < 0.05)
    return obj


def put(rng, box_at, w, h, taken, gap, margin):
    """A free place for a box of the given size: its top left corner, or None."""
    bw, bh = box_at
    if bw > w - 2 * margin or bh > h - 2 * margin:
        return None
    for _ in range(40):
        x, y = rng.uniform(margin, w - margin - bw), rng.uniform(margin, h - margin - bh)
        box = [x, y, x + bw, y + bh]
        if not any(overlaps(box, t, gap) for t in taken):
            return box
    return None


def pseudo_word(rng):
    cons, vows = "bcdfghjklmnprstvwxyz", "aeiou"
    n = int(rng.integers(3, 9))
    if rng.random() < 0.35:
        return "".join(chr(97 + rng.integers(26)) for _ in range(n))
    start = rng.integers(2)
    return "".join((cons if (i + start) % 2 else vows)[rng.integers(20 if (i + start) % 2 else 5)] for i in range(n))


def text_string(rng, pseudo):
    if rng.random() < 0.3:
        digits = int(rng.integers(1, 5))
        low = 0 if digits == 1 else 10 ** (digits - 1)
        return "number", str(int(rng.integers(low, 10 ** digits)))
    word = words()[rng.integers(len(words()))]
    if rng.random() < pseudo:
        word = pseudo_word(rng)
    u = rng.random()
    return "word", word.upper() if u < 0.45 else (word.capitalize() if u < 0.7 else word)


def text_rgb(rng, ground_rgb):
    """Colour of a text and its name ("white" is a name only here)."""
    dark = sum(ground_rgb) <= 380
    for _ in range(30):
        if rng.random() < 0.55:
            name, rgb = ("white", (255, 255, 255)) if dark else ("black", (0, 0, 0))
            rgb = tuple(int(np.clip(v + rng.normal(0, 12), 0, 255)) for v in rgb)
        else:
            name = COLOR_NAMES[rng.integers(10)]
            rgb = mix(rng, COLORS[name])
        if contrast(rgb, ground_rgb) > 230:
            return name, rgb
    return ("white", (255, 255, 255)) if dark else ("black", (0, 0, 0))


def make_text(rng, w, h, ground_rgb, pseudo):
    """A word or number; its font size follows the picture after the model's own resize, see docs/demo.md."""
    kind, string = text_string(rng, pseudo)
    scale = math.sqrt(58 * 1024 / (w * h))  # approximate resize factor to the image budget
    path = fonts()[rng.integers(len(fonts()))]
    size = math.exp(rng.uniform(math.log(18), math.log(64))) / scale
    size = max(11, round(size))
    f = font(path, size)
    widest = 0.9 * w
    if f.getlength(string) > widest:
        size = int(size * widest / f.getlength(string))
        if size < 11 or size * scale < 16:
            return None
        f = font(path, size)
    x0, y0, x1, y1 = f.getbbox(string, anchor="ls")
    edges = [f.getlength(string[:i]) for i in range(len(string) + 1)]
    color, rgb = text_rgb(rng, ground_rgb)
    return {"kind": kind, "text": string, "font": path, "font_size": size, "color": color, "rgb": rgb, "extent": [x0, y0, x1, y1],
            "edges": [float(e) for e in edges], "smooth": bool(size < 20 or rng.random() < 0.93)}


def layout(rng, pseudo=0.15, dense=0.0):
    """One scene as a plain dict; nothing is drawn yet. With chance `dense` it holds many texts (for training the eyes only)."""
    w, h = canvas(rng)
    weights = np.array([g[2] for g in GROUNDS], float)
    ground_name, anchors, _ = GROUNDS[rng.choice(len(GROUNDS), p=weights / weights.sum())]
    ground_rgb = mix(rng, anchors, 3)
    texture = str(rng.choice(["plain", "noise", "gradient", "stripes", "grid", "dots", "paper"], p=[0.6, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]))
    scene = {"w": int(w), "h": int(h), "ground": {"name": ground_name, "rgb": ground_rgb, "texture": texture}, "objects": [], "texts": []}
    side = min(w, h)
    gap, margin = side * rng.uniform(0.008, 0.06), side * rng.uniform(0.0, 0.06)
    u = rng.random()
    n_texts = 0 if u < 0.3 else (1 if u < 0.82 else 2)
    n_objects = int(rng.choice([0, 1, 2, 3, 4, 5, 6], p=[0.04, 0.14, 0.19, 0.2, 0.18, 0.14, 0.11]))
    if n_objects == 0 and rng.random() < 0.85:
        n_texts = max(1, n_texts)
    if dense and rng.random() < dense:
        n_texts, n_objects = int(rng.integers(3, 8)), min(n_objects, 2)
    taken = []
    for _ in range(n_texts):
        text = make_text(rng, w, h, ground_rgb, pseudo)
        if text is None:
            continue
        x0, y0, x1, y1 = text["extent"]
        box = put(rng, (x1 - x0, y1 - y0), w, h, taken, gap, max(margin, 2))
        if box:
            text["box"], text["origin"] = [float(v) for v in box], [float(box[0] - x0), float(box[1] - y0)]
            scene["texts"].append(text)
            taken.append(box)
    shape = color = None
    alike = rng.random()
    for _ in range(n_objects):
        if shape is None or rng.random() > (0.7 if alike < 0.12 else 0.12):
            shape = SHAPES[rng.integers(6)]
        if color is None or rng.random() > (0.7 if 0.08 < alike < 0.2 else 0.12):
            color = COLOR_NAMES[rng.integers(10)]
        size = "small" if rng.random() < 0.5 else "large"
        for attempt in (size, "small"):
            obj = make_object(rng, w, h, shape, color, attempt, ground_rgb)
            if obj is None:
                break
            b = tight_box(obj)
            box = put(rng, (b[2] - b[0], b[3] - b[1]), w, h, taken, gap, margin)
            if box:
                obj["cx"], obj["cy"] = float(box[0] - b[0]), float(box[1] - b[1])
                obj["box"] = [float(v) for v in box]
                scene["objects"].append(obj)
                taken.append(box)
                break
    scene["objects"].sort(key=lambda o: reading_order(o["box"], w, h))
    scene["texts"].sort(key=lambda o: reading_order(o["box"], w, h))
    return scene


def reading_order(box, w, h):
    cx, cy = (box[0] + box[2]) / 2 / w, (box[1] + box[3]) / 2 / h
    return min(2, int(cy * 3)), cx


# ---------------------------------------------------------------- drawing


def shape_mask(obj, size, origin, ss, shrink=0.0):
    """Coverage (mode L) of an object in a window of `size` pixels whose top left is `origin`, drawn `ss` times larger."""
    mask = Image.new("L", (size[0] * ss, size[1] * ss), 0)
    d = ImageDraw.Draw(mask)
    cx, cy = (obj["cx"] - origin[0]) * ss, (obj["cy"] - origin[1]) * ss
    r = (obj["radius"] - shrink) * ss
    if obj["shape"] in ("circle", "ring"):
        d.ellipse([cx - r, cy - r, cx + r - 1, cy + r - 1], fill=255)
        if obj["shape"] == "ring":
            i = (obj["radius"] * obj["inner"] + shrink) * ss
            d.ellipse([cx - i, cy - i, cx + i - 1, cy + i - 1], fill=0)
    else:
        d.polygon([(cx + x * obj["radius"] * ss, cy + y * obj["radius"] * ss) for x, y in unit_polygon(obj)], fill=255)
        width = int(round(2 * shrink * ss))
        if width > 0:
            pts = [(cx + x * obj["radius"] * ss, cy + y * obj["radius"] * ss) for x, y in unit_polygon(obj)]
            d.line(pts + pts[:2], fill=0, width=width, joint="curve")
    return mask.resize(size, Image.Resampling.BOX) if ss > 1 else mask


def draw_object(image, obj, ss):
    x0, y0 = math.floor(obj["box"][0]) - 2, math.floor(obj["box"][1]) - 2
    size = (math.ceil(obj["box"][2]) + 3 - x0, math.ceil(obj["box"][3]) + 3 - y0)
    mask = shape_mask(obj, size, (x0, y0), ss)
    if obj["shadow"]:
        soft = mask.filter(ImageFilter.GaussianBlur(max(1, obj["radius"] * 0.05))).point(lambda v: v // 3)
        offset = int(max(1, obj["radius"] * 0.06))
        image.paste((60, 60, 60), (x0 + offset, y0 + offset), soft)
    fill = Image.new("RGB", size, obj["rgb"])
    if obj["shade"]:
        ramp = Image.linear_gradient("L").resize(size).point(lambda v: int(v * abs(obj["shade"])))
        tint = Image.new("RGB", size, (255, 255, 255) if obj["shade"] > 0 else (0, 0, 0))
        fill = Image.composite(tint, fill, ramp)
    if obj["outline"]:
        inner = shape_mask(obj, size, (x0, y0), ss, shrink=obj["outline"]["width"])
        image.paste(obj["outline"]["rgb"], (x0, y0), mask)
        image.paste(fill, (x0, y0), ImageChops.darker(mask, inner))
    else:
        image.paste(fill, (x0, y0), mask)


def draw_ground(scene, rng):
    w, h, g = scene["w"], scene["h"], scene["ground"]
    rgb, texture = np.array(g["rgb"], np.float32), g["texture"]
    image = Image.new("RGB", (w, h), g["rgb"])
    dark = rgb.sum() < 380
    if texture in ("noise", "paper"):
        cell = 1 if texture == "noise" else int(rng.integers(4, 24))
        small = rng.normal(0, rng.uniform(2, 9), (h // cell + 2, w // cell + 2)).astype(np.float32)
        if cell > 1:
            small = np.asarray(Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC))
        field = rgb + small[:h, :w, None]
        image = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
    elif texture == "gradient":
        other = rgb + rng.uniform(-26, 26)
        a = rng.uniform(0, 6.28)
        y, x = np.linspace(-0.5, 0.5, h)[:, None], np.linspace(-0.5, 0.5, w)[None]
        t = (x * math.cos(a) + y * math.sin(a) + 0.7) / 1.4
        image = Image.fromarray(np.clip(rgb + (other - rgb) * t[..., None], 0, 255).astype(np.uint8))
    elif texture != "plain":
        d = ImageDraw.Draw(image)
        delta = rng.uniform(6, 18) * (1 if dark else -1)
        line = tuple(int(np.clip(v + delta, 0, 255)) for v in rgb)
        step = max(6, int(min(w, h) * rng.uniform(0.03, 0.15)))
        thick = max(1, int(step * rng.uniform(0.05, 0.2)))
        if texture == "dots":
            for y in range(step // 2, h, step):
                for x in range(step // 2, w, step):
                    d.ellipse([x, y, x + thick, y + thick], fill=line)
        else:
            for x in range(0, w, step):
                d.line([x, 0, x, h], fill=line, width=thick)
            if texture == "grid":
                for y in range(0, h, step):
                    d.line([0, y, w, y], fill=line, width=thick)
    return image


def render(scene, rng):
    """Draws a scene: RGB image, as decoded from a PNG or JPEG file."""
    image = draw_ground(scene, rng)
    ss = int(rng.choice([1, 2, 3, 4], p=[0.12, 0.25, 0.2, 0.43]))
    for obj in scene["objects"]:
        draw_object(image, obj, ss)
    d = ImageDraw.Draw(image)
    for text in scene["texts"]:
        d.fontmode = "L" if text["smooth"] else "1"
        d.text(text["origin"], text["text"], fill=text["rgb"], font=font(text["font"], text["font_size"]), anchor="ls")
    if rng.random() < 0.06:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.0015 * min(image.size) + 0.4)))
    if rng.random() < 0.08:
        noise = rng.normal(0, rng.uniform(1, 6), (scene["h"], scene["w"], 1))
        image = Image.fromarray(np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(40, 97)), subsampling=int(rng.integers(0, 3)))
        image = Image.open(buffer).convert("RGB")
    return image


# ---------------------------------------------------------------- sets


def signature(scene):
    """What makes two scenes the same: canvas, objects and texts with their rounded places."""
    parts = [scene["w"], scene["h"]]
    for o in scene["objects"]:
        parts += [o["shape"], o["color"], o["size"]] + [round(v) for v in o["box"]]
    for t in scene["texts"]:
        parts += [t["text"]] + [round(v) for v in t["box"]]
    return "|".join(map(str, parts))


def split_of(scene):
    """The set that a scene belongs to, from its content alone: 1/16 validation, 1/16 held-out, the rest training."""
    n = hashlib.sha256(signature(scene).encode()).digest()[0] % 16
    return {0: "validation", 1: "heldout"}.get(n, "train")


def make_scene(split, index, pseudo=0.15, dense=0.0):
    """Scene number `index` of a set and the generator that goes on to draw it."""
    rng = np.random.default_rng([SPLIT_SEEDS[split], index])
    while True:
        scene = layout(rng, pseudo, dense)
        if split_of(scene) == split:
            return scene, rng


def make(split, index, pseudo=0.15, dense=0.0):
    scene, rng = make_scene(split, index, pseudo, dense)
    return scene, render(scene, rng)
