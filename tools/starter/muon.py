"""Muon: momentum, then each matrix's update made nearly orthogonal. In the few thousand steps that a small
machine affords it goes much further than Adam. Convolutions count as matrices, one row per output channel.
"""
import torch


@torch.no_grad()
def orthogonal(g):
    """Five quintic Newton-Schulz steps: the singular values of g pulled towards 1."""
    x = g.bfloat16()
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + torch.addmm(a, a, a, beta=-4.7750, alpha=2.0315) @ x
    return (x.T if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """`lr` is comparable to AdamW's: an update's root mean square is about 0.2 lr."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(m, group["momentum"]).flatten(1)        # Nesterov's look ahead
                update = orthogonal(g).view_as(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-0.2 * group["lr"] * max(g.shape) ** 0.5)
