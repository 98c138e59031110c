"""Draws the golden pictures: seeded, small, with edges, gradients and a little noise, so that resampling shows."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# name -> (width, height, seed). The names say why the size was chosen.
PICTURES = {
    "photo": (150, 110, 1),
    "same_size_a": (96, 64, 2),
    "same_size_b": (96, 64, 3),
    "wide": (200, 60, 4),
    "tall": (50, 180, 5),
    "too_small": (40, 40, 6),
    "too_large": (200, 200, 7),
    # 2.5 x 3.5 factors of 32: both sides are ties, which round to even.
    "tie32": (80, 112, 8),
    # 1.5 x 2.5 factors of 28.
    "tie28": (42, 70, 9),
    # 22 x 18 patches of 14: windows of 8 x 8 patches leave ragged edges on both sides.
    "ragged": (308, 252, 10),
    # Long enough for two crops of at least 256 pixels.
    "panorama": (520, 256, 11),
    # As large as two tiles of 42 pixels beside each other.
    "two_tiles": (84, 42, 12),
}


def draw(width: int, height: int, seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    corner = random.uniform(20, 235, size=(4, 3))
    u, v = (xs / max(width - 1, 1))[..., None], (ys / max(height - 1, 1))[..., None]
    ground = (corner[0] * (1 - u) + corner[1] * u) * (1 - v) + (corner[2] * (1 - u) + corner[3] * u) * v
    image = Image.fromarray(np.clip(ground, 0, 255).round().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(7):
        x0, y0 = random.integers(0, width), random.integers(0, height)
        w, h = random.integers(5, max(width // 2, 6)), random.integers(5, max(height // 2, 6))
        colour = tuple(int(c) for c in random.integers(0, 256, size=3))
        box = [int(x0), int(y0), int(x0 + w), int(y0 + h)]
        kind = random.integers(0, 3)
        if kind == 0:
            pen.rectangle(box, fill=colour)
        elif kind == 1:
            pen.ellipse(box, fill=colour)
        else:
            pen.line(box, fill=colour, width=int(random.integers(1, 4)))
    pixels = np.asarray(image).astype(np.int16)
    # Noise in one quarter only: enough to show a wrong filter, and the PNG stays small.
    noise = random.integers(-90, 91, size=(height // 2, width // 2, 3))
    pixels[: height // 2, : width // 2] += noise.astype(np.int16)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# Frames of the golden clip: (width, height, number). Not square; one more than fills whole temporal patches.
CLIP = (90, 50, 5)


def frame(index: int) -> Image.Image:
    """A frame of the clip: a square and a disc that cross a sloping ground, with a little noise in one corner."""
    width, height, _ = CLIP
    ys, xs = np.mgrid[0:height, 0:width]
    ground = np.stack([40 + xs, 60 + 2 * ys, 200 - xs - ys // 2], axis=-1)
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.rectangle([5 + 14 * index, 8, 24 + 14 * index, 27], fill=(220, 30, 40))
    pen.ellipse([62 - 11 * index, 22, 84 - 11 * index, 44], fill=(20, 90, 230))
    pixels = np.asarray(image).astype(np.int16)
    noise = np.random.default_rng(100 + index).integers(-60, 61, size=(height // 2, width // 4, 3))
    pixels[: height // 2, : width // 4] += noise.astype(np.int16)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_all(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(CLIP[2]):
        frame(index).save(folder / f"clip_{index}.png", optimize=True)
    for name, (width, height, seed) in PICTURES.items():
        draw(width, height, seed).save(folder / f"{name}.png", optimize=True)
