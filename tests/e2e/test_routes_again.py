"""Routes, safety policies and the catalog's prices are read again on SIGHUP: what runs goes on by the old ones, and a bad file changes nothing."""
import http.server
import json
import threading

import pytest
import requests

from conftest import MODEL, MODELS, PATIENCE, ROOT, Server, chat
from test_account import hearth, new_key
from test_carried import hang_up
from test_routing import FAST, routes, serve

CHAT = "/v1/chat/completions"


class Held:
    """An upstream that answers with its own name; of a stream it sends the rest when it is let go."""

    def __init__(self, name):
        self.name, self.go, self.keys = name, threading.Event(), []
        held = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                held.keys.append(self.headers.get("Authorization"))
                piece = lambda text, why=None: b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": why}]}).encode() + b"\n\n"
                self.send_response(200)
                if body.get("stream"):
                    self.send_header("Content-Type", "text/event-stream")
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.close_connection = True
                    self.wfile.write(piece(held.name))
                    held.go.wait(PATIENCE)
                    self.wfile.write(piece(" ends", "stop") + b"data: [DONE]\n\n")
                    return
                data = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": held.name}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def at(self, *models):
        return {"name": self.name, "base_url": self.url, "models": [{"name": m} for m in models]} | FAST

    def close(self):
        self.go.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def two():
    ups = Held("one"), Held("two")
    yield ups
    for u in ups:
        u.close()


def said(server, model="m"):
    r = server.post(CHAT, {**chat(), "model": model})
    return r.json()["choices"][0]["message"]["content"] if r.status_code == 200 else r.status_code


def test_routes(tmp_path, two):
    one, other = two
    s = serve(tmp_path, one.at("m", "only"), args=("--upstream-key", "one=key-of-one"))
    assert said(s) == "one"
    with requests.post(s.url + CHAT, json={**chat(), "model": "m", "stream": True}, stream=True, timeout=PATIENCE) as r:
        lines = r.iter_lines()
        assert b'"one"' in next(lines)
        routes(tmp_path, other.at("m", "new"), one.at("only"))
        told = hang_up(s)
        assert "hold for requests from now on" in told and "error" not in told
        assert said(s) == "two" and said(s, "new") == "two" and said(s, "only") == "one"
        assert one.keys == ["Bearer key-of-one"] * 3 and other.keys == [None] * 2  # keys stay with their upstream
        one.go.set()
        rest = [x for x in lines if x]
        assert b" ends" in rest[-2] and rest[-1] == b"data: [DONE]", "what ran went on"
    # What is known of an upstream stays known; one that is gone is not listed.
    (tmp_path / "routes.yaml").write_text("version: 1\nupstreams: [{ name: two, colour: red }]\n")
    told = hang_up(s)
    assert "routes.yaml:2" in told and told.count("the old routes are kept") == 1
    assert said(s) == "two"
    answered = lambda name: f'hearth_upstream_answered_total{{upstream="{name}"}} 3\n' in s.get("/metrics").text
    s.wait_until(lambda: answered("one") and answered("two"), "what was known of the upstreams is forgotten")
    routes(tmp_path, one.at("m"))
    hang_up(s)
    assert said(s) == "one" and said(s, "new") == 404
    assert 'upstream="two"' not in s.get("/metrics").text
    s.stop()


SAFETY = """
words:
  lists:
    - {{ name: mine, words: [{word}] }}
  policies:
    - {{ name: default, refuse: [mine] }}
"""


def test_safety_policies(tmp_path, two):
    built_in = (ROOT / "catalog/safety.yaml").read_text()
    pictures = built_in[: built_in.index("\nwords:")] if "\nwords:" in built_in else ""
    path = tmp_path / "safety.yaml"
    write = lambda word: path.write_text(pictures + SAFETY.format(word=word))
    write("apple")
    s = serve(tmp_path, two[0].at("m"), args=("--safety", str(path), "--policy", "default"))
    ask = lambda text: s.post(CHAT, {**chat(text), "model": "m"}).status_code
    assert ask("an apple") == 400 and ask("a pear") == 200
    write("pear")
    assert "safety policies" in hang_up(s)
    assert ask("an apple") == 200 and ask("a pear") == 400
    path.write_text("words: nonsense\n")
    assert hang_up(s).count("the old safety policies are kept") == 1
    path.write_text(pictures + SAFETY.format(word="plum").replace("name: default", "name: other"))
    assert "the old safety policies are kept" in hang_up(s)  # --policy names one that is gone
    assert ask("a plum") == 200 and ask("a pear") == 400
    s.stop()


def test_the_catalogs_prices(tmp_path):
    store, catalog = str(tmp_path / "s.db"), tmp_path / "models.yaml"
    text = (ROOT / "catalog/models.yaml").read_text()
    at = text.index(f"id: {MODEL}")

    def price(n):
        catalog.write_text(text[:at] + text[at:].replace("input: 0.0, output: 0.0", f"input: 0.0, output: {n}", 1))

    key, _ = new_key(store)
    price("1.0")
    s = Server("--store", store, "--catalog", str(catalog), models=MODELS)
    cost = lambda: s.post(CHAT, chat(max_tokens=2, ignore_eos=True), headers={"Authorization": f"Bearer {key}"}).json()["usage"]["cost"]
    assert cost() == pytest.approx(2e-6)
    price("3.0")
    hang_up(s)
    assert cost() == pytest.approx(6e-6)
    catalog.write_text("models: nonsense\n")
    assert "the old prices are kept" in hang_up(s)
    assert cost() == pytest.approx(6e-6)
    s.stop()
