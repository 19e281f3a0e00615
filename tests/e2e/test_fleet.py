"""Three servers over one PostgreSQL and one Redis, some of them killed at random: nothing is overspent, no limit is passed, nothing that a client
was told is missing; and a Redis that dies and comes back."""
import glob
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
import requests

from conftest import BIN, MODEL, PATIENCE, Server, chat, environment

CHAT = "/v1/chat/completions"


def until(done, what):
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Postgres:
    """A cluster of its own in a folder of its own, as a user who is not root."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        assert found, "PostgreSQL is missing: tools/setup/packages.sh test installs it"
        self.bin, self.dir = found[-1], tempfile.mkdtemp(prefix="hearth-fleet-")
        self.user = {}
        if os.getuid() == 0:
            other = pwd.getpwnam("postgres")
            os.chown(self.dir, other.pw_uid, other.pw_gid)
            self.user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
        self.run("initdb", "-D", f"{self.dir}/data", "-U", "hearth", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        settings = ["listen_addresses=", "max_connections=200", "shared_buffers=16MB", "fsync=off"]
        self.process = subprocess.Popen([f"{self.bin}/postgres", "-D", f"{self.dir}/data", "-k", self.dir, *(x for s in settings for x in ("-c", s))], cwd=self.dir,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.user)
        self.url = f"postgresql://hearth@/postgres?host={self.dir}"
        until(lambda: self.run("pg_isready", "-q", "-d", self.url, check=False).returncode == 0, "PostgreSQL does not start")

    def run(self, program, *args, check=True):
        return subprocess.run([f"{self.bin}/{program}", *args], cwd=self.dir, check=check, capture_output=True, text=True, timeout=PATIENCE, **self.user)

    def ask(self, sql):
        """The rows, each a list of texts."""
        return [line.split("|") for line in self.run("psql", "-At", "-d", self.url, "-c", sql).stdout.splitlines()]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)
        shutil.rmtree(self.dir, ignore_errors=True)


class Redis:
    """On a port that the kernel gave; started again it has the same."""

    def __init__(self):
        self.dir, self.process = tempfile.mkdtemp(prefix="hearth-fleet-"), None
        for _ in range(20):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
            if self.start():
                return
        raise RuntimeError("redis-server does not start")

    def start(self):
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.dir],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.process.poll() is not None or self.answers(), "redis-server does not answer")
        return self.process.poll() is None

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s:
                s.sendall(b"PING\r\n")
                return s.recv(5) == b"+PONG"
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"


@pytest.fixture(scope="module")
def postgres():
    p = Postgres()
    yield p
    p.stop()


@pytest.fixture(scope="module")
def redis():
    r = Redis()
    yield r
    r.stop()


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(f"prices:\n  - {{ model: {MODEL}, input: 10, output: 20 }}\n")
    return str(path)


def hearth(*args):
    return subprocess.run([BIN, *args], capture_output=True, text=True, check=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)


def new_key(store, *args):
    r = hearth("keys", "new", "--store", store, *args)
    return r.stdout.strip(), r.stderr.split()[4].rstrip(";")


def spending(postgres, owner):
    """Spent and reserved, in nano-dollars."""
    rows = postgres.ask(f"SELECT spent, reserved FROM spending WHERE owner = '{owner}'")
    return tuple(int(x) for x in rows[0]) if rows else (0, 0)


def test_nothing_is_overspent(postgres, redis, prices, tmp_path):
    """Sixty-four clients spend a key's budget and their project's limit over three servers, one of which is killed now and then."""
    store, limit = postgres.url, 20_000_000
    key, name = new_key(store, "--budget", "total=0.02", "--project", "fleet", "--limit", "concurrency=48")
    hearth("projects", "set", "fleet", "--limit", "requests/month=150", "--store", store)
    chance = random.Random(20)

    def server(i):
        return Server("--store", store, "--counters", redis.url, "--prices", prices, "--ctx", "64", "--journal", str(tmp_path / f"journal{i}"))

    servers = [server(i) for i in range(3)]
    told, refused, lock = [], {402: 0, 429: 0}, threading.Lock()
    over = threading.Event()

    def work(i):
        mine = random.Random(i)
        while not over.is_set():
            at = mine.choice(servers)
            try:
                r = at.post(CHAT, chat(f"{i}", max_tokens=3), headers={"Authorization": f"Bearer {key}"})
                answer = r.json()
            except (requests.RequestException, ValueError):
                time.sleep(0.02)  # it was killed, and has no successor yet
                continue
            if r.status_code == 200:
                with lock:
                    told.append(round(answer["usage"]["cost"] * 1e9))
                continue
            assert r.status_code in (402, 429, 503), r.text
            # More may be admitted when those that run have ended, or when who was killed has settled what it had reserved.
            if r.status_code == 503 or "requests at once" in r.text or (r.status_code == 402 and " 0 reserved" not in r.text):
                time.sleep(0.3)
                continue
            with lock:
                refused[r.status_code] += 1
            return

    threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    try:
        for kill in range(3):
            until(lambda: len(told) >= 6 * (kill + 1) or not any(t.is_alive() for t in threads), "nothing is answered")
            spent, reserved = spending(postgres, f"key:{name}")
            assert spent + reserved <= limit
            i = chance.randrange(3)
            servers[i].process.kill()
            servers[i].process.wait(PATIENCE)
            servers[i] = server(i)
        for t in threads:
            t.join(PATIENCE)
            assert not t.is_alive()
    finally:
        over.set()
    assert refused[402] + refused[429] == 64 and len(told) > 18
    for s in servers:
        s.stop()
    spent, reserved = spending(postgres, f"key:{name}")
    rows = [json.loads(x) for x in hearth("ledger", "export", "--store", store).stdout.splitlines()]
    costs = [x["cost"] for x in rows if x["key_id"] == name]
    assert sum(told) <= spent == sum(costs) and spent + reserved <= limit
    assert len(costs) <= 150 and len(told) <= 150
    assert "whole" in hearth("ledger", "verify", "--store", store).stdout


def test_what_a_killed_server_reserved_is_released(postgres, redis, prices, tmp_path):
    """By its age, when its own journal is lost with its machine."""
    store = postgres.url
    key, name = new_key(store, "--budget", "total=0.1")
    auth = {"Authorization": f"Bearer {key}"}

    def server(*args):
        return Server("--store", store, "--counters", redis.url, "--prices", prices, "--ctx", "8192", *args)

    s = server("--journal", str(tmp_path / "lost"))
    # Long enough for a test that stands still: 4000 tokens, 0.08, and the prompt.
    r = s.post(CHAT, chat(max_tokens=4000, stream=True, ignore_eos=True), headers=auth, stream=True)
    assert r.status_code == 200, r.text
    stream = r.iter_content(1)  # kept: the connection is closed with it
    next(stream)
    spent, reserved = spending(postgres, f"key:{name}")
    assert spent == 0 and 80_000_000 < reserved < 81_000_000
    s.process.kill()
    s.process.wait(PATIENCE)
    s = server("--journal", str(tmp_path / "other"), "--reservation-age", "1000000")
    r = s.post(CHAT, chat(max_tokens=1000), headers=auth)
    assert r.status_code == 402  # what is left is too little beside it
    assert spending(postgres, f"key:{name}") == (0, reserved)
    s.stop()
    s = server("--journal", str(tmp_path / "other"), "--reservation-age", "1")
    s.wait_until(lambda: s.post(CHAT, chat(max_tokens=1000), headers=auth).status_code == 200, "the reservation stays")
    s.wait_until(lambda: spending(postgres, f"key:{name}")[1] == 0, "the reservation stays")
    assert 0 < spending(postgres, f"key:{name}")[0] < 25_000_000
    s.stop()


def test_redis_dies_and_comes_back(postgres, redis, prices, tmp_path):
    store = postgres.url
    limited, _ = new_key(store, "--limit", "requests/month=5")
    free, _ = new_key(store)
    s = Server("--store", store, "--counters", redis.url, "--journal", str(tmp_path / "journal"))

    def ask(key):
        return s.post(CHAT, chat(max_tokens=1), headers={"Authorization": f"Bearer {key}"})

    assert ask(limited).headers["x-ratelimit-remaining-requests"] == "4"
    redis.kill()
    r = ask(limited)
    assert r.status_code == 503 and int(r.headers["Retry-After"]) > 0 and r.headers["x-ratelimit-remaining-requests"] == "4"
    assert ask(free).status_code == 200  # nothing of it is counted there
    r = s.get("/ready")
    assert r.status_code == 503 and r.json() == {"ready": False, "away": ["counters"]}
    assert redis.start()
    s.wait_until(lambda: s.get("/ready").status_code == 200, "it does not heal")
    s.wait_until(lambda: ask(limited).status_code == 200, "it does not heal")
    s.stop()
