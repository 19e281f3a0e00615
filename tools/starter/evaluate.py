"""Measures the finished folder: does a drawing show what its caption says?

    python evaluate.py --model models/starter-image --out FOLDER [--captions 200]

For captions whose wordings were held out of training it draws with 4 and with 28 steps and asks the
judge, a classifier that never saw a drawing, for the concept among all that it knows (top 1, top 5). It also
reads the background off the corners, and gives the autoencoder's PSNR on every concept and background.
Everything runs in float32 through diffusers' FluxPipeline. Writes scores.json, samples.png and guidance.png.
"""
import argparse
import json
import os
import time

import numpy as np
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import load_file

import classifier
import data
import text

PROMPTS = [
    "a red apple", "a cat face", "a dog face on a blue background", "a rocket", "a pizza", "a sunflower on a pink background",
    "赤リンゴの絵", "黄色い背景の猫の顔", "a sailboat", "a grinning face", "a frog on a black background", "a birthday cake",
    "水色の背景とロケット", "a doughnut", "a guitar on a purple background", "a red heart", "a strawberry", "a panda on an orange background",
    "a mushroom", "a hot beverage", "a butterfly", "an elephant on a light blue background", "a house", "a rainbow"]


def pipeline(folder):
    """In float32, silent."""
    pipe = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, prompts, steps, seed, guidance=3.5, batch=20):
    """uint8 [n, 128, 128, 3]; every picture has its own generator, seed + its number."""
    out = []
    for i in range(0, len(prompts), batch):
        some = prompts[i:i + batch]
        generators = [torch.Generator("cpu").manual_seed(seed + i + j) for j in range(len(some))]
        out.append(pipe(some, height=data.SIZE, width=data.SIZE, num_inference_steps=steps, guidance_scale=guidance,
                        max_sequence_length=text.LENGTH, output_type="np", generator=generators).images)
    return (np.concatenate(out) * 255).round().astype(np.uint8)


def load_judge(folder):
    with open(os.path.join(folder, "classifier", "labels.json"), encoding="utf-8") as f:
        labels = json.load(f)
    model = classifier.Classifier(len(labels))
    model.load_state_dict({k: v.float() for k, v in load_file(os.path.join(folder, "classifier", "classifier.safetensors")).items()})
    return model.eval(), labels


@torch.no_grad()
def ranks(judge, pictures, concepts):
    """Place of the right concept in the judge's list, 0 first."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    logits = judge(x)
    right = logits.gather(1, torch.as_tensor(concepts)[:, None])
    return (logits > right).sum(1).numpy()


def grid(pictures, columns, pad=4):
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (data.SIZE + pad) + pad, columns * (data.SIZE + pad) + pad, 3), 255, np.uint8)
    for i, p in enumerate(pictures):
        y, x = pad + (i // columns) * (data.SIZE + pad), pad + (i % columns) * (data.SIZE + pad)
        sheet[y:y + data.SIZE, x:x + data.SIZE] = p
    return Image.fromarray(sheet).quantize(255, method=Image.Quantize.MEDIANCUT)     # a third of the bytes


@torch.no_grad()
def psnr(vae, rgba, every):
    """Mean over pictures of 10 log10(255^2 / mse), pixels rounded and clipped, on every background."""
    out = []
    for concept in rgba[::every]:
        want = np.stack([data.on_background(concept, c[3]) for c in data.COLOURS]).round()
        x = torch.from_numpy(want).permute(0, 3, 1, 2) / 127.5 - 1
        y = ((vae.decode(vae.encode(x).latent_dist.mean).sample + 1) * 127.5).clamp(0, 255).round().permute(0, 2, 3, 1).numpy()
        out += list(10 * np.log10(255**2 / np.maximum(((y - want) ** 2).mean((1, 2, 3)), 1e-2)))
    return float(np.mean(out))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--captions", type=int, default=200)
    p.add_argument("--psnr-every", type=int, default=8, help="measure the PSNR on every n-th concept (default %(default)s)")
    p.add_argument("--threads", type=int, default=2)
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    os.makedirs(o.out, exist_ok=True)
    everything = data.concepts()
    keep = data.numbers(everything, data.JUDGED_EMOJI)
    cs = [everything[i] for i in keep]
    rgba = data.pictures(cs)
    pipe, (judge, labels) = pipeline(o.model), load_judge(o.model)
    assert [l["emoji"] for l in labels] == [c.emoji for c in cs]

    scores = {"concepts": len(data.DRAWN_EMOJI), "judged_among": len(cs), "captions": o.captions, "length": text.LENGTH}
    scores["psnr_db"] = round(psnr(pipe.vae, rgba, o.psnr_every), 2)
    originals = np.stack([data.on_background(r, (255, 255, 255)) for r in rgba]).round().astype(np.uint8)
    r = ranks(judge, originals, np.arange(len(cs)))
    scores["judge_on_originals"] = {"top1": round(float((r < 1).mean()), 4), "top5": round(float((r < 5).mean()), 4)}

    rng = np.random.default_rng(2024)
    captions = data.Captions(everything, holdout=True)
    captions.table = [captions.table[i] for i in keep]
    pool = [c for c in data.numbers(cs, data.DRAWN_EMOJI) if captions.has(c)]
    concept = np.concatenate([rng.permutation(pool) for _ in range(1 + o.captions // len(pool))])[:o.captions]
    colour = np.where(rng.random(o.captions) < 0.4, 0, rng.integers(len(data.COLOURS), size=o.captions))
    prompts = [captions.draw(rng, int(c), int(k)) for c, k in zip(concept, colour)]
    for steps in (4, 28):
        start = time.time()
        pictures = draw(pipe, prompts, steps, 1000)
        r = ranks(judge, pictures, concept)
        corners = np.stack([pictures[:, y, x].astype(int) for y in (3, 124) for x in (3, 124)], 1)     # [n, 4, 3]
        palette = np.array([c[3] for c in data.COLOURS])
        read = np.abs(np.median(corners, 1)[:, None] - palette).sum(-1).argmin(1)
        scores[f"steps_{steps}"] = {
            "top1": round(float((r < 1).mean()), 4), "top5": round(float((r < 5).mean()), 4),
            "background": round(float((read == colour).mean()), 4), "seconds_per_picture": round((time.time() - start) / o.captions, 3)}
        print(steps, scores[f"steps_{steps}"], flush=True)
        if steps == 28:
            grid(pictures[:48], 12).save(os.path.join(o.out, "held-out.png"))
            with open(os.path.join(o.out, "held-out.txt"), "w", encoding="utf-8") as f:
                f.writelines(f"{k:3d} {labels[c]['name']} | {t}\n" for k, c, t in zip(r, concept, prompts))
    grid(draw(pipe, PROMPTS, 28, 1), 8).save(os.path.join(o.out, "samples.png"), optimize=True)
    few = PROMPTS[1:4]
    rows = [draw(pipe, few, 28, 7, guidance=g) for g in (1.0, 2.0, 3.5, 5.0, 8.0)]
    grid([row[i] for i in range(len(few)) for row in rows], len(rows)).save(os.path.join(o.out, "guidance.png"), optimize=True)
    with open(os.path.join(o.out, "scores.json"), "w") as f:
        json.dump(scores, f, indent=2)
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
