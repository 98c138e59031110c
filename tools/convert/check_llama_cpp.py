#!/usr/bin/env python3
"""Do llama.cpp's own loader and arithmetic agree with Ocelli on files that Ocelli wrote?

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    python check_llama_cpp.py model.gguf [--mmproj mmproj.gguf --image photo.png]
    python check_llama_cpp.py --checkpoint HF_DIR [HF_DIR...]

Every file is loaded by llama.cpp (the build inside the `xllamacpp` package) and by `ocelli trace`. Both decode the same
prompt greedily; the check fails when llama.cpp does not load a file, when its logarithms of probabilities differ from
Ocelli's by more than the tolerance, or when it chooses a token that Ocelli gives a probability lower than its own choice by
more than that. With --mmproj, llama.cpp must also answer about the picture; its answer is only shown, since it resamples
pictures in another way.

With --checkpoint, `ocelli convert`, `quantize`, `merge`, `split` and `repair` first write files of every kind from each
folder, and all of them are checked. Without arguments the folders are those of the converter's own tests, and a random
checkpoint that is wide enough for the K types.

What the tolerances stand for. Ocelli computes in F32 here. llama.cpp does so for weights in F32 only: it rounds the rows that
meet F16 and BF16 weights to these types, and those that meet quantised weights to blocks of 8 bits. So each file's values are
also given to it as F32 (a copy by `ocelli quantize FILE COPY f32`), and there --tolerance-f32 holds: the tests' models stay
under 2e-5, and Gemma 3 under 5e-4, for llama.cpp has GELU from a table in halves. On the file itself --tolerance-f16 or
--tolerance holds, which say how far that rounding may move random models (seen: 0.004 and 0.3), not how far Ocelli may be
off.

What else differs is set aside: keys and values are F32 and attention is the plain one (llama.cpp has both in halves by
default), and Ocelli runs `qwen2vl` with the epsilon 0 of norms, since llama.cpp does not read that key there. In the tiny
models, whose embeddings are small, it is felt.
"""

import argparse
import base64
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy
import xllamacpp
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "crates" / "ocelli-convert" / "tests" / "data"
# What these test no published model has, and llama.cpp does not know (see "convert" in docs/convert.md).
OWN_SETTINGS = {
    "gemma3-layers": "does not read the order of layers and the factor on scores",
    "llava-mixed": "ends at a projector without biases",
    "mistral3-mixed": "does not read the window of the text model",
}
PROMPT = "The quick brown fox, 12 of them."
TOP = 8
F32 = 0
WITHOUT_FLASH = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="TEXT.gguf")
    parser.add_argument("--mmproj", type=Path)
    parser.add_argument("--image", type=Path, default=ROOT / "tests" / "goldens" / "images" / "photo.png")
    parser.add_argument("--checkpoint", nargs="*", type=Path, metavar="HF_DIR")
    parser.add_argument("--ocelli", default=os.environ.get("OCELLI", "ocelli"), help="the command")
    parser.add_argument("--tokens", type=int, default=6, help="greedy tokens that are compared")
    parser.add_argument("--tolerance", type=float, default=0.5, help="of a logarithm of a probability (0.5)")
    parser.add_argument("--tolerance-f16", type=float, default=0.02, help="the same for files in F16 and F32 (0.02)")
    parser.add_argument("--tolerance-f32", type=float, default=0.001, help="the same for values in F32 (0.001)")
    parser.add_argument("--exact", action="store_true", help="make the copy in F32 of files that are named, too")
    arguments = parser.parse_args()
    checker = Checker(arguments)
    if arguments.files:
        for file in arguments.files:
            checker.check(file, arguments.mmproj)
    else:
        folders = arguments.checkpoint or sorted(p.parent for p in CHECKPOINTS.glob("*/config.json"))
        for folder in folders:
            if not arguments.checkpoint and folder.name in OWN_SETTINGS:
                print(f"left out: {folder.name}: llama.cpp {OWN_SETTINGS[folder.name]}", flush=True)
                continue
            with tempfile.TemporaryDirectory() as out:
                checker.check_written(folder, Path(out))
        if not arguments.checkpoint:
            # The tests' checkpoints are too narrow for blocks of 256.
            with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as out:
                make = Path(__file__).with_name("make_random_checkpoint.py")
                subprocess.run([sys.executable, make, folder, "--size", "tiny"], check=True)
                checker.check_written(Path(folder), Path(out))
    print(f"{checker.done} checked, {checker.failed} failed")
    sys.exit(1 if checker.failed else 0)


class Checker:
    def __init__(self, arguments):
        self.arguments = arguments
        self.done = 0
        self.failed = 0

    def ocelli(self, *words):
        ran = subprocess.run([self.arguments.ocelli, *map(str, words)], capture_output=True, text=True)
        if ran.returncode != 0:
            raise RuntimeError(f"ocelli {words[0]}: {ran.stderr.strip()}")
        return ran.stdout

    def check_written(self, folder, out):
        """Every kind of file that can be written from a checkpoint."""
        for ty in ["f32", "f16", "bf16", "q8_0"]:
            written = self.ocelli("convert", folder, "--out", out, "--type", ty, "--mmproj-type", ty, "--name", ty)
            text, *projector = [Path(line) for line in written.split("\n") if line]
            self.check(text, projector[0] if projector else None)
        text = next(path for path in out.glob("f32-*.gguf"))
        projector = next(out.glob("mmproj-f32-*.gguf"), None)
        for ty in ["q6_k", "q5_k_m", "q5_1", "q5_0", "q4_k_m", "q4_1", "q4_0", "q3_k_m", "q2_k"]:
            small = out / f"small-{ty}.gguf"
            self.ocelli("quantize", text, small, ty)
            self.check(small, projector)
        parts = out / "parts"
        parts.mkdir()
        self.ocelli("split", text, "--out", parts, "--max-shard-size", "60K")
        self.check(sorted(parts.glob("*-00001-of-*.gguf"))[0], projector)
        if projector:
            merged, halves = out / "merged.gguf", out / "halves"
            halves.mkdir()
            self.ocelli("merge", text, projector, merged)
            written = self.ocelli("split", merged, "--out", halves)
            self.check(*[Path(line) for line in written.split("\n") if line])
            mended = [out / "mended.gguf", out / "mmproj-mended.gguf"]
            for old, new in zip([text, projector], mended):
                self.ocelli("repair", old, new)
            self.check(*mended)

    def check(self, text, projector=None):
        self.done += 1
        name = text.name if projector is None else f"{text.name} + {projector.name}"
        try:
            said = self.compare(text, projector)
            print(f"ok    {name}: {said}", flush=True)
        except Exception as error:  # Whatever goes wrong with one file, the others are checked too.
            self.failed += 1
            print(f"FAIL  {name}: {error}", flush=True)

    def compare(self, text, projector):
        report = json.loads(self.ocelli("inspect", "--json", text))["files"][0]
        types = {ty["name"] for ty in report["types"]}
        arguments = self.arguments
        tolerance = arguments.tolerance
        if types <= {"F32", "F16"}:
            tolerance = arguments.tolerance_f16 if "F16" in types else arguments.tolerance_f32
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            mine = text
            if report["architecture"] == "qwen2vl":
                mine = without_epsilon(text, folder)
            self.ocelli("trace", "-m", mine, "--prompt", PROMPT, "--decode", arguments.tokens, "--out", folder / "trace")
            trace = load_file(folder / "trace")
            peer = LlamaCpp(text, projector)
            said = self.walk(trace, peer, tolerance)
            if types != {"F32"} and (arguments.exact or not arguments.files):
                self.ocelli("quantize", text, folder / "copy.gguf", "f32")
                said += "; its values in F32: " + self.walk(trace, LlamaCpp(folder / "copy.gguf"), arguments.tolerance_f32)
        if projector:
            said += f"; about a picture: {peer.look(arguments.image)!r}"
        return said

    def walk(self, trace, peer, tolerance):
        """Asks for one token after the other."""
        prompt = [int(token) for token in trace["prompt.tokens"].ravel()]
        worst, equal, tokens = 0.0, 0, self.arguments.tokens
        for step in range(tokens):
            logits = trace[f"decode.{step}.logits"].ravel().astype(numpy.float64)
            ours = logits - logits.max()
            ours -= math.log(numpy.exp(ours).sum())
            chosen = int(trace["decode.tokens"].ravel()[step])
            first, theirs = peer.next(prompt)
            worst = max([worst] + [abs(ours[token] - value) for token, value in theirs.items()])
            equal += first == chosen
            if ours[chosen] - ours[first] > tolerance:
                raise RuntimeError(f"token {step}: found {first}, need {chosen}")
            # Both go on from Ocelli's token, so that one near-tie does not spoil all that follows.
            prompt.append(chosen)
        if worst > tolerance:
            raise RuntimeError(f"log-probabilities differ by {worst:.6f}, need at most {tolerance}")
        return f"{equal} of {tokens} greedy tokens, log-probabilities within {worst:.6f}"


def without_epsilon(text, folder):
    """A copy of a file and its parts whose norms have the epsilon 0."""
    key = b"qwen2vl.attention.layer_norm_rms_epsilon"
    parts = re.sub(r"-\d{5}-of-", "-*-of-", text.name)
    for part in text.parent.glob(parts):
        data = part.read_bytes()
        if at := data.find(key) + 1:
            # Behind the key stand its type and its value, 4 bytes each.
            at += len(key) + 3
            data = data[:at] + struct.pack("<f", 0) + data[at + 4:]
        (folder / part.name).write_bytes(data)
    return folder / text.name


class LlamaCpp:
    """A model inside llama.cpp, asked over its own server's interface."""

    def __init__(self, text, projector=None):
        params = xllamacpp.CommonParams()
        params.model.path = str(text)
        if projector:
            params.mmproj.path = str(projector)
            params.image_min_tokens, params.image_max_tokens = 4, 64
        params.n_ctx, params.n_parallel, params.warmup, params.fit_params = 1024, 1, False, False
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type(F32)
        params.flash_attn_type = xllamacpp.llama_flash_attn_type(WITHOUT_FLASH)
        params.verbosity = -1
        # Its threads spin while they wait; the models here are tiny.
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self.server = xllamacpp.Server(params)

    def post(self, path, body):
        url = self.server.listening_address + path
        request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        try:
            return json.load(urllib.request.urlopen(request, timeout=600))
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"llama.cpp: {error.read().decode()}") from error

    def next(self, prompt):
        """The greedy next token, and logarithms of the probabilities of the likeliest."""
        body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": TOP,
                "cache_prompt": False, "return_tokens": True}
        answer = self.post("/completion", body)
        # It holds probabilities back while the text ends within a character.
        entries = [entry for step in answer.get("completion_probabilities", []) for entry in step["top_logprobs"]]
        return answer["tokens"][0], {entry["id"]: entry["logprob"] for entry in entries}

    def look(self, image):
        data = base64.b64encode(image.read_bytes()).decode()
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        content = [picture, {"type": "text", "text": "What?"}]
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0}
        return self.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]


if __name__ == "__main__":
    started = time.monotonic()
    try:
        main()
    finally:
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
