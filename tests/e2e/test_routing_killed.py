"""Two hearths, one the upstream of the other, under load while each is killed (kill -9) again and again: no answer is wrong or doubled, and the
ledger's sums are right. HEARTH_KILLS says how often; 2 is what every run of the tests can afford."""
import json
import os
import socket
import sqlite3
import threading
import time
import uuid

import requests
import yaml

from conftest import MODEL, PATIENCE, Server
from test_account import hearth, new_key

KILLS = int(os.environ.get("HEARTH_KILLS", 2))
CHAT = "/v1/chat/completions"
ASKED = [{"messages": [{"role": "user", "content": c}], "max_tokens": 6, "seed": i, "temperature": 1} for i, c in enumerate(("Say hello.", "Count to five.", "Name a colour."))]


class Relay:
    """An address that stays while the server behind it comes and goes."""

    def __init__(self):
        self.to = None
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            while True:
                threading.Thread(target=self.carry, args=(self.listening.accept()[0],), daemon=True).start()
        except OSError:
            pass

    def carry(self, client):
        try:
            server = socket.create_connection(self.to, timeout=PATIENCE)
        except OSError:
            client.close()
            return
        pumps = [threading.Thread(target=self.pump, args=a, daemon=True) for a in ((client, server), (server, client))]
        for p in pumps:
            p.start()
        for p in pumps:
            p.join()
        client.close()
        server.close()

    @staticmethod
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def read(url, body, key=None, name=None):
    """(text, whole, usage); whole: the answer came to its end."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if name:
        headers["X-Request-Id"] = name
    text, usage = "", None
    try:
        with requests.post(url + CHAT, json=body, headers=headers, stream=True, timeout=PATIENCE) as r:
            if r.status_code != 200:
                assert r.status_code in (502, 503, 504), r.text
                return "", False, None
            if not body.get("stream"):
                data = r.json()
                return data["choices"][0]["message"]["content"], True, data["usage"]
            for line in r.iter_lines():
                if line == b"data: [DONE]":
                    return text, True, usage
                if line.startswith(b"data: "):
                    data = json.loads(line[6:])
                    if "error" in data:
                        return text, False, None
                    usage = data.get("usage") or usage
                    text += "".join(c["delta"].get("content") or "" for c in data["choices"])
    except (requests.RequestException, ValueError):
        pass
    return text, False, None


def test_each_is_killed_under_load(tmp_path):
    store = str(tmp_path / "store.db")
    key, key_id = new_key(store, "--budget", "total=1000")
    relay = Relay()
    (tmp_path / "models").mkdir()
    upstream = {
        "name": "behind",
        "base_url": relay.url,
        "tries": 2,
        "backoff_s": 0.05,
        "breaker_open_s": 0.2,
        "models": [{"name": "m", "theirs": MODEL, "input": "10", "output": "100", "context": 8192}],
    }
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump({"version": 1, "upstreams": [upstream]}))

    def start_behind():
        s = Server()
        relay.to = s.address
        return s

    def start_front():
        return Server("--routes", str(tmp_path / "routes.yaml"), "--store", store, models=str(tmp_path / "models"))

    behind, front = start_behind(), start_front()
    expected = [read(behind.url, {**a, "model": MODEL})[0] for a in ASKED]
    assert all(expected)
    at = {"url": front.url}
    over, lock, whole, wrong, asked = threading.Event(), threading.Lock(), {}, [], set()

    def work(number):
        turn = number
        while not over.is_set():
            turn += 1
            name, which = uuid.uuid4().hex, turn % len(ASKED)
            stream = {"stream": True, "stream_options": {"include_usage": True}} if turn % 2 else {}
            with lock:
                asked.add(name)
            try:
                text, done, usage = read(at["url"], {**ASKED[which], "model": "m", **stream}, key, name)
            except AssertionError as e:
                wrong.append(str(e))
                return
            with lock:
                if text != expected[which] if done else not expected[which].startswith(text):
                    wrong.append((text, expected[which], done))
                if done:
                    whole[name] = usage
            if not done:
                over.wait(0.05)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for w in workers:
        w.start()

    def some_more(n):
        had, deadline = len(whole), time.monotonic() + PATIENCE
        while len(whole) < had + n and not wrong:
            assert time.monotonic() < deadline, (len(whole), front.log[-20:])
            time.sleep(0.02)

    for kill in range(KILLS):
        some_more(4)
        victim = front if kill % 2 == 0 else behind
        victim.process.kill()
        victim.process.wait()
        if victim is front:
            front = start_front()
            at["url"] = front.url
        else:
            behind = start_behind()
    some_more(4)
    over.set()
    for w in workers:
        w.join(PATIENCE)
    assert not wrong, wrong[:3]
    front.stop()
    behind.stop()
    relay.listening.close()

    hearth("ledger", "verify", "--store", store)
    db = sqlite3.connect(store)
    rows = db.execute("SELECT request, how, prompt, completion, cost FROM ledger").fetchall()
    by_name = {}
    for request, *rest in rows:
        assert request in asked and request not in by_name, "a row that nobody asked for, or two of one request"
        by_name[request] = rest
    for name, usage in whole.items():
        how, prompt, completion, cost = by_name[name]
        assert (how, prompt, completion) == ("done", usage["prompt_tokens"], usage["completion_tokens"])
        assert cost == prompt * 10_000 + completion * 100_000
    (spent,) = db.execute("SELECT sum(spent) FROM spending WHERE owner = ?", (f"key:{key_id}",)).fetchone()
    assert spent == sum(cost for *_, cost in by_name.values())
    assert db.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
