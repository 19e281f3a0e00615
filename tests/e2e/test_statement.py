"""What a key is told of its own account, as Firemoon's and Fireworks' clients ask for it."""
import decimal
import json
import re

import pytest
import requests

from conftest import PATIENCE, Server, stand_ins
from test_account import ask, new_key, rows

FLUX = "/api/v1/flux/schnell"


class Account:
    def __init__(self, folder):
        self.store, prices = str(folder / "a.db"), folder / "prices.yaml"
        prices.write_text("prices:\n  - { model: flux/schnell, per_step: 0.00035 }\n")
        args, models = stand_ins(folder, "FLUX.1-schnell")
        self.key, self.name = new_key(self.store, "--budget", "total=1", "--budget", "day=0.5", "--budget", "month=0.0001:soft")
        self.free, _ = new_key(self.store)
        self.server = Server("--store", self.store, "--prices", str(prices), *args, models=models)
        for _ in range(3):
            r = ask(self.server, self.key, {"prompt": "a house", "num_inference_steps": 2}, FLUX)
            assert r.status_code == 200 and r.headers["X-Hearth-Cost"] == "0.0007", r.text
        assert ask(self.server, self.key, {"prompt": "a", "num_inference_steps": 99}, FLUX).status_code == 400
        self.server.wait_until(lambda: len(rows(self.store)) == 4, "a row is missing")

    def get(self, path, key=None):
        r = requests.get(self.server.url + path, headers={"Authorization": f"Bearer {key or self.key}"}, timeout=PATIENCE)
        return r.status_code, json.loads(r.text, parse_float=decimal.Decimal)


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    a = Account(tmp_path_factory.mktemp("statement"))
    yield a
    a.server.stop()


def test_balance(account):
    """The least that is left of a hard budget; without one there is none to run out of."""
    assert account.get("/api/credits/balance") == (200, {"balance": decimal.Decimal("0.4979"), "currency": "USD", "unlimited": False})
    assert account.get("/api/credits/balance", account.free) == (200, {"balance": None, "currency": "USD", "unlimited": True})


def test_generations(account):
    status, page = account.get("/api/generations?limit=2")
    assert status == 200 and page["stats"] == {"total": 4, "total_cost": decimal.Decimal("0.0021")}
    assert page["pagination"] == {"limit": 2, "offset": 0, "total": 4, "has_more": True} and len(page["generations"]) == 2
    first = page["generations"][0]
    assert first["status"] == "failed" and first["endpoint"] == "flux/schnell" and first["cost"] == 0
    assert page["generations"][1]["cost"] == decimal.Decimal("0.0007") and page["generations"][1]["num_images"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["created_at"])
    _, rest = account.get("/api/generations?limit=500&offset=2&endpoint=flux/schnell")
    assert rest["pagination"] == {"limit": 100, "offset": 2, "total": 4, "has_more": False} and len(rest["generations"]) == 2
    assert not {x["id"] for x in rest["generations"]} & {x["id"] for x in page["generations"]}
    assert account.get("/api/generations?endpoint=flux/dev")[1]["generations"] == []
    assert account.get("/api/generations", account.free)[1]["pagination"]["total"] == 0  # what is another key's is nobody else's


def test_usage(account):
    for period in ("today", "week", "month", "year", "all"):
        status, page = account.get(f"/api/usage?period={period}")
        assert status == 200 and page["period"] == period and page["totals"]["images"] == 3 and page["totals"]["cost"] == decimal.Decimal("0.0021")
        assert page["generations"]["succeeded"] == 3 and [x["images"] for x in page["by_model"]] == [3]
    status, body = account.get("/api/usage?period=hour")
    assert status == 400 and "today, week" in body["message"]
    assert account.get("/api/usage", account.free)[1] == {"period": "all", "totals": {"requests": 0, "images": 0, "cost": 0}, "by_model": [], "generations": {"succeeded": 0, "failed": 0}}


def test_account_of_fireworks(account):
    status, body = account.get("/v1/accounts/fireworks")
    assert status == 200 and body == {"name": "accounts/fireworks", "displayName": "fireworks", "state": "READY", "status": {"code": "OK", "message": ""}}
    assert account.get("/v1/accounts/fire")[0] == 404 and account.get("/v1/accounts/fireworks/users")[0] == 404


def test_without_an_account(server):
    for path in ("/api/credits/balance", "/api/generations", "/api/usage"):
        r = server.get(path)
        assert r.status_code == 404 and "--store" in r.json()["message"]
