"""What administrators do over HTTP."""
import json
import os
import pathlib
import re
import subprocess

import pytest
import requests

from conftest import BIN, KEY, PATIENCE, ROOT, Server, chat, environment
from test_account import ask, hearth, new_key, rows

KEYS = "/admin/v1/keys"


class Admin:
    """A server with a store, and who administers it."""

    def __init__(self, folder):
        self.store = str(folder / "a.db")
        self.key, self.name = new_key(self.store, "--scope", "admin", "--name", "boss")
        self.server = Server("--store", self.store, "--keys", KEY)

    def call(self, method, path, body=None, key=None):
        return requests.request(method, self.server.url + path, json=body, headers={"Authorization": f"Bearer {key or self.key}"}, timeout=PATIENCE)


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    a = Admin(tmp_path_factory.mktemp("admin"))
    yield a
    a.server.stop()


def test_a_key_from_its_making_to_its_end(admin):
    """Made, listed, changed, rotated and revoked; each holds at once, and is in the audit with who did it and from where."""
    r = admin.call("POST", KEYS, {"name": "shop", "project": "web", "scopes": ["endpoint:chat", "model:smollm2-*"], "limits": "requests/day=9,concurrency=2",
                                  "budgets": ["total=1"], "tags": {"team": "blue"}, "expires": "2099-12-31", "weight": 3, "priority": -1})
    assert r.status_code == 201, r.text
    made = r.json()
    key, name = made.pop("key"), made["id"]
    assert made["scopes"] == "endpoint:chat,model:smollm2-*" and made["tags"] == "team=blue" and made["expires"] == "2099-12-31T00:00:00Z" and made["state"] == "good" and (made["weight"], made["priority"]) == (3, -1)
    assert ask(admin.server, key, chat(max_tokens=1)).status_code == 200
    r = admin.call("GET", KEYS)
    assert [x["name"] for x in r.json()["data"]] == ["boss", "shop"] and key not in r.text
    assert admin.call("GET", f"{KEYS}/{name}").json() == made
    r = admin.call("PATCH", f"{KEYS}/{name}", {"scopes": ["endpoint:completions"], "tags": [], "expires": "never"})
    assert r.status_code == 200 and r.json() == made | {"scopes": "endpoint:completions", "tags": "", "expires": None}
    assert ask(admin.server, key).status_code == 403
    r = admin.call("POST", f"{KEYS}/{name}/rotate")
    other = r.json()["key"]
    assert r.status_code == 200 and other != key and ask(admin.server, key).status_code == 401 and ask(admin.server, other).status_code == 403
    r = admin.call("DELETE", f"{KEYS}/{name}")
    assert r.status_code == 200 and r.json()["state"] == "revoked" and ask(admin.server, other).status_code == 401
    assert admin.call("DELETE", f"{KEYS}/{name}").status_code == 200
    assert admin.call("PATCH", f"{KEYS}/{name}", {"name": "again"}).status_code == 404
    acts = [x for x in admin.call("GET", "/admin/v1/audit?limit=1000").json()["data"] if x["target"] == name]
    assert [x["act"] for x in acts] == ["key.created", "key.changed", "key.rotated", "key.revoked"]
    assert {(x["who"], x["from"]) for x in acts} == {(admin.name, "127.0.0.1")}
    assert acts[1]["before"]["scopes"] == made["scopes"] and acts[1]["after"]["scopes"] == "endpoint:completions"
    assert "key.changed" in hearth("audit", "--store", admin.store).stdout


@pytest.mark.parametrize("body, words", [
    ({"limits": ["requests=1"]}, "WHAT/PERIOD=N"),
    ({"limit": "requests/day=1"}, "limit"),
    ({"scopes": [1]}, "scopes must be"),
    ({"tags": {"a": {}}}, "tags must be"),
    ({"name": 5}, "name must be"),
    ({"expires": "yesterday"}, "expires must be"),
    ({"expires": "2020-01-01"}, "expired already"),
    ({"budgets": "day=much"}, "day=much"),
    ({"weight": 0}, "weight must be"),
    ({"priority": 101}, "priority must be"),
    ({"addresses": ["10.0.0.1/8"]}, "10.0.0.1/8"),
])
def test_refusals_say_why(admin, body, words):
    before = admin.call("GET", KEYS).json()
    r = admin.call("POST", KEYS, body)
    assert r.status_code == 400 and words in r.json()["error"]["message"]
    r = admin.call("PATCH", f"{KEYS}/{admin.name}", body)
    assert r.status_code == 400 and words in r.json()["error"]["message"]
    assert admin.call("GET", KEYS).json() == before


def test_pages_of_keys(admin):
    """Each key once and in order, however long a page is."""
    made = [admin.call("POST", KEYS, {"name": f"page {i}"}).json()["id"] for i in range(5)]
    whole = [x["id"] for x in admin.call("GET", f"{KEYS}?limit=1000").json()["data"]]
    assert [x for x in whole if x in made] == made and len(set(whole)) == len(whole)
    for limit in (1, 2, len(whole)):
        seen, after = [], ""
        while True:
            page = admin.call("GET", f"{KEYS}?limit={limit}" + (f"&after={after}" if after else "")).json()
            seen += [x["id"] for x in page["data"]]
            after = page["last"]
            assert len(page["data"]) <= limit and after == seen[-1]
            if not page["has_more"]:
                break
        assert seen == whole
    last = admin.call("GET", f"{KEYS}?after={whole[-1]}").json()
    assert last["data"] == [] and last["last"] is None and not last["has_more"]
    for query, status, words in (("limit=0", 400, "limit must be"), ("limit=1001", 400, "limit must be"), ("after=key_none", 404, "key_none")):
        r = admin.call("GET", f"{KEYS}?{query}")
        assert r.status_code == status and words in r.json()["error"]["message"], r.text


def test_a_key_as_firemoon_makes_it(admin):
    """It works at once, may ask everything and administers nothing."""
    r = admin.call("POST", "/api/keys", {"description": "phone", "scope": "full_access"})
    assert r.status_code == 201 and set(r.json()) == {"id", "key", "description", "scope", "created_at"}, r.text
    made = r.json()
    assert made["description"] == "phone" and made["scope"] == "full_access" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["created_at"])
    assert admin.call("GET", "/v1/models", key=made["key"]).status_code == 200
    assert admin.call("POST", "/api/keys", {"description": "x"}, key=made["key"]).status_code == 403
    assert admin.call("GET", f"{KEYS}/{made['id']}").json()["name"] == "phone"
    assert admin.call("POST", "/api/keys", {}).json()["description"] == ""
    for body, words in (({"scope": "admin"}, "full_access"), ({"description": 1}, "description"), ({"more": 1}, "more"), ({"description": "a\nb"}, "control character")):
        r = admin.call("POST", "/api/keys", body)
        assert r.status_code == 400 and words in r.text, r.text


def test_who_may(admin, keyed):
    """A key of the store with the scope, and nobody else; a server without a store says so."""
    plain, _ = new_key(admin.store)
    admin.server.wait_until(lambda: admin.call("GET", "/v1/models", key=plain).status_code == 200, "the key was not seen")
    for key, status in ((plain, 403), (KEY, 403), ("hk-none", 401)):
        for method, path in (("GET", KEYS), ("POST", KEYS), ("GET", "/admin/v1/audit"), ("GET", "/admin/v1/ledger"), ("DELETE", f"{KEYS}/{admin.name}")):
            r = admin.call(method, path, key=key)
            assert r.status_code == status, (key, path, r.text)
    assert "--scope admin" in admin.call("GET", KEYS, key=plain).json()["error"]["message"]
    r = requests.get(keyed.url + KEYS, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE)
    assert r.status_code == 404 and "--store" in r.json()["error"]["message"]
    r = admin.call("GET", f"{KEYS}/key_none")
    assert r.status_code == 404 and r.json()["error"]["code"] == "not_found"
    r = admin.call("PUT", KEYS)
    assert r.status_code == 405 and r.headers["Allow"] == "GET, HEAD, POST"
    assert admin.call("POST", f"{KEYS}/{admin.name}/turn").status_code == 404


def test_usage_and_ledger(admin):
    """What the commands print, in pages."""
    key, name = new_key(admin.store, "--project", "books")
    admin.server.wait_until(lambda: admin.call("GET", "/v1/models", key=key).status_code == 200, "the key was not seen")
    for i in range(5):
        assert ask(admin.server, key, chat(max_tokens=1 + i)).status_code == 200
    admin.server.wait_until(lambda: len([x for x in rows(admin.store) if x["key_id"] == name]) == 5, "a row is missing")
    seen, after = [], 0
    while True:
        r = admin.call("GET", f"/admin/v1/ledger?since=-1d&limit=2&after={after}").json()
        seen += r["data"]
        if not r["has_more"]:
            break
        assert len(r["data"]) == 2
        after = r["last"]
    assert seen == rows(admin.store)
    line = [x for x in admin.call("GET", "/admin/v1/usage?by=key").json()["data"] if x["name"] == name]
    assert len(line) == 1 and line[0]["requests"] == 5 and line[0]["completion_tokens"] == sum(x["completion"] for x in seen if x["key_id"] == name)
    assert admin.call("GET", "/admin/v1/usage?by=project&since=-1d").json()["data"][-1]["name"] in ("books", "web")
    assert admin.call("GET", "/admin/v1/usage?until=2020-01-01").json()["data"] == []
    for query, words in (("usage?by=hour", "by must be"), ("usage?since=soon", "since must be"), ("ledger?limit=0", "limit must be"), ("audit?after=x", "after must be")):
        r = admin.call("GET", "/admin/v1/" + query)
        assert r.status_code == 400 and words in r.json()["error"]["message"]


def test_projects(admin):
    """Rules for all keys of a project: set, seen, kept where a body does not name them, and taken away; each act in the audit."""
    path = "/admin/v1/projects/paper"
    key, _ = new_key(admin.store, "--project", "paper")
    r = admin.call("POST", path, {"limits": ["requests/day=1"], "budgets": "total=2"})
    assert r.status_code == 200, r.text
    assert {k: r.json()[k] for k in ("name", "limits", "budgets", "keys")} == {"name": "paper", "limits": "requests/day=1", "budgets": "total=2", "keys": 1}
    assert r.json()["spending"] == {"total": {"limit": "2", "spent": "0", "reserved": "0", "soft": False}}
    assert [ask(admin.server, key, chat(max_tokens=1)).status_code for _ in range(2)] == [200, 429]
    r = admin.call("POST", path, {"budgets": []})
    assert (r.json()["limits"], r.json()["budgets"], r.json()["spending"]) == ("requests/day=1", "", {})
    assert admin.call("GET", path).json() == r.json() and r.json() in admin.call("GET", "/admin/v1/projects").json()["data"]
    for body, words in (({"limits": "requests=1"}, "WHAT/PERIOD=N"), ({"name": "a"}, "no name"), ({"limit": "a"}, "limit")):
        r = admin.call("POST", path, body)
        assert r.status_code == 400 and words in r.json()["error"]["message"]
    assert admin.call("DELETE", path).json() == {"object": "project", "deleted": True}
    assert admin.call("DELETE", path).status_code == 404 and admin.call("GET", path).status_code == 404
    assert admin.call("POST", path, {}, key=KEY).status_code == 403
    acts = [x for x in admin.call("GET", "/admin/v1/audit?limit=1000").json()["data"] if x["target"] == "paper"]
    assert [(x["act"], x["who"]) for x in acts] == [("project.set", admin.name), ("project.set", admin.name), ("project.removed", admin.name)]
    assert acts[0]["before"] is None and acts[1]["before"]["budgets"] == "total=2" and acts[1]["after"]["budgets"] == "" and acts[2]["after"] is None


def test_examples_of_the_documents(admin, tmp_path):
    """The commands of docs/account.md that need an administrator, a quote or a secret, as they stand there but for the port."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/account.md").read_text(), re.S)
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "hearth").symlink_to(pathlib.Path(BIN).resolve())
    env = environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_STORE": admin.store, "KEY": admin.key, "ADMIN_KEY": admin.key, "PATH": f"{bin}:{os.environ['PATH']}"}

    def run(words):
        (block,) = [b for b in blocks if words in b]
        block = block.replace("http://127.0.0.1:8080", admin.server.url).replace("hearth serve", "hearth serve --help")
        r = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", block], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert r.returncode == 0, r.stderr
        return r.stdout

    made = json.loads(run("/admin/v1/keys"))
    assert made["key"].startswith("hk-") and made["tags"] == "team=blue"
    assert json.loads(run("/v1/quote"))["at_most"]["completion_tokens"] == 20
    assert "--webhook-secret" in run("hearth secrets set")
    assert hearth("secrets", "list", "--store", admin.store).stdout.startswith("webhooks ")
