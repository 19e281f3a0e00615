"""Keys, origins, start and stop."""
import os
import signal
import subprocess
import threading
import time

import pytest
import requests

from conftest import BIN, KEY, MODEL, MODELS, PATIENCE, Server, chat, http

pytestmark = pytest.mark.checked
CHAT = "/v1/chat/completions"
AUTH = {"Authorization": "Bearer " + KEY}


def test_every_route_but_two_asks_for_the_key(keyed):
    assert keyed.get("/health").status_code == keyed.get("/ready").status_code == 200
    for path in ("/v1/models", "/inference/v1/models", "/metrics", "/v1/models/" + MODEL, "/nothing", "/v1/nothing"):
        assert keyed.get(path).status_code == 401, path
    for path in (CHAT, "/v1/completions", "/tokenize", "/detokenize"):
        assert keyed.post(path, chat()).status_code == 401, path
    for header in (KEY, "Basic " + KEY, "Bearer", "Bearer ", "Bearer x" + KEY, "Bearer " + KEY + "x", "Bearer " + KEY[:-1]):
        r = keyed.get("/v1/models", headers={"Authorization": header})
        assert r.status_code == 401 and r.headers["www-authenticate"] == "Bearer", header
    assert keyed.get("/v1/models", headers={"Authorization": "bearer " + KEY}).status_code == 200
    assert keyed.get("/v1/models").json()["error"]["code"] == "invalid_api_key"


def test_refused_body_is_read_so_that_the_client_learns_why(keyed):
    r = keyed.raw(http("POST", CHAT, b"x" * (4 << 20)))
    assert r.startswith(b"HTTP/1.1 401")


def test_foreign_pages_get_nothing(server, keyed):
    for path in ("/v1/models", "/health"):
        r = server.get(path, headers={"Origin": "https://evil.example"})
        assert r.status_code == 403 and "access-control-allow-origin" not in r.headers
    same = server.get("/v1/models", headers={"Origin": server.url})
    assert same.status_code == 200
    r = requests.options(keyed.url + CHAT, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
    assert r.status_code == 403
    r = requests.options(keyed.url + CHAT, headers={"Origin": "https://app.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-stainless-os"})
    assert r.status_code == 204 and r.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in r.headers["access-control-allow-methods"] and r.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
    r = keyed.get("/v1/models", headers={**AUTH, "Origin": "https://app.example"})
    assert r.headers["access-control-allow-origin"] == "https://app.example" and r.headers["vary"] == "Origin"
    r = keyed.get("/v1/models", headers={"Origin": "https://app.example"})
    assert r.status_code == 401 and r.headers["access-control-allow-origin"] == "https://app.example"


def test_foreign_host_names_are_refused_without_a_key(server):
    assert server.get("/v1/models", headers={"Host": "rebind.example"}).status_code == 403
    for host in ("localhost", "127.0.0.1:99", "[::1]:8080", "my.localhost"):
        assert server.get("/v1/models", headers={"Host": host}).status_code == 200, host


def test_no_open_door_without_a_key():
    r = subprocess.run([BIN, "serve", "--listen", "0.0.0.0:0", "--models", MODELS], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 1 and "loopback" in r.stderr


def test_new_key_is_printed_once_and_kept(tmp_path):
    keys = tmp_path / "keys"
    s = Server("--new-key", "--key-file", str(keys))
    key = keys.read_text().strip()
    assert key.startswith("hk-") and "".join(s.banner).count(key) == 1 and keys.stat().st_mode & 0o077 == 0
    assert s.get("/v1/models", headers={"Authorization": "Bearer " + key}).status_code == 200
    s.stop()
    s = Server("--new-key", "--key-file", str(keys))
    assert keys.read_text().strip() == key and key not in "".join(s.banner)
    s.stop()


def test_stopping_finishes_what_runs():
    s = Server()
    replies = []

    def one(stream):
        replies.append(s.raw(http("POST", CHAT, chat("Tell a long story.", max_tokens=150, stream=stream, ignore_eos=True))))

    threads = [threading.Thread(target=one, args=(i % 2 == 0,)) for i in range(4)]
    for t in threads:
        t.start()
    s.wait_until(lambda: s.metric("hearth_running") == 4, "four requests never ran at once")
    s.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    try:  # while the four finish; not if they were quicker
        r = s.post(CHAT, chat())
        assert r.status_code == 503 and "retry-after" in r.headers
        assert s.get("/ready").status_code == 503 and s.get("/health").status_code == 200
    except requests.ConnectionError:
        pass
    for t in threads:
        t.join()
    s.stop()
    for r in replies:
        assert r.startswith(b"HTTP/1.1 200") and (b"[DONE]" in r or b'"usage"' in r)


def test_stopping_cancels_after_the_limit():
    s = Server("--drain-time", "0.3")
    replies = []
    threads = [threading.Thread(target=lambda k: replies.append(s.raw(http("POST", CHAT, chat("Tell a long story.", max_tokens=8000, stream=k, ignore_eos=True)))), args=(k,)) for k in (True, False)]
    for t in threads:
        t.start()
    s.wait_until(lambda: s.metric("hearth_running") == 2, "two requests never ran at once")
    s.stop()
    for t in threads:
        t.join()
    assert any(r.startswith(b"HTTP/1.1 503") for r in replies) and all(b"the server is stopping" in r for r in replies)


def test_options():
    def run(*args, **kw):
        return subprocess.run([BIN, *args], capture_output=True, text=True, timeout=PATIENCE, **kw)

    r = run("serve", "--lissten", "x")
    assert r.returncode == 2 and 'did you mean "listen"' in r.stderr
    r = run("serve", "--ctx", "12x")
    assert r.returncode == 2 and '--ctx must be a whole number, got "12x"' in r.stderr
    r = run("bench", "x", "--isa", "sse")
    assert r.returncode == 2 and "--isa must be one of plain|avx2|" in r.stderr
    r = run("bench", "x", env={**os.environ, "HEARTH_ISA": "AVX2"})
    assert r.returncode == 2 and "HEARTH_ISA must be one of plain|avx2|" in r.stderr
    r = run("serve", "--help")
    assert r.returncode == 0 and "--max-body BYTES" in r.stdout
    r = run("nonsense")
    assert r.returncode == 2
    r = run("help", "--markdown")
    assert "| `--listen ADDRESS:PORT` | `HEARTH_LISTEN` | 127.0.0.1:8080 |" in r.stdout


@pytest.mark.parametrize("text, why", [
    ("threads: 1\nlog-level: info\nthreads: 2\n", ':3:1: "threads" stands there twice'),
    ("max-body: 1M\nmax_body: 2M\n", '"max_body" stands there twice'),
    ("threads: 1\n---\nthreads: 2\n", ":2:1: a second document"),
    ("- threads\n", ":1:1: expected `name: value` lines"),
    ("keys: [a, [b]]\n", "a list of values is expected"),
    ("threads: &a 1\n", ":1:10: anchors are not supported"),
    ("threads: !!int 1\n", "tags are not supported"),
    ("log-level: info\n\nthreads: many\n", ':3:1: "threads" must be a whole number, got "many"'),
    ("keys: [a-key-of-ours, b]\nlissten: 5\n", ':2:1: "lissten" does not exist; did you mean "listen"?'),
    ("threads: {a: 1}\n", "not a mapping"),
    ("threads: [1, 2]\n", "takes one value, not a list"),
    ("keys: [a, b\n", "did not find expected"),
    ("just words\n", "expected `name: value` lines"),
    (None, "a folder, not a YAML file"),
])
def test_configuration_faults(tmp_path, text, why):
    config = tmp_path / "config.yaml"
    config.mkdir() if text is None else config.write_text(text)
    r = subprocess.run([BIN, "version", "--config", str(config)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 2 and why in r.stderr


@pytest.mark.parametrize("text, why", [
    ("images:\n  unsafe: [porn, cats]\n  threshold: 0.5\n  action: blur\n", ':2:18: there is no class "cats"'),
    ("images:\n  unsafe: [porn]\n  threshold: 0\n  action: blur\n", ":3:3: threshold must be from 1e-06 to 1, got 0"),
    ("images:\n  unsafe: [porn]\n  threshold: 0.5\n  action: hide\n", ':4:3: action must be one of pass|blur|reject, got "hide"'),
    ("images:\n  unsafe: [porn]\n  threshold: 0.5\n", ':1:1: "action" is missing'),
    ("images:\n  unsafe: [porn]\n  threshold: 0.5\n  action: blur\n  text: no\n", ':5:3: there is no such key as "text" here'),
    ("image: 5\n", ':1:1: there is no such key as "image" here'),
])
def test_safety_policy_faults(tmp_path, text, why):
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", str(tmp_path), "--safety", str(policy)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 1 and f"safety policy: {policy}{why}" in r.stderr, r.stderr


def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        r = subprocess.run([BIN, "help", "--markdown"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        assert r.returncode == 1 and "standard output" in r.stderr
        r = subprocess.run([BIN, "version"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        assert r.returncode == 1 and "standard output" in r.stderr
    r = subprocess.run(f"{BIN} help --markdown | head -c 5; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash", capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0 and r.stderr == ""


def test_precedence(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("log_level: debug\nkeys: [config-key-1, config-key-2]\nmax-body: 2K\n")
    s = Server("--config", str(config), "--max-body", "4K")
    assert s.get("/v1/models", headers={"Authorization": "Bearer config-key-2"}).status_code == 200
    assert s.raw(http("POST", CHAT, b"x" * 3000, ["Authorization: Bearer config-key-1"])).startswith(b"HTTP/1.1 400")
    assert s.raw(http("POST", CHAT, b"x" * 5000, ["Authorization: Bearer config-key-1"])).startswith(b"HTTP/1.1 413")
    s.stop()
    config.write_text("lissten: x\n")
    r = subprocess.run([BIN, "serve", "--config", str(config)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 2 and 'did you mean "listen"' in r.stderr
