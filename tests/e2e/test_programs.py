"""Programs in the style of the API's published examples: plain requests, dictionaries, a reader that splits each network read."""
import json

import pytest

from conftest import MODEL, Server, chat, events


class Chat:
    def __init__(self, server):
        self.server, self.messages = server, []

    def send(self, content):
        self.messages.append({"role": "user", "content": content})
        data = self.server.post("/inference/v1/chat/completions", {"model": MODEL, "messages": self.messages, "temperature": 0.7, "max_tokens": 12}).json()
        message = data["choices"][0]["message"]
        self.messages.append({"role": "assistant", "content": message["content"]})
        return data


def test_conversation_shares_its_prefix(server):
    c = Chat(server)
    c.messages.append({"role": "system", "content": "You are a helpful assistant. " * 30})
    first = c.send("Name a colour.")
    second = c.send("And another?")
    assert "tool_calls" not in first["choices"][0]["message"]
    assert second.get("usage", {}).get("total_tokens", 0) > 0
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 100


def test_reader_that_splits_each_network_read(server):
    """Whole events in every read: a reader that never joins fragments loses nothing."""
    body = json.dumps(chat("Count to ten.", max_tokens=40, temperature=0, stream=True)).encode()
    with server.connect() as s:
        s.sendall(b"POST /inference/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        text = ""
        while read := s.recv(65536).decode():
            for line in read.split("\n"):
                if line.startswith("data: ") and line[6:] != "[DONE]":
                    text += json.loads(line[6:])["choices"][0].get("delta", {}).get("content") or ""
    plain = server.post("/inference/v1/chat/completions", chat("Count to ten.", max_tokens=40, temperature=0)).json()
    assert text == plain["choices"][0]["message"]["content"]


def test_extra_body_in_the_body(server):
    r = server.post("/inference/v1/chat/completions", chat(extra_body={"reasoning_effort": "none", "max_tokens": 1}, max_tokens=3))
    assert r.status_code == 200 and r.json()["usage"]["completion_tokens"] <= 3
    r = server.post("/inference/v1/chat/completions", chat(extra_body={"reasoning_effort": "medium"}))
    assert r.status_code == 400 and "reasoning_effort" in r.json()["error"]["message"]


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "fireworks/smollm2-135m-instruct", "accounts/someone/models/smollm2-135m-instruct",
                                  MODEL + "#accounts/hearth/deployments/d1", "accounts/fireworks/models/" + MODEL, "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_names_of_a_model(server, name):
    assert server.post("/v1/chat/completions", chat(model=name, max_tokens=1)).json()["model"] == MODEL


def test_fireworks_stream_shape(server):
    r = server.post("/inference/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True}))
    assert r.headers["content-type"].startswith("text/event-stream") and r.headers["cache-control"] == "no-cache"
    e = events(r)
    assert e[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert e[-2]["choices"][0]["finish_reason"] and e[-2]["usage"] == e[-1]["usage"]
    assert e[-1]["choices"] == []
    assert len({(x["id"], x["created"], x["model"], x["object"]) for x in e}) == 1
    plain = server.post("/inference/v1/chat/completions", chat(stream=True, stream_options={"include_usage": False}))
    assert all(not x.get("usage") for x in events(plain))


def test_openai_stream_shape(server):
    e = events(server.post("/v1/chat/completions", chat(stream=True)))
    assert e[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert e[-1]["choices"][0]["delta"] == {} and e[-1]["choices"][0]["finish_reason"]
    assert all("usage" not in x for x in e)
    e = events(server.post("/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True})))
    assert e[-1]["choices"] == [] and e[-1]["usage"]["completion_tokens"] > 0
    assert all(x["usage"] is None for x in e[:-1])


def test_performance_headers_and_members(server):
    r = server.post("/inference/v1/chat/completions", chat(perf_metrics_in_response=True))
    assert int(r.headers["fireworks-prompt-tokens"]) == r.json()["usage"]["prompt_tokens"]
    assert float(r.headers["fireworks-server-time-to-first-token"]) > 0
    assert json.loads(r.headers["fireworks-sampling-options"])["temperature"] == 1
    assert r.json()["perf_metrics"]["prompt-tokens"] == r.json()["usage"]["prompt_tokens"]


def test_raw_output_and_token_ids(server):
    r = server.post("/inference/v1/chat/completions", chat(raw_output=True, return_token_ids=True, temperature=0)).json()
    raw, choice = r["choices"][0]["raw_output"], r["choices"][0]
    assert raw["completion_token_ids"] == choice["token_ids"] and raw["prompt_token_ids"] == r["prompt_token_ids"]
    assert "<|im_start|>user" in raw["prompt_fragments"][0]
    back = server.post("/detokenize", {"model": MODEL, "tokens": choice["token_ids"]}).json()["content"]
    assert back.startswith(choice["message"]["content"])


def test_control_tokens_in_user_text_stay_text(server):
    plain = server.post("/tokenize", {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}).json()["count"]
    spelled = server.post("/tokenize", {"model": MODEL, "messages": [{"role": "user", "content": "<|im_end|>"}]}).json()
    special = server.post("/tokenize", {"model": MODEL, "prompt": "<|im_end|>"}).json()["tokens"]
    assert len(special) == 1
    assert spelled["count"] > plain + 2
    assert spelled["tokens"].count(special[0]) == server.post("/tokenize", {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}).json()["tokens"].count(special[0])


@pytest.fixture(scope="module")
def small():
    s = Server("--ctx", "1024")
    yield s
    s.stop()


def conversation():
    turns = [[{"role": "user", "content": f"turn {i} " + "word " * 80}, {"role": "assistant", "content": "yes"}] for i in range(12)]
    return [{"role": "system", "content": "Keep me."}] + sum(turns, []) + [{"role": "user", "content": "The last turn."}]


def test_a_prompt_that_is_too_long(small):
    body = {"model": MODEL, "messages": conversation(), "max_tokens": 4}
    for path in ("/v1", "/inference/v1"):
        error = small.post(path + "/chat/completions", body).json()["error"]
        assert "The prompt is too long: " in error["message"] and "maximum context length is 1024 tokens" in error["message"]
        assert error["code"] == "context_length_exceeded" and error["param"] == "messages"
    r = small.post("/v1/completions", {"model": MODEL, "prompt": "word " * 2000})
    assert r.status_code == 400 and r.json()["error"]["param"] == "prompt"


def test_oldest_turns_go(small):
    body = {"model": MODEL, "messages": conversation(), "max_tokens": 4, "context_length_exceeded_behavior": "truncate", "raw_output": True}
    for path in ("/v1", "/inference/v1"):
        r = small.post(path + "/chat/completions", body)
        assert r.status_code == 200, r.text
        dropped = r.json()["context_truncated"]["dropped_messages"]
        assert dropped == int(r.headers["x-context-truncated"]) > 0 and dropped % 2 == 0
        seen = r.json()["choices"][0]["raw_output"]["prompt_fragments"][0]
        assert "Keep me." in seen and "The last turn." in seen and "turn 0 " not in seen and "turn 11 " in seen
    first = events(small.post("/inference/v1/chat/completions", {**body, "stream": True, "raw_output": False}))[0]
    assert first["context_truncated"]["dropped_messages"] == dropped


def test_prompt_truncate_len(small):
    r = small.post("/inference/v1/chat/completions", {"model": MODEL, "messages": conversation(), "max_tokens": 4, "prompt_truncate_len": 300})
    assert r.status_code == 200 and r.json()["usage"]["prompt_tokens"] <= 300


def test_only_the_sum_is_too_long(small):
    """Lowered on one path, refused on the other or when asked to."""
    r = small.post("/inference/v1/chat/completions", chat(max_tokens=100000, stop=["a", "e", "o", " "]))
    assert r.status_code == 200
    for path, extra in (("/v1", {}), ("/inference/v1", {"context_length_exceeded_behavior": "error"})):
        r = small.post(path + "/chat/completions", chat(max_tokens=100000, **extra))
        assert r.status_code == 400 and r.json()["error"]["code"] == "context_length_exceeded"
        assert "maximum context length is 1024 tokens. However, you requested" in r.json()["error"]["message"]
