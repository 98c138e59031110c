"""Muon for the matrices of the model: momentum whose singular values are all made one, by a few Newton-Schulz steps.

Everything that is not a matrix of a layer stays with AdamW.
"""

import torch


def orthogonal(g):
    """`[count, m, n]` with m <= n -> matrices with the same singular vectors and singular values near one."""
    x = g.to(torch.bfloat16)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return x.float()


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are handled as one batch; `parts` rows groups (a fused qkv is three matrices)."""

    def __init__(self, named, lr, weight_decay=0.05, momentum=0.95):
        groups = {}
        for name, p in named:
            parts = 3 if name.endswith("qkv.weight") else 1
            m, n = p.shape[0] // parts, p.shape[1]
            groups.setdefault((min(m, n), max(m, n)), []).append((p, parts, m > n))
        super().__init__([{"params": [p for p, _, _ in v], "layout": [(k, t) for _, k, t in v], "scale": 1.0} for v in groups.values()],
                         {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            rows, live = [], [(p, layout) for p, layout in zip(group["params"], group["layout"]) if p.grad is not None]
            if not live:
                continue
            for p, (parts, tall) in live:
                state = self.state[p]
                if "buffer" not in state:
                    state["buffer"] = torch.zeros_like(p)
                state["buffer"].lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(state["buffer"], group["momentum"])
                g = g.view(parts, -1, p.shape[1])
                rows.append(g.transpose(1, 2) if tall else g)
            done = orthogonal(torch.cat(rows))
            # Scaled to the size of AdamW's updates, so that one learning rate serves both.
            factor = group["lr"] * 0.2 * max(done.shape[1:]) ** 0.5
            at = 0
            for p, (parts, tall) in live:
                u = done[at:at + parts]
                at += parts
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_((u.transpose(1, 2) if tall else u).reshape(p.shape), alpha=factor)
