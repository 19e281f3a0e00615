"""Stages 4 and 5: the transformer, trained with the text encoders by flow matching, then guidance.

A latent x0 and unit noise e meet at x = (1 - t) x0 + t e, and the network learns the velocity e - x0.

Guidance comes last. The first stages feed the guidance embedding a constant and its last layer stays at
zero, so it adds nothing; then the embedding alone learns what its value means (`teach_guidance`).
"""
import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel

import data
import text
import workers
from muon import Muon
from stage import Average, Stage
from velocity import Rotation, velocity

CONFIG = dict(
    patch_size=1, in_channels=64, num_layers=1, num_single_layers=3, attention_head_dim=64, num_attention_heads=3,
    joint_attention_dim=128, pooled_projection_dim=96, guidance_embeds=True, axes_dims_rope=(16, 24, 24))
GRID = data.SIZE // 16                  # tokens on a side
BATCH = 32                              # of each process
POOL = 10000                            # captions drawn in advance
DROP = 0.1                              # captions replaced by the empty one
SHIFT = math.exp(0.5 + (GRID * GRID - 256) * (1.15 - 0.5) / (4096 - 256))   # the sampler's own, at this size
GUIDANCE = (1.0, 8.0)                   # values the model has seen
GUIDANCE_NEUTRAL, GUIDANCE_GAIN = 3.5, 0.08     # the default draws the picture as it was; 1 is paler, 8 stronger


def image_ids():
    ids = torch.zeros(GRID, GRID, 3)
    ids[..., 1] += torch.arange(GRID)[:, None]
    ids[..., 2] += torch.arange(GRID)[None]
    return ids.reshape(-1, 3)


def pack(z):
    """[n, 16, 16, 16] -> [n, 64 tokens, 64 channels], channel order c, dy, dx."""
    n, c, h, w = z.shape
    return z.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, c * 4)


@torch.no_grad()
def latents(vae, rgba):
    """Every concept on every background as packed tokens (float16, shifted and scaled), shift and scale."""
    out = []
    for concept in rgba:
        x = np.stack([data.on_background(concept, c[3]).transpose(2, 0, 1) for c in data.COLOURS])
        x = torch.from_numpy(x / 127.5 - 1).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            out.append(vae.encoder(x)[:, :16].float())
    z = torch.stack(out)
    shift, scale = round(z.mean().item(), 4), round(1 / z.std().item(), 4)
    n, k = z.shape[:2]
    return pack(((z - shift) * scale).flatten(0, 1)).view(n, k, GRID * GRID, 64).half(), shift, scale


class Drawer(torch.nn.Module):
    """What is trained together: both encoders and the transformer."""

    def __init__(self, clip, t5):
        super().__init__()
        self.clip, self.t5 = clip, t5
        self.transformer = FluxTransformer2DModel(**CONFIG)
        for name, p in self.transformer.named_parameters():
            if p.dim() == 2:
                torch.nn.init.xavier_uniform_(p)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(p)
            # Blocks start as the identity and the output at zero.
            if "norm" in name and "linear" in name or name.startswith("proj_out") or "guidance_embedder.linear_2" in name:
                torch.nn.init.zeros_(p)
        self.rotation = Rotation(self.transformer, torch.zeros(text.LENGTH, 3), image_ids())

    def read(self, clip_ids, t5_ids):
        return self.clip(clip_ids).pooler_output, self.t5(t5_ids).last_hidden_state

    def velocity(self, x, t, guidance, pooled, tokens):
        return velocity(self.transformer, self.rotation, x, t, guidance, pooled, tokens)


def times(n, shift=SHIFT):
    """FLUX's logit-normal times, shifted; one in ten near 1, where the drawing is decided."""
    s = torch.sigmoid(torch.randn(n))
    t = shift * s / (1 + (shift - 1) * s)
    return torch.where(torch.rand(n) < 0.1, 1 - 0.05 * torch.rand(n), t)


class Batches:
    """Training batches by step number: latents, caption ids."""

    def __init__(self, cs, z, clip_tk, t5_tk, chosen=None):
        self.z = z
        self.pool = [torch.from_numpy(a).long() for a in text.caption_pool(cs, clip_tk, t5_tk, POOL, 2, chosen=chosen)]
        self.empty = [torch.from_numpy(a).long() for a in text.tokenize(clip_tk, t5_tk, [""])]

    def get(self, seed, drop, with_colour=False):
        rng = np.random.default_rng(seed)
        pick = torch.from_numpy(rng.integers(len(self.pool[0]), size=BATCH))
        concept, colour, clip_ids, t5_ids = (a[pick] for a in self.pool)
        if drop:
            gone = torch.from_numpy(rng.random(BATCH) < drop)[:, None]
            clip_ids, t5_ids = torch.where(gone, self.empty[0], clip_ids), torch.where(gone, self.empty[1], t5_ids)
        batch = self.z[concept, colour].float(), clip_ids, t5_ids
        return (*batch, colour) if with_colour else batch


def optimisers(model, muon, adamw, encoder):
    """Muon for the blocks' matrices, AdamW for the rest; the encoders, which can read already, learn slowly."""
    matrices, others = [], []
    for name, p in model.transformer.named_parameters():
        if "guidance_embedder.linear_2" in name:
            p.requires_grad_(False)
        elif p.dim() == 2 and "blocks." in name and "norm" not in name:
            matrices.append(p)
        else:
            others.append(p)
    encoders = [*model.clip.parameters(), *model.t5.parameters()]
    return [
        Muon([{"params": matrices, "peak": muon}], lr=muon, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW([{"params": others, "peak": adamw}, {"params": encoders, "peak": encoder}], lr=adamw,
                          betas=(0.9, 0.97), weight_decay=0.01, fused=True)]


def step_all(opts, factor):
    workers.average_gradients([p for o in opts for g in o.param_groups for p in g["params"]])
    torch.nn.utils.clip_grad_norm_([p for o in opts for g in o.param_groups for p in g["params"]], 1.0)
    for o in opts:
        for group in o.param_groups:
            group["lr"] = group["peak"] * factor
        o.step()
        o.zero_grad(set_to_none=True)


def finished(path, clip, t5):
    """The model of a checkpoint of `train`: its last weights, for a run this short ends before its average does."""
    model = Drawer(clip, t5)
    model.load_state_dict(torch.load(path, weights_only=False)["model"])
    return model.eval().requires_grad_(False)


def train(rank, path, minutes, batches, clip, t5, until=1.0, shift=SHIFT, boost=1.0):
    """Flow matching, up to this fraction of the minutes, at `boost` times the schedule's learning rate."""
    torch.manual_seed(4)
    model = Drawer(copy.deepcopy(clip), copy.deepcopy(t5))      # what a process is given, all of them share
    torch.manual_seed(64 + rank)
    opts = optimisers(model, muon=4e-3, adamw=2e-3, encoder=4e-4)
    average = Average(model, 0.998)
    stage = Stage(path, minutes, {"model": model, "average": average, "muon": opts[0], "adamw": opts[1]}, rank=rank)

    def loss_of(x0, noise, t, clip_ids, t5_ids):
        with torch.autocast("cpu", torch.bfloat16):
            pooled, tokens = model.read(clip_ids, t5_ids)
            x = (1 - t[:, None, None]) * x0 + t[:, None, None] * noise
            v = model.velocity(x, t, torch.ones_like(t), pooled, tokens)
        return F.mse_loss(v.float(), noise - x0)

    compiled = torch.compile(loss_of, dynamic=False)
    if stage.progress() < until:    # compile before the clock starts
        x0, clip_ids, t5_ids = batches.get([5, 0], DROP)
        compiled(x0, torch.randn_like(x0), torch.rand(BATCH), clip_ids, t5_ids).backward()
        model.zero_grad(set_to_none=True)
    for step in stage.steps(until):
        x0, clip_ids, t5_ids = batches.get([4, step, rank], DROP)
        loss = compiled(x0, torch.randn_like(x0), times(BATCH, shift), clip_ids, t5_ids)
        loss.backward()
        step_all(opts, stage.rate() * boost)
        average.update()
        stage.note(loss.detach())


def teach_guidance(path, minutes, batches, model):
    """Teaches what the guidance value means to the guidance embedding alone, everything else frozen.

    A caption determines its picture, so what classifier-free guidance adds to a step from pure noise is
    the picture's distance from the mean picture, times a factor. The embedding learns that directly:
    the target is mean + w (x0 - mean), with w = 1 at GUIDANCE_NEUTRAL.
    """
    torch.manual_seed(5)
    embedder = model.transformer.time_text_embed.guidance_embedder.requires_grad_(True)
    mean = batches.z.float().mean(0)                                        # of each background
    optimiser = torch.optim.AdamW(embedder.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
    stage = Stage(path, minutes, {"embedder": embedder, "adamw": optimiser}, every=20)
    # Not compiled: the stage is too short to earn its compilation back.
    for step in stage.steps():
        x0, clip_ids, t5_ids, colour = batches.get([6, step], 0, with_colour=True)
        g = GUIDANCE[0] + (GUIDANCE[1] - GUIDANCE[0]) * torch.rand(BATCH)
        w = (1 + GUIDANCE_GAIN * (g - GUIDANCE_NEUTRAL))[:, None, None]
        target = mean[colour] + w * (x0 - mean[colour])
        noise, t = torch.randn_like(x0), times(BATCH, 3.0)[:, None, None]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            pooled, tokens = model.read(clip_ids, t5_ids)
        x = (1 - t) * target + t * noise
        v = model.velocity(x, t[:, 0, 0], g, pooled, tokens)
        loss = F.mse_loss(v, noise - target)
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * stage.rate()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        stage.note(loss.detach())
    embedder.requires_grad_(False)
    return model
