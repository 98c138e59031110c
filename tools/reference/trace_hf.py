#!/usr/bin/env python3
"""Writes every stage of a Hugging Face run as a safetensors file that `ocelli verify --reference` reads.

    trace_hf.py --model DIR [--image F]... --prompt TEXT [--decode N] --out T.safetensors
    trace_hf.py --model DIR --messages FILE [--decode N] --out T.safetensors

DIR is a local checkpoint of Qwen2-VL, Qwen2.5-VL, Qwen3-VL (dense or MoE), Mistral 3, Pixtral-12B, LLaVA-1.5, LLaVA-1.6,
Gemma 3, or of a text-only Qwen2, Qwen3, Llama or Gemma 3.
FILE is an OpenAI message list (JSON) whose images are paths, relative to FILE, or data URLs; a video is a part
{"type": "video", "video": [paths of its frames], "fps": frames a second}. With --prompt the conversation is one user
turn, images first. Runs in float32 on the CPU with eager attention, so give it memory:
four bytes for each parameter.

Stages, as `ocelli trace` names them (i: image, n: layer, k: place in a list):
image.{i}.pixels, image.{i}.grid, vision.{i}.patch_embed, vision.{i}.layer.{n}, vision.{i}.output,
vision.{i}.deepstack.{k}, prompt.tokens, prompt.positions, text.layer.{n}, logits, decode.{k}.logits, decode.tokens.
Of a picture of LLaVA-1.6 with its tiles, all squares below each other, the whole picture first.
Of videos: video.{i}.pixels, video.{i}.grid, vision.video.{i}.patch_embed and so on, all temporal patches below each other.

Two things of videos are as the models were trained, which newer versions of the library changed: the text behind a video
of Qwen2-VL and Qwen2.5-VL goes on behind the largest position on any axis, and the frames of Qwen3-VL stand in the place
of the template's whole vision triplet, not inside it.
"""

import argparse
import base64
import hashlib
import io
import json
import platform
import sys
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
import transformers
from PIL import Image, ImageOps
from transformers import AutoProcessor, AutoTokenizer

import gemma3
import still_towers
from to_gguf import load_model

TRACE_VERSION = "1"


def open_image(source: str, base: Path) -> tuple[Image.Image, str]:
    """Upright RGB picture, alpha composited on white, and the SHA-256 of the file's bytes."""
    if source.startswith("data:"):
        data = base64.b64decode(source.partition(",")[2])
    else:
        data = (base / source.removeprefix("file://")).read_bytes()
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I;16"):
        # Pillow saturates grey of 16 bits, which makes most pictures white; of colours it keeps the upper byte.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB"), hashlib.sha256(data).hexdigest()


def open_frames(part: dict, base: Path) -> tuple[torch.Tensor, float, list[str]]:
    """Frames of a video `[frames, 3, height, width]`, how many there are a second, and their files' hashes."""
    opened = [open_image(source, base) for source in part["video"]]
    frames = [torchvision.transforms.functional.pil_to_tensor(image) for image, _ in opened]
    return torch.stack(frames), float(part["fps"]), [digest for _, digest in opened]


def from_openai(messages: list[dict], base: Path):
    """Messages in the form HF templates expect, the images in order, the videos in order, and the files' hashes."""
    images, videos, hashes, converted = [], [], [], []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            parts = []
            for part in content:
                if part["type"] == "text":
                    parts.append(part)
                    continue
                if part["type"] == "video":
                    frames, fps, digests = open_frames(part, base)
                    videos.append((frames, fps))
                    hashes.extend(digests)
                    parts.append({"type": "video"})
                    continue
                url = part["image_url"]
                image, digest = open_image(url if isinstance(url, str) else url["url"], base)
                images.append(image)
                hashes.append(digest)
                parts.append({"type": "image"})
            content = parts
        converted.append(message | {"content": content})
    return converted, images, videos, hashes


def one_turn(prompt: str, images: list[str]) -> list[dict]:
    """One user turn, images first. Plain text content when there is no image, as text-only templates want it."""
    if not images:
        return [{"role": "user", "content": prompt}]
    parts = [{"type": "image_url", "image_url": {"url": path}} for path in images]
    return [{"role": "user", "content": parts + [{"type": "text", "text": prompt}]}]


class Recorder:
    """Collects stage values in the order in which they appear."""

    def __init__(self, vocabulary: int | None = None):
        self.tensors: dict[str, torch.Tensor] = {}
        self.vocabulary = vocabulary

    def put(self, name: str, value: torch.Tensor) -> None:
        value = value.detach()
        value = value.to(torch.float32) if value.is_floating_point() else value.to(torch.int32)
        self.tensors[name] = value.clone().contiguous()

    def put_logits(self, name: str, logits: torch.Tensor) -> torch.Tensor:
        """Records and returns the logits of tokens that files keep."""
        kept = logits[: self.vocabulary]
        self.put(name, kept)
        return kept


def write_safetensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes F32 and I32 tensors in name order. The library's own writer shuffles the metadata, so that equal
    contents would give different files."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    names, offset = {torch.float32: "F32", torch.int32: "I32"}, 0
    for name, tensor in sorted(tensors.items()):
        end = offset + tensor.nbytes
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in sorted(tensors.items()):
            file.write(tensor.contiguous().numpy().tobytes())


def window_order(visual, grid: torch.Tensor) -> torch.Tensor | None:
    """For Qwen2.5-VL the place of each patch row in window order; None for towers that keep the order."""
    if not hasattr(visual, "window_size"):
        return None
    from transformers.vision_utils import get_vision_window_index

    cells, _ = get_vision_window_index(
        grid,
        spatial_merge_size=visual.spatial_merge_size,
        window_size=visual.window_size,
        patch_size=visual.patch_size,
        kwargs={},
    )
    unit = visual.spatial_merge_unit
    rows = (cells[:, None] * unit + torch.arange(unit)).reshape(-1)
    return torch.argsort(rows)


def trace_image(
    visual, index: int, pixels: torch.Tensor, grid: torch.Tensor, recorder: Recorder, kind: str = "image"
) -> torch.Tensor:
    """Runs the tower on one image or video alone and records its stages; returns the encoder's output."""
    name = f"vision.{index}." if kind == "image" else f"vision.{kind}.{index}."
    recorder.put(f"{kind}.{index}.pixels", pixels)
    recorder.put(f"{kind}.{index}.grid", grid)
    order = window_order(visual, grid[None])
    hooks = [
        visual.patch_embed.register_forward_hook(
            lambda _m, _i, out: recorder.put(name + "patch_embed", out.reshape(out.shape[0], -1))
        )
    ]
    for layer, block in enumerate(visual.blocks):
        def record(_module, _inputs, out, layer=layer):
            rows = out[0] if isinstance(out, tuple) else out
            recorder.put(f"{name}layer.{layer}", rows if order is None else rows[order])
        hooks.append(block.register_forward_hook(record))
    result = visual(pixels, grid_thw=grid[None], return_dict=True)
    for hook in hooks:
        hook.remove()
    recorder.put(name + "output", result.pooler_output)
    for place, feature in enumerate(getattr(result, "deepstack_features", None) or []):
        recorder.put(f"{name}deepstack.{place}", feature)
    return result.pooler_output


def three_axes(positions: torch.Tensor, tokens: int) -> torch.Tensor:
    """Positions as [3, tokens], whatever the model hands to its rotary embedding."""
    positions = positions.reshape(-1, tokens)
    return positions[-3:] if positions.shape[0] >= 3 else positions[:1].expand(3, -1)


def trained_positions(model, inputs: dict) -> torch.Tensor | None:
    """Positions `[3, 1, tokens]` of a prompt with videos of Qwen2-VL or Qwen2.5-VL as these were trained: text goes on
    behind the largest position of any axis. None where the library does that itself."""
    if "video_grid_thw" not in inputs or model.config.model_type.startswith("qwen3"):
        return None
    library, _ = model.model.get_rope_index(**{k: v for k, v in inputs.items() if not k.startswith("pixel")})
    kinds = inputs["mm_token_type_ids"][0].tolist()
    positions, following, start = library.clone(), 0, 0
    while start < len(kinds):
        end = start
        while end < len(kinds) and kinds[end] == kinds[start]:
            end += 1
        # Inside a run the library is right; only where the run begins can it be wrong.
        positions[:, 0, start:end] += following - int(library[:, 0, start].min())
        following = int(positions[:, 0, start:end].max()) + 1
        start = end
    return positions


def trace_prompt(model, inputs: dict, recorder: Recorder):
    """Prefill: records tokens, positions, the residual stream after each text layer and the last logits."""
    text = model.model.language_model if hasattr(model.model, "language_model") else model.model
    tokens = inputs["input_ids"].shape[1]
    recorder.put("prompt.tokens", inputs["input_ids"][0])
    seen = {}

    def note_positions(_module, args, kwargs):
        seen["positions"] = kwargs.get("position_ids", args[1] if len(args) > 1 else None)

    hooks = [text.rotary_emb.register_forward_pre_hook(note_positions, with_kwargs=True)]
    # What enters a layer is what left the one before it, deepstack rows included.
    readers = [*list(text.layers)[1:], text.norm]
    for layer, reader in enumerate(readers):
        def record(_module, args, kwargs, layer=layer):
            rows = args[0] if args else kwargs["hidden_states"]
            recorder.put(f"text.layer.{layer}", rows[0])
        hooks.append(reader.register_forward_pre_hook(record, with_kwargs=True))
    trained = trained_positions(model, inputs)
    given = {} if trained is None else {"position_ids": trained}
    result = model(**inputs, **given, use_cache=True, return_dict=True)
    for hook in hooks:
        hook.remove()
    positions = three_axes(seen["positions"], tokens)
    recorder.put("prompt.positions", positions)
    recorder.put_logits("logits", result.logits[0, -1])
    return result, positions


def trace_decode(model, result, positions: torch.Tensor, steps: int, recorder: Recorder) -> list[int]:
    """Greedy decoding of exactly `steps` tokens, each one position further on all axes; end tokens do not stop it."""
    chosen = []
    following = int(positions.max()) + 1
    vision = hasattr(model.model, "visual")
    for step in range(steps):
        logits = recorder.put_logits(f"decode.{step}.logits", result.logits[0, -1])
        chosen.append(int(logits.argmax()))
        if step + 1 == steps:
            break
        here = torch.tensor([[following + step]])
        result = model(
            input_ids=torch.tensor([[chosen[-1]]]),
            position_ids=here[None].expand(3, 1, 1) if vision else here,
            past_key_values=result.past_key_values,
            use_cache=True,
            return_dict=True,
        )
    recorder.put("decode.tokens", torch.tensor(chosen, dtype=torch.int32))
    return chosen


def preprocess(processor, rendered: str, images: list, videos: list, sizes: dict) -> dict:
    """The processor's tensors. Frames of videos are taken as they are: choosing them is another matter."""
    options = {}
    if sizes.get("image") and images:
        options["images_kwargs"] = {"size": sizes["image"]}
    if videos:
        count = [len(frames) for frames, _ in videos]
        metadata = [
            transformers.video_utils.VideoMetadata(total_num_frames=n, fps=fps, frames_indices=list(range(n)))
            for n, (_, fps) in zip(count, videos)
        ]
        options["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": metadata}
        if size := sizes.get("video"):
            options["videos_kwargs"] |= size["kwargs"]
            processor.video_processor.max_video_tokens = size.get("total", processor.video_processor.max_video_tokens)
        if type(processor).__name__.startswith("Qwen3"):
            rendered = rendered.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")
    return processor(
        text=[rendered], images=images or None, videos=[frames for frames, _ in videos] or None,
        return_tensors="pt", **options,
    )


def trace_tower(visual, inputs: dict, recorder: Recorder) -> None:
    """Runs the tower on each picture and each video alone, and checks that together they come out the same."""
    for kind, pixels, sizes in (
        ("image", "pixel_values", "image_grid_thw"), ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        if sizes not in inputs:
            continue
        grids = inputs[sizes]
        rows = torch.split(inputs[pixels], grids.prod(-1).tolist())
        alone = [
            trace_image(visual, i, each, grid, recorder, kind) for i, (each, grid) in enumerate(zip(rows, grids))
        ]
        together = visual(inputs[pixels], grid_thw=grids, return_dict=True).pooler_output
        difference = (torch.cat(alone) - together).abs().max() / together.abs().max()
        if difference > 1e-4:
            raise AssertionError(f"{kind}s encoded alone and together differ by {difference:.2e}")


def trace(
    checkpoint: Path, messages: list[dict], base: Path, decode: int, sizes: dict | None = None, pan_and_scan=False
):
    """All stages of one conversation: (tensors, metadata). `sizes` replaces the processor's pixel budgets."""
    model = load_model(checkpoint)
    converted, images, videos, hashes = from_openai(messages, base)
    # What stands for a picture's rows, and the rows behind it, are in no file of Gemma 3.
    is_padded = model.config.model_type == "gemma3"
    recorder = Recorder(model.config.image_token_index if is_padded else None)
    with torch.no_grad():
        if gemma3.is_ours(model.config.model_type):
            inputs, rendered = gemma3.prepare(model, checkpoint, converted, images, recorder, pan_and_scan)
        elif still_towers.is_still(model):
            processor = AutoProcessor.from_pretrained(checkpoint)
            rendered = processor.apply_chat_template(converted, add_generation_prompt=True, tokenize=False)
            inputs = processor(text=[rendered], images=images or None, return_tensors="pt")
            still_towers.trace_images(model, inputs, recorder)
        elif hasattr(model.model, "visual"):
            processor = AutoProcessor.from_pretrained(checkpoint)
            rendered = processor.apply_chat_template(converted, add_generation_prompt=True, tokenize=False)
            inputs = preprocess(processor, rendered, images, videos, sizes or {})
            trace_tower(model.model.visual, inputs, recorder)
        else:
            tokenizer = AutoTokenizer.from_pretrained(checkpoint)
            rendered = tokenizer.apply_chat_template(converted, add_generation_prompt=True, tokenize=False)
            inputs = tokenizer([rendered], return_tensors="pt", add_special_tokens=False)
        inputs = {key: value for key, value in inputs.items() if isinstance(value, torch.Tensor)}
        result, positions = trace_prompt(model, inputs, recorder)
        if decode:
            trace_decode(model, result, positions, decode, recorder)
    metadata = {
        "format": "ocelli-trace",
        "version": TRACE_VERSION,
        "reference": f"transformers {transformers.__version__}",
        "versions": json.dumps({
            "torch": torch.__version__, "torchvision": torchvision.__version__, "pillow": PIL.__version__,
            "python": platform.python_version(), "machine": platform.machine(),
        }),
        "model": checkpoint.resolve().name,
        "model_type": model.config.model_type,
        "dtype": "float32",
        "attention": "eager",
        "messages": json.dumps(messages_without_data(messages)),
        "images_sha256": json.dumps(hashes),
        "rendered": rendered,
    }
    return recorder.tensors, metadata


def messages_without_data(messages: list[dict]) -> list[dict]:
    """The messages for the record: data URLs cut, paths reduced to file names."""
    def tidy(part):
        if part.get("type") == "video":
            return part | {"video": [Path(frame).name for frame in part["video"]]}
        if part.get("type") != "image_url":
            return part
        url = part["image_url"] if isinstance(part["image_url"], str) else part["image_url"]["url"]
        return {"type": "image_url", "image_url": {"url": "data:..." if url.startswith("data:") else Path(url).name}}

    return [
        m | {"content": [tidy(p) for p in m["content"]]} if isinstance(m["content"], list) else m for m in messages
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="local checkpoint directory")
    parser.add_argument("--image", action="append", default=[], metavar="FILE")
    parser.add_argument("--prompt")
    parser.add_argument("--messages", type=Path, metavar="FILE")
    parser.add_argument("--decode", type=int, default=0, metavar="N")
    parser.add_argument("--image-tokens", type=int, nargs=2, metavar=("LEAST", "MOST"),
                        help="pixel budget in image tokens; default: the checkpoint's own")
    parser.add_argument("--pan-and-scan", action="store_true", help="crops of long pictures (Gemma 3)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if (options.prompt is None) == (options.messages is None):
        parser.error("give either --prompt or --messages")
    if options.threads:
        torch.set_num_threads(options.threads)
    size = None
    if options.image_tokens:
        image = AutoProcessor.from_pretrained(options.model).image_processor
        if not hasattr(image, "merge_size"):
            parser.error("--image-tokens is for the Qwen families; this checkpoint's processor has a size rule of its own")
        pixels = (image.patch_size * image.merge_size) ** 2
        least, most = options.image_tokens
        size = {"image": {"shortest_edge": least * pixels, "longest_edge": most * pixels}}
    if options.messages:
        if options.image:
            parser.error("--messages names its own images; leave out --image")
        messages, base = json.loads(options.messages.read_text()), options.messages.parent
    else:
        messages, base = one_turn(options.prompt, options.image), Path(".")
    tensors, metadata = trace(options.model, messages, base, options.decode, size, options.pan_and_scan)
    metadata["command"] = " ".join(["trace_hf.py", *(Path(a).name if "/" in a else a for a in sys.argv[1:])])
    write_safetensors(tensors, options.out, metadata)
    print(f"{options.out}: {len(tensors)} stages, {len(tensors['prompt.tokens'])} prompt tokens")


if __name__ == "__main__":
    main()
