"""Pictures as the model sees them, their dense labels, and the stream of training batches."""

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

import scenes
from model import Config

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
torch.set_num_threads(1)


def smart_resize(h, w, c=Config(), f=32):
    """Size of the picture that the model sees: multiples of 32 within the budget of pixels."""
    hb, wb = round(h / f) * f, round(w / f) * f
    if hb * wb > c.max_pixels:
        beta = (h * w / c.max_pixels) ** 0.5
        hb, wb = max(f, int(h / beta / f) * f), max(f, int(w / beta / f) * f)
    elif hb * wb < c.min_pixels:
        beta = (c.min_pixels / (h * w)) ** 0.5
        hb, wb = int(np.ceil(h * beta / f)) * f, int(np.ceil(w * beta / f)) * f
    return hb, wb


def pixels_of(image):
    """RGB image -> resized uint8 tensor `[3, height, width]`, as transformers' processor does it."""
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    h, w = smart_resize(*x.shape[1:])
    if (h, w) == tuple(x.shape[1:]):
        return x.contiguous()
    return TF.resize(x, [h, w], InterpolationMode.BICUBIC, antialias=True)


def labels_of(scene, height, width):
    """Dense labels on the grid of 32 x 32 cells and, in block order, of 16 x 16 patches."""
    lh, lw = height // 32, width // 32
    shape = np.zeros((lh, lw), np.int64)
    color, size = np.full((lh, lw), -100), np.full((lh, lw), -100)
    centre, box, best = np.zeros((lh, lw), np.int64), np.zeros((lh, lw, 4), np.float32), np.zeros((lh, lw))
    sx, sy = lw / scene["w"], lh / scene["h"]
    for item in scene["objects"] + scene["texts"]:
        x0, y0, x1, y1 = item["box"]
        b = [x0 * sx, y0 * sy, x1 * sx, y1 * sy]
        ox = np.clip(np.minimum(np.arange(lw) + 1, b[2]) - np.maximum(np.arange(lw), b[0]), 0, 1)
        oy = np.clip(np.minimum(np.arange(lh) + 1, b[3]) - np.maximum(np.arange(lh), b[1]), 0, 1)
        cover = oy[:, None] * ox[None]
        on = ((cover > 0.15) | (cover > 0.25 * (b[2] - b[0]) * (b[3] - b[1]))) & (cover > best)
        best[on] = cover[on]
        shape[on] = 7 if "text" in item else 1 + scenes.SHAPES.index(item["shape"])
        color[on] = scenes.COLOR_NAMES.index(item["color"]) if item["color"] in scenes.COLOR_NAMES else -100
        size[on] = -100 if "text" in item else int(item["size"] == "large")
        box[on] = [b[0] / lw, b[1] / lh, b[2] / lw, b[3] / lh]
        centre[min(lh - 1, max(0, int((b[1] + b[3]) / 2))), min(lw - 1, max(0, int((b[0] + b[2]) / 2)))] = 1
    gh, gw = lh * 2, lw * 2
    chars, index = np.zeros((gh, gw, 3), np.int64), np.full((gh, gw), -100)
    for t in scene["texts"]:
        y = (t["box"][1] + t["box"][3]) / 2 * gh / scene["h"]
        for i, ch in enumerate(t["text"]):
            x = (t["origin"][0] + (t["edges"][i] + t["edges"][i + 1]) / 2) * gw / scene["w"]
            r, c = min(gh - 1, max(0, int(y))), min(gw - 1, max(0, int(x)))
            slot = int((chars[r, c] > 0).sum())
            if slot < 3:
                chars[r, c, slot] = 1 + CHARACTERS.index(ch)
            if slot == 0:
                index[r, c] = min(i, 11)

    def blocks(a):
        return a.reshape(lh, 2, lw, 2, *a.shape[2:]).swapaxes(1, 2).reshape(gh * gw, *a.shape[2:])

    return {"shape": shape.reshape(-1).astype(np.int8), "color": color.reshape(-1).astype(np.int8), "size": size.reshape(-1).astype(np.int8),
            "centre": centre.reshape(-1).astype(np.int8), "box": box.reshape(-1, 4), "chars": blocks(chars).astype(np.int8),
            "index": blocks(index).astype(np.int8)}


def record(split, index, pseudo=0.15, dense=0.0):
    scene, image = scenes.make(split, index, pseudo, dense)
    x = pixels_of(image)
    return {"scene": scene, "pixels": x.numpy(), "labels": labels_of(scene, x.shape[1], x.shape[2])}


class Stream(torch.utils.data.IterableDataset):
    """Endless batches of training pictures of one grid each; `extra(record, rng)` adds the text side to a record.

    Worker `w` of `n` draws the pictures `first + w`, `first + w + n`, ... of the training set.
    """

    def __init__(self, batch, first, collate, extra=None, pseudo=0.15, dense=0.0):
        self.batch, self.first, self.collate, self.extra, self.pseudo, self.dense = batch, first, collate, extra, pseudo, dense

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        waiting = {}
        index = self.first + worker
        while True:
            row = record("train", index, self.pseudo, self.dense)
            if self.extra:
                self.extra(row, np.random.default_rng([7, index]))
            rows = waiting.setdefault(row["pixels"].shape, [])
            rows.append(row)
            if len(rows) == self.batch:
                yield self.collate(rows)
                waiting[row["pixels"].shape] = []
            index += workers


def collate_vision(rows):
    batch = {"pixels": torch.from_numpy(np.stack([r["pixels"] for r in rows])), "index": torch.zeros(1)}
    for name in rows[0]["labels"]:
        y = torch.from_numpy(np.stack([r["labels"][name] for r in rows]))
        batch["y_" + name] = y if name == "box" else y.long()
    return batch


def whitening(width, count=600):
    """Starting patch embedding `[width, 768]` and bias: the main components of training patches, each scaled to like variance.

    Raw pixels of a patch are nearly one number; from plain noise a tower takes thousands of steps to see outlines at all.
    """
    from model import patchify
    patches = []
    for i in range(count):
        x = patchify(torch.from_numpy(record("train", 20_000_000 + i)["pixels"])[None])[0]
        keep = x.std(1) > 0.02
        patches.append(torch.cat((x[keep], x[~keep][:8])))
    x = torch.cat(patches).double()
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    values, vectors = values.flip(0)[:width], vectors.flip(1)[:, :width]
    w = (vectors / (values + 1e-4 * values[0]).sqrt()).T * 0.5
    return w.float(), -(w @ mean).float()
