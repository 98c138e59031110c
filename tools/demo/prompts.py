"""Token sequences for training: one picture, then several independent conversations about it that share its tokens.

Every conversation ("branch") attends to the picture and to itself only and takes the positions it would have alone, so one pass
over the picture serves them all and each branch equals a sequence of its own. Branches may also stand without the picture.
"""

import numpy as np

import pointers
import questions
import tokenizer

TOKENIZER = tokenizer.load()
ID = {s: TOKENIZER.token_to_id(s) for s in tokenizer.SPECIAL}
SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant.", "Answer briefly.", "You describe pictures.", "Be short and exact.", "You are Ocelli."]
CACHE = {}


def encode(text):
    ids = CACHE.get(text)
    if ids is None:
        ids = TOKENIZER.encode(text, add_special_tokens=False).ids
        if len(CACHE) < 20000:
            CACHE[text] = ids
    return ids


NEWLINE = encode("\n")
USER = [ID["<|im_start|>"]] + encode("user") + NEWLINE
ASSISTANT = [ID["<|im_end|>"]] + NEWLINE + [ID["<|im_start|>"]] + encode("assistant") + NEWLINE
NEXT = NEWLINE + USER


def system_turn(text):
    return [ID["<|im_start|>"]] + encode("system") + NEWLINE + encode(text) + [ID["<|im_end|>"]] + NEWLINE


DIGITS = {encode(str(d))[0] for d in range(10)}
TASK_WEIGHTS = {"counts": 3.0, "words": 1.5, "numbers": 1.5}  # few of their tokens are hard, and these are hard to learn
PLACE_WEIGHTS = (0.2, 1.5, 3.0, 1.0)  # of units, tens, hundreds, thousands


def coordinate_weights(ids):
    """Weights of the tokens of a box answer: a wrong first digit of a coordinate spoils the box, a wrong last one hardly shows."""
    weights, place = [], 0
    for t in reversed(ids):
        weights.append(PLACE_WEIGHTS[min(place, 3)] if t in DIGITS else 1.0)
        place = place + 1 if t in DIGITS else 0
    return weights[::-1]


class Sequence:
    """Tokens, positions `[n, 3]`, branch numbers, targets and their weights in the loss, under construction."""

    def __init__(self):
        self.tokens, self.positions, self.branch, self.target, self.weight, self.answer, self.tasks = [], [], [], [], [], [], []
        self.points = []  # (token that predicts, cells to look at)
        self.next = 0

    def text(self, ids, branch, answer=None):
        for t in ids:
            self.tokens.append(t)
            self.positions.append((self.next,) * 3)
            self.branch.append(branch)
            self.target.append(-100)
            self.weight.append(1.0)
            self.answer.append(-1)
            self.next += 1
        if answer is not None:  # position i predicts token i + 1; the first is predicted by the token before the answer
            n = len(self.tokens)
            self.tasks.append(answer)
            for i in range(n - len(ids) - 1, n - 1):
                self.target[i], self.answer[i] = self.tokens[i + 1], len(self.tasks) - 1
            weights = coordinate_weights(ids) if answer == "boxes" else [TASK_WEIGHTS.get(answer, 1.0)] * len(ids)
            self.weight[n - len(ids) - 1:n - 1] = weights

    def image(self, lh, lw, flatten=False):
        self.text([ID["<|vision_start|>"]], 0)
        p = self.next
        for r in range(lh):
            for c in range(lw):
                self.tokens.append(ID["<|image_pad|>"])
                self.positions.append((p + r * lw + c,) * 3 if flatten else (p, p + r, p + c))
                self.branch.append(0)
                self.target.append(-100)
                self.weight.append(1.0)
                self.answer.append(-1)
        self.next = p + (lh * lw if flatten else max(lh, lw))
        self.text([ID["<|vision_end|>"]], 0)


def turn(seq, branch, task, q, answer, scene=None, size=None):
    seq.text(encode(q) + ASSISTANT, branch)
    if scene:
        offsets, before = TOKENIZER.encode(answer, add_special_tokens=False).offsets, len(seq.tokens) - 1
        for first, end, boxes in pointers.spans(scene, answer):
            on = pointers.cells(scene, boxes, *size)
            if on.any(1).all():
                seq.points += [(before + k, on) for k, (u, v) in enumerate(offsets) if u < end and v > first]
    seq.text(encode(answer) + [ID["<|im_end|>"]], branch, task)


def training_sequence(row, rng, budget):
    """Fills the sequence with conversations up to `budget` tokens after the picture."""
    scene, (_, height, width) = row["scene"], row["pixels"].shape
    seq = Sequence()
    if rng.random() < 0.06:
        seq.text(system_turn(SYSTEMS[rng.integers(len(SYSTEMS))]), 0)
    seq.text(USER, 0)
    seq.image(height // 32, width // 32)
    start, first, branch, misses = seq.next, len(seq.tokens), 1, 0
    while misses < 3:
        seq.next = start
        turns = [questions.ask(scene, rng) for _ in range(1 if rng.random() < 0.85 else 2)]
        alone = rng.random() < 0.025
        if alone:
            turns = [questions.chat(rng, False)]
        need = sum(len(encode(q)) + len(encode(x)) + 16 for _, q, x in turns) + (5 if alone else 0)
        if len(seq.tokens) - first + need > budget:
            misses += 1
            continue
        if alone:
            seq.next = 0
            seq.text(USER, -branch)
        for i, (task, q, answer) in enumerate(turns):
            if i:
                seq.text(NEXT, branch)
            turn(seq, -branch if alone else branch, task, q, answer, None if alone else scene, (height // 32, width // 32))
        branch += 1
    row["sequence"] = seq


def pair_sequence(rows, rng, budget):
    """One sequence about two pictures: both in the first turn, or the second one shown later in the conversation."""
    scenes = [r["scene"] for r in rows]
    (_, height, width), seq = rows[0]["pixels"].shape, Sequence()
    seq.text(USER, 0)
    seq.image(height // 32, width // 32)
    if rng.random() < 0.4:
        turn(seq, 0, *questions.ask(scenes[0], rng))
        seq.text(NEXT, 0)
        seq.image(height // 32, width // 32)
        turn(seq, 0, *questions.ask(scenes[1], rng))
        return seq
    seq.image(height // 32, width // 32)
    start, first, branch = seq.next, len(seq.tokens), 1
    for _ in range(6):
        task, q, answer = questions.ask_two(scenes, rng)
        if len(seq.tokens) - first + len(encode(q)) + len(encode(answer)) + 16 <= budget:
            seq.next = start
            turn(seq, branch, task, questions.careless(rng, q), answer)
            branch += 1
    return seq


def collate(rows, length):
    """Arrays of a batch, padded to `length` tokens."""
    b = len(rows)
    out = {"tokens": np.zeros((b, length), np.int64), "positions": np.zeros((b, length, 3), np.int64), "branch": np.full((b, length), 99, np.int64),
           "target": np.full((b, length), -100, np.int64), "weight": np.ones((b, length), np.float32), "answer": np.full((b, length), -1, np.int64)}
    tasks, points, looks = [], [], []
    for i, row in enumerate(rows):
        s = row["sequence"]
        start = s.tokens.index(ID["<|image_pad|>"])
        points += [(i, k, start) for k, _ in s.points]
        looks += [on for _, on in s.points]
        n = len(s.tokens)
        out["tokens"][i, :n], out["positions"][i, :n], out["branch"][i, :n], out["target"][i, :n] = s.tokens, s.positions, s.branch, s.target
        out["weight"][i, :n] = s.weight
        answer = np.array(s.answer)
        out["answer"][i, :n] = np.where(answer >= 0, answer + len(tasks), -1)
        tasks += s.tasks
    if points:
        out["points"], out["looks"] = np.array(points), np.stack(looks)
    return out, tasks
