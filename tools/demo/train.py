"""Trains the demo model from scratch: first the tower alone on dense labels (`--stage vision`), then everything (`--stage full`)."""

import argparse
import json
import os
import time

import numpy as np
import torch

import data
import prompts
from model import Config, Heads, Model
from muon import Muon

WEIGHTS = {"shape": 1.0, "color": 1.0, "size": 0.5, "centre": 1.0, "box": 0.5, "chars": 1.0, "index": 0.5, "cell_chars": 2.0, "cell_index": 0.3, "place": 0.5, "digit": 0.3}


def aux_loss(heads, merged, taps, patches, batch):
    y = {k[2:]: v for k, v in batch.items() if k.startswith("y_")}
    losses, stats = heads(merged.float(), [t.float() for t in taps], patches.float(), y)
    total = sum(WEIGHTS[k] * v for k, v in losses.items())
    return total, {**{k: v.item() for k, v in losses.items()}, **{k: v.item() for k, v in stats.items()}}


def kind(name, p):
    """Parameter group. Pixels of a patch are much alike, so Adam's steps on the patch embedding add up: it learns ten times slower.
    The gains of queries and keys set how sharp attention can get and must grow several times over: they learn faster."""
    if "patch_embed" in name:
        return "patch"
    if "q_norm" in name or "k_norm" in name:
        return "gain"
    if p.ndim < 2 or "pos_embed" in name:
        return "vector"
    return "matrix" if "language_model.layers" in name or "visual" in name else "table"


class Run:
    """Model, heads, averaged weights and optimiser, saved and loaded together."""

    def __init__(self, path, rate, decay=0.05):
        self.path, self.step, self.pictures = path, 0, 0
        self.model = Model(Config())
        self.heads = Heads(self.model.c)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        named = [(n, p) for m in (self.model, self.heads) for n, p in m.named_parameters()]
        groups = [{"params": [p for n, p in named if kind(n, p) == k], "weight_decay": w, "scale": s}
                  for k, w, s in (("table", decay, 1.0), ("vector", 0.0, 1.0), ("patch", 0.0, 0.1), ("gain", 0.0, 8.0))]
        self.optimizers = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True),
                           Muon([(n, p) for n, p in named if kind(n, p) == "matrix"], rate, decay)]

    def zero_grad(self):
        for o in self.optimizers:
            o.zero_grad()

    def update(self, rate):
        for o in self.optimizers:
            for g in o.param_groups:
                g["lr"] = rate * g["scale"]
            o.step()

    def update_average(self, decay):
        with torch.no_grad():
            state = self.model.state_dict()
            torch._foreach_lerp_(list(self.average.values()), [state[k] for k in self.average], 1 - decay)

    def save(self):
        state = {"model": self.model.state_dict(), "heads": self.heads.state_dict(), "average": self.average,
                 "optimizers": [o.state_dict() for o in self.optimizers], "step": self.step, "pictures": self.pictures, "config": self.model.c.as_dict()}
        torch.save(state, self.path + ".part")
        os.replace(self.path + ".part", self.path)

    def load(self, path):
        if os.path.isdir(path):  # a GGUF pair: weights only, fresh heads and optimiser state
            import export
            self.model.load_state_dict(export.read_pair(path).state_dict())
            self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.pictures = int(time.time()) % 1_000_000 * 1000  # other pictures than the pair was trained on
            return
        state = torch.load(path, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"], strict=False)
        self.average = state["average"]
        for o, kept in zip(self.optimizers, state.get("optimizers", [])):
            try:
                o.load_state_dict(kept)
            except ValueError:
                print("optimiser state of another layout left out", flush=True)
        self.step, self.pictures = state["step"], state["pictures"]


def vision_stage(run, a):
    loader = torch.utils.data.DataLoader(data.Stream(a.batch, run.pictures, data.collate_vision, pseudo=0.5, dense=0.55), batch_size=None, num_workers=1, prefetch_factor=4)
    start, seen = time.time(), 0
    for batch in loader:
        with torch.autocast("cpu", torch.bfloat16):
            merged, taps, patches = run.model.visual(batch["pixels"], torch.bfloat16)
        loss, log = aux_loss(run.heads, merged, taps, patches, batch)
        run.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(run.model.visual.parameters()) + list(run.heads.parameters()), 2.0)
        run.update(a.rate * min(1, (run.step + 1) / 60))
        run.update_average(0.99)
        run.step += 1
        run.pictures += a.batch
        seen += a.batch
        if run.step % 20 == 0:
            print(json.dumps({"step": run.step, "loss": round(loss.item(), 3), "norm": round(norm.item(), 2), "per_s": round(seen / (time.time() - start), 1),
                              **{k: round(v, 3) for k, v in log.items()}}), flush=True)
        if run.step % 100 == 0:
            run.save()
        if time.time() - start > a.minutes * 60:
            break
    run.save()


BUDGET = 168  # conversation tokens after each picture


class Extra:
    """Adds the text side to a record (runs in the loader's process)."""

    def __call__(self, row, rng):
        prompts.training_sequence(row, rng, BUDGET)


class CollateFull:
    """Batches of single pictures, and with chance `pairs` of two pictures a sequence."""

    def __init__(self, pairs):
        self.pairs, self.rng = pairs, np.random.default_rng(time.time_ns())

    def __call__(self, rows):
        batch = data.collate_vision(rows)
        if self.rng.random() < self.pairs:
            rows = [{"sequence": prompts.pair_sequence(rows[i:i + 2], self.rng, BUDGET)} for i in range(0, len(rows), 2)]
        return collate_text(batch, rows)


def collate_text(batch, rows):
    longest = max(len(r["sequence"].tokens) for r in rows)
    arrays, tasks = prompts.collate(rows, -(-longest // 16) * 16)
    batch.update({k: torch.from_numpy(v) for k, v in arrays.items()})
    batch["tasks"] = tasks
    return batch


def mask_of(branch):
    """`[batch, 1, sequence, sequence]`: a token sees the picture (branch 0) and its own branch, never later tokens; a negative
    branch stands without the picture."""
    n = branch.shape[1]
    same = branch[:, :, None] == branch[:, None, :]
    picture = (branch[:, None, :] == 0) & (branch[:, :, None] > 0)
    return ((same | picture) & torch.ones(n, n, dtype=torch.bool).tril())[:, None]


def language_loss(model, batch, merged, taps, log=None):
    hidden = model.decode(batch["tokens"], batch["positions"], mask_of(batch["branch"]), batch["tokens"] == prompts.ID["<|image_pad|>"], merged, taps)
    at = batch["target"] >= 0
    logits = model.logits(hidden[at]).float()
    target = batch["target"][at]
    loss = (torch.nn.functional.cross_entropy(logits, target, reduction="none") * batch["weight"][at]).mean()
    if log is not None:
        right = torch.ones(len(batch["tasks"]), dtype=torch.long)
        right.scatter_reduce_(0, batch["answer"][at], (logits.argmax(-1) == target).long(), "amin")
        for task, ok in zip(batch["tasks"], right.tolist()):
            n, k = log.get(task, (0.0, 0.0))
            log[task] = (n * 0.997 + 1, k * 0.997 + ok)
    return loss


POINTED = {1: 0.3, 2: 1.0, 3: 1.0}  # layers whose first heads learn where to look, with weights


def pointer_loss(model, batch):
    """How little the first heads attend to the cells that the next token speaks of."""
    row, query, start = batch["points"].unbind(1)
    look = batch["looks"]
    columns = start[:, None] + torch.arange(look.shape[2])
    total = 0
    for i, weight in POINTED.items():
        seen = model.text.layers[i].seen[row, :, query]  # [points, heads, keys]
        seen = seen.gather(2, columns[:, None].expand(-1, seen.shape[1], -1)).masked_fill(~look, -1e9)
        total = total - weight * seen.logsumexp(-1).mean()
    return total / sum(POINTED.values())


def full_rate(a, run, now):
    """Warm-up, plateau, then a straight line down over the last `--cooldown` minutes before the deadline."""
    left = (a.end - now) / (a.cooldown * 60)
    return a.rate * min(1, (run.step - run.start + 1) / 60) * min(1, max(left, 0.03))


def full_stage(run, a):
    loader = torch.utils.data.DataLoader(data.Stream(a.batch, run.pictures, CollateFull(a.pairs), Extra(), dense=a.dense), batch_size=None, num_workers=1, prefetch_factor=6)
    for i in POINTED:
        run.model.text.layers[i].watch = True
    start, seen, log, saved, run.start, ema = time.time(), 0, {}, time.time(), run.step, None
    parameters = list(run.model.parameters()) + list(run.heads.parameters())
    for batch in loader:
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(not a.freeze_vision):
                merged, taps, patches = run.model.visual(batch["pixels"], torch.bfloat16)
            loss = language_loss(run.model, batch, merged, taps, log)
        run.zero_grad()
        if a.freeze_vision:
            aux, values = torch.zeros(()), {}
            point = pointer_loss(run.model, batch) if "points" in batch else torch.zeros(())
            values["a_point"] = (-point).exp().item()
            (loss * a.text_weight + a.point * point).backward()
        else:
            aux, values = aux_loss(run.heads, merged, taps, patches, batch)
            point = pointer_loss(run.model, batch) if "points" in batch else torch.zeros(())
            values["a_point"] = (-point).exp().item()
            (loss * a.text_weight + a.aux * aux + a.point * point).backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.5)
        rate = full_rate(a, run, time.time())
        run.update(rate)
        run.step += 1
        run.update_average(min(0.998, 1 - 10 / (10 + run.step - run.start)))
        run.pictures += a.batch
        seen += a.batch
        ema = loss.item() if ema is None else 0.95 * ema + 0.05 * loss.item()
        if run.step % 25 == 0:
            rates = {t: round(k / n, 2) for t, (n, k) in sorted(log.items())}
            print(json.dumps({"step": run.step, "lm": round(ema, 4), "aux": round(aux.item(), 3), "norm": round(norm.item(), 2), "lr": round(rate, 6),
                              "per_s": round(seen / (time.time() - start), 1), "right": rates,
                              **{k: round(v, 3) for k, v in values.items() if k in ("chars", "box", "shape") or k[1] == "_"}}), flush=True)
        if time.time() - saved > 180 or time.time() > a.end:
            run.save()
            saved = time.time()
        if time.time() > a.end:
            break


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--stage", choices=["vision", "full"], default="full")
    p.add_argument("--out", required=True, help="checkpoint to write")
    p.add_argument("--resume", help="checkpoint, or folder of a GGUF pair, to go on from")
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--rate", type=float, default=1.5e-3)
    p.add_argument("--cooldown", type=float, default=25, help="minutes of falling rate at the end")
    p.add_argument("--aux", type=float, default=1.0, help="weight of the dense labels")
    p.add_argument("--text-weight", type=float, default=1.0)
    p.add_argument("--point", type=float, default=0.5, help="weight of showing attention where to look")
    p.add_argument("--freeze-vision", action="store_true", help="train the language side alone, nearly twice as fast")
    p.add_argument("--dense", type=float, default=0.2, help="part of the pictures with many texts")
    p.add_argument("--pairs", type=float, default=0.0, help="part of the batches with two pictures a conversation")
    p.add_argument("--threads", type=int, default=3)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    run = Run(a.out, a.rate)
    if a.resume:
        run.load(a.resume)
    else:
        w, b = data.whitening(run.model.c.width)
        proj = run.model.visual.patch_embed.proj
        proj.weight.data.copy_((w.view(-1, 3, 1, 16, 16) / 2).expand_as(proj.weight))
        proj.bias.data.copy_(b)
    torch.set_num_threads(a.threads)
    if a.stage == "vision":
        vision_stage(run, a)
    else:
        a.end = time.time() + a.minutes * 60
        full_stage(run, a)


if __name__ == "__main__":
    main()
