"""Stage 1: the autoencoder, diffusers' AutoencoderKL with FLUX's 16 channels and factor 8, narrow."""
import numpy as np
import torch
from diffusers import AutoencoderKL

import data
from muon import Muon
from stage import Average, Stage

CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=16, sample_size=data.SIZE, layers_per_block=1, norm_num_groups=8,
    block_out_channels=(32, 64, 96, 96), down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4, use_quant_conv=False, use_post_quant_conv=False, force_upcast=False,
)
CROP, CROPS = 64, 16        # pixels of a crop's side, crops in a batch: the same cost as 4 whole pictures
RATE = 4e-3
WHOLE_FROM = 0.8            # the last fifth sees whole pictures: group norm's statistics must meet their real input


def batch(rgba, rng, whole):
    """float32 [n, 3, side, side] in [-1, 1]: mirrored at random, on the palette's or on any colour."""
    n = CROPS * CROP * CROP // data.SIZE**2 if whole else CROPS
    out = []
    for i in rng.integers(len(rgba), size=n):
        colour = data.COLOURS[rng.integers(len(data.COLOURS))][3] if rng.random() < 0.7 else rng.integers(0, 256, 3)
        picture = rgba[i]
        if not whole:
            y, x = rng.integers(data.SIZE - CROP + 1, size=2)
            picture = picture[y:y + CROP, x:x + CROP]
        if rng.random() < 0.3:
            picture = picture[:, ::-1]
        out.append(data.on_background(picture, colour).transpose(2, 0, 1))
    x = torch.from_numpy(np.stack(out)) / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def initialise(model):
    """Keeps the spread of the activations: every residual block starts as the identity."""
    for name, p in model.named_parameters():
        if name.endswith("conv2.weight"):
            torch.nn.init.zeros_(p)
        elif p.dim() > 1:
            torch.nn.init.normal_(p, std=(1 / p[0].numel()) ** 0.5)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(p)


def train(path, minutes, rgba):
    torch.manual_seed(1)
    model = AutoencoderKL(**CONFIG)
    initialise(model)
    model.to(memory_format=torch.channels_last)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimisers = [Muon(matrices, lr=RATE), torch.optim.AdamW(vectors, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)]
    average = Average(model, 0.995)
    stage = Stage(path, minutes, {"model": model, "average": average, "muon": optimisers[0], "adamw": optimisers[1]})
    if stage.progress() == 1:
        return load(path)

    def losses(x, noise):
        with torch.autocast("cpu", torch.bfloat16):
            mean, logvar = model.encoder(x).float().chunk(2, 1)
            logvar = logvar.clamp(-30, 20)
            y = model.decoder(mean + torch.exp(0.5 * logvar) * noise).float()
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        error = y - x
        return error.abs().mean() + 4 * (error**2).mean() + 1e-4 * kl, (error**2).mean()

    compiled = torch.compile(losses, dynamic=False)
    for whole in (False, True):     # compile both shapes before the clock starts
        x = batch(rgba, np.random.default_rng(0), whole)
        compiled(x, torch.zeros(len(x), 16, x.shape[-1] // 8, x.shape[-1] // 8))[0].backward()
        model.zero_grad(set_to_none=True)
    for step in stage.steps():
        whole = stage.progress() > WHOLE_FROM
        x = batch(rgba, np.random.default_rng([1, step]), whole)
        side = x.shape[-1] // 8
        loss, mse = compiled(x, torch.randn(len(x), 16, side, side))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = RATE * stage.rate()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        average.update()
        mse = float(mse.detach())
        stage.note(mse)
    return load(path)


def load(path):
    """The averaged model of a checkpoint."""
    saved = torch.load(path, weights_only=False)
    model = AutoencoderKL(**CONFIG)
    model.load_state_dict(saved["model"])
    Average.copy_to(type("A", (), {"weights": saved["average"]["weights"]})(), model)
    return model.eval().requires_grad_(False)
