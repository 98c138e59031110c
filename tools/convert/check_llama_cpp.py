#!/usr/bin/env python3
"""Do llama.cpp's own loader and arithmetic agree with Ocelli on files that Ocelli wrote?

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    python check_llama_cpp.py model.gguf [--mmproj mmproj.gguf --image photo.png]
    python check_llama_cpp.py --checkpoint HF_DIR [HF_DIR...]

Every file is loaded by llama.cpp (the build inside the `xllamacpp` package) and by `ocelli trace`. Both decode the same
prompt greedily; the check fails when llama.cpp does not load a file, when its logarithms of probabilities differ from
Ocelli's by more than --tolerance, or when it chooses a token that Ocelli gives a probability lower than its own choice by
more than that. With --mmproj, llama.cpp must also answer about the picture; its answer is only shown, since it resamples
pictures in another way.

With --checkpoint, `ocelli convert`, `quantize`, `merge`, `split` and `repair` first write files of every kind from each
folder, and all of them are checked. Without arguments the folders are those of the converter's own tests, and a random
checkpoint that is wide enough for the K types.
"""

import argparse
import base64
import json
import math
import os
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
PROMPT = "The quick brown fox, 12 of them."
TOP = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="TEXT.gguf")
    parser.add_argument("--mmproj", type=Path)
    parser.add_argument("--image", type=Path, default=ROOT / "tests" / "goldens" / "images" / "photo.png")
    parser.add_argument("--checkpoint", nargs="*", type=Path, metavar="HF_DIR")
    parser.add_argument("--ocelli", default=os.environ.get("OCELLI", "ocelli"), help="the command")
    parser.add_argument("--tokens", type=int, default=6, help="greedy tokens that are compared")
    parser.add_argument("--tolerance", type=float, help="of a logarithm of a probability: 0.02, and 0.2 for BF16 and quantised "
                        "files, where llama.cpp rounds activations too")
    arguments = parser.parse_args()
    checker = Checker(arguments)
    if arguments.files:
        for file in arguments.files:
            checker.check(file, arguments.mmproj)
    else:
        folders = arguments.checkpoint or sorted(p.parent for p in CHECKPOINTS.glob("*/config.json"))
        for folder in folders:
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
        tokens = self.arguments.tokens
        report = json.loads(self.ocelli("inspect", "--json", text))
        is_rounded = any(ty["name"] not in ["F32", "F16"] for ty in report["files"][0]["types"])
        tolerance = self.arguments.tolerance or (0.2 if is_rounded else 0.02)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "trace.safetensors"
            self.ocelli("trace", "-m", text, "--prompt", PROMPT, "--decode", tokens, "--out", out)
            trace = load_file(out)
        prompt = [int(token) for token in trace["prompt.tokens"].ravel()]
        peer = LlamaCpp(text, projector)
        worst, equal = 0.0, 0
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
            raise RuntimeError(f"log-probabilities differ by {worst:.4f}, need at most {tolerance}")
        said = f"{equal} of {tokens} greedy tokens, log-probabilities within {worst:.4f}"
        if projector:
            said += f", about a picture: {peer.look(self.arguments.image)!r}"
        return said


class LlamaCpp:
    """A model inside llama.cpp, asked over its own server's interface."""

    def __init__(self, text, projector):
        params = xllamacpp.CommonParams()
        params.model.path = str(text)
        if projector:
            params.mmproj.path = str(projector)
            params.image_min_tokens, params.image_max_tokens = 4, 64
        params.n_ctx, params.n_parallel, params.warmup, params.fit_params = 1024, 1, False, False
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
                "cache_prompt": False, "ignore_eos": True, "return_tokens": True}
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
