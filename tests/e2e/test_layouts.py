"""Image models as people have them: the layouts that repositories and single files come in, and the relatives of FLUX.1 and SDXL
that would load but are not drawn here, each refused by name."""
import importlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import BIN, PATIENCE, ROOT

PIPELINES = ROOT / "tests/golden/pipelines"
TOOL = ROOT / "tools/random_weights"


def run(*args):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")} | {"HEARTH_CONFIG": "/dev/null"}
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, env=env, timeout=PATIENCE)


def draw(model, *args, size="32x32"):
    """The pixels that a model draws."""
    out = pathlib.Path(model).parent / "drawn.png"
    r = run("image", "--model", model, "--size", size, "--steps", "2", "--seed", "1", "-o", out, *args, "a red apple")
    assert r.returncode == 0, r.stderr
    return np.asarray(Image.open(out).convert("RGB"), "i4")


def refused(model, *words):
    r = run("image", "--model", model, "--steps", "2", "-o", pathlib.Path(model).parent / "drawn.png", "a red apple")
    assert r.returncode == 1 and r.stderr.count("\n") == 1, r.stderr
    for word in words:
        assert word in r.stderr
    return r.stderr


def refused_lora(model, lora, *words):
    r = run("image", "--model", model, "--size", "32x32", "--steps", "1", "--lora", lora, "-o", pathlib.Path(lora).parent / "drawn.png", "a red apple")
    assert r.returncode == 1 and r.stderr.count("\n") == 1, r.stderr
    for word in words:
        assert word in r.stderr


def load(path):
    """{name: (type, shape, bytes)} of a safetensors file."""
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    return {k: (v["dtype"], v["shape"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]])
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}


def save(path, tensors):
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(t[2] for t in tensors.values()))


def numbers(tensor):
    kind, shape, data = tensor
    if kind == "BF16":
        return (np.frombuffer(data, "u2").astype("u4") << 16).view("f4").reshape(shape)
    return np.frombuffer(data, {"F32": "f4", "F16": "f2"}[kind]).astype("f4").reshape(shape)


def save_gguf(path, tensors, arch, quantise=True):
    """As the converters of image models write them: matrices as Q8_0, the rest as F32."""
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    infos, blocks, at = b"", [], 0
    for name, t in tensors.items():
        v = numbers(t)
        kind, data = 0, v.tobytes()
        if quantise and v.ndim == 2 and v.shape[1] % 32 == 0:
            rows = v.reshape(-1, 32)
            scale = (np.abs(rows).max(1) / 127).astype("f2")
            q = np.round(rows / np.maximum(scale.astype("f4"), 1e-12)[:, None]).clip(-127, 127).astype("i1")
            kind, data = 8, b"".join(s.tobytes() + r.tobytes() for s, r in zip(scale, q))
        shape = list(reversed(v.shape))
        infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, at)
        data += bytes(-len(data) % 32)
        blocks.append(data)
        at += len(data)
    keys = text("general.architecture") + struct.pack("<I", 8) + text(arch) if arch else b""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1 if arch else 0) + keys + infos
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(blocks))


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
    edit(sdxl / "model_index.json", scheduler=["diffusers", "HeunDiscreteScheduler"])
    assert (draw(sdxl) == want).all()
    r = run("image", "--model", sdxl, "--size", "32x32", "--steps", "1", "-o", sdxl / "x.png", "a red apple")
    assert "HeunDiscreteScheduler" in r.stderr and "euler" in r.stderr


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
