#!/usr/bin/env python3
"""Runs one case through Ocelli and other engines, alternating, and prints times, ratios and the machine.

    python tools/bench/peers.py --ocelli target/release/ocelli --files DIR --image 1024x1024 -n 32 -r 3
    python tools/bench/peers.py --ocelli target/release/ocelli --files DIR --prompt 1024 -n 32 -r 3

The pair in DIR is written with `ocelli bench --shape NAME --type TYPE --write DIR` if it is not there. Every engine
keeps its model loaded and runs once in each round, so that all see the same machine. An engine that is not there is
skipped, and said so. What each needs: README.md beside this file.
"""

import argparse
import base64
import json
import os
import platform
import shlex
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

QUESTION = "What do you see in this picture?"
STAGES = ["image_s", "prefill_s", "prompt_tokens_per_s", "first_token_s", "decode_tokens_per_s", "load_s"]


def png(width: int, height: int) -> bytes:
    """A made-up picture: slopes with squares and a little noise."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            noise = ((x * 2654435761 ^ y * 2246822507) >> 13) & 7
            square = 40 if (x // 64 + y // 48) % 3 == 0 else 0
            rows += bytes((x * 180 // width + noise + square, y * 180 // height + noise + 20,
                           200 - (x + y) * 180 // (width + height) + noise))
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(rows), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def as_url(picture: str) -> str:
    return "data:image/png;base64," + base64.b64encode(Path(picture).read_bytes()).decode()


def text_of(tokens: int, number: int) -> str:
    """About so many tokens, which no other round starts with: a prompt that was kept would not be computed."""
    return f"{number} " + " ".join(["word"] * (tokens - 12))


def asked(case: dict) -> str | list[dict]:
    """What a user's message holds: the picture and the question, or text alone."""
    if not case["picture"]:
        return text_of(case["prompt"], case["round"])
    return [{"type": "image_url", "image_url": {"url": as_url(case["picture"])}}, {"type": "text", "text": QUESTION}]


class Absent(Exception):
    """Why an engine cannot be run here."""


# Engines that run in this process's children. Each has `load(case)` and `run(case) -> dict of STAGES`.


class Llama:
    """llama.cpp in its Python bindings `xllamacpp`, which have its server inside and wheels for every CPU."""

    def load(self, case: dict) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = case["text"]
        params.mmproj.path = case["projector"]
        params.n_ctx = case["context"]
        params.n_parallel = 1
        params.n_ubatch = params.n_batch = 2048
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = case["threads"]
        params.image_max_tokens = 4096
        params.cache_ram_mib = 0
        self.server = xllamacpp.Server(params)
        self.info = xllamacpp.get_system_info() if hasattr(xllamacpp, "get_system_info") else ""

    def run(self, case: dict) -> dict:
        content = asked(case)
        request = {
            "messages": [{"role": "user", "content": content}], "max_tokens": case["new_tokens"], "temperature": 0,
            "ignore_eos": True, "cache_prompt": False, "timings_per_token": True, "stream": False,
        }
        answer = plain(self.server.handle_chat_completions(request))
        times = answer["timings"]
        found = {"decode_tokens_per_s": times["predicted_per_second"], "prompt_tokens": times["prompt_n"]}
        whole = times["prompt_ms"] / 1e3
        if not case["picture"]:
            return {**found, "first_token_s": whole, "prefill_s": whole}
        # The server tells encoding and prompt as one time: a text prompt of about as many tokens tells them apart.
        words = " ".join(f"{number} words" for number in range(times["prompt_n"] // 6))
        request["messages"], request["max_tokens"] = [{"role": "user", "content": words}], 1
        text = plain(self.server.handle_chat_completions(request))["timings"]
        alone = text["prompt_ms"] / text["prompt_n"] * times["prompt_n"] / 1e3
        return {**found, "first_token_s": whole, "prefill_s": alone, "image_s": whole - alone}


def plain(answer):
    """JSON as Python objects, whether it came as text or parsed."""
    return json.loads(answer) if isinstance(answer, (str, bytes)) else answer


class HuggingFace:
    """transformers in BF16 with random weights of the same shape."""

    def load(self, case: dict) -> None:
        import torch
        import transformers

        torch.set_num_threads(case["threads"])
        self.torch = torch
        config, kind = hf_config(case["shape"], transformers)
        with torch.no_grad():
            self.model = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).eval()
        self.config, self.kind = config, kind
        vision = config.vision_config
        patch = vision.patch_size
        # The fast one lost its suffix in transformers 5.
        fast = "Qwen2VLImageProcessor" if kind == "new" else "Qwen2VLImageProcessorFast"
        processor = getattr(transformers, fast)
        self.processor = processor(
            patch_size=patch, size={"shortest_edge": 4 * 784, "longest_edge": 4096 * (2 * patch) ** 2})

    def run(self, case: dict) -> dict:
        if not case["picture"]:
            return self.run_text(case)
        from PIL import Image

        torch = self.torch
        start = time.perf_counter()
        picture = Image.open(case["picture"]).convert("RGB")
        made = self.processor(images=[picture], return_tensors="pt")
        pixels, grid = made["pixel_values"].to(torch.bfloat16), made["image_grid_thw"]
        tokens = int(grid.prod()) // 4
        image = self.config.image_token_id
        ids = torch.tensor([[self.config.vision_start_token_id] + [image] * tokens + list(range(300, 311))])
        types = (ids == image).int()
        extra = {"mm_token_type_ids": types} if self.kind == "new" else {}
        with torch.inference_mode():
            prepared = time.perf_counter()
            self.model.model.visual(pixels, grid_thw=grid)
            encoded = time.perf_counter()
            out = self.model(input_ids=ids, pixel_values=pixels, image_grid_thw=grid, use_cache=True,
                             logits_to_keep=1, **extra)
            whole = time.perf_counter()
            rate = self.decode(case, out)
        encode = encoded - prepared
        return {
            "image_s": encode, "prefill_s": whole - encoded - encode, "first_token_s": prepared - start + whole - encoded,
            "decode_tokens_per_s": rate, "prompt_tokens": ids.shape[1],
        }

    def run_text(self, case: dict) -> dict:
        ids = self.torch.arange(300, 300 + case["prompt"])[None]
        with self.torch.inference_mode():
            start = time.perf_counter()
            out = self.model(input_ids=ids, use_cache=True, logits_to_keep=1)
            whole = time.perf_counter() - start
            rate = self.decode(case, out)
        return {"prefill_s": whole, "first_token_s": whole, "decode_tokens_per_s": rate, "prompt_tokens": case["prompt"]}

    def decode(self, case: dict, out) -> float:
        """Tokens a second behind a prompt's pass."""
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        start = time.perf_counter()
        for _ in range(case["new_tokens"] - 1):
            out = self.model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
        return (case["new_tokens"] - 1) / (time.perf_counter() - start)


def hf_config(shape: str, transformers):
    """The configuration of a shape as transformers writes it, and whether it wants token types."""
    text = {
        "qwen3-vl-2b": (2048, 28, 16, 8, 6144), "qwen3-vl-4b": (2560, 36, 32, 8, 9728),
        "qwen2.5-vl-3b": (2048, 36, 16, 2, 11008), "qwen2-vl-2b": (1536, 28, 12, 2, 8960),
    }.get(shape)
    if text is None:
        raise Absent(f"no configuration of {shape} in this script")
    hidden, layers, heads, kv, middle = text
    ids = {"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652,
           "vision_end_token_id": 151653, "tie_word_embeddings": True}
    sections = [24, 20, 20] if shape.startswith("qwen3") else [16, 24, 24]
    rope = {"rope_type": "default", "mrope_section": sections, "rope_theta": 5e6 if shape.startswith("qwen3") else 1e6}
    common = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
              "num_key_value_heads": kv, "intermediate_size": middle, "vocab_size": 151936, "rope_parameters": rope,
              "max_position_embeddings": 32768, "tie_word_embeddings": True}
    if shape.startswith("qwen3"):
        rope["mrope_interleaved"] = True
        vision = {"hidden_size": 1024, "depth": 24, "num_heads": 16, "intermediate_size": 4096, "patch_size": 16,
                  "out_hidden_size": hidden, "deepstack_visual_indexes": [5, 11, 17], "num_position_embeddings": 2304}
        config = transformers.Qwen3VLConfig(text_config={**common, "head_dim": 128}, vision_config=vision, **ids)
    elif shape.startswith("qwen2.5"):
        vision = {"hidden_size": 1280, "depth": 32, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14,
                  "out_hidden_size": hidden, "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112}
        config = transformers.Qwen2_5_VLConfig(text_config=common, vision_config=vision, **ids)
    else:
        vision = {"embed_dim": 1280, "depth": 32, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14,
                  "hidden_size": hidden}
        config = transformers.Qwen2VLConfig(text_config=common, vision_config=vision, **ids)
    return config, "new" if int(transformers.__version__.split(".")[0]) >= 5 else "old"


class OpenVino:
    """OpenVINO GenAI on a folder that `optimum-cli export openvino` has written."""

    def load(self, case: dict) -> None:
        import numpy
        import openvino
        import openvino_genai
        from PIL import Image

        if not case["openvino_model"]:
            raise Absent("no exported model: give --openvino-model DIR")
        # By default it keeps prompts and finds those of the round before: each round is a first question about a new picture.
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching, scheduler.max_num_batched_tokens = False, case["context"]
        settings = {"INFERENCE_NUM_THREADS": case["threads"], "scheduler_config": scheduler}
        self.pipe = openvino_genai.VLMPipeline(case["openvino_model"], "CPU", **settings)
        self.genai, self.openvino, self.numpy, self.image = openvino_genai, openvino, numpy, Image

    def run(self, case: dict) -> dict:
        config = self.genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = case["new_tokens"], True, False
        if case["picture"]:
            picture = self.numpy.array(self.image.open(case["picture"]).convert("RGB"))[None]
            pictures, question = {"images": [self.openvino.Tensor(picture)]}, QUESTION
        else:
            # A made-up checkpoint has a made-up tokenizer: as many words as have as many tokens with it.
            found = self.pipe.get_tokenizer().encode(asked(case)).input_ids.shape[1]
            pictures, question = {}, asked({**case, "prompt": case["prompt"] ** 2 // found})
        times = self.pipe.generate(question, generation_config=config, **pictures).perf_metrics
        image = times.get_prepare_embeddings_duration().mean / 1e3 if case["picture"] else None
        first = times.get_ttft().mean / 1e3
        return {
            "image_s": image, "first_token_s": first, "prefill_s": first - (image or 0),
            "decode_tokens_per_s": times.get_throughput().mean, "prompt_tokens": times.get_num_input_tokens(),
        }


class MistralRs:
    """mistral.rs as a module, on the folder of a checkpoint, quantised to Q4_K when it is loaded."""

    def load(self, case: dict) -> None:
        import mistralrs

        if not case["mistralrs_model"]:
            raise Absent("no checkpoint: give --mistralrs-model DIR")
        architecture = "Qwen2_5VL" if case["shape"].startswith("qwen2.5") else case["shape"].title().split("-")[0] + "VL"
        # Neither pictures nor prompts are kept for the next round: each is a first question about a new picture.
        which = mistralrs.Which.MultimodalPlain(
            model_id=str(Path(case["mistralrs_model"]).resolve()), encoder_cache_memory_bytes=1,
            arch=getattr(mistralrs.MultimodalArchitecture, architecture))
        self.runner = mistralrs.Runner(which=which, in_situ_quant="Q4K", prefix_cache_n=0)
        self.request = mistralrs.ChatCompletionRequest

    def run(self, case: dict) -> dict:
        content = asked(case)
        request = self.request(model="default", messages=[{"role": "user", "content": content}], temperature=0.0,
                               max_tokens=case["new_tokens"])
        usage = self.runner.send_chat_completion_request(request).usage
        # One token comes out of the prompt's pass; the time of completion is that of the others.
        return {
            "first_token_s": usage.total_prompt_time_sec, "prompt_tokens": usage.prompt_tokens,
            "decode_tokens_per_s": (usage.completion_tokens - 1) / usage.total_completion_time_sec,
        }


class Server:
    """Any program with an OpenAI API, as llama-server. It is started with a command that has {text}, {projector},
    {threads} and {port} in it."""

    def load(self, case: dict) -> None:
        if not case["command"]:
            raise Absent("no command was given")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = case["command"].format(port=self.port, **case)
        self.process = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.time() + 600
        while time.time() < until:
            if self.process.poll() is not None:
                raise Absent(f"'{command}' ended with {self.process.returncode}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=2).read()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise Absent(f"'{command}' did not answer")

    def run(self, case: dict) -> dict:
        content = asked(case)
        body = {"model": "default", "stream": True, "max_tokens": case["new_tokens"], "temperature": 0,
                "ignore_eos": True, "cache_prompt": False, "messages": [{"role": "user", "content": content}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json"})
        start, first, tokens = time.perf_counter(), None, 0
        with urllib.request.urlopen(request, timeout=1200) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    delta = json.loads(line[6:])["choices"][0].get("delta", {})
                    if delta.get("content"):
                        first = first or time.perf_counter()
                        tokens += 1
        end = time.perf_counter()
        if first is None:
            raise RuntimeError("no token came")
        return {"first_token_s": first - start, "decode_tokens_per_s": (tokens - 1) / (end - first) if tokens > 1 else None}


WORKERS = {"llama.cpp": Llama, "transformers": HuggingFace, "openvino": OpenVino, "mistral.rs": MistralRs,
           "llama-server": Server}


def work(name: str) -> None:
    """A child: one line of JSON in, one out. Output of the engine itself goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    case = json.loads(sys.stdin.readline())
    engine = WORKERS[name]()

    def say(**message) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        start = time.perf_counter()
        engine.load(case)
        say(load_s=time.perf_counter() - start)
    except (Absent, ImportError) as reason:
        return say(absent=str(reason))
    for number, _ in enumerate(sys.stdin):
        try:
            say(**engine.run({**case, "round": number}))
        except Exception as error:  # The other engines go on, whatever this one died of.
            say(failed=f"{type(error).__name__}: {error}")
    process = getattr(engine, "process", None)
    if process:
        process.terminate()


class Worker:
    """An engine in a child process, so that each can have an interpreter and libraries of its own."""

    def __init__(self, name: str, python: str, case: dict, log: Path):
        self.name, self.load_s = name, None
        command = [python, __file__, "--worker", name]
        environment = {**os.environ, "OMP_NUM_THREADS": str(case["threads"])}
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log.open("w"), text=True, env=environment)
        except OSError as error:
            raise Absent(str(error)) from error
        answer = self.ask(json.dumps(case))
        if "load_s" not in answer:
            raise Absent(answer.get("absent") or f"it died while loading, see {log}")
        self.load_s = answer["load_s"]

    def ask(self, line: str) -> dict:
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"failed": "it died"}
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else {"failed": "it died"}

    def run(self) -> dict:
        return self.ask("run")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)


class Ocelli:
    """`ocelli bench` on the same files, a process for each round."""

    name = "ocelli"
    load_s = None

    def __init__(self, case: dict, command: str, isa: str | None, precision: str | None):
        asked = ["--image", case["image"]] if case["picture"] else ["-p", str(case["prompt"])]
        self.command = [command, "bench", "-m", case["text"], "--mmproj", case["projector"], *asked,
                        "-n", str(case["new_tokens"]), "-t", str(case["threads"]), "-r", "1", "--json"]
        self.has_picture = bool(case["picture"])
        self.command += ["--isa", isa] if isa else []
        self.command += ["--precision", precision] if precision else []
        self.machine = None

    def run(self) -> dict:
        done = subprocess.run(self.command, capture_output=True, text=True)
        if done.returncode:
            return {"failed": done.stderr.strip()}
        report = json.loads(done.stdout)
        stages, self.machine = report["stages"], report["machine"]
        of_picture = ["image_decode", "preprocess", "encode"] if self.has_picture else []
        return {
            "image_s": sum(stages[s]["seconds"] for s in of_picture) or None,
            "prefill_s": stages["prefill"]["seconds"], "first_token_s": report["time_to_first_token_s"],
            "decode_tokens_per_s": stages["decode"]["tokens_per_second"], "load_s": stages["load"]["seconds"],
            "prompt_tokens": report["runs"][0]["prompt_tokens"],
        }

    def close(self) -> None:
        pass


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--ocelli", default="target/release/ocelli", help="the command")
    parser.add_argument("--shape", default="qwen3-vl-2b")
    parser.add_argument("--type", default="q4_k_m")
    parser.add_argument("--files", type=Path, default=Path("target/peers"), help="folder of the pair")
    parser.add_argument("--image", default="1024x1024", metavar="WxH")
    parser.add_argument("--prompt", type=int, metavar="TOKENS", help="a text prompt of about so many tokens, and no picture")
    parser.add_argument("-n", "--new-tokens", type=int, default=32)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isa", help="instruction set of Ocelli; the others choose by themselves")
    parser.add_argument("--precision", help="precision of Ocelli")
    parser.add_argument("--only", help="engines, by comma: " + ", ".join(["ocelli", *WORKERS]))
    parser.add_argument("--llama-python", default=sys.executable, help="interpreter with xllamacpp")
    parser.add_argument("--hf-python", default=sys.executable, help="interpreter with transformers")
    parser.add_argument("--openvino-python", default=sys.executable, help="interpreter with openvino-genai")
    parser.add_argument("--openvino-model", help="folder that optimum-cli has exported")
    parser.add_argument("--mistralrs-python", default=sys.executable, help="interpreter with mistralrs")
    parser.add_argument("--mistralrs-model", help="folder of a checkpoint of the shape")
    parser.add_argument("--llama-command", help="as 'llama-server -m {text} --mmproj {projector} -t {threads} --port {port}'")
    parser.add_argument("--json", type=Path, help="file for all times")
    return parser.parse_args()


def make_case(args: argparse.Namespace) -> dict:
    args.files.mkdir(parents=True, exist_ok=True)
    name = f"{args.shape}-{args.type.upper()}.gguf"
    text, projector = args.files / name, args.files / f"mmproj-{args.shape}-F16.gguf"
    if not (text.exists() and projector.exists()):
        subprocess.run([args.ocelli, "bench", "--shape", args.shape, "--type", args.type, "--write", str(args.files)],
                       check=True, stdout=subprocess.DEVNULL)
    picture = None
    if not args.prompt:
        picture = args.files / f"{args.image}.png"
        if not picture.exists():
            picture.write_bytes(png(*map(int, args.image.split("x"))))
    return {
        "shape": args.shape, "text": str(text), "projector": str(projector), "picture": picture and str(picture),
        "image": args.image, "prompt": args.prompt, "new_tokens": args.new_tokens, "threads": args.threads, "context": 8192,
        "openvino_model": args.openvino_model, "mistralrs_model": args.mistralrs_model, "command": args.llama_command,
    }


def start(args: argparse.Namespace, case: dict) -> list:
    wanted = args.only.split(",") if args.only else ["ocelli", *WORKERS]
    pythons = {"llama.cpp": args.llama_python, "transformers": args.hf_python, "openvino": args.openvino_python,
               "mistral.rs": args.mistralrs_python}
    engines = [Ocelli(case, args.ocelli, args.isa, args.precision)] if "ocelli" in wanted else []
    for name in WORKERS:
        if name not in wanted:
            continue
        try:
            log = args.files / f"{name}.log"
            engines.append(Worker(name, pythons.get(name, sys.executable), case, log))
            print(f"{name}: loaded in {engines[-1].load_s:.1f} s", file=sys.stderr)
        except Absent as reason:
            print(f"SKIPPED {name}: {reason}", file=sys.stderr)
    return engines


def main() -> None:
    args = arguments()
    if args.worker:
        return work(args.worker)
    case = make_case(args)
    engines = start(args, case)
    times: dict[str, list[dict]] = {engine.name: [] for engine in engines}
    for number in range(args.rounds + 1):
        for engine in engines:
            print(f"round {number} of {args.rounds} (0 does not count): {engine.name}", file=sys.stderr)
            found = engine.run()
            if "failed" in found:
                print(f"FAILED {engine.name}: {found['failed']}", file=sys.stderr)
            elif number > 0:
                if found.get("prefill_s") and found.get("prompt_tokens"):
                    found["prompt_tokens_per_s"] = found["prompt_tokens"] / found["prefill_s"]
                times[engine.name].append(found)
    for engine in engines:
        engine.close()
    ours = next((engine for engine in engines if engine.name == "ocelli"), None)
    report = {"case": case, "machine": ours.machine if ours else None, "processor": processor(), "runs": times,
              "load_s": {engine.name: engine.load_s for engine in engines}}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    print_table(args, report)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def print_table(args: argparse.Namespace, report: dict) -> None:
    print(f"{report['processor']}, {args.threads} threads, {platform.platform()}")
    precision = f"Ocelli in {args.precision}, " if args.precision else ""
    asked = f"prompt of about {args.prompt} tokens" if args.prompt else f"projector F16, picture {args.image}"
    print(f"{args.shape} {args.type}, {asked}, {args.new_tokens} tokens, {precision}"
          f"median of {args.rounds} alternating rounds; behind each number: times Ocelli\n")
    rows = {}
    for name, runs in report["runs"].items():
        median = {}
        for stage in [*STAGES, "prompt_tokens"]:
            values = [run[stage] for run in runs if run.get(stage) is not None]
            median[stage] = statistics.median(values) if values else None
        median["load_s"] = median["load_s"] or report["load_s"][name]
        if median["first_token_s"] is not None:
            rows[name] = median
    print("| engine | prompt tokens | " + " | ".join(STAGES) + " |")
    print("|---|---|" + "---|" * len(STAGES))
    ours = rows.get("ocelli")
    for name, median in rows.items():
        cells = []
        for stage in STAGES:
            value = median[stage]
            text = "" if value is None else f"{value:.3g}"
            if value and ours and ours[stage] and name != "ocelli":
                slower = ours[stage] / value if "per_s" in stage else value / ours[stage]
                text += f" ({slower:.2f}x)"
            cells.append(text)
        print(f"| {name} | {median['prompt_tokens'] or ''} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
