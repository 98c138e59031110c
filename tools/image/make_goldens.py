"""Makes the golden files of crates/ocelli-image/tests/goldens with the reference libraries.

    python tools/image/make_goldens.py

Needs torch, torchvision, transformers, Pillow and the ffmpeg command (versions: see versions.json among the goldens,
which every run rewrites). All pictures are drawn here from fixed seeds. The Rust tests read
what lies in git and need no Python.
"""

import io
import json
import random
import subprocess
from pathlib import Path

import numpy
import PIL
import torch
import torchvision
import transformers
from PIL import Image, ImageOps
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv
from transformers import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

import formats

GOLDENS = Path(__file__).resolve().parents[2] / "crates" / "ocelli-image" / "tests" / "goldens"
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


def noise(width, height, seed):
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), numpy.uint8)


def photo(width, height, seed):
    """Smooth ground, hard edges and a little grain, like a photograph."""
    random_numbers = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.float64)
    picture = numpy.empty((height, width, 3))
    for channel in range(3):
        a, b, c = random_numbers.uniform(0.02, 0.09, 3)
        picture[..., channel] = 128 + 70 * numpy.sin(a * x + channel) * numpy.cos(b * y) + 30 * numpy.sin(c * (x + y))
    for _ in range(6):
        cx, cy = random_numbers.uniform(0, width), random_numbers.uniform(0, height)
        r = random_numbers.uniform(4, max(5, 0.3 * height))
        picture[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = random_numbers.uniform(0, 255, 3)
    picture += random_numbers.normal(0, 2, picture.shape)
    return numpy.clip(picture, 0, 255).astype(numpy.uint8)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def write(name, data):
    path = GOLDENS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_json(name, value):
    lines = ",\n".join(json.dumps(entry) for entry in value) if isinstance(value, list) else json.dumps(value, indent=1)
    write(name, (f"[\n{lines}\n]\n" if isinstance(value, list) else lines + "\n").encode())


def png(picture):
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return out.getvalue()


def sizes():
    """smart_resize for random sizes under the budgets that model files ship, and ties on purpose."""
    rng = random.Random(7)
    cases = [(640, 480), (1280, 720), (1920, 1080), (4032, 3024), (42, 70), (224, 224), (300, 200), (1, 1), (1, 2)]
    cases += [(10, 10), (10, 1000), (1, 200), (200, 1), (1, 201), (1000000, 1), (52800, 44), (13, 27), (16384, 16384)]
    cases += [(rng.randint(1, 64), rng.randint(1, 64)) for _ in range(40)]
    cases += [(int(10 ** rng.uniform(1, 4)), int(10 ** rng.uniform(1, 4))) for _ in range(120)]
    cases += [(14 * rng.randint(1, 90), 16 * rng.randint(1, 90)) for _ in range(60)]
    budgets = [(28, 4 * 28**2, 16384 * 28**2), (32, 64 * 32**2, 16384 * 32**2), (28, 4 * 28**2, 1280 * 28**2)]
    budgets += [(32, 4 * 32**2, 256 * 32**2), (32, 256 * 32**2, 4096 * 32**2)]
    table = []
    for factor, least, most in budgets:
        for width, height in cases:
            try:
                h, w = smart_resize(height, width, factor, least, most)
            except ValueError:
                h, w = 0, 0
            table.append([width, height, factor, least, most, int(w), int(h)])
    write_json("sizes.json", table)


def resizes():
    sources = {"noise": noise(97, 61, 1), "photo": photo(160, 120, 2)}
    targets = {
        "noise": [(130, 90), (40, 33), (130, 25), (31, 100), (97, 64), (64, 61), (2, 3), (203, 7)],
        "photo": [(196, 140), (112, 84), (224, 56), (28, 224), (160, 28), (56, 120)],
    }
    filters = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
    cases = []
    for name, picture in sources.items():
        write(f"resize/{name}.png", png(picture))
        tensor = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
        for kind, mode in filters.items():
            for width, height in targets[name] if kind == "bicubic" else targets[name][:4]:
                result = tv.resize(tensor[None], [height, width], interpolation=mode, antialias=True)[0]
                target = f"resize/{name}_{kind}_{width}x{height}.png"
                write(target, png(result.permute(1, 2, 0).contiguous().numpy()))
                size = {"width": width, "height": height}
                cases.append({"source": f"resize/{name}.png", "filter": kind, **size, "expected": target})
    # One real-size case, by hash only: many threads and full bands take part.
    for width, height, to in [(1531, 1021, (1288, 868)), (701, 1203, (1024, 704))]:
        y, x, c = numpy.meshgrid(numpy.arange(height), numpy.arange(width), numpy.arange(3), indexing="ij")
        picture = ((x * 7 + y * 13 + c * 101 + (x * y) % 251 + (x // 9) * (y // 11)) % 256).astype(numpy.uint8)
        tensor = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
        result = tv.resize(tensor[None], [to[1], to[0]], interpolation=InterpolationMode.BICUBIC, antialias=True)[0]
        data = result.permute(1, 2, 0).contiguous().numpy().tobytes()
        size = {"width": to[0], "height": to[1]}
        cases.append({"formula": [width, height], "filter": "bicubic", **size, "fnv1a": fnv1a(data)})
    write_json("resize/cases.json", cases)


def pixel_values():
    """The whole way of the image processor, from pixels to rows."""
    families = [("qwen2", 14, CLIP, 3136, 12845056), ("qwen3", 16, HALF, 65536, 16777216)]
    pictures = {"photo": photo(160, 120, 2), "noise": noise(97, 61, 1)}
    cases = []
    for family, patch, (mean, std), least, most in families:
        processor = Qwen2VLImageProcessor(
            patch_size=patch, temporal_patch_size=2, merge_size=2, image_mean=mean, image_std=std,
            size={"shortest_edge": least, "longest_edge": most},
        )
        for name, picture in pictures.items():
            out = processor(images=[Image.fromarray(picture)], return_tensors="pt")
            values = out["pixel_values"].contiguous().numpy()
            assert values.dtype == numpy.float32
            places = numpy.random.default_rng(3).integers(0, values.size, 48)
            cases.append({
                "family": family, "source": f"resize/{name}.png", "patch_size": patch, "mean": mean, "std": std,
                "min_pixels": least, "max_pixels": most, "grid": out["image_grid_thw"][0].tolist(), "shape": list(values.shape),
                "fnv1a": fnv1a(values.tobytes()),
                "samples": [[int(i), int(values.reshape(-1)[i].view(numpy.uint32))] for i in places],
            })
    write_json("pixel_values.json", cases)


def decoded(data):
    """What the reference would show: upright, opacity on white, 8 bits."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        ground.alpha_composite(picture.convert("RGBA"))
        picture = ground
    return numpy.asarray(picture.convert("RGB"))


def decodes():
    cases = []
    for case in formats.files(photo, noise):
        write(f"decode/{case['file']}", case.pop("data_bytes"))
        data = (GOLDENS / "decode" / case["file"]).read_bytes()
        expected = case.pop("expected_pixels", None)
        expected = decoded(data) if expected is None else expected
        case["expected"] = f"{case['file']}.expected.png"
        write(f"decode/{case['expected']}", png(expected))
        cases.append(case)
    write_json("decode/cases.json", cases)


def sampling():
    """Which frames the reference looks at. Where its own list is longer than it says, or runs past the end, no case."""
    from transformers import Qwen2VLVideoProcessor, Qwen3VLVideoProcessor
    from transformers.video_utils import VideoMetadata

    rng = random.Random(6)
    pairs, volume, table = Qwen2VLVideoProcessor(), Qwen3VLVideoProcessor(), []
    totals = [2, 3, 4, 5, 7, 8, 9, 48, 49] + [rng.randint(10, 400) for _ in range(30)]
    totals += [rng.randint(3000, 90000) for _ in range(3)]
    for total in totals:
        fps, wanted = rng.choice([10, 24, 25, 29.97, 60]), rng.choice([0.5, 1, 2, 2, 4])
        metadata = lambda: VideoMetadata(total_num_frames=total, fps=fps)
        first = pairs.sample_frames(metadata(), fps=wanted, max_frames=768).tolist()
        if len(first) % 2 == 0 and first[-1] < total:
            table.append(["frames", total, fps, wanted, first])
        table.append(["volume", total, fps, wanted, volume.sample_frames(metadata(), fps=wanted).tolist()])
    write_json("video_sampling.json", table)


def video_sizes():
    """At which size the reference shows videos of so many frames: rule, frames, source, least and most tokens. Without
    a least number the published settings of Qwen3-VL's processor hold (`shortest_edge` 4096, `longest_edge` 25165824)."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as volume_resize

    rng = random.Random(7)
    table = []
    for frames in (2, 3, 4, 5, 6, 7, 30, 31, 120):
        for _ in range(12):
            width, height = rng.randint(12, 2000), rng.randint(12, 2000)
            least, most = rng.choice([(1, 900), (30, 90), (120, 12285)])
            pairs = (frames + 1) // 2
            if least % pairs == 0:
                low, total = least * 28**2 // pairs, int(most * 10 // 9 * 28**2 * 0.9)
                high = max(min(768 * 28**2, total * 2 // frames), int(low * 1.05))
                h, w = smart_resize(height, width, 28, low, high)
                table.append(["frames", 28, frames, width, height, least, most, int(w), int(h)])
            volumes = dict(min_pixels=2 * least * 32**2, max_pixels=2 * most * 32**2)
            h, w = volume_resize(frames, height, width, 2, 32, **volumes)
            table.append(["volume", 32, frames, width, height, least, most, int(w), int(h)])
    for frames in (2, 3, 4, 5, 768):
        for width, height in [(1, 1), (32, 32), (20, 30), (40, 47), (48, 48), (49, 33), (70, 32), (100, 1), (1920, 1080)]:
            h, w = volume_resize(frames, height, width, 2, 32, 4096, 25165824)
            table.append(["volume", 32, frames, width, height, None, 12288, int(w), int(h)])
    write_json("video_sizes.json", table)


def animations():
    """Animated files and, below each other in one picture, their frames as Pillow shows them, on white."""
    def scene(index, mode, veil=120):
        picture = Image.new(mode, (26, 18), (0, 0, 0, 0) if mode == "RGBA" else (250, 240, 30))
        alpha = () if mode == "RGB" else (255,)
        for x in range(10):
            for y in range(7):
                picture.putpixel((x + 4 * index, y + 2 * index), (40 * index, 200 - 9 * x, 30 * y) + alpha)
                if mode == "RGBA":
                    picture.putpixel((20 - 5 * index + x // 2, 16 - y), (250, 20 * x, 90, veil if index % 2 else 255))
        return picture

    opaque, clear = [scene(i, "RGB") for i in range(4)], [scene(i, "RGBA") for i in range(4)]
    # Pillow mixes half-transparent frames of an APNG in a way of its own: no such pixels there.
    solid = [scene(i, "RGBA", 255) for i in range(4)]
    uneven = [40, 200, 70, 500]
    recipes = {
        "opaque.gif": (opaque, dict(duration=uneven)),
        "kept.gif": (clear, dict(duration=100, disposal=1)),
        "cleared.gif": (clear, dict(duration=100, disposal=2)),
        "restored.gif": (clear, dict(duration=[0, 100, 100, 10], disposal=[1, 3, 3, 1])),
        "opaque.webp": (opaque, dict(duration=uneven, lossless=True)),
        "clear.webp": (clear, dict(duration=80, lossless=True, exact=True)),
        "opaque.png": (opaque, dict(duration=uneven)),
        "blended.png": (solid, dict(duration=100, disposal=[0, 2, 1, 0], blend=[0, 1, 1, 1])),
        "poster.png": (opaque, dict(duration=100, default_image=True, append_images=opaque[1:])),
    }
    cases = []
    for name, (frames, options) in recipes.items():
        data = io.BytesIO()
        kind = {"gif": "GIF", "webp": "WEBP", "png": "PNG"}[name.split(".")[1]]
        frames[0].save(data, kind, save_all=True, **({"append_images": frames[1:]} | options))
        write(f"animation/{name}", data.getvalue())
        opened = Image.open(io.BytesIO(data.getvalue()))
        first = 1 if options.get("default_image") else 0
        shown, delays = [], []
        for index in range(first, opened.n_frames):
            opened.seek(index)
            opened.load()
            delays.append(float(opened.info["duration"]))
            frame = opened.convert("RGBA")
            shown.append(Image.alpha_composite(Image.new("RGBA", frame.size, (255,) * 4), frame).convert("RGB"))
        if name == "blended.png":
            shown = shown_by_ffmpeg(GOLDENS / "animation" / name, shown[0].size)
        sheet = Image.new("RGB", (shown[0].width, shown[0].height * len(shown)))
        for index, frame in enumerate(shown):
            sheet.paste(frame, (0, index * frame.height))
        write(f"animation/{name}.expected.png", png(numpy.asarray(sheet)))
        delays = [100.0 if delay <= 10 else delay for delay in delays]
        cases.append({"file": name, "frames": len(shown), "delays_ms": delays})
    write_json("animation/cases.json", cases)


def shown_by_ffmpeg(path, size):
    """Frames on white, as FFmpeg composes them: Pillow does not take frames of an APNG back as the format says."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgba", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    frames = numpy.frombuffer(data, numpy.uint8).reshape(-1, size[1], size[0], 4)
    return [Image.alpha_composite(Image.new("RGBA", size, (255,) * 4), Image.fromarray(frame)).convert("RGB")
            for frame in frames]


def main():
    sizes()
    resizes()
    pixel_values()
    decodes()
    sampling()
    video_sizes()
    animations()
    modules = [numpy, PIL, torch, torchvision, transformers]
    versions = {module.__name__: module.__version__ for module in modules}
    write_json("versions.json", {"command": "python tools/image/make_goldens.py", **versions})


if __name__ == "__main__":
    main()
