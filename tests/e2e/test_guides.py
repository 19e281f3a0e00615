"""Every image request of the guides that clients of Fireworks and Firemoon are written from, under the names of their models: sizes, steps, guidance,
counts and seeds as they stand there. The starter image model draws in the place of the large weights."""
import base64
import concurrent.futures
import io

import PIL.Image
import pytest

from conftest import KEY, Server, stand_ins

DEV, SCHNELL = "accounts/fireworks/models/flux-1-dev-fp8", "accounts/fireworks/models/flux-1-schnell-fp8"
SDXL = "accounts/fireworks/models/stable-diffusion-xl-1024-v1-0"
FAMILY = ["playground-v2-5-1024px-aesthetic", "japanese-stable-diffusion-xl", "SSD-1B"]
FLUX_SIZES = ["1024x1024", "832x1248", "1248x832", "896x1120", "1120x896", "1344x768", "768x1344", "640x1536", "1536x640"]
SDXL_SIZES = ["640x1536", "768x1344", "832x1216", "896x1152", "1024x1024", "1152x896", "1216x832", "1344x768", "1536x640"]
PORTRAIT, COAST, CITY = "an executive, studio lighting", "mountains at golden hour, misty valleys", "a city at sunset"
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    args, models = stand_ins(tmp_path_factory.mktemp("guides"), "flux1-dev", "flux1-schnell", "stable-diffusion-xl-1024-v1-0", *FAMILY)
    s = Server("--keys", KEY, *args, models=models)
    yield s
    s.stop()


def generate(s, body, status=200):
    r = s.post("/inference/v1/images/generations", body, headers=BEARER)
    assert r.status_code == status, r.text
    return [PIL.Image.open(io.BytesIO(base64.b64decode(x["b64_json"]))) for x in r.json()["data"]]


@pytest.mark.parametrize("fields", [
    dict(size="832x1248", steps=28, guidance_scale=3.5), dict(size="1344x768", steps=20, guidance_scale=4.0), dict(size="832x1248", steps=30, guidance_scale=4.0, seed=12345),
    dict(size="1344x768", steps=25, guidance_scale=4.0), dict(size="1024x1024", steps=35, guidance_scale=5.0), dict(size="1024x1024", steps=4, guidance_scale=2.0, model=SCHNELL),
    dict(size="1024x1024", steps=6, guidance_scale=2.0, model=SCHNELL), dict(size="1024x1024", steps=30, guidance_scale=7.0, model=SDXL),
    dict(size="1024x1024", steps=20, guidance_scale=3.5, model=SDXL), dict(size="640x640", n=2, steps=35, guidance_scale=4.0), dict(n=1)])
def test_generations(server, fields):
    n = fields.get("n", 1)
    pictures = generate(server, {"model": DEV, "prompt": PORTRAIT, "n": n, "size": "1024x1024", "response_format": "b64_json"} | fields)
    assert len(pictures) == n
    for p in pictures:
        assert "%dx%d" % p.size == fields.get("size", "1024x1024") and p.info["model"] == fields.get("model", DEV)
        assert p.info["parameters"].startswith(f"steps {fields.get('steps', 28)}, guidance {fields.get('guidance_scale', 3.5):g}, ")
        assert "seed" not in fields or p.info["seed"] == str(fields["seed"])


@pytest.mark.parametrize("model,sizes", [(DEV, FLUX_SIZES), (SCHNELL, FLUX_SIZES), (SDXL, SDXL_SIZES)] + [("accounts/fireworks/models/" + f, SDXL_SIZES[:2]) for f in FAMILY])
def test_every_size(server, model, sizes):
    for size in sizes:
        (p,) = generate(server, {"model": model, "prompt": COAST, "size": size, "steps": 1, "response_format": "b64_json"})
        assert "%dx%d" % p.size == size and p.info["model"] == model


def test_variants_at_the_same_time(server):
    """Four styles of one prompt at once, their seed null."""
    styles = ["neon lights", "simple shapes", "photorealistic", "impressionist"]
    bodies = [{"model": DEV, "prompt": f"{CITY}, {s}", "size": "1024x1024", "steps": 28, "guidance_scale": 3.5, "seed": None, "response_format": "b64_json"} for s in styles]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        got = [p.info["prompt"] for (p,) in pool.map(lambda b: generate(server, b), bodies)]
    assert got == [b["prompt"] for b in bodies]


@pytest.mark.parametrize("size,becomes", [("256x256", "640x640"), ("512x512", "640x640"), ("1024x1024", "1024x1024"), ("1792x1024", "1344x768"), ("1024x1792", "768x1344")])
def test_sizes_and_qualities_of_dall_e(server, size, becomes):
    for quality, steps, guidance in (("hd", 35, "4"), ("standard", 28, "3.5")):
        (p,) = generate(server, {"model": DEV, "prompt": CITY, "size": size, "quality": quality, "response_format": "b64_json"})
        assert "%dx%d" % p.size == becomes and p.info["parameters"].startswith(f"steps {steps}, guidance {guidance}, ")


@pytest.mark.parametrize("body,n,size", [
    ({"prompt": COAST, "num_images": 1, "image_size": "landscape_16_9"}, 1, (1024, 576)),
    ({"prompt": CITY, "num_images": 2, "image_size": "landscape_16_9", "guidance_scale": 7.5, "num_inference_steps": 35, "seed": 12345}, 2, (1024, 576)),
    ({"prompt": CITY, "num_images": 1, "image_size": "landscape_4_3", "guidance_scale": 3.5}, 1, (1024, 768))])
def test_firemoon(server, body, n, size):
    r = server.post("/api/v1/flux/dev", body, headers=BEARER)
    assert r.status_code == 200, r.text
    assert [(i["width"], i["height"]) for i in r.json()["images"]] == [size] * n and r.json()["seed"] == body.get("seed", r.json()["seed"])
