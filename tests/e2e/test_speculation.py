"""Guesses at the next tokens: the same answers and the same usage with and without them, foreseen answers as OpenAI's client sends them, counters."""
import concurrent.futures
import json

import openai
import pytest

from conftest import MODEL, Server, chat, events

CHAT = "/v1/chat/completions"
CODE = "\n".join(f"def area_{name}(width, height):\n    return width * height\n" for name in ("red", "green", "blue"))
EDIT = f"Write this code again, word for word, with every return replaced by yield:\n{CODE}"
PEOPLE = {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "object", "required": ["name", "city"], "additionalProperties": False,
          "properties": {"name": {"type": "string", "maxLength": 12}, "city": {"enum": ["Berlin", "Lisbon"]}}}}
ASKED = [
    {"content": EDIT, "max_tokens": 60, "temperature": 0},
    {"content": EDIT, "max_tokens": 60, "temperature": 0.8, "seed": 5, "frequency_penalty": 0.4, "logprobs": True, "top_logprobs": 2},
    {"content": EDIT, "max_tokens": 60, "temperature": 0, "prediction": {"type": "content", "content": CODE.replace("return", "yield")}},
    {"content": EDIT, "max_tokens": 60, "temperature": 1, "seed": 9, "prediction": {"type": "content", "content": [{"type": "text", "text": CODE}]}, "stop": ["blue"]},
    {"content": "Name three people.", "max_tokens": 90, "temperature": 0.7, "seed": 3, "response_format": {"type": "json_schema", "json_schema": {"name": "people", "schema": PEOPLE}}},
    {"content": "Say something about rivers.", "max_tokens": 40, "temperature": 1, "seed": 8, "n": 2},
]


@pytest.fixture(scope="module")
def plain():
    s = Server("--speculate", "off")
    yield s
    s.stop()


def answer(server, fields, **more):
    r = server.post(CHAT, chat(**fields, **more))
    assert r.status_code == 200, r.text
    body = r.json()
    usage = {k: v for k, v in body["usage"].items() if k != "prompt_tokens_details"}  # what was cached depends on who came before
    return [(c["message"], c["finish_reason"], c.get("logprobs")) for c in body["choices"]], usage


def test_same_answers_and_usage_alone_and_together(server, plain):
    want = [answer(plain, f) for f in ASKED]
    assert plain.metric("hearth_guesses_accepted_total") == plain.metric("hearth_guesses_refused_total") == 0
    before = server.metric("hearth_guesses_accepted_total")
    assert [answer(server, f) for f in ASKED] == want
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda f: answer(server, f), ASKED * 2)) == want * 2
    server.wait_until(lambda: server.metric("hearth_guesses_accepted_total") > before, "no guess came true")


def test_a_stream_says_the_same(server, plain):
    def streamed(s):
        r = s.post(CHAT, chat(**ASKED[2], stream=True, stream_options={"include_usage": True}))
        got = events(r)
        usage = got[-1]["usage"]
        return "".join(c["delta"].get("content") or "" for e in got for c in e["choices"]), usage["completion_tokens"], usage["completion_tokens_details"]
    text, n, details = streamed(server)
    assert (text, n, details) == streamed(plain)
    assert text == answer(plain, ASKED[2])[0][0][0]["content"]


def test_foreseen_answers_by_openais_client(server):
    """What came true is counted whether it saved time or not; the answer is the one without a prediction."""
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none")
    ask = dict(model=MODEL, messages=[{"role": "user", "content": EDIT}], max_tokens=50, temperature=0)
    first = client.chat.completions.create(**ask)
    text = first.choices[0].message.content
    details = first.usage.completion_tokens_details
    assert details.accepted_prediction_tokens == details.rejected_prediction_tokens == 0
    again = client.chat.completions.create(**ask, prediction={"type": "content", "content": text})
    assert again.choices[0].message.content == text and again.usage.completion_tokens == first.usage.completion_tokens
    details = again.usage.completion_tokens_details
    assert details.accepted_prediction_tokens >= 0.8 * first.usage.completion_tokens
    wrong = client.chat.completions.create(**ask, prediction={"type": "content", "content": "Zebras, quite unlike anything else, sleep standing."})
    assert wrong.choices[0].message.content == text
    assert wrong.usage.completion_tokens_details.accepted_prediction_tokens < wrong.usage.completion_tokens_details.rejected_prediction_tokens


def test_token_ids_and_what_is_refused(server):
    ids = server.post("/tokenize", {"model": MODEL, "prompt": "Hello there."}).json()["tokens"]
    assert server.post("/inference" + CHAT, chat(speculation=ids)).status_code == 200
    for bad, words in ((5, "prediction must be a string or an object"), ({"type": "content", "content": 5}, "text, or an array of text parts"),
                       ([1, "a"], "prediction"), ([10 ** 8], "outside the model's vocabulary"), ({"type": "content", "content": [{"type": "image"}]}, "text parts")):
        r = server.post(CHAT, chat(prediction=bad))
        assert r.status_code == 400 and words in r.json()["error"]["message"] and r.json()["error"]["param"] == "prediction", json.dumps(bad) + r.text
