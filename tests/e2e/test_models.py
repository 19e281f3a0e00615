"""hearth models and hearth inspect on small folders."""

import json
import os
import pathlib
import shutil
import subprocess

from conftest import BIN as HEARTH
from conftest import PATIENCE, ROOT

READERS = ROOT / "tests/golden/readers"


def hearth(*args, code=0):
    env = {"PATH": os.environ["PATH"], "HOME": "/dev/null/none"}
    r = subprocess.run([HEARTH, *map(str, args)], capture_output=True, text=True, env=env, timeout=PATIENCE)
    assert r.returncode == code, (r.stdout, r.stderr)
    return r


def test_models(tmp_path):
    (tmp_path / "smollm2-135m-instruct").mkdir()
    shutil.copy(READERS / "tiny.gguf", tmp_path / "smollm2-135m-instruct/any.gguf")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/broken.gguf").write_text("no model")
    assert hearth("inspect", "--models", tmp_path, "smollm2-135m-instruct").stdout.startswith(str(tmp_path))
    rows = json.loads(hearth("models", "--json", "--models", tmp_path).stdout)["models"]
    by_id = {r["id"]: r for r in rows}
    starter = by_id["accounts/hearth/models/smollm2-135m-instruct"]
    assert starter["installed"] and starter["arch"] == "llama" and starter["path"].endswith("/any.gguf")
    assert "not a GGUF file" in by_id["accounts/local/models/mine"]["problem"]
    other = by_id["accounts/fireworks/models/mixtral-8x7b-instruct"]
    assert not other["installed"] and other["source"].startswith("hf:")

    text = hearth("models", "--models", tmp_path).stdout
    assert "cannot be used: broken.gguf: not a GGUF file" in text and "known, not installed" in text
    assert "no model is installed in" in hearth("models", "--models", tmp_path / "absent").stdout
    assert "expected no arguments" in hearth("models", "x", code=2).stderr
    assert "connect" in hearth("models", "--url", "http://127.0.0.1:1", code=1).stderr


def test_inspect():
    out = json.loads(hearth("inspect", "--json", READERS / "tiny.gguf").stdout)
    assert out["arch"] == "llama" and out["format"] == "GGUF" and out["parameters"] == 203
    assert out["metadata"]["t.str"] == "h\u00e9arth" and out["metadata"]["t.ints"] == [1, -2, 3]
    shapes = {t["name"]: (t["type"], t["shape"]) for t in out["tensors"]}
    assert shapes["mat.q8"] == ("Q8_0", [3, 64])
    text = hearth("inspect", READERS / "tiny.safetensors").stdout
    assert "F8_E4M3" in text and "[2, 3]" in text and "note" in text
    assert "usage" not in hearth("inspect", READERS, code=0).stdout  # the folder's safetensors


def test_inspect_memory(tmp_path):
    shutil.copy(READERS / "tiny.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072}))
    memory = json.loads(hearth("inspect", "--json", "--ctx", "1024", tmp_path).stdout)["memory"]
    assert memory["kv"] == 1024 * 32 * 8 * 128 * 2 * 2 and memory["total"] == memory["kv"] + memory["weights"]
    smaller = json.loads(hearth("inspect", "--json", "--ctx", "1024", "--kv-type", "q8_0", tmp_path).stdout)["memory"]
    assert smaller["kv"] == memory["kv"] // 2 * 34 // 32


def test_inspect_errors(tmp_path):
    for content, why in [(b"", "is empty"), (b"GGUF", "version"), (b"PK\x03\x04", "not a GGUF file")]:
        (tmp_path / "x.gguf").write_bytes(content)
        r = hearth("inspect", tmp_path / "x.gguf", code=1)
        assert r.stdout == "" and r.stderr.count("\n") == 1 and why in r.stderr
    assert "No such file" in hearth("inspect", tmp_path / "absent", code=1).stderr
    assert "expected one model" in hearth("inspect", code=2).stderr


def test_text_of_a_file_cannot_steer_the_terminal(tmp_path):
    data = bytearray((READERS / "tiny.gguf").read_bytes())
    at = data.index("h\u00e9arth".encode())
    data[at:at + 7] = b"\x1b[2J\xff\x07\n"
    (tmp_path / "x.gguf").write_bytes(data)
    text = hearth("inspect", tmp_path / "x.gguf").stdout
    assert "\x1b" not in text and "\\x1b[2J\\xff\\x07\\n" in text
    assert json.loads(hearth("inspect", "--json", tmp_path / "x.gguf").stdout)
