"""What carries a server in its place: the access log, and what a hang-up signal makes it look at again."""
import datetime
import json
import os
import pathlib
import signal
import subprocess

import pytest
import requests

from conftest import BIN, KEY, PATIENCE, ROOT, Server, environment, http

pytestmark = pytest.mark.checked
TINY = str(ROOT / "tests/golden/lm/chat")  # a model of a few thousand weights
AUTH = {"Authorization": f"Bearer {KEY}"}


def tiny(*args, **kw):
    return Server("--keys", KEY, *args, TINY, models="/nonexistent", **kw)


def ask(server, **fields):
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "seed": 1, **fields}
    return server.post("/v1/chat/completions", body, headers=AUTH)


def lines(path):
    """The whole lines of a file of JSON lines."""
    text = pathlib.Path(path).read_text() if os.path.exists(path) else ""
    return [json.loads(x) for x in text.splitlines(keepends=True) if x.endswith("\n")]


def wait_line(server, path, test):
    found = []
    server.wait_until(lambda: found.extend(x for x in lines(path) if test(x)) or found, f"no such line in {path}")
    return found[0]


def test_a_line_for_every_request(tmp_path):
    path = tmp_path / "access.jsonl"
    server = tiny("--access-log", str(path))
    r = ask(server)
    assert r.status_code == 200, r.text
    line = wait_line(server, path, lambda x: x["id"] == r.headers["X-Request-Id"])
    usage = r.json()["usage"]
    assert line["method"] == "POST" and line["path"] == "/v1/chat/completions" and line["status"] == 200
    assert line["dialect"] == "openai" and line["endpoint"] == "chat" and line["model"] == r.json()["model"]
    assert line["prompt_tokens"] == usage["prompt_tokens"] and line["completion_tokens"] == usage["completion_tokens"]
    assert line["bytes"] == len(r.content) and line["end"] == "done" and line["address"] == "127.0.0.1"
    assert line["total_ms"] > 0 and line["first_ms"] > 0 and line["key"].startswith("key_")
    datetime.datetime.fromisoformat(line["time"])

    r = ask(server, stream=True)
    line = wait_line(server, path, lambda x: x["id"] == r.headers["X-Request-Id"])
    assert line["bytes"] == len(r.content) and line["end"] == "done"

    r = server.get("/v1/models", headers={"Authorization": "Bearer wrong-key-000000", "X-Request-Id": "stranger"})
    line = wait_line(server, path, lambda x: x["id"] == "stranger")
    assert line["status"] == 401 and line["end"] == "refused" and "endpoint" not in line and "invalid" in line["note"]
    server.raw(http("BREW", "/\"odd\"\\path", headers=["X-Request-Id: odd"]))
    assert wait_line(server, path, lambda x: x["id"] == "odd")["method"] == "BREW"
    assert KEY not in path.read_text() and "wrong-key" not in path.read_text()
    server.stop()
    ids = [x["id"] for x in lines(path)]
    assert len(ids) == len(set(ids))


def test_a_client_that_left_has_a_line(tmp_path):
    path = tmp_path / "access.jsonl"
    server = tiny("--access-log", str(path))
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 450, "stream": True, "ignore_eos": True}
    with requests.post(server.url + "/v1/chat/completions", json=body, headers=AUTH | {"X-Request-Id": "gone"}, stream=True, timeout=PATIENCE) as r:
        assert r.status_code == 200, r.text
        next(r.iter_lines())
    line = wait_line(server, path, lambda x: x["id"] == "gone")
    assert (line["end"], line["status"]) in (("left", 499), ("done", 200))  # a fast machine may have been done before
    server.stop()


def test_the_file_is_opened_again(tmp_path):
    path, moved = tmp_path / "access.jsonl", tmp_path / "access.jsonl.1"
    server = tiny("--access-log", str(path))
    server.get("/health", headers={"X-Request-Id": "before"})
    wait_line(server, path, lambda x: x["id"] == "before")
    path.rename(moved)
    server.process.send_signal(signal.SIGHUP)
    server.wait_log("opened again")
    server.get("/health", headers={"X-Request-Id": "after"})
    wait_line(server, path, lambda x: x["id"] == "after")
    assert [x["id"] for x in lines(moved) if x["id"] == "after"] == []
    # A file that cannot be opened: the old one is kept.
    path.rename(moved)
    path.mkdir()
    server.process.send_signal(signal.SIGHUP)
    server.wait_log("cannot be opened again")
    server.get("/health", headers={"X-Request-Id": "kept"})
    wait_line(server, moved, lambda x: x["id"] == "kept")
    server.stop()


def test_standard_output(tmp_path):
    server = tiny("--access-log", "-")
    server.get("/health", headers={"X-Request-Id": "seen"})
    server.wait_until(lambda: any('"id":"seen"' in x for x in server.banner), "no line on standard output")
    server.stop()


def test_a_file_that_cannot_be(tmp_path):
    r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", "/nonexistent", "--access-log", str(tmp_path / "no/such.log")],
                       capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert r.returncode == 1 and "access-log" in r.stderr and "No such file" in r.stderr
