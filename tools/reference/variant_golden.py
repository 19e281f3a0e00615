#!/usr/bin/env python3
"""Makes tests/golden/pipelines/variants: small changes to the tiny pipelines (a key of a configuration, names of tensors), each with
the picture that diffusers draws from the changed folder. tests/e2e/test_variants.py makes the same changes and draws.

    pip install torch diffusers transformers safetensors pillow scipy
    tools/reference/variant_golden.py
"""
import json
import pathlib
import shutil
import sys
import tempfile
import warnings

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, "tests/e2e")
from variants import apply  # noqa: E402  what the test does to a folder

warnings.filterwarnings("ignore")
PIPELINES = pathlib.Path("tests/golden/pipelines")
PROMPT = "a photo of an astronaut riding a horse on mars, highly detailed"
SCHEDULER = "scheduler/scheduler_config.json"
VP = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1, timestep_spacing="leading")


def scheduler(cls, **keys):
    return {"files": {SCHEDULER: {"_class_name": cls, **VP, **keys}}, "edit": {"model_index.json": {"scheduler": ["diffusers", cls]}}}


def sdxl(name, **spec):
    return {"name": name, "base": "sdxl", "steps": 6, "guidance": 5.0, **spec}


def flux(name, **spec):
    return {"name": name, "base": "flux_dev", "steps": 4, "guidance": 3.5, **spec}


def flow(**keys):
    return {"edit": {SCHEDULER: keys}}


ATTENTION = [[f"{half}.mid_block.attentions.0.{new}.", f"{half}.mid_block.attentions.0.{old}."] for half in ("encoder", "decoder")
             for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))]
VAE = "vae/diffusion_pytorch_model.safetensors"

VARIANTS = [
    sdxl("sched_class_mi", edit={SCHEDULER: {"_class_name": "EulerAncestralDiscreteScheduler"}}),
    sdxl("sched_ddim_clip_sample", **scheduler("DDIMScheduler")),
    sdxl("sched_ddim_linspace", **scheduler("DDIMScheduler", clip_sample=False, timestep_spacing="linspace")),
    sdxl("sched_ddim_thresholding", **scheduler("DDIMScheduler", clip_sample=False, thresholding=True, sample_max_value=2.0)),
    sdxl("sched_dpm_order1", **scheduler("DPMSolverMultistepScheduler", solver_order=1)),
    sdxl("sched_dpm_order3", steps=8, **scheduler("DPMSolverMultistepScheduler", solver_order=3)),
    sdxl("sched_dpm_sde", **scheduler("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++", use_karras_sigmas=True)),
    sdxl("sched_infinity", **scheduler("DPMSolverMultistepScheduler", lambda_min_clipped=-float("inf"), solver_order=2)),
    sdxl("sched_euler_a", **scheduler("EulerAncestralDiscreteScheduler")),
    sdxl("sched_euler_karras", **scheduler("EulerDiscreteScheduler", use_karras_sigmas=True, sigma_min=0.1, sigma_max=12.0)),
    sdxl("sched_euler_sigma_min", **scheduler("EulerDiscreteScheduler", final_sigmas_type="sigma_min", interpolation_type="log_linear")),
    sdxl("sched_linear_betas", **scheduler("EulerDiscreteScheduler", beta_schedule="linear", num_train_timesteps=500)),
    sdxl("sched_heun", steps=4, **scheduler("HeunDiscreteScheduler")),
    sdxl("sched_unipc", **scheduler("UniPCMultistepScheduler", solver_order=3)),
    sdxl("sched_deis", **scheduler("DEISMultistepScheduler")),
    sdxl("sched_lms", **scheduler("LMSDiscreteScheduler", use_karras_sigmas=True)),
    sdxl("sched_ddpm", **scheduler("DDPMScheduler", clip_sample=False)),
    sdxl("sched_lcm", steps=4, guidance=1.0, **scheduler("LCMScheduler")),
    sdxl("sched_tcd", steps=4, guidance=1.0, **scheduler("TCDScheduler")),
    sdxl("sched_pndm", **scheduler("PNDMScheduler", skip_prk_steps=True)),
    sdxl("te2_no_architectures", steps=4, edit={"text_encoder_2/config.json": {"architectures": None}}),
    sdxl("vae_old_attention_names", steps=4, rename={VAE: ATTENTION}),
    sdxl("vae_shift_is_not_sdxls", steps=4, edit={"vae/config.json": {"shift_factor": 0.5, "scaling_factor": 0.2}}),
    sdxl("unet_swish", steps=4, edit={"unet/config.json": {"act_fn": "swish"}}),
    sdxl("unet_eps", steps=4, edit={"unet/config.json": {"norm_eps": 0.05}}),
    flux("sched_flow_karras", **flow(use_karras_sigmas=True)),
    flux("sched_flow_exponential", **flow(use_exponential_sigmas=True)),
    flux("sched_flow_terminal", **flow(shift_terminal=0.1)),
    flux("sched_flow_linear", **flow(time_shift_type="linear")),
    flux("sched_flow_training_steps", **flow(num_train_timesteps=500)),
    flux("sched_flow_from_table", **flow(use_flow_sigmas=True)),
    flux("vae_stats_are_not_flux", edit={"vae/config.json": {"latents_mean": [1, 2, 3, 4], "latents_std": [2, 2, 2, 2]}}),
    flux("t5_nfkc_ligature", prompt="\ufb01"),
    flux("t5_nfkc_full_width", prompt="\uff41\uff50\uff50\uff4c\uff45"),
    flux("t5_lowercase", prompt="A RED Apple", edit={"tokenizer_2/tokenizer.json": {"normalizer": {"type": "Lowercase"}}}),
]


def draw(spec, folder):
    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    more = {"max_sequence_length": 24} if spec["base"].startswith("flux") else {"negative_prompt": None}
    picture = pipe(spec.get("prompt", PROMPT), height=32, width=48, num_inference_steps=spec["steps"], guidance_scale=spec["guidance"],
                   generator=torch.Generator().manual_seed(7), output_type="np", **more).images[0]
    return Image.fromarray(np.clip(np.round(picture * 255), 0, 255).astype("u1"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = PIPELINES / "variants"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for spec in VARIANTS:
        with tempfile.TemporaryDirectory() as tmp:
            folder = pathlib.Path(tmp) / "model"
            shutil.copytree(PIPELINES / spec["base"], folder, symlinks=False)
            apply(spec, folder)
            draw(spec, folder).save(out / f"{spec['name']}.png")
            print(spec["name"])
    import inspect
    import diffusers
    keys = {name: [k for k in inspect.signature(getattr(diffusers, name).__init__).parameters if k != "self"]
            for name in ("UNet2DConditionModel", "AutoencoderKL", "FluxTransformer2DModel")}
    (out / "keys.json").write_text(json.dumps(keys) + "\n")
    (out / "variants.json").write_text("[\n" + ",\n".join(json.dumps({"prompt": PROMPT, **s}) for s in VARIANTS) + "\n]\n")
