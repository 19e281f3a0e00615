"""Models that other servers serve: an upstream that fails in every way, on loopback; another hearth; what is chosen, retried and paid."""
import http.server
import json
import re
import socket
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import yaml

from conftest import BIN, KEY, MODEL, MODELS, PATIENCE, ROOT, Server, chat, environment, events
from test_account import hearth, new_key
from test_routing_killed import Relay

SECRET = "sk-upstream-0123456789abcdef"
CHAT = "/v1/chat/completions"


def answer(model="theirs", text="hello", **usage):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12} | usage,
    }


def chunk(text=None, finish=None, usage=None):
    choices = [] if usage else [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": choices, "usage": usage}


def event(data):
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


GOOD = [chunk("one"), chunk(" two"), chunk(finish="stop"), chunk(usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})]


class Upstream:
    """One server whose paths begin with how it behaves: /good/chat/completions. It keeps what it was asked."""

    def __init__(self):
        self.seen, self.changed, self.closing = [], threading.Condition(), threading.Event()
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                how = self.path.split("/")[1]
                with upstream.changed:
                    turn = sum(h == how for h, *_ in upstream.seen)
                    upstream.seen.append((how, self.path, dict(self.headers), body))
                    upstream.changed.notify_all()
                try:
                    upstream.behave(self, how, turn, body)
                except OSError:
                    pass
                with upstream.changed:
                    upstream.seen.append(("end of " + how, self.path, {}, {}))
                    upstream.changed.notify_all()

            def log_message(self, *args):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *args):
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, how):
        return f"http://127.0.0.1:{self.port}/{how}"

    def count(self, how):
        with self.changed:
            return sum(h == how for h, *_ in self.seen)

    def bodies(self, how):
        with self.changed:
            return [body for h, _, _, body in self.seen if h == how]

    def wait(self, how, n):
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while sum(h == how for h, *_ in self.seen) < n:
                assert self.changed.wait(max(0, deadline - time.monotonic())), (how, self.seen)

    def close(self):
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()

    # ---- how it behaves ----

    def plain(self, to, status, data, length=None, **headers):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        to.send_response(status)
        to.send_header("Content-Type", "application/json")
        to.send_header("Content-Length", str(length or len(data)))
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(data)

    def begin(self, to):
        to.send_response(200)
        to.send_header("Content-Type", "text/event-stream")
        to.send_header("Connection", "close")
        to.end_headers()
        to.close_connection = True

    def stream(self, to, *data):
        self.begin(to)
        for d in data:
            to.wfile.write(d if isinstance(d, bytes) else event(d))

    def good(self, to, body):
        if body.get("stream"):
            self.stream(to, *GOOD, event(b"[DONE]"))
        else:
            self.plain(to, 200, answer(body["model"]))

    def behave(self, to, how, turn, body):
        how, _, arg = how.partition("-")
        if how == "good":
            self.good(to, body)
        elif how == "status":  # status-503, status-429-2: that often, then good
            status, _, times = arg.partition("-")
            if times and turn >= int(times):
                return self.good(to, body)
            self.plain(to, int(status), {"error": {"message": f"no: {SECRET} at {self.url('')} says {status}"}}, **({"Retry_After": "1"} if status == "429" else {}))
        elif how == "hang":
            self.closing.wait(PATIENCE)
            to.close_connection = True
        elif how == "still":  # after the first event
            self.stream(to, GOOD[0])
            self.closing.wait(PATIENCE)
        elif how == "closed":
            to.close_connection = True
        elif how == "cut":
            self.stream(to, *GOOD[: int(arg)])
        elif how == "short":
            self.plain(to, 200, answer(), length=10000)
            to.close_connection = True
        elif how == "ever":
            self.begin(to)
            while not self.closing.is_set():
                to.wfile.write(event(chunk("again " * 100)))
        elif how == "bytes":
            bad = json.dumps(answer(text="caf\u00e9"), ensure_ascii=False).encode("latin-1")
            if body.get("stream"):
                self.stream(to, GOOD[0], event(bad.replace(b"\n", b" ")), event(b"[DONE]"))
            else:
                self.plain(to, 200, bad)
        elif how == "half":
            half = json.dumps(answer()).encode()[:50]
            if body.get("stream"):
                self.stream(to, GOOD[0], event(half), event(b"[DONE]"))
            else:
                self.plain(to, 200, half)
        elif how == "huge":
            self.begin(to)
            for _ in range(20):
                to.wfile.write(b"data: " + b"x" * (1 << 20))
        elif how == "redirect":
            to.send_response(302)
            to.send_header("Location", self.url("good") + "/chat/completions")
            to.send_header("Content-Length", "0")
            to.end_headers()
        elif how == "error":
            self.stream(to, *([GOOD[0]] if arg else []), {"error": {"message": "it broke"}})
        elif how == "nostream":
            self.plain(to, 200, answer())
        elif how == "nodata":
            self.plain(to, 200, answer() | {"usage": None})
        else:
            raise AssertionError(how)


KEPT = []


def closed_port():
    """A port where nobody listens: it is taken, so that nobody else will."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    KEPT.append(s)
    return s.getsockname()[1]


@pytest.fixture(scope="module")
def upstream():
    u = Upstream()
    yield u
    u.close()


FAST = {"tries": 1, "breaker_failures": 1000, "backoff_s": 0.01, "connect_s": 60, "first_byte_s": 600, "between_bytes_s": 600, "whole_s": 800}


def place(name, url, *models, **settings):
    return {"name": name, "base_url": url, "models": [m if isinstance(m, dict) else {"name": m, "theirs": "theirs"} for m in models]} | FAST | settings


def routes(folder, *upstreams, routes=()):
    path = folder / "routes.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "upstreams": list(upstreams), "routes": list(routes)}))
    return str(path)


def serve(folder, *upstreams, routed=(), args=(), **kw):
    (folder / "models").mkdir(exist_ok=True)
    return Server("--routes", routes(folder, *upstreams, routes=routed), *args, **({"models": str(folder / "models")} | kw))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, upstream):
    """A model for each way to behave."""
    ways = ["good", "closed", "cut-0", "cut-2", "cut-4", "short", "bytes", "half", "huge", "redirect", "error", "error-late", "nostream", "nodata", "ever", "hang"]
    ways += [f"status-{s}" for s in (400, 401, 404, 422, 429, 500, 503, 504)]
    ups = [place(w, upstream.url(w), w) for w in ways]
    ups += [place("slow", upstream.url("hang"), "slow", first_byte_s=0.3), place("still", upstream.url("still"), "still", between_bytes_s=0.3)]
    ups += [place("whole", upstream.url("ever"), "whole", whole_s=0.7), place("nobody", f"http://127.0.0.1:{closed_port()}/v1", "nobody")]
    keys = [x for u in ups for x in ("--upstream-key", f"{u['name']}={SECRET}")]
    s = serve(tmp_path_factory.mktemp("faulty"), *ups, args=keys)
    yield s
    s.stop()


def ask(server, model, stream=False, key=None, **fields):
    return server.post(CHAT, {**chat(**fields), "model": model, "stream": stream}, headers={"Authorization": f"Bearer {key}"} if key else None)


# ---- one that works ----


def test_a_plain_answer(faulty, upstream):
    before = upstream.count("good")
    r = ask(faulty, "good", temperature=0.5, stop=["x"])
    assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "good"
    assert r.json() == answer("good")  # the client's name for it; every other byte as it came
    body, headers = upstream.bodies("good")[before], [h for how, _, h, _ in upstream.seen if how == "good"][before]
    assert body == {**chat(temperature=0.5, stop=["x"]), "model": "theirs", "stream": False}
    assert headers["Authorization"] == f"Bearer {SECRET}" and headers["X-Hearth-Hops"] == "1"
    assert headers["X-Request-Id"] == r.headers["X-Request-Id"]


def test_a_stream(faulty, upstream):
    before = upstream.count("good")
    r = ask(faulty, "good", stream=True)
    assert r.headers["X-Hearth-Route"] == "good" and r.headers["Content-Type"].startswith("text/event-stream")
    got = events(r)
    assert [e["choices"][0]["delta"].get("content") for e in got] == ["one", " two", None]
    assert all(e["model"] == "good" and "usage" not in e for e in got)
    assert upstream.bodies("good")[before]["stream_options"] == {"include_usage": True}
    asked = events(ask(faulty, "good", stream=True, stream_options={"include_usage": True}))
    assert asked[-1]["usage"]["total_tokens"] == 9 and asked[-1]["choices"] == []


def test_models_are_listed(faulty):
    rows = {m["id"]: m for m in faulty.get("/v1/models").json()["data"]}
    assert rows["good"]["owned_by"] == "good" and rows["good"]["upstream"] is True
    assert faulty.get("/v1/models/good").json() == rows["good"]
    assert faulty.get("/v1/models/none").status_code == 404


def test_other_endpoints(faulty, upstream):
    """Completions and pictures pass through as they are; what names no model of a route is none of its business."""
    assert faulty.post("/v1/completions", {"model": "good", "prompt": "x"}).json()["usage"]["total_tokens"] == 12
    assert faulty.post("/v1/images/generations", {"model": "good", "prompt": "x"}).status_code == 200
    assert "/good/images/generations" in [path for _, path, _, _ in upstream.seen]
    assert faulty.post(CHAT, chat()).status_code == 404
    assert faulty.post(CHAT, {"model": "good", "messages": 7}).status_code == 200  # the upstream's to judge
    bad = requests.post(faulty.url + CHAT, data=b'{"model": "good", ', timeout=PATIENCE)
    assert bad.status_code == 400


# ---- ones that do not ----


@pytest.mark.parametrize(
    "model, status, stream_status",
    [
        ("nobody", 502, 502),
        ("closed", 502, 502),
        ("cut-0", 502, 502),
        ("short", 502, None),
        ("bytes", 502, None),
        ("half", 502, None),
        ("huge", None, 502),
        ("redirect", 502, 502),
        ("error", 502, 502),
        ("nostream", None, 502),
        ("slow", 504, 504),
        ("status-400", 400, 400),
        ("status-422", 400, 400),
        ("status-401", 502, 502),
        ("status-404", 502, 502),
        ("status-429", 503, 503),
        ("status-500", 502, 502),
        ("status-503", 503, 503),
        ("status-504", 504, 504),
    ],
)
def test_faults_before_the_first_byte(faulty, upstream, model, status, stream_status):
    """One clear error, in the client's dialect, with a status of its own also where a stream was asked for; no key and no address in it."""
    redirected = upstream.count("good")
    for stream, expected in ((False, status), (True, stream_status)):
        if not expected:
            continue
        r = ask(faulty, model, stream)
        assert r.status_code == expected, r.text
        message = r.json()["error"]["message"]
        assert "upstream" in message and SECRET not in r.text and str(upstream.port) not in r.text
        if expected == 503:
            assert int(r.headers["Retry-After"]) >= 1
    assert upstream.count("good") == redirected
    assert ask(faulty, "good").status_code == 200


@pytest.mark.parametrize("model", ["cut-2", "cut-4", "bytes", "half", "error-late", "still", "whole"])
def test_faults_after_the_first_byte(faulty, upstream, model):
    """The stream ends with an error and without [DONE]; it is not sent again."""
    how = {"whole": "ever"}.get(model, model)
    before = upstream.count(how)
    r = ask(faulty, model, stream=True)
    assert SECRET not in r.text and upstream.count(how) == before + 1
    if r.status_code == 502:  # what was wrong came together with the first event: nothing had been sent
        assert model in ("bytes", "half", "error-late")
        return
    if r.status_code == 504:  # this machine stood still for so long that not even the first event came in time
        assert model in ("still", "whole")
        return
    assert r.status_code == 200
    data = [line[6:] for line in r.text.split("\n") if line.startswith("data: ")]
    assert json.loads(data[-1])["error"]["code"] in ("bad_gateway", "gateway_timeout") and "[DONE]" not in r.text
    assert all("error" not in json.loads(d) for d in data[:-1])


def test_a_client_that_leaves_closes_the_upstream(faulty, upstream):
    for model, stream in (("ever", True), ("hang", False), ("hang", True)):
        ended, began = upstream.count("end of ever"), upstream.count(model)
        body = json.dumps({**chat(), "model": model, "stream": stream}).encode()
        s = faulty.connect()
        s.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
        upstream.wait(model, began + 1)
        if model == "ever":
            s.recv(1000)
        s.close()
        if model == "ever":
            upstream.wait("end of ever", ended + 1)
    faulty.wait_until(lambda: faulty.metric("hearth_upstream_running") == 0, "a call goes on without its client")


def test_a_reader_that_is_slow_holds_the_upstream_back(faulty, upstream):
    """Of a stream without an end no more is read than somebody takes: the server's memory does not grow."""
    with requests.post(faulty.url + CHAT, json={**chat(), "model": "ever", "stream": True}, stream=True, timeout=PATIENCE) as r:
        taken = 0
        for piece in r.iter_content(65536):
            taken += len(piece)
            if taken > 8 << 20:
                break
    faulty.wait_until(lambda: faulty.metric("hearth_upstream_running") == 0, "a call goes on without its client")
    rss = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{faulty.process.pid}/status").read())[1])
    assert rss < 400_000, rss


# ---- choice ----


def test_retries_and_fallbacks(tmp_path, upstream):
    s = serve(
        tmp_path,
        place("flaky", upstream.url("status-503-2"), "flaky", tries=3),
        place("limited", upstream.url("status-429-1"), "limited", tries=2),
        place("dead", f"http://127.0.0.1:{closed_port()}", "fallback", tries=2),
        place("other", upstream.url("good"), "fallback", {"name": "large", "theirs": "theirs"}),
        routed=[{"model": "fallback", "to": [{"at": "dead"}, {"at": "other", "model": "large"}]}],
    )
    assert ask(s, "flaky").status_code == 200 and upstream.count("status-503-2") == 3
    began = time.monotonic()
    assert ask(s, "limited", stream=True).status_code == 200
    assert time.monotonic() - began >= 1  # as its Retry-After said
    r = ask(s, "fallback")
    assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "other" and r.json()["model"] == "fallback"
    s.stop()


def test_the_breaker(tmp_path, upstream):
    s = serve(
        tmp_path,
        place("broken", upstream.url("status-500-4"), "m", breaker_failures=4, breaker_open_s=3600),
        place("back", upstream.url("status-500-5"), "n", breaker_failures=5, breaker_open_s=0.2),
    )
    for _ in range(4):
        assert ask(s, "m").status_code == 502
    r = ask(s, "m")
    assert r.status_code == 503 and 2000 < int(r.headers["Retry-After"]) <= 3600
    assert upstream.count("status-500-4") == 4  # nobody was asked
    assert s.metric("hearth_upstream_breaker") == 1
    s.wait_until(lambda: ask(s, "n").status_code == 200, "it is never tried again")
    assert upstream.count("status-500-5") == 6 and s.metric("hearth_upstream_breaker") == 1
    s.stop()


def test_no_storm_of_retries(tmp_path, upstream):
    """When an upstream goes down, what is sent again is no more than was saved, and a share of what succeeds."""
    s = serve(tmp_path, place("down", upstream.url("status-500"), "m", tries=10, backoff_s=0.01, retry_share=0.1))
    before, n = upstream.count("status-500"), 60
    with ThreadPoolExecutor(8) as pool:
        assert {r.status_code for r in pool.map(lambda _: ask(s, "m"), range(n))} == {502}
    assert n <= upstream.count("status-500") - before <= n + 10
    assert s.metric("hearth_upstream_retries_total") <= 10
    s.stop()


def test_weights_and_prices(tmp_path, upstream):
    def priced(name, price):
        return place(name, upstream.url("good"), {"name": "m", "input": price, "output": price}, {"name": "w"})

    s = serve(
        tmp_path,
        priced("dear", "3"),
        priced("cheap", "0.5"),
        routed=[
            {"model": "m", "choice": "cheapest", "to": [{"at": "dear"}, {"at": "cheap"}]},
            {"model": "w", "choice": "weighted", "to": [{"at": "dear", "weight": 1}, {"at": "cheap", "weight": 3}]},
        ],
    )
    assert {ask(s, "m").headers["X-Hearth-Route"] for _ in range(5)} == {"cheap"}
    went = [ask(s, "w").headers["X-Hearth-Route"] for _ in range(200)]
    assert 110 <= went.count("cheap") <= 185  # 150 of them; these bounds are passed once in ten million times
    s.stop()


# ---- money ----


def test_it_is_paid_by_its_own_price(tmp_path, upstream):
    store = str(tmp_path / "store.db")
    key, _ = new_key(store, "--budget", "total=1", "--scope", "model:m*")
    admin, _ = new_key(store, "--scope", "admin")
    price = {"input": "100", "output": "1000"}
    s = serve(
        tmp_path,
        place("paid", upstream.url("good"), {"name": "m", "context": 1000, **price}, {"name": "other", **price}),
        place("left", upstream.url("cut-2"), {"name": "m-cut", **price, "context": 100}),
        place("mute", upstream.url("nodata"), {"name": "m-mute", **price, "context": 100}),
        args=("--store", store),
    )
    r = ask(s, "m", key=key, max_tokens=10)
    assert r.headers["X-Hearth-Cost"] == "0.0057"  # 7 * 100 and 5 * 1000 dollars per million
    assert events(ask(s, "m", stream=True, key=key, max_tokens=10))
    assert ask(s, "m-cut", stream=True, key=key, max_tokens=10).status_code == 200
    assert ask(s, "m-mute", key=key, max_tokens=10).status_code == 200
    assert ask(s, "m", key=key, max_tokens=1000).status_code == 402  # might cost a dollar
    assert ask(s, "other", key=key).status_code == 404  # not in its scope
    admin_header = {"Authorization": f"Bearer {admin}"}
    s.wait_until(lambda: len(s.get("/admin/v1/ledger", headers=admin_header).json()["data"]) >= 6, "rows are missing")
    s.wait_until(lambda: s.get("/admin/v1/routes", headers=admin_header).json()["data"][0]["answered"] == 2, "an answer was not counted")
    r = s.get("/admin/v1/routes", headers=admin_header).json()
    paid = r["data"][0]
    assert paid["name"] == "paid" and paid["cost"] == "0.0084" and paid["breaker"] == "closed"
    assert paid["latency"]["answers"] == 2 and paid["latency"]["p99_ms"] >= paid["latency"]["p50_ms"] > 0
    assert r["routes"][0] == {"object": "route", "model": "m", "choice": "order", "to": [{"at": "here", "weight": 1.0}, {"at": "paid", "weight": 1.0}], "shadow": None}
    shown = hearth("routes", "--url", s.url, "--key", admin).stdout
    assert re.search(r"paid +closed +2 +0 +0 +0 .*0\.0084", shown) and "left" in shown
    assert s.get("/admin/v1/routes", headers={"Authorization": f"Bearer {key}"}).status_code == 403
    s.stop()
    rows = sqlite3.connect(store).execute("SELECT model, how, prompt, completion, cost FROM ledger ORDER BY seq").fetchall()
    assert rows[:2] == [("m", "done", 7, 5, 5_700_000), ("m", "done", 7, 2, 2_700_000)]
    (cut,), (mute,) = ([r[1:] for r in rows if r[0] == m] for m in ("m-cut", "m-mute"))
    assert cut[0] == "error" and cut[2] == 2  # what came until then
    assert mute[0] == "done" and mute[1] > 10 and mute[2] > 10  # guessed by its bytes


def test_a_sealed_key(tmp_path, upstream):
    store, master = str(tmp_path / "store.db"), str(tmp_path / "master")
    hearth("secrets", "init", "--master-key-file", master)
    done = subprocess.run([BIN, "secrets", "set", "east", "--store", store, "--master-key-file", master], input=SECRET, text=True, env=environment(), timeout=PATIENCE)
    assert done.returncode == 0
    s = serve(tmp_path, place("east", upstream.url("good"), "m", key="secret:east"), args=("--store", store, "--master-key-file", master, "--keys", KEY))
    assert ask(s, "m", key=KEY).status_code == 200
    assert [h for how, _, h, _ in upstream.seen if how == "good"][-1]["Authorization"] == f"Bearer {SECRET}"
    s.stop()
    assert SECRET.encode() not in (tmp_path / "store.db").read_bytes()


# ---- bad files ----


@pytest.mark.parametrize(
    "text, where, what",
    [
        ("version: 2\nupstreams: []\n", ":1:", "version"),
        ("version: 1\n", "", "upstreams"),
        ("version: 1\nupstreams:\n  - name: a\n    base_url: ftp://x\n    models: [{ name: m }]\n", ":4:", "base_url"),
        ("version: 1\nupstreams:\n  - name: here\n    base_url: http://x\n    models: [{ name: m }]\n", ":3:", "here"),
        ("version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    key: sk-123\n    models: [{ name: m }]\n", ":5:", "secret:NAME"),
        ("version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    models: [{ name: m, input: much }]\n", ":5:", "dollars"),
        ("version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    colour: red\n    models: [{ name: m }]\n", ":5:", "colour"),
        ("version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    models: [{ name: m }]\nroutes:\n  - model: m\n    to: [{ at: b }]\n", ":8:", "no upstream"),
        ("version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    models: [{ name: m }]\nroutes:\n  - model: n\n    to: [{ at: a }]\n", ":8:", "no model"),
        ("version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    models: [{ name: m }]\nroutes:\n  - model: m\n    spill_at: 2\n    to: [{ at: a }]\n", ":8:", "spill_at is for"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, text, where, what):
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    r = hearth("serve", "--listen", "127.0.0.1:0", "--models", str(tmp_path), "--routes", str(path), ok=False)
    assert f"routes.yaml{where}" in r.stderr and what in r.stderr and "sk-123" not in r.stderr


# ---- another hearth ----


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A hearth in front of another that has the model."""
    behind = Server("--keys", SECRET)
    front = serve(tmp_path_factory.mktemp("front"), place("behind", behind.url, {"name": "smol", "theirs": MODEL}), args=("--upstream-key", f"behind={SECRET}"))
    yield front, behind
    front.stop()
    behind.stop()


def same(data):
    """Without what names one answer among others."""
    return re.sub(r'"id":"[^"]*"|"created":\d+|"model":"[^"]*"', "", data)


@pytest.mark.parametrize("path", [CHAT, "/inference/v1/chat/completions"])
@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, {"n": 2, "stream": True, "logprobs": True}])
def test_the_same_bytes(pair, path, fields):
    front, behind = pair
    body = chat("Tell me a story.", seed=7, temperature=1, max_tokens=12, **fields)
    here = behind.post(path, body, headers={"Authorization": f"Bearer {SECRET}"})
    there = front.post(path, body | {"model": "smol"})
    assert here.status_code == there.status_code == 200, there.text
    if fields.get("n"):  # which of two choices comes first is nobody's promise
        assert sorted(same(there.text).split("\n")) == sorted(same(here.text).split("\n"))
    else:
        assert same(there.text) == same(here.text)
    assert there.headers["X-Hearth-Route"] == "behind"


def test_here_first(tmp_path, upstream):
    """A model that is installed is served here; elsewhere when its route says so, and here again when that fails."""
    s = serve(
        tmp_path,
        place("east", upstream.url("good"), MODEL),
        place("dead", f"http://127.0.0.1:{closed_port()}", {"name": "smollm2-135m-instruct", "theirs": "x"}),
        routed=[{"model": "smollm2-135m-instruct", "to": [{"at": "dead"}, {"at": "here"}]}],
        models=MODELS,
    )
    r = ask(s, MODEL)
    assert r.headers["X-Hearth-Route"] == "here" and r.json()["model"] == MODEL
    r = ask(s, "smollm2-135m-instruct", stream=True)
    assert r.headers["X-Hearth-Route"] == "here" and events(r)
    s.stop()


def test_a_circle_ends(tmp_path, upstream):
    """Two servers that send to each other: an error, after a few turns."""
    relay = Relay()
    s = serve(tmp_path, place("self", relay.url, {"name": "m"}))
    relay.to = s.address
    assert ask(s, "m").status_code == 502
    assert s.metric("hearth_upstream_tries_total") == 4
    s.stop()
    relay.listening.close()


# ---- shadows ----


def test_shadows_are_written_down_and_not_sent(tmp_path, upstream):
    log = tmp_path / "shadows"
    s = serve(
        tmp_path,
        place("east", upstream.url("good"), "m"),
        place("west", upstream.url("half"), {"name": "m", "theirs": "w"}),
        routed=[{"model": "m", "to": [{"at": "east"}], "shadow": {"at": "west", "share": 1}}],
        args=("--shadow-log", str(log)),
    )
    before = upstream.count("half")
    r = ask(s, "m")
    assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "east" and r.json() == answer("m")
    assert len(events(ask(s, "m", stream=True))) == 3
    s.wait_until(lambda: log.exists() and len(log.read_text().splitlines()) == 2, "the shadows were not written down")
    first = next(x for x in map(json.loads, log.read_text().splitlines()) if not x["ok"])
    assert first["route"] == "west" and first["model"] == "m" and "JSON" in first["error"]
    assert upstream.count("half") == before + 2
    assert log.stat().st_mode & 0o077 == 0
    assert s.metric("hearth_admitted_total") == 2
    s.stop()


# ---- the document ----


def test_the_examples_of_the_document(tmp_path, pair):
    """docs/routing.md: its first file serves what it says; its second one is taken as a whole."""
    files = dict(re.findall(r"```yaml (\S+)\n(.*?)```", (ROOT / "docs/routing.md").read_text(), re.S))
    _, behind = pair
    (tmp_path / "models").mkdir()
    first = tmp_path / "routes.yaml"
    first.write_text(files["routes.yaml"].replace("http://127.0.0.1:8081", behind.url))
    s = Server("--routes", str(first), "--upstream-key", f"east={SECRET}", models=str(tmp_path / "models"))
    r = ask(s, "small")
    assert r.status_code == 200 and r.headers["X-Hearth-Route"] == "east" and r.json()["usage"]["completion_tokens"] > 0
    s.stop()

    store, master = str(tmp_path / "store.db"), str(tmp_path / "master")
    hearth("secrets", "init", "--master-key-file", master)
    subprocess.run([BIN, "secrets", "set", "west", "--store", store, "--master-key-file", master], input=SECRET, text=True, env=environment(), timeout=PATIENCE, check=True)
    admin, _ = new_key(store, "--scope", "admin")
    second = tmp_path / "routed.yaml"
    second.write_text(files["routed.yaml"])
    s = Server("--routes", str(second), "--store", store, "--master-key-file", master, models=str(tmp_path / "models"))
    listed = s.get("/admin/v1/routes", headers={"Authorization": f"Bearer {admin}"}).json()
    assert [u["name"] for u in listed["data"]] == ["east", "west"]
    small = listed["routes"][0]
    assert small["choice"] == "weighted" and [t["weight"] for t in small["to"]] == [1, 3, 1] and small["shadow"] == {"at": "west", "share": 0.05}
    s.stop()
