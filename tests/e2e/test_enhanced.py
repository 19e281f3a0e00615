"""`enhance` in requests for pictures, and pictures compared in several styles: what is drawn is what the enhanced prompt says."""
import pathlib
import subprocess

import pytest

from conftest import BIN, KEY, MODEL, MODELS, PATIENCE, ROOT, Server, environment, stand_ins

SDXL, FLUX = "accounts/fireworks/models/stable-diffusion-xl-1024-v1-0", "accounts/fireworks/models/flux-1-dev-fp8"
DRAW = {"prompt": "a cat", "model": SDXL, "seed": 3, "steps": 1, "response_format": "b64_json"}
CINEMATIC = "a cat, cinematic lighting, film grain, dramatic atmosphere"
QUALITY = ", high resolution, masterpiece, best quality, highly detailed"
AVOID = "blurry, low quality, distorted, artifacts, oversaturated, extra limbs, deformed hands"
PIPELINES = ROOT / "tests/golden/pipelines"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("enhanced")
    args, models = stand_ins(folder, "flux-1-dev-fp8")
    (pathlib.Path(models) / "stable-diffusion-xl-1024-v1-0").symlink_to(PIPELINES / "sdxl")  # which takes a negative prompt
    (pathlib.Path(models) / "chat").symlink_to(pathlib.Path(MODELS).resolve() / "smollm2-135m-instruct")
    s = Server("--no-preload", "--keys", KEY, "--store", str(folder / "store.db"), *args, models=models)
    yield s
    s.stop()


def draw(server, path="/v1/images/generations", **fields):
    return server.post(path, DRAW | fields, headers=HEADERS)


def drawn(server, **fields):
    r = draw(server, **fields)
    assert r.status_code == 200, r.text
    return r.json()["data"][0]


def test_words(server):
    """The picture is that of the words, written out."""
    a = drawn(server, enhance={"style": "cinematic", "avoid": ["text"]})
    assert a["revised_prompt"] == CINEMATIC + QUALITY and a["negative_prompt"] == AVOID + ", text"
    assert a["b64_json"] == drawn(server, prompt=a["revised_prompt"], negative_prompt=a["negative_prompt"])["b64_json"]
    assert drawn(server, enhance={"style": "cinematic", "quality": False})["revised_prompt"] == CINEMATIC
    assert drawn(server, enhance=True, negative_prompt="dogs")["negative_prompt"] == "dogs, " + AVOID
    assert "revised_prompt" not in drawn(server, enhance=False)


def test_elsewhere(server):
    sdxl = server.post(f"/inference/v1/image_generation/{SDXL}", {"prompt": "a cat", "seed": 3, "steps": 2, "enhance": {"style": "cinematic"}},
                       headers=HEADERS | {"Accept": "application/json"}).json()
    assert sdxl[0]["revised_prompt"] == CINEMATIC + QUALITY
    flux = server.post(f"/inference/v1/workflows/{FLUX}/text_to_image", {"prompt": "a cat", "seed": 3, "num_inference_steps": 2, "enhance": True},
                       headers=HEADERS | {"Accept": "application/json"}).json()
    assert flux["revised_prompt"].startswith("a cat, highly detailed") and "negative_prompt" not in flux


@pytest.mark.parametrize("fields, words", [
    ({"enhance": {"style": "no such"}}, "there is no style"), ({"enhance": {"avoid": ["x"]}, "model": FLUX}, "takes no negative prompt"),
    ({"enhance": {"colour": 1}}, "colour"), ({"enhance": "loud"}, "true or false"), ({"enhance": {"avoid": "x"}}, "list"), ({"enhance": {"style": 3}}, "text"),
    ({"enhance": {"quality": "very"}}, "true or false")])
def test_refused(server, fields, words):
    r = draw(server, **fields)
    assert r.status_code == 400 and words in r.json()["error"]["message"], r.text


def test_written_by_a_model(server):
    """A chat model writes the prompt: a request of its own, whose cost is told. The same request draws the same picture."""
    r = draw(server, enhance={"model": MODEL, "style": "none", "quality": False}, model=FLUX)
    assert r.status_code == 200, r.text
    assert r.json()["data"][0]["revised_prompt"] not in ("", "a cat") and float(r.headers["X-Hearth-Enhance-Cost"]) >= 0
    again = draw(server, enhance={"model": MODEL, "style": "none", "quality": False}, model=FLUX).json()
    assert again["data"][0] == r.json()["data"][0]
    server.wait_log(r.headers["X-Request-Id"] + ".0 /v1/chat/completions 200")
    r = draw(server, enhance={"model": "no-such-model"})
    assert r.status_code == 404 and "no-such-model" in r.json()["error"]["message"]


def test_compared(server):
    r = server.post("/v1/comparisons", {"prompt": "a cat", "model": SDXL, "styles": ["cinematic", "none"], "parameters": {"seed": 3, "steps": 1}}, headers=HEADERS)
    assert r.status_code == 200, r.text
    a = r.json()
    assert a["kind"] == "image" and [c["name"] for c in a["candidates"]] == [SDXL + " cinematic", SDXL + " none"]
    assert [c["images"][0]["revised_prompt"] for c in a["candidates"]] == [CINEMATIC + QUALITY, "a cat" + QUALITY]
    assert all(c["status"] == 200 and c["cost"] > 0 for c in a["candidates"])
    assert a["candidates"][0]["images"][0]["b64_json"] == drawn(server, enhance={"style": "cinematic"})["b64_json"]


def test_on_the_command_line(tmp_path):
    def hearth(*args):
        return subprocess.run([BIN, "image", *args, "--models", str(tmp_path / "models"), "--seed", "1", "--steps", "2"], capture_output=True, text=True,
                              env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE, cwd=tmp_path)

    (tmp_path / "models").mkdir()
    (tmp_path / "models/starter-image").symlink_to(ROOT / "models/starter-image")
    r = hearth("a cat", "--style", "cinematic", "-o", "a.png")
    assert r.returncode == 0 and f"prompt: {CINEMATIC}{QUALITY}" in r.stderr, r.stderr
    r = hearth("a cat", "--style", "no such", "-o", "b.png")
    assert r.returncode == 1 and "there is no style" in r.stderr
