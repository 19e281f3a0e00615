"""Anthropic's messages through its own client, and over the wire where that hides what came. The models are small: what is asserted is that its helpers
understand what comes, and that it says what chat completions say."""
import json
import shutil

import anthropic
import pytest

from conftest import KEY, MODEL, PATIENCE, ROOT, Server, chat

TINY = ROOT / "tests/golden/lm/chat"
SEES = ROOT / "tests/golden/lm/llama4_see"
SWITCH = ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>"
          "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}")
INSIDE = ("{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
          "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}")
WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 16}, "unit": {"enum": ["celsius", "fahrenheit"]}}, "required": ["city", "unit"], "additionalProperties": False}
ADD = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["a", "b"], "additionalProperties": False}
TOOLS = [{"name": "get_weather", "description": "The weather of a city.", "input_schema": WEATHER}, {"name": "add", "description": "The sum of two numbers.", "input_schema": ADD}]
COLD = {"extra_body": {"temperature": 0}}  # the client has no name for it any more
ASK = [{"role": "user", "content": "What is the weather in Rome, and what is 2 + 3?"}]


@pytest.fixture(scope="module")
def client(keyed):
    return anthropic.Anthropic(base_url=keyed.url, api_key=KEY, max_retries=0, timeout=PATIENCE)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A server of tiny models that think, and one that sees."""
    folder = tmp_path_factory.mktemp("small")
    for name, template in (("switch", SWITCH), ("inside", INSIDE)):
        shutil.copytree(TINY, folder / name)
        config = json.loads((TINY / "tokenizer_config.json").read_text())
        (folder / name / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
        shape = json.loads((TINY / "config.json").read_text())
        (folder / name / "config.json").write_text(json.dumps({**shape, "max_position_embeddings": 2048}))  # a budget is a thousand tokens at least
    shutil.copytree(SEES, folder / "sees", ignore=shutil.ignore_patterns("*.png", "golden*"))
    s = Server(models=str(folder))
    yield s
    s.stop()


def raw(server, body, path="/v1/messages", key=KEY, **headers):
    return server.post(path, body, headers={"x-api-key": key, "anthropic-version": "2023-06-01", **headers})


def events(response):
    """The events of a stream, their order held against the rules of the API: one open block at a time, numbered in order, each of one kind."""
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream"), response.text
    found, open_block, begun, delta = [], None, 0, False
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n", 1)
        event = json.loads(data.removeprefix("data: "))
        assert name == "event: " + event["type"]
        kind = event["type"]
        found.append(event)
        if kind == "message_start":
            assert len(found) == 1
        elif kind == "content_block_start":
            assert open_block is None and event["index"] == begun and not delta
            open_block, begun = event["content_block"]["type"], begun + 1
        elif kind == "content_block_delta":
            allowed = {"text": {"text_delta"}, "thinking": {"thinking_delta", "signature_delta"}, "tool_use": {"input_json_delta"}}[open_block]
            assert event["index"] == begun - 1 and event["delta"]["type"] in allowed
        elif kind == "content_block_stop":
            assert open_block and event["index"] == begun - 1
            open_block = None
        elif kind == "message_delta":
            assert open_block is None and not delta
            delta = True
        else:
            assert kind in ("ping", "message_stop")
    assert delta and found[-1]["type"] == "message_stop"
    return found


def folded(found):
    """The message that a stream's events make."""
    blocks = []
    for e in found:
        if e["type"] == "content_block_start":
            blocks.append({**e["content_block"], "partial": ""})
        elif e["type"] == "content_block_delta":
            d, b = e["delta"], blocks[-1]
            if d["type"] == "text_delta":
                b["text"] += d["text"]
            elif d["type"] == "thinking_delta":
                b["thinking"] += d["thinking"]
            elif d["type"] == "signature_delta":
                b["signature"] += d["signature"]
            else:
                b["partial"] += d["partial_json"]
    (last,) = [e for e in found if e["type"] == "message_delta"]
    return blocks, last["delta"], last["usage"]


def plain_blocks(blocks):
    """Without ids, and what a call that was cut had of its arguments."""
    return [{k: v for k, v in b.items() if k not in ("id", "partial")} | ({"input": json.loads(b["partial"])} if b.get("partial") else {}) for b in blocks]


# ---- texts ----------------------------------------------------------------------------------------------------------


def test_says_what_chat_says(client, keyed):
    messages = [{"role": "user", "content": "Say hello."}]
    m = client.messages.create(**COLD, model=MODEL, max_tokens=12, system="You are kind.", messages=messages)
    want = keyed.post("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "system", "content": "You are kind."}, *messages], "max_tokens": 12, "temperature": 0},
                      headers={"Authorization": "Bearer " + KEY}).json()
    assert [b.text for b in m.content] == [want["choices"][0]["message"]["content"]]
    assert m.type == "message" and m.role == "assistant" and m.id.startswith("msg_") and m.model == MODEL
    assert m.usage.input_tokens + m.usage.cache_read_input_tokens == want["usage"]["prompt_tokens"] and m.usage.output_tokens == want["usage"]["completion_tokens"]
    assert m.stop_reason == {"stop": "end_turn", "length": "max_tokens"}[want["choices"][0]["finish_reason"]] and m.stop_sequence is None
    assert m._request_id and client.messages.count_tokens(model=MODEL, system="You are kind.", messages=messages).input_tokens == want["usage"]["prompt_tokens"]


def test_streamed_helper(client):
    args = dict(**COLD, model=MODEL, max_tokens=16, messages=[{"role": "user", "content": "Count to five."}])
    with client.messages.stream(**args) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = client.messages.create(**args)
    assert text == final.content[0].text == whole.content[0].text and final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    both = [u.input_tokens + u.cache_read_input_tokens for u in (final.usage, whole.usage)]
    assert both[0] == both[1] and whole.usage.cache_read_input_tokens > 0


def test_blocks_and_turns_of_one_role(client):
    """Blocks are joined as parts are, and turns of one role in a row are one."""
    count = lambda messages, **more: client.messages.count_tokens(model=MODEL, messages=messages, **more).input_tokens
    text = lambda s: {"type": "text", "text": s, "cache_control": {"type": "ephemeral"}}
    assert count([{"role": "user", "content": [text("One."), text("Two.")]}]) == count([{"role": "user", "content": "One.\nTwo."}])
    assert count([{"role": "user", "content": "One."}, {"role": "user", "content": "Two."}]) == count([{"role": "user", "content": "One.\nTwo."}])
    assert count([{"role": "user", "content": "One."}], system=[text("Be"), text("kind.")]) == count([{"role": "user", "content": "One."}], system="Be\nkind.")


def test_stop_sequence(client):
    args = dict(**COLD, model=MODEL, max_tokens=30, messages=[{"role": "user", "content": "Say hello."}])
    whole = client.messages.create(**args).content[0].text
    stop = whole[4:8]
    m = client.messages.create(**args, stop_sequences=["\x01never", stop])
    assert (m.stop_reason, m.stop_sequence) == ("stop_sequence", stop) and "".join(b.text for b in m.content) == whole[:whole.index(stop)]
    with client.messages.stream(**args, stop_sequences=[stop]) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", stop)


def test_a_limit_beyond_the_context_is_lowered(client):
    m = client.messages.create(**COLD, model=MODEL, max_tokens=1000000, messages=[{"role": "user", "content": "Say hello."}], stop_sequences=["e", "o", "a"])
    assert m.stop_reason in ("stop_sequence", "end_turn")


def test_a_form_of_the_answer(client):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["name", "age"], "additionalProperties": False}
    m = client.messages.create(model=MODEL, max_tokens=80, messages=[{"role": "user", "content": "Who are you?"}],
                               extra_body={"temperature": 0, "output_config": {"format": {"type": "json_schema", "schema": schema}}})
    assert set(json.loads(m.content[0].text)) == {"name", "age"} and m.stop_reason == "end_turn"


# ---- tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice, name", [({"type": "any", "disable_parallel_tool_use": True}, None), ({"type": "tool", "name": "add", "disable_parallel_tool_use": True}, "add")])
def test_a_call_and_its_result(client, choice, name):
    args = dict(**COLD, model=MODEL, max_tokens=200, messages=ASK, tools=TOOLS, tool_choice=choice)
    m = client.messages.create(**args)
    (call,) = m.content
    assert m.stop_reason == "tool_use" and call.type == "tool_use" and name in (None, call.name)
    assert set(call.input) == ({"a", "b"} if call.name == "add" else {"city", "unit"})
    with client.messages.stream(**args) as stream:
        kinds = {e.type for e in stream}
        (streamed,) = stream.get_final_message().content
    assert (streamed.name, streamed.input) == (call.name, call.input) and "input_json" in kinds
    answer = client.messages.create(**COLD, model=MODEL, max_tokens=12, tools=TOOLS, messages=[
        *ASK, {"role": "assistant", "content": m.content}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "5"}], "is_error": False},
                                                                                         {"type": "text", "text": "Go on."}]}])
    assert answer.content and answer.stop_reason in ("end_turn", "max_tokens", "tool_use")


def test_a_call_that_was_cut(keyed):
    body = {"model": MODEL, "max_tokens": 6, "temperature": 0, "messages": ASK, "tools": TOOLS, "tool_choice": {"type": "tool", "name": "get_weather"}}
    whole = raw(keyed, body).json()
    assert whole["stop_reason"] == "max_tokens" and all(b["input"] == {} for b in whole["content"])
    blocks, last, _ = folded(events(raw(keyed, {**body, "stream": True})))
    assert last["stop_reason"] == "max_tokens" and len(blocks) == len(whole["content"])


def test_streamed_and_plain_say_the_same(keyed):
    for seed_free in ({"tool_choice": {"type": "any"}}, {"tool_choice": {"type": "none"}}):
        body = {"model": MODEL, "max_tokens": 50, "temperature": 0, "messages": ASK, "tools": TOOLS, **seed_free}
        whole = raw(keyed, body).json()
        blocks, last, usage = folded(events(raw(keyed, {**body, "stream": True})))
        if last["stop_reason"] != "max_tokens":
            assert plain_blocks(blocks) == plain_blocks(whole["content"])
        assert last["stop_reason"] == whole["stop_reason"] and usage["output_tokens"] == whole["usage"]["output_tokens"]


def test_a_failed_result_says_so(client):
    call = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1, "b": 2}}
    count = lambda **more: client.messages.count_tokens(model=MODEL, tools=TOOLS, messages=[*ASK, {"role": "assistant", "content": [call]}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": "no", **more}]}]).input_tokens
    assert count(is_error=True) > count()


# ---- thoughts and pictures ------------------------------------------------------------------------------------------


def test_thoughts_are_blocks(small):
    client = anthropic.Anthropic(base_url=small.url, api_key="none", max_retries=0, timeout=PATIENCE)
    args = dict(max_tokens=1100, messages=[{"role": "user", "content": "Which way?"}], extra_body={"temperature": 0, "output_config": {"format": {"type": "json_schema", "schema": {"enum": ["left", "right"]}}}})
    off = client.messages.create(model="switch", **args)
    assert [b.type for b in off.content] == ["text"]
    on = client.messages.create(model="inside", thinking={"type": "enabled", "budget_tokens": 1024}, **args)
    assert [b.type for b in on.content] == ["thinking", "text"] and on.content[0].thinking and on.content[0].signature
    with client.messages.stream(model="inside", thinking={"type": "enabled", "budget_tokens": 1024}, **args) as stream:
        final = stream.get_final_message()
    assert [(b.type, getattr(b, "thinking", None), getattr(b, "signature", None), getattr(b, "text", None)) for b in final.content] == \
           [(b.type, getattr(b, "thinking", None), getattr(b, "signature", None), getattr(b, "text", None)) for b in on.content]
    turn = [{"role": "user", "content": "Which way?"}, {"role": "assistant", "content": on.content}, {"role": "user", "content": "And now?"}]
    bare = [turn[0], {"role": "assistant", "content": on.content[1:]}, turn[2]]
    assert client.messages.count_tokens(model="inside", messages=turn).input_tokens > client.messages.count_tokens(model="inside", messages=bare).input_tokens


def test_a_picture(small):
    import base64
    data = base64.b64encode((SEES / "p0.png").read_bytes()).decode()
    url = "data:image/png;base64," + data
    ask = lambda source: raw(small, {"model": "sees", "max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What?"}]}]})
    r = ask({"type": "base64", "media_type": "image/png", "data": data})
    want = small.post("/v1/chat/completions", {"model": "sees", "max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]}]}).json()
    assert r.status_code == 200 and r.json()["content"] == [{"type": "text", "text": want["choices"][0]["message"]["content"]}]
    assert ask({"type": "base64", "media_type": "image/png", "data": "####"}).status_code == 400
    assert ask({"type": "file", "file_id": "f1"}).status_code == 400


# ---- who asks, models, refusals -------------------------------------------------------------------------------------


def test_keys_and_envelopes(keyed):
    body = {"model": MODEL, "max_tokens": 4, "messages": ASK}
    assert raw(keyed, body).status_code == 200
    assert keyed.post("/v1/messages", body, headers={"Authorization": "Bearer " + KEY}).status_code == 200
    r = raw(keyed, body, key="wrong")
    assert r.status_code == 401 and r.json()["type"] == "error" and r.json()["error"]["type"] == "authentication_error" and r.headers["request-id"]
    assert keyed.get("/v1/models", headers={"x-api-key": KEY}).json()["object"] == "list"
    with pytest.raises(anthropic.NotFoundError) as e:
        anthropic.Anthropic(base_url=keyed.url, api_key=KEY, max_retries=0).messages.create(model="nothing", max_tokens=4, messages=ASK)
    assert e.value.body["error"]["type"] == "not_found_error"
    r = raw(keyed, body, **{"anthropic-version": "2023-01-01"})
    assert r.status_code == 400 and "2023-06-01" in r.json()["error"]["message"]
    r = keyed.get("/v1/messages", headers={"x-api-key": KEY})
    assert r.status_code == 405 and r.json()["type"] == "error"


def test_models(client):
    models = client.models.list()
    assert MODEL in [m.id for m in models] and all(m.type == "model" and m.display_name and m.created_at for m in models)
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.list(limit=1).data[0].id == models.data[0].id
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nothing")


USER = {"role": "user", "content": "Hi."}
CALL = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
REFUSED = [
    ({"max_tokens": None}, "max_tokens"), ({"max_tokens": 0}, "max_tokens"), ({"temperature": 1.5}, "temperature"), ({"wishes": 3}, "wishes"),
    ({"messages": []}, "messages"), ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"), ({"messages": [{"role": "system", "content": "x"}]}, "messages"), ({"messages": [USER, {"role": "assistant", "content": "I"}]}, "messages[1]"),
    ({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}, "document"), ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9"}]}]}, "t9"),
    ({"messages": [USER, {"role": "assistant", "content": [CALL]}, USER]}, "t1"),
    ({"messages": [USER, {"role": "assistant", "content": [CALL]}]}, "t1"),
    ({"messages": [USER, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "tool_result", "tool_use_id": "t1"}]}]}, "tool_result"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"), ({"tools": [{"name": "no name", "input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"), ({"tools": [{"name": "f", "input_schema": {"type": "array"}}]}, "tools[0].input_schema.type"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"), ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "none"}}, "tool_choice.name"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"), ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"), ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 1500}, "max_tokens"),
    ({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}, "mcp_servers"), ({"container": "c"}, "container"), ({"stop_sequences": [""]}, "stop_sequences"), ({"system": 3}, "system"),
    ({"output_config": {"effort": "low"}}, "output_config.effort"), ({"metadata": {"user": "x"}}, "metadata.user"), ({"service_tier": "gold"}, "service_tier"),
]


@pytest.mark.parametrize("fields, named", REFUSED, ids=[f"{n}-{json.dumps(f)[:30]}" for f, n in REFUSED])
def test_refused_by_name(keyed, fields, named):
    body = {"model": MODEL, "max_tokens": 4, "messages": [USER], **fields}
    r = raw(keyed, {k: v for k, v in body.items() if v is not None})
    assert r.status_code == 400 and r.json()["type"] == "error", r.text
    assert r.json()["error"]["type"] == "invalid_request_error" and named in r.json()["error"]["message"], r.text


def test_a_full_limit(tmp_path):
    s = Server("--address-limits", "requests/day=1")
    try:
        client = anthropic.Anthropic(base_url=s.url, api_key="none", max_retries=0, timeout=PATIENCE)
        client.messages.create(model=MODEL, max_tokens=2, messages=ASK)
        with pytest.raises(anthropic.RateLimitError) as e:
            client.messages.create(model=MODEL, max_tokens=2, messages=ASK)
        assert e.value.body["error"]["type"] == "rate_limit_error" and e.value.response.headers["retry-after"]
    finally:
        s.stop()


def test_the_example_of_the_documents(server, capsys):
    page = (ROOT / "docs/api.md").read_text()
    example = page.split("## Anthropic's messages")[1].split("```python\n")[1].split("```")[0]
    assert example.count("http://127.0.0.1:8080") == 1
    exec(compile(example.replace("http://127.0.0.1:8080", server.url), "docs/api.md", "exec"), {})
    count, text = capsys.readouterr().out.split("\n", 1)
    assert int(count) > 5 and text.strip()
