"""What a policy holds for a person: in every dialect, decided over HTTP and on the command line, kept over a restart."""
import os
import pathlib
import subprocess

import openai
import pytest
import requests
from openai import OpenAI

from conftest import BIN, MODELS, PATIENCE, Server, chat, environment, stand_ins
from test_account import new_key, rows

RULES = """images: {unsafe: [hentai, porn], threshold: 0.6, action: pass}
words:
  default: careful
  lists:
    - {name: never, words: [forbidden]}
    - {name: perhaps, words: [weapon*]}
  policies:
    - {name: careful, refuse: [never], review: [perhaps], on_review: hold}
"""
REVIEWS = "/admin/v1/reviews"


class Place:
    def __init__(self, folder):
        self.store, self.rules = str(folder / "a.db"), folder / "rules.yaml"
        self.rules.write_text(RULES)
        self.boss, self.boss_name = new_key(self.store, "--scope", "admin")
        self.key, self.name = new_key(self.store)
        self.other, _ = new_key(self.store)
        self.args, self.models = stand_ins(folder, "FLUX.1-dev")
        for f in pathlib.Path(MODELS).iterdir():
            (pathlib.Path(self.models) / f.name).symlink_to(f.resolve())
        self.server = None
        self.start()

    def start(self):
        if self.server:
            self.server.stop()
        self.server = Server("--store", self.store, "--safety", str(self.rules), "--no-preload", *self.args, models=self.models)

    def call(self, method, path, body=None, key=None, **headers):
        return requests.request(method, self.server.url + path, json=body, headers={"Authorization": f"Bearer {key or self.key}"} | headers, timeout=PATIENCE)

    def admin(self, method, path, body=None):
        return self.call(method, path, body, key=self.boss)

    def cli(self, *args):
        return subprocess.run([BIN, "reviews", *args, "--store", self.store], capture_output=True, text=True, timeout=PATIENCE,
                              env=environment() | {"HEARTH_CONFIG": "/dev/null"})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    p = Place(tmp_path_factory.mktemp("reviews"))
    yield p
    p.server.stop()


@pytest.mark.checked
def test_held_and_approved(place):
    body = chat("What is a weapon?", max_tokens=1)
    r = place.call("POST", "/v1/chat/completions", body)
    error = r.json()["error"]
    assert r.status_code == 409 and error["code"] == "held_for_review" and r.headers["X-Safety-Action"] == "hold" and int(r.headers["Retry-After"]) > 0
    name = r.headers["X-Review-Id"]
    assert f"/v1/reviews/{name}" in error["message"]
    got = place.call("GET", f"/v1/reviews/{name}").json()
    assert (got["status"], got["policy"], got["words"], got["decided"]) == ("held", "careful", "weapon*", None) or got["words"] == "weapon"
    assert "text" not in got
    assert place.call("GET", f"/v1/reviews/{name}", key=place.other).status_code == 404  # it is another key's
    assert place.call("GET", "/v1/reviews/review_none").status_code == 404
    assert place.call("GET", REVIEWS).status_code == 403 and place.call("POST", f"{REVIEWS}/{name}/approve").status_code == 403

    place.start()  # it is still held
    assert place.call("POST", "/v1/chat/completions", body).headers["X-Review-Id"] == name
    whole = place.admin("GET", f"{REVIEWS}/{name}").json()
    assert whole["key"] == place.name and "What is a weapon?" in whole["text"] and whole["endpoint"] == "/v1/chat/completions"
    assert name in [x["id"] for x in place.admin("GET", REVIEWS + "?status=held").json()["data"]]
    r = place.admin("POST", f"{REVIEWS}/{name}/approve")
    assert r.status_code == 200 and r.json()["status"] == "approved" and r.json()["decided_by"] == place.boss_name
    assert place.call("GET", f"/v1/reviews/{name}").json()["status"] == "approved"
    for path, more in (("/v1/chat/completions", {}), ("/v1/chat/completions", {"stream": True}), ("/inference/v1/chat/completions", {"n": 2})):
        r = place.call("POST", path, body | more)
        assert r.status_code == 200 and r.headers["X-Safety-Action"] == "review" and r.headers["X-Review-Id"] == name
    assert place.call("POST", "/v1/chat/completions", body, key=place.other).status_code == 409  # approved for one key
    assert place.call("POST", "/v1/chat/completions", chat("What is a weapon!", max_tokens=1)).status_code == 409  # and for these words
    assert place.call("POST", "/v1/chat/completions", chat("A flower.", max_tokens=1)).status_code == 200
    assert place.call("POST", "/v1/chat/completions", chat("A forbidden weapon.")).json()["error"]["code"] == "content_policy_violation"
    acts = [x for x in place.admin("GET", "/admin/v1/audit?limit=1000").json()["data"] if x["target"] == name]
    assert [(x["act"], x["who"]) for x in acts] == [("review.decided", place.boss_name)]


@pytest.mark.checked
def test_refused(place):
    client = OpenAI(base_url=place.server.url + "/v1", api_key=place.key, max_retries=0)
    ask = dict(model="smollm2-135m-instruct", messages=[{"role": "user", "content": "Weapons, please."}], max_tokens=1)
    with pytest.raises(openai.ConflictError) as e:
        client.chat.completions.create(**ask)
    name = e.value.response.headers["x-review-id"]
    for body, words in (({}, "say why"), ({"reason": 3}, "a reason"), ({"why": "x"}, "a reason"), ({"reason": "x" * 200}, "a reason"), ([], "object")):
        r = place.admin("POST", f"{REVIEWS}/{name}/refuse", body)
        assert r.status_code == 400 and words in r.json()["error"]["message"], (body, r.text)
    assert place.admin("POST", f"{REVIEWS}/{name}/burn").status_code == 404 and place.admin("POST", f"{REVIEWS}/none/approve").status_code == 404
    assert place.admin("POST", f"{REVIEWS}/{name}/refuse", {"reason": "not in this house"}).json()["reason"] == "not in this house"
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(**ask)
    assert e.value.code == "content_policy_violation" and "not in this house" in e.value.message
    assert client.get(f"/reviews/{name}", cast_to=object)["reason"] == "not in this house"
    assert all(x["cost"] == 0 for x in rows(place.store) if x["status"] in (400, 409))


def test_every_dialect(place):
    """Each has its own words for it, and what is approved in one is approved in all."""
    name = "smollm2-135m-instruct"
    said = [{"role": "user", "content": "weaponry, all of it"}]
    for path, body in (("/v1/completions", {"model": name, "prompt": "weaponry, all of it", "max_tokens": 1}),
                       ("/v1/responses", {"model": name, "input": "weaponry, all of it", "max_output_tokens": 16}),
                       ("/v1/messages", {"model": name, "messages": said, "max_tokens": 1}),
                       ("/api/chat", {"model": name, "messages": said, "stream": False, "options": {"num_predict": 1}}),
                       ("/v1/images/generations", {"model": "starter-image", "prompt": "weaponry, all of it", "steps": 1}),
                       ("/api/v1/flux/dev", {"prompt": "weaponry, all of it"}),
                       ("/inference/v1/workflows/accounts/fireworks/models/flux-1-dev-fp8/text_to_image", {"prompt": "weaponry, all of it"})):
        more = {"anthropic-version": "2023-06-01"} if path == "/v1/messages" else {}
        r = place.call("POST", path, body, **more)
        assert r.status_code == 409, (path, r.status_code, r.text)
        review = r.headers["X-Review-Id"]
        error = r.json()["error"]
        assert review in (r.json()["message"] if path == "/api/v1/flux/dev" else error["message"] if isinstance(error, dict) else error), (path, r.text)
    place.admin("POST", f"{REVIEWS}/{review}/approve", {"reason": "a museum"})
    for path, body in (("/v1/images/generations", {"model": "starter-image", "prompt": "weaponry, all of it", "steps": 1}),
                       ("/v1/chat/completions", {"model": name, "messages": said, "max_tokens": 1})):
        assert place.call("POST", path, body).status_code == 200, path


def test_pages_and_the_command(place):
    for i in range(3):
        place.call("POST", "/v1/chat/completions", chat(f"weapon {i}"))
    everything = place.admin("GET", REVIEWS + "?limit=1000").json()
    assert not everything["has_more"]
    paged, after = [], ""
    while True:
        page = place.admin("GET", f"{REVIEWS}?limit=2&after={after}").json()
        paged += page["data"]
        if not page["has_more"]:
            break
        after = page["last"]
    assert paged == everything["data"] and len(paged) >= 3
    assert place.admin("GET", REVIEWS + "?status=odd").status_code == 400
    lines = place.cli("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [x["id"] for x in paged]
    first, second, third = [x["id"] for x in paged[-3:]]
    assert "weapon 0" in place.cli("show", first).stdout
    assert place.cli("approve", first).returncode == 0 and place.call("POST", "/v1/chat/completions", chat("weapon 0", max_tokens=1)).status_code == 200
    assert place.cli("refuse", second, "no \x1b[1m").returncode == 0 and place.call("POST", "/v1/chat/completions", chat("weapon 1")).status_code == 400
    r = place.cli("refuse", third)
    assert r.returncode == 2 and "refuse ID REASON" in r.stderr
    assert "there is no review" in place.cli("approve", "review_none").stderr


def test_settings(place, tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", str(tmp_path), "--safety", str(tmp_path / "rules.yaml")], capture_output=True,
                       text=True, timeout=PATIENCE, env=environment() | {"HEARTH_CONFIG": "/dev/null"})
    assert r.returncode == 1 and 'the safety policy "careful" holds requests' in r.stderr and "--store" in r.stderr
    (tmp_path / "rules.yaml").write_text(RULES.replace("hold", "keep"))
    r = subprocess.run([BIN, "check", "--safety", str(tmp_path / "rules.yaml"), "x"], capture_output=True, text=True, timeout=PATIENCE,
                       env=os.environ | {"HEARTH_CONFIG": "/dev/null"})
    assert r.returncode == 1 and "on_review must be hold or mark" in r.stderr
