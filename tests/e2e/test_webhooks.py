"""Events of the account at a receiver that fails in every way, and secrets that are kept sealed."""
import base64
import hashlib
import hmac
import http.server
import json
import sqlite3
import subprocess
import threading
import time

import pytest

from conftest import BIN, MODEL, PATIENCE, Server, chat, environment
from test_account import ask, hearth, new_key

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Receiver:
    """Answers each post with the next of `answers`, then 204; keeps what it was sent."""

    def __init__(self, *answers, port=0):
        self.answers, self.seen, self.changed = list(answers), [], threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.changed:
                    answer = receiver.answers.pop(0) if receiver.answers else 204
                    receiver.seen.append((answer, dict(self.headers), body))
                    receiver.changed.notify_all()
                if answer == "closed":
                    self.connection.close()
                elif answer == "nonsense":
                    self.wfile.write(b"what?\r\n\r\n")
                elif answer == "cut":
                    self.wfile.write(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf")
                elif answer == 302:
                    self.send_response(302)
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                    self.end_headers()
                else:
                    self.send_response(answer)
                    self.end_headers()
                self.close_connection = True

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def taken(self):
        return [json.loads(body) for answer, _, body in self.seen if answer == 204]

    def wait_taken(self, n):
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while len(self.taken()) < n:
                assert self.changed.wait(max(0, deadline - time.monotonic())), self.seen

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def serve(store, *urls, secret=SECRET, args=()):
    hooks = [x for url in urls for x in ("--webhook", url)]
    return Server("--store", store, *hooks, "--webhook-secret", secret, *args)


def test_a_receiver_that_fails(tmp_path):
    """Every event comes until it is taken, in order, under one id and rightly signed; another address does not wait for it."""
    store = str(tmp_path / "a.db")
    new_key(store)  # happened before there was a receiver
    bad, worse, good = Receiver(500, "closed", "nonsense"), Receiver("cut", 302, 404), Receiver()
    s = serve(store, bad.url, worse.url, good.url)
    _, name = new_key(store, "--name", "shop")
    good.wait_taken(1)
    hearth("keys", "rotate", name, "--store", store)
    hearth("keys", "revoke", name, "--store", store)
    for r in (bad, worse, good):
        r.wait_taken(3)
    s.stop()
    for r in (bad, worse, good):
        assert [(x["type"], x["data"]["id"]) for x in r.taken()] == [("key.created", name), ("key.rotated", name), ("key.revoked", name)]
        assert r.taken()[0]["data"]["name"] == "shop" and "key" not in r.taken()[0]["data"] and r.taken()[2]["data"]["state"] == "revoked"
        for _, headers, body in r.seen:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            mac = base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
            assert headers["webhook-signature"] == "v1," + mac and headers["Content-Type"] == "application/json"
            assert abs(int(headers["webhook-timestamp"]) - time.time()) < PATIENCE
        r.close()
    for r in (bad, worse):
        assert len(r.seen) == 6 and len({h["webhook-id"] for _, h, _ in r.seen[:4]}) == 1 and len({h["webhook-id"] for _, h, _ in r.seen}) == 3
    log = "".join(s.log)
    assert log.count("was not taken and is posted again") == 2 and log.count("was taken after 4 tries") == 2


def test_events_outlive_servers(tmp_path):
    """What happens while no server runs, or no receiver, is told later, once."""
    store = str(tmp_path / "a.db")
    new_key(store)
    r = Receiver()
    s = serve(store, r.url)
    _, first = new_key(store)
    # Killed once it has written down that the event was taken; before that it would come again, with the same id.
    s.wait_until(lambda: sqlite3.connect(store).execute("SELECT seq, held_ms FROM webhooks").fetchall() == [(2, 0)], "it was not written down")
    s.process.kill()
    s.process.wait(PATIENCE)
    _, second = new_key(store)
    port = r.port
    r.close()
    s = serve(store, r.url)
    _, third = new_key(store)
    s.wait_log("was not taken")
    later = Receiver(port=port)
    later.wait_taken(2)
    s.stop()
    later.close()
    assert [x["data"]["id"] for x in r.taken()] == [first] and [x["data"]["id"] for x in later.taken()] == [second, third]


def test_two_servers_on_one_store(tmp_path):
    """Both have the same addresses: each event comes once and in order; when the one that delivers is killed, the other goes on behind it."""
    store = str(tmp_path / "a.db")
    r, other = Receiver(500, 503), Receiver()
    first = serve(store, r.url, other.url)
    second = serve(store, r.url, other.url)
    names = [new_key(store)[1] for _ in range(10)]
    for x in (r, other):
        x.wait_taken(10)
    assert [x["data"]["id"] for x in r.taken()] == [x["data"]["id"] for x in other.taken()] == names
    assert len(r.seen) == 12 and len(other.seen) == 10  # nothing twice but what was refused
    names += [new_key(store)[1] for _ in range(3)]
    first.process.kill()
    first.process.wait(PATIENCE)
    names += [new_key(store)[1] for _ in range(3)]
    for x in (r, other):  # what was posted when it was killed may come again, with the same id
        x.wait_taken(16)
        assert wait_last(x, names[-1]) == names
        ids = [h["webhook-id"] for answer, h, _ in x.seen if answer == 204]
        assert len(set(ids)) == 16 and len(ids) <= 17
    second.stop()
    for x in (r, other):
        x.close()


def wait_last(r, name):
    """The names of the keys that it was told of, once each, when it has been told of this one."""
    deadline = time.monotonic() + PATIENCE
    with r.changed:
        while name not in (told := [x["data"]["id"] for x in r.taken()]):
            assert r.changed.wait(max(0, deadline - time.monotonic())), r.seen
    return list(dict.fromkeys(told))


def test_budgets(tmp_path):
    """A soft budget that is passed and a hard one that is reached are told once, however often."""
    store, prices = str(tmp_path / "a.db"), tmp_path / "prices.yaml"
    prices.write_text(f"prices:\n  - {{ model: {MODEL}, input: 10, output: 20 }}\n")
    r = Receiver()
    soft, soft_id = new_key(store, "--budget", "total=0.0001:soft")
    hard, hard_id = new_key(store, "--budget", "total=0.000001")
    s = serve(store, r.url, args=("--prices", str(prices), "--ctx", "256"))
    for _ in range(3):
        assert ask(s, soft, chat(max_tokens=2)).status_code == 200
        assert ask(s, hard, chat(max_tokens=2)).status_code == 402
    r.wait_taken(2)
    _, last = new_key(store)
    r.wait_taken(3)
    s.stop()
    r.close()
    events = {(x["type"], x["data"].get("owner")): x["data"] for x in r.taken()}
    assert len(r.taken()) == 3 and set(events) == {("budget.soft_limit", f"key:{soft_id}"), ("budget.hard_limit", f"key:{hard_id}"), ("key.created", None)}
    data = events["budget.hard_limit", f"key:{hard_id}"]
    assert data["period"] == "total" and data["limit"] == "0.000001" and data["spent"] == "0"
    assert float(events["budget.soft_limit", f"key:{soft_id}"]["spent"]) > 0.0001


def secrets(store, *args, value=None, ok=True, env=()):
    r = subprocess.run([BIN, "secrets", *args, "--store", store], input=value, capture_output=True, text=True, timeout=PATIENCE,
                       env=environment() | {"HEARTH_CONFIG": "/dev/null"} | dict(env))
    assert (r.returncode == 0) == ok, r.stderr
    return r


def test_secrets(tmp_path):
    """A webhook's secret out of the store, under a master key that is changed."""
    store, old, new = str(tmp_path / "a.db"), str(tmp_path / "old.key"), str(tmp_path / "new.key")
    hearth("secrets", "init", "--master-key-file", old)
    assert "there already" in hearth("secrets", "init", "--master-key-file", old, ok=False).stderr
    secrets(store, "set", "hook", "--master-key-file", old, value=SECRET + "\n")
    assert secrets(store, "list").stdout.startswith("hook ") and SECRET not in secrets(store, "list").stdout
    secrets(store, "set", "other", value="x", env={"HEARTH_MASTER_KEY": open(old).read().strip()}.items())
    hearth("secrets", "init", "--master-key-file", new)
    assert "not the master key" in secrets(store, "set", "hook", "--master-key-file", new, value="y", ok=False).stderr
    assert "2 secrets sealed anew" in secrets(store, "rotate", "--master-key-file", old, "--new-master-key-file", new).stdout
    secrets(store, "rm", "other")
    assert "need a master key" in secrets(store, "set", "hook", value="y", ok=False).stderr
    r = Receiver()
    s = serve(store, r.url, secret="secret:hook", args=("--master-key-file", new))
    new_key(store)
    r.wait_taken(1)
    _, headers, body = r.seen[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
    s.stop()
    r.close()
    acts = [json.loads(x) for x in hearth("audit", "--json", "--store", store).stdout.splitlines()]
    assert [x["act"] for x in acts] == ["secret.set", "secret.set", "secrets.rotated", "secret.removed", "key.created"]
    assert SECRET not in json.dumps(acts)


@pytest.mark.parametrize("args, words", [
    (["--webhook", "http://127.0.0.1:1/", "--webhook-secret", "word"], "whsec_"),
    (["--webhook", "http://127.0.0.1:1/"], "whsec_"),
    (["--webhook", "file:///etc/passwd", "--webhook-secret", SECRET], "https://"),
    (["--webhook", "http://127.0.0.1:1/", "--webhook-secret", "secret:none"], "need a master key"),
])
def test_refusals_say_why(tmp_path, args, words):
    store = str(tmp_path / "a.db")
    new_key(store)
    r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--store", store, *args], capture_output=True, text=True,
                       env=environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_PRELOAD": "no"}, timeout=PATIENCE)
    assert r.returncode == 1 and words in r.stderr
