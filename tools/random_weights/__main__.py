"""Image checkpoints of random weights in the full shapes and the published layouts, for measuring memory and speed.

    python3 tools/random_weights flux-dev-fp8 FOLDER [--layout diffusers|bfl] [--layers 19,38] [--t5-type fp8] [--t5-layers 24]
    python3 tools/random_weights sdxl-fp16 FOLDER [--layout diffusers|sdxl-single]

flux-dev-fp8   transformer e4m3 without scales (11.9 GB), T5 XXL e4m3 or bf16 (4.8 or 9.5 GB), CLIP-L f16, VAE bf16
flux-dev-bf16  the same with a bf16 transformer (23.8 GB)
sdxl-fp16      UNet (5.1 GB), CLIP-L and bigG (1.6 GB), VAE, all f16

All networks have their published width and depth unless --layers or --t5-layers say otherwise. The tokenizers are not the
published ones but small ones whose ids fit. Pictures are noise. Needs numpy; memory stays under 100 MB.
"""
import argparse

import flux
import text
from models import Folder, write_flux, write_sdxl

TYPES = {"fp8": "F8_E4M3", "bf16": "BF16", "fp16": "F16"}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", choices=["flux-dev-fp8", "flux-dev-bf16", "sdxl-fp16"])
    p.add_argument("folder")
    p.add_argument("--layout", choices=["diffusers", "bfl", "sdxl-single"], default="diffusers",
                   help="bfl: flux1-dev, ae, clip_l and t5xxl as single files; sdxl-single: one checkpoint")
    p.add_argument("--layers", default="19,38", metavar="DOUBLE,SINGLE", help="FLUX blocks")
    p.add_argument("--t5-layers", type=int, default=24)
    p.add_argument("--t5-type", choices=["fp8", "bf16"], default="fp8")
    p.add_argument("--text-tokens", type=int, default=512, help="tokens that T5 gives FLUX")
    a = p.parse_args()
    out = Folder(a.folder)
    if a.model == "sdxl-fp16":
        if a.layout == "bfl":
            p.error("--layout bfl is for FLUX")
        write_sdxl(out, a.layout)
    else:
        if a.layout == "sdxl-single":
            p.error("--layout sdxl-single is for SDXL")
        double, single = (int(n) for n in a.layers.split(","))
        write_flux(out, a.layout, flux.config(double, single), text.T5_XXL | {"num_layers": a.t5_layers},
                   TYPES[a.model.rsplit("-", 1)[1]], TYPES[a.t5_type], a.text_tokens)
    print(f"{out.bytes / 1e9:.2f} GB in {a.folder}")


if __name__ == "__main__":
    main()
