"""The demo model: Qwen3-VL (dense) in plain PyTorch, with the parameter names of transformers' Qwen3VLForConditionalGeneration.

Every batch holds pictures of one grid, so that the vision tower needs no padding. `check_hf.py` shows that the logits equal those
of transformers. `Heads` is the dense supervision of training; it is not part of the exported model.
"""

import math
from dataclasses import asdict, dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab: int = 1280
    # vision
    width: int = 160
    vision_layers: int = 6
    vision_heads: int = 5
    vision_mlp: int = 640
    deepstack: list = field(default_factory=lambda: [1, 3])
    position_side: int = 16
    patch: int = 16
    # text
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    mlp: int = 640
    theta: float = 10000.0
    sections: list = field(default_factory=lambda: [12, 10, 10])
    eps: float = 1e-6
    context: int = 4096
    # image budget in pixels
    min_pixels: int = 48 * 1024
    max_pixels: int = 64 * 1024

    def as_dict(self):
        return asdict(self)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class VisionBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c.width
        self.heads = c.vision_heads
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-6), nn.LayerNorm(d, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(d, 3 * d), "proj": nn.Linear(d, d)})
        self.mlp = nn.ModuleDict({"linear_fc1": nn.Linear(d, c.vision_mlp), "linear_fc2": nn.Linear(c.vision_mlp, d)})

    def forward(self, x, cos, sin):
        b, n, d = x.shape
        qkv = self.attn["qkv"](self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        # Attention in float32: on CPUs torch's kernel is faster there than in bfloat16.
        qkv = qkv.float()
        q, k = rotate(qkv[0], cos, sin), rotate(qkv[1], cos, sin)
        y = F.scaled_dot_product_attention(q, k, qkv[2]).transpose(1, 2).reshape(b, n, d).to(x.dtype)
        x = x + self.attn["proj"](y)
        return x + self.mlp["linear_fc2"](F.gelu(self.mlp["linear_fc1"](self.norm2(x)), approximate="tanh"))


class Merger(nn.Module):
    def __init__(self, c, norm_after):
        super().__init__()
        d = c.width * 4
        self.norm_after = norm_after
        self.norm = nn.LayerNorm(d if norm_after else c.width, eps=1e-6)
        self.linear_fc1, self.linear_fc2 = nn.Linear(d, d), nn.Linear(d, c.hidden)

    def forward(self, x):
        b, n, d = x.shape
        x = self.norm(x.view(b, n // 4, 4 * d)) if self.norm_after else self.norm(x).view(b, n // 4, 4 * d)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class PatchEmbed(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.proj = nn.Conv3d(3, c.width, (2, c.patch, c.patch), (2, c.patch, c.patch))

    def forward(self, patches):
        # Both temporal slices see the same still picture, so one product with their sum does.
        w = self.proj.weight.sum(2).flatten(1)
        return F.linear(patches, w.to(patches.dtype), self.proj.bias.to(patches.dtype))


def block_order(gh, gw):
    """Row and column of each patch in the order of the sequence (2 x 2 blocks)."""
    r = torch.arange(gh).view(gh // 2, 1, 2, 1).expand(gh // 2, gw // 2, 2, 2).reshape(-1)
    c = torch.arange(gw).view(1, gw // 2, 1, 2).expand(gh // 2, gw // 2, 2, 2).reshape(-1)
    return r, c


def patchify(pixels):
    """`[batch, 3, height, width]` uint8 -> `[batch, patches, 768]`, normalised with mean and deviation 0.5."""
    b, _, h, w = pixels.shape
    x = pixels.view(b, 3, h // 32, 2, 16, w // 32, 2, 16).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return (x.reshape(b, h * w // 256, 768).float() - 127.5) / 127.5


def waves(side, width):
    """Starting position table: sines and cosines of both coordinates, so that places are told apart from the first step."""
    n = width // 4
    f = math.pi * torch.exp(torch.linspace(math.log(0.5), math.log(side / 2), n))
    at = torch.linspace(0, 1, side)[:, None] * f
    one = torch.cat((at.sin(), at.cos()), 1)
    return torch.cat((one[:, None].expand(side, side, -1), one[None].expand(side, side, -1)), 2).reshape(side * side, width)


class Vision(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.patch_embed = PatchEmbed(c)
        self.pos_embed = nn.Embedding(c.position_side ** 2, c.width)
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c.vision_layers))
        self.merger = Merger(c, False)
        self.deepstack_merger_list = nn.ModuleList(Merger(c, True) for _ in c.deepstack)

    def positions(self, gh, gw):
        r, c = block_order(gh, gw)
        side = self.c.position_side
        y, x = r.float() * (side - 1) / max(gh - 1, 1), c.float() * (side - 1) / max(gw - 1, 1)
        y0, x0 = y.long().clamp(max=side - 1), x.long().clamp(max=side - 1)
        y1, x1 = (y0 + 1).clamp(max=side - 1), (x0 + 1).clamp(max=side - 1)
        fy, fx = (y - y0)[:, None], (x - x0)[:, None]
        table = self.pos_embed.weight
        return ((1 - fy) * (1 - fx) * table[y0 * side + x0] + (1 - fy) * fx * table[y0 * side + x1]
                + fy * (1 - fx) * table[y1 * side + x0] + fy * fx * table[y1 * side + x1])

    def angles(self, gh, gw):
        r, c = block_order(gh, gw)
        half = self.c.width // self.c.vision_heads // 2
        inv = 10000.0 ** (-torch.arange(0, half, 2).float() / half)
        a = torch.cat((r[:, None] * inv, c[:, None] * inv), 1)
        a = torch.cat((a, a), 1)
        return a.cos(), a.sin()

    def forward(self, pixels, dtype=torch.float32):
        """`[batch, 3, height, width]` uint8 -> merged tokens, list of deepstack tokens, last patch states."""
        gh, gw = pixels.shape[2] // 16, pixels.shape[3] // 16
        x = self.patch_embed(patchify(pixels).to(dtype)) + self.positions(gh, gw).to(dtype)
        cos, sin = self.angles(gh, gw)
        taps = []
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin)
            if i in self.c.deepstack:
                taps.append(self.deepstack_merger_list[self.c.deepstack.index(i)](x))
        return self.merger(x), taps, x


class RmsNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


class TextLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.watch = self.seen = None  # while training: log attention of the first heads, for `train.pointer_loss`
        h, d = c.hidden, c.head_dim
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(h, c.eps), RmsNorm(h, c.eps)
        self.self_attn = nn.ModuleDict({
            "q_proj": nn.Linear(h, c.heads * d, bias=False), "k_proj": nn.Linear(h, c.kv_heads * d, bias=False),
            "v_proj": nn.Linear(h, c.kv_heads * d, bias=False), "o_proj": nn.Linear(c.heads * d, h, bias=False),
            "q_norm": RmsNorm(d, c.eps), "k_norm": RmsNorm(d, c.eps)})
        self.mlp = nn.ModuleDict({"gate_proj": nn.Linear(h, c.mlp, bias=False), "up_proj": nn.Linear(h, c.mlp, bias=False),
                                  "down_proj": nn.Linear(c.mlp, h, bias=False)})

    def forward(self, x, cos, sin, mask, cache=None):
        b, s, _ = x.shape
        c, a = self.c, self.self_attn
        h = self.input_layernorm(x)
        q = rotate(a["q_norm"](a["q_proj"](h).view(b, s, c.heads, c.head_dim)), cos, sin).transpose(1, 2)
        k = rotate(a["k_norm"](a["k_proj"](h).view(b, s, c.kv_heads, c.head_dim)), cos, sin).transpose(1, 2)
        v = a["v_proj"](h).view(b, s, c.kv_heads, c.head_dim).transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(self, k, v)
        if self.watch is not None:
            n = c.heads // c.kv_heads
            seen = (q[:, :n].float() @ k[:, :1].float().transpose(-1, -2)) * c.head_dim ** -0.5
            self.seen = seen.masked_fill(~mask, -1e9).log_softmax(-1)
        k, v = (t.repeat_interleave(c.heads // c.kv_heads, 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask).transpose(1, 2).reshape(b, s, -1)
        x = x + a["o_proj"](y.to(x.dtype))
        m, h = self.mlp, self.post_attention_layernorm(x)
        return x + m["down_proj"](F.silu(m["gate_proj"](h)) * m["up_proj"](h))


class Text(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(TextLayer(c) for _ in range(c.layers))
        self.norm = RmsNorm(c.hidden, c.eps)

    def angles(self, positions):
        """`[batch, sequence, 3]` positions -> cos and sin `[batch, sequence, 1, head_dim]`, axes interleaved over the frequencies."""
        half = self.c.head_dim // 2
        axis = torch.zeros(half, dtype=torch.long)
        axis[1:3 * self.c.sections[1]:3], axis[2:3 * self.c.sections[2]:3] = 1, 2
        inv = self.c.theta ** (-torch.arange(half).float() / half)
        a = positions.float()[..., axis] * inv
        a = torch.cat((a, a), -1)[:, :, None]
        return a.cos(), a.sin()


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.model = nn.ModuleDict({"visual": Vision(c), "language_model": Text(c)})
        self.apply(self.init)
        self.visual.pos_embed.weight.data.copy_(waves(c.position_side, c.width) * 0.5)
        for block in self.visual.blocks:
            for m in (block.attn["proj"], block.mlp["linear_fc2"]):
                nn.init.normal_(m.weight, std=0.03 / (2 * c.vision_layers) ** 0.5)
        for layer in self.text.layers:
            for m in (layer.self_attn["o_proj"], layer.mlp["down_proj"]):
                nn.init.normal_(m.weight, std=0.03 / (2 * c.layers) ** 0.5)

    @staticmethod
    def init(m):
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=m.in_features ** -0.5 * 0.7)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, std=0.03)
        elif isinstance(m, nn.Conv3d):
            nn.init.normal_(m.weight, std=0.005)
            nn.init.zeros_(m.bias)

    @property
    def visual(self):
        return self.model["visual"]

    @property
    def text(self):
        return self.model["language_model"]

    def decode(self, tokens, positions, mask, image_at=None, merged=None, taps=(), cache=None):
        """Final hidden states. `image_at` `[batch, sequence]` bool marks the image tokens, filled in order from `merged`."""
        t = self.text
        x = F.embedding(tokens, t.embed_tokens.weight)
        dtype = merged.dtype if merged is not None else x.dtype
        x = x.to(dtype)
        if image_at is not None:
            at = image_at.nonzero(as_tuple=True)
            x = x.index_put(at, merged.reshape(-1, merged.shape[-1]).to(dtype))
        cos, sin = (v.to(dtype) for v in t.angles(positions))
        for i, layer in enumerate(t.layers):
            x = layer(x, cos, sin, mask, cache)
            if image_at is not None and i < len(taps):
                x = x.index_put(at, taps[i].reshape(-1, x.shape[-1]).to(dtype), accumulate=True)
        return t.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.text.embed_tokens.weight.to(hidden.dtype))


class Heads(nn.Module):
    """Dense supervision of the tower: what each 32 x 32 cell shows, and which characters are centred in each 16 x 16 patch."""

    SHAPES, COLORS, BINS, CHARACTERS, SLOTS, INDEXES = 8, 10, 41, 63, 3, 12

    def __init__(self, c):
        super().__init__()
        self.cell = nn.Linear(c.hidden, self.SHAPES + self.COLORS + 2 + 2 + 4 * self.BINS)
        self.patch = nn.Linear(c.width, self.SLOTS * self.CHARACTERS + self.INDEXES)
        self.cell_letters = nn.Linear(c.hidden, 4 * self.SLOTS * self.CHARACTERS)
        self.cell_index, self.cell_place, self.cell_digit = nn.Linear(c.hidden, 4 * self.INDEXES), nn.Linear(c.hidden, 9), nn.Linear(c.hidden, 40)

    def forward(self, merged, taps, patches, y):
        cell = self.cell(merged).float().view(-1, self.cell.out_features)
        shape, color, size, centre, box = cell.split([self.SHAPES, self.COLORS, 2, 2, 4 * self.BINS], 1)
        out = {}
        s = y["shape"].view(-1)
        weight = torch.ones(self.SHAPES)
        weight[0] = 0.3
        out["shape"] = F.cross_entropy(shape, s, weight)
        out["color"] = F.cross_entropy(color, y["color"].view(-1), ignore_index=-100)
        out["size"] = F.cross_entropy(size, y["size"].view(-1), ignore_index=-100)
        out["centre"] = F.cross_entropy(centre, y["centre"].view(-1), torch.tensor([0.3, 1.0]))
        on = s > 0
        target = y["box"].view(-1, 4)[on] * (self.BINS - 1)
        low = target.floor().clamp(0, self.BINS - 2)
        f = (target - low).clamp(0, 1)
        logp = box[on].view(-1, 4, self.BINS).log_softmax(-1)
        low = low.long()[..., None]
        nll = -((1 - f) * logp.gather(-1, low)[..., 0] + f * logp.gather(-1, low + 1)[..., 0])
        out["box"] = nll.mean()
        p = self.patch(patches).float().view(-1, self.patch.out_features)
        chars, index = p.split([self.SLOTS * self.CHARACTERS, self.INDEXES], 1)
        cw = torch.ones(self.CHARACTERS)
        cw[0] = 0.03
        out["chars"] = F.cross_entropy(chars.reshape(-1, self.CHARACTERS), y["chars"].view(-1), cw)
        out["index"] = F.cross_entropy(index, y["index"].view(-1), ignore_index=-100)
        letters = self.cell_letters(merged + sum(taps)).float().view(-1, self.CHARACTERS)
        out["cell_chars"] = F.cross_entropy(letters, y["chars"].view(-1), cw)
        out["cell_index"] = F.cross_entropy(self.cell_index(merged).float().view(-1, self.INDEXES), y["index"].view(-1), ignore_index=-100)
        seen, edges = merged.reshape(-1, merged.shape[-1])[on], y["box"].view(-1, 4)[on]
        third = ((edges[:, :2] + edges[:, 2:]) * 1.5).long().clamp(0, 2)
        out["place"] = F.cross_entropy(self.cell_place(seen).float(), third[:, 1] * 3 + third[:, 0])
        out["digit"] = F.cross_entropy(self.cell_digit(seen).float().view(-1, 10), (edges * 10).long().clamp(0, 9).view(-1))
        with torch.no_grad():
            pred = chars.reshape(-1, self.CHARACTERS).argmax(-1)
            t = y["chars"].view(-1)
            centres = (torch.softmax(box[on].view(-1, 4, self.BINS), -1) * torch.arange(self.BINS)).sum(-1) / (self.BINS - 1)
            stats = {"a_shape": (shape.argmax(-1) == s)[on].float().mean(), "a_color": (color.argmax(-1) == y["color"].view(-1))[y["color"].view(-1) >= 0].float().mean(),
                     "a_char": (pred == t)[t > 0].float().mean(),
                     "a_cell_char": (letters.argmax(-1) == t)[t > 0].float().mean(), "e_box": (centres - y["box"].view(-1, 4)[on]).abs().mean()}
        return out, stats
