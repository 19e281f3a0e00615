"""One adapter in every spelling that trainers and libraries write: the picture is the same; what is more than plain LoRA is refused."""
import base64
import io
import json
import shutil
import struct

import numpy as np
import pytest
from PIL import Image

from conftest import Server
from test_layouts import bfl as narrow, draw, load, numbers, refused_lora as refused, save as save_typed, single, tool  # noqa: F401 (fixtures)

RANK = 2


def save(path, tensors, note=None):
    """A safetensors file of F32 arrays."""
    header, at, data = {"__metadata__": {"lora_adapter_metadata": json.dumps(note)}} if note else {}, 0, b""
    for name, v in tensors.items():
        v = np.asarray(v, "f4")
        header[name] = {"dtype": "F32", "shape": list(v.shape), "data_offsets": [at, at + v.nbytes]}
        at += v.nbytes
        data += v.tobytes()
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return path


def pair(seed, n_out, n_in):
    r = np.random.default_rng(seed)
    return r.normal(0, 0.5, (RANK, n_in)), r.normal(0, 0.5, (n_out, RANK))


def named(modules, down=".lora_A.weight", up=".lora_B.weight"):
    return {k: v for name, (a, b) in modules.items() for k, v in ((name + down, a), (name + up, b))}


D = 128  # width of the small FLUX
QKV, PROJ, FIRST = pair(1, 3 * D, D), pair(2, D, D), pair(3, 3 * D, D)
SPLIT = {"transformer_blocks.0.attn." + x: (QKV[0], QKV[1][i * D:(i + 1) * D]) for i, x in enumerate(("to_q", "to_k", "to_v"))}
SPLIT |= {"single_transformer_blocks.0.attn." + x: (FIRST[0], FIRST[1][i * D:(i + 1) * D]) for i, x in enumerate(("to_q", "to_k", "to_v"))}
SPLIT["transformer_blocks.0.attn.to_add_out"] = PROJ
# All of linear1's rows, those of the feed-forward part zero.
WHOLE = (FIRST[0], np.concatenate([FIRST[1], np.zeros((4 * D, RANK))]))
FUSED = {"double_blocks.0.img_attn.qkv": QKV, "double_blocks.0.txt_attn.proj": PROJ, "single_blocks.0.linear1": WHOLE}
XLABS = {"double_blocks.0.processor.qkv_lora1": QKV, "double_blocks.0.processor.proj_lora2": PROJ, "single_blocks.0.processor.qkv_lora": FIRST}


def under(prefix, modules):
    return {prefix + k: v for k, v in modules.items()}


def flat(prefix, modules):
    return {prefix + k.replace(".", "_"): v for k, v in modules.items()}


FLUX = {
    "peft": named(under("transformer.", SPLIT)),
    "bare peft": named(under("base_model.model.", SPLIT)),
    "bare peft, named adapter": named(under("base_model.model.", SPLIT), ".lora_A.default.weight", ".lora_B.default.weight"),
    "diffusers, older": named(under("transformer.", SPLIT), ".lora.down.weight", ".lora.up.weight"),
    "kohya": named(flat("lora_unet_", FUSED), ".lora_down.weight", ".lora_up.weight"),
    "kohya, diffusers' names": named(flat("lora_transformer_", SPLIT), ".lora_down.weight", ".lora_up.weight"),
    "original names": named(under("diffusion_model.", FUSED)),
    "original names, longer": named(under("model.diffusion_model.", FUSED)),
    "xlabs": named(XLABS, ".down.weight", ".up.weight"),
}


@pytest.fixture(scope="module")
def bfl(narrow, tmp_path_factory):
    """The small FLUX in F32. Two orders of one sum then differ by some 1e-7 of it, which two steps and the decoder do not carry near a byte's
    step of 4e-3: a byte may change by one, where its value stood at a half, and by no more on any instruction set. In BF16 such a difference
    flips roundings of 1 in 256 on the way."""
    folder = tmp_path_factory.mktemp("loras") / "model"
    shutil.copytree(narrow, folder, symlinks=False)
    for path in folder.rglob("*.safetensors"):
        save_typed(path, {k: ("F32", t[1], numbers(t).tobytes()) for k, t in load(path).items()})
    return folder


@pytest.fixture(scope="module")
def flux_pictures(bfl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    return draw(bfl), draw(bfl, "--lora", save(folder / "a.safetensors", FLUX["peft"]))


@pytest.mark.parametrize("form", FLUX)
def test_flux_spellings(bfl, flux_pictures, tmp_path, form):
    plain, want = flux_pictures
    assert np.abs(want - plain).mean() > 1
    # The rows of a fused layer come in one product or in three: the sums may round differently.
    assert np.abs(draw(bfl, "--lora", save(tmp_path / "a.safetensors", FLUX[form])) - want).max() <= 1


def alphas(modules, value):
    return {name + ".alpha": value for name in modules}


@pytest.mark.parametrize("how", ["tensor", "note", "pattern", "expression", "config", "rslora"])
def test_alpha(bfl, flux_pictures, tmp_path, how):
    """Half the rank is half the weight, wherever it is written."""
    want = draw(bfl, "--lora", f"{save(tmp_path / 'w.safetensors', FLUX['peft'])}:0.5")
    assert np.abs(want - flux_pictures[1]).mean() > 0.2
    modules = under("transformer.", SPLIT)
    tensors, note = named(modules), None
    if how == "tensor":
        tensors |= alphas(modules, RANK / 2)
    elif how == "note":
        note = {"transformer.r": RANK, "transformer.lora_alpha": RANK / 2}
    elif how == "pattern":
        note = {"transformer.lora_alpha": 77, "transformer.alpha_pattern": {k: RANK / 2 for k in SPLIT}}
    elif how == "expression":
        note = {"transformer.lora_alpha": 77, "transformer.alpha_pattern": {r"single_.*to_[qk]": RANK / 2, r"^transformer_blocks\.\d.*": RANK / 2, "to_v": RANK / 2}}
    elif how == "rslora":
        note = {"transformer.lora_alpha": RANK ** 0.5 / 2, "transformer.use_rslora": True}
    else:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": RANK / 2}))
    assert np.abs(draw(bfl, "--lora", save(tmp_path / "a.safetensors", tensors, note)) - want).max() <= 1


SELF, CLIP, BIGG = pair(4, 64, 64), pair(5, 64, 64), pair(6, 64, 64)
UNET, TEXT = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "text_model.encoder.layers.0.self_attn.q_proj"
SDXL = {
    "kohya": named({"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": SELF, "lora_te1_" + TEXT.replace(".", "_"): CLIP,
                    "lora_te2_" + TEXT.replace(".", "_"): BIGG}, ".lora_down.weight", ".lora_up.weight"),
    "kohya, diffusers' names": named(flat("lora_unet_", {UNET: SELF}) | flat("lora_te1_", {TEXT: CLIP}) | flat("lora_te2_", {TEXT: BIGG}),
                                     ".lora_down.weight", ".lora_up.weight"),
    "peft": named({"unet." + UNET: SELF, "text_encoder." + TEXT: CLIP, "text_encoder_2." + TEXT: BIGG}),
    "diffusers, older": named({"unet." + UNET: SELF}, ".lora.down.weight", ".lora.up.weight")
    | named({"text_encoder." + TEXT: CLIP, "text_encoder_2." + TEXT: BIGG}, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    "attention processors": named({"unet." + UNET.replace("to_q", "processor.to_q"): SELF}, "_lora.down.weight", "_lora.up.weight")
    | named({"text_encoder." + TEXT: CLIP, "text_encoder_2." + TEXT: BIGG}),
}


@pytest.fixture(scope="module")
def sdxl_pictures(single, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    return draw(single), draw(single, "--lora", save(folder / "a.safetensors", SDXL["peft"]))


@pytest.mark.parametrize("form", SDXL)
def test_sdxl_spellings(single, sdxl_pictures, tmp_path, form):
    plain, want = sdxl_pictures
    assert np.abs(want - plain).mean() > 0.2
    assert (draw(single, "--lora", save(tmp_path / "a.safetensors", SDXL[form])) == want).all()


@pytest.mark.parametrize("extra,words", [
    ({"transformer.transformer_blocks.0.attn.to_q.lora_magnitude_vector": np.ones(D)}, ["lora_magnitude_vector", "plain LoRA"]),
    ({"lora_unet_double_blocks_0_img_attn_qkv.hada_w1_a": np.ones((D, RANK))}, ["hada_w"]),
    ({"lora_unet_double_blocks_0_img_attn_qkv.lokr_w1": np.ones((D, RANK))}, ["lokr_w"]),
    ({"transformer.transformer_blocks.0.attn.to_q.lora_B.bias": np.ones(D)}, ["lora_B.bias"]),
    ({"double_blocks.0.img_attn.norm.query_norm.scale": np.ones(D)}, ["query_norm.scale", "plain LoRA"]),
    ({"lora_unet_img_in.diff": np.ones((D, 64))}, ["img_in.diff"]),
    ({"transformer.x_embedder.lora_A.weight": np.ones((RANK, 64))}, ["x_embedder", "no counterpart"]),
    ({"transformer.x_embedder.lora_A.weight": np.ones((RANK, 99)), "transformer.x_embedder.lora_B.weight": np.ones((D, RANK))}, ["x_embedder", "does not fit"]),
])
def test_what_is_refused(bfl, tmp_path, extra, words):
    refused(bfl, save(tmp_path / "a.safetensors", FLUX["peft"] | extra), *words)


def rows(modules, name, n):
    """The same modules, B of one with n rows."""
    a, b = modules[name]
    return modules | {name: (a, np.resize(b, (n, RANK)))}


def columns(modules, name, n):
    a, b = modules[name]
    return modules | {name: (np.resize(a, (RANK, n)), b)}


@pytest.mark.parametrize("form,n", [("split", 2 * D), ("split", D // 2), ("single", 2 * D), ("fused", 3 * D + 1), ("fused", 4 * D), ("fused", 2 * D), ("first", 3 * D),
                                    ("first", 8 * D), ("xlabs", 2 * D), ("xlabs", 4 * D)])
def test_rows_of_fused_layers(bfl, tmp_path, form, n):
    """A part of a fused layer takes its own rows of B, no more and no fewer; nothing is cut off in silence."""
    modules, name = {"split": (under("transformer.", SPLIT), "transformer.transformer_blocks.0.attn.to_k"),
                     "single": (under("transformer.", SPLIT), "transformer.single_transformer_blocks.0.attn.to_q"),
                     "fused": (under("diffusion_model.", FUSED), "diffusion_model.double_blocks.0.img_attn.qkv"),
                     "first": (under("diffusion_model.", FUSED), "diffusion_model.single_blocks.0.linear1"),
                     "xlabs": (XLABS, "single_blocks.0.processor.qkv_lora")}[form]
    ends = (".down.weight", ".up.weight") if form == "xlabs" else ()
    refused(bfl, save(tmp_path / "a.safetensors", named(rows(modules, name, n), *ends)), name.removesuffix("_lora"), f"[{n}, {RANK}]", "does not fit")


@pytest.mark.parametrize("name", ["double_blocks.0.img_attn.qkv", "single_blocks.0.linear1"])
def test_columns_of_fused_layers(bfl, tmp_path, name):
    refused(bfl, save(tmp_path / "a.safetensors", named(columns(under("diffusion_model.", FUSED), "diffusion_model." + name, D + 1))), name, "does not fit")


def test_ranks_that_differ(bfl, tmp_path):
    modules = named(under("transformer.", SPLIT))
    name = "transformer.transformer_blocks.0.attn.to_q"
    refused(bfl, save(tmp_path / "a.safetensors", modules | {name + ".lora_A.weight": np.ones((RANK + 1, D))}), name, "does not fit")
    refused(bfl, save(tmp_path / "a.safetensors", modules, {"transformer.r": RANK, "transformer.rank_pattern": {r".*blocks\.0.*to_q": 3}}), name, "rank 2", "says 3")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["lora_A.weight", "lora_B.weight"])
def test_values_that_are_no_numbers(bfl, tmp_path, which, value):
    name = f"transformer.transformer_blocks.0.attn.to_k.{which}"
    modules = named(under("transformer.", SPLIT))
    modules[name] = modules[name].copy()
    modules[name][-1, -1] = value
    refused(bfl, save(tmp_path / "a.safetensors", modules), "a.safetensors", name, "finite")


def test_foreign_modules(bfl, tmp_path):
    """One module that fits among nine that do not: the first of these are named."""
    foreign = {f"transformer.transformer_blocks.{i}.attn.to_q": SPLIT["transformer_blocks.0.attn.to_q"] for i in range(20, 29)}
    path = save(tmp_path / "a.safetensors", named(foreign | {"transformer.transformer_blocks.0.attn.to_q": SPLIT["transformer_blocks.0.attn.to_q"]}))
    refused(bfl, path, "9 of its 10 adapter modules", "transformer_blocks.20.attn.to_q", "transformer_blocks.22.attn.to_q", "...")


def test_a_layer_twice(bfl, tmp_path):
    refused(bfl, save(tmp_path / "a.safetensors", FLUX["peft"] | FLUX["original names"]), "same layer")


# ---- requests ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(bfl, tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    (root / "models").mkdir()
    (root / "models/tiny").symlink_to(bfl)
    (root / "loras/folder").mkdir(parents=True)
    save(root / "loras/one.safetensors", FLUX["peft"])
    save(root / "loras/folder/pytorch_lora_weights.safetensors", FLUX["kohya"])
    save(root / "loras/unet.safetensors", SDXL["kohya"])
    save(root / "outside.safetensors", FLUX["peft"])
    s = Server("--files", str(root / "files"), models=str(root / "models"))
    yield s
    s.stop()


def ask(s, **fields):
    return s.post("/v1/images/generations", {"model": "tiny", "prompt": "a red apple", "size": "32x32", "steps": 2, "seed": 1,
                                             "response_format": "b64_json", **fields})


def drawn(s, **fields):
    r = ask(s, **fields)
    assert r.status_code == 200, r.text
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(r.json()["data"][0]["b64_json"]))), "i4")


def test_adapters_of_a_request(server, flux_pictures):
    plain, want = flux_pictures
    assert (drawn(server) == plain).all()
    assert (drawn(server, loras="one") == want).all() and (drawn(server, loras=["one.safetensors"]) == want).all()
    half = drawn(server, loras=[{"name": "one", "weight": 0.5}])
    assert (half == drawn(server, loras="one:0.5")).all() and not (half == want).all()
    assert np.abs(drawn(server, loras=["folder"]) - want).max() <= 1
    # Two halves of the same are the whole, and a request without any is as before.
    assert np.abs(drawn(server, loras="one:0.5,folder:0.5") - want).max() <= 1
    assert (drawn(server) == plain).all()
    r = server.post("/inference/v1/image_generation/accounts/local/models/tiny",
                    {"prompt": "a red apple", "width": 32, "height": 32, "steps": 2, "seed": 1, "lora_adapter_name": "one"}, {"Accept": "image/png"})
    assert (np.asarray(Image.open(io.BytesIO(r.content)), "i4") == want).all()


@pytest.mark.parametrize("loras,words", [
    ("none", ["none"]), ("../outside", ["../outside"]), (".", ["adapter"]), (["one"] * 5, ["at most 4"]), (["one"] * 17, ["at most 16"]),
    ("one:x", ["NAME:WEIGHT"]), (5, ["list"]), ([{"weight": 1}], ["name"]), ([{"name": "one", "weight": "x"}], ["weight"]), ("one:1000", ["WEIGHT"]),
    ("unet", ["unet.safetensors", "2 of its 3 adapter modules", "lora_unet_input_blocks_4_1"]),
])
def test_adapters_that_are_refused(server, loras, words):
    r = ask(server, loras=loras)
    assert r.status_code == 400, r.text
    for word in words:
        assert word in r.json()["error"]["message"]
