#!/usr/bin/env python3
"""Inpainting with masks that do not follow the latent's cells, as diffusers' own pipelines draw it with the folders that
pipeline_golden.py made: tests/golden/image/masks/{sdxl,flux}.safetensors.

    pip install torch diffusers transformers safetensors sentencepiece pillow
    tools/reference/mask_golden.py

Every file holds `init` [h, w, 3] and `large` [h2, w2, 3] (input pictures), their masks `hard`, `soft` and `large_mask`, and for each
case the pipeline's picture in 0..1. A case of `large` is drawn at init's size: both picture and mask are scaled first.
`scaled`, `scaled_mask` are `large` and its mask as Pillow's Lanczos scales them to init's size.
"""
import pathlib

import numpy as np
import torch
from PIL import Image, ImageDraw
from diffusers import EulerAncestralDiscreteScheduler, FluxInpaintPipeline, StableDiffusionXLInpaintPipeline
from safetensors.torch import save_file

from image_golden import randn

PIPELINES = pathlib.Path("tests/golden/pipelines")
OUT = pathlib.Path("tests/golden/image/masks")
PROMPT = "a photo of an astronaut riding a horse on mars, highly detailed"
W, H = 48, 32


def picture(seed, w, h):
    """Smooth colour with some noise, so that scaling it means something."""
    y, x = np.mgrid[0:h, 0:w]
    smooth = np.stack([x * 200 / w, y * 220 / h, 128 + 100 * np.sin(x * 7 / w) * np.cos(y * 5 / h)], -1)
    return (smooth + randn(seed, h, w, 3).numpy() * 12 + 20).clip(0, 255).astype(np.uint8)


def hard():
    mask = Image.new("L", (W, H), 0)
    ImageDraw.Draw(mask).rectangle((13, 5, 40, 22), fill=255)
    return mask


def soft(w, h):
    """From 0 to 255 and back, with values around a half everywhere."""
    y, x = np.mgrid[0:h, 0:w]
    return Image.fromarray((127.5 + 127.5 * np.sin(x * 6.3 / w + 0.4) * np.cos(y * 4.1 / h - 0.7)).round().astype(np.uint8))


def tensor(image):
    return torch.tensor(np.array(image))


def cases(name, pipe, more, strengths, extra=None):
    pipe.set_progress_bar_config(disable=True)
    init, large = picture(51, W, H), picture(52, 77, 45)
    masks = {"hard": hard(), "soft": soft(W, H), "large_mask": soft(77, 45)}
    out = {"init": tensor(init), "large": tensor(large)} | {k: tensor(v) for k, v in masks.items()}
    out["scaled"] = tensor(Image.fromarray(large).resize((W, H), Image.Resampling.LANCZOS))
    out["scaled_mask"] = tensor(masks["large_mask"].resize((W, H), Image.Resampling.LANCZOS))

    def draw(case, image, mask, strength):
        got = pipe(PROMPT, image=Image.fromarray(image), mask_image=masks[mask], strength=strength, height=H, width=W,
                   num_inference_steps=5, guidance_scale=5.0, generator=torch.Generator().manual_seed(7), output_type="np", **more)
        out[case] = torch.tensor(got.images[0])

    for strength in strengths:
        draw(f"hard_{strength}", init, "hard", strength)
    draw("soft_0.6", init, "soft", 0.6)
    draw("large_0.6", large, "large_mask", 0.6)
    if extra:
        pipe.scheduler = extra
        draw("ancestral_0.6", init, "hard", 0.6)
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in out.items()}, str(OUT / f"{name}.safetensors"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    pipe = StableDiffusionXLInpaintPipeline.from_pretrained(PIPELINES / "sdxl", add_watermarker=False)
    cases("sdxl", pipe, {}, (0.3, 0.6, 1.0), EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config))
    cases("flux", FluxInpaintPipeline.from_pretrained(PIPELINES / "flux_dev"), {"max_sequence_length": 24}, (0.3, 0.6, 1.0))
