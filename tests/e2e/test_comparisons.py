"""POST /v1/comparisons: every candidate is a request of its own, and one that fails costs nobody else anything."""
import pytest
import requests

from conftest import KEY, MODEL, PATIENCE, Server, events

SHORT = {"max_tokens": 6, "temperature": 0}


HEADERS = {"Authorization": f"Bearer {KEY}"}


class Keyed(Server):
    """A server with a store, and this key."""

    def post(self, path, body, headers=None, **kw):
        return super().post(path, body, HEADERS | (headers or {}), **kw)

    def get(self, path, **kw):
        return super().get(path, headers=HEADERS, **kw)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Keyed("--keys", KEY, "--store", str(tmp_path_factory.mktemp("store") / "store.db"))
    yield s
    s.stop()


def ask(server, **body):
    r = server.post("/v1/comparisons", body)
    assert r.status_code == 200, r.text
    return r.json()


def plain(server, **fields):
    r = server.post("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]} | SHORT | fields)
    return r.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("together", [False, True])
def test_texts(server, together):
    a = ask(server, prompt="Say hello.", model=MODEL, parameters=SHORT, together=together,
            candidates=[{"name": "as it is"}, {"name": "as a pirate", "system": "You are a pirate."}, {"name": "longer", "max_tokens": 9}])
    assert (a["object"], a["kind"], a["together"]) == ("comparison", "text", together)
    assert [c["name"] for c in a["candidates"]] == ["as it is", "as a pirate", "longer"]
    assert all(c["status"] == 200 and c["seconds"] >= c["first_token_seconds"] >= 0 for c in a["candidates"])
    # Each says what the same request says alone.
    assert a["candidates"][0]["text"] == plain(server)
    assert a["candidates"][2]["text"] == plain(server, max_tokens=9)
    assert a["candidates"][2]["usage"]["completion_tokens"] > a["candidates"][0]["usage"]["completion_tokens"]
    assert a["fastest"] in [c["name"] for c in a["candidates"]]
    assert a["cheapest"] in [c["name"] for c in a["candidates"]] and all(c["cost"] is not None for c in a["candidates"])


def test_streamed(server):
    r = server.post("/v1/comparisons", {"messages": [{"role": "user", "content": "Say hello."}], "models": [MODEL, "no-such-model"], "parameters": SHORT, "stream": True})
    assert r.status_code == 200 and r.headers["Content-Type"].startswith("text/event-stream")
    got = events(r)
    said = "".join(e["delta"].get("content", "") for e in got if e["object"] == "comparison.chunk")
    ends = [e for e in got if e["object"] == "comparison.candidate"]
    assert said == plain(server) == ends[0]["text"]
    assert [e["index"] for e in ends] == [0, 1] and [e["status"] for e in ends] == [200, 404]
    assert "no-such-model" in ends[1]["error"]["message"] and "text" not in ends[1]
    assert got[-1]["object"] == "comparison" and got[-1]["fastest"] == MODEL and "text" not in got[-1]["candidates"][0]


def test_each_is_a_request(server):
    """Each candidate has its own line in the ledger, under the comparison's id."""
    r = server.post("/v1/comparisons", {"prompt": "x", "models": [MODEL, MODEL], "parameters": SHORT}, headers={"X-Request-Id": "both"})
    ids = [c["request_id"] for c in r.json()["candidates"]]
    assert ids == ["both.0", "both.1"]
    server.wait_log("both.0 /v1/chat/completions 200")
    server.wait_log("both.1 /v1/chat/completions 200")


def test_limits_hold(tmp_path):
    """A limit is met by the candidates, not by the comparison."""
    s = Server("--endpoint-limits", "chat:requests/month=2")
    try:
        a = ask(s, prompt="Say hello.", models=[MODEL] * 3, parameters=SHORT)
        assert [c["status"] for c in a["candidates"]] == [200, 200, 429]
        assert a["candidates"][2]["error"]["message"]
    finally:
        s.stop()


def test_left(server):
    """A client that leaves takes its candidates with it."""
    with requests.post(server.url + "/v1/comparisons", json={"prompt": "Count.", "models": [MODEL] * 4, "together": True, "stream": True,
                                                              "parameters": {"max_tokens": 4000, "ignore_eos": True}}, headers=HEADERS, stream=True, timeout=PATIENCE) as r:
        next(r.iter_lines())
    server.wait_idle()
    assert ask(server, prompt="Say hello.", models=[MODEL], parameters=SHORT)["candidates"][0]["status"] == 200


@pytest.mark.parametrize("body, param", [
    ({}, "prompt"), ({"prompt": "x"}, "candidates"), ({"prompt": "x", "models": []}, "models"), ({"prompt": "x", "models": [1]}, "models"),
    ({"prompt": "x", "messages": [{}], "models": ["m"]}, "prompt"), ({"prompt": "x", "candidates": [{}]}, "candidates"),
    ({"prompt": "x", "models": ["m"] * 17}, "candidates"), ({"prompt": "x", "models": ["m"], "parameters": {"stream": True}}, "parameters"),
    ({"prompt": "x", "models": ["m", "flux-1-dev-fp8"]}, "candidates"), ({"prompt": "x", "model": "m", "styles": ["anime"]}, "candidates"),
    ({"prompt": "x", "models": ["m"], "parameters": {"n": 2}}, "parameters"), ({"prompt": "x", "models": ["m"], "colour": 1}, None),
    ({"messages": [{"role": "user", "content": "x"}], "models": ["flux-1-dev-fp8"]}, "prompt")])
def test_refused(server, body, param):
    r = server.post("/v1/comparisons", body)
    assert r.status_code == 400 and r.json()["error"]["param"] == param, r.text
