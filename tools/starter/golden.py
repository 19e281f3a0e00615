"""Writes the reference drawings: python golden.py --model models/starter-image

Three prompts with fixed seeds, 28 steps, guidance 3.5, 128x128, drawn by diffusers' FluxPipeline with the
folder's bfloat16 weights computed in float32 on a CPU. golden.safetensors holds, for prompt i,
  noise_i    float32 [1, 16, 16, 16]  torch.randn from torch.Generator("cpu").manual_seed(seed), before packing
  latents_i  float32 [1, 64, 64]      the packed latents after the last step, before the decoder
and golden.json the prompts, seeds, token ids, sigmas and the judge's five best concepts of each picture.
"""
import argparse
import json
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import data
import evaluate
import text

CASES = [("a red apple", 42), ("a cat face on a blue background", 7), ("ピンクの背景のロケット", 123)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True)
    o = p.parse_args()
    folder = os.path.join(o.model, "golden")
    os.makedirs(folder, exist_ok=True)
    pipe, (judge, labels) = evaluate.pipeline(o.model), evaluate.load_judge(o.model)
    held, cases = {}, []
    for i, (prompt, seed) in enumerate(CASES):
        noise = torch.randn((1, 16, data.SIZE // 8, data.SIZE // 8), generator=torch.Generator("cpu").manual_seed(seed))
        common = dict(height=data.SIZE, width=data.SIZE, num_inference_steps=28, guidance_scale=3.5, max_sequence_length=text.LENGTH)
        latents = pipe(prompt, generator=torch.Generator("cpu").manual_seed(seed), output_type="latent", **common).images
        packed = pipe._pack_latents(noise, 1, 16, data.SIZE // 8, data.SIZE // 8)
        again = pipe(prompt, latents=packed, output_type="latent", **common).images
        assert torch.equal(latents, again), "the noise is not the one the pipeline draws"
        z = pipe._unpack_latents(latents, data.SIZE, data.SIZE, pipe.vae_scale_factor)
        with torch.no_grad():
            image = pipe.vae.decode(z / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor).sample
            logits = judge(image.clamp(-1, 1))
        pixels = ((image[0] / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(os.path.join(folder, f"{i}.png"), optimize=True)
        held[f"noise_{i}"], held[f"latents_{i}"] = noise, latents.contiguous()
        cases.append({
            "prompt": prompt, "seed": seed, "steps": 28, "guidance_scale": 3.5, "width": data.SIZE, "height": data.SIZE,
            "max_sequence_length": text.LENGTH, "picture": f"{i}.png",
            "clip_ids": pipe.tokenizer(prompt, padding="max_length", truncation=True, max_length=77)["input_ids"],
            "t5_ids": pipe.tokenizer_2(prompt, padding="max_length", truncation=True, max_length=text.LENGTH)["input_ids"],
            "sigmas": pipe.scheduler.sigmas.tolist(), "judge_top5": [labels[k]["name"] for k in logits[0].topk(5).indices.tolist()]})
        print(prompt, cases[-1]["judge_top5"])
    save_file(held, os.path.join(folder, "golden.safetensors"))
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(cases, f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
