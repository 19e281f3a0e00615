#!/usr/bin/env python3
"""Makes tests/golden/image/schedules.json: the noise levels of diffusers' schedulers, the way each takes a latent of six values
through a toy network (output = 0.3 x + 0.1), and what torch.randn draws from a few seeds.

The cases walk every class that hearth draws with, and for each every key of its configuration over several values, so that a key
that is passed over shows as a different path. What the reference itself refuses is left out; what hearth refuses is listed under
"refused". "keys" holds the configuration keys of every class.

    pip install torch diffusers scipy
    tools/reference/schedule_golden.py
"""
import inspect
import json
import pathlib
import warnings

import diffusers
import numpy as np
import torch

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()

SDXL = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1)
EDM = dict(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, rho=7.0)
START = torch.tensor([[[[0.5, -1.25, 2.0, 0.1, -3.0, 0.9]]]])

FLOW, EULER, EULER_A = "FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"
DPM, DDIM = "DPMSolverMultistepScheduler", "DDIMScheduler"
HEUN, UNIPC, DEIS, LMS = "HeunDiscreteScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler", "LMSDiscreteScheduler"
DDPM, LCM, TCD, PNDM = "DDPMScheduler", "LCMScheduler", "TCDScheduler", "PNDMScheduler"
EDM_DPM, EDM_EULER = "EDMDPMSolverMultistepScheduler", "EDMEulerScheduler"

PLMS = dict(skip_prk_steps=True, **SDXL)
BASE = {FLOW: {}, EULER: SDXL, EULER_A: SDXL, DPM: SDXL, DDIM: SDXL, EDM_DPM: EDM, EDM_EULER: EDM, HEUN: SDXL, UNIPC: SDXL, DEIS: SDXL, LMS: SDXL,
        DDPM: SDXL, LCM: SDXL, TCD: SDXL, PNDM: PLMS}

# Every value that a key is walked over. A key that no class has is harmless to it, and is tried too.
VALUES = {
    "num_train_timesteps": [500, 1024],
    "beta_start": [0.0001],
    "beta_end": [0.02],
    "beta_schedule": ["linear", "squaredcos_cap_v2"],
    "prediction_type": ["v_prediction", "sample", "flow_prediction"],
    "timestep_spacing": ["leading", "linspace", "trailing"],
    "timestep_type": ["continuous"],
    "steps_offset": [0, 3],
    "rescale_betas_zero_snr": [True],
    "clip_sample": [True, False, None],
    "clip_sample_range": [2.0],
    "set_alpha_to_one": [True, False],
    "thresholding": [True],
    "interpolation_type": ["log_linear"],
    "use_karras_sigmas": [True],
    "use_exponential_sigmas": [True],
    "use_beta_sigmas": [True],
    "use_lu_lambdas": [True],
    "use_flow_sigmas": [True],
    "sigma_min": [0.05],
    "sigma_max": [9.0],
    "sigma_data": [1.0],
    "sigma_schedule": ["exponential"],
    "rho": [5.0],
    "final_sigmas_type": ["sigma_min"],
    "solver_order": [1, 3],
    "solver_type": ["heun", "bh2"],
    "algorithm_type": ["sde-dpmsolver++", "deis"],
    "lower_order_final": [False],
    "euler_at_final": [True],
    "lambda_min_clipped": [-3.0],
    "variance_type": ["fixed_small", "fixed_large"],
    "shift": [3.0],
    "base_shift": [0.25],
    "max_shift": [2.0],
    "base_image_seq_len": [128],
    "max_image_seq_len": [2048],
    "use_dynamic_shifting": [True],
    "time_shift_type": ["linear"],
    "shift_terminal": [0.1],
    "invert_sigmas": [True],
    "stochastic_sampling": [True],
    "original_inference_steps": [20],
    "timestep_scaling": [2.0],
    "disable_corrector": [[0, 2]],
}

# Keys that mean something only beside others, or that differ more beside them.
TOGETHER = {
    FLOW: [dict(use_dynamic_shifting=True, **{k: v}) for k, v in
           (("base_shift", 0.25), ("max_shift", 2.0), ("base_image_seq_len", 128), ("max_image_seq_len", 2048), ("time_shift_type", "linear"),
            ("shift_terminal", 0.1), ("use_karras_sigmas", True), ("use_exponential_sigmas", True), ("use_beta_sigmas", True),
            ("num_train_timesteps", 500), ("use_flow_sigmas", True))]
          + [dict(use_karras_sigmas=True, sigma_min=0.05, sigma_max=0.9), dict(shift=3.0, use_flow_sigmas=True)],
    EULER: [dict(use_karras_sigmas=True, sigma_min=0.05, sigma_max=9.0), dict(use_exponential_sigmas=True, sigma_max=9.0),
            dict(use_beta_sigmas=True, sigma_min=0.05), dict(use_karras_sigmas=True, interpolation_type="log_linear"),
            dict(timestep_type="continuous", prediction_type="v_prediction"), dict(use_karras_sigmas=True, final_sigmas_type="sigma_min"),
            dict(timestep_type="continuous", prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002, sigma_max=120.0)],
    DDIM: [dict(clip_sample=False, timestep_spacing="linspace"), dict(clip_sample=False, timestep_spacing="trailing"),
           dict(clip_sample=False, prediction_type="v_prediction"), dict(clip_sample=False, thresholding=True),
           dict(thresholding=True, dynamic_thresholding_ratio=0.6, sample_max_value=1.5),
           dict(clip_sample=True, clip_sample_range=2.0, prediction_type="v_prediction"),
           dict(clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")],
    DPM: [dict(solver_order=3, solver_type="heun"), dict(solver_order=3, lower_order_final=False),
          dict(solver_order=3, final_sigmas_type="sigma_min"), dict(solver_order=3, algorithm_type="sde-dpmsolver++"),
          dict(algorithm_type="sde-dpmsolver++", solver_type="heun"),
          dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min"),
          dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min", solver_type="heun", lower_order_final=False),
          dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min", solver_order=3, prediction_type="v_prediction"),
          dict(algorithm_type="sde-dpmsolver", final_sigmas_type="sigma_min"),
          dict(algorithm_type="sde-dpmsolver", final_sigmas_type="sigma_min", solver_type="heun", lower_order_final=False),
          dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min", thresholding=True),
          dict(final_sigmas_type="sigma_min", lower_order_final=False), dict(final_sigmas_type="sigma_min", euler_at_final=True),
          dict(use_karras_sigmas=True, beta_schedule="squaredcos_cap_v2"), dict(use_karras_sigmas=True, sigma_min=0.05, sigma_max=9.0),
          dict(use_lu_lambdas=True, sigma_min=0.05), dict(thresholding=True, dynamic_thresholding_ratio=0.6, sample_max_value=1.5),
          dict(lambda_min_clipped=-3.0, timestep_spacing="leading"), dict(lambda_min_clipped=-3.0, timestep_spacing="trailing"),
          dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1),
          dict(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)],
    EDM_DPM: [dict(solver_order=3, solver_type="heun"), dict(solver_order=3, lower_order_final=False),
              dict(final_sigmas_type="sigma_min", euler_at_final=True), dict(algorithm_type="sde-dpmsolver++", solver_type="heun"),
              dict(thresholding=True, dynamic_thresholding_ratio=0.6, sample_max_value=1.5)],
    EDM_EULER: [dict(sigma_schedule="exponential", final_sigmas_type="sigma_min")],
    UNIPC: [dict(solver_order=3, solver_type="bh1"), dict(solver_order=3, final_sigmas_type="sigma_min", lower_order_final=False),
            dict(use_karras_sigmas=True, sigma_min=0.05, sigma_max=9.0), dict(use_karras_sigmas=True, final_sigmas_type="sigma_min"),
            dict(solver_type="bh1", final_sigmas_type="sigma_min")],
    DEIS: [dict(solver_order=3, lower_order_final=False), dict(use_karras_sigmas=True, solver_order=3)],
    HEUN: [dict(clip_sample=True, clip_sample_range=2.0), dict(use_karras_sigmas=True, sigma_min=0.05)],
    LMS: [dict(use_karras_sigmas=True, sigma_min=0.05)],
    DDPM: [dict(clip_sample=False), dict(clip_sample=False, timestep_spacing="linspace"), dict(clip_sample=False, prediction_type="v_prediction"),
           dict(clip_sample=False, variance_type="fixed_large")],
    LCM: [dict(original_inference_steps=20, timestep_scaling=1.0)],
    PNDM: [dict(timestep_spacing="linspace", set_alpha_to_one=True)],
    EULER_A: [dict(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")],
}

# A configuration that another class wrote: what was that class's default is no value.
FOREIGN = [
    (EULER, dict(_class_name=EULER_A, **SDXL, timestep_spacing="leading")),
    (DDIM, dict(_class_name=EULER, **SDXL, timestep_spacing="linspace", prediction_type="epsilon",
                _use_default_values=["timestep_spacing", "prediction_type"])),
    (DPM, dict(_class_name=EULER, **SDXL, sigma_min=0.05, sigma_max=9.0, use_karras_sigmas=True, clip_sample=False)),
]


def trajectory(scheduler, steps, tokens):
    """The path of START, what a step takes of fresh noise, and the levels; a number that is not finite makes no case."""
    flow = isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler)
    if flow:
        c = scheduler.config
        base, most = c.get("base_image_seq_len", 256), c.get("max_image_seq_len", 4096)
        m = (c.get("max_shift", 1.15) - c.get("base_shift", 0.5)) / (most - base)
        mu = c.get("base_shift", 0.5) + m * (tokens - base)
        if c.get("use_flow_sigmas"):
            scheduler.set_timesteps(steps, mu=mu)
        else:
            scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    else:
        scheduler.set_timesteps(steps)
    gen = torch.Generator().manual_seed(3)
    x = START * float(scheduler.init_noise_sigma) if hasattr(scheduler, "init_noise_sigma") else START.clone()
    begin = x.clone()
    path, noises = [], []
    pipeline = {"eta": 0.0} if "eta" in inspect.signature(scheduler.step).parameters else {}
    takes = "generator" in inspect.signature(scheduler.step).parameters
    for t in scheduler.timesteps:
        inp = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        out = 0.3 * inp + 0.1
        state = gen.get_state()
        x = scheduler.step(out, t, x, **({"generator": gen} if takes else {}), **pipeline, return_dict=False)[0]
        after = gen.get_state()
        gen.set_state(state)
        noises.append([] if torch.equal(state, after) else torch.randn(x.shape, generator=gen).flatten().tolist())
        gen.set_state(after)
        path.append(x.flatten().tolist())
    sigmas = [float(v) for v in scheduler.sigmas] if hasattr(scheduler, "sigmas") else []
    times = [float(t) for t in scheduler.timesteps]
    case = {"steps": steps, "tokens": tokens, "start": begin.flatten()[:1].tolist(), "sigmas": sigmas, "times": times,
            "end": path[-1], "middle": path[len(path) // 2], "noise": noises if any(noises) else []}
    return case if np.isfinite(path).all() else None


def walk():
    """(class, configuration, steps) of all cases."""
    for name, start in BASE.items():
        common = name in (FLOW, EULER, EULER_A, DPM, DDIM, EDM_DPM, EDM_EULER)
        for steps in (1, 2, 4, 28) if common else (1, 2, 3, 20):
            yield name, dict(_class_name=name, **start), steps
        for key, values in VALUES.items():
            for value in values:
                for steps in (5, 17) if common else (6,):
                    yield name, dict(_class_name=name, **{**start, key: value}), steps
        for more in TOGETHER.get(name, []):
            for steps in (5, 17):
                yield name, dict(_class_name=name, **{**start, **more}), steps
        if name not in (FLOW, EDM_DPM, EDM_EULER):
            start = PLMS if name == PNDM else SDXL
            for spacing in ("leading", "linspace", "trailing"):
                for steps in (7, 30) if common else (7,):
                    more = dict(clip_sample=False) if name in (DDIM, DDPM) else {}
                    yield name, dict(_class_name=name, **start, timestep_spacing=spacing, **more), steps
    for steps in (4, 28):
        yield FLOW, dict(_class_name=FLOW, shift=3.0, use_dynamic_shifting=True), steps
    for name, config in FOREIGN:
        yield name, config, 6


def schedules():
    cases, seen, strange = [], set(), {}
    for name, config, steps in walk():
        cls = getattr(diffusers, name)
        known = {*inspect.signature(cls.__init__).parameters, "sigma_min", "sigma_max", "use_flow_sigmas", "clip_sample"}
        foreign = {k: v for k, v in config.items() if k not in known and not k.startswith("_")}
        if name in (UNIPC, DEIS) and ("flow_prediction" in config.values() or "use_flow_sigmas" in config):
            continue  # refused
        if foreign:
            strange.setdefault(name, {}).update(foreign)
            continue
        add(cases, seen, name, config, steps)
    for name, more in strange.items():  # all that the class has not, at once
        add(cases, seen, name, dict(_class_name=name, **{**more, **BASE[name]}), 5)
    return cases


def add(cases, seen, name, config, steps):
    if json.dumps([config, steps]) in seen:
        return
    seen.add(json.dumps([config, steps]))
    try:
        case = trajectory(getattr(diffusers, name).from_config(dict(config)), steps, 1024)
    except (ValueError, NotImplementedError, UnboundLocalError, AssertionError, IndexError, RuntimeError):
        return  # the reference's own refusals, and its stumbling over two equal timesteps
    if case:
        cases.append({"class": name, "config": config, **case})


# Followed by the reference, but not here: refused by name.
REFUSED = [
    (DPM, dict(trained_betas=[0.1, 0.2]), "trained_betas"),
    (DPM, dict(variance_type="learned_range"), "variance_type"),
    (DPM, dict(algorithm_type="dpmsolver"), "dpmsolver"),
    (DPM, dict(solver_order=4), "solver_order"),
    (DPM, dict(solver_order=3, algorithm_type="sde-dpmsolver", final_sigmas_type="sigma_min"), "solver_order"),
    (EULER, dict(use_karras_sigmas=True, use_beta_sigmas=True), "use_karras_sigmas"),
    (EULER, dict(timestep_spacing="quadratic"), "timestep_spacing"),
    (EULER, dict(beta_schedule="sigmoid"), "beta_schedule"),
    (EULER, dict(prediction_type="flow_prediction"), "prediction_type"),
    (EULER, dict(interpolation_type="cubic"), "interpolation_type"),
    (EULER, dict(timestep_type="other"), "timestep_type"),
    (EULER, dict(final_sigmas_type="one"), "final_sigmas_type"),
    (EULER, dict(beta_start="0.1"), "beta_start"),
    (EULER_A, dict(prediction_type="sample"), "prediction_type"),
    (HEUN, dict(prediction_type="flow_prediction"), "prediction_type"),
    (UNIPC, dict(predict_x0=False), "predict_x0"),
    (UNIPC, dict(solver_p={}), "solver_p"),
    (UNIPC, dict(use_flow_sigmas=True), "use_flow_sigmas"),
    (UNIPC, dict(use_dynamic_shifting=True), "use_dynamic_shifting"),
    (UNIPC, dict(solver_order=4), "solver_order"),
    (DEIS, dict(use_flow_sigmas=True), "use_flow_sigmas"),
    (DEIS, dict(algorithm_type="sde-dpmsolver++"), "algorithm_type"),
    (DDPM, dict(variance_type="learned_range"), "variance_type"),
    (DDPM, dict(beta_schedule="sigmoid"), "beta_schedule"),
    (LCM, dict(original_inference_steps=0), "original_inference_steps"),
    (PNDM, {}, "skip_prk_steps"),
    (EDM_DPM, dict(sigma_schedule="linear"), "sigma_schedule"),
    (EDM_EULER, dict(prediction_type="sample"), "prediction_type"),
    (FLOW, dict(time_shift_type="cubic"), "time_shift_type"),
    (FLOW, dict(shift_terminal=1.5), "shift_terminal"),
    ("SASolverScheduler", {}, "SASolverScheduler"),
]


def keys():
    names = [*BASE, "DPMSolverSinglestepScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"]
    return {n: [k for k in inspect.signature(getattr(diffusers, n).__init__).parameters if k != "self"] for n in names}


def noises():
    out = []
    for seed, n in ((0, 4), (0, 16), (42, 20), (7, 33), (4294967295, 64), (1234567890123, 48), (1, 1300)):
        v = torch.randn(n, generator=torch.Generator().manual_seed(seed))
        out.append({"seed": seed, "n": n, "head": v[:16].tolist(), "tail": v[-4:].tolist(), "sum": float(v.double().sum())})
    return out


def rounded(v):
    if isinstance(v, float):
        return float(f"{v:.7g}")
    if isinstance(v, list):
        return [rounded(x) for x in v]
    if isinstance(v, dict):
        return {k: rounded(x) for k, x in v.items()}
    return v


if __name__ == "__main__":
    path = pathlib.Path("tests/golden/image/schedules.json")
    lines = lambda items: "[\n" + ",\n".join(json.dumps(rounded(i)) for i in items) + "\n]"
    refused = [{"config": {"_class_name": c, **(EDM if c in (EDM_DPM, EDM_EULER) else {} if c == FLOW else SDXL), **k}, "names": w}
               for c, k, w in REFUSED]
    path.write_text("{\"cases\": " + lines(schedules()) + ", \"refused\": " + lines(refused) + ", \"keys\": "
                    + json.dumps(keys()) + ", \"noise\": " + lines(noises()) + "}\n")
