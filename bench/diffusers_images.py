"""diffusers on PyTorch's CPU kernels: seconds of a denoiser's pass and of a VAE decode as JSON lines.

    diffusers_images.py FOLDER TYPE SIDE STEPS THREADS TEXT_TOKENS      TYPE: bfloat16, float32

The networks alone, called as the pipelines call them for one prompt without a second pass for guidance. Weights of another type
than TYPE are converted while loading.
"""
import json
import pathlib
import sys
import time

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel

folder, dtype = pathlib.Path(sys.argv[1]), getattr(torch, sys.argv[2])
side, steps, threads, n_text = (int(x) for x in sys.argv[3:7])
torch.set_num_threads(threads)
torch.manual_seed(1)
is_flux = (folder / "transformer").is_dir()


def random(*shape):
    return torch.randn(*shape).to(dtype)


def best(call, times):
    least = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - begin)
    return least


def report(test, seconds):
    print(json.dumps({"test": test, "seconds": round(seconds, 3)}), flush=True)


with torch.inference_mode():
    if is_flux:
        net = FluxTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=dtype)
        grid = side // 16
        ids = torch.zeros(grid, grid, 3)
        ids[..., 1] = torch.arange(grid)[:, None]
        ids[..., 2] = torch.arange(grid)[None, :]
        inputs = {"hidden_states": random(1, grid * grid, 64), "encoder_hidden_states": random(1, n_text, 4096),
                  "pooled_projections": random(1, 768), "timestep": torch.tensor([0.5]).to(dtype),
                  "guidance": torch.tensor([3.5]), "img_ids": ids.reshape(-1, 3), "txt_ids": torch.zeros(n_text, 3)}
    else:
        net = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype)
        inputs = {"sample": random(1, 4, side // 8, side // 8).to(memory_format=torch.channels_last), "timestep": 500,
                  "encoder_hidden_states": random(1, 77, 2048),
                  "added_cond_kwargs": {"text_embeds": random(1, 1280), "time_ids": random(1, 6)}}
        net = net.to(memory_format=torch.channels_last)
    net.eval()
    net(**inputs)  # the first call prepares
    report("step", best(lambda: net(**inputs), steps))
    del net
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).eval().to(memory_format=torch.channels_last)
    z = random(1, vae.config.latent_channels, side // 8, side // 8).to(memory_format=torch.channels_last)
    vae.decode(z)
    report("decode", best(lambda: vae.decode(z), 1))
