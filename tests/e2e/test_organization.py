"""Usage and costs of the whole account, as OpenAI's clients read them."""
import decimal
import json
import time

import openai
import pytest
import requests

from conftest import MODEL, PATIENCE, Server, chat
from test_account import ask, new_key, rows

DAY = 86400


class Organization:
    def __init__(self, folder):
        self.store, prices = str(folder / "a.db"), folder / "prices.yaml"
        prices.write_text(f"prices:\n  - {{ model: {MODEL}, input: 0.15, output: 0.60 }}\n  - {{ model: starter-image, per_step: 0.0001, per_picture: 0.001 }}\n")
        self.admin, _ = new_key(self.store, "--scope", "admin")
        self.books, self.books_id = new_key(self.store, "--project", "books")
        self.web, self.web_id = new_key(self.store, "--project", "web")
        self.server = Server("--store", self.store, "--prices", str(prices))
        self.start = int(time.time()) // DAY * DAY
        for i in range(3):
            assert ask(self.server, self.books, chat(max_tokens=2 + i)).status_code == 200
        assert ask(self.server, self.web, {"model": MODEL, "prompt": "a b", "max_tokens": 2}, "/v1/completions").status_code == 200
        r = ask(self.server, self.web, {"model": "starter-image", "prompt": "a house", "steps": 1, "response_format": "b64_json"}, "/v1/images/generations")
        assert r.status_code == 200, r.text
        self.server.wait_until(lambda: len(rows(self.store)) == 5, "a row is missing")
        self.rows = rows(self.store)
        self.client = openai.OpenAI(base_url=self.server.url + "/v1", api_key=self.web, admin_api_key=self.admin, timeout=PATIENCE, max_retries=0)

    def get(self, path, key=None):
        r = requests.get(f"{self.server.url}/v1/organization/{path}", headers={"Authorization": f"Bearer {key or self.admin}"}, timeout=PATIENCE)
        return r.status_code, json.loads(r.text, parse_float=decimal.Decimal)

    def sum(self, field, *keys):
        return sum(x[field] for x in self.rows if x["key_id"] in keys)


@pytest.fixture(scope="module")
def org(tmp_path_factory):
    o = Organization(tmp_path_factory.mktemp("organization"))
    yield o
    o.server.stop()


def results(page):
    assert page["object"] == "page" and all(b["object"] == "bucket" for b in page["data"])
    return [r for b in page["data"] for r in b["results"]]


def test_completions(org):
    status, page = org.get(f"usage/completions?start_time={org.start}")
    assert status == 200 and page["has_more"] is False and page["next_page"] is None
    assert page["data"][0]["start_time"] == org.start and page["data"][0]["end_time"] == org.start + DAY
    assert results(page) == [{"object": "organization.usage.completions.result", "input_tokens": org.sum("prompt", org.books_id, org.web_id),
                              "output_tokens": org.sum("completion", org.books_id, org.web_id), "input_cached_tokens": org.sum("cached", org.books_id, org.web_id),
                              "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 4, "project_id": None, "api_key_id": None, "model": None,
                              "user_id": None, "batch": None, "service_tier": None}]
    _, page = org.get(f"usage/completions?start_time={org.start}&group_by=project_id&group_by[]=api_key_id&group_by=model")
    assert [(r["project_id"], r["api_key_id"], r["model"], r["num_model_requests"]) for r in results(page)] == [("books", org.books_id, MODEL, 3), ("web", org.web_id, MODEL, 1)]
    for query, count in (("project_ids=books", 3), ("project_ids[]=web&project_ids[]=books", 4), (f"api_key_ids={org.web_id}", 1), (f"models={MODEL}", 4), ("models=none", 0)):
        _, page = org.get(f"usage/completions?start_time={org.start}&{query}")
        assert sum(r["num_model_requests"] for r in results(page)) == count, query


def test_pages_of_minutes(org):
    """Buckets lie side by side, every page begins where the one before ended, and together they have everything."""
    seen, path = [], f"usage/completions?start_time={org.start}&bucket_width=1h&limit=5&end_time={org.start + 2 * DAY}"
    page = ""
    while page is not None:
        _, one = org.get(path + (f"&page={page}" if page else ""))
        assert 0 < len(one["data"]) <= 5 and one["has_more"] == (one["next_page"] is not None)
        seen += one["data"]
        page = one["next_page"]
    assert [b["start_time"] for b in seen] == [org.start + 3600 * i for i in range(48)]
    assert sum(r["num_model_requests"] for b in seen for r in b["results"]) == 4
    minute = int(time.time()) // 60 * 60
    _, one = org.get(f"usage/completions?start_time={minute - 3599 + 60}&bucket_width=1m&end_time={minute + 60}")
    assert len(one["data"]) == 60 and one["data"][-1]["end_time"] == minute + 60


def test_images_and_costs(org):
    _, page = org.get(f"usage/images?start_time={org.start}&group_by=source&group_by=model")
    (r,) = results(page)
    assert (r["images"], r["num_model_requests"], r["source"], r["model"][-13:]) == (1, 1, "image.generation", "starter-image")
    _, page = org.get(f"costs?start_time={org.start}&group_by=line_item&group_by=project_id")
    assert {(r["project_id"], r["line_item"][-13:]): r["amount"]["value"] * 10**9 for r in results(page)} == {
        ("books", MODEL[-13:]): org.sum("cost", org.books_id),
        ("web", MODEL[-13:]): sum(x["cost"] for x in org.rows if x["key_id"] == org.web_id and x["model"] == MODEL),
        ("web", "starter-image"): 1_100_000}
    assert all(r["amount"]["currency"] == "usd" for r in results(page))


def test_client_library(org):
    usage = org.client.admin.organization.usage
    page = usage.completions(start_time=org.start, project_ids=["books"], group_by=["project_id"], bucket_width="1d", limit=1)
    assert page.data[0].results[0].num_model_requests == 3 and page.data[0].results[0].project_id == "books"
    assert usage.images(start_time=org.start, sources=["image.generation"]).data[0].results[0].images == 1
    assert usage.images(start_time=org.start, sources=["image.edit"]).data[0].results == []
    value = usage.costs(start_time=org.start).data[0].results[0].amount.value
    assert round(value * 1e9) == org.sum("cost", org.books_id, org.web_id)


@pytest.mark.parametrize("query, words", [
    ("usage/completions", "start_time is required"),
    ("usage/completions?start_time=soon", "start_time must be"),
    ("usage/completions?start_time=100&end_time=100", "end_time must be after"),
    ("usage/completions?start_time=1&bucket_width=2d", "bucket_width must be"),
    ("costs?start_time=1&bucket_width=1h", "1d for costs"),
    ("usage/images?start_time=1&limit=32", "limit must be from 1 to 31"),
    ("usage/completions?start_time=1&group_by=user_id", "group_by \"user_id\""),
    ("usage/completions?start_time=1&user_ids=a", "\"user_ids\" is not known"),
    ("costs?start_time=1&page=2", "page must be"),
])
def test_refusals_say_why(org, query, words):
    status, body = org.get(query)
    assert status == 400 and words in body["error"]["message"], body


def test_who_may(org):
    for path in ("usage/completions?start_time=1", "usage/images?start_time=1", "costs?start_time=1"):
        assert org.get(path, org.web)[0] == 403
