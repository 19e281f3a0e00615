"""What carries a server in its place: the access log, and what a hang-up signal makes it look at again."""
import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import sqlite3
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


# ---- metrics ----------------------------------------------------------------------------------------------------------


def parse_metrics(text):
    """The exposition format, as strictly as promtool is about names: returns {name of a metric: (type, {labels: value})}."""
    metrics, seen = {}, set()
    name = kind = None
    for line in text.splitlines():
        if m := re.fullmatch(r"# HELP (\w+) (.+)", line):
            name, kind = m[1], None
            assert name not in metrics and name.startswith("hearth_") and m[2].endswith("."), line
            metrics[name] = (None, {})
        elif m := re.fullmatch(r"# TYPE (\w+) (counter|gauge|histogram)", line):
            assert m[1] == name and kind is None, line
            kind = m[2]
            assert (kind == "counter") == name.endswith("_total"), line
            assert not re.search(r"_(ms|us|milliseconds|minutes|kb|mb)(_|$)", name), "base units alone"
            metrics[name] = (kind, {})
        else:
            m = re.fullmatch(r'(\w+)(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+|NaN|\+Inf)', line)
            assert m and kind, line
            suffix = m[1].removeprefix(name)
            assert suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",)), line
            assert (m[1], m[2]) not in seen, f"twice: {line}"
            seen.add((m[1], m[2]))
            metrics[name][1][(suffix, m[2])] = float(m[3])
    for name, (kind, values) in metrics.items():
        if kind == "histogram":
            buckets = [v for (suffix, _), v in values.items() if suffix == "_bucket"]
            assert buckets == sorted(buckets) and buckets[-1] == values[("_bucket", '{le="+Inf"}')] == values[("_count", None)], name
    return metrics


def hearth(*args):
    return subprocess.run([BIN, *map(str, args)], check=True, capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE).stdout


def test_metrics_of_all_of_it(tmp_path):
    store = tmp_path / "account.db"
    key = hearth("keys", "new", "--store", store, "--name", "one", "--limit", "requests/day=2").strip()
    prices = tmp_path / "prices.yaml"
    prices.write_text("prices:\n  - { model: accounts/local/models/chat, input: 1, output: 2 }\n")
    server = tiny("--store", str(store), "--metrics-per-key", "--prices", str(prices), "--access-log", str(tmp_path / "log"))
    with_key = {"Authorization": f"Bearer {key}"}
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    first = server.post("/v1/chat/completions", body, headers=with_key)
    assert first.status_code == 200
    server.post("/v1/chat/completions", body | {"nonsense": 1}, headers=with_key)
    assert server.post("/v1/chat/completions", body, headers=with_key).status_code == 429
    assert server.get("/v1/models").status_code == 401
    read = lambda: parse_metrics(server.get("/metrics", headers=AUTH).text)
    server.wait_until(lambda: read()["hearth_store_written_total"][1][("", None)] >= 2, "the rows were not written")
    m = read()
    reasons = m["hearth_faults_total"][1]
    assert all(reasons[("", f'{{reason="{x}"}}')] == 1 for x in ("limit", "key", "invalid")), reasons
    assert m["hearth_store_up"][1][("", None)] == 1 and m["hearth_store_failures_total"][1][("", None)] == 0
    assert m["hearth_store_commit_seconds"][1][("_count", None)] >= 1
    of_key = {name: [v for (_, labels), v in m[name][1].items() if KEY not in labels and key not in labels] for name in m if name.startswith("hearth_key_")}
    assert of_key["hearth_key_requests_total"] == [2]
    usage = first.json()["usage"]
    assert of_key["hearth_key_prompt_tokens_total"] == [usage["prompt_tokens"]]
    assert of_key["hearth_key_cost_dollars_total"] == [pytest.approx((usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1e6, abs=1e-12)]
    assert m["hearth_access_log_dropped_total"][1][("", None)] == 0
    # And as Prometheus's own tool reads it: no error, and nothing that it would advise against.
    checked = subprocess.run(["promtool", "check", "metrics"], input=server.get("/metrics", headers=AUTH).text, capture_output=True, text=True, timeout=PATIENCE)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    server.stop()


def test_keys_are_not_in_metrics_unless_asked_for():
    server = tiny()
    assert ask(server).status_code == 200
    assert "hearth_key_" not in server.get("/metrics", headers=AUTH).text
    parse_metrics(server.get("/metrics", headers=AUTH).text)
    server.stop()


def test_ready_names_what_is_away(tmp_path):
    """A store that another program holds: away after the first row that cannot be written, and back when it lets go."""
    store = tmp_path / "account.db"
    hearth("keys", "new", "--store", store, "--name", "one")
    server = tiny("--store", str(store))
    assert server.get("/ready").json() == {"ready": True}
    with contextlib.closing(sqlite3.connect(store, isolation_level=None, timeout=PATIENCE)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert ask(server).status_code == 200
        server.wait_until(lambda: server.get("/ready").status_code == 503, "it is not seen")
        assert server.get("/ready").json() == {"ready": False, "away": ["store"]}
        assert ask(server).status_code == 503
        assert parse_metrics(server.get("/metrics", headers=AUTH).text)["hearth_store_up"][1][("", None)] == 0
        db.execute("ROLLBACK")
    server.wait_until(lambda: server.get("/ready").json() == {"ready": True}, "it is not back")
    assert ask(server).status_code == 200
    server.stop()


# ---- a hang-up ---------------------------------------------------------------------------------------------------------


def hang_up(server):
    """Sends the signal, waits until it has done its work, and returns what it said."""
    before = sum("hang-up: done" in x for x in server.log)
    at = len(server.log)
    server.process.send_signal(signal.SIGHUP)
    server.wait_until(lambda: sum("hang-up: done" in x for x in server.log) > before, "the signal did nothing")
    return "".join(server.log[at:])


def status_of(server, key):
    return server.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_keys_and_limits_change_while_a_stream_goes_on(tmp_path):
    keys, config = tmp_path / "keys.txt", tmp_path / "config.yaml"
    old, new, flag = "old-key-0123456789", "new-key-0123456789", "flag-key-0123456789"
    keys.write_text(old + "\n")
    config.write_text(f"key-file: {keys}\nmax-batch: 4\n")
    server = Server("--config", str(config), "--keys", flag, TINY, models="/nonexistent")
    assert status_of(server, old) == status_of(server, flag) == 200 and status_of(server, new) == 401
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 400, "stream": True, "ignore_eos": True}
    with requests.post(server.url + "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {old}"}, stream=True, timeout=PATIENCE) as r:
        lines = r.iter_lines()
        next(lines)
        keys.write_text(new + "\n")
        config.write_text(f"key-file: {keys}\nmax-batch: 5\naddress-limits: requests/day=3\nlog-level: debug\n")
        said = hang_up(server)
        assert "max-batch has changed, and holds from the next start on" in said and "2 keys configured" in said
        assert status_of(server, new) == status_of(server, flag) == 200 and status_of(server, old) == 401
        assert [x for x in lines if x][-1] == b"data: [DONE]", "what ran went on"
    short = body | {"max_tokens": 1, "stream": False}
    ask_new = lambda: server.post("/v1/chat/completions", short, headers={"Authorization": f"Bearer {new}"}).status_code
    assert [ask_new() for _ in range(5)] == [200] * 3 + [429] * 2
    # What is wrong leaves everything as it was.
    config.write_text("nonsense: 1\n")
    assert "the configuration stays as it was" in hang_up(server)
    config.write_text(f"key-file: {keys}\naddress-limits: nonsense\n")
    assert "the old limits are kept" in hang_up(server)
    assert ask_new() == 429
    keys.write_text("short\n")
    assert "the old keys are kept" in hang_up(server)
    keys.unlink()
    assert "No such file" in hang_up(server) and status_of(server, new) == 200
    config.write_text(f"key-file: {keys}\n")
    keys.write_text(new + "\n")
    hang_up(server)
    assert ask_new() == 200, "no limit any more"
    server.stop()


def test_a_server_does_not_become_open(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"keys: [{KEY}]\n")
    server = Server("--config", str(config), TINY, models="/nonexistent")
    config.write_text("")
    assert "does not become open" in hang_up(server)
    assert status_of(server, KEY) == 200 and status_of(server, "nobodys-key-000") == 401
    server.stop()


def test_prices_change_for_what_comes(tmp_path):
    store, prices = tmp_path / "account.db", tmp_path / "prices.yaml"
    hearth("keys", "new", "--store", store, "--name", "one")
    price = lambda n: prices.write_text(f"prices:\n  - {{ model: accounts/local/models/chat, input: 0, output: {n} }}\n")
    price(1)
    server = tiny("--store", str(store), "--prices", str(prices))
    cost = lambda: ask(server, ignore_eos=True).json()["usage"]["cost"]
    assert cost() == pytest.approx(4e-6)
    price(3)
    hang_up(server)
    assert cost() == pytest.approx(12e-6)
    prices.write_text("prices: nonsense\n")
    assert "the old prices are kept" in hang_up(server)
    assert cost() == pytest.approx(12e-6)
    server.stop()
