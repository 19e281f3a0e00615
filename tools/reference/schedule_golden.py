#!/usr/bin/env python3
"""Makes tests/golden/image/schedules.json: the noise levels of diffusers' schedulers, the way each takes a latent of four values
through a toy network (output = 0.3 x + 0.1), and what torch.randn draws from a few seeds.

    pip install torch diffusers
    tools/reference/schedule_golden.py
"""
import json
import pathlib

import numpy as np
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EDMDPMSolverMultistepScheduler, EDMEulerScheduler,
                       EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler)

SDXL = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1)
START = torch.tensor([[[[0.5, -1.25, 2.0, 0.1]]]])


def config_of(scheduler, **own):
    keep = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "steps_offset", "timestep_spacing",
            "prediction_type", "set_alpha_to_one", "use_karras_sigmas", "rescale_betas_zero_snr", "sigma_min", "sigma_max", "sigma_data", "rho",
            "use_dynamic_shifting", "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
    return {"_class_name": type(scheduler).__name__,
            **{k: scheduler.config[k] for k in keep if k in scheduler.config and scheduler.config[k] is not None}, **own}


def trajectory(scheduler, steps, tokens=None):
    extra = {}
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        extra["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        if tokens:
            m = (1.15 - 0.5) / (4096 - 256)
            extra["mu"] = 0.5 + m * (tokens - 256)
        scheduler.set_timesteps(**extra)
    else:
        scheduler.set_timesteps(steps)
    gen = torch.Generator().manual_seed(3)
    x = START * float(scheduler.init_noise_sigma) if hasattr(scheduler, "init_noise_sigma") else START.clone()
    begin = x.clone()
    path, noises = [], []
    for t in scheduler.timesteps:
        inp = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        out = 0.3 * inp + 0.1
        if isinstance(scheduler, EulerAncestralDiscreteScheduler):
            state = gen.get_state()
            noises.append(torch.randn(x.shape, generator=gen).flatten().tolist())
            gen.set_state(state)
            x = scheduler.step(out, t, x, generator=gen, return_dict=False)[0]
        else:
            x = scheduler.step(out, t, x, return_dict=False)[0]
        path.append(x.flatten().tolist())
    sigmas = [float(v) for v in scheduler.sigmas] if hasattr(scheduler, "sigmas") else []
    times = [float(t) for t in scheduler.timesteps]
    return {"steps": steps, "tokens": tokens or 0, "start": begin.flatten().tolist(), "sigmas": sigmas, "times": times,
            "end": path[-1], "middle": path[len(path) // 2], "noise": noises}


def schedules():
    cases = []
    for steps in (1, 2, 4, 20, 28, 30, 50):
        s = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
        cases.append({"sampler": "flow_euler", "config": config_of(s), **trajectory(s, steps, 1024)})
        s = FlowMatchEulerDiscreteScheduler(shift=1.0)
        cases.append({"sampler": "flow_euler", "config": config_of(s), **trajectory(s, steps)})
        for spacing in ("leading", "linspace", "trailing"):
            for name, cls, extra in (("euler", EulerDiscreteScheduler, {}), ("euler_a", EulerAncestralDiscreteScheduler, {}),
                                     ("dpmpp_2m", DPMSolverMultistepScheduler, {}),
                                     ("dpmpp_2m_karras", DPMSolverMultistepScheduler, {"use_karras_sigmas": True})):
                if steps in (2, 50) or (name == "euler_a" and steps > 4):
                    continue
                s = cls(**SDXL, timestep_spacing=spacing, **extra)
                cases.append({"sampler": name, "config": config_of(s), **trajectory(s, steps)})
        s = EulerDiscreteScheduler(**SDXL, timestep_spacing="leading", prediction_type="v_prediction")
        cases.append({"sampler": "euler", "config": config_of(s), **trajectory(s, steps)})
        for one in (False, True):
            s = DDIMScheduler(**SDXL, timestep_spacing="leading", clip_sample=False, set_alpha_to_one=one)
            cases.append({"sampler": "ddim", "config": config_of(s), **trajectory(s, steps)})
        if steps in (4, 30):
            for spacing in ("leading", "trailing"):
                zero = dict(timestep_spacing=spacing, prediction_type="v_prediction", rescale_betas_zero_snr=True)
                for name, cls in (("euler", EulerDiscreteScheduler), ("euler_a", EulerAncestralDiscreteScheduler),
                                  ("dpmpp_2m", DPMSolverMultistepScheduler)):
                    s = cls(**SDXL, **zero)
                    cases.append({"sampler": name, "config": config_of(s), **trajectory(s, steps)})
                s = DDIMScheduler(**SDXL, **zero, clip_sample=False)
                cases.append({"sampler": "ddim", "config": config_of(s), **trajectory(s, steps)})
                s = EulerDiscreteScheduler(**SDXL, timestep_spacing=spacing, use_karras_sigmas=True)
                cases.append({"sampler": "euler", "config": config_of(s), **trajectory(s, steps)})
            s = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, rho=7.0)
            cases.append({"sampler": "edm_euler", "config": config_of(s), **trajectory(s, steps)})
        if steps > 1:
            s = EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, rho=7.0)
            cases.append({"sampler": "edm_dpmpp_2m", "config": config_of(s), **trajectory(s, steps)})
    return cases


def noises():
    out = []
    for seed, n in ((0, 4), (0, 16), (42, 20), (7, 33), (4294967295, 64), (1234567890123, 48), (1, 1300)):
        v = torch.randn(n, generator=torch.Generator().manual_seed(seed))
        out.append({"seed": seed, "n": n, "head": v[:16].tolist(), "tail": v[-4:].tolist(), "sum": float(v.double().sum())})
    return out


def rounded(v):
    if isinstance(v, float):
        return float(f"{v:.8g}")
    if isinstance(v, list):
        return [rounded(x) for x in v]
    if isinstance(v, dict):
        return {k: rounded(x) for k, x in v.items()}
    return v


if __name__ == "__main__":
    path = pathlib.Path("tests/golden/image/schedules.json")
    doc = {"cases": [rounded(c) for c in schedules()], "noise": rounded(noises())}
    path.write_text("{\"cases\": [\n" + ",\n".join(json.dumps(c) for c in doc["cases"]) + "\n], \"noise\": [\n"
                    + ",\n".join(json.dumps(c) for c in doc["noise"]) + "\n]}\n")
