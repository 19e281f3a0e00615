#!/usr/bin/env python3
"""What transformers' Llama4ImageProcessor and Llama4Processor make of pictures.

    python3 tools/reference/llama4_pictures_golden.py tests/golden/lm/llama4_pictures

tiles.safetensors: for tiles of 24 pixels, pictures `pN` [height, width, 3] u8 and their pixel values `tN` [tiles, 3, 24, 24] bf16; `wN` those of the last tile
of the whole picture alone. cuts.json: for many sizes of pictures and rules [tile, max_patches, resize_to_max_canvas, width, height, rows, cols, scaled width,
scaled height], and `strings`: [rows, cols, rows of a tile, the prompt's string]. Needs torch, torchvision, transformers, safetensors.
"""
import json
import pathlib
import random
import sys

import torch
from safetensors.torch import save_file
from transformers.models.llama4 import image_processing_llama4 as m
from transformers.models.llama4.processing_llama4 import Llama4Processor

SIZES = [(24, 24), (31, 40), (7, 5), (100, 37), (1, 60), (200, 3), (61, 130), (49, 24), (96, 96), (150, 149)]


def picture(w, h):
    """Smooth parts and noise, so that both kinds of rounding show."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    base = torch.stack([x * 255 // max(w - 1, 1), y * 255 // max(h - 1, 1), (x * y) % 256], -1)
    noise = torch.randint(0, 256, (h, w, 3))
    return torch.where((x // 8 % 2 == 0)[..., None], base, noise).to(torch.uint8)


def cut_of(processor, w, h, seen):
    seen.clear()
    processor(images=[torch.zeros(3, h, w, dtype=torch.uint8)], return_tensors="pt")
    return seen[0]


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    random.seed(5)
    tensors = {}
    for n, (w, h) in enumerate(SIZES):
        px = picture(w, h)
        p = m.Llama4ImageProcessor(size={"height": 24, "width": 24}, max_patches=16 if n % 2 else 5, resize_to_max_canvas=n == 6)
        got = p(images=[px.permute(2, 0, 1)], return_tensors="pt")
        tensors[f"p{n}"] = px.contiguous()
        tensors[f"t{n}"] = got["pixel_values"].to(torch.bfloat16).contiguous()
        whole = p.rescale_and_normalize(p.resize(px.permute(2, 0, 1)[None], p.size if not isinstance(p.size, dict) else m.SizeDict(**p.size)),
                                        True, p.rescale_factor, True, tuple(p.image_mean), tuple(p.image_std))
        tensors[f"w{n}"] = whole.to(torch.bfloat16).contiguous()
    save_file(tensors, out / "tiles.safetensors")

    cuts, seen = [], []

    class Stop(Exception):
        pass

    class Looking(m.Llama4ImageProcessor):
        def resize(self, images, size, **kwargs):
            seen.append((size.width, size.height))
            raise Stop

    cases = [(336, 16, False, w, h) for w in (1, 17, 335, 336, 337, 672, 1000, 1344, 4000) for h in (1, 100, 336, 500, 1008, 3000)]
    for _ in range(400):
        tile = random.choice([24, 336, 336])
        top = tile * random.choice([1, 4, 16])
        cases.append((tile, random.choice([16, 16, 9, 4, 1, 12]), random.random() < 0.2, random.randint(1, top), random.randint(1, top)))
    fit = m.get_best_fit
    for tile, most, fill, w, h in cases:
        seen.clear()
        m.find_supported_resolutions.cache_clear()
        grid = []
        m.get_best_fit = lambda *a, **k: grid.append(fit(*a, **k)) or grid[0]
        try:
            Looking(size={"height": tile, "width": tile}, max_patches=most, resize_to_max_canvas=fill)(
                images=[torch.zeros(3, h, w, dtype=torch.uint8)], return_tensors="pt")
        except Stop:
            pass
        cuts.append([tile, most, int(fill), w, h, int(grid[0][0]) // tile, int(grid[0][1]) // tile, int(seen[0][0]), int(seen[0][1])])
    m.get_best_fit = fit
    strings = [[r, c, k, Llama4Processor._prompt_split_image(None, (r, c), k)] for r, c, k in ((1, 1, 4), (1, 2, 3), (3, 2, 2))]
    lines = ",\n".join(json.dumps(c) for c in cuts)
    (out / "cuts.json").write_text('{"cuts": [\n' + lines + '],\n"strings": ' + json.dumps(strings, indent=0) + "}\n")
    print(len(cuts), "cuts,", sum(t.numel() for t in tensors.values()), "numbers")


main()
