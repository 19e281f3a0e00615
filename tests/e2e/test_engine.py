"""The engine behind the door: whose prefixes are shared, what the queue takes, what becomes of a model whose files change."""
import os
import shutil

import pytest
import requests

from conftest import MODEL, PATIENCE, ROOT, Server, chat

pytestmark = pytest.mark.checked
CHAT = "/v1/chat/completions"
KEYS = ("first-key-0123456789", "second-key-0123456789")
SECRET = "The launch code of the silver rocket is four, eight, fifteen, sixteen, twenty-three, and nobody may know. " * 3


def cached(s, key, content=SECRET, **fields):
    headers = {"Authorization": f"Bearer {key}"} if key else None
    r = s.post(CHAT, chat(content, max_tokens=1, **fields), headers=headers)
    assert r.status_code == 200, r.text
    return r.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_prefixes_belong_to_a_key():
    """What one key asked shows in no other key's cached_tokens, be it the whole prompt or its beginning."""
    s = Server("--keys", KEYS[0], "--keys", KEYS[1])
    assert cached(s, KEYS[0]) == 0
    assert cached(s, KEYS[0]) > 50
    assert cached(s, KEYS[1]) == 0
    assert cached(s, KEYS[1]) > 50
    long_key = "k" * 100_000  # hashed: neither its length nor its end matters to anything else
    assert cached(s, KEYS[0], prompt_cache_isolation_key=long_key) == 0
    assert cached(s, KEYS[0], prompt_cache_isolation_key=long_key) > 50
    assert cached(s, KEYS[0], prompt_cache_isolation_key=long_key + "k") == 0
    assert cached(s, KEYS[1], prompt_cache_isolation_key=long_key) == 0
    s.stop()


def test_prefixes_may_be_shared_by_all():
    s = Server("--keys", KEYS[0], "--keys", KEYS[1], "--prefix-sharing", "all")
    assert cached(s, KEYS[0]) == 0
    assert cached(s, KEYS[1]) > 50
    assert cached(s, KEYS[1], prompt_cache_isolation_key="mine") == 0
    s.stop()


def test_queue_takes_whole_requests(server):
    """The limit counts choices: hundreds of prompts at an idle server are not "busy", and what never fits is said to be so."""
    server.wait_idle()
    body = {"model": MODEL, "prompt": [[1, 2, i] for i in range(1, 301)], "max_tokens": 1}
    r = requests.post(server.url + "/v1/completions", json=body, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    assert len(r.json()["choices"]) == 300
    small = Server("--queue-limit", "10", "--max-batch", "4")
    r = requests.post(small.url + "/v1/completions", json={**body, "prompt": body["prompt"][:15]}, timeout=PATIENCE)
    assert r.status_code == 400 and "15 choices" in r.json()["error"]["message"] and "14" in r.json()["error"]["message"]
    r = requests.post(small.url + "/v1/completions", json={**body, "prompt": body["prompt"][:14]}, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    small.stop()


@pytest.fixture
def folder(tmp_path):
    """Copies that may be spoilt: two language models and a picture model, all of a long ago date, so that any write shows."""
    for name, source in {"tiny-a": "lm/chat", "tiny-b": "lm/chat", "tiny-flux-dev": "pipelines/flux_dev"}.items():
        shutil.copytree(ROOT / "tests/golden" / source, tmp_path / "models" / name)
    for path in tmp_path.rglob("*.safetensors"):
        os.utime(path, (1e9, 1e9))
    return tmp_path / "models"


def spoil(path, way):
    if way == "cut":
        os.truncate(path, 5000)
    else:
        with open(path, "r+b") as f:  # in place, to the same length
            f.seek(20_000)
            f.write(b"?" * 10_000)


def mend(path, source):
    """As files of models are to be replaced."""
    shutil.copy(source, path.with_suffix(".new"))
    os.rename(path.with_suffix(".new"), path)


def ask(s, model):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    return s.post(CHAT, body)


@pytest.mark.parametrize("way", ["cut", "written"])
def test_changed_language_model(folder, way):
    """Its requests end with an error that names the file and no path; others go on; once the file is right it is served again."""
    s = Server(models=str(folder))
    weights = folder / "tiny-a/model.safetensors"
    assert ask(s, "tiny-a").status_code == ask(s, "tiny-b").status_code == 200
    body = {"model": "tiny-a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300, "n": 100, "stream": True, "ignore_eos": True}
    with requests.post(s.url + CHAT, json=body, stream=True, timeout=PATIENCE) as r:
        events = (x for x in r.iter_lines(decode_unicode=True) if x.startswith("data: "))
        while "content" not in next(events):
            pass
        spoil(weights, way)
        rest = list(events)
    assert "error" in rest[-1] and "model.safetensors was changed" in rest[-1] and str(folder) not in rest[-1]
    assert ask(s, "tiny-b").status_code == 200
    if way == "cut":
        refused = ask(s, "tiny-a")
        assert refused.status_code == 500 and str(folder) not in refused.text, refused.text
        assert ask(s, "tiny-b").status_code == 200
    mend(weights, ROOT / "tests/golden/lm/chat/model.safetensors")
    assert ask(s, "tiny-a").status_code == 200
    s.stop()
    s.wait_log(str(weights))


def test_model_changed_while_idle(folder):
    """Nobody hears of it: the next request finds the new file. One that is replaced by renaming is not looked at while the old one is loaded."""
    s = Server(models=str(folder))
    weights = folder / "tiny-a/model.safetensors"
    assert ask(s, "tiny-a").status_code == 200
    spoil(weights, "written")
    assert ask(s, "tiny-a").status_code == 200
    mend(weights, ROOT / "tests/golden/lm/chat/model.safetensors")
    assert ask(s, "tiny-a").status_code == 200
    s.stop()
    assert "".join(s.log).count("info loaded ") == 2, "".join(s.log)


@pytest.mark.parametrize("way", ["cut", "written"])
@pytest.mark.parametrize("part", ["vae", "transformer"])
def test_changed_image_model(folder, part, way):
    s = Server("--files", str(folder.parent / "files"), models=str(folder))
    weights = folder / f"tiny-flux-dev/{part}/diffusion_pytorch_model.safetensors"
    body = {"model": "tiny-flux-dev", "prompt": "a pear", "size": "128x128", "steps": 20, "seed": 5, "response_format": "b64_json"}
    url = s.url + "/v1/images/generations"
    with requests.post(url, json={**body, "n": 10, "stream": True, "partial_images": 3}, stream=True, timeout=PATIENCE) as r:
        events = (x for x in r.iter_lines(decode_unicode=True) if x.startswith("data: "))
        next(events)
        spoil(weights, way)
        rest = list(events)
    assert "diffusion_pytorch_model.safetensors was changed" in rest[-1] and str(folder) not in rest[-1]
    assert ask(s, "tiny-b").status_code == 200
    mend(weights, ROOT / f"tests/golden/pipelines/flux_dev/{part}/diffusion_pytorch_model.safetensors")
    r = requests.post(url, json={**body, "steps": 1, "size": "32x32"}, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    s.stop()
