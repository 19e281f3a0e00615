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
import json
import pathlib

import flux
import text
import unet
import vae
from tensors import write

PIECES = pathlib.Path(__file__).resolve().parents[2] / "models/starter-image/tokenizer_2/spiece.model"

FLUX_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5,
                  "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0,
                  "use_dynamic_shifting": True}
SDXL_SCHEDULER = {"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012,
                  "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "prediction_type": "epsilon",
                  "interpolation_type": "linear", "steps_offset": 1, "timestep_spacing": "leading", "use_karras_sigmas": False}
FLUX_INDEX = {"_class_name": "FluxPipeline", "_diffusers_version": "0.30.0",
              "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
              "text_encoder_2": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
              "tokenizer_2": ["transformers", "T5TokenizerFast"], "transformer": ["diffusers", "FluxTransformer2DModel"],
              "vae": ["diffusers", "AutoencoderKL"]}
SDXL_INDEX = {"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.30.0", "force_zeros_for_empty_prompt": True,
              "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
              "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
              "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
              "vae": ["diffusers", "AutoencoderKL"]}


class Folder:
    """Where the files go; every file of weights has a seed of its own."""

    def __init__(self, root):
        self.root, self.files, self.bytes = pathlib.Path(root), 0, 0

    def weights(self, name, tensors, dtype):
        self.bytes += write(self.root / name, tensors, dtype, self.files)
        self.files += 1

    def json(self, name, value):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n")

    def component(self, name, config, tensors, dtype, stem="model"):
        self.json(f"{name}/config.json", config)
        self.weights(f"{name}/{stem}.safetensors", tensors, dtype)


def prefixed(prefix, tensors, rename=lambda name: name):
    for t in tensors:
        yield t._replace(name=prefix + rename(t.name))


def write_flux(out, layout, config, t5_config, dtype, t5_dtype, n_tokens, clip_config=text.CLIP_L, vae_config=vae.FLUX):
    text.clip_tokenizer(out.root / "tokenizer")
    text.t5_tokenizer(out.root / "tokenizer_2", PIECES, n_tokens)
    if layout == "bfl":
        out.weights("flux1-dev.safetensors", flux.bfl(config), dtype)
        out.weights("ae.safetensors", vae.tensors(vae_config, original=True), "BF16")
        out.weights("clip_l.safetensors", text.clip(clip_config), "F16")
        out.weights("t5xxl.safetensors", text.t5(t5_config), t5_dtype)
        return
    out.json("model_index.json", FLUX_INDEX)
    out.json("scheduler/scheduler_config.json", FLUX_SCHEDULER)
    out.component("transformer", config, flux.diffusers(config), dtype, "diffusion_pytorch_model")
    out.component("vae", vae_config, vae.tensors(vae_config), "BF16", "diffusion_pytorch_model")
    out.component("text_encoder", clip_config, text.clip(clip_config), "F16")
    out.component("text_encoder_2", t5_config, text.t5(t5_config), t5_dtype)


def write_sdxl(out, layout, config=unet.CONFIG, clip_l=text.CLIP_L, clip_g=text.CLIP_G, vae_config=vae.SDXL):
    text.clip_tokenizer(out.root / "tokenizer")
    text.clip_tokenizer(out.root / "tokenizer_2", pad="!")
    if layout == "sdxl-single":
        def everything():
            yield from prefixed("model.diffusion_model.", unet.diffusers(config), lambda name: unet.ldm_name(name, config))
            yield from prefixed("first_stage_model.", vae.tensors(vae_config, original=True))
            yield from prefixed("conditioner.embedders.0.transformer.", text.clip(clip_l))
            yield from prefixed("conditioner.embedders.1.model.", text.openclip(clip_g))
        out.weights("sd_xl_base.safetensors", everything(), "F16")
        return
    out.json("model_index.json", SDXL_INDEX)
    out.json("scheduler/scheduler_config.json", SDXL_SCHEDULER)
    out.component("unet", config, unet.diffusers(config), "F16", "diffusion_pytorch_model")
    out.component("vae", vae_config, vae.tensors(vae_config), "F16", "diffusion_pytorch_model")
    out.component("text_encoder", clip_l, text.clip(clip_l), "F16")
    out.component("text_encoder_2", clip_g, text.clip(clip_g, projection=True), "F16")


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
