"""The Firemoon interface as its FLUX page describes it, drawing with the starter image model under the names of the real weights."""
import io

import numpy as np
import PIL.Image
import pytest
import requests

from conftest import KEY, PATIENCE, Server, stand_ins

DEV, SCHNELL = "/api/v1/flux/dev", "/api/v1/flux/schnell"
SIZES = {"square_hd": (1024, 1024), "square": (512, 512), "portrait_4_3": (768, 1024), "portrait_16_9": (576, 1024), "landscape_4_3": (1024, 768),
         "landscape_16_9": (1024, 576)}
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def firemoon(tmp_path_factory):
    args, models = stand_ins(tmp_path_factory.mktemp("firemoon"), "FLUX.1-dev", "FLUX.1-schnell")
    s = Server("--keys", KEY, *args, models=models)
    yield s
    s.stop()


def draw(s, path=DEV, **fields):
    r = s.post(path, fields, headers=BEARER)
    assert r.status_code == 200, r.text
    o = r.json()
    assert set(o) == {"images", "seed", "has_nsfw_concepts", "timings"}
    assert isinstance(o["seed"], int) and set(o["timings"]) == {"inference"} and o["timings"]["inference"] > 0
    assert len(o["images"]) == len(o["has_nsfw_concepts"]) == fields.get("num_images", 1)
    assert all(flag is False or flag is True for flag in o["has_nsfw_concepts"])
    return o


def download(s, image):
    """The picture behind an entry of the answer, which must be what the entry says; no key is needed for it."""
    assert set(image) == {"url", "width", "height", "content_type"} and image["url"].startswith(s.url + "/files/")
    r = requests.get(image["url"], timeout=PATIENCE)
    assert r.status_code == 200 and r.headers["Content-Type"] == image["content_type"]
    picture = PIL.Image.open(io.BytesIO(r.content))
    picture.load()
    assert picture.size == (image["width"], image["height"]) and image["url"].endswith({"JPEG": ".jpg", "PNG": ".png"}[picture.format])
    assert image["content_type"] == "image/" + picture.format.lower() and np.asarray(picture).std() > 2
    return picture


def test_the_documents_request(firemoon):
    """Its advanced example, every parameter given."""
    body = {"prompt": "A futuristic city with flying cars, cyberpunk style, highly detailed", "num_images": 2, "image_size": "landscape_16_9",
            "guidance_scale": 7.5, "num_inference_steps": 35, "seed": 12345}
    o = draw(firemoon, **body)
    first, second = [download(firemoon, image) for image in o["images"]]
    assert o["seed"] == 12345 and first.size == (1024, 576) and first.format == "JPEG" and first.tobytes() != second.tobytes()
    firemoon.wait_log("2 pictures 1024x576, 35 steps")


def test_defaults(firemoon):
    o = draw(firemoon, prompt="a red apple")
    assert download(firemoon, o["images"][0]).size == (1024, 768)
    firemoon.wait_log("1 picture 1024x768, 28 steps")


def test_seeds(firemoon):
    fields = dict(prompt="a red apple", image_size="square", num_inference_steps=2)
    o = draw(firemoon, num_images=2, **fields)
    first, second = [download(firemoon, image).tobytes() for image in o["images"]]
    for seed, same in ((o["seed"], first), (o["seed"] + 1, second)):
        assert download(firemoon, draw(firemoon, seed=seed, **fields)["images"][0]).tobytes() == same
    assert draw(firemoon, **fields)["seed"] != o["seed"]  # any, where none is given


def test_guidance_counts(firemoon):
    fields = dict(prompt="a red apple", seed=5, image_size="square", num_inference_steps=2)
    plain, asked, low = (download(firemoon, draw(firemoon, **fields, **more)["images"][0]).tobytes() for more in ({}, {"guidance_scale": 3.5}, {"guidance_scale": 1}))
    assert plain == asked != low


@pytest.mark.parametrize("name", SIZES)
def test_sizes(firemoon, name):
    for path, size in ((DEV, name), (SCHNELL, "%dx%d" % SIZES[name])):
        o = draw(firemoon, path, prompt="a cat face", image_size=size, num_inference_steps=1)
        assert download(firemoon, o["images"][0]).size == SIZES[name]


def test_other_size(firemoon):
    r = firemoon.post(DEV, {"prompt": "a cat face", "image_size": "640x640"}, headers=BEARER)
    assert r.status_code == 400 and "512x512" in r.json()["message"] and r.json()["error"] == "Invalid input"
    assert r.json()["errors"] == r.json()["details"]["errors"] == [r.json()["message"]]


def test_png(firemoon):
    o = draw(firemoon, prompt="a cat face", image_size="square", num_inference_steps=1, num_images=4, output_format="png", seed=1)
    pictures = [download(firemoon, image) for image in o["images"]]
    assert [p.format for p in pictures] == ["PNG"] * 4 and [p.info["seed"] for p in pictures] == ["1", "2", "3", "4"]
    assert {p.info["model"] for p in pictures} == {"flux/dev"}


def test_schnell(firemoon):
    o = draw(firemoon, SCHNELL, prompt="a photo of an astronaut", image_size="square", seed=9)
    assert o["seed"] == 9 and download(firemoon, o["images"][0]).size == (512, 512)
    firemoon.wait_log("schnell 1 picture 512x512, 4 steps")


def test_a_key_is_needed(firemoon):
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        r = firemoon.post(DEV, {"prompt": "a"}, headers=headers)
        assert r.status_code == 401 and isinstance(r.json()["error"], str) and r.json()["message"]


def test_what_it_says_of_itself(firemoon):
    def get(path):
        r = firemoon.get(path, headers=BEARER)
        assert r.status_code == 200, r.text
        return r.json()

    assert {(e["method"], e["path"]) for e in get("/api/v1")["endpoints"]} >= {("POST", DEV), ("POST", SCHNELL), ("GET", "/api/v1/providers")}
    assert [(p["id"], p["models"]) for p in get("/api/v1/providers")["providers"]] == [("flux", ["dev", "schnell"])]
    models = get("/api/v1/providers/flux/models")
    assert models["provider"] == "flux" and [(m["id"], m["endpoint"]) for m in models["models"]] == [("flux/dev", DEV), ("flux/schnell", SCHNELL)]
    for path, steps in ((DEV, 28), (SCHNELL, 4)):
        o = get(path)
        p = o["input_schema"]["properties"]
        assert o["id"] == path.removeprefix("/api/v1/") and o["endpoint"] == path and o["type"] == "image" and o["input_schema"]["required"] == ["prompt"]
        assert set(p) == {"prompt", "num_images", "image_size", "guidance_scale", "num_inference_steps", "seed"}
        assert p["image_size"]["enum"] == list(SIZES) and p["image_size"]["default"] == "landscape_4_3"
        assert (p["num_inference_steps"]["minimum"], p["num_inference_steps"]["maximum"], p["num_inference_steps"]["default"]) == (1, 50, steps)
        assert (p["num_images"]["maximum"], p["prompt"]["maxLength"], p["guidance_scale"]["minimum"], p["guidance_scale"]["maximum"]) == (4, 1000, 1, 20)
    for path in ("/api/v1/providers/nope/models", "/api/v1/flux/nope", "/api/v1/nope"):
        r = firemoon.get(path, headers=BEARER)
        assert r.status_code == 404 and r.json()["error"] == "Model not found" and path.split("/api/v1/")[1] in r.json()["message"]
