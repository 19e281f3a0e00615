"""The engine behind the door: whose prefixes are shared, what the queue takes."""
import pytest
import requests

from conftest import MODEL, PATIENCE, Server, chat

pytestmark = pytest.mark.checked
CHAT = "/v1/chat/completions"
KEYS = ("first-key-0123456789", "second-key-0123456789")
SECRET = "The launch code of the silver rocket is four, eight, fifteen, sixteen, twenty-three, and nobody may know. " * 3


def cached(s, key, content=SECRET, **fields):
    headers = {"Authorization": f"Bearer {key}"} if key else None
    r = s.post(CHAT, chat(content, max_tokens=1, **fields), headers=headers)
    assert r.status_code == 200, r.text
    return r.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_prefixes_belong_to_a_key():
    """What one key asked shows in no other key's cached_tokens, be it the whole prompt or its beginning."""
    s = Server("--keys", KEYS[0], "--keys", KEYS[1])
    assert cached(s, KEYS[0]) == 0
    assert cached(s, KEYS[0]) > 50
    assert cached(s, KEYS[1]) == 0
    assert cached(s, KEYS[1]) > 50
    long_key = "k" * 100_000  # hashed: neither its length nor its end matters to anything else
    assert cached(s, KEYS[0], prompt_cache_isolation_key=long_key) == 0
    assert cached(s, KEYS[0], prompt_cache_isolation_key=long_key) > 50
    assert cached(s, KEYS[0], prompt_cache_isolation_key=long_key + "k") == 0
    assert cached(s, KEYS[1], prompt_cache_isolation_key=long_key) == 0
    s.stop()


def test_prefixes_may_be_shared_by_all():
    s = Server("--keys", KEYS[0], "--keys", KEYS[1], "--prefix-sharing", "all")
    assert cached(s, KEYS[0]) == 0
    assert cached(s, KEYS[1]) > 50
    assert cached(s, KEYS[1], prompt_cache_isolation_key="mine") == 0
    s.stop()


def test_queue_takes_whole_requests(server):
    """The limit counts choices: hundreds of prompts at an idle server are not "busy", and what never fits is said to be so."""
    server.wait_idle()
    body = {"model": MODEL, "prompt": [[1, 2, i] for i in range(1, 301)], "max_tokens": 1}
    r = requests.post(server.url + "/v1/completions", json=body, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    assert len(r.json()["choices"]) == 300
    small = Server("--queue-limit", "10", "--max-batch", "4")
    r = requests.post(small.url + "/v1/completions", json={**body, "prompt": body["prompt"][:15]}, timeout=PATIENCE)
    assert r.status_code == 400 and "15 choices" in r.json()["error"]["message"] and "14" in r.json()["error"]["message"]
    r = requests.post(small.url + "/v1/completions", json={**body, "prompt": body["prompt"][:14]}, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    small.stop()
