"""Models that another server serves, asked for in every API but OpenAI's: what is asked of the upstream, and how its answer is told."""
import base64
import email
import http.server
import io
import json
import sqlite3
import threading

import pytest
import requests
from PIL import Image

from conftest import MODEL, MODELS, PATIENCE, ROOT, events
from test_account import hearth, new_key
from test_routing import place, serve

CALL = {"id": "call_7", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 4}}


def png(color=(10, 200, 30), size=(64, 48)):
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()


def fields_of(content_type, body):
    """The parts of a form: name to bytes."""
    m = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in m.get_payload()}


class Other:
    """A server that speaks OpenAI's API, and says by the model's name how it answers."""

    def __init__(self):
        self.seen, self.lock = [], threading.Lock()
        other = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                raw, kind = self.rfile.read(int(self.headers["Content-Length"])), self.headers["Content-Type"]
                body = fields_of(kind, raw) if kind.startswith("multipart/") else json.loads(raw)
                with other.lock:
                    other.seen.append((self.path, body))
                model = body["model"].decode() if isinstance(body["model"], bytes) else body["model"]
                status, answer = other.answer(self.path, model, body)
                stream = status == 200 and isinstance(answer, list)
                data = b"".join(b"data: " + json.dumps(a).encode() + b"\n\n" for a in answer) + b"data: [DONE]\n\n" if stream else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def last(self):
        with self.lock:
            return self.seen[-1]

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path, model, body):
        if model == "refuses":
            return 400, {"error": {"message": "temperature is too hot"}}
        if path.endswith("/embeddings"):
            rows = [{"index": i, "embedding": [3.0, 4.0, float(i)]} for i in range(len(body["input"]))]
            return 200, {"data": rows[::-1] if model == "backwards" else rows[:1] if model == "few" else rows, "usage": {"prompt_tokens": 6, "total_tokens": 6}}
        if "/images/" in path:
            n = int(body.get("n", 1))
            if model == "urls":
                return 200, {"data": [{"url": "http://127.0.0.1/x.png"}] * n}
            return 200, {"data": [{"b64_json": base64.b64encode(b"GIF" if model == "gif" else png()).decode(), "seed": 40 + i} for i in range(n)]}
        message = {"role": "assistant", "content": "warm"} | ({"reasoning_content": "hm", "tool_calls": [CALL], "content": None} if model == "calls" else {})
        finish = {"calls": "tool_calls", "long": "length"}.get(model, "stop")
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": finish, **({"message": message} if "messages" in body else {"text": "warm"})}
            return 200, {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": USAGE}
        if model == "broken":
            return 200, [{"choices": [{"index": 7, "delta": {"content": "x"}}]}]
        deltas = [{"content": "wa"}, {"content": "rm"}]
        if model == "calls":
            half = {"index": 0, "function": {"arguments": CALL["function"]["arguments"][5:]}}
            deltas = [{"reasoning_content": "hm"}, {"tool_calls": [{**CALL, "index": 0, "function": {"name": "weather", "arguments": CALL["function"]["arguments"][:5]}}]}, {"tool_calls": [half]}]
        if "prompt" in body:
            return 200, [{"choices": [{"index": 0, "text": "warm", "finish_reason": finish}]}, {"choices": [], "usage": USAGE}]
        chunks = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
        return 200, chunks + [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": USAGE}]


TEXT = ["plain", "calls", "long", "broken", "refuses", "backwards", "few", "name-7b"]
DRAWS = ["paints", "gif", "urls", "flux/dev"]


@pytest.fixture(scope="module")
def other():
    o = Other()
    yield o
    o.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, other):
    models = [{"name": n, "input": 1, "output": 2} for n in TEXT] + [{"name": n, "kind": "image", "per_picture": 0.01} for n in DRAWS]
    s = serve(tmp_path_factory.mktemp("relayed"), place("other", other.url, *models))
    yield s
    s.stop()


# ---- Anthropic's messages ----

TOOLS = [{"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]


def ask(server, model="plain", **fields):
    return server.post("/v1/messages", {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **fields}, headers={"anthropic-version": "2023-06-01"})


def test_messages(server, other):
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}}
    r = ask(server, system="Be brief.", messages=[{"role": "user", "content": [{"type": "text", "text": "what is it?"}, picture]}], temperature=0.5, top_k=3, stop_sequences=["x"])
    assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "other", r.text
    assert r.json()["content"] == [{"type": "text", "text": "warm"}] and r.json()["stop_reason"] == "end_turn" and r.json()["model"] == "plain"
    assert r.json()["usage"]["input_tokens"] == 7 and r.json()["usage"]["cache_read_input_tokens"] == 4 and r.json()["usage"]["output_tokens"] == 5
    path, body = other.last()
    assert path == "/v1/chat/completions"
    assert {k: body[k] for k in ("max_tokens", "temperature", "top_k", "stop", "stream")} == {"max_tokens": 50, "temperature": 0.5, "top_k": 3, "stop": ["x"], "stream": False}
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    text, shown = body["messages"][1]["content"]
    assert text == {"type": "text", "text": "what is it?"}
    assert base64.b64decode(shown["image_url"]["url"].removeprefix("data:image/png;base64,")) == png()


def test_messages_that_call(server, other):
    r = ask(server, "calls", tools=TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True}).json()
    assert [b["type"] for b in r["content"]] == ["thinking", "tool_use"] and r["stop_reason"] == "tool_use"
    assert r["content"][1]["input"] == {"city": "Oslo"} and r["content"][1]["id"] == "call_7"
    body = other.last()[1]
    assert body["tools"][0]["function"]["name"] == "weather" and body["tools"][0]["function"]["parameters"] == TOOLS[0]["input_schema"]
    assert body["tool_choice"] == "required" and body["parallel_tool_calls"] is False


def test_messages_as_a_stream(server, other):
    import anthropic

    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=PATIENCE)
    question = {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    with client.messages.stream(model="plain", **question) as s:
        assert "".join(s.text_stream) == "warm"
        m = s.get_final_message()
    assert m.stop_reason == "end_turn" and m.usage.output_tokens == 5
    with client.messages.stream(model="calls", tools=TOOLS, **question) as s:
        m = s.get_final_message()
    assert [b.type for b in m.content] == ["thinking", "tool_use"] and m.content[1].input == {"city": "Oslo"} and m.stop_reason == "tool_use"
    with client.messages.stream(model="long", **question) as s:
        assert s.get_final_message().stop_reason == "max_tokens"
    assert other.last()[1]["stream_options"] == {"include_usage": True}


def test_what_the_upstream_refuses_or_breaks(server):
    r = ask(server, "refuses")
    assert r.status_code == 400 and r.json()["type"] == "error" and "temperature is too hot" in r.json()["error"]["message"]
    r = ask(server, "broken", stream=True)
    last = r.text.strip().split("\n\n")[-1]
    assert last.startswith("event: error") and "choice that was not asked for" in last


# ---- Responses ----


def test_responses(server, other):
    r = server.post("/v1/responses", {"model": "plain", "input": "hi", "instructions": "Be brief.", "max_output_tokens": 20}).json()
    assert r["status"] == "completed" and r["output"][0]["content"][0]["text"] == "warm" and r["usage"]["total_tokens"] == 16
    assert other.last()[1]["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}] and other.last()[1]["max_tokens"] == 20
    again = server.post("/v1/responses", {"model": "plain", "input": "and?", "previous_response_id": r["id"]}).json()
    assert again["status"] == "completed" and [m["role"] for m in other.last()[1]["messages"]] == ["user", "assistant", "user"]


def test_responses_as_a_stream(server):
    import openai

    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
    tools = [{"type": "function", "name": "weather", "parameters": TOOLS[0]["input_schema"], "strict": False}]
    with client.responses.stream(model="calls", input="hi", tools=tools) as s:
        kinds = [e.type for e in s]
        final = s.get_final_response()
    call = next(o for o in final.output if o.type == "function_call")
    assert json.loads(call.arguments) == {"city": "Oslo"} and "response.function_call_arguments.done" in kinds and final.usage.output_tokens == 5


# ---- Ollama ----


def test_ollama_chat(server, other):
    body = {"model": "name:7b", "messages": [{"role": "user", "content": "hi"}], "options": {"num_predict": 9, "seed": 3}}
    r = server.post("/api/chat", {**body, "stream": False})
    assert r.headers["X-Hearth-Route"] == "other" and r.json()["message"]["content"] == "warm", r.text
    assert r.json()["model"] == "name:7b" and r.json()["eval_count"] == 5 and r.json()["prompt_eval_count"] == 11 and r.json()["done_reason"] == "stop"
    sent = other.last()[1]
    assert sent["model"] == "name-7b" and sent["max_tokens"] == 9 and sent["seed"] == 3 and sent["top_k"] == 40 and sent["temperature"] == 0.8
    lines = [json.loads(line) for line in server.post("/api/chat", body).text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "warm" and lines[-1]["done"] and lines[-1]["eval_count"] == 5


def test_ollama_generate(server, other):
    r = server.post("/api/generate", {"model": "plain", "prompt": "hi", "stream": False}).json()
    assert r["response"] == "warm" and other.last()[1]["messages"] == [{"role": "user", "content": "hi"}]
    r = server.post("/api/generate", {"model": "plain", "prompt": "<raw>", "raw": True}).text.splitlines()
    assert json.loads(r[0])["response"] == "warm" and json.loads(r[-1])["eval_count"] == 5
    assert other.last()[0] == "/v1/completions" and other.last()[1]["prompt"] == "<raw>"
    assert server.post("/api/generate", {"model": "plain"}).json()["done_reason"] == "load"  # nothing to load here


def test_ollama_embeddings(server, other):
    r = server.post("/api/embed", {"model": "backwards", "input": ["a", "b"]}).json()
    assert len(r["embeddings"]) == 2 and r["prompt_eval_count"] == 6
    first, second = r["embeddings"]
    assert first == pytest.approx([0.6, 0.8, 0]) and second == pytest.approx([3 / 26**0.5, 4 / 26**0.5, 1 / 26**0.5])
    assert other.last()[1] == {"model": "backwards", "input": ["a", "b"], "encoding_format": "float"}
    older = server.post("/api/embeddings", {"model": "plain", "prompt": "a"}).json()["embedding"]
    assert [x / older[0] for x in older] == pytest.approx([1, 4 / 3, 0])
    r = server.post("/api/embed", {"model": "few", "input": ["a", "b"]})
    assert r.status_code == 502 and "vector for each text" in r.json()["error"]
    r = server.post("/v1/embeddings", {"model": "plain", "input": "a"})  # as it comes
    assert r.json()["data"][0]["embedding"] == [3.0, 4.0, 0.0]


# ---- the guides' servers ----


def test_express_chat(server, other):
    r = server.post("/api/chat", {"message": "hi", "model": "plain"})
    assert r.json() == {"response": "warm"} and r.headers["X-Hearth-Route"] == "other"
    r = server.post("/api/chat", {"message": "hi", "model": "refuses"})
    assert r.status_code == 500 and r.json() == {"error": "Internal server error"}


def test_express_pictures(server, other):
    r = server.post("/api/generate", {"prompt": "a cat", "model": "paints", "steps": 4, "n": 2, "size": "1024x1024"})
    assert r.status_code == 200, r.text
    assert [i["format"] for i in r.json()["images"]] == ["jpeg", "jpeg"]
    picture = Image.open(io.BytesIO(base64.b64decode(r.json()["images"][0]["b64_json"])))
    assert picture.format == "JPEG" and picture.size == (64, 48)
    sent = other.last()[1]
    assert other.last()[0] == "/v1/images/generations" and sent["num_inference_steps"] == 4 and sent["size"] == "1024x1024" and sent["n"] == 2 and sent["response_format"] == "b64_json"


def test_firemoon(server, other):
    r = server.post("/api/v1/flux/dev", {"prompt": "a cat", "num_images": 2, "image_size": "landscape_16_9", "seed": 7, "output_format": "png"})
    assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "other", r.text
    got = r.json()
    assert got["seed"] == 40 and [(i["width"], i["height"], i["content_type"]) for i in got["images"]] == [(64, 48, "image/png")] * 2
    assert server.get(got["images"][1]["url"].removeprefix(server.url)).content == png()
    assert other.last()[1]["seed"] == 7 and other.last()[1]["model"] == "flux/dev"
    r = server.post("/api/v1/flux/dev", {"prompt": "a cat", "enable_safety_checker": False})
    assert r.status_code == 400 and "another server serves this model" in r.text


# ---- pictures of OpenAI's API that do not pass as they are ----


def test_an_edit_and_a_variation(server, other):
    mask = io.BytesIO()
    half = Image.new("RGBA", (64, 48), (0, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 0, 32, 48))
    half.save(mask, "PNG")
    files = {"image": ("a.png", png(), "image/png"), "mask": ("m.png", mask.getvalue(), "image/png")}
    r = requests.post(server.url + "/v1/images/edits", data={"model": "paints", "prompt": "a hat", "n": "2", "response_format": "b64_json"}, files=files, timeout=PATIENCE)
    assert r.status_code == 200 and len(r.json()["data"]) == 2, r.text
    path, form = other.last()
    assert path == "/v1/images/edits" and form["model"] == b"paints" and form["prompt"] == b"a hat" and form["n"] == b"2"
    assert Image.open(io.BytesIO(form["image"])).convert("RGB").tobytes() == Image.open(io.BytesIO(png())).tobytes()
    alpha = Image.open(io.BytesIO(form["mask"])).getchannel("A")
    assert alpha.getpixel((3, 3)) == 0 and alpha.getpixel((60, 40)) == 255
    r = requests.post(server.url + "/v1/images/variations", data={"model": "paints", "response_format": "b64_json"}, files={"image": ("a.png", png(), "image/png")}, timeout=PATIENCE)
    assert r.status_code == 200 and other.last()[0] == "/v1/images/variations" and "prompt" not in other.last()[1]
    r = requests.post(server.url + "/v1/images/edits", data={"model": "paints", "prompt": "more", "expand_left": "64"}, files={"image": ("a.png", png(), "image/png")}, timeout=PATIENCE)
    assert r.status_code == 400 and r.json()["error"]["param"] == "expand_left"


def test_a_stream_of_pictures(server, other):
    r = server.post("/v1/images/generations", {"model": "paints", "prompt": "a cat", "n": 2, "stream": True, "quality": "hd"})
    got = events(r)
    assert [e["type"] for e in got] == ["image_generation.completed"] * 2 and base64.b64decode(got[1]["b64_json"]) == png()
    assert other.last()[1]["quality"] == "hd" and "num_inference_steps" not in other.last()[1] and "stream" not in other.last()[1]
    for model, why in (("gif", "picture"), ("urls", "b64_json")):
        r = server.post("/v1/images/generations", {"model": model, "prompt": "a cat", "stream": True})
        assert r.status_code == 502 and why in r.json()["error"]["message"]


def test_two_apis_of_fireworks(server, other):
    r = server.post("/inference/v1/workflows/accounts/fireworks/models/paints/text_to_image", {"prompt": "a cat", "aspect_ratio": "16:9", "seed": 5}, headers={"Accept": "image/png"})
    assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "other", r.text
    w, h = map(int, other.last()[1]["size"].split("x"))
    assert abs(w / h - 16 / 9) < 0.05 and other.last()[1]["seed"] == 5


# ---- the books ----


def test_the_ledger_names_the_route(tmp_path, other):
    store = str(tmp_path / "s.db")
    key, _ = new_key(store, "--name", "k")
    routed = [{"model": MODEL, "to": [{"at": "dead"}, {"at": "here"}]}]
    s = serve(tmp_path, place("other", other.url, {"name": "plain", "input": 1, "output": 2}), place("dead", "http://127.0.0.1:1/v1", {"name": MODEL}), routed=routed, models=MODELS, args=("--store", store))
    try:
        auth = {"Authorization": f"Bearer {key}"}
        said = s.post("/v1/messages", {"model": "plain", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}, headers=auth)
        assert said.status_code == 200
        chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        passed = s.post("/v1/chat/completions", {"model": "plain", **chat}, headers=auth)
        assert passed.headers["X-Hearth-Route"] == "other" and passed.headers["X-Hearth-Cost"]
        assert s.post("/v1/chat/completions", {"model": MODEL, **chat}, headers=auth).headers["X-Hearth-Route"] == "here"
        assert s.get("/admin/v1/usage?by=route", headers=auth).status_code == 403
        assert s.post("/api/embed", {"model": "nobody", "input": "x"}, headers=auth).status_code == 404
    finally:
        s.stop()
    rows = [json.loads(line) for line in hearth("ledger", "export", "--store", store).stdout.splitlines()]
    assert [(r["model"], r["route"]) for r in rows] == [("plain", "other"), ("plain", "other"), (MODEL, "here"), ("", "")]
    assert rows[0]["cost"] == rows[1]["cost"] == 11 * 1000 + 5 * 2000  # nano-dollars, by the upstream's price
    assert "whole: 4 rows" in hearth("ledger", "verify", "--store", store).stdout
    lines = [json.loads(line) for line in hearth("usage", "--by", "route", "--format", "json", "--store", store).stdout.splitlines()]
    assert {(x["route"], x["requests"]) for x in lines} == {("", 1), ("here", 1), ("other", 2)}


# ---- here or there ----


def test_one_that_is_here_too(tmp_path, other):
    """The route says who is asked: this server answers in the same form when the other one cannot."""
    dead = place("dead", "http://127.0.0.1:1/v1", {"name": MODEL})
    routed = [{"model": MODEL, "to": [{"at": "dead"}, {"at": "here"}]}]
    s = serve(tmp_path, dead, routed=routed, models=MODELS)
    try:
        r = ask(s, MODEL, temperature=0)
        assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "here" and r.json()["usage"]["output_tokens"] > 0
        r = s.post("/api/chat", {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": False, "options": {"num_predict": 4}})
        assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "here" and r.json()["eval_count"] == 4
    finally:
        s.stop()


# ---- what may be said ----

POLICY = """words:
  default: own
  lists:
    - { name: mine, words: [warm, warm front] }
  policies:
    - { name: own, refuse: [mine], answers: true }
"""


def test_answers_are_filtered(tmp_path, other):
    """Whole and as streams, in every API: nothing of a refused word is told, and the choice ends with that."""
    built_in = (ROOT / "catalog/safety.yaml").read_text()
    (tmp_path / "safety.yaml").write_text(built_in[: built_in.index("\nwords:") + 1] + POLICY)
    s = serve(tmp_path, place("other", other.url, *({"name": n} for n in TEXT)), args=("--safety", str(tmp_path / "safety.yaml")))
    question = {"model": "plain", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    try:
        for path in ("/v1/chat/completions", "/inference/v1/chat/completions"):
            r = s.post(path, question)
            assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "other", r.text
            choice = r.json()["choices"][0]
            assert choice["finish_reason"] == "content_filter" and choice["message"]["content"] == "" and r.json()["usage"]["total_tokens"] == 16
            got = events(s.post(path, {**question, "stream": True}))
            text = "".join(c["delta"].get("content") or "" for e in got for c in e["choices"])
            assert text == "" and [c["finish_reason"] for e in got for c in e["choices"]][-1] == "content_filter"
        assert s.post("/v1/completions", {"model": "plain", "prompt": "x"}).json()["choices"][0]["finish_reason"] == "content_filter"
        r = s.post("/v1/messages", question).json()
        assert r["content"] == [] and r["stop_reason"] == "refusal", r
        lines = s.post("/api/chat", {k: question[k] for k in ("model", "messages")}).text.splitlines()
        assert "warm" not in "".join(lines) and json.loads(lines[-1])["done"], lines
        calls = s.post("/v1/chat/completions", {**question, "model": "calls"}).json()["choices"][0]
        assert calls["finish_reason"] == "tool_calls" and calls["message"]["tool_calls"][0]["function"]["name"] == "weather"
        r = s.post("/v1/chat/completions", {**question, "logprobs": True})
        assert r.status_code == 400 and r.json()["error"]["param"] == "logprobs"
    finally:
        s.stop()


# ---- no room here ----


@pytest.mark.parametrize("spill_at, args", [(1, ()), (1000, ("--queue-limit", "1"))])
def test_a_busy_model_spills(tmp_path, other, spill_at, args):
    """So many wait, or the queue is full: those who come then are asked elsewhere, and who has begun stays."""
    routed = [{"model": MODEL, "spill_at": spill_at, "to": [{"at": "here"}, {"at": "other"}]}]
    store = str(tmp_path / "s.db")
    key, _ = new_key(store, "--budget", "total=1")
    s = serve(tmp_path, place("other", other.url, {"name": MODEL, "theirs": "plain", "input": 1, "output": 2}), routed=routed, models=MODELS, args=("--max-batch", "1", "--store", store, *args))
    auth = {"Authorization": f"Bearer {key}"}
    question = {"messages": [{"role": "user", "content": "Count."}], "model": MODEL}
    long = {**question, "max_tokens": 7000, "ignore_eos": True, "stream": True}
    try:
        first = requests.post(s.url + "/v1/chat/completions", json=long, headers=auth, stream=True, timeout=PATIENCE)
        lines = first.iter_lines()
        next(lines)
        assert first.headers["X-Hearth-Route"] == "here"
        threads = [threading.Thread(target=lambda: waiting.append(requests.post(s.url + "/v1/chat/completions", json=long, headers=auth, stream=True, timeout=PATIENCE)), daemon=True)]
        waiting = []
        threads[0].start()
        metric = lambda name: sum(float(x.split()[-1]) for x in s.get("/metrics", headers=auth).text.splitlines() if x.startswith(name + "{"))
        s.wait_until(lambda: metric("hearth_queue") == 1, "nobody waits")
        for path, body, said in (
            ("/v1/chat/completions", {**question, "max_tokens": 5}, lambda r: r["choices"][0]["message"]["content"]),
            ("/v1/messages", {**question, "max_tokens": 5}, lambda r: r["content"][0]["text"]),
            ("/api/chat", {**question, "stream": False}, lambda r: r["message"]["content"]),
        ):
            r = s.post(path, body, headers=auth)
            assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "other" and said(r.json()) == "warm", (path, r.text)
        if spill_at > 1:  # what the other one cannot be asked is told as it is
            r = s.post("/v1/chat/completions", {**question, "max_tokens": 5, "raw_output": True}, headers=auth)
            assert r.status_code == 429, r.text
        first.close()
        threads[0].join(PATIENCE)
        assert waiting[0].headers["X-Hearth-Route"] == "here"
        waiting[0].close()
        s.wait_until(lambda: not (metric("hearth_running") or metric("hearth_queue")), "requests still hold their slots")
        assert s.post("/v1/chat/completions", {**question, "max_tokens": 2}, headers=auth).headers["X-Hearth-Route"] == "here"
    finally:
        s.stop()
    with sqlite3.connect(store) as db:
        assert db.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
        assert db.execute("SELECT reserved FROM spending").fetchall() == [(0,)]
        assert db.execute("SELECT sum(cost) FROM ledger WHERE route = 'other'").fetchone() == (3 * (11 * 1000 + 5 * 2000),)
