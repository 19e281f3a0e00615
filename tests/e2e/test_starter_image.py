"""The starter image model end to end: what it draws is what was asked for, and what the reference draws from the same seeds."""
import base64
import io
import json
import os
import subprocess

import numpy as np
import PIL.Image
import pytest

import judge
from conftest import BIN, ROOT, Server

GOLDEN = ROOT / "models/starter-image/golden"
CASES = json.loads((GOLDEN / "golden.json").read_text())
CONCEPTS = ["red apple", "cat face", "rocket"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    (models / "starter-image").symlink_to(ROOT / "models/starter-image")
    return str(models)


@pytest.fixture(scope="module")
def starter(folder):
    s = Server(models=folder)
    yield s
    s.stop()


def picture(data):
    image = PIL.Image.open(io.BytesIO(data))
    image.load()
    return image


def draw(s, **fields):
    r = s.post("/v1/images/generations", {"model": "starter-image", "response_format": "b64_json", **fields})
    assert r.status_code == 200, r.text
    return base64.b64decode(r.json()["data"][0]["b64_json"])


def near(image, name):
    """The reference computes in float32; here activations are rounded, which leaves a value or two of 255 (src/image/starter_test.c)."""
    off = np.abs(np.asarray(image, "i4") - np.asarray(picture((GOLDEN / name).read_bytes()).convert("RGB"), "i4"))
    assert off.mean() < 0.25 and off.max() <= 8


def test_judge_agrees_with_the_reference():
    for case in CASES:
        assert judge.best(picture((GOLDEN / case["picture"]).read_bytes())) == case["judge_top5"]


@pytest.mark.parametrize("case,concept", list(zip(CASES, CONCEPTS)), ids=CONCEPTS)
def test_served_pictures(starter, case, concept):
    image = picture(draw(starter, prompt=case["prompt"], seed=case["seed"]))  # steps, guidance and size: the catalog's
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (128, 128))
    assert image.info["parameters"] == f"steps {case['steps']}, guidance {case['guidance_scale']}, size 128x128"
    assert concept in judge.best(image)
    near(image, case["picture"])


@pytest.mark.parametrize("prompt,concept", [("a red apple", "red apple"), ("青い背景のパンダ", "panda"), ("a pizza on a green background", "pizza")])
def test_seeds_of_their_own(starter, prompt, concept):
    assert concept in judge.best(picture(draw(starter, prompt=prompt, seed=1)))
    assert concept in judge.best(picture(draw(starter, prompt=prompt, seed=99, steps=4)))


def command(folder, *args):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")} | {"HEARTH_CONFIG": "/dev/null"}
    return subprocess.run([BIN, "image", "--models", folder, "--model", "starter-image", *args], capture_output=True, text=True, env=env, timeout=120)


def test_command(starter, folder, tmp_path):
    out, case = tmp_path / "cat.png", CASES[1]
    r = command(folder, case["prompt"], "--seed", str(case["seed"]), "-o", str(out))
    assert (r.returncode, r.stdout, r.stderr) == (0, f"{out}  seed {case['seed']}\n", "")
    image = picture(out.read_bytes())
    assert "cat face" in judge.best(image)
    near(image, case["picture"])
    assert out.read_bytes() == draw(starter, prompt=case["prompt"], seed=case["seed"])
