"""Tools: offered, chosen, called, answered; in both dialects, plain and streamed. The model is small: what is asserted is that a call is one."""
import concurrent.futures
import json
import re

import pytest

from conftest import MODEL, PATIENCE, chat, events

DIALECTS = ["/v1", "/inference/v1"]
WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 16}, "unit": {"enum": ["celsius", "fahrenheit"]}}, "required": ["city", "unit"], "additionalProperties": False}
ADD = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["a", "b"], "additionalProperties": False}


def tool(name, parameters=None, **more):
    return {"type": "function", "function": {"name": name, **({"parameters": parameters} if parameters else {}), **more}}


TOOLS = [tool("get_weather", WEATHER, description="The weather of a city."), tool("add", ADD, description="The sum of two numbers.")]
ONE = {"parallel_tool_calls": False}


def fits(call):
    """Is this a call of one of TOOLS?"""
    arguments = json.loads(call["function"]["arguments"])
    assert call["type"] == "function" and re.fullmatch(r"[\w-]{5,}", call["id"])
    if call["function"]["name"] == "add":
        assert set(arguments) == {"a", "b"} and all(isinstance(v, int) and 0 <= v <= 99 for v in arguments.values())
    else:
        assert call["function"]["name"] == "get_weather"
        assert set(arguments) == {"city", "unit"} and len(arguments["city"]) <= 16 and arguments["unit"] in ("celsius", "fahrenheit")
    return True


def fold(stream):
    """Every choice's message and finish reason, from a stream's events, as clients put them together: names and ids that came twice would be doubled."""
    choices = {}
    for event in stream:
        for c in event["choices"]:
            m, reasons = choices.setdefault(c["index"], ({"role": "", "content": ""}, []))
            delta = c["delta"]
            m["role"] += delta.get("role") or ""
            m["content"] += delta.get("content") or ""
            if "tool_calls" in delta:
                assert delta["tool_calls"]
            for piece in delta.get("tool_calls", []):
                calls = m.setdefault("tool_calls", [])
                assert piece["index"] in (len(calls) - 1, len(calls))
                if piece["index"] == len(calls):
                    assert piece["id"] and piece["function"]["name"]
                    calls.append({"id": "", "type": "", "function": {"name": "", "arguments": ""}})
                one = calls[piece["index"]]
                one["id"] += piece.get("id") or ""
                one["type"] += piece.get("type") or ""
                for k, v in piece["function"].items():
                    one["function"][k] += v or ""
            reasons += [c["finish_reason"]] if c["finish_reason"] else []
    out = []
    for i in sorted(choices):
        m, (reason,) = choices[i]
        out.append((m, reason))
    return out


def replies(server, base, stream, **fields):
    body = chat(**{"content": "What is the weather in Rome, and what is 2 + 3?", "max_tokens": 200, "stream": stream, "tools": TOOLS, **fields})
    r = server.post(base + "/chat/completions", body)
    assert r.status_code == 200, r.text
    if stream:
        return fold(events(r))
    return [(c["message"], c["finish_reason"]) for c in r.json()["choices"]]


def without_ids(found):
    return [([(c["function"]["name"], c["function"]["arguments"]) for c in m.get("tool_calls", [])], m["content"] or "", reason) for m, reason in found]


def refused(server, base="/v1", **fields):
    r = server.post(base + "/chat/completions", chat(**fields))
    assert r.status_code == 400, r.text
    return r.json()["error"]["message"]


@pytest.mark.parametrize("base", DIALECTS)
@pytest.mark.parametrize("choice, name", [("required", None), ({"type": "function", "function": {"name": "add"}}, "add"), ({"type": "function", "name": "get_weather"}, "get_weather"),
                                          ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}}, "add")],
                         ids=["required", "named", "flat", "allowed"])
def test_a_call_that_must_be(server, base, choice, name):
    for fields in ({"temperature": 0}, {"temperature": 1.3, "seed": 2}, {"temperature": 1.3, "seed": 3}):
        plain = replies(server, base, False, tool_choice=choice, **ONE, **fields)
        assert without_ids(plain) == without_ids(replies(server, base, True, tool_choice=choice, **ONE, **fields))
        (message, reason), = plain
        (call,) = message["tool_calls"]
        assert fits(call) and name in (None, call["function"]["name"])
        assert reason == ("stop" if isinstance(choice, dict) and choice["type"] == "function" and base == "/v1" else "tool_calls")
        assert message["content"] is None or base != "/v1"


@pytest.mark.parametrize("base", DIALECTS)
def test_several_calls_and_choices(server, base):
    """However many calls there are, ids are unique in a reply, and a reply that was cut says so."""
    plain = replies(server, base, False, tool_choice="required", n=3, temperature=1.5, seed=8)
    assert without_ids(plain) == without_ids(replies(server, base, True, tool_choice="required", n=3, temperature=1.5, seed=8))
    ids = [c["id"] for m, _ in plain for c in m["tool_calls"]]
    assert len(ids) == len(set(ids)) >= 3
    for m, reason in plain:
        assert reason in ("tool_calls", "length")
        assert all(fits(c) for c in m["tool_calls"][: len(m["tool_calls"]) - (reason == "length")])


@pytest.mark.parametrize("base", DIALECTS)
def test_the_model_decides(server, base):
    """What comes of it is an answer or a call that is one; the key is there only with calls in it."""
    for seed in range(2):
        plain = replies(server, base, False, temperature=1, seed=seed, max_tokens=30)
        assert without_ids(plain) == without_ids(replies(server, base, True, temperature=1, seed=seed, max_tokens=30))
        (message, reason), = plain
        assert ("tool_calls" in message) == (reason == "tool_calls") or reason == "length"
        assert all(fits(c) for c in message.get("tool_calls", [])) or reason == "length"


@pytest.mark.parametrize("base", DIALECTS)
def test_no_call(server, base):
    (message, reason), = replies(server, base, False, tool_choice="none", temperature=0, max_tokens=8)
    assert "tool_calls" not in message and message["content"] and reason in ("stop", "length")
    want = server.post(base + "/chat/completions", chat("What is the weather in Rome, and what is 2 + 3?", temperature=0, max_tokens=8)).json()["choices"][0]["message"]["content"]
    assert message["content"] == want  # tools that may not be called are not shown


@pytest.mark.parametrize("stream", [False, True])
def test_functions_as_they_were(server, stream):
    functions = [t["function"] for t in TOOLS]
    body = chat("Add 2 and 3.", functions=functions, function_call={"name": "add"}, max_tokens=100, temperature=0, stream=stream)
    r = server.post("/v1/chat/completions", body)
    assert r.status_code == 200, r.text
    call, reasons = {"name": "", "arguments": ""}, []
    for event in events(r) if stream else [r.json()]:
        for c in event["choices"]:
            part = c.get("delta") or c.get("message") or {}
            assert "tool_calls" not in part
            for k, v in (part.get("function_call") or {}).items():
                call[k] += v
            reasons += [c["finish_reason"]] if c["finish_reason"] else []
    assert call["name"] == "add" and set(json.loads(call["arguments"])) == {"a", "b"}
    assert len(reasons) == 1 and reasons[0] in ("stop", "function_call")


@pytest.mark.parametrize("base", DIALECTS)
def test_results_are_taken(server, base):
    """The conversation goes on with the calls and what they gave, in either order of results."""
    messages = [{"role": "user", "content": "What is the weather in Rome, and what is 2 + 3?"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome", "unit": "celsius"}'}},
                    {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}]},
                {"role": "tool", "tool_call_id": "call_2", "content": "5"}, {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]}]
    for fields in ({"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "none"}, {}):
        r = server.post(base + "/chat/completions", {"model": MODEL, "messages": messages, "max_tokens": 8, "raw_output": base != "/v1", **fields})
        assert r.status_code == 200, r.text
        for said in ("Rome", "get_weather", "sunny") if base != "/v1" else ():
            assert said in r.json()["choices"][0]["raw_output"]["prompt_fragments"][0]


def test_a_tool_without_parameters(server):
    (message, _), = replies(server, "/v1", False, tools=[tool("now")], tool_choice="required", max_tokens=200, temperature=0, **ONE)
    assert message["tool_calls"][0]["function"]["name"] == "now" and json.loads(message["tool_calls"][0]["function"]["arguments"]) == {}


def test_the_same_call_alone_and_among_others(server):
    def one(seed, **fields):
        return without_ids(replies(server, "/v1", False, temperature=1.2, seed=seed, **{"tool_choice": "required", **ONE, **fields}))

    alone = one(1)
    with concurrent.futures.ThreadPoolExecutor(13) as pool:
        others = [pool.submit(one, 50 + i, tool_choice=("auto", "required", "none")[i % 3], max_tokens=40 + i) for i in range(12)]
        assert pool.submit(one, 1).result(PATIENCE) == alone
        assert all(o.result(PATIENCE) for o in others)


def test_a_call_that_is_cut(server):
    for base in DIALECTS:
        for stream in (False, True):
            (message, reason), = replies(server, base, stream, tool_choice="required", max_tokens=3, temperature=0)
            assert reason == "length" and message.get("tool_calls") != []


@pytest.mark.parametrize("tools, words", [
    ([{"type": "retrieval"}], ["tools[0]"]), ([TOOLS[0], {"type": "function"}], ["tools[1]", "function"]), ([tool("no spaces")], ["tools[0]", "name"]),
    ([tool("x" * 65)], ["tools[0]", "name"]), ([TOOLS[0], TOOLS[0]], ["tools[1]", "get_weather"]), ([tool("f", {"type": "array"})], ["tools[0]", "parameters"]),
    ([TOOLS[1], tool("f", {"type": "object", "properties": {"a": {"type": "strong"}}})], ["tools[1]", "strong"]), ([tool(f"f{i}") for i in range(129)], ["tools", "128"]),
    ({"a": 1}, ["tools"]), ([1], ["tools[0]"])])
@pytest.mark.parametrize("base", DIALECTS)
def test_a_bad_tool_is_refused_by_its_place(server, base, tools, words):
    message = refused(server, base, tools=tools, tool_choice="required")
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("fields, words", [
    ({"tool_choice": "required"}, ["tool_choice"]), ({"tools": TOOLS, "tool_choice": "sometimes"}, ["tool_choice", "sometimes"]),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "subtract"}}}, ["tool_choice", "subtract"]),
    ({"tools": TOOLS, "functions": [{"name": "f"}]}, ["functions"]), ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, ["function_call", "g"]),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}, ["tool_call_id"]),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]}, ["arguments"])])
def test_what_makes_no_sense_is_refused(server, fields, words):
    message = refused(server, **fields)
    for word in words:
        assert word in message, message
