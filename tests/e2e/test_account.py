"""A store of keys, and a server that asks it."""
import subprocess

import pytest
import requests

from conftest import BIN, KEY, MODEL, PATIENCE, Server, chat, environment

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
