"""Vectors of texts: with the openai and ollama packages, and beside other work."""

import base64
import concurrent.futures
import json
import re
import shutil
import sqlite3

import numpy as np
import ollama
import openai
import pytest

from conftest import KEY, MODEL, MODELS, PATIENCE, ROOT, Server, chat

TEXTS = ["The cat sat on the mat.", "A cat is sitting on a rug.", "Inflation rose by two percent."]


@pytest.fixture(scope="module")
def server():
    s = Server("--ctx", "256")  # what is too long is soon computed
    yield s
    s.stop()


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=PATIENCE)


def test_vectors_have_length_one_and_mean_something(client):
    got = client.embeddings.create(model=MODEL, input=TEXTS)  # base64 by default
    v = np.array([d.embedding for d in got.data], np.float32)
    assert v.shape == (3, 576) and [d.index for d in got.data] == [0, 1, 2] and got.model == MODEL
    assert np.allclose(np.linalg.norm(v, axis=1), 1, atol=1e-6)
    assert v[0] @ v[1] > v[0] @ v[2] and v[0] @ v[1] > v[1] @ v[2]
    assert got.usage.prompt_tokens == got.usage.total_tokens > 15


def test_forms_agree(client, server):
    def post(**fields):
        return server.post("/v1/embeddings", {"model": MODEL, **fields}).json()

    floats = post(input=TEXTS, encoding_format="float")
    packed = post(input=TEXTS, encoding_format="base64")
    for a, b in zip(floats["data"], packed["data"]):
        assert np.array_equal(np.array(a["embedding"], np.float32), np.frombuffer(base64.b64decode(b["embedding"]), "<f4"))
    assert [post(input=t)["data"][0]["embedding"] for t in TEXTS] == [d["embedding"] for d in floats["data"]]  # alone or among others
    ids = server.post("/tokenize", {"model": MODEL, "prompt": TEXTS[0]}).json()["tokens"]
    assert post(input=ids)["data"] == post(input=[ids])["data"] == [floats["data"][0]]
    cut = np.array(post(input=TEXTS[0], dimensions=64)["data"][0]["embedding"])
    whole = np.array(floats["data"][0]["embedding"])[:64]
    assert np.allclose(cut, whole / np.linalg.norm(whole), atol=1e-6)


def test_fireworks_does_not_normalise_unless_asked(server):
    def norm(**fields):
        r = server.post("/inference/v1/embeddings", {"model": MODEL, "input": TEXTS[0], **fields}).json()
        return np.linalg.norm(r["data"][0]["embedding"])

    assert norm() > 2 and abs(norm(normalize=True) - 1) < 1e-5


def test_ollamas_two_forms(server):
    c = ollama.Client(host=server.url, timeout=PATIENCE)
    both = c.embed("smollm2-135m-instruct:latest", TEXTS[:2])
    assert len(both.embeddings) == 2 and both.prompt_eval_count > 10 and both.total_duration > 0
    assert list(c.embed("smollm2-135m-instruct", TEXTS[0]).embeddings[0]) == list(both.embeddings[0])
    older = np.array(c.embeddings("smollm2-135m-instruct", TEXTS[0]).embedding)
    assert np.allclose(older / np.linalg.norm(older), both.embeddings[0], atol=1e-6)
    long = "word " * 300
    assert len(c.embed("smollm2-135m-instruct", long).embeddings) == 1
    with pytest.raises(ollama.ResponseError, match="context"):
        c.embed("smollm2-135m-instruct", long, truncate=False)


@pytest.mark.parametrize("fields, why", [
    ({}, "input is required"),
    ({"input": ""}, "empty"),
    ({"input": []}, "empty"),
    ({"input": [TEXTS[0], 7]}, "input"),
    ({"input": [1 << 30]}, "vocabulary"),
    ({"input": ["x"] * 2049}, "2048"),
    ({"input": "word " * 300}, "context"),
    ({"input": "x", "dimensions": 0}, "dimensions"),
    ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ({"input": "x", "return_logits": [1]}, "return_logits"),
    ({"input": "x", "surplus": 1}, "surplus"),
])
def test_what_is_wrong_is_said(server, fields, why):
    r = server.post("/v1/embeddings", {"model": MODEL, **fields})
    assert r.status_code == 400 and why in r.json()["error"]["message"]


def test_beside_chats_and_given_up(server):
    """Many texts beside chats: every answer is as it is alone, and nothing holds a slot behind one that was given up."""
    alone = server.post("/v1/embeddings", {"model": MODEL, "input": TEXTS}).json()["data"]
    talk = server.post("/v1/chat/completions", chat(seed=5)).json()["choices"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        vectors = [pool.submit(server.post, "/v1/embeddings", {"model": MODEL, "input": TEXTS * 3}) for _ in range(3)]
        talks = [pool.submit(server.post, "/v1/chat/completions", chat(seed=5)) for _ in range(3)]
        for f in vectors:
            data = f.result().json()["data"]
            assert [d["embedding"] for d in data] == [d["embedding"] for d in alone] * 3
        assert all(f.result().json()["choices"] == talk for f in talks)
    s = server.connect()
    body = json.dumps({"model": MODEL, "input": ["word " * 200] * 8}).encode()
    s.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    s.close()
    server.wait_idle()


def test_what_they_cost_is_in_the_ledger(tmp_path):
    s = Server("--store", str(tmp_path / "a.db"), "--keys", KEY, models=MODELS)
    try:
        auth = {"Authorization": f"Bearer {KEY}"}
        r = s.post("/v1/embeddings", {"model": MODEL, "input": TEXTS}, headers=auth)
        tokens = r.json()["usage"]["prompt_tokens"]
        assert r.status_code == 200 and "X-Hearth-Cost" in r.headers
    finally:
        s.stop()
    with sqlite3.connect(tmp_path / "a.db") as db:
        columns = [c[1] for c in db.execute("PRAGMA table_info(ledger)")]
        row = dict(zip(columns, db.execute("SELECT * FROM ledger").fetchone()))
    assert row["endpoint"] == "embeddings" and row["prompt"] == tokens and not row["completion"]


def test_the_page_says_what_is(server, capsys):
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs/embeddings.md").read_text(), re.S):
        exec(code.replace("http://127.0.0.1:8080", server.url), {})
    assert float(capsys.readouterr().out.split()[-1]) > 0


@pytest.mark.parametrize("config, says", [
    ({"pooling_mode_weightedmean_tokens": True}, "1_Pooling/config.json: pooling_mode_weightedmean_tokens is not done here and is left out"),
    ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "1_Pooling/config.json: more than one way of pooling is not done here and is left out"),
    ({"pooling_mode": "odd"}, "1_Pooling/config.json: odd is not done here and is left out"),
    ("{", "is not done here and is left out"),
])
def test_a_pooling_that_is_not_known_is_told(tmp_path, config, says):
    shutil.copytree(ROOT / "tests/golden/lm/gemma3_chat", tmp_path / "models/tiny")
    (tmp_path / "models/tiny/1_Pooling").mkdir()
    (tmp_path / "models/tiny/1_Pooling/config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    s = Server("--no-preload", models=str(tmp_path / "models"))
    try:
        r = s.post("/v1/embeddings", {"model": "tiny", "input": "a text"})
        assert r.status_code == 200 and np.isfinite(r.json()["data"][0]["embedding"]).all()
        s.wait_log(says)
    finally:
        s.stop()
