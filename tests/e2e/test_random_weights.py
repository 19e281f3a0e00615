"""tools/random_weights: the published shapes, and folders that load and draw (in small shapes; the full ones take gigabytes)."""
import importlib
import math
import pathlib
import subprocess
import sys

import pytest
from conftest import BIN, PATIENCE
from PIL import Image

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/random_weights"


@pytest.fixture(scope="module")
def tool():
    """Its modules, by plain names as the program itself imports them."""
    sys.path.insert(0, str(TOOL))
    yield {name: importlib.import_module(name) for name in ("flux", "unet", "vae", "text", "models")}
    sys.path.remove(str(TOOL))


def count(tensors):
    tensors = list(tensors)
    assert len({t.name for t in tensors}) == len(tensors)
    return sum(math.prod(t.shape) for t in tensors)


def test_published_sizes(tool):
    flux, unet, vae, text = (tool[k] for k in ("flux", "unet", "vae", "text"))
    assert count(flux.diffusers(flux.CONFIG)) == count(flux.bfl(flux.CONFIG)) == 11_901_408_320
    assert count(unet.diffusers()) == 2_567_463_684
    assert count(vae.tensors(vae.SDXL)) == count(vae.tensors(vae.SDXL, original=True)) == 83_653_863
    assert count(vae.tensors(vae.FLUX)) == 83_819_683
    assert count(text.clip(text.CLIP_L)) == 123_060_480
    assert count(text.clip(text.CLIP_G, projection=True)) == count(text.openclip(text.CLIP_G)) == 694_659_840
    assert count(text.t5(text.T5_XXL)) == 4_762_310_656


def draw(model, picture):
    subprocess.run([BIN, "image", "--model", model, "--size", "64x64", "--steps", "2", "--seed", "1", "-o", picture, "a boat"],
                   check=True, timeout=PATIENCE)
    with Image.open(picture) as im:
        assert im.size == (64, 64)
        low, high = im.convert("L").getextrema()
        assert high - low > 20  # what is not a number comes out flat


@pytest.mark.parametrize("layout", ["diffusers", "bfl"])
@pytest.mark.parametrize("t5_type", ["F8_E4M3", "BF16"])
def test_flux_draws(tool, tmp_path, layout, t5_type):
    flux, vae, text, models = (tool[k] for k in ("flux", "vae", "text", "models"))
    clip = text.CLIP_L | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
    t5 = text.T5_XXL | {"d_model": 64, "num_heads": 2, "d_ff": 96, "num_layers": 1}
    transformer = flux.config(1, 1) | {"num_attention_heads": 1, "joint_attention_dim": 64, "pooled_projection_dim": 64}
    models.write_flux(models.Folder(tmp_path), layout, transformer, t5, "F8_E4M3", t5_type, 16, clip,
                      vae.FLUX | {"block_out_channels": [32, 32, 64, 64]})
    draw(tmp_path, tmp_path / "out.png")


@pytest.mark.parametrize("layout", ["diffusers", "sdxl-single"])
def test_sdxl_draws(tool, tmp_path, layout):
    unet, vae, text, models = (tool[k] for k in ("unet", "vae", "text", "models"))
    clip = text.CLIP_L | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1,
                          "projection_dim": 64}
    network = unet.CONFIG | {"block_out_channels": [64, 64, 128], "attention_head_dim": [1, 1, 2], "cross_attention_dim": 128,
                             "transformer_layers_per_block": [1, 1, 2], "projection_class_embeddings_input_dim": 64 + 6 * 256}
    models.write_sdxl(models.Folder(tmp_path), layout, network, clip,
                      clip | {"architectures": text.CLIP_G["architectures"], "hidden_act": "gelu"},
                      vae.SDXL | {"block_out_channels": [32, 32, 64, 64]})
    draw(tmp_path, tmp_path / "out.png")
    if layout == "sdxl-single":  # by the file's own path too
        draw(tmp_path / "sd_xl_base.safetensors", tmp_path / "again.png")
        with Image.open(tmp_path / "out.png") as first, Image.open(tmp_path / "again.png") as again:
            assert first.tobytes() == again.tobytes()
