"""Fields, limits and error bodies."""
import json

import pytest

from conftest import MODEL, chat, http

pytestmark = pytest.mark.checked
CHAT, FIREWORKS = "/v1/chat/completions", "/inference/v1/chat/completions"


@pytest.mark.parametrize("fields, message", [
    ({"temperature": 3.5}, "temperature must be between 0 and 2, got 3.5"),
    ({"temperature": "warm"}, 'temperature must be a number, got "warm"'),
    ({"top_p": -0.1}, "top_p must be between 0 and 1, got -0.1"),
    ({"n": 0}, "n must be between 1 and 128, got 0"),
    ({"n": 1.5}, "n must be a whole number, got 1.5"),
    ({"max_tokens": -2}, "max_tokens must be at least -1, got -2"),
    ({"max_tokens": -1, "max_completion_tokens": 4}, "disagree"),
    ({"top_k": -2}, "top_k must be at least -1, got -2"),
    ({"best_of": 1, "n": 2}, "best_of must be at least n"),
    ({"stop_token_ids": [1] * 65}, "at most 64"),
    ({"stop_token_ids": 5}, "stop_token_ids must be an array of token ids"),
    ({"stop_token_ids": [99999999]}, "outside the model's vocabulary"),
    ({"min_tokens": 5}, "min_tokens are not supported"),
    ({"skip_special_tokens": False}, "skip_special_tokens are not supported"),
    ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "disagree"),
    ({"stop": ["a"] * 17}, "stop holds 17 strings; at most 16 are taken"),
    ({"stop": [""]}, "empty"),
    ({"stop": 5}, "stop must be a string or an array of strings, got 5"),
    ({"top_logprobs": 2}, "needs logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "between 0 and 20"),
    ({"logit_bias": {"x": 1}}, "not a token id"),
    ({"logit_bias": {"1": 101}}, "between -100 and 100"),
    ({"logit_bias": {"99999999": 1}}, "outside the model's vocabulary"),
    ({"stream": "yes"}, 'stream must be true or false, got "yes"'),
    ({"stream_options": {"what": 1}}, "stream_options.what"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]}, "tools[0].function.parameters.type"),
    ({"tool_choice": "required"}, 'tool_choice: "required" needs tools'),
    ({"functions": [{"name": "a b"}]}, "functions[0].name"),
    ({"response_format": {"type": "yaml"}}, "must be one of text, json_object, json_schema, grammar, regex"),
    ({"reasoning_effort": "high"}, "reasoning_effort: this model has no switch for thinking"),
    ({"reasoning_effort": "hard"}, 'reasoning_effort must be one of none, minimal, low, medium, high, xhigh, max, got "hard"'),
    ({"reasoning_effort": 2000}, "reasoning_effort: this model has no switch for thinking"),
    ({"reasoning": {"effort": "low"}}, "reasoning: this model has no switch for thinking"),
    ({"reasoning": {"summary": "auto"}}, "reasoning.summary is not supported"),
    ({"thinking": {"type": "enabled"}}, "thinking: this model has no switch for thinking"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens must be at least 1024, got 1023"),
    ({"thinking": {"type": "sometimes"}}, "thinking.type must be enabled or disabled"),
    ({"enable_thinking": True}, "enable_thinking: this model has no switch for thinking"),
    ({"thinking": {"type": "enabled"}, "reasoning_effort": "none"}, "disagree"),
    ({"chat_template_kwargs": {"zz": 1}}, "this model's chat template asks for no variable 'zz'"),
    ({"chat_template_kwargs": {"enable_thinking": True}}, "asks for no variable 'enable_thinking'"),
    ({"chat_template_kwargs": {"messages": []}}, "'messages' is set by the server"),
    ({"chat_template_kwargs": {"raise_exception": 1}}, "'raise_exception' is set by the server"),
    ({"chat_template_kwargs": {"a b": 1}}, '"a b" is no name of a variable'),
    ({"chat_template_kwargs": {f"v{i}": 1 for i in range(65)}}, "at most 64"),
    ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "audio is not supported"),
    ({"modalities": ["text", "audio"]}, "modalities are not supported"),
    ({"web_search_options": {"a": 1}}, "web_search_options are not supported"),
    ({"web_search_options": {}}, "web_search_options are not supported"),
    ({"service_tier": "gold"}, "service_tier must be"),
    ({"metadata": {"a": 1}}, "metadata must be an object of strings"),
    ({"colour": {"a": [1, 2]}}, "Extra inputs are not permitted, field: 'colour', value: {\"a\":[1,2]}"),
    ({"messages": []}, "at least one message"),
    ({"messages": "hi"}, "messages must be an array of messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role must be one of"),
    ({"messages": [{"role": "user"}]}, "messages[0].content must be a string"),
    ({"messages": [{"role": "user", "content": "x", "mood": 1}]}, "field: 'messages[0].mood'"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "a picture must be a data URL"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]}, "video, audio and files are not supported"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id is required"),
    ({"model": 5}, "model must be a string, got 5"),
    ({"model": None}, "model is required"),
    ({"messages": None}, "messages is required"),
    ({"extra_body": 5}, "extra_body must be an object"),
    ({"context_length_exceeded_behavior": "explode"}, '"truncate" or "error"'),
])
@pytest.mark.parametrize("path", [CHAT, FIREWORKS])
def test_refused_by_name(server, path, fields, message):
    r = server.post(path, chat(**fields))
    assert r.status_code == 400, r.text
    error = r.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error" and error["object"] == "error"
    if path == FIREWORKS:
        assert error["code"] == "invalid_request_error"


@pytest.mark.parametrize("path, fields, message", [
    ("/tokenize", {"prompt": "x", "tokens": [1]}, "field: 'tokens', value: [1]"),
    ("/tokenize", {"prompt": "x", "add_special_tokens": "no"}, 'add_special_tokens must be true or false, got "no"'),
    ("/tokenize", {"prompt": "x", "parse_special": 0}, "parse_special must be true or false, got 0"),
    ("/tokenize", {"prompt": 5}, "prompt is required and must be a string"),
    ("/v1/tokenize", {"messages": [{"role": "user", "content": "x", "mood": 1}]}, "field: 'messages[0].mood'"),
    ("/detokenize", {"tokens": [1], "prompt": "x"}, "field: 'prompt', value: \"x\""),
    ("/detokenize", {"tokens": None}, "tokens must be an array of token ids, got null"),
])
def test_tokens_refused_by_name(server, path, fields, message):
    r = server.post(path, {"model": MODEL, **fields})
    assert r.status_code == 400 and message in r.json()["error"]["message"], r.text


def test_tokenize_flags(server):
    """Both servers' names for the beginning token and for reading control tokens; null is not given."""
    def count(**fields):
        return server.post("/tokenize", {"model": MODEL, "prompt": "<|im_end|>", **fields}).json()["count"]
    assert count() == count(add_special=None, parse_special=True) < count(parse_special=False)
    assert count(add_special_tokens=False) == count(add_special=False)


def test_accepted_without_effect(server):
    fields = {"user": "u", "metadata": {"a": "b"}, "service_tier": "auto", "store": True, "prompt_cache_key": "k", "prediction": {"type": "content", "content": "x"},
              "tools": [], "tool_choice": "none", "functions": None, "response_format": {"type": "text"}, "reasoning_effort": None, "thinking": {"type": "disabled"},
              "modalities": ["text"], "parallel_tool_calls": False, "logit_bias": {}, "stop": [], "seed": None, "top_k": 500, "min_p": 0.1, "typical_p": 0.9,
              "repetition_penalty": 1.1, "frequency_penalty": -2, "presence_penalty": 2, "prompt_truncate_length": 1000, "safe_tokenization": True,
              "prompt_cache_isolation_key": "me", "prompt_cache_max_len": 5, "n": 1.0, "max_completion_tokens": 8}
    for path in (CHAT, FIREWORKS):
        r = server.post(path, chat(**fields))
        assert r.status_code == 200, r.text


def test_values_that_clients_of_other_servers_send(server):
    """Their defaults, and what means nothing here: on a model that never thinks, not to think is what it does."""
    fields = {"top_k": -1, "best_of": 1, "stop": [f"<{i}>" for i in range(16)], "stop_token_ids": [], "tools": None, "tool_choice": "auto", "logprobs": None, "prediction": None,
              "reasoning": None, "reasoning_effort": "none", "enable_thinking": False, "chat_template_kwargs": {"enable_thinking": False, "thinking": None}, "store": False,
              "use_beam_search": False, "length_penalty": 1.0, "early_stopping": False, "min_tokens": 0, "skip_special_tokens": True, "spaces_between_special_tokens": True,
              "include_stop_str_in_output": False, "add_generation_prompt": True, "continue_final_message": False, "guided_json": None, "truncate_prompt_tokens": -1,
              "cache_prompt": True, "request_id": "r", "priority": 0, "audio": None, "documents": [],
              "messages": [{"role": "user", "content": "hi", "id": "m1"}, {"role": "assistant", "content": None, "refusal": "No.", "reasoning": None, "audio": None, "tool_calls": []}, {"role": "user", "content": "why?"}]}
    plain = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "No."}, {"role": "user", "content": "why?"}], "stop": fields["stop"]}
    for path in (CHAT, FIREWORKS):
        replies = [server.post(path, chat(**f, seed=3, max_tokens=6)) for f in (fields, plain)]
        assert [r.status_code for r in replies] == [200, 200], replies[0].text
        assert replies[0].json()["choices"] == replies[1].json()["choices"]


def test_stop_token_ids(server):
    """A token that the model draws ends its answer, as its own end tokens do, and is no part of the text."""
    ask = chat(temperature=0, max_tokens=12, return_token_ids=True)
    whole = server.post(FIREWORKS, ask).json()["choices"][0]
    ids = whole["token_ids"]
    cut = next(i for i in range(2, len(ids)) if ids[i] not in ids[:i])
    r = server.post(FIREWORKS, {**ask, "stop_token_ids": [ids[cut]]}).json()["choices"][0]
    assert r["token_ids"] == ids[:cut] and r["finish_reason"] == "stop"
    assert whole["message"]["content"].startswith(r["message"]["content"])


def test_max_tokens_to_the_end_of_the_context(server):
    """-1 leaves the answer the rest of the context on both APIs: what it is said to be shows in what the model is given room for."""
    body = {"model": MODEL, "prompt": "One", "stop": "\n", "seed": 1, "temperature": 0}
    for path in ("/v1/completions", "/inference/v1/completions"):
        r = server.post(path, {**body, "max_tokens": -1, "echo": False, "logit_bias": {}})
        assert r.status_code == 200, r.text
        default = server.post(path, body)
        assert r.json()["usage"]["completion_tokens"] >= default.json()["usage"]["completion_tokens"] == 16


def test_content_forms(server):
    messages = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n"},
                {"role": "assistant", "content": None}, {"role": "user", "content": {"type": "text", "text": "c"}}]
    r = server.post(FIREWORKS, chat(messages=messages, raw_output=True))
    assert r.status_code == 200, r.text
    seen = r.json()["choices"][0]["raw_output"]["prompt_fragments"][0]
    assert "Be brief." in seen and "a\nb" in seen


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b'{"a":NaN}', b'{"a":1e999}', b'{"seed":123456789012345678901234567890}', b'{"model":"\xff"}', b'{"model":"a\\u0000"}',
                                  b'{"model":"a","model":"b"}', b"[" * 100000, b'{"a":' * 500 + b"1" + b"}" * 500, b"[" + b"1," * 1500000 + b"1]", b'{"a":"' + b"x" * 3000000],
                         ids=["empty", "cut", "array", "number", "nan", "inf", "bigint", "utf8", "nul", "twice", "deep", "deep-object", "many", "unended"])
def test_broken_bodies(server, body):
    r = server.raw(http("POST", CHAT, body, ["Content-Type: application/json"] + ([] if body else ["Content-Length: 0"])))
    assert r.startswith(b"HTTP/1.1 400"), r[:200]
    assert b'"error"' in r
    assert server.get("/health").status_code == 200


def test_envelopes_by_path(server):
    assert server.get("/v1/nothing").json()["error"]["code"] == "unknown_url"
    assert server.get("/inference/v1/nothing").json()["error"]["object"] == "error"
    assert server.get("/api/nothing").json()["error"] == "Not found"
    r = server.get(CHAT)
    assert r.status_code == 405 and r.headers["allow"] == "POST"
    assert server.post("/health", {}).status_code == 405
    for path in ("/v1/models/", "//v1//models", "/inference/v1/v1/models"):
        assert server.get(path).json()["object"] == "list"


@pytest.mark.parametrize("lines, why", [
    (["Host: localhost", "Content-Length: 5", "Content-Length: 6"], b"more than one Content-Length"),
    (["Host: localhost", "Content-Length: 5", "Transfer-Encoding: chunked"], b"exclude each other"),
    (["Host: localhost", "Host: example.org"], b"more than one Host header"),
    ([], b"a Host header is needed"),
], ids=["lengths", "chunked", "hosts", "no-host"])
def test_ambiguous_requests(server, lines, why):
    head = "\r\n".join([f"POST {CHAT} HTTP/1.1", *lines]) + "\r\n\r\n"
    second = http("GET", "/health")
    r = server.raw(head.encode() + b"0\r\n\r\n" + second)
    assert r.startswith(b"HTTP/1.1 400") and why in r, r[:300]
    assert b'"status":"ok"' not in r  # what follows is no request


def test_paths(server):
    assert server.raw(http("GET", f"{server.url}/health")).startswith(b"HTTP/1.1 200")
    assert server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert server.raw(http("GET", f"/v1/models/{MODEL.replace('/', '%2F')}")).startswith(b"HTTP/1.1 200")
    for path in (f"/v1/models/{MODEL}%00x", "/health%00x", "/v1/models/%zz"):
        assert server.raw(http("GET", path)).startswith(b"HTTP/1.1 400" if "%00" in path else b"HTTP/1.1 404"), path


def test_too_large(server):
    r = server.raw(http("POST", CHAT, b"x" * (33 << 20)))
    assert r.startswith(b"HTTP/1.1 413") and b"request_too_large" in r
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    r = server.raw(http("POST", CHAT, headers=["Transfer-Encoding: chunked"]) + chunk * 33 + b"0\r\n\r\n")
    assert r.startswith(b"HTTP/1.1 413")
    r = server.raw(http("POST", CHAT, headers=["Content-Length: 99999999999", "Expect: 100-continue"]))
    assert r.startswith(b"HTTP/1.1 413")
    assert server.raw(http("GET", "/health", headers=["X-Long: " + "y" * 200000])).startswith(b"HTTP/1.1 431")


def test_other_media_are_refused(server):
    assert server.raw(http("POST", CHAT, b"abc", ["Content-Type: multipart/form-data; boundary=x"])).startswith(b"HTTP/1.1 415")
    assert server.raw(http("POST", CHAT, b"abc", ["Content-Encoding: gzip"])).startswith(b"HTTP/1.1 415")


def test_request_ids(server):
    assert server.get("/health", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    given = server.get("/health", headers={"X-Request-Id": "bad id\t{}"}).headers["x-request-id"]
    assert given.startswith("req_") and given != server.get("/health").headers["x-request-id"]


def test_known_model_without_weights(server):
    r = server.post(FIREWORKS, chat(model="accounts/fireworks/models/llama-v3p1-70b-instruct"))
    assert r.status_code == 404
    assert "Model not found, inaccessible, and/or not deployed" in r.json()["error"]["message"]
    assert "hearth pull hf:meta-llama/Llama-3.1-70B-Instruct" in r.json()["error"]["message"]


def test_metrics(server):
    server.post(CHAT, chat())
    text = server.get("/metrics").text
    for name in ("hearth_requests_total{", "hearth_generated_tokens_total{", "hearth_queue{", "hearth_running{", "hearth_kv_pages_used{", "hearth_prefix_hit_tokens_total{",
                 "hearth_time_to_first_token_seconds_bucket{", "hearth_inter_token_seconds_count "):
        assert "\n" + name in text
    kinds = [x.split()[2] for x in text.splitlines() if x.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds))
    assert MODEL in text


def test_parts_of_characters_have_names_of_their_own(server):
    def pairs(items):
        assert len({k for k, _ in items}) == len(items), items
        return dict(items)

    r = server.post("/v1/completions", {"model": MODEL, "prompt": "\U0001f92f\U0001f9ff\u4e82", "max_tokens": 0, "echo": True, "logprobs": 5})
    found = json.loads(r.text, object_pairs_hook=pairs)["choices"][0]["logprobs"]
    spelled = [t for t in found["tokens"] if t.startswith("bytes:")]
    assert spelled and "\ufffd" not in "".join(found["tokens"])
    raw = b"".join(bytes.fromhex(t[6:].replace("\\x", "")) if t.startswith("bytes:") else t.encode() for t in found["tokens"])
    assert raw.decode() == "\U0001f92f\U0001f9ff\u4e82"
    assert all(len(top) >= 5 for top in found["top_logprobs"][1:])
