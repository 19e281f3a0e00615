"""What a request would cost, before it is sent."""
import decimal
import json

import pytest

from conftest import MODEL, Server, chat
from test_account import ask, new_key, rows

CHAT = "/v1/chat/completions"
IMAGE = "starter-image"


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quotes")
    store, prices = str(folder / "a.db"), folder / "prices.yaml"
    prices.write_text(f"prices:\n  - {{ model: {MODEL}, since: 2020-01-31, input: 0.15, cached_input: 0.15, output: 0.60 }}\n"
                      f"  - {{ model: {IMAGE}, per_step: 0.00035, per_picture: 0.001 }}\n")
    key, _ = new_key(store, "--budget", "total=1")
    s = Server("--store", store, "--prices", str(prices), "--ctx", "512")
    yield s, key, store
    s.stop()


def quote(s, key, endpoint, request, status=200):
    r = ask(s, key, {"endpoint": endpoint, "request": request}, "/v1/quote")
    assert r.status_code == status, r.text
    return json.loads(r.text, parse_float=decimal.Decimal)


def test_text(priced):
    """The prompt's tokens are those of the answer, the cost is never less than what it comes to, and nothing is run or reserved."""
    s, key, store = priced
    for endpoint, request in ((CHAT, chat(max_tokens=5)), ("/inference/v1/chat/completions", chat(max_tokens=5, n=2)),
                              ("/v1/completions", {"model": MODEL, "prompt": ["a b c", "d"], "max_tokens": 3})):
        q = quote(s, key, endpoint, request)
        assert q["model"] == MODEL and q["price"] == {"input": decimal.Decimal("0.15"), "cached_input": decimal.Decimal("0.15"), "output": decimal.Decimal("0.6"),
                                                      "per_step": 0, "per_picture": 0, "since": "2020-01-31T00:00:00Z"}
        assert rows(store) == [] or rows(store)[-1]["endpoint"] != "quote"
        before = len(rows(store))
        r = ask(s, key, request, endpoint)
        usage = json.loads(r.text, parse_float=decimal.Decimal)["usage"]
        choices = request.get("n", 1) * (2 if endpoint == "/v1/completions" else 1)
        assert q["at_most"]["prompt_tokens"] == usage["prompt_tokens"] and q["at_most"]["completion_tokens"] == choices * request["max_tokens"]
        assert usage["cost"] <= q["at_most"]["cost"] and q["at_most"] == q["reserved"]
        assert q["at_most"]["cost"] * 10**9 == 150 * usage["prompt_tokens"] + 600 * choices * request["max_tokens"]
        s.wait_until(lambda: len(rows(store)) == before + 1, "a row is missing")
    # As long as the context lets it be, where it does not say.
    q = quote(s, key, CHAT, {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]})
    assert q["at_most"]["prompt_tokens"] + q["at_most"]["completion_tokens"] == 512 and q["at_most"] == q["reserved"]


@pytest.mark.parametrize("request_of", [lambda: (CHAT, chat(max_tokens=5, n=2)), lambda: ("/v1/completions", {"model": MODEL, "prompt": ["a b", "c"], "max_tokens": 3, "best_of": 2})])
def test_what_is_quoted_is_what_is_reserved(priced, request_of):
    """To the nano-dollar: a budget of what the quote says is enough, one of a nano-dollar less is refused with that figure."""
    s, _, store = priced
    path, body = request_of()
    asking, _ = new_key(store, "--budget", "total=1")
    s.wait_until(lambda: ask(s, asking, {}, "/v1/quote").status_code != 401, "the key was not seen")
    cost = quote(s, asking, path, body)["reserved"]["cost"]
    enough, _ = new_key(store, "--budget", f"total={cost:f}")
    short, _ = new_key(store, "--budget", f"total={cost - decimal.Decimal('1e-9'):f}")
    s.wait_until(lambda: ask(s, short, {}, "/v1/quote").status_code != 401, "the key was not seen")
    r = ask(s, short, body, path)
    assert r.status_code == 402 and f"up to {cost:f}" in r.json()["error"]["message"], r.text
    r = ask(s, enough, body, path)
    assert r.status_code == 200, r.text
    assert json.loads(r.text, parse_float=decimal.Decimal)["usage"]["cost"] <= cost
    empty, _ = new_key(store, "--budget", "total=0")  # refused before a model is loaded for it
    s.wait_until(lambda: ask(s, empty, {}, "/v1/quote").status_code != 401, "the key was not seen")
    r = ask(s, empty, body, path)
    assert r.status_code == 402 and "up to 0.00000015 " in r.text.replace('"', " "), r.text


def test_pictures(priced):
    s, key, _ = priced
    q = quote(s, key, "/v1/images/generations", {"model": IMAGE, "prompt": "a house", "n": 2, "steps": 28})
    assert q["at_most"] == q["reserved"] == {"cost": decimal.Decimal("0.0216"), "pictures": 2, "steps": 56}


@pytest.mark.parametrize("body, status, words", [
    ({"request": {}}, 400, "endpoint is required"),
    ({"endpoint": CHAT}, 400, "request is required"),
    ({"endpoint": 1, "request": {}}, 400, "endpoint must be"),
    ({"endpoint": CHAT, "request": []}, 400, "request must be"),
    ({"endpoint": "/v1/models", "request": {}}, 400, "/v1/models"),
    ({"endpoint": "/v1/images/edits", "request": {}}, 400, "nothing to quote"),
    ({"endpoint": CHAT, "request": chat(model="none")}, 404, "none"),
    ({"endpoint": CHAT, "request": chat(temperature=9)}, 400, "temperature"),
    ({"endpoint": CHAT, "request": chat("word " * 2000)}, 400, "maximum context length"),
    ({"endpoint": "/api/v1/flux/none", "request": {}}, 400, "nothing to quote"),
    ({"endpoint": CHAT, "request": chat(), "more": 1}, 400, "more"),
])
def test_refusals_say_why(priced, body, status, words):
    s, key, _ = priced
    r = ask(s, key, body, "/v1/quote")
    assert r.status_code == status and words in r.json()["error"]["message"], r.text


def test_who_may(priced, server):
    s, _, store = priced
    other, _ = new_key(store, "--scope", "model:flux*")
    s.wait_until(lambda: ask(s, other, {}, "/v1/quote").status_code != 401, "the key was not seen")
    r = ask(s, other, {"endpoint": CHAT, "request": chat()}, "/v1/quote")
    assert r.status_code == 404 and r.json()["error"]["code"] == "model_not_found"
    r = server.post("/v1/quote", {"endpoint": CHAT, "request": chat()})
    assert r.status_code == 404 and "--store" in r.json()["error"]["message"]
