"""Image models as people have them: the layouts that repositories and single files come in, and the relatives of FLUX.1 and SDXL
that would load but are not drawn here, each refused by name."""
import importlib
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import BIN, PATIENCE, ROOT, environment
from variants import load, save

PIPELINES = ROOT / "tests/golden/pipelines"
TOOL = ROOT / "tools/random_weights"


def run(*args):
    env = environment() | {"HEARTH_CONFIG": "/dev/null"}
    if args[0] == "image":
        args = (*args, "--overwrite")
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, env=env, timeout=PATIENCE)


def draw(model, *args, size="32x32"):
    """The pixels that a model draws."""
    out = pathlib.Path(model).parent / "drawn.png"
    r = run("image", "--model", model, "--size", size, "--steps", "2", "--seed", "1", "-o", out, *args, "a red apple")
    assert r.returncode == 0, r.stderr
    return np.asarray(Image.open(out).convert("RGB"), "i4")


def refused(model, *words):
    r = run("image", "--model", model, "--steps", "2", "-o", pathlib.Path(model).parent / "drawn.png", "a red apple")
    said = [line for line in r.stderr.splitlines() if line.startswith("hearth ")]  # the log has it once more, with the whole path
    assert r.returncode == 1 and len(said) == 1 and len(r.stderr.splitlines()) <= 2, r.stderr
    for word in words:
        assert word in said[0]
    return said[0]


def refused_lora(model, lora, *words):
    r = run("image", "--model", model, "--size", "32x32", "--steps", "1", "--lora", lora, "-o", pathlib.Path(lora).parent / "drawn.png", "a red apple")
    assert r.returncode == 1 and r.stderr.count("\n") == 1, r.stderr
    for word in words:
        assert word in r.stderr


def numbers(tensor):
    kind, shape, data = tensor
    if kind == "BF16":
        return (np.frombuffer(data, "u2").astype("u4") << 16).view("f4").reshape(shape)
    return np.frombuffer(data, {"F32": "f4", "F16": "f2"}[kind]).astype("f4").reshape(shape)


def bfloat(v):
    """As BF16, rounded to the nearest even."""
    u = np.ascontiguousarray(v, "f4").view("u4")
    return "BF16", list(v.shape), ((u + 0x7FFF + (u >> 16 & 1)) >> 16).astype("u2").tobytes()


def single_precision(v):
    return "F32", list(v.shape), np.ascontiguousarray(v, "f4").tobytes()


E4M3 = np.array([(-1) ** (b >> 7) * ((b & 7) / 8 * 2.0 ** -6 if not b >> 3 & 15 else (1 + (b & 7) / 8) * 2.0 ** ((b >> 3 & 15) - 7))
                 for b in range(256)], "f4")


def scaled_e4m3(v, per_row=False):
    """The tensor as F8, its scale, and the values that the two stand for."""
    scale = (np.abs(v.reshape(len(v), -1)).max(1) if per_row else np.abs(v).max()[None]) / 448
    each = scale.reshape(-1, *[1] * (v.ndim - 1))
    values = np.where(np.arange(256) & 127 == 127, np.inf, E4M3)  # no NaN
    order = np.argsort(values)[:254]
    at = np.clip(np.searchsorted(E4M3[order], v / each), 1, 253)
    low, high = order[at - 1], order[at]
    codes = np.where(np.abs(E4M3[low] - v / each) <= np.abs(E4M3[high] - v / each), low, high).astype("u1")
    shape = [len(v), 1] if per_row else []
    return ("F8_E4M3", list(v.shape), codes.tobytes()), ("F32", shape, scale.astype("f4").tobytes()), E4M3[codes] * each.astype("f4")


def save_gguf(path, tensors, arch, quantise=True, reshape=False):
    """As the converters of image models write them: matrices as Q8_0, the rest as F32. reshape: what has rows of no whole number of
    blocks becomes rows of 256, and a key keeps its shape; it alone is quantised then. Returns the values that quantised tensors have."""
    stored = {}
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    infos, blocks, at, shapes = b"", [], 0, {}
    for name, t in tensors.items():
        v = numbers(t)
        if reshape and v.ndim > 1 and v.size % 256 == 0 and v.shape[-1] % 32:
            shapes["comfy.gguf.orig_shape." + name] = v.shape
            v = v.reshape(-1, 256)
        kind, data = 0, v.tobytes()
        if quantise and v.ndim == 2 and v.shape[1] % 32 == 0 and (not reshape or "comfy.gguf.orig_shape." + name in shapes):
            rows = v.reshape(-1, 32)
            scale = (np.abs(rows).max(1) / 127).astype("f2")
            q = np.round(rows / np.maximum(scale.astype("f4"), 1e-12)[:, None]).clip(-127, 127).astype("i1")
            kind, data = 8, b"".join(s.tobytes() + r.tobytes() for s, r in zip(scale, q))
            stored[name] = (scale.astype("f4")[:, None] * q).reshape(t[1])
        shape = list(reversed(v.shape))
        infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, at)
        data += bytes(-len(data) % 32)
        blocks.append(data)
        at += len(data)
    keys = text("general.architecture") + struct.pack("<I", 8) + text(arch) if arch else b""
    for key, shape in shapes.items():  # an array of int32
        keys += text(key) + struct.pack("<IIQ", 9, 5, len(shape)) + struct.pack(f"<{len(shape)}i", *shape)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), (1 if arch else 0) + len(shapes)) + keys + infos
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(blocks))
    return stored


def edit(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(TOOL))
    yield {name: importlib.import_module(name) for name in ("flux", "unet", "vae", "text", "models")}
    sys.path.remove(str(TOOL))


@pytest.fixture
def sdxl(tmp_path):
    return shutil.copytree(PIPELINES / "sdxl", tmp_path / "model")


@pytest.fixture
def flux(tmp_path):
    return shutil.copytree(PIPELINES / "flux_dev", tmp_path / "flux")


@pytest.fixture(scope="module")
def bfl(tool, tmp_path_factory):
    """FLUX.1 dev's single files in small: flux1-dev, ae, clip_l, t5xxl."""
    folder = tmp_path_factory.mktemp("bfl") / "model"
    flux, vae, text, models = (tool[k] for k in ("flux", "vae", "text", "models"))
    clip = text.CLIP_L | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
    t5 = text.T5_XXL | {"d_model": 64, "num_heads": 2, "d_ff": 96, "num_layers": 1}
    transformer = flux.config(1, 1) | {"num_attention_heads": 1, "joint_attention_dim": 64, "pooled_projection_dim": 64}
    models.write_flux(models.Folder(folder), "bfl", transformer, t5, "BF16", "BF16", 16, clip, vae.FLUX | {"block_out_channels": [32, 32, 64, 64]})
    return folder


@pytest.fixture(scope="module")
def single(tool, tmp_path_factory):
    """An SDXL checkpoint in one file, in small."""
    folder = tmp_path_factory.mktemp("single") / "model"
    unet, vae, text, models = (tool[k] for k in ("unet", "vae", "text", "models"))
    clip = text.CLIP_L | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1, "projection_dim": 64}
    network = unet.CONFIG | {"block_out_channels": [64, 64, 128], "attention_head_dim": [1, 1, 2], "cross_attention_dim": 128,
                             "transformer_layers_per_block": [1, 1, 2], "projection_class_embeddings_input_dim": 64 + 6 * 256}
    models.write_sdxl(models.Folder(folder), "sdxl-single", network, clip,
                      clip | {"architectures": text.CLIP_G["architectures"], "hidden_act": "gelu"},
                      vae.SDXL | {"block_out_channels": [32, 32, 64, 64]})
    return folder


def shards(folder, stem, index):
    """Splits a component's only weight file in two, with the index named as given."""
    (file,) = folder.glob("*.safetensors")
    tensors = load(file)
    names = list(tensors)
    where = {}
    for i, part in enumerate((names[::2], names[1::2])):
        name = f"{stem}-0000{i + 1}-of-00002.safetensors"
        save(folder / name, {k: tensors[k] for k in part})
        where |= {k: name for k in part}
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    file.unlink()


# ---- diffusers folders ---------------------------------------------------------------------------------------------


def test_variants_shards_and_missing_files(sdxl):
    want = draw(sdxl)
    weights = sdxl / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    shards(sdxl / "text_encoder", "model.fp16", "model.safetensors.index.fp16.json")
    shards(sdxl / "text_encoder_2", "model", "model.safetensors.index.json")
    shards(sdxl / "vae", "diffusion_pytorch_model.fp16", "diffusion_pytorch_model.fp16.safetensors.index.json")
    for name in ("tokenizer/tokenizer.json", "tokenizer_2/tokenizer.json"):
        (sdxl / name).unlink()
    assert (draw(sdxl) == want).all()


@pytest.mark.parametrize("fields,words", [
    ({"_class_name": "FluxKontextPipeline"}, ["FluxKontextPipeline", "FLUX.1 dev and schnell"]),
    ({"_class_name": "FluxFillPipeline"}, ["FluxFillPipeline"]),
    ({"_class_name": "Flux2Pipeline"}, ["Flux2Pipeline"]),
    ({"_class_name": "StableDiffusion3Pipeline", "unet": [None, None], "text_encoder_2": [None, None]}, ["StableDiffusion3Pipeline"]),
])
def test_other_pipelines(flux, fields, words):
    edit(flux / "model_index.json", **fields)
    refused(flux, *words)


def test_refiner(sdxl):
    edit(sdxl / "model_index.json", text_encoder=[None, None], tokenizer=[None, None], _class_name="StableDiffusionXLImg2ImgPipeline")
    shutil.rmtree(sdxl / "text_encoder")
    refused(sdxl, "refiner", "base model")


@pytest.mark.parametrize("file,fields,words", [
    ("unet/config.json", {"in_channels": 9}, ["9 channels", "inpainting"]),
    ("unet/config.json", {"time_cond_proj_dim": 256}, ["time_cond_proj_dim 256"]),
    ("unet/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}, ["bitsandbytes", "not supported"]),
    ("unet/config.json", {"mid_block_scale_factor": 1.5}, ["mid_block_scale_factor 1.5", "[1]"]),
    ("unet/config.json", {"downsample_padding": 0}, ["downsample_padding 0"]),
    ("unet/config.json", {"resnet_out_scale_factor": 2.0}, ["resnet_out_scale_factor"]),
    ("unet/config.json", {"act_fn": "gelu"}, ["act_fn"]),
    ("unet/config.json", {"conv_in_kernel": 1}, ["conv_in_kernel"]),
    ("unet/config.json", {"time_embedding_dim": 32}, ["time_embedding_dim"]),
    ("unet/config.json", {"layers_per_block": [1, 2]}, ["UNet", "-1 res blocks"]),
    ("unet/config.json", {"down_block_types": ["DownBlock2D", "SimpleCrossAttnDownBlock2D"]}, ["SimpleCrossAttnDownBlock2D"]),
    ("unet/config.json", {"center_input_sample": True}, ["center_input_sample"]),
    ("unet/config.json", {"norm_num_groups": "2"}, ["UNet"]),
    ("vae/config.json", {"act_fn": "relu"}, ["act_fn"]),
    ("vae/config.json", {"latents_mean": [1, 2], "latents_std": [1, 2]}, ["latents_mean"]),
    ("vae/config.json", {"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, ["AttnDownEncoderBlock2D"]),
    ("text_encoder/config.json", {"hidden_act": "relu"}, ["hidden_act", "relu"]),
    ("model_index.json", {"scheduler": ["diffusers", "SASolverScheduler"]}, ["SASolverScheduler"]),
    ("model_index.json", {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, ["scheduler", "sdxl"]),
    ("model_index.json", {"vae": ["diffusers", "AutoencoderTiny"]}, ["AutoencoderTiny", "AutoencoderKL"]),
    ("model_index.json", {"unet": ["diffusers", "UNetMotionModel"]}, ["UNetMotionModel"]),
    ("model_index.json", {"text_encoder_2": ["transformers", "T5EncoderModel"]}, ["text_encoder_2", "T5EncoderModel"]),
    ("scheduler/scheduler_config.json", {"timestep_spacing": "odd"}, ["timestep_spacing", "odd"]),
    ("scheduler/scheduler_config.json", {"trained_betas": [0.1]}, ["trained_betas"]),
    ("model_index.json", {"scheduler": ["diffusers", "PNDMScheduler"]}, ["PNDMScheduler", "skip_prk_steps"]),
    ("model_index.json", {"tokenizer": ["transformers", "LlamaTokenizer"]}, None),
])
def test_configurations_that_are_refused(sdxl, file, fields, words):
    edit(sdxl / file, **fields)
    if words is None:  # a tokenizer's own file says more than the index's generic name
        edit(sdxl / "tokenizer/tokenizer_config.json", tokenizer_class="LlamaTokenizer")
        words = ["LlamaTokenizer", "CLIPTokenizer"]
    refused(sdxl, *words)


def test_keys_that_nothing_here_knows_are_named(sdxl):
    """A newer file's new key shows in the log; the picture is drawn."""
    want = draw(sdxl)
    for file in ("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        edit(sdxl / file, a_new_key=[1], _a_note=2)
    out = sdxl.parent / "o.png"
    r = run("image", "--model", sdxl, "--size", "32x32", "--steps", "2", "--seed", "1", "-o", out, "a red apple")
    assert r.returncode == 0 and r.stderr.count("a_new_key") == 5 and "_a_note" not in r.stderr, r.stderr
    assert (np.asarray(Image.open(out).convert("RGB"), "i4") == want).all()


def test_components_go_by_the_index(sdxl):
    """A component's class is what model_index.json names, whatever the component's own file says."""
    want = draw(sdxl)
    config = json.loads((sdxl / "text_encoder_2/config.json").read_text())
    del config["architectures"]
    (sdxl / "text_encoder_2/config.json").write_text(json.dumps(config))
    edit(sdxl / "scheduler/scheduler_config.json", _class_name="EulerAncestralDiscreteScheduler")
    edit(sdxl / "tokenizer/tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    assert (draw(sdxl) == want).all()


def size_of(model):
    out = pathlib.Path(model).parent / "size.png"
    r = run("image", "--model", model, "--steps", "1", "--seed", "1", "-o", out, "x")
    assert r.returncode == 0, r.stderr
    return Image.open(out).size


def test_default_size(sdxl, flux):
    """The denoiser's sample_size times the VAE's factor, for FLUX 128 times that; never the VAE's own sample_size."""
    for side in (64, 512):
        edit(sdxl / "vae/config.json", sample_size=side)
        assert size_of(sdxl) == (32, 32)
    edit(sdxl / "unet/config.json", sample_size=24)
    assert size_of(sdxl) == (48, 48)
    edit(flux / "vae/config.json", sample_size=32)
    assert size_of(flux) == (256, 256)


def test_scheduler_that_is_stood_in_for(sdxl):
    want = draw(sdxl)
    edit(sdxl / "model_index.json", scheduler=["diffusers", "KDPM2DiscreteScheduler"])
    assert (draw(sdxl) == want).all()
    r = run("image", "--model", sdxl, "--size", "32x32", "--steps", "1", "-o", sdxl / "x.png", "a red apple")
    assert "KDPM2DiscreteScheduler" in r.stderr and "euler" in r.stderr


def test_a_distilled_scheduler_has_so_many_steps(sdxl):
    """LCM chooses its steps out of those it was trained for; another sampler of the same model does not."""
    edit(sdxl / "model_index.json", scheduler=["diffusers", "LCMScheduler"])
    edit(sdxl / "scheduler/scheduler_config.json", original_inference_steps=4)
    args = ("image", "--model", sdxl, "--size", "16x16", "--steps", "5", "-o", sdxl / "x.png", "x")
    r = run(*args)
    assert r.returncode == 1 and "steps must be between 1 and 4, got 5" in r.stderr
    assert run(*args, "--sampler", "euler").returncode == 0
    args = ("image", "--model", sdxl, "--size", "16x16", "--steps", "4", "-o", sdxl / "x.png", "x")
    assert run(*args).returncode == 0


def test_flux_fill(flux):
    edit(flux / "transformer/config.json", in_channels=384, out_channels=64)
    refused(flux, "384 channels", "Fill")


def test_pickles(sdxl):
    weights = sdxl / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    refused(sdxl, "pickles", ".safetensors")


def test_a_tokenizer_of_another_model(sdxl):
    """Its ids point behind the embedding's last row."""
    file = sdxl / "text_encoder_2/model.safetensors"
    tensors = load(file)
    name = "text_model.embeddings.token_embedding.weight"
    kind, (rows, width), data = tensors[name]
    save(file, {**tensors, name: (kind, [20, width], data[:len(data) // rows * 20])})
    edit(sdxl / "text_encoder_2/config.json", vocab_size=20)
    refused(sdxl, "token", "knows 20")


# ---- single files --------------------------------------------------------------------------------------------------


def test_flux_all_in_one(bfl, tmp_path):
    model = shutil.copytree(bfl, tmp_path / "one")
    parts = {"flux1": "model.diffusion_model.", "clip_l": "text_encoders.clip_l.transformer.", "t5xxl": "text_encoders.t5xxl.transformer.", "ae": "vae."}
    everything = {}
    for stem, prefix in parts.items():
        (file,) = model.glob(stem + "*.safetensors")
        everything |= {prefix + k: v for k, v in load(file).items()}
        file.unlink()
    save(model / "everything.safetensors", everything)
    assert (draw(model / "everything.safetensors") == draw(bfl)).all()


@pytest.mark.parametrize("arch,prefix", [("flux", ""), (None, "model.diffusion_model.")])
def test_flux_gguf(bfl, tmp_path, arch, prefix):
    model = shutil.copytree(bfl, tmp_path / "gguf")
    (file,) = model.glob("flux1*.safetensors")
    tensors = {prefix + k: v for k, v in load(file).items()}
    file.unlink()
    save_gguf(model / "tiny.Q8_0.gguf", tensors, arch)
    off = np.abs(draw(model / "tiny.Q8_0.gguf") - draw(bfl))
    assert off.mean() < 2  # eight bits a weight
    listed = run("models", "--models", tmp_path, "--json")
    assert any(m["kind"] == "image" and m["path"].endswith(".gguf") for m in json.loads(listed.stdout)["models"]), listed.stdout
    for command, *words in (["chat"], ["complete", "hello"], ["bench"]):
        r = run(command, model / "tiny.Q8_0.gguf", *words)
        assert r.returncode == 1 and "is an image model" in r.stderr, r.stderr


def test_gguf_of_another_family(bfl, tmp_path):
    model = shutil.copytree(bfl, tmp_path / "other")
    save_gguf(model / "sd3.5.gguf", {"joint_blocks.0.x_block.attn.qkv.weight": ("F32", [8, 4], bytes(128))}, "sd3")
    refused(model / "sd3.5.gguf", "FLUX.1", "SDXL")


def test_encoders_beside_a_unet(single, tmp_path):
    """A UNet of its own, with clip_l, clip_g and the VAE in files beside it."""
    model = shutil.copytree(single, tmp_path / "beside")
    (file,) = model.glob("*.safetensors")
    tensors = load(file)
    take = lambda prefix: {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}
    save(model / "unet.safetensors", {k: v for k, v in tensors.items() if k.startswith("model.diffusion_model.")})
    file.unlink()
    refused(model / "unet.safetensors", "VAE is not in the checkpoint", "safetensors")
    save(model / "vae.safetensors", take("first_stage_model."))
    save(model / "clip_l.safetensors", take("conditioner.embedders.0.transformer."))
    refused(model / "unet.safetensors", "OpenCLIP", "clip_g")
    save(model / "clip_g.safetensors", take("conditioner.embedders.1.model."))
    assert (draw(model / "unet.safetensors") == draw(single)).all()


def take(tensors, prefix):
    return {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}


def with_prefix(prefix, tensors):
    return {prefix + k: v for k, v in tensors.items()}


def vae_in_diffusers_names(tensors, levels, old=False):
    names = {"norm": "group_norm", "q": "query" if old else "to_q", "k": "key" if old else "to_k", "v": "value" if old else "to_v",
             "proj_out": "proj_attn" if old else "to_out.0"}
    out = {}
    for k, (kind, shape, data) in tensors.items():
        k = re.sub(r"^encoder\.down\.(\d)\.block\.", r"encoder.down_blocks.\1.resnets.", k)
        k = re.sub(r"^decoder\.up\.(\d)\.block\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.resnets.", k)
        k = re.sub(r"^encoder\.down\.(\d)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0.", k)
        k = re.sub(r"^decoder\.up\.(\d)\.upsample\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.upsamplers.0.", k)
        k = re.sub(r"mid\.block_(\d)\.", lambda m: f"mid_block.resnets.{int(m[1]) - 1}.", k)
        k = re.sub(r"mid\.attn_1\.(\w+)\.", lambda m: f"mid_block.attentions.0.{names[m[1]]}.", k)
        k = k.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
        out[k] = (kind, shape[:2] if "attentions" in k and len(shape) == 4 else shape, data)
    return out


@pytest.mark.parametrize("name,form", [
    ("vae", lambda v: with_prefix("first_stage_model.", v)),
    ("sdxl_vae", lambda v: with_prefix("vae.", v)),
    ("diffusion_pytorch_model", lambda v: vae_in_diffusers_names(v, 4)),
    ("sdxl_vae", lambda v: vae_in_diffusers_names(v, 4, old=True)),
    ("vae", lambda v: with_prefix("vae.", vae_in_diffusers_names(v, 4))),
])
def test_vae_beside_a_checkpoint(single, tmp_path, name, form):
    """In LDM's names or diffusers', as a repository's vae/ has it or as it was cut out of another checkpoint."""
    model = shutil.copytree(single, tmp_path / "model")
    (file,) = model.glob("*.safetensors")
    tensors = load(file)
    save(file, {k: v for k, v in tensors.items() if not k.startswith("first_stage_model.")})
    # A file that only has a fitting name is not the one.
    save(model / "ae_other.safetensors", {"x": ("F32", [1], bytes(4))})
    save(model / f"{name}.safetensors", form(take(tensors, "first_stage_model.")))
    assert (draw(file) == draw(single)).all()


@pytest.mark.parametrize("l,g", [("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."), ("text_encoders.clip_l.", "clip_g."),
                                 ("clip_l.", "text_encoder_2.")])
def test_encoders_under_their_prefixes(single, tmp_path, l, g):
    model = shutil.copytree(single, tmp_path / "model")
    (file,) = model.glob("*.safetensors")
    tensors = load(file)
    save(file, {k: v for k, v in tensors.items() if not k.startswith("conditioner.")})
    clip_l = take(tensors, "conditioner.embedders.0.transformer.")
    # Some files bring a projection along that no pipeline uses.
    save(model / "clip_l.safetensors", with_prefix(l, clip_l | {"text_projection.weight": single_precision(np.ones((64, 64)))}))
    save(model / "clip_g.safetensors", with_prefix(g, take(tensors, "conditioner.embedders.1.model.")))
    assert (draw(file) == draw(single)).all()


def test_component_folders_beside_a_checkpoint(sdxl, single, tmp_path):
    """A repository's own vae/ folder serves as well as a file."""
    model = shutil.copytree(single, tmp_path / "single")
    (file,) = model.glob("*.safetensors")
    tensors = load(file)
    save(file, {k: v for k, v in tensors.items() if not k.startswith("first_stage_model.")})
    shutil.copytree(sdxl / "vae", model / "vae")
    assert draw(file).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["convolutions", "embedding", "rows", "vae"])
def test_scaled_f8(single, tmp_path, kind):
    """F8 tensors with a scale beside them draw what their values draw; nothing is passed over."""
    chosen = {"convolutions": lambda k, n: n == 4 and k.startswith("model.diffusion_model."),
              "embedding": lambda k, n: k.endswith("0.transformer.text_model.embeddings.token_embedding.weight"),
              "rows": lambda k, n: n == 4 and k.startswith("model.diffusion_model."),
              "vae": lambda k, n: n == 4 and k.startswith("first_stage_model.") and ".attn_1." not in k}[kind]
    (source,) = single.glob("*.safetensors")
    tensors = load(source)
    as_f8, as_values = dict(tensors), dict(tensors)
    for i, (k, t) in enumerate(tensors.items()):
        if not (k.endswith(".weight") and chosen(k, len(t[1]))):
            continue
        v = numbers(t)
        f8, scale, values = scaled_e4m3(v * (1 + i % 3), kind == "rows")  # a scale that is passed over shows
        as_f8[k], as_f8[k[:-6] + ("weight_scale" if i % 2 else "scale_weight")] = f8, scale
        as_values[k] = single_precision(values) if kind == "embedding" else bfloat(values)
    assert len(as_f8) > len(as_values)
    pictures = []
    for name, content in (("f8", as_f8), ("values", as_values)):
        model = tmp_path / name
        shutil.copytree(single, model)
        save(model / source.name, content)
        pictures.append(draw(model))
    assert (pictures[0] == pictures[1]).all()


def test_f8_scales_of_another_kind(single, tmp_path):
    model = shutil.copytree(single, tmp_path / "model")
    (file,) = model.glob("*.safetensors")
    tensors = load(file)
    k = next(k for k, t in tensors.items() if k.startswith("model.diffusion_model.input_blocks.1.0.in_layers.2") and len(t[1]) == 4)
    f8, scale, _ = scaled_e4m3(numbers(tensors[k]))
    save(file, tensors | {k: f8, k[:-6] + "weight_scale_inv": scale})
    refused(file, "weight_scale_inv")


@pytest.mark.parametrize("quantise", [False, True])
def test_gguf_of_sdxl_with_its_shapes_beside(single, tmp_path, quantise):
    """Weights whose rows are no whole number of blocks are stored as rows of 256; the picture is that of the same values."""
    model = shutil.copytree(single, tmp_path / "model")
    (file,) = model.glob("*.safetensors")
    tensors = load(file)
    rest = {k: v for k, v in tensors.items() if not k.startswith("model.diffusion_model.")}
    unet = take(tensors, "model.diffusion_model.")
    file.unlink()
    save(model / "vae.safetensors", take(rest, "first_stage_model."))
    save(model / "clip_l.safetensors", take(rest, "conditioner.embedders.0.transformer."))
    save(model / "clip_g.safetensors", take(rest, "conditioner.embedders.1.model."))
    values = save_gguf(model / "shaped.gguf", unet, "sdxl", quantise=quantise, reshape=True)
    assert (len(values) > 20) == quantise
    plain = {k: bfloat(values[k]) if k in values else single_precision(numbers(v)) for k, v in unet.items()}
    save(model / "plain.safetensors", plain)
    assert (draw(model / "shaped.gguf") == draw(model / "plain.safetensors")).all()


def test_gguf_with_a_shape_that_is_not_its_own(single, tmp_path):
    model = shutil.copytree(single, tmp_path / "model")
    (file,) = model.glob("*.safetensors")
    unet = take(load(file), "model.diffusion_model.")
    save_gguf(model / "bad.gguf", unet, "sdxl", quantise=False, reshape=True)
    data = (model / "bad.gguf").read_bytes()
    at = data.index(b"comfy.gguf.orig_shape.input_blocks.1.0.in_layers.2.weight") + len("comfy.gguf.orig_shape.input_blocks.1.0.in_layers.2.weight")
    (model / "bad.gguf").write_bytes(data[:at + 16] + struct.pack("<i", 63) + data[at + 20:])
    refused(model / "bad.gguf", "comfy.gguf.orig_shape.input_blocks.1.0.in_layers.2.weight", "does not fit")


def test_single_file_alone(single, tmp_path):
    shutil.copy(single / "sd_xl_base.safetensors", tmp_path)
    refused(tmp_path / "sd_xl_base.safetensors", "tokenizers", "tokenizer_2", "beside it")
    shutil.copytree(single / "tokenizer", tmp_path / "tokenizer")
    refused(tmp_path / "sd_xl_base.safetensors", "tokenizer_2 is missing")


def test_relatives_in_single_files(bfl, tmp_path):
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(bfl / name, tmp_path / name)
    (file,) = bfl.glob("flux1*.safetensors")
    tensors = load(file)
    chroma = {k: v for k, v in tensors.items() if "_mod." not in k and "modulation" not in k}
    save(tmp_path / "chroma.safetensors", chroma)
    refused(tmp_path / "chroma.safetensors", "Chroma", "FLUX.1 dev")
    kind, (rows, width), data = tensors["img_in.weight"]
    save(tmp_path / "fill.safetensors", {**tensors, "img_in.weight": (kind, [rows, 6 * width], data * 6)})
    refused(tmp_path / "fill.safetensors", "384 channels", "Fill")
    save(tmp_path / "sd15.safetensors", {"model.diffusion_model.input_blocks.0.0.weight": ("F32", [4, 4, 1, 1], bytes(64))})
    refused(tmp_path / "sd15.safetensors")


def test_markers_of_sdxl_checkpoints(single, tmp_path):
    """How a checkpoint was trained stands in tensors of no other use."""
    model = shutil.copytree(single, tmp_path / "marked")
    (file,) = model.glob("*.safetensors")
    tensors, plain, one = load(file), draw(single), ("F32", [1], struct.pack("<f", 120))
    save(file, tensors | {"v_pred": one})
    velocity = draw(model)
    save(file, tensors | {"v_pred": one, "ztsnr": one})
    zero = draw(model)
    assert not (velocity == plain).all() and not (zero == velocity).all()
    save(file, tensors | {"edm_vpred.sigma_max": one, "edm_vpred.sigma_min": one})
    refused(model, "CosXL", "not supported")
