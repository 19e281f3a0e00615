"""Where models and adapters lie is the server's own business: whatever is wrong with them, a client reads names and no folders."""
import json
import shutil

import pytest

from conftest import ROOT, Server
from test_layouts import bfl, tool  # noqa: F401 (fixtures)

TINY = ROOT / "tests/golden/lm/chat"
SECRET = "kept-to-ourselves"


def rewrite(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def drop_tensor(path):
    """A header that does not name one of its tensors any more."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + n])
    header.pop(next(k for k in header if "layers.1" in k and "down_proj" in k))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + n:])


def broken_link(path):
    path.unlink()
    path.symlink_to("nowhere")


def folder_instead(path):
    path.unlink()
    path.mkdir()


BROKEN = {
    "no-json": lambda d: (d / "config.json").write_text("{"),
    "no-family": lambda d: rewrite(d / "config.json", model_type="robot", architectures=["RobotForCausalLM"]),
    "wrong-shape": lambda d: rewrite(d / "config.json", intermediate_size=96),
    "cut": lambda d: cut(d / "model.safetensors"),
    "no-tensor": lambda d: drop_tensor(d / "model.safetensors"),
    "no-header": lambda d: (d / "model.safetensors").write_bytes(b"\xff" * 4000),
    "empty": lambda d: (d / "model.safetensors").write_bytes(b""),
    "link": lambda d: broken_link(d / "tokenizer.json"),
    "folder": lambda d: folder_instead(d / "tokenizer.json"),
    "tokenizer": lambda d: (d / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": 5}}'),
    "template": lambda d: rewrite(d / "tokenizer_config.json", chat_template="{% if %}"),
    "index": lambda d: ((d / "model.safetensors").unlink(), (d / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, bfl):  # noqa: F811
    home = tmp_path_factory.mktemp(SECRET)
    for name, breaks in BROKEN.items():
        shutil.copytree(TINY, home / "models" / name)
        breaks(home / "models" / name)
    (home / "models/garbage.gguf").write_bytes(b"GGUF" + b"\xff" * 500)
    shutil.copytree(bfl, home / "models/painter")
    shutil.copytree(bfl, home / "models/half-painter")
    cut(home / "models/half-painter/ae.safetensors")
    (home / "models/no-index").mkdir()
    (home / "models/no-index/model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    (home / "loras").mkdir()
    (home / "loras/garbage.safetensors").write_bytes(b"\xff" * 200)
    (home / "loras/empty.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return home


@pytest.fixture(scope="module")
def served(home):
    s = Server(models=str(home / "models"))
    yield s
    s.stop()


def no_path(home, r):
    assert r.status_code >= 400, r.text
    assert SECRET not in r.text and str(home.parent) not in r.text and "/models/models" not in r.text, r.text
    assert r.json()["error"]
    return r.text


@pytest.mark.parametrize("name", [*BROKEN, "garbage"])
def test_broken_language_models(served, home, name):
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    text = no_path(home, served.post("/v1/chat/completions", body))
    if name != "template":  # a model without a usable template still completes
        assert name in text
        no_path(home, served.post("/inference/v1/completions", {"model": name, "prompt": "a", "max_tokens": 1, "stream": True}))


@pytest.mark.parametrize("path", ["/v1/images/generations", "/inference/v1/workflows/accounts/local/models/{}/text_to_image"])
@pytest.mark.parametrize("name", ["half-painter", "no-index"])
def test_broken_image_models(served, home, name, path):
    text = no_path(home, served.post(path.format(name), {"model": name, "prompt": "a", "size": "64x64", "steps": 1} if path.startswith("/v1") else {"prompt": "a"}))
    assert name in text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["garbage", "empty", "absent"])
def test_broken_adapters(served, home, name, stream):
    body = {"model": "painter", "prompt": "a", "size": "64x64", "steps": 1, "loras": [{"name": name, "weight": 1}], "stream": stream}
    r = served.post("/v1/images/generations", body)
    assert name in r.text and SECRET not in r.text and str(home.parent) not in r.text, r.text
    assert "error" in r.text


def test_lists_and_names(served, home):
    for path in ("/v1/models", "/inference/v1/models", "/v1/accounts/local/models", "/health", "/metrics", "/v1/models/no-json", "/v1/models/cut"):
        r = served.get(path)
        assert SECRET not in r.text and str(home.parent) not in r.text, path
    no_path(home, served.post("/v1/chat/completions", {"model": "nothing", "messages": [{"role": "user", "content": "hi"}]}))


@pytest.mark.parametrize("fields", [{"model": "{}/zz"}, {"model": "no-json", "{}/zz": 1}, {"model": "no-json", "service_tier": "{}/zz"}])
def test_a_guess_comes_back_as_it_was(served, home, fields):
    """Were folders taken out of what a client wrote, it could tell by that which of its guesses was right."""
    texts = []
    for guess in (f"{home}/models", f"{home}/modest"):
        body = {k.format(guess): v.format(guess) if isinstance(v, str) else v for k, v in fields.items()}
        r = served.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], **body})
        assert r.status_code in (400, 404) and f"{guess}/zz" in r.json()["error"]["message"], r.text
        texts.append(r.json()["error"]["message"].replace(guess, ""))
    assert texts[0] == texts[1]


def test_a_folder_that_cannot_be_read(tmp_path):
    """A file where the folder was: lists and unknown names say so without saying where."""
    folder = tmp_path / SECRET / "models"
    shutil.copytree(TINY, folder / "tiny")
    s = Server(models=str(folder))
    shutil.rmtree(folder)
    folder.symlink_to(folder)
    for r in (s.get("/v1/models"), s.post("/v1/images/generations", {"prompt": "a"}), s.post("/v1/completions", {"model": "other", "prompt": "a"})):
        assert SECRET not in r.text, r.text
    s.stop()


def test_the_log_keeps_the_path(served, home):
    served.post("/v1/completions", {"model": "no-json", "prompt": "a"})
    served.wait_log(f"{home}/models/no-json: config.json")
