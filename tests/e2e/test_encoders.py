"""Encoders: vectors and scores over HTTP as sentence-transformers has them (tests/golden/encoders), and what they refuse."""

import json
import math

import numpy as np
import ollama
import openai
import pytest

from conftest import PATIENCE, ROOT, Server

FOLDER = ROOT / "tests/golden/encoders"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    for path in FOLDER.iterdir():
        if path.name != "golden.json":
            (models / path.name).symlink_to(path)
    s = Server(models=str(models))
    yield s
    s.stop()


def embed(server, model, texts, base="/v1", **fields):
    r = server.post(base + "/embeddings", {"model": model, "input": texts, **fields})
    assert r.status_code == 200, r.text
    return np.array([d["embedding"] for d in r.json()["data"]])


@pytest.mark.parametrize("model", ["bert", "bert_first", "xlm_roberta", "distilbert", "nomic_bert", "wide"])
def test_vectors_are_the_references(server, model):
    rows = [r for r in GOLDEN[model] if r["text"] != "cat " * 40]  # longer than the context
    got = embed(server, model, [r["text"] for r in rows], "/inference/v1")
    want = np.array([r["vector"] for r in rows])
    assert np.abs(got - want).max() <= 1e-5 * np.linalg.norm(want, axis=1).max()
    unit = embed(server, model, [r["text"] for r in rows])
    assert np.allclose(unit, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)
    assert np.array_equal(unit[0], embed(server, model, rows[0]["text"])[0])  # alone or among others


def test_a_long_text_is_refused_or_cut_as_the_reference_cuts_it(server):
    long = next(r for r in GOLDEN["bert_first"] if r["text"] == "cat " * 40)
    r = server.post("/v1/embeddings", {"model": "bert_first", "input": long["text"]})
    assert r.status_code == 400 and "the model's context holds 30" in r.text
    cut = ollama.Client(host=server.url, timeout=PATIENCE).embed("bert_first", long["text"]).embeddings[0]
    want = np.array(long["vector"])
    assert np.allclose(cut, want / np.linalg.norm(want), atol=1e-5)


def test_the_openai_package(server):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=PATIENCE)
    rows = GOLDEN["bert"]
    got = client.embeddings.create(model="bert", input=[r["text"] for r in rows[:4]])
    assert np.allclose([d.embedding for d in got.data], [r["vector"] for r in rows[:4]], atol=1e-5)
    assert got.usage.prompt_tokens == sum(len(r["ids"]) for r in rows[:4])
    tokens = client.embeddings.create(model="bert", input=rows[0]["ids"], dimensions=8)
    want = np.array(rows[0]["vector"][:8])
    assert np.allclose(tokens.data[0].embedding, want / np.linalg.norm(want), atol=1e-5)


@pytest.mark.parametrize("model", ["cross", "cross_roberta"])
def test_scores_are_the_references(server, model):
    rows = [r for r in GOLDEN[model] if r["query"] == "what is a cat?"]
    body = {"model": model, "query": rows[0]["query"], "documents": [r["document"] for r in rows]}
    r = server.post("/v1/rerank", body)
    assert r.status_code == 200, r.text
    results = r.json()["results"]
    scores = [x["relevance_score"] for x in results]
    assert scores == sorted(scores, reverse=True) and sorted(x["index"] for x in results) == list(range(len(rows)))
    for x in results:
        assert math.isclose(x["relevance_score"], rows[x["index"]]["score"], abs_tol=1e-5) and "document" not in x
    usage = r.json()["usage"]
    assert usage["prompt_tokens"] == usage["total_tokens"] > 20
    two = server.post("/v1/rerank", {**body, "documents": [{"text": d} for d in body["documents"]], "top_n": 2, "return_documents": True}).json()["results"]
    assert [x["relevance_score"] for x in two] == scores[:2] and two[0]["document"] == {"text": body["documents"][two[0]["index"]]}
    fireworks = server.post("/inference/v1/rerank", {**body, "return_documents": True}).json()
    assert [x["relevance_score"] for x in fireworks["data"]] == scores and fireworks["data"][0]["document"] == body["documents"][two[0]["index"]]
    alone = server.post("/v1/rerank", {**body, "documents": body["documents"][:1]}).json()["results"]
    assert alone[0]["relevance_score"] == next(x["relevance_score"] for x in results if x["index"] == 0)


@pytest.mark.parametrize("fields, why", [
    ({"query": ""}, "query"),
    ({"query": None}, "query is required"),
    ({"documents": []}, "documents"),
    ({"documents": None}, "documents is required"),
    ({"documents": ["a", 7]}, "documents"),
    ({"documents": ["a"] * 2049}, "2048"),
    ({"top_n": 0}, "top_n"),
    ({"rank_fields": ["text"]}, "rank_fields"),
    ({"surplus": 1}, "surplus"),
    ({"model": "bert"}, "does not score"),
    ({"model": "nowhere"}, "nowhere"),
])
def test_what_rerank_refuses(server, fields, why):
    body = {"model": "cross", "query": "a cat", "documents": ["the cat", "a mat"], **fields}
    r = server.post("/v1/rerank", {k: v for k, v in body.items() if v is not None})
    assert r.status_code in (400, 404) and why in r.json()["error"]["message"], r.text


def test_encoders_make_no_text(server):
    for model, word in (("bert", "/v1/embeddings"), ("cross", "/v1/rerank")):
        chat = server.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "a cat"}]})
        text = server.post("/v1/completions", {"model": model, "prompt": "a cat"})
        for r in (chat, text):
            assert r.status_code == 400 and "encoder" in r.text and word in r.text
    r = server.post("/v1/embeddings", {"model": "cross", "input": "a cat"})
    assert r.status_code == 400 and "/v1/rerank" in r.text
