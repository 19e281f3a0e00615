"""The ledger is exact: what a client has seen is in it before the client sees it, whatever ends the server."""
import sqlite3

import pytest

from conftest import MODEL, PATIENCE, Server, chat, http
from test_account import ask, hearth, new_key, rows

CHAT, COMPLETIONS, DRAW = "/v1/chat/completions", "/v1/completions", "/v1/images/generations"
FIREWORKS = "/inference/v1/chat/completions"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store, a key of it, and a server."""
    store = str(tmp_path_factory.mktemp("ledger") / "a.db")
    key, _ = new_key(store)
    s = Server("--store", store)
    yield store, key, s
    s.stop()


def written(store, request):
    """The rows of a request that are in the store at this moment."""
    c = sqlite3.connect(store, timeout=PATIENCE)
    c.row_factory = sqlite3.Row
    try:
        return [dict(x) for x in c.execute("SELECT * FROM ledger WHERE request = ?", (request,))]
    finally:
        c.close()


@pytest.mark.parametrize("path, body", [
    (CHAT, chat()),
    (COMPLETIONS, {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 3, "n": 2}),
    (DRAW, {"model": "starter-image", "prompt": "a circle", "size": "128x128", "steps": 1, "n": 2}),
    (CHAT, chat(temperature=9)),
])
def test_row_stands_before_the_answer(place, path, body):
    store, key, s = place
    name = f"plain-{path}-{len(str(body))}".replace("/", "-")
    r = s.post(path, body, headers={"Authorization": f"Bearer {key}", "X-Request-Id": name})
    if r.status_code != 200:  # tells nothing that was used, and waits for nothing
        s.wait_until(lambda: written(store, name), "a refusal has no row")
        assert [(x["how"], x["prompt"], x["status"]) for x in written(store, name)] == [("refused", 0, 400)]
        return
    [row] = written(store, name)
    assert row["how"] == "done" and row["status"] == 200
    if path == DRAW:
        assert (row["pictures"], row["steps"]) == (2, 2)
    else:
        used = r.json()["usage"]
        assert (row["prompt"], row["completion"]) == (used["prompt_tokens"], used["completion_tokens"])


@pytest.mark.parametrize("path, body, mark", [
    (CHAT, chat(stream=True, stream_options={"include_usage": True}), '"usage":{'),
    (CHAT, chat(stream=True, n=3), "[DONE]"),
    (COMPLETIONS, {"model": MODEL, "prompt": "a", "max_tokens": 3, "stream": True}, "[DONE]"),
    (FIREWORKS, chat(stream=True), '"usage":{'),  # in the chunk that ends the choice
    (DRAW, {"model": "starter-image", "prompt": "a circle", "size": "128x128", "steps": 1, "n": 2, "stream": True}, '"index":1,"created_at"'),
])
def test_row_stands_before_the_end_of_a_stream(place, path, body, mark):
    """At the moment when its reader sees the mark."""
    store, key, s = place
    name = f"stream-{path}-{len(str(body))}".replace("/", "-")
    r = s.post(path, body, headers={"Authorization": f"Bearer {key}", "X-Request-Id": name}, stream=True)
    seen = False
    for line in r.iter_lines(chunk_size=1):
        if mark in line.decode() and "partial_image" not in line.decode() and not seen:
            [row] = written(store, name)
            assert row["how"] == "done" and row["status"] == 200 and row["completion"] + row["pictures"] > 0
            seen = True
    assert seen
    assert len(written(store, name)) == 1


def test_killed_under_way(tmp_path):
    """A request that never came to its end has a row too, and what was reserved for it is free again."""
    store, prices = str(tmp_path / "a.db"), tmp_path / "prices.yaml"
    prices.write_text(f"prices:\n  - {{ model: {MODEL}, input: 2, output: 3 }}\n")
    key, name = new_key(store, "--budget", "total=100")
    s = Server("--store", store, "--prices", str(prices))
    assert ask(s, key).status_code == 200
    with s.connect() as c:
        c.sendall(http("POST", CHAT, chat("Tell a long story.", max_tokens=4000, ignore_eos=True, stream=True), headers=[f"Authorization: Bearer {key}", "X-Request-Id: cut"]))
        got = b""
        while got.count(b"data: ") < 4:
            got += c.recv(65536)
        s.process.kill()
        s.process.wait()
    assert len(rows(store)) == 1
    db = sqlite3.connect(store)
    assert db.execute("SELECT reserved > 0 FROM spending").fetchone() == (1,)
    s = Server("--store", store, "--prices", str(prices))
    s.wait_log("killed with 1 requests under way")
    done, lost = rows(store)
    assert (lost["request"], lost["how"], lost["key_id"], lost["model"], lost["status"]) == ("cut", "lost", name, MODEL, 0)
    assert lost["completion"] == lost["cost"] == 0
    assert db.execute("SELECT spent, reserved FROM spending").fetchone() == (done["cost"], 0)
    s.stop()
    s = Server("--store", store)  # found once
    s.stop()
    assert len(rows(store)) == 2
    assert "whole: 2 rows" in hearth("ledger", "verify", "--store", store).stdout


def test_store_is_away_at_the_end(tmp_path):
    """The answer is given, its row waits in memory and in the journal: it is there after kill -9 as well."""
    store = str(tmp_path / "a.db")
    key, _ = new_key(store)
    s = Server("--store", store)
    assert ask(s, key).status_code == 200
    db = sqlite3.connect(store, timeout=PATIENCE, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")  # as a full disk or a hung one would
    answer = ask(s, key)  # it was admitted before anybody knew
    assert answer.status_code == 200
    r = ask(s, key)
    assert r.status_code == 503 and int(r.headers["Retry-After"]) > 0
    s.process.kill()
    s.process.wait()
    db.execute("ROLLBACK")
    assert len(rows(store)) == 1
    s = Server("--store", store)
    ledger = rows(store)
    assert [x["how"] for x in ledger] == ["done"] * 2
    assert ledger[1]["prompt"] == answer.json()["usage"]["prompt_tokens"] and ledger[1]["completion"] == answer.json()["usage"]["completion_tokens"]
    # It comes back while the server lives: the row follows by itself.
    db.execute("BEGIN IMMEDIATE")
    assert ask(s, key).status_code == 200
    assert len(rows(store)) == 2
    db.execute("ROLLBACK")
    s.wait_until(lambda: len(rows(store)) == 3, "the row did not follow")
    s.stop()
    assert "whole: 3 rows" in hearth("ledger", "verify", "--store", store).stdout
    assert not list((tmp_path / "a.db.under-way").iterdir())
