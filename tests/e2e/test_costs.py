"""What a request costs: in its answer, and in the ledger."""
import decimal
import json

import pytest

from conftest import MODEL, Server, chat
from test_account import ask, new_key, rows

IMAGE = "starter-image"


def cost_of(response):
    return json.loads(response.text, parse_float=decimal.Decimal)["usage"]["cost"]


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("costs")
    store, prices = str(folder / "a.db"), folder / "prices.yaml"
    prices.write_text(f"prices:\n  - {{ model: {MODEL}, input: 0.15, cached_input: 0.07, output: 0.60 }}\n"
                      f"  - {{ model: {IMAGE}, per_step: 0.00035, per_picture: 0.001 }}\n")
    key, _ = new_key(store)
    s = Server("--store", store, "--prices", str(prices))
    yield s, key, store
    s.stop()


def test_costs_of_text(priced):
    """Plain, streamed and completed; in both dialects: what the answer says is what its row says."""
    s, key, store = priced
    said = {}
    for base in ("/v1", "/inference/v1"):
        r = ask(s, key, chat(max_tokens=4), path=base + "/chat/completions")
        assert r.headers["X-Hearth-Cost"] == format(cost_of(r), "f")
        said[r.headers["X-Request-Id"]] = cost_of(r)
        r = ask(s, key, {"model": MODEL, "prompt": "a b c", "max_tokens": 3}, path=base + "/completions")
        said[r.headers["X-Request-Id"]] = cost_of(r)
        r = ask(s, key, chat(max_tokens=5, stream=True, stream_options={"include_usage": True}), path=base + "/chat/completions")
        assert "X-Hearth-Cost" not in r.headers  # they are gone before the cost is known
        last = [x for x in r.text.splitlines() if x.startswith("data: {")][-1]
        said[r.headers["X-Request-Id"]] = json.loads(last[6:], parse_float=decimal.Decimal)["usage"]["cost"]
    s.wait_until(lambda: len([x for x in rows(store) if x["request"] in said]) == 6, "a row is missing")
    for x in rows(store):
        if x["request"] in said:
            assert x["cost"] == said[x["request"]] * 10**9 > 0


def test_costs_of_pictures(priced):
    s, key, store = priced
    body = {"model": IMAGE, "prompt": "a house", "size": "256x256", "response_format": "b64_json", "n": 2, "steps": 2}
    r = ask(s, key, body, path="/v1/images/generations")
    assert r.status_code == 200, r.text
    assert cost_of(r) == decimal.Decimal("0.0034") and r.headers["X-Hearth-Cost"] == "0.0034"
    r = ask(s, key, body | {"stream": True}, path="/v1/images/generations")
    done = [json.loads(x[6:], parse_float=decimal.Decimal) for x in r.text.splitlines() if x.startswith("data: {")]
    assert [x["usage"]["cost"] for x in done if x["type"] == "image_generation.completed"] == [decimal.Decimal("0.0017")] * 2


def test_no_costs_without_an_account(server):
    r = server.post("/v1/chat/completions", chat(max_tokens=2))
    assert "cost" not in r.json()["usage"] and "X-Hearth-Cost" not in r.headers
