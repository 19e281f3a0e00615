"""The ledger is exact: what a client has seen is in it before the client sees it, whatever ends the server."""
import ast
import io
import json
import pathlib
import os
import random
import re
import sqlite3
import subprocess
import threading

import PIL.Image
import pytest
import requests

from conftest import BIN, MODEL, PATIENCE, ROOT, Server, chat, environment, events, http
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


# ---- many, and killed ------------------------------------------------------------------------------------------------

TINY, TINY_PICTURES = "accounts/local/models/chat", "accounts/local/models/sdxl"
MANY = int(os.environ.get("HEARTH_LEDGER_REQUESTS", 240))  # 10000: twenty kills
KILLS = max(3, MANY // 500)
PRICES = f"prices:\n  - {{ model: {TINY}, input: 0.31, cached_input: 0.07, output: 2.13 }}\n  - {{ model: {TINY_PICTURES}, per_step: 0.0000017, per_picture: 0.000003 }}\n"


class Crowd:
    """Clients that ask one server after the other. What each was told is kept by the request's name."""

    def __init__(self, key):
        self.key, self.server, self.doomed, self.wrong = key, None, None, []
        self.lock, self.n, self.answered = threading.Lock(), 0, 0
        self.seen, self.refused, self.sent = {}, set(), set()
        self.changed = threading.Event()

    def next(self):
        with self.lock:
            self.n += 1
            return self.n if self.n <= MANY else None

    def work(self, number):
        draw = random.Random(number)
        while (i := self.next()) is not None:
            name = f"mixed-{i}"
            with self.lock:
                self.sent.add(name)
            server = self.server
            try:
                self.ask(server, name, draw)
            except (requests.RequestException, ValueError, AssertionError):
                if server is not self.doomed:
                    self.wrong.append(name)
                    raise
                while self.server is server:  # killed: the next one is on its way
                    self.changed.wait(PATIENCE)
            with self.lock:
                self.answered += 1

    def ask(self, server, name, draw):
        kind = draw.choice(("plain", "plain", "stream", "stream", "fireworks", "completions", "picture", "leave", "wrong", "nobody"))
        body = {"model": TINY, "messages": [{"role": "user", "content": f"Count to {draw.randrange(5)}."}], "max_tokens": draw.randrange(1, 12), "temperature": 1}
        path = FIREWORKS if kind == "fireworks" else COMPLETIONS if kind == "completions" else DRAW if kind == "picture" else CHAT
        if kind in ("stream", "leave", "fireworks"):
            body |= {"stream": True, "n": draw.randrange(1, 3)}
        if kind == "stream":
            body["stream_options"] = {"include_usage": True}
        if kind == "leave":
            body |= {"max_tokens": 100, "ignore_eos": True}
        if kind == "completions":
            body = {"model": TINY, "prompt": ["a", "b c"], "n": 2, "max_tokens": 3}
        if kind == "picture":
            body = {"model": TINY_PICTURES, "prompt": "a", "size": "32x32", "steps": 2, "n": draw.randrange(1, 3)}
        if kind == "wrong":
            body["temperature"] = 9
        if kind == "nobody":
            body["model"] = "nobody"
        r = server.post(path, body, headers={"Authorization": f"Bearer {self.key}", "X-Request-Id": name}, stream=True)
        if kind == "leave":
            next(r.iter_content(64))
            r.close()
            return
        text = r.text
        if r.status_code >= 400:
            assert kind in ("wrong", "nobody"), text
            with self.lock:
                self.refused.add(name)
            return
        if kind == "picture":
            told = dict(pictures=len(r.json()["data"]), steps=2 * body["n"], cost=round(float(r.headers["X-Hearth-Cost"]) * 1e9))
        else:
            answer = json.loads(text) if not body.get("stream") else [x for x in events(r) if x.get("usage")][-1]
            used = answer["usage"]
            told = dict(prompt=used["prompt_tokens"], completion=used["completion_tokens"], cost=round(used["cost"] * 1e9))
        with self.lock:
            self.seen[name] = told


def test_sum_of_rows_is_sum_of_usage(tmp_path):
    """Mixed requests, clients that leave, errors, and kill -9 at any time: what clients were told is in the ledger, to the token and the nano-dollar."""
    models, store = tmp_path / "models", str(tmp_path / "a.db")
    models.mkdir()
    for name, source in (("chat", "lm/chat"), ("sdxl", "pipelines/sdxl")):
        (models / name).symlink_to(ROOT / "tests/golden" / source)
    (tmp_path / "prices.yaml").write_text(PRICES)
    key, name = new_key(store, "--budget", "total=1000")
    crowd, draw = Crowd(key), random.Random(MANY)

    def serve():
        return Server("--store", store, "--prices", str(tmp_path / "prices.yaml"), "--ctx", "512", models=str(models))

    crowd.server = serve()
    clients = [threading.Thread(target=crowd.work, args=(i,)) for i in range(6)]
    for c in clients:
        c.start()
    for kill in range(KILLS):
        enough = MANY * (kill + 1) // (KILLS + 1) + draw.randrange(10)
        crowd.server.wait_until(lambda: crowd.answered >= enough or crowd.wrong, "nothing is answered")
        assert not crowd.wrong
        crowd.doomed = crowd.server
        crowd.server.process.kill()
        crowd.server.process.wait()
        crowd.changed.clear()
        crowd.server = serve()
        crowd.changed.set()
    for c in clients:
        c.join(PATIENCE)
    assert not crowd.wrong
    crowd.server.stop()
    assert crowd.answered == MANY and len(crowd.seen) > MANY // 3 and len(crowd.refused) > 5
    ledger = rows(store)
    by_name = {x["request"]: x for x in ledger}
    assert len(by_name) == len(ledger)  # none twice
    assert set(by_name) <= crowd.sent
    for name, told in crowd.seen.items():
        assert {k: by_name[name][k] for k in told} == told and by_name[name]["how"] == "done", (told, by_name[name])
    for name in crowd.refused:
        assert by_name[name]["how"] == "refused" and by_name[name]["cost"] == 0
    for x in ledger:
        assert x["cost"] == 310 * (x["prompt"] - x["cached"]) + 70 * x["cached"] + 2130 * x["completion"] + 1700 * x["steps"] + 3000 * x["pictures"]
        assert x["how"] in ("done", "refused", "left", "lost", "cancelled")
        assert (x["cost"] == 0) if x["how"] == "lost" else True
    assert sum(x["cost"] for x in ledger if x["request"] in crowd.seen) == sum(x["cost"] for x in crowd.seen.values())
    db = sqlite3.connect(store)
    assert db.execute("SELECT spent, reserved FROM spending").fetchone() == (sum(x["cost"] for x in ledger), 0)
    assert db.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
    assert f"whole: {len(ledger)} rows" in hearth("ledger", "verify", "--store", store).stdout
    assert not list((tmp_path / "a.db.under-way").glob("*.journal"))


def test_what_makes_an_answer_again_is_in_its_row(place):
    store, key, s = place
    name = iter(f"again-{i}" for i in range(10))

    def row(path, body, **kw):
        n = next(name)
        s.post(path, body, headers={"Authorization": f"Bearer {key}", "X-Request-Id": n}, **kw)
        s.wait_until(lambda: written(store, n), "no row")
        return written(store, n)[0]

    a, b = row(CHAT, chat(seed=-7, top_p=0.5)), row(CHAT, dict(reversed(chat(top_p=0.5, seed=-7).items())))
    assert a["seed"] == b["seed"] == "-7" and a["error"] == ""
    assert len(a["request_hash"]) == 64 and a["request_hash"] == b["request_hash"]
    assert len(a["model_hash"]) == 64 and a["model_hash"] == b["model_hash"]
    c, d = row(CHAT, chat(top_p=0.6)), row(CHAT, chat(top_p=0.6))
    assert c["request_hash"] == d["request_hash"] != a["request_hash"] and c["seed"] != d["seed"] != ""
    picture = row(DRAW, {"model": "starter-image", "prompt": "a circle", "size": "128x128", "steps": 1, "seed": 12})
    assert picture["seed"] == "12" and len(picture["model_hash"]) == 64 and picture["model_hash"] != a["model_hash"]
    wrong = row(CHAT, chat(model="nobody"))
    assert (wrong["error"], wrong["seed"], wrong["model_hash"]) == ("model_not_found", "", "") and len(wrong["request_hash"]) == 64


def test_lines_of_the_trackers(tmp_path):
    """What Python's logging and repr() write in the Fireworks guides' classes reads the same out of the ledger."""
    store = str(tmp_path / "a.db")
    (tmp_path / "prices.yaml").write_text(f"prices:\n  - {{ model: {MODEL}, input: 2, output: 3 }}\n  - {{ model: starter-image, per_step: 0.0005 }}\n")
    key, _ = new_key(store)
    live = tmp_path / "tracker.log"
    s = Server("--store", store, "--prices", str(tmp_path / "prices.yaml"), "--tracker-log", str(live))
    used = ask(s, key).json()["usage"]
    assert ask(s, key, {"model": "starter-image", "prompt": "a", "size": "128x128", "steps": 2, "n": 2, "seed": 4}, DRAW).status_code == 200
    assert ask(s, key, chat(temperature=9)).status_code == 400
    s.stop()
    lines = hearth("ledger", "export", "--lines", "tracker", "--store", store).stdout.splitlines()
    assert len(lines) == 2 and live.read_text().splitlines() == lines  # written while it ran
    r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--tracker-log", str(live)], capture_output=True, text=True, env=environment(), timeout=PATIENCE)
    assert r.returncode != 0 and "--store" in r.stderr
    read = []
    for line in lines:
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d),(\d{3}) - INFO - (\w+): (\{.*\})", line)
        assert found, line
        read.append((found[4], ast.literal_eval(found[5])))
        assert read[-1][1]["timestamp"] == f"{found[1]}T{found[2]}.{found[3]}000"
    (kind, text), (other, picture) = read
    assert kind == "COMPLETION_USAGE" and list(text) == ["timestamp", "model", "input_tokens", "output_tokens", "total_tokens", "response_time_seconds", "tokens_per_second", "estimated_cost"]
    assert (text["input_tokens"], text["output_tokens"], text["total_tokens"]) == (used["prompt_tokens"], used["completion_tokens"], used["total_tokens"])
    assert text["model"] == MODEL and round(text["estimated_cost"] * 1e9) == round(used["cost"] * 1e9) and text["tokens_per_second"] > 0
    assert other == "IMAGE_GENERATION" and list(picture) == ["timestamp", "model", "prompt_length", "parameters", "generation_time_seconds", "estimated_cost", "images_per_second"]
    assert picture["parameters"] == {"n": 2, "steps": 2, "seed": 4} and picture["estimated_cost"] == 0.002


# ---- again -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    """A server that records, of tiny models."""
    folder = tmp_path_factory.mktemp("record")
    (folder / "models").mkdir()
    for name, source in (("chat", "lm/chat"), ("sdxl", "pipelines/sdxl")):
        (folder / "models" / name).symlink_to(ROOT / "tests/golden" / source)
    store = str(folder / "a.db")
    key, _ = new_key(store)
    s = Server("--store", store, "--record", "--record-limit", "20000", models=str(folder / "models"))
    yield store, key, s
    s.stop()


def replay(place, name, status=0):
    store, key, s = place
    command = [BIN, "replay", name, "--store", store, "--url", s.url]
    r = subprocess.run(command, capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_KEY": key}, timeout=PATIENCE)
    assert r.returncode == status, r.stdout + r.stderr
    return r.stdout + r.stderr


WARM = {"model": TINY, "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 20, "temperature": 1.5}


@pytest.mark.parametrize("path, body", [
    (CHAT, WARM),
    (CHAT, WARM | {"seed": 3, "logprobs": True, "top_logprobs": 2, "n": 2}),
    (CHAT, WARM | {"stream": True, "n": 2}),
    (FIREWORKS, WARM | {"stream": True}),
    (COMPLETIONS, {"model": TINY, "prompt": ["a", "b"], "max_tokens": 9, "temperature": 1, "stream": True}),
    (DRAW, {"model": TINY_PICTURES, "prompt": "a", "size": "32x32", "steps": 2, "n": 2, "response_format": "b64_json"}),
    (DRAW, {"model": TINY_PICTURES, "prompt": "a", "size": "32x32", "steps": 2, "stream": True, "partial_images": 1}),
    ("/inference/v1/image_generation/accounts/local/models/sdxl", {"prompt": "a", "width": 32, "height": 32, "steps": 2}),
])
def test_replay_gives_the_same_bytes(recorder, path, body):
    store, key, s = recorder
    name = f"replay-{len(path)}-{len(str(body))}"
    r = s.post(path, body, headers={"Authorization": f"Bearer {key}", "X-Request-Id": name})
    assert r.status_code == 200, r.text
    said = replay(recorder, name)
    [row] = written(store, name)
    assert said == f"same bytes: {row['answer_hash']}\n" and len(row["answer_hash"]) == 64
    assert replay(recorder, row["uid"]) == said
    # The request and the answer that were kept, without the key.
    db = sqlite3.connect(store)
    kept = db.execute("SELECT path, headers, body, answer FROM records WHERE uid = ?", (row["uid"],)).fetchone()
    assert kept[0] == path and json.loads(kept[2]) == body and key not in str(kept)
    # Another answer is told by its first difference, and a record that somebody touched by its hash.
    other = kept[3][:-3] + "!" + kept[3][-3:]
    db.execute("UPDATE records SET answer = ? WHERE uid = ?", (other, row["uid"]))
    db.execute("UPDATE ledger SET answer_hash = ? WHERE uid = ?", ("0" * 64, row["uid"]))
    db.commit()
    assert "is now" in replay(recorder, name, 3)
    db.execute("UPDATE records SET answer = ? WHERE uid = ?", (kept[3], row["uid"]))
    db.commit()
    assert "was changed" in replay(recorder, name, 3)


def replay_here(place, name, models, *more, status=0):
    """By a server of the command's own."""
    r = subprocess.run([BIN, "replay", name, "--store", place[0], "--models", str(models), *map(str, more)], capture_output=True, text=True,
                       env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert r.returncode == status, r.stdout + r.stderr
    return r.stdout + r.stderr


@pytest.mark.parametrize("path, body, golden", [
    (CHAT, WARM | {"stream": True}, "lm/chat"),
    ("/inference/v1/image_generation/accounts/local/models/sdxl", {"prompt": "a", "width": 32, "height": 32, "steps": 1}, "pipelines/sdxl"),
])
def test_replay_without_a_server(recorder, tmp_path, path, body, golden):
    store, key, s = recorder
    name = f"alone-{len(path)}"
    r = s.post(path, body, headers={"Authorization": f"Bearer {key}", "X-Request-Id": name})
    assert r.status_code == 200, r.text
    [row] = written(store, name)
    same = f"same bytes: {row['answer_hash']}\n"
    assert replay_here(recorder, name, pathlib.Path(store).parent / "models") == same
    # Not installed: the files are named, and may lie under another name; others are not taken for them.
    none = pathlib.Path(store).parent / "none"  # beside it is what pictures are signed with
    none.mkdir(exist_ok=True)
    (tmp_path / "kept elsewhere").symlink_to(ROOT / "tests/golden" / golden)
    assert "--model names them" in replay_here(recorder, name, none, status=1)
    assert replay_here(recorder, name, none, "--model", tmp_path / "kept elsewhere") == same
    assert "other files than those that answered" in replay_here(recorder, name, none, "--model", ROOT / "tests/golden/lm/llama3", status=1)
    assert "--url" in replay_here(recorder, name, none, "--model", "x", "--url", s.url, status=2)


def test_a_form_is_replayed(recorder):
    store, key, s = recorder
    picture = io.BytesIO()
    PIL.Image.new("RGB", (32, 32), "red").save(picture, "PNG")
    r = requests.post(s.url + "/v1/images/edits", files={"image": ("a.png", picture.getvalue(), "image/png")}, data={"prompt": "a", "model": TINY_PICTURES, "steps": "2", "response_format": "b64_json"},
                      headers={"Authorization": f"Bearer {key}", "X-Request-Id": "form"}, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    assert "same bytes" in replay(recorder, "form")


def test_what_cannot_be_replayed_says_why(recorder):
    store, key, s = recorder
    s.post(CHAT, WARM | {"messages": [{"role": "user", "content": "x" * 30000}], "max_tokens": 1}, headers={"Authorization": f"Bearer {key}", "X-Request-Id": "long"})
    s.post(CHAT, WARM | {"temperature": 9}, headers={"Authorization": f"Bearer {key}", "X-Request-Id": "wrong"})
    s.wait_until(lambda: written(store, "long") and written(store, "wrong"), "no row")
    assert "not recorded" in replay(recorder, "long", 1) and "not recorded" in replay(recorder, "wrong", 1)
    assert "no row" in replay(recorder, "nobody", 1)
    assert "say which request" in hearth("replay", "--store", store, ok=False).stderr
    assert "--store" in hearth("replay", "x", ok=False).stderr
