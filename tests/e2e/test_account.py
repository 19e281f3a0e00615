"""A store of keys, and a server that asks it."""
import csv
import io
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import threading

import pytest
import requests

from conftest import BIN, KEY, MODEL, MODELS, PATIENCE, ROOT, Server, chat, environment

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("account") / "account.db")


def hearth(*args, ok=True):
    r = subprocess.run([BIN, *args], capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert (r.returncode == 0) == ok, r.stderr
    return r


def new_key(store, *args):
    """A key and its id."""
    r = hearth("keys", "new", "--store", store, *args)
    return r.stdout.strip(), r.stderr.split()[4].rstrip(";")


@pytest.fixture(scope="module")
def server(store):
    hearth("keys", "new", "--store", store, "--name", "first")
    s = Server("--store", store, "--keys", KEY)
    yield s
    s.stop()


def ask(server, key, body=None, path=CHAT):
    return server.post(path, body or chat(), headers={"Authorization": f"Bearer {key}"})


def wait_known(server, key, status=200):
    """A running server looks for changes every second."""
    server.wait_until(lambda: server.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == status, "the change was not seen")


def test_keys_come_and_go(server, store):
    assert server.get("/v1/models").status_code == 401
    key, name = new_key(store, "--name", "shop", "--project", "web", "--tag", "team=blue")
    wait_known(server, key)
    assert ask(server, key).status_code == 200
    assert ask(server, KEY).status_code == 200  # those that the server was started with go on
    assert name in hearth("keys", "list", "--store", store).stdout
    shown = hearth("keys", "show", name, "--store", store).stdout
    assert "shop" in shown and "team=blue" in shown and key not in shown and key[-4:] in shown
    other = hearth("keys", "rotate", name, "--store", store).stdout.strip()
    wait_known(server, other)
    assert ask(server, key).status_code == 401
    hearth("keys", "revoke", name, "--store", store)
    wait_known(server, other, 401)
    r = ask(server, other)
    assert r.status_code == 401 and "revoked" in r.json()["error"]["message"]


def test_audit(tmp_path):
    store = str(tmp_path / "a.db")
    _, name = new_key(store, "--name", "shop")
    hearth("keys", "rotate", name, "--store", store)
    hearth("keys", "revoke", name, "--store", store)
    acts = [json.loads(x) for x in hearth("audit", "--json", "--store", store).stdout.splitlines()]
    assert [(x["seq"], x["act"], x["target"]) for x in acts] == [(1, "key.created", name), (2, "key.rotated", name), (3, "key.revoked", name)]
    assert all(x["who"].startswith("cli:") and x["from"] == "" for x in acts)
    assert acts[0]["before"] is None and acts[0]["after"]["name"] == "shop"
    assert acts[1]["before"]["hint"] != acts[1]["after"]["hint"] and acts[2]["after"]["state"] == "revoked"
    assert "key.rotated" in hearth("audit", "--store", store).stdout
    found = hearth("audit", "verify", "--store", store).stdout.splitlines()
    assert found == ["whole: 3 rows", f"head: 3:{acts[2]['hash']}"]
    new_key(store)
    assert "whole: 4 rows" in hearth("audit", "verify", f"3:{acts[2]['hash']}", "--store", store).stdout
    db = sqlite3.connect(store, timeout=PATIENCE)
    with db:
        db.execute("UPDATE audit SET who = 'somebody' WHERE seq = 2")
    db.close()
    assert "row 2 (key.rotated" in hearth("audit", "verify", "--store", store, ok=False).stderr
    assert "verify" in hearth("audit", "check", "--store", store, ok=False).stderr


def test_what_a_key_may(server, store):
    elsewhere, _ = new_key(store, "--address", "10.0.0.0/8")
    chats, _ = new_key(store, "--scope", "endpoint:chat", "--scope", "model:smollm2-*", "--address", "127.0.0.0/8")
    pictures, last = new_key(store, "--scope", "model:flux*")
    wait_known(server, pictures)
    r = ask(server, elsewhere)
    assert r.status_code == 403 and "127.0.0.1" in r.json()["error"]["message"]
    assert ask(server, chats).status_code == 200
    r = ask(server, chats, {"model": MODEL, "prompt": "a", "max_tokens": 1}, "/v1/completions")
    assert r.status_code == 403 and "completions" in r.json()["error"]["message"]
    r = ask(server, pictures)
    assert r.status_code == 404 and r.json()["error"]["code"] == "model_not_found"
    # The health of the server is nobody's secret, whatever key comes along.
    assert requests.get(server.url + "/health", headers={"Authorization": f"Bearer {elsewhere}"}, timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize("args, words", [
    (["new", "--limit", "requests=1"], "WHAT/PERIOD=N"),
    (["new", "--address", "10.0.0.1/8"], "10.0.0.1/8"),
    (["new", "--expires", "yesterday"], "2030-12-31"),
    (["new", "--expires", "2020-01-01"], "expired already"),
    (["new", "--expires", "2030-04-31"], "2030-04-31"),
    (["show", "key_none"], "hearth keys list"),
    (["revoke"], "say what to do"),
])
def test_refusals_say_why(store, args, words):
    hearth("keys", "new", "--store", store)
    assert words in hearth("keys", *args, "--store", store, ok=False).stderr


def test_store_is_kept(store, tmp_path):
    hearth("keys", "new", "--store", store)
    assert "whole" in hearth("store", "check", "--store", store).stdout
    hearth("store", "backup", str(tmp_path / "copy.db"), "--store", store)
    assert hearth("keys", "list", "--json", "--store", str(tmp_path / "copy.db")).stdout == hearth("keys", "list", "--json", "--store", store).stdout
    assert "new file" in hearth("store", "backup", str(tmp_path / "copy.db"), "--store", store, ok=False).stderr
    assert "no store" in hearth("keys", "list", "--store", str(tmp_path / "none.db"), ok=False).stderr


def rows(store, *args):
    return [json.loads(x) for x in hearth("ledger", "export", "--store", store, *args).stdout.splitlines()]


def test_ledger_is_what_was_used(tmp_path):
    """Plain, streamed, refused and abandoned requests: one row each, whose sums are those of the answers and of the counters."""
    store, prices = str(tmp_path / "a.db"), tmp_path / "prices.yaml"
    prices.write_text(f"prices:\n  - {{ model: {MODEL}, input: 2, cached_input: 1, output: 3 }}\n")
    key, name = new_key(store, "--project", "web")
    s = Server("--store", store, "--prices", str(prices))
    prompt = completion = 0
    for i in range(6):
        r = ask(s, key, chat(f"Count to {i}.", max_tokens=4 + i))
        prompt += r.json()["usage"]["prompt_tokens"]
        completion += r.json()["usage"]["completion_tokens"]
    r = ask(s, key, chat(stream=True, stream_options={"include_usage": True}))
    used = [json.loads(x[6:]) for x in r.text.splitlines() if x.startswith("data: {")][-1]["usage"]
    prompt, completion = prompt + used["prompt_tokens"], completion + used["completion_tokens"]
    assert ask(s, key, chat(temperature=9)).status_code == 400
    assert ask(s, key, chat(model="none")).status_code == 404
    assert ask(s, "no-key-of-ours").status_code == 401  # was not admitted: no row
    s.stop()
    ledger = rows(store)
    assert [x["seq"] for x in ledger] == list(range(1, 10))
    assert sum(x["prompt"] for x in ledger) == prompt and sum(x["completion"] for x in ledger) == completion
    assert {x["key_id"] for x in ledger} == {name} and {x["project"] for x in ledger} == {"web"} and {x["address"] for x in ledger} == {"127.0.0.1"}
    # A stream ends when its last holder lets go, which may be after the next request was refused.
    assert sorted((x["status"], x["how"]) for x in ledger) == [(200, "done")] * 7 + [(400, "refused"), (404, "refused")]
    for x in ledger:
        assert x["cost"] == 2000 * (x["prompt"] - x["cached"]) + 1000 * x["cached"] + 3000 * x["completion"]
    said = hearth("ledger", "verify", "--store", store).stdout
    assert f"whole: 9 rows, {prompt} prompt tokens, {completion} generated" in said
    head = said.split("head: ")[1].strip()
    assert "whole" in hearth("ledger", "verify", head, "--store", store).stdout
    for by, first in (("key", name), ("project", "web"), ("endpoint", "chat")):
        table = list(csv.DictReader(io.StringIO(hearth("usage", "--by", by, "--format", "csv", "--store", store).stdout)))
        assert len(table) == 1 and table[0][by] == first and int(table[0]["prompt_tokens"]) == prompt
        line = json.loads(hearth("usage", "--by", by, "--format", "json", "--store", store).stdout)
        assert line[by] == first and line["requests"] == 9 and line["completion_tokens"] == completion
        assert round(float(line["dollars"]) * 1e9) == sum(x["cost"] for x in ledger)
    assert rows(store, "--until", "-1d") == [] and len(rows(store, "--since", "-1d")) == 9
    assert "2026-01-31" in hearth("usage", "--since", "soon", "--store", store, ok=False).stderr
    subprocess.run(["python3", "-c", f"import sqlite3; c = sqlite3.connect({store!r}); c.execute('UPDATE ledger SET cost = 0 WHERE seq = 3'); c.commit()"], check=True)
    assert "row 3 " in hearth("ledger", "verify", "--store", store, ok=False).stderr


def test_ledger_survives_kill(tmp_path):
    """What a client was told has a row, however the server ends; the chain goes on in the next one."""
    store = str(tmp_path / "a.db")
    key, _ = new_key(store)
    told = 0
    for round in range(3):
        s = Server("--store", store)
        answers = []

        def work():
            try:
                while True:
                    answers.append(ask(s, key, chat(max_tokens=2)).json()["usage"])
            except (requests.RequestException, ValueError):
                pass
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        s.wait_until(lambda: len(answers) > 8 + 5 * round, "nothing is answered")
        s.process.send_signal(signal.SIGKILL)
        for t in threads:
            t.join(PATIENCE)
        told += len(answers)
        ledger = rows(store)
        assert len(ledger) >= told
        assert [x["seq"] for x in ledger] == list(range(1, len(ledger) + 1))
        assert "whole" in hearth("ledger", "verify", "--store", store).stdout


def test_limits(tmp_path):
    store = str(tmp_path / "a.db")
    few, name = new_key(store, "--limit", "requests/month=3")
    tokens, _ = new_key(store, "--limit", "generated-tokens/day=10", "--limit", "prompt-tokens/day=100000")
    s = Server("--store", store, "--address-limits", "requests/day=9")
    for left in (2, 1, 0):
        r = ask(s, few, chat(max_tokens=1))
        assert r.status_code == 200 and r.headers["x-ratelimit-limit-requests"] == "3"
        assert r.headers["x-ratelimit-remaining-requests"] == str(left) and "m" in r.headers["x-ratelimit-reset-requests"]
    r = ask(s, few)
    assert r.status_code == 429 and r.json()["error"]["code"] == "rate_limit_exceeded" and f"key:{name}: 3 requests/month" in r.text
    assert 0 < int(r.headers["retry-after"]) <= 31 * 86400
    r = ask(s, few, path="/inference/v1/chat/completions")
    assert r.status_code == 429 and "rate limit exceeded, please try again later" in r.text and r.headers["x-ratelimit-remaining-requests"] == "0"
    r = s.post("/api/v1/flux/dev", {"prompt": "a"}, headers={"Authorization": f"Bearer {few}"})
    assert r.status_code == 429 and r.json()["error"] == "Rate limit exceeded" and r.headers["X-RateLimit-Remaining"] == "0"
    assert int(r.headers["X-RateLimit-Reset"]) > 1e9
    # Tokens count when they were used: the one that goes over is answered, the next is not.
    for i in range(2):
        r = ask(s, tokens, chat(max_tokens=8, ignore_eos=True), path="/inference/v1/chat/completions")
        assert r.status_code == 200 and r.headers["x-ratelimit-limit-tokens-generated"] == "10" and r.headers["x-ratelimit-limit-tokens-prompt"] == "100000"
        s.wait_until(lambda: len(rows(store)) >= 4 + i, "no row")
    r = ask(s, tokens)
    assert r.status_code == 429 and "10 generated-tokens/day" in r.text
    # Whatever the key: the address has had its nine. Those that were refused were not counted.
    codes = [ask(s, "none", chat(max_tokens=1)).status_code]
    other, _ = new_key(store)
    wait_known(s, other)
    codes += [ask(s, other, chat(max_tokens=1)).status_code for _ in range(5)]
    assert codes == [401, 200, 200, 200, 200, 429]
    s.stop()
    assert len(rows(store)) == 9  # what was refused at the door was not admitted


def test_projects_and_endpoints(tmp_path):
    """A project's keys share its limits and its budget; an address has limits at an endpoint, and needs no store for them."""
    store, prices = str(tmp_path / "a.db"), tmp_path / "prices.yaml"
    prices.write_text(f"prices:\n  - {{ model: {MODEL}, input: 10, output: 20 }}\n")
    one, _ = new_key(store, "--project", "web", "--weight", "2", "--priority", "-1")
    two, _ = new_key(store, "--project", "web", "--limit", "requests/month=1")
    assert '"weight": 2' in hearth("keys", "list", "--json", "--store", store).stdout
    hearth("projects", "set", "web", "--limit", "requests/month=3", "--budget", "total=1", "--store", store)
    s = Server("--store", store, "--prices", str(prices), "--endpoint-limits", "completions:requests/day=2")
    assert ask(s, one, chat(max_tokens=1)).headers["x-ratelimit-remaining-requests"] == "2"
    assert ask(s, two, chat(max_tokens=1)).headers["x-ratelimit-remaining-requests"] == "0"  # of its own one
    r = ask(s, two)
    assert r.status_code == 429 and "requests/month" in r.text
    # What another refused was not counted; errors say what is left too, also those that are found before a request is admitted.
    r = ask(s, one, chat(temperature=9))
    assert r.status_code == 400 and r.headers["x-ratelimit-remaining-requests"] == "0"
    r = s.get("/v1/nothing", headers={"Authorization": f"Bearer {one}"})
    assert r.status_code == 404 and r.headers["x-ratelimit-limit-requests"] == "3" and r.headers["x-ratelimit-remaining-requests"] == "0"
    r = s.post("/api/v1/flux/dev", {"prompt": "a"}, headers={"Authorization": f"Bearer {one}"})
    assert r.status_code == 429 and "project:web: 3 requests/month" in r.text
    assert r.json()["resetAt"].endswith("T00:00:00.000Z") and r.json()["resetAt"][8:10] == "01"
    shown = json.loads(hearth("projects", "show", "web", "--json", "--store", store).stdout)
    assert shown["keys"] == 2 and shown["spending"]["total"]["limit"] == "1"
    s.wait_until(lambda: len(rows(store)) == 3, "no row")
    spent = json.loads(hearth("projects", "show", "web", "--json", "--store", store).stdout)["spending"]["total"]
    assert round(float(spent["spent"]) * 1e9) == sum(x["cost"] for x in rows(store)) > 0 and spent["reserved"] == "0"
    # Less, while the server runs: nothing is left of the budget, and then no rule is.
    hearth("projects", "set", "web", "--limit", "requests/month=99", "--budget", "total=0", "--store", store)
    s.wait_until(lambda: ask(s, one, chat(max_tokens=1)).status_code == 402, "the change was not seen")
    assert "project:web" in ask(s, one, chat(max_tokens=1)).text
    hearth("projects", "rm", "web", "--store", store)
    s.wait_until(lambda: ask(s, one, chat(max_tokens=1)).status_code == 200, "the change was not seen")
    assert "hearth projects list" in hearth("projects", "rm", "web", "--store", store, ok=False).stderr
    body = {"model": MODEL, "prompt": "a", "max_tokens": 1}
    codes = [ask(s, one, body, "/v1/completions").status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    s.stop()
    s = Server("--address-limits", "requests/day=3", "--endpoint-limits", "completions:requests/day=1")
    assert [s.post("/v1/completions", body).status_code for _ in range(2)] == [200, 429]
    assert [s.post(CHAT, chat(max_tokens=1)).status_code for _ in range(3)] == [200, 200, 429]
    s.stop()


def test_budget_is_never_overspent(tmp_path):
    """Sixteen clients spend a budget: it ends with 402, never over, and the books agree."""
    store, prices = str(tmp_path / "a.db"), tmp_path / "prices.yaml"
    prices.write_text(f"prices:\n  - {{ model: {MODEL}, input: 10, output: 20 }}\n")
    key, name = new_key(store, "--budget", "total=0.02")
    soft, _ = new_key(store, "--budget", "day=0:soft")
    s = Server("--store", store, "--prices", str(prices), "--ctx", "256")
    codes, lock = [], threading.Lock()

    def work():
        while True:
            r = ask(s, key, chat(max_tokens=4))
            with lock:
                codes.append(r.status_code)
            if r.status_code != 200:
                assert r.status_code == 402 and r.json()["error"]["code"] == "insufficient_quota" and f"key:{name}" in r.text, r.text
                return
    threads = [threading.Thread(target=work) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE)
    assert codes.count(402) == 16 and codes.count(200) > 5
    r = ask(s, soft, chat(max_tokens=1))
    assert r.status_code == 200 and "budget" in r.headers["X-Hearth-Budget"]
    s.stop()
    spent = sum(x["cost"] for x in rows(store) if x["key_id"] == name)
    assert 0 < spent <= 20_000_000
    out = subprocess.run(["python3", "-c", f"import sqlite3; print(*sqlite3.connect({store!r}).execute('SELECT spent, reserved FROM spending WHERE owner = ?', ('key:{name}',)).fetchone())"],
                         capture_output=True, text=True, check=True).stdout.split()
    assert out == [str(spent), "0"]
    assert "whole" in hearth("ledger", "verify", "--store", store).stdout


def test_the_tour_of_the_documents(tmp_path):
    """The commands of docs/account.md, as they stand there but for the port."""
    page = (ROOT / "docs/account.md").read_text()
    tour = page.split("```sh\n")[1].split("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "hearth serve &" in tour and "127.0.0.1:8080" in tour
    tour = tour.replace("hearth serve &", f"hearth serve --listen 127.0.0.1:{port} & server=$!\nuntil curl -sf http://127.0.0.1:{port}/ready; do kill -0 $server || exit 1; sleep 0.1; done")
    tour = tour.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("hearth usage", "kill $server; wait $server\nhearth usage", 1)
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "hearth").symlink_to(pathlib.Path(BIN).resolve())
    env = environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": MODELS, "PATH": f"{bin}:{os.environ['PATH']}"}
    r = subprocess.run(["bash", "-e", "-c", tour], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    assert '"usage"' in r.stdout and "key_" in r.stdout and "whole: 1 rows" in r.stdout
