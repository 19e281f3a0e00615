"""Whole pipelines in the published layouts: which files a folder has, and their configurations."""
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
