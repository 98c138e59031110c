"""Asks the demo about pictures of the held-out set and counts right answers by task.

    python evaluate.py --pair ../../crates/ocelli/models                            # PyTorch, weights as stored in the pair
    python evaluate.py --pair ../../crates/ocelli/models --flatten-positions        # image positions in one dimension
    python evaluate.py --engine ocelli --binary ../../target/release/ocelli         # the engine itself, its built-in model
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import tempfile
from collections import defaultdict

import numpy as np
import torch

import data
import export
import prompts
import questions
import scenes

TASKS = {
    "attributes": [questions.color_of, questions.shape_of, questions.size_of], "counts": [questions.count],
    "positions": [questions.where, questions.where_text, questions.what_at], "relations": [questions.relation_between, questions.relation_check],
    "words": [questions.read], "numbers": [questions.read], "boxes": [questions.box_one], "yes/no": [questions.is_there, questions.is_it],
    "absent": [questions.where_absent], "describe": [questions.describe]}


def asked(split, index):
    """Scene, picture and one question per task that the scene allows, all from the index alone."""
    scene, rng = scenes.make_scene(split, index, pseudo=0.0)
    image = scenes.render(scene, rng)
    rng = np.random.default_rng([11, index])
    out = []
    for task, makers in TASKS.items():
        for k in rng.permutation(len(makers)):
            made = makers[k](scene, rng)
            if made and (made[0] == task or task not in ("words", "numbers")):
                out.append((task, questions.careless(rng, made[1]), made[2]))
                break
    return scene, image, out


def prompt(pixels, question, flatten=False):
    """The prompt of one user turn with one picture, as the chat template renders it."""
    seq = prompts.Sequence()
    seq.text(prompts.USER, 0)
    seq.image(pixels.shape[1] // 32, pixels.shape[2] // 32, flatten)
    seq.text(prompts.encode(question) + prompts.ASSISTANT, 0)
    return seq


class Cache:
    """Keys and values of the tokens so far, by layer."""

    def __init__(self):
        self.kept = {}

    def extend(self, layer, k, v):
        if layer in self.kept:
            k, v = torch.cat((self.kept[layer][0], k), 2), torch.cat((self.kept[layer][1], v), 2)
        self.kept[layer] = (k, v)
        return k, v


class TorchEngine:
    def __init__(self, model, flatten=False):
        self.model, self.flatten = model.eval(), flatten

    @torch.no_grad()
    def answers(self, image, asked_questions, limit=330):
        pixels = data.pixels_of(image)
        merged, taps, _ = self.model.visual(pixels[None])
        return [self.greedy(pixels, merged, taps, q, limit) for q in asked_questions]

    def greedy(self, pixels, merged, taps, question, limit):
        seq = prompt(pixels, question, self.flatten)
        tokens, n = torch.tensor([seq.tokens]), len(seq.tokens)
        cache, end = Cache(), prompts.ID["<|im_end|>"]
        hidden = self.model.decode(tokens, torch.tensor([seq.positions]), torch.ones(n, n, dtype=torch.bool).tril()[None, None], tokens == prompts.ID["<|image_pad|>"],
                                   merged, taps, cache)
        out, at = [], seq.next
        while len(out) < limit:
            token = int(self.model.logits(hidden[:, -1]).argmax())
            if token == end:
                break
            out.append(token)
            hidden = self.model.decode(torch.tensor([[token]]), torch.full((1, 1, 3), at), None, cache=cache)
            at += 1
        return prompts.TOKENIZER.decode(out)


class OcelliEngine:
    def __init__(self, binary, model, mmproj):
        self.command = [binary, "run", "--json", "-n", "330"] + (["-m", model, "--mmproj", mmproj] if model else [])

    def answers(self, image, asked_questions):
        with tempfile.NamedTemporaryFile(suffix=".png") as f:
            image.save(f, "PNG")
            f.flush()
            return [json.loads(subprocess.run(self.command + ["--image", f.name, q], capture_output=True, check=True).stdout)["answer"] for q in asked_questions]


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0, w) * max(0, h)
    area = lambda r: max(0, r[2] - r[0]) * max(0, r[3] - r[1])
    return inter / max(1e-9, area(a) + area(b) - inter)


def score(task, answer, truth):
    """1 or 0 for an exact answer; for boxes the IoU (0 for what is no box)."""
    if task != "boxes":
        return float(answer.strip() == truth)
    try:
        return iou([float(v) for v in json.loads(answer)[0]["bbox_2d"]], json.loads(truth)[0]["bbox_2d"])
    except (ValueError, KeyError, IndexError, TypeError):
        return 0.0


def engine_of(a):
    if a.engine == "ocelli":
        pair = (os.path.join(a.pair, export.TEXT), os.path.join(a.pair, export.PROJECTOR)) if a.pair else (None, None)
        return OcelliEngine(a.binary, *pair)
    if a.checkpoint:
        state = torch.load(a.checkpoint, weights_only=False, mmap=True)
        model = export.Model(export.Config())
        model.load_state_dict(state["average"])
        return TorchEngine(model, a.flatten_positions)
    return TorchEngine(export.read_pair(a.pair), a.flatten_positions)


def work(a, part):
    """Scores of every `a.jobs`-th picture: list of (index, task, score, question, truth, answer)."""
    torch.set_num_threads(1)
    engine, out = engine_of(a), []
    torch.set_num_threads(1)
    for index in range(a.first + part, a.first + a.count, a.jobs):
        _, image, rows = asked(a.split, index)
        for (task, q, truth), answer in zip(rows, engine.answers(image, [q for _, q, _ in rows])):
            out.append((index, task, score(task, answer, truth), q, truth, answer))
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--engine", choices=["torch", "ocelli"], default="torch")
    p.add_argument("--pair", help="folder of the GGUF pair")
    p.add_argument("--checkpoint", help="evaluate a training checkpoint (averaged weights) in place of a pair")
    p.add_argument("--binary", default="ocelli")
    p.add_argument("--split", choices=["validation", "heldout"], default="heldout")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--flatten-positions", action="store_true")
    p.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    p.add_argument("--wrong", help="write the wrong answers to this file")
    a = p.parse_args()
    with multiprocessing.get_context("spawn").Pool(a.jobs) as pool:
        rows = sum(pool.starmap(work, [(a, k) for k in range(a.jobs)]), [])
    scores = defaultdict(list)
    for _, task, s, _, _, _ in sorted(rows):
        scores[task].append(s)
    print(f"{a.count} pictures of the set `{a.split}`" + (", image positions flattened" if a.flatten_positions else ""))
    print("| task | questions | right |\n| --- | --- | --- |")
    for task in TASKS:
        if scores[task]:
            v = np.array(scores[task])
            text = f"mean IoU {v.mean():.3f}, {100 * (v >= 0.5).mean():.1f} % over 0.5" if task == "boxes" else f"{100 * v.mean():.1f} %"
            print(f"| {task} | {len(v)} | {text} |")
    if a.wrong:
        with open(a.wrong, "w") as f:
            for index, task, s, q, truth, answer in sorted(rows):
                if s < 0.5:
                    f.write(f"{a.split} {index} [{task}] {q}\n  truth  {truth}\n  answer {answer}\n\n")


if __name__ == "__main__":
    main()
