"""Pipelines with one thing changed, against the pictures that diffusers draws with the same folder
(tools/reference/variant_golden.py)."""
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from conftest import BIN, PATIENCE, ROOT, environment
from variants import apply

PIPELINES = ROOT / "tests/golden/pipelines"
VARIANTS = json.loads((PIPELINES / "variants/variants.json").read_text())


@pytest.mark.parametrize("spec", VARIANTS, ids=lambda s: s["name"])
def test_variant(spec, tmp_path):
    folder, out = tmp_path / "model", tmp_path / "drawn.png"
    shutil.copytree(PIPELINES / spec["base"], folder)
    apply(spec, folder)
    env = environment() | {"HEARTH_CONFIG": "/dev/null"}
    r = subprocess.run([BIN, "image", "--model", folder, "--size", "48x32", "--steps", str(spec["steps"]), "--guidance", str(spec["guidance"]),
                        "--seed", "7", "-o", out, spec["prompt"]], capture_output=True, text=True, env=env, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    want = np.asarray(Image.open(PIPELINES / "variants" / f"{spec['name']}.png").convert("RGB"), "i4")
    got = np.asarray(Image.open(out).convert("RGB"), "i4")
    # The weights are F32, so all that is left is the order of sums: a value at a rounding edge may fall on its other side.
    assert np.abs(got - want).max() <= 1, np.abs(got - want).mean()
