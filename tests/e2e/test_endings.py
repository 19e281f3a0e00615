"""Every admitted request ends once, with all that it used, whatever happened to it."""
import json
import re
import shutil
import signal
import socket
import struct
import threading

import numpy as np
import pytest

from conftest import KEY, MODEL, PATIENCE, ROOT, Server, chat, events, http, read_all

pytestmark = pytest.mark.checked
CHAT, COMPLETIONS, DRAW = "/v1/chat/completions", "/v1/completions", "/v1/images/generations"
KINDS = ("done", "refused", "error", "timeout", "cancelled", "left")
LONG = dict(max_tokens=4000, ignore_eos=True)


def counted(server, name, end=None, route=None):
    """Sum of a counter over its labels, or of those lines that have these."""
    total = 0
    for line in server.get("/metrics").text.splitlines():
        found = re.fullmatch(re.escape(name) + r"\{([^}]*)\} (\d+)", line)
        if found and (end is None or f'end="{end}"' in found[1]) and (route is None or f'route="{route}"' in found[1]):
            total += int(found[2])
    return total


def ended(server, end=None):
    return counted(server, "hearth_ended_total", end)


def wait_ended(server, n, end=None):
    server.wait_until(lambda: ended(server, end) >= n, f"{n} requests ({end}) have not ended: {server.log[-20:]}")
    assert ended(server, end) == n


def line_of(server, request_id):
    """The one line of the log about a request."""
    server.wait_until(lambda: any(f" {request_id} " in x for x in server.log), f"nothing about {request_id}: {server.log[-20:]}")
    lines = [x for x in server.log if f" {request_id} " in x]
    assert len(lines) == 1, lines
    return lines[0]


def tokens_in(line):
    found = re.search(r"prompt (\d+) \(cached \d+\) \+ (\d+) tokens", line)
    assert found, line
    return int(found[1]), int(found[2])


def books_balance(server):
    """What ended is what was admitted, and used what the models made."""
    server.wait_idle()
    server.wait_until(lambda: ended(server) == counted(server, "hearth_admitted_total"), "an admitted request has no end, or two")
    assert counted(server, "hearth_used_completion_tokens_total") == server.metric("hearth_generated_tokens_total")
    assert ended(server) == sum(ended(server, k) for k in KINDS)


@pytest.fixture
def own():
    s = Server()
    yield s
    s.stop()


def ask_and_leave(server, name, abruptly, **fields):
    """Leaves when something is being made."""
    with server.connect() as s:
        s.sendall(http("POST", CHAT, chat("Tell a long story.", **LONG, **fields), headers=[f"X-Request-Id: {name}"]))
        if fields.get("stream"):
            got = b""
            while got.count(b"data: ") < 4 * fields.get("n", 1):  # each choice opens with one that says nothing
                got += s.recv(65536)
        else:
            server.wait_until(lambda: server.metric("hearth_running") > 0 and server.metric("hearth_generated_tokens_total") > 4, "nothing runs")
        if abruptly:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("abruptly", [True, False])
def test_who_leaves_has_used_what_was_made_for_him(own, stream, abruptly):
    ask_and_leave(own, "leaver", abruptly, stream=stream)
    wait_ended(own, 1)
    assert ended(own, "left") == 1
    line = line_of(own, "leaver")
    prompt, made = tokens_in(line)
    assert " 499 " in line and made >= 3
    assert made == counted(own, "hearth_used_completion_tokens_total", "left", "/chat/completions")
    assert prompt == counted(own, "hearth_used_prompt_tokens_total", "left")
    books_balance(own)


def test_several_choices_of_one_who_leaves(own):
    ask_and_leave(own, "many", True, stream=True, n=3)
    wait_ended(own, 1, "left")
    assert tokens_in(line_of(own, "many"))[1] >= 3
    books_balance(own)


def test_one_end_for_each(own):
    """All that can happen to a request, side by side; then the books."""
    n = {k: 0 for k in KINDS}
    used = 0

    def done(r):
        nonlocal used
        assert r.status_code == 200, r.text
        n["done"] += 1
        used += r.json()["usage"]["completion_tokens"]

    left = threading.Thread(target=lambda: [ask_and_leave(own, f"gone{i}", i % 2, stream=True) for i in range(4)])
    left.start()
    n["left"] += 4
    done(own.post(CHAT, chat()))
    done(own.post("/inference" + CHAT, chat(n=3)))
    done(own.post(COMPLETIONS, {"model": MODEL, "prompt": ["One", "Two", "Three"], "n": 2, "best_of": 3, "max_tokens": 5}))
    done(own.post(COMPLETIONS, {"model": MODEL, "prompt": "One", "echo": True, "max_tokens": 0}))
    r = own.post(CHAT, chat(stream=True, stream_options={"include_usage": True}, n=2))
    used += events(r)[-1]["usage"]["completion_tokens"]
    n["done"] += 1
    for path, body in ((CHAT, chat(temperature=9)), (CHAT, {"model": "nothing", "messages": [{"role": "user", "content": "x"}]}), (COMPLETIONS, b"{"), (CHAT, chat("x" * 200000)),
                       (DRAW, {"prompt": "x", "model": "nothing"})):
        status = own.raw(http("POST", path, body)).split()[1]
        assert status in (b"400", b"404"), status
        n["refused"] += 1
    # What was not admitted has no end: another method, an unknown path, what costs nothing.
    for request in (http("DELETE", CHAT), http("POST", "/v1/nothing", b"{}"), http("GET", "/v1/models"), http("POST", "/tokenize", {"model": MODEL, "prompt": "x"})):
        own.raw(request)
    left.join(PATIENCE)
    wait_ended(own, sum(n.values()))
    assert {k: ended(own, k) for k in KINDS} == n
    assert counted(own, "hearth_used_completion_tokens_total", "done") == used
    assert counted(own, "hearth_used_completion_tokens_total", "refused") == 0
    assert len([x for x in own.log if re.search(r"POST|completions|generations", x) and re.search(r" (200|400|404|499) [\d.]+ ms", x)]) >= sum(n.values())
    books_balance(own)


def test_time_that_is_over():
    s = Server("--run-time", "1")
    r = s.post(CHAT, chat("Tell a long story.", **LONG), headers={"X-Request-Id": "late"})
    assert r.status_code == 408
    wait_ended(s, 1, "timeout")
    assert tokens_in(line_of(s, "late"))[1] > 0 and " 408 " in line_of(s, "late")
    r = s.post(CHAT, chat("Tell a long story.", **LONG, stream=True), headers={"X-Request-Id": "late-stream"}, stream=True)
    assert "took longer" in r.text
    wait_ended(s, 2, "timeout")
    assert tokens_in(line_of(s, "late-stream"))[1] > 0
    books_balance(s)
    s.stop()


def test_a_server_that_stops_settles_first():
    """Its log is complete: one line for each request, with what was made until the end."""
    s = Server("--drain-time", "0", "--log-level", "debug")
    with s.connect() as told, s.connect() as gone:
        for name, c in (("told", told), ("gone", gone)):
            c.sendall(http("POST", CHAT, chat("Tell a long story.", **LONG, stream=True), headers=[f"X-Request-Id: {name}"]))
            got = b""
            while got.count(b"data: ") < 4:
                got += c.recv(65536)
        gone.close()
        s.process.send_signal(signal.SIGTERM)
        assert b"server is stopping" in read_all(told)
        s.stop()
    for name in ("told", "gone"):
        lines = [x for x in s.log if f" {name} " in x and " ms" in x]
        assert len(lines) == 1 and tokens_in(lines[0])[1] > 0, lines
    assert any("told ended: cancelled, chat of openai" in x for x in s.log), s.log


def test_who_asked():
    """By the key's name in the log, which is not the key."""
    s = Server("--keys", KEY, "--log-level", "debug")
    assert s.post(CHAT, chat(), headers={"Authorization": "Bearer " + KEY, "X-Request-Id": "keyed"}).status_code == 200
    assert s.post(CHAT, chat(), headers={"Authorization": "Bearer other", "X-Request-Id": "foreign"}).status_code == 401
    s.wait_log("keyed ended: done")
    line = next(x for x in s.log if "keyed ended" in x)
    assert re.search(r"asked by key_[0-9a-f]{10}$", line.strip()), line
    assert counted(s, "hearth_admitted_total") == 0  # without the key nobody reads the counters
    s.stop()
    assert not any("foreign ended" in x for x in s.log)
    assert not any(KEY in x for x in s.log)


def test_a_model_that_breaks(tmp_path):
    """An error after admission ends with what was used too."""
    shutil.copytree(ROOT / "tests/golden/lm/chat", tmp_path / "broken")
    file = tmp_path / "broken/model.safetensors"
    raw = bytearray(file.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    name = next(k for k in header if k.endswith("down_proj.weight"))
    a, b = header[name]["data_offsets"]
    raw[8 + size + a:8 + size + b] = np.full((b - a) // 4, np.nan, "f4").tobytes() if header[name]["dtype"] == "F32" else b"\xc0\x7f" * ((b - a) // 2)
    file.write_bytes(raw)
    s = Server(models=str(tmp_path))
    r = s.post(COMPLETIONS, {"model": "broken", "prompt": "x", "max_tokens": 4}, headers={"X-Request-Id": "broken"})
    assert r.status_code == 500, r.text
    wait_ended(s, 1, "error")
    assert "NaN" in line_of(s, "broken")
    books_balance(s)
    s.stop()


def test_pictures(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/tiny-flux-dev").symlink_to(ROOT / "tests/golden/pipelines/flux_dev")
    s = Server("--files", str(tmp_path / "files"), models=str(tmp_path / "models"))
    ask = {"model": "tiny-flux-dev", "prompt": "a red apple", "size": "32x32", "steps": 3, "n": 2, "response_format": "b64_json"}
    assert s.post(DRAW, ask).status_code == 200
    wait_ended(s, 1, "done")
    assert [counted(s, f"hearth_used_{x}_total", "done", "/images/generations") for x in ("pictures", "steps", "pixels")] == [2, 6, 2 * 32 * 32]
    with s.connect() as c:
        c.sendall(http("POST", DRAW, {**ask, "steps": 1000, "n": 4, "stream": True, "partial_images": 3}, headers=["X-Request-Id: painter"]))
        got = b""
        while b"partial_image" not in got:
            got += c.recv(65536)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_ended(s, 1, "left")
    steps = counted(s, "hearth_used_steps_total", "left")
    assert 0 < steps < 4000 and f"0 pictures, {steps} step" in line_of(s, "painter")
    assert s.post(DRAW, {**ask, "size": "7x7"}).status_code == 400
    wait_ended(s, 3)
    assert ended(s, "refused") == 1
    s.stop()
