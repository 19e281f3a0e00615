"""hearth compare: a table, texts, and a page of pictures that holds them and runs nothing."""
import base64
import html
import io
import json
import re
import subprocess

import pytest
import requests
from PIL import Image

from conftest import BIN, KEY, PATIENCE, environment


def compare(server, where, *args):
    return subprocess.run([BIN, "compare", "--url", server.url, *args], cwd=where, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, capture_output=True, text=True,
                          timeout=PATIENCE)


def test_texts(server, tmp_path):
    r = compare(server, tmp_path, "model=smollm2-135m-instruct", "model=none", "max_tokens=5", "temperature=0", "What is the capital of France?")
    assert r.returncode == 0, r.stderr
    lines = r.stdout.splitlines()
    assert lines[0].split() == ["NAME", "SECONDS", "TOKENS", "TOKENS/S", "COST"]
    assert lines[1].split()[0] == "smollm2-135m-instruct" and lines[1].split()[2] == "5"
    assert lines[2].startswith("none ") and 'no model is called "none"' in lines[2]
    assert "fastest   smollm2-135m-instruct" in lines
    alone = requests.post(server.url + "/v1/chat/completions", timeout=PATIENCE, json={
        "model": "smollm2-135m-instruct", "max_tokens": 5, "temperature": 0, "messages": [{"role": "user", "content": "What is the capital of France?"}]}).json()
    assert r.stdout.endswith(alone["choices"][0]["message"]["content"] + "\n")
    whole = json.loads(compare(server, tmp_path, "--json", "model=smollm2-135m-instruct", "max_tokens=2", "Hello").stdout)
    assert whole["candidates"][0]["usage"]["completion_tokens"] == 2


def test_pictures(server, tmp_path):
    prompt = "a red <script>apple</script> & \"more\""
    args = ("model=starter-image", "style=anime", "style=watercolor", "seed=1", "steps=2", prompt)
    for name in ("picture.html", "picture-2.html"):  # the second does not write over the first
        r = compare(server, tmp_path, *args)
        assert r.returncode == 0 and r.stdout.endswith(name + "\n"), r
    page = (tmp_path / "picture.html").read_text()
    assert html.escape(prompt, quote=False).replace('"', "&quot;") in page and "<script" not in page
    pictures = [Image.open(io.BytesIO(base64.b64decode(x))) for x in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert [p.size for p in pictures] == [(128, 128)] * 2 and pictures[0].tobytes() != pictures[1].tobytes()
    assert page == (tmp_path / "picture-2.html").read_text() or re.sub(r"[\d.]+ s", "", page) == re.sub(r"[\d.]+ s", "", (tmp_path / "picture-2.html").read_text())
    r = compare(server, tmp_path, "--output", "picture.html", *args)
    assert r.returncode == 2 and "is there already" in r.stderr


@pytest.mark.parametrize("args, says", [
    (("hello",), "model=NAME is missing"), (("model=x",), "a prompt is missing"), (("model=x", "a", "b"), "one prompt is compared"),
    (("model=smollm2-135m-instruct", "model=starter-image", "x"), "must be all of text or all of pictures"),
    (("model=smollm2-135m-instruct", "nonsense=1", "x"), "nonsense"),
])
def test_what_is_wrong(server, tmp_path, args, says):
    r = compare(server, tmp_path, *args)
    assert says in r.stderr + r.stdout and not list(tmp_path.iterdir())


def test_key(keyed, tmp_path):
    assert "401" in compare(keyed, tmp_path, "model=smollm2-135m-instruct", "x").stderr
    assert compare(keyed, tmp_path, "--key", KEY, "model=smollm2-135m-instruct", "max_tokens=1", "x").returncode == 0
