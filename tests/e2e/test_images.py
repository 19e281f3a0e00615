"""Pictures over HTTP and from the command line, drawn by tiny pipelines of every family."""
import base64
import io
import json
import os
import socket
import subprocess

import openai
import PIL.Image
import pytest
import requests

from conftest import BIN, PATIENCE, ROOT, Server, chat, http, environment

PIPELINES = ROOT / "tests/golden/pipelines"
WORKFLOW = "/inference/v1/workflows/accounts/local/models/tiny-flux-dev/text_to_image"
SDXL = "/inference/v1/image_generation/accounts/local/models/tiny-sdxl"
DRAW = {"model": "tiny-flux-dev", "prompt": "a red apple", "size": "32x32", "steps": 2, "seed": 5, "response_format": "b64_json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of models: the tiny pipelines, and the starter image model where there is one."""
    models = tmp_path_factory.mktemp("images") / "models"
    models.mkdir()
    for name in ("flux_dev", "flux_schnell", "sdxl"):
        (models / ("tiny-" + name.replace("_", "-"))).symlink_to(PIPELINES / name)
    starter = ROOT / "models/starter-image"
    if (starter / "model_index.json").exists():
        (models / "starter-image").symlink_to(starter)
    return models


@pytest.fixture(scope="module")
def images(folder):
    s = Server("--files", str(folder.parent / "files"), models=str(folder))
    yield s
    s.stop()


@pytest.fixture(scope="module")
def client(images):
    return openai.OpenAI(base_url=images.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)


def picture(data):
    image = PIL.Image.open(io.BytesIO(data))
    image.load()
    return image


def png(size, color, mode="RGB"):
    out = io.BytesIO()
    PIL.Image.new(mode, size, color).save(out, "PNG")
    return out.getvalue()


def draw(s, **fields):
    r = s.post("/v1/images/generations", {**DRAW, **fields})
    assert r.status_code == 200, r.text
    return [base64.b64decode(x["b64_json"]) for x in r.json()["data"]]


def refused(r, *words, status=400):
    assert r.status_code == status, r.text
    message = r.json()["error"]["message"]
    for word in words:
        assert word in message
    return r.json()["error"]


# ---- OpenAI --------------------------------------------------------------------------------------------------------


def test_generate_base64(client):
    r = client.images.generate(model="tiny-flux-dev", prompt="a red apple", size="48x32", response_format="b64_json", extra_body={"steps": 2})
    assert r.created > 1_600_000_000 and len(r.data) == 1 and r.data[0].url is None
    image = picture(base64.b64decode(r.data[0].b64_json))
    assert image.format == "PNG" and image.size == (48, 32) and image.info["prompt"] == "a red apple"


def test_generate_url(client, images):
    r = client.images.generate(model="tiny-sdxl", prompt="a red apple", size="32x32", extra_body={"steps": 2})
    assert r.data[0].b64_json is None and r.data[0].url.startswith(images.url + "/files/")
    got = requests.get(r.data[0].url, timeout=PATIENCE)
    assert got.headers["Content-Type"] == "image/png" and picture(got.content).size == (32, 32)


@pytest.mark.checked
@pytest.mark.parametrize("model", ["tiny-flux-dev", "tiny-flux-schnell", "tiny-sdxl"])
def test_several_are_those_asked_for_alone(images, model):
    first, second = draw(images, model=model, n=2)
    assert picture(first).tobytes() != picture(second).tobytes()
    assert picture(first).tobytes() == picture(draw(images, model=model)[0]).tobytes()
    assert picture(second).tobytes() == picture(draw(images, model=model, seed=6)[0]).tobytes()


@pytest.mark.parametrize("kind,magic", [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_output_formats(images, kind, magic):
    data = draw(images, output_format=kind)[0]
    assert data.startswith(magic) and picture(data).size == (32, 32)


def test_sizes(images):
    assert picture(draw(images, size="20x44")[0]).size == (20, 44)
    refused(images.post("/v1/images/generations", {**DRAW, "size": "33x32"}), "33x32", "multiples of")
    refused(images.post("/v1/images/generations", {**DRAW, "size": "16000x16000"}), "pixels")
    assert refused(images.post("/v1/images/generations", {**DRAW, "size": "large"}), "large")["param"] == "size"


def test_edit_keeps_what_the_mask_covers(client):
    mask = PIL.Image.new("RGBA", (32, 32), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (16, 0, 32, 32))  # transparent: painted anew
    out = io.BytesIO()
    mask.save(out, "PNG")
    kept = {}
    for seed in (1, 2):
        r = client.images.edit(model="tiny-sdxl", image=("a.png", png((32, 32), (200, 30, 30)), "image/png"), mask=("m.png", out.getvalue(), "image/png"),
                               prompt="grass", response_format="b64_json", extra_body={"steps": 2, "seed": seed})
        kept[seed] = picture(base64.b64decode(r.data[0].b64_json))
        assert kept[seed].size == (32, 32)
    left = [kept[s].crop((0, 0, 8, 32)).tobytes() for s in (1, 2)]
    assert left[0] == left[1] and kept[1].tobytes() != kept[2].tobytes()


def test_edit_without_mask(client):
    r = client.images.edit(model="tiny-flux-dev", image=png((32, 48), "blue"), prompt="a lake", response_format="b64_json",
                           extra_body={"steps": 2, "strength": 0.5})
    assert picture(base64.b64decode(r.data[0].b64_json)).size == (32, 48)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, about this endpoint
@pytest.mark.parametrize("model", ["tiny-flux-dev", "tiny-flux-schnell", "tiny-sdxl"])
def test_variations(client, images, model):
    image = png((48, 32), (200, 30, 30))
    r = client.images.create_variation(model=model, image=("a.png", image, "image/png"), n=2, response_format="b64_json", extra_body={"steps": 4, "seed": 3})
    first, second = [picture(base64.b64decode(x.b64_json)) for x in r.data]
    assert first.size == second.size == (48, 32) and first.tobytes() != second.tobytes()
    # It is image to image without words.
    r = requests.post(images.url + "/inference/v1/images/edits", files={"image": ("a.png", image)}, timeout=PATIENCE,
                      data={"model": model, "strength": "0.75", "steps": "4", "seed": "3", "response_format": "b64_json"})
    assert r.status_code == 200 and picture(base64.b64decode(r.json()["data"][0]["b64_json"])).tobytes() == first.tobytes()
    r = client.images.create_variation(model=model, image=image, size="256x256", user="someone", extra_body={"steps": 1})
    assert picture(requests.get(r.data[0].url, timeout=PATIENCE).content).size == (256, 256)


@pytest.mark.checked
def test_variations_that_fail(images):
    def post(path, image=True, **data):
        files = {"image": ("a.png", png((32, 32), "red"))} if image else {"other": ("a.png", b"")}
        files |= {"mask": ("m.png", png((32, 32), "red"))} if data.pop("mask", False) else {}
        return requests.post(images.url + path, data={"model": "tiny-sdxl", **data}, files=files, timeout=PATIENCE)

    assert refused(post("/v1/images/variations", mask=True), "takes no mask")["param"] == "mask"
    assert refused(post("/v1/images/variations", image=False), "image is required")["param"] == "image"
    assert refused(post("/v1/images/variations", n="11"), "n ")["param"] == "n"
    assert "bogus" in refused(post("/v1/images/variations", bogus="1"))["message"]
    assert refused(post("/v1/images/edits"), "prompt is required")["param"] == "prompt"
    for path in ("/v1/images/variations", "/v1/images/edits"):
        r = images.post(path, {"model": "tiny-sdxl", "prompt": "a"})
        assert refused(r, "image is required", "multipart/form-data")["param"] == "image"
    assert post("/v1/images/edits", strength="0.5", steps="2").status_code == 200  # without a prompt


def test_stream(images):
    r = images.post("/v1/images/generations", {**DRAW, "steps": 3, "stream": True})
    assert r.headers["Content-Type"].startswith("text/event-stream")
    got = [json.loads(x[6:]) for x in r.text.split("\n") if x.startswith("data: {")]
    assert [e["type"] for e in got] == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [(e["step"], e["steps"]) for e in got[:-1]] == [(1, 3), (2, 3), (3, 3)]
    assert all(picture(base64.b64decode(e["b64_json"])).format == "JPEG" for e in got[:-1])
    assert base64.b64decode(got[-1]["b64_json"]) == draw(images, steps=3)[0]


def test_stream_of_the_sdk(client, images):
    stream = client.images.generate(model="tiny-flux-dev", prompt="a pear", size="1024x1024", stream=True, partial_images=2,
                                    extra_body={"steps": 7, "size": "32x32"})
    got = list(stream)
    assert [e.type for e in got] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [e.partial_image_index for e in got[:-1]] == [0, 1]
    r = images.post("/v1/images/generations", {**DRAW, "steps": 3, "stream": True, "partial_images": 0, "n": 2})
    assert r.text.count("event: ") == r.text.count("event: image_generation.completed") == 2


def test_stream_of_an_edit(client):
    stream = client.images.edit(model="tiny-sdxl", image=("a.png", png((32, 32), (200, 30, 30)), "image/png"), prompt="a lake", stream=True, partial_images=1, extra_body={"steps": 4, "strength": 0.9})
    got = list(stream)
    assert [e.type for e in got] == ["image_edit.partial_image", "image_edit.completed"]
    assert picture(base64.b64decode(got[-1].b64_json)).size == (32, 32)


def test_stream_that_fails(images):
    refused(images.post("/v1/images/generations", {**DRAW, "stream": True, "negative_prompt": "blur"}), "negative_prompt")
    refused(images.post("/v1/images/generations", {**DRAW, "stream": True, "partial_images": 4}), "partial_images")


# ---- Fireworks -----------------------------------------------------------------------------------------------------


def test_plain_script(images):
    """As the guides write it: every field spelled out, null where there is no wish."""
    payload = {"model": "accounts/local/models/tiny-flux-dev", "prompt": "a red apple", "n": 1, "size": "32x32", "response_format": "b64_json",
               "steps": 2, "guidance_scale": 3.5, "seed": None, "negative_prompt": None}
    r = requests.post(images.url + "/inference/v1/images/generations", json=payload, headers={"Authorization": "Bearer any"}, timeout=PATIENCE)
    r.raise_for_status()
    assert picture(base64.b64decode(r.json()["data"][0]["b64_json"])).size == (32, 32)


@pytest.mark.parametrize("accept,kind", [(None, "PNG"), ("image/png", "PNG"), ("image/jpeg", "JPEG"), ("*/*", "PNG")])
def test_workflow_bytes(images, accept, kind):
    # Strings for numbers, as some SDKs send them.
    r = images.post(WORKFLOW, {"prompt": "a red apple", "width": "32", "height": "32", "seed": 7, "num_inference_steps": 2}, headers={"Accept": accept})
    assert r.status_code == 200 and r.headers["Content-Type"] == f"image/{kind.lower()}"
    assert picture(r.content).format == kind and picture(r.content).size == (32, 32)
    assert r.headers["Seed"] == "7" and r.headers["Finish-Reason"] == "SUCCESS"


def test_workflow_json(images):
    r = images.post(WORKFLOW, {"prompt": "a", "width": 32, "height": 32, "seed": 7, "steps": 2}, headers={"Accept": "application/json"})
    o = r.json()
    assert o["seed"] == 7 and o["finishReason"] == "SUCCESS" and r.headers["Seed"] == "7"
    head, data = o["base64"][0].split(",", 1)
    assert head == "data:image/png;base64" and picture(base64.b64decode(data)).size == (32, 32)
    assert images.post(WORKFLOW, {"prompt": "a"}, headers={"Accept": "text/html"}).status_code == 406
    # Printed like this in guides, and so in programs.
    doubled = WORKFLOW.replace("/models/", "/models/accounts/local/models/")
    assert images.post(doubled, {"prompt": "a", "width": 32, "height": 32, "steps": 2}).status_code == 200
    refused(images.post(WORKFLOW, {"prompt": "a", "samples": 2}), "samples")


def test_sdxl_json(images):
    body = {"prompt": "a", "width": 32, "height": 32, "samples": 2, "steps": 2, "seed": 41, "cfg_scale": 7, "sampler": None, "safety_check": False}
    r = images.post(SDXL, body, headers={"Accept": "application/json"})
    assert r.status_code == 200, r.text
    assert [(o["seed"], o["finishReason"]) for o in r.json()] == [(41, "SUCCESS"), (42, "SUCCESS")]
    assert all(picture(base64.b64decode(o["base64"])).size == (32, 32) for o in r.json())
    assert picture(images.post(SDXL, {**body, "samples": 1}).content).format == "PNG"


def test_sdxl_image_to_image(images):
    form = {"prompt": (None, "a lake"), "negative_prompt": (None, ""), "cfg_scale": (None, "7"), "sampler": (None, ""), "steps": (None, "4"),
            "seed": (None, "0"), "samples": (None, "1"), "safety_check": (None, "false"), "init_image_mode": (None, "IMAGE_STRENGTH"),
            "image_strength": (None, "0.5"), "init_image": ("a.png", png((32, 48), "green"), "image/png")}
    r = requests.post(images.url + SDXL + "/image_to_image", files=form, headers={"Accept": "image/jpeg"}, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    assert picture(r.content).format == "JPEG" and picture(r.content).size == (32, 48)


# ---- Firemoon ------------------------------------------------------------------------------------------------------


def test_firemoon_lists(images):
    assert any(e["path"] == "/api/v1/flux/dev" for e in images.get("/api/v1").json()["endpoints"])
    assert images.get("/api/v1/providers").json()["providers"][0]["id"] == "flux"
    assert [m["id"] for m in images.get("/api/v1/providers/flux/models").json()["models"]] == ["flux/dev", "flux/schnell"]
    schema = images.get("/api/v1/flux/dev").json()["input_schema"]
    assert schema["required"] == ["prompt"] and schema["properties"]["num_images"]["maximum"] == 4
    r = images.get("/api/v1/flux/nope")
    assert r.status_code == 404 and r.json()["error"] == "Model not found"


@pytest.mark.checked
def test_firemoon_names_every_fault(images):
    body = {"num_images": 9, "image_size": "huge", "guidance_scale": 99, "num_inference_steps": 0, "negative_prompt": 3, "bogus": 1}
    r = images.post("/api/v1/flux/dev", body)
    o = r.json()
    assert r.status_code == 400 and o["error"] == "Invalid input" and o["message"] == "Input validation failed"
    assert o["details"]["errors"] == o["errors"] and len(o["errors"]) == 7
    for text in [f"Invalid value for {name}: " for name in body if name != "bogus"] + ["'bogus'", "Missing required field: prompt"]:
        assert any(text in line for line in o["errors"]), text
    assert images.post("/api/v1/flux/dev", {}).json()["errors"] == ["Missing required field: prompt"]
    r = requests.post(images.url + "/api/v1/flux/dev", data="{", headers={"Content-Type": "application/json"}, timeout=PATIENCE)
    assert r.status_code == 400 and r.json()["error"] == "Invalid input"


def test_firemoon_prompt_length(images):
    r = images.post("/api/v1/flux/dev", {"prompt": "é" * 1000})  # valid, but there are no weights here
    assert r.status_code == 404 and r.json()["error"] == "Model not found" and "not installed" in r.json()["message"]
    r = images.post("/api/v1/flux/dev", {"prompt": "é" * 1001})
    assert r.status_code == 400 and "1000" in r.json()["errors"][0]
    r = images.post("/api/v1/flux/nope", {"prompt": "a"})
    assert r.status_code == 404 and r.json()["message"] == "Model configuration not found for flux/nope"


# ---- files ---------------------------------------------------------------------------------------------------------


def test_last_bytes_of_none(images):
    url = images.post("/v1/images/generations", {**DRAW, "response_format": "url"}).json()["data"][0]["url"]
    r = requests.get(url, headers={"Range": "bytes=-0"}, timeout=PATIENCE)
    assert r.status_code == 416 and r.headers["Content-Range"].startswith("bytes */")


def test_files(images):
    url = images.post("/v1/images/generations", {**DRAW, "response_format": "url"}).json()["data"][0]["url"]
    whole = requests.get(url, timeout=PATIENCE)
    assert whole.headers["Accept-Ranges"] == "bytes"
    n = len(whole.content)
    for asked, part, line in [("bytes=0-9", slice(0, 10), f"bytes 0-9/{n}"), ("bytes=10-", slice(10, None), f"bytes 10-{n - 1}/{n}"),
                              ("bytes=-5", slice(n - 5, None), f"bytes {n - 5}-{n - 1}/{n}")]:
        r = requests.get(url, headers={"Range": asked}, timeout=PATIENCE)
        assert r.status_code == 206 and r.content == whole.content[part] and r.headers["Content-Range"] == line
    r = requests.get(url, headers={"Range": f"bytes={n}-"}, timeout=PATIENCE)
    assert r.status_code == 416 and r.headers["Content-Range"] == f"bytes */{n}"
    for name in ("0123456789abcdef0123456789abcdef.png", "..%2f..%2fetc%2fpasswd", "../models/tiny-sdxl/model_index.json", ""):
        assert images.get("/files/" + name).status_code == 404


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_broken_upload(images):
    good = png((64, 64), "red")
    for data in (good[: len(good) // 2], b"", b"\x89PNG\r\n\x1a\n", b"<svg/>"):
        r = requests.post(images.url + "/v1/images/edits", data={"prompt": "a", "model": "tiny-sdxl"}, files={"image": ("a.png", data)}, timeout=PATIENCE)
        assert refused(r)["param"] == "image"
    r = requests.post(images.url + "/v1/images/edits", data={"prompt": "a", "model": "tiny-sdxl"},
                      files={"image": ("a.png", good), "mask": ("m.png", png((32, 32), "red"))}, timeout=PATIENCE)
    assert refused(r, "64x64", "32x32")["param"] == "mask"
    assert draw(images)


def test_refusals(images):
    refused(images.post("/v1/images/generations", {**DRAW, "negative_prompt": "blur"}), "negative_prompt")
    refused(images.post("/v1/images/generations", {**DRAW, "sampler": "magic"}), "sampler")
    refused(images.post("/v1/images/generations", {**DRAW, "bogus": 1}), "bogus")
    refused(images.post("/v1/images/generations", {"model": "tiny-sdxl"}), "prompt")
    refused(images.post("/v1/images/generations", {**DRAW, "model": "nope"}), "nope", status=404)
    refused(images.post("/v1/chat/completions", chat(model="tiny-sdxl")), "image model")
    text = images.post("/v1/images/generations", {**DRAW, "model": "accounts/hearth/models/smollm2-135m-instruct"})
    assert text.status_code in (400, 404)


def test_excerpt_of_a_long_value(images):
    """A value is cut where it was sent, and nothing else of the server's memory is shown."""
    sent = "0123456789" * 500
    message = refused(images.post("/v1/images/generations", {**DRAW, "odd": sent}), "'odd'")["message"]
    assert message.endswith('value: "' + sent[:99] + "...")
    message = refused(images.post("/v1/images/generations", {**DRAW, "odd": [{"a": "é" * 500}]}), "'odd'")["message"]
    assert message.endswith('value: [{"a":"' + "é" * 46 + "...")


@pytest.mark.parametrize("fields,param,words", [
    ({"negative_prompt": "dark"}, "negative_prompt", ["negative_prompt", "tiny-flux-dev"]),
    ({"size": "33x32"}, "size", ["33x32"]),
    ({"strength": 0.5}, "strength", ["input picture"]),
    ({"sampler": "odd"}, "sampler", ["flow_euler", "odd"]),
    ({"seed": -2}, "seed", ["-1"]),
    ({"image": "data:image/png;base64,AAAA"}, "image", ["/v1/images/edits"]),
])
def test_refusals_name_the_field(images, fields, param, words):
    assert refused(images.post("/v1/images/generations", {**DRAW, **fields}), *words)["param"] == param


@pytest.mark.parametrize("fields,param,words", [
    ({"aspect_ratio": "16:9"}, "aspect_ratio", ["16:9", "size 32x32"]),
    ({"size": None, "width": 32, "height": 64, "aspect_ratio": "1:1"}, "aspect_ratio", ["1:1", "width and height 32x64"]),
    ({"width": 64, "height": 32}, "width", ["width 32"]), ({"image_size": "square"}, "image_size", ["width 32"]),
    ({"n": 1, "samples": 2}, "samples", ["(1)"]), ({"n": 2, "samples": 1}, "samples", ["(2)"]), ({"num_inference_steps": 3}, "num_inference_steps", ["(2)"]),
    ({"guidance_scale": 3, "cfg_scale": 4}, "cfg_scale", ["(3)"]), ({"partial_images": 2}, "partial_images", ["stream"]),
    ({"output_compression": 50}, "output_compression", ["jpeg"]), ({"output_compression": 50.5, "output_format": "jpeg"}, "output_compression", ["whole"]),
    ({"image_strength": 0.5}, "image_strength", ["input picture"]), ({"moderation": "none"}, "moderation", ["auto, low"]), ({"input_fidelity": 1}, "input_fidelity", ["low, high"]),
    ({"user": 5}, "user", ["string"]), ({"background": "transparent"}, "background", ["opaque"]), ({"expand_left": 8}, "image", ["needs an image"]),
    ({"seed": "7"}, "seed", ["not text"]), ({"seed": True}, "seed", ["whole number"]), ({"seed": 1.5}, "seed", ["whole number"]), ({"seed": 1e30}, "seed", ["2^63-1"]),
    ({"seed": 2**63 - 1, "n": 2}, "seed", [str(2**63 - 1), "2 pictures"]), ({"seed": 2**63}, None, ["2^63-1"]),
    ({"model": "gpt-image-1", "response_format": "url", "size": None}, "response_format", ["gpt-image-1", "b64_json"]),
])
def test_contradictions_and_kinds(images, fields, param, words):
    body = {k: v for k, v in {**DRAW, **fields}.items() if v is not None}
    assert refused(images.post("/v1/images/generations", body), *words)["param"] == param
    # In any order of the fields.
    assert refused(images.post("/v1/images/generations", dict(reversed(body.items()))))["message"]


def test_what_agrees_is_no_contradiction(images):
    want = draw(images)[0]
    for fields in ({"aspect_ratio": "1:1"}, {"width": 32, "height": 32}, {"n": 1, "samples": 1}, {"num_inference_steps": 2}, {"seed": 5.0}, {"size": "auto", "width": 32, "height": 32}):
        assert picture(draw(images, **fields)[0]).tobytes() == picture(want).tobytes()


def test_the_last_seed(images):
    """Of a form too, where numbers are text, and beyond what a double holds."""
    last = 2**63 - 1
    r = images.post("/v1/images/generations", {**DRAW, "seed": last - 1, "n": 2}).json()["data"]
    assert [x["seed"] for x in r] == [last - 1, last]
    for seed, code in ((last, 200), (9007199254740993, 200), (2**63, 400), ("7.5", 400), ("seven", 400), ("0x7", 400)):
        r = requests.post(images.url + "/v1/images/edits", data={"model": "tiny-sdxl", "prompt": "x", "steps": "2", "strength": "0.5", "seed": str(seed), "response_format": "b64_json"},
                          files={"image": ("a.png", png((16, 16), "red"))}, timeout=PATIENCE)
        assert r.status_code == code and (code == 400 or r.json()["data"][0]["seed"] == seed), r.text[:200]


def test_form_with_a_part_twice(images):
    r = requests.post(images.url + "/v1/images/edits", files=[("image", ("a.png", png((16, 16), "red"))), ("prompt", (None, "a")), ("prompt", (None, "b"))], timeout=PATIENCE)
    refused(r, "two parts", "prompt")


def test_text_prompts_beside_a_prompt(images):
    for body in ({"prompt": "a", "text_prompts": [{"text": "b"}]}, {"text_prompts": [{"text": "b"}], "prompt": "a"}, {"text_prompts": [{"text": 5}]}):
        refused(images.post(SDXL, {**body, "steps": 1, "width": 32, "height": 32}), "text_prompts")
    body = {"text_prompts": [{"text": "b", "weight": 1}, {"text": "c", "weight": -1}], "steps": 1, "width": 32, "height": 32, "seed": 3}
    assert images.post(SDXL, body).content == images.post(SDXL, {"prompt": "b", "negative_prompt": "c", "steps": 1, "width": 32, "height": 32, "seed": 3}).content


@pytest.mark.parametrize("headers,body,words", [
    ({"Accept": "image/jpeg"}, {"output_format": "png"}, ["output_format", "Accept", "image/png"]), ({"Jpeg-Quality": "best"}, {}, ["Jpeg-Quality"]),
    ({"Jpeg-Quality": "101"}, {}, ["Jpeg-Quality"]), ({"Accept": "application/json", "Json-Return-Image-Accept": "image/gif"}, {}, ["Json-Return-Image-Accept"])])
def test_headers_that_contradict(images, headers, body, words):
    refused(images.post(WORKFLOW, {"prompt": "x", "width": 32, "height": 32, "steps": 1, **body}, headers), *words)


@pytest.mark.parametrize("accept", ["image/jpeg, image/png;q=0.5", "image/*", "*/*"])
def test_headers_that_allow(images, accept):
    r = images.post(WORKFLOW, {"prompt": "x", "width": 32, "height": 32, "steps": 1, "output_format": "png"}, {"Accept": accept})
    assert r.status_code == 200 and r.headers["Content-Type"] == "image/png" and picture(r.content).format == "PNG"


# ---- input pictures: which way up, and what is transparent ------------------------------------------------------------------------------------------


def edit_picture(s, image, **fields):
    r = requests.post(s.url + "/v1/images/edits", files={"image": ("a", image)}, timeout=PATIENCE,
                      data={"model": "tiny-sdxl", "prompt": "a lake", "steps": "4", "seed": "3", "response_format": "b64_json", **fields})
    assert r.status_code == 200, r.text
    return picture(base64.b64decode(r.json()["data"][0]["b64_json"]))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_pictures_are_turned_upright(images, kind):
    """Stored on its side, 32x48, with a note that says so: drawn from as 48x32."""
    upright = PIL.Image.new("RGB", (48, 32), "blue")
    upright.paste("red", (0, 0, 24, 16))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    out, plain = io.BytesIO(), io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(out, kind, exif=exif, **options)
    upright.save(plain, "PNG")
    got, want = (edit_picture(images, x.getvalue(), strength="0.5") for x in (out, plain))
    assert got.size == (48, 32) and (kind == "JPEG" or got.tobytes() == want.tobytes())


def test_transparency_is_the_mask(images):
    """DALL-E 2's: without a mask the hole in the picture is painted anew, and nothing else."""
    hole = PIL.Image.new("RGBA", (48, 32), (30, 120, 200, 255))
    hole.paste((0, 0, 0, 0), (16, 8, 32, 24))
    out, opaque = io.BytesIO(), png((48, 32), (30, 120, 200))
    hole.save(out, "PNG")
    got = edit_picture(images, out.getvalue())
    outside = [(x, y) for x in range(48) for y in range(32) if not (16 <= x < 32 and 8 <= y < 24)]
    assert all(got.getpixel(at) == (30, 120, 200) for at in outside)
    with_mask = requests.post(images.url + "/v1/images/edits", files={"image": ("a.png", out.getvalue()), "mask": ("m.png", out.getvalue())}, timeout=PATIENCE,
                              data={"model": "tiny-sdxl", "prompt": "a lake", "steps": "4", "seed": "3", "response_format": "b64_json"})
    assert picture(base64.b64decode(with_mask.json()["data"][0]["b64_json"])).tobytes() == got.tobytes()
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    r = images.post("/v1/images/edits", {"image": url, "model": "tiny-sdxl", "prompt": "a lake", "steps": 4, "seed": 3, "response_format": "b64_json"})
    assert picture(base64.b64decode(r.json()["data"][0]["b64_json"])).tobytes() == got.tobytes()
    assert edit_picture(images, opaque).getpixel((2, 2)) != (30, 120, 200)  # nothing transparent: all of it is drawn from


# ---- the GPT image models' own ----------------------------------------------------------------------------------------------------------------------


def test_names_of_gpt_image_models(images, client):
    r = client.images.generate(model="gpt-image-1", prompt="a red apple", quality="low", output_format="jpeg", extra_body={"steps": 1})
    assert r.data[0].url is None and picture(base64.b64decode(r.data[0].b64_json)).format == "JPEG"
    assert (r.background, r.output_format, r.quality, r.size) == ("opaque", "jpeg", "low", "128x128")
    assert r.usage.total_tokens == r.usage.input_tokens + r.usage.output_tokens and r.usage.input_tokens_details.text_tokens >= 0
    for model, key in (("gpt-image-1-mini", "b64_json"), ("chatgpt-image-latest", "b64_json"), ("dall-e-3", "url"), ("dall-e-2", "url"), ("tiny-sdxl", "url")):
        o = images.post("/v1/images/generations", {"model": model, "prompt": "x", "steps": 1, **({"size": "32x32"} if model == "tiny-sdxl" else {})}).json()
        assert [k for k in ("url", "b64_json") if k in o["data"][0]] == [key] and ("usage" in o) == (key == "b64_json")
        assert o["data"][0].get("revised_prompt") == ("x" if model == "dall-e-3" else None)


def test_guidance_without_effect_is_not_noted(images):
    info = picture(draw(images, model="tiny-flux-schnell", guidance_scale=7)[0]).info
    assert info["parameters"] == "steps 2, size 32x32"
    assert picture(draw(images, guidance_scale=7)[0]).info["parameters"] == "steps 2, guidance 7, size 32x32"


def test_seed_of_minus_one_is_any(images):
    first, second = (images.post("/v1/images/generations", {**DRAW, "seed": -1}).json()["data"][0]["seed"] for _ in range(2))
    assert first != second and max(first, second) < 2**32


@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-1"])
def test_names_of_openais_models(client, model):
    """A client of OpenAI's gets the first image model that is installed."""
    r = client.images.generate(model=model, prompt="a red apple", response_format="b64_json", extra_body={"steps": 1})
    assert picture(base64.b64decode(r.data[0].b64_json)).info["model"] == "accounts/hearth/models/starter-image"


def test_picture_as_data_url(images):
    file = png((32, 32), (200, 30, 30))
    url = "data:image/png;base64," + base64.b64encode(file).decode()
    fields = {"model": "tiny-sdxl", "prompt": "x", "steps": "1", "strength": "0.5", "response_format": "b64_json", "seed": "1"}
    answers = [requests.post(images.url + "/v1/images/edits", data=fields, files={"image": ("a.png", file)}, timeout=PATIENCE),
               requests.post(images.url + "/v1/images/edits", files={**{k: (None, v) for k, v in fields.items()}, "image": (None, url)}, timeout=PATIENCE),
               *(images.post("/v1/images/edits", {**fields, "seed": 1, "image": i}) for i in (url, [url]))]
    for r in answers:
        assert r.status_code == 200 and r.json()["data"] == answers[0].json()["data"], r.text[:200]
    fields["seed"] = 1
    for broken in ("data:image/png;base64,!!!!" + "A" * 80, "data:image/png;base64," + "A" * 80, "http://example.com/a.png"):
        assert refused(images.post("/v1/images/edits", {**fields, "image": broken}), "image")["param"] == "image"


@pytest.mark.parametrize("fields,strength", [
    ({"image_strength": "0.75", "step_schedule_start": "0.9"}, 0.25),
    ({"init_image_mode": "STEP_SCHEDULE", "image_strength": "0.1", "step_schedule_start": "0.25"}, 0.25),
    ({"init_image_mode": "STEP_SCHEDULE"}, 0.65),
    ({"step_schedule_start": "0.25"}, 0.25),
])
def test_sdxl_image_to_image_modes(images, fields, strength):
    def send(**more):
        r = requests.post(images.url + SDXL + "/image_to_image", files={"init_image": ("a.png", png((32, 32), (200, 30, 30)))},
                          data={"prompt": "x", "steps": "20", "seed": "1", **more}, timeout=PATIENCE)
        assert r.status_code == 200, r.text
        return picture(r.content).tobytes()

    assert send(**fields) == send(image_strength=str(1 - strength))


def test_sdxl_refusals(images):
    for fields, param in (({"style_preset": "anime"}, "style_preset"), ({"init_image_mode": "ODD"}, "init_image_mode"), ({"step_schedule_end": 0.5}, "step_schedule_end")):
        assert refused(images.post(SDXL, {"prompt": "x", "steps": 1, **fields}), param)["param"] == param
    for verb in ("control_net", "canny_edge_detection"):
        r = requests.post(f"{images.url}{SDXL}/{verb}", files={"image": ("a.png", png((8, 8), 0))}, data={"prompt": "x"}, timeout=PATIENCE)
        refused(r, verb, status=404)


def test_accept_of_any_application_type(images):
    r = images.post(WORKFLOW, {"prompt": "x", "width": 32, "height": 32, "steps": 1}, {"Accept": "application/*"})
    assert r.headers["Content-Type"] == "application/json" and r.json()["finishReason"] == "SUCCESS"


def test_disconnect_frees_the_worker(images):
    body = {**DRAW, "model": "tiny-sdxl", "size": "1024x1024", "steps": 1000, "n": 10}  # hours, if it were drawn
    with images.connect() as s:
        s.sendall(http("POST", "/v1/images/generations", body, ["Content-Type: application/json"]))
        images.wait_until(lambda: images.metric("hearth_active_requests") == 2, "the drawing never began")  # this question is the other one
        s.shutdown(socket.SHUT_RDWR)
    assert draw(images, model="tiny-sdxl")


# ---- the command ---------------------------------------------------------------------------------------------------


def command(folder, *args):
    env = environment()
    env["HEARTH_CONFIG"] = "/dev/null"
    return subprocess.run([BIN, "image", "--models", str(folder), *args], capture_output=True, text=True, env=env, timeout=PATIENCE)


@pytest.mark.checked
def test_command(folder, tmp_path):
    out = tmp_path / "apple.png"
    args = ("a red apple", "--model", "tiny-sdxl", "--size", "48x32", "--steps", "2", "--seed", "5")
    r = command(folder, *args, "-o", str(out))
    assert (r.returncode, r.stdout, r.stderr) == (0, f"{out}  seed 5\n", "")
    assert picture(out.read_bytes()).size == (48, 32)
    # Of several, each gets its number, and the first is the one drawn alone.
    r = command(folder, *args, "-n", "2", "-o", str(tmp_path / "two.png"))
    assert r.returncode == 0 and r.stdout == f"{tmp_path}/two-1.png  seed 5\n{tmp_path}/two-2.png  seed 6\n"
    assert (tmp_path / "two-1.png").read_bytes() == out.read_bytes() != (tmp_path / "two-2.png").read_bytes()


def test_command_with_a_server(folder, images, tmp_path):
    args = ("a red apple", "--model", "tiny-sdxl", "--size", "32x32", "--steps", "2", "--seed", "5")
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    assert command(folder, *args, "-o", str(first)).returncode == 0
    assert command(folder, *args, "-o", str(second), "--url", images.url).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    change = ("a lake", "--model", "tiny-sdxl", "--init", str(first), "--strength", "0.5", "--seed", "1")
    for where in ([], ["--url", images.url + "/v1/"]):
        r = command(folder, *change, *where, "-o", str(tmp_path / "lake.jpg"), "--show", "--overwrite")
        assert r.returncode == 0, r.stderr
        assert picture((tmp_path / "lake.jpg").read_bytes()).format == "JPEG" and "\x1b[" in r.stdout


@pytest.mark.parametrize("args,code,message", [
    (("a", "--model", "tiny-sdxl", "--size", "33x32"), 1, "multiples of"), (("a", "--size", "large"), 1, "large"), (("a", "--model", "nope"), 1, "nope"),
    (("a", "-o", "/nowhere/a.png"), 1, "/nowhere"), (("a", "-o", "a.gif"), 1, "a.gif"), (("a", "--init", "/nowhere.png"), 1, "/nowhere.png"),
    (("a", "--model", "tiny-flux-dev", "--negative", "blur"), 1, "negative_prompt"), (("a", "--url", "http://127.0.0.1:9"), 1, "127.0.0.1:9"),
    ((), 2, "no prompt"), (("a", "b"), 2, "quote"), (("a", "--mask", "m.png"), 2, "--init"), (("a", "-n", "0"), 2, "--n"), (("a", "-q"), 2, "-q")])
def test_command_refusals(folder, tmp_path, args, code, message):
    r = command(folder, *args) if "-o" in args else command(folder, *args, "-o", str(tmp_path / "x.png"))
    assert r.returncode == code and r.stdout == ""
    assert r.stderr.startswith("hearth image: ") and r.stderr.count("\n") == 1 and message in r.stderr
    assert not (tmp_path / "x.png").exists()


def test_command_with_the_starter_model(folder, tmp_path):
    assert (folder / "starter-image").exists(), "the starter image model is not installed: make starter"
    r = command(folder, "a red apple", "--model", "starter-image", "--seed", "3", "-o", str(tmp_path / "apple.png"))
    assert r.returncode == 0, r.stderr
    red, green, blue = picture((tmp_path / "apple.png").read_bytes()).resize((1, 1), PIL.Image.Resampling.BOX, (32, 32, 96, 96)).getpixel((0, 0))
    assert red > green + 40 and red > blue + 40
