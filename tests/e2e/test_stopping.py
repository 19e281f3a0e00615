"""The end waits for nobody, and no timer ends what it does not measure."""
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import BIN, KEY, MODEL, MODELS, PATIENCE, ROOT, Server, chat, http, read_all

pytestmark = pytest.mark.checked
CHAT = "/v1/chat/completions"
LONG = dict(max_tokens=8000, ignore_eos=True)


def ends(server, seconds=PATIENCE):
    """Asked to stop, it does: what is waited for is the end, the limit is only for a machine that is busy."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(seconds) == 0, "".join(server.log[-50:])


def until(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def with_template(folder, template):
    """A folder of models with one that has this chat template."""
    shutil.copytree(ROOT / "tests/golden/lm/chat", folder / "slow")
    config = json.loads((folder / "slow/tokenizer_config.json").read_text())
    (folder / "slow/tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return str(folder)


def test_request_time_is_the_time_of_sending():
    """Replies that take longer than a request may take to come are whole, pipelined requests behind them too."""
    s = Server("--request-time", "1", "--idle-time", "1")
    began = time.monotonic()
    assert s.post(CHAT, chat(max_tokens=16, ignore_eos=True)).status_code == 200
    rate = 16 / (time.monotonic() - began)
    body = chat("Tell a long story.", max_tokens=max(16, min(4000, int(3 * rate))), ignore_eos=True)  # some three seconds, checked builds too
    r = s.raw(http("POST", CHAT, {**body, "stream": True}, close=False) + http("POST", CHAT, body, close=False) + http("GET", "/health"))
    assert r.count(b"HTTP/1.1 200 OK") == 3 and b"[DONE]" in r and r.endswith(b'"service":"image-generation"}')
    assert not any("closed:" in x for x in s.log)
    s.stop()


def test_a_request_that_does_not_come_is_named():
    s = Server("--request-time", "1", "--idle-time", "100")
    with s.connect() as c:
        c.sendall(http("POST", CHAT, b"x" * 100)[:-50])
        assert read_all(c) == b""
    until(lambda: any("request-time" in x for x in s.log))
    s.stop()


def test_silence_ends_a_connection():
    s = Server("--idle-time", "1")
    with s.connect() as never, s.connect() as once, s.connect() as half:
        once.sendall(http("GET", "/health", close=False))
        half.sendall(b"GET /health HT")
        assert read_all(never) == b"" and read_all(half) == b"" and read_all(once).startswith(b"HTTP/1.1 200")
    s.stop()


def silent_reader(s, path=CHAT, body=None):
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    c.connect(s.address)
    c.sendall(http("POST", path, body or chat("Tell a long story.", logprobs=True, top_logprobs=5, stream=True, n=8, **LONG)))
    return c


def test_a_reader_that_does_not_read_is_named_and_left():
    s = Server("--read-time", "1")
    c = silent_reader(s)
    until(lambda: any("read-time" in x for x in s.log))
    s.wait_idle()
    c.close()
    s.stop()


def test_pipelining_without_reading_ends_too():
    s = Server("--read-time", "1", "--idle-time", "1", "--request-time", "1")
    c = s.connect()
    c.setblocking(False)
    sent = 0
    try:
        while sent < 20_000_000:
            sent += c.send(http("GET", "/metrics", close=False) * 50)
    except BlockingIOError:
        pass
    until(lambda: any("read-time" in x for x in s.log))
    c.close()
    s.stop()


def test_run_time_begins_when_the_request_is_whole():
    s = Server("--run-time", "4")
    raw = http("POST", "/tokenize", {"model": MODEL, "prompt": "a"})
    with s.connect() as c:
        c.sendall(raw[:-1])
        time.sleep(4.5)  # longer than the request may be worked on, which takes a millisecond
        c.sendall(raw[-1:])
        assert read_all(c).startswith(b"HTTP/1.1 200")
    s.stop()


@pytest.mark.parametrize("drain", ["0.2", "3600"])
def test_a_reader_that_does_not_read_does_not_hold_up_the_end(drain):
    s = Server("--drain-time", drain)
    c = silent_reader(s)
    until(lambda: s.metric("hearth_running") > 0)
    if drain == "3600":
        s.process.send_signal(signal.SIGTERM)
        until(lambda: any("asked to stop" in x for x in s.log))
    ends(s)  # the second signal means: now
    c.close()


def test_a_large_reply_that_is_not_read_does_not_hold_up_the_end():
    s = Server("--drain-time", "0.2")
    c = silent_reader(s, "/tokenize", {"model": MODEL, "prompt": "a b " * 400_000})
    until(lambda: s.metric("hearth_active_requests") > 0)
    ends(s)
    c.close()


def test_endless_templates_do_not_hold_up_the_end(tmp_path):
    models = with_template(tmp_path / "models", "{% for a in range(30000) %}{% for b in range(30000) %}{% for c in range(30000) %}{% endfor %}{% endfor %}{% endfor %}")
    s = Server("--drain-time", "0.2", models=models)
    sockets = [s.connect() for _ in range(4)]
    for i, c in enumerate(sockets):
        c.sendall(http("POST", CHAT, {**chat(), "model": "slow", "stream": i % 2 == 0}))
    ends(s)
    for c in sockets:
        c.close()


@pytest.mark.parametrize("text", ["word " * 2_400_000, "a" * 12_000_000, "\u4e2d" * 4_000_000])
def test_tokenising_megabytes_does_not_hold_up_the_end(text):
    s = Server("--drain-time", "0.2")
    raw = http("POST", "/tokenize", {"model": MODEL, "prompt": text})
    sockets = [s.connect() for _ in range(3)]
    for c in sockets:
        c.sendall(raw)
    until(lambda: s.metric("hearth_active_requests") >= 3)
    ends(s)
    for c in sockets:
        c.close()


def test_short_work_goes_on_beside_long_work():
    """Texts of megabytes are being tokenised on every thread that there is for them; look-ups and small chats are answered."""
    s = Server("--body-memory", "1G")
    raw = http("POST", "/tokenize", {"model": MODEL, "prompt": "a" * 12_000_000})
    sockets = [s.connect() for _ in range(4)]
    for c in sockets:
        c.sendall(raw)
    until(lambda: s.metric("hearth_active_requests") >= 4)
    done = 0
    while s.metric("hearth_active_requests") >= 3 and done < 5:
        assert s.get("/v1/models").status_code == 200
        assert s.post(CHAT, chat(max_tokens=1)).status_code == 200
        done += 1
    assert done, "they were through before anything could be asked"
    for c in sockets:
        c.close()
    s.wait_idle()
    until(lambda: s.metric("hearth_active_requests") == 0 or s.metric("hearth_active_requests") == 1)
    s.stop()


@pytest.mark.parametrize("body", [chat("word " * 2_000_000), chat("a" * 10_000_000), chat("x", messages=[{"role": "user", "content": "word " * 400_000}] * 5)])
def test_far_over_the_context_is_refused_early(server, body):
    r = server.post(CHAT, body)
    assert r.status_code == 400 and r.json()["error"]["code"] == "context_length_exceeded"
    assert "too long: more than" in r.json()["error"]["message"]
    r = server.post("/v1/completions", {"model": MODEL, "prompt": body["messages"][0]["content"]})
    assert r.status_code == 400 and r.json()["error"]["code"] == "context_length_exceeded"


def test_a_little_over_the_context_is_counted(server):
    r = server.post(CHAT, chat("word " * 10_000))
    assert r.status_code == 400 and "The prompt is too long: 10" in r.json()["error"]["message"]


def test_unfinished_requests_do_not_hold_up_the_end():
    s = Server()
    sockets = [s.connect() for _ in range(30)]
    for i, c in enumerate(sockets):
        c.sendall([b"", b"GET /he", http("POST", CHAT, b"x" * 100000)[:-1]][i % 3])
    ends(s)
    for c in sockets:
        c.close()


def test_uploads_that_end_while_it_stops():
    """Whatever moment the last byte of a body comes at, it is answered or its connection is closed, and the end is a clean one."""
    s = Server("--drain-time", "0")
    raw = http("POST", CHAT, chat(max_tokens=1))
    sockets = [s.connect() for _ in range(100)]
    for c in sockets:
        c.sendall(raw[:-1])
    s.process.send_signal(signal.SIGTERM)
    for c in sockets:
        try:
            c.sendall(raw[-1:])
        except ConnectionError:
            pass
    assert s.process.wait(PATIENCE) == 0, "".join(s.log[-20:])
    for c in sockets:
        assert read_all(c)[:12] in (b"", b"HTTP/1.1 200", b"HTTP/1.1 503")
        c.close()


def test_a_signal_while_starting():
    """Nothing is served yet, so nothing is drained."""
    p = subprocess.Popen([BIN, "serve", "--listen", "127.0.0.1:0", "--models", MODELS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    p.send_signal(signal.SIGTERM)
    assert p.wait(60) in (-signal.SIGTERM, 128 + signal.SIGTERM, 0)


def test_bodies_have_one_budget():
    """Thirty bodies of 32 MB that never end: what does not fit is refused while it comes, and what was taken is given back."""
    s = Server("--keys", KEY, "--body-memory", "64M", "--body-memory-per-address", "48M", "--max-body", "32M")
    start = http("POST", CHAT, None, ["Authorization: Bearer " + KEY, "Content-Length: 33554432"], close=False)
    resident = lambda: int(next(x for x in open(f"/proc/{s.process.pid}/status") if x.startswith("VmRSS")).split()[1]) // 1024
    before = resident()
    sockets = []
    block = b"x" * (1 << 20)
    for _ in range(30):
        c = s.connect()
        sockets.append(c)
        c.sendall(start)
        for _ in range(31):
            c.sendall(block)
    assert resident() - before < 500, "MB: the bodies alone are 930; checked builds take several times what they are asked for"
    refused = 0
    for c in sockets:  # the rest of those that were refused is read and thrown away
        c.sendall(block)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += c.recv(65536)
        refused += answer.startswith(b"HTTP/1.1 429")
        assert answer.startswith((b"HTTP/1.1 429", b"HTTP/1.1 400")), "too much at once, or not JSON"
        c.close()
    assert refused == 29
    auth = {"Authorization": "Bearer " + KEY}
    until(lambda: s.post(CHAT, {**chat(max_tokens=1), "user": "x" * 30_000_000}, headers=auth).status_code == 200)
    s.stop()


def test_budgets_that_no_body_fits_are_refused():
    for args in (("--body-memory", "16M"), ("--body-memory-per-address", "16M"), ("--max-body", "100M", "--body-memory", "150M")):
        r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", MODELS, *args], capture_output=True, text=True, timeout=PATIENCE)
        assert r.returncode == 1 and "max-body" in r.stderr


def test_limits_that_the_machine_cannot_keep_are_refused():
    for name in ("kv-memory", "memory-limit", "body-memory"):
        r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", MODELS, "--no-preload", f"--{name}", "900T"], capture_output=True, text=True, timeout=PATIENCE)
        assert r.returncode == 2 and f"{name} is 943718400 MB, more than this machine's memory (" in r.stderr


def test_keys(tmp_path):
    keys = tmp_path / "keys"
    keys.write_bytes(b"\xef\xbb\xbf# ours\r\nfirst-key-1\r\nsecond-key-2")
    keys.chmod(0o644)
    s = Server("--key-file", str(keys), "--keys", "a-key-of-the-command-line")
    s.wait_log("can be read or written by others")
    s.wait_log("command line")
    for key in ("first-key-1", "second-key-2", "a-key-of-the-command-line"):
        assert s.get("/v1/models", headers={"Authorization": "Bearer " + key}).status_code == 200
    assert b"a-key-of" not in open(f"/proc/{s.process.pid}/cmdline", "rb").read()
    s.stop()
    for text, why in (("x\n", "could be guessed"), ("one-key two-keys\n", "one key a line"), ("", "holds no key")):
        keys.write_text(text)
        r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", MODELS, "--key-file", str(keys)], capture_output=True, text=True, timeout=PATIENCE)
        assert r.returncode == 1 and why in r.stderr


def test_more_connections_than_files():
    """At the system's limit nothing spins and nobody who is served is lost; the others are served when there is room."""
    s = Server(wrap=["bash", "-c", 'ulimit -n 96; exec "$@"', "limited"])
    s.wait_log("ulimit -n")
    sockets = [s.connect() for _ in range(150)]
    for c in sockets:
        c.sendall(http("GET", "/health", close=False))
    answered = [c for c in sockets[:20] if c.recv(100).startswith(b"HTTP/1.1 200")]
    assert len(answered) == 20 and len(os.listdir(f"/proc/{s.process.pid}/fd")) < 96
    for c in sockets[:100]:
        c.close()
    assert all(c.recv(100).startswith(b"HTTP/1.1 200") for c in sockets[100:])
    for c in sockets[100:]:
        c.close()
    assert s.post(CHAT, chat(max_tokens=1)).status_code == 200
    s.stop()
