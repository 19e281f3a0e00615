"""The judge: a small picture classifier, trained on augmented originals alone and never on drawings.

Five 3x3 convolutions of stride 2 with ReLU, the mean over the 4x4 positions left, one linear layer.
"""
import numpy as np
import torch
import torch.nn.functional as F

import data
from muon import Muon
from stage import Average, Stage

CHANNELS = (24, 48, 64, 96, 128)
BATCH = 64


class Classifier(torch.nn.Module):
    def __init__(self, n_labels):
        super().__init__()
        ins = (3,) + CHANNELS[:-1]
        self.conv = torch.nn.ModuleList(torch.nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in zip(ins, CHANNELS))
        self.head = torch.nn.Linear(CHANNELS[-1], n_labels)
        for conv in self.conv:
            torch.nn.init.kaiming_normal_(conv.weight)
            torch.nn.init.zeros_(conv.bias)

    def forward(self, x):
        """x [n, 3, 128, 128] in [-1, 1] -> logits [n, n_labels]."""
        for conv in self.conv:
            x = F.relu(conv(x))
        return self.head(x.mean((2, 3)))


def batch(rgba, rng):
    """Pictures shifted, scaled, turned, tinted, blurred and noised on random backgrounds, and their labels."""
    labels = rng.integers(len(rgba), size=BATCH)
    x = rgba[labels].astype(np.float32) / 255
    palette = np.array([c[3] for c in data.COLOURS], np.float32) / 255
    ground = np.where(rng.random((BATCH, 1)) < 0.7, palette[rng.integers(len(palette), size=BATCH)], rng.random((BATCH, 3)))
    x = x[..., :3] * x[..., 3:] + ground[:, None, None].astype(np.float32) * (1 - x[..., 3:])
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    u = lambda *shape: torch.from_numpy(rng.random(shape).astype(np.float32)) * 2 - 1
    turn, scale = u(BATCH) * 0.15, torch.exp(u(BATCH) * 0.12)
    theta = torch.zeros(BATCH, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale * turn.cos(), -scale * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * turn.sin(), scale * turn.cos()
    theta[:, :, 2] = u(BATCH, 2) * 0.1
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), padding_mode="border", align_corners=False)
    half = BATCH // 2           # half of them lose detail, as a decoder's pictures do
    small = F.avg_pool2d(x[:half], 2 if rng.random() < 0.7 else 4)
    x = torch.cat([F.interpolate(small, size=data.SIZE, mode="bilinear", align_corners=False), x[half:]])
    x = (x - 0.5) * (1 + 0.2 * u(BATCH, 1, 1, 1)) + 0.5 + 0.08 * u(BATCH, 3, 1, 1)
    x = x + 0.05 * torch.from_numpy(rng.random((BATCH, 1, 1, 1)).astype(np.float32)) * torch.randn(x.shape)
    return x.clamp(0, 1) * 2 - 1, torch.from_numpy(labels)


def train(path, minutes, rgba):
    torch.manual_seed(2)
    model = Classifier(len(rgba))
    average = Average(model, 0.995)
    optimisers = [Muon([p for p in model.parameters() if p.dim() > 1], lr=6e-3),
                  torch.optim.AdamW([p for p in model.parameters() if p.dim() == 1], lr=6e-3, weight_decay=0.0)]
    stage = Stage(path, minutes, {"model": model, "average": average, "muon": optimisers[0], "adamw": optimisers[1]}, every=20)
    for step in stage.steps():
        x, labels = batch(rgba, np.random.default_rng([2, step]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = 6e-3 * stage.rate()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        average.update()
        stage.note(loss.detach())
    average.copy_to(model)
    return model.eval().requires_grad_(False)
