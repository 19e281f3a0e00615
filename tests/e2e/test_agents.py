"""Structured answers and tools through the helpers of real clients: openai, fireworks-ai (both of them) and langchain-openai. The model is small: what
is asserted is that their helpers understand what comes, never that it is wise."""
import json
import os
import pathlib
import subprocess
from typing import Literal

import fireworks
import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, Field

from conftest import KEY, MODEL, PATIENCE, ROOT

ASK = [{"role": "user", "content": "What is the weather in Rome, and what is 2 + 3? Answer in JSON."}]


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=150)
    colour: Literal["red", "blue"]


class GetWeather(BaseModel):
    """The weather of a city."""
    model_config = ConfigDict(extra="forbid")
    city: str = Field(max_length=12)
    unit: Literal["celsius", "fahrenheit"]


class Add(BaseModel):
    """The sum of two numbers."""
    model_config = ConfigDict(extra="forbid")
    a: int = Field(ge=0, le=99)
    b: int = Field(ge=0, le=99)


MODELS = {"GetWeather": GetWeather, "Add": Add}
TOOLS = [openai.pydantic_function_tool(m) for m in MODELS.values()]


def act(name, arguments):
    """What a tool gives; the arguments must be its own."""
    found = MODELS[name].model_validate_json(arguments)
    return str(found.a + found.b) if name == "Add" else "sunny"


@pytest.fixture(params=["/v1", "/inference/v1"])
def client(keyed, request):
    return openai.OpenAI(base_url=keyed.url + request.param, api_key=KEY, max_retries=0)


# ---- openai ---------------------------------------------------------------------------------------------------------


def test_openai_parse(client):
    r = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Person, temperature=0, max_tokens=120)
    message = r.choices[0].message
    assert isinstance(message.parsed, Person) and message.parsed == Person.model_validate_json(message.content)
    assert r.choices[0].finish_reason == "stop" and not message.refusal


def test_openai_streamed_parse(client):
    args = dict(model=MODEL, messages=ASK, response_format=Person, temperature=0, max_tokens=120)
    with client.chat.completions.stream(**args) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion().choices[0].message
    assert {"content.delta", "content.done"} <= kinds and isinstance(final.parsed, Person)
    assert final.content == client.chat.completions.parse(**args).choices[0].message.content


def test_openai_parse_of_a_cut_answer(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Person, temperature=0, max_tokens=3)


def test_openai_tool_helpers(client):
    args = dict(model=MODEL, messages=ASK, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, temperature=0, max_tokens=120)
    (plain,) = client.chat.completions.parse(**args).choices[0].message.tool_calls
    assert isinstance(plain.function.parsed_arguments, MODELS[plain.function.name])
    with client.chat.completions.stream(**args) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert final.choices[0].finish_reason == "tool_calls" and len(done) == 1 and done[0].name == plain.function.name
    assert call.function.arguments == plain.function.arguments == done[0].arguments and call.function.parsed_arguments == plain.function.parsed_arguments


@pytest.mark.parametrize("stream", [False, True])
def test_openai_loop(client, stream):
    """Three turns with two tools, then the answer."""
    messages, ids = list(ASK), []
    for _ in range(3):
        args = dict(model=MODEL, messages=messages, tools=TOOLS, tool_choice="required", temperature=1, seed=len(messages), max_tokens=300)
        if stream:
            with client.chat.completions.stream(**args) as s:
                choice = s.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(**args).choices[0]
        assert choice.finish_reason == "tool_calls"
        messages.append({"role": "assistant", "content": choice.message.content, "tool_calls": [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in choice.message.tool_calls]})
        for c in choice.message.tool_calls:
            ids.append(c.id)
            messages.append({"role": "tool", "tool_call_id": c.id, "content": act(c.function.name, c.function.arguments)})
    assert len(ids) == len(set(ids)) >= 3
    last = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, tool_choice="none", temperature=0, max_tokens=8).choices[0]
    assert last.message.content and last.message.tool_calls is None


def test_openai_strict_demands_what_openai_demands(client):
    """On /v1 a strict schema has to name every property as required and admit no others; elsewhere strict means enforced."""
    loose = {"type": "object", "properties": {"a": {"enum": [1, 2]}, "b": {"enum": [1, 2]}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "loose", "schema": loose, "strict": True}}
    if "inference" in str(client.base_url):
        r = client.chat.completions.create(model=MODEL, messages=ASK, response_format=form, temperature=0, max_tokens=120)
        assert r.choices[0].finish_reason == "stop" and set(json.loads(r.choices[0].message.content)) <= {"a", "b"}
    else:
        with pytest.raises(openai.BadRequestError) as e:
            client.chat.completions.create(model=MODEL, messages=ASK, response_format=form, max_tokens=40)
        assert "additionalProperties" in e.value.message or "required" in e.value.message


# ---- fireworks ------------------------------------------------------------------------------------------------------


def test_fireworks(keyed):
    client = fireworks.Fireworks(api_key=KEY, base_url=keyed.url + "/inference", max_retries=0)
    args = dict(model=MODEL, messages=ASK, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, temperature=0, max_tokens=120)
    choice = client.chat.completions.create(**args).choices[0]
    (call,) = choice.message.tool_calls
    assert act(call.function.name, call.function.arguments) and choice.finish_reason == "tool_calls"
    arguments, names, ids = "", [], []
    for chunk in client.chat.completions.create(**args, stream=True):
        for c in chunk.choices:
            for piece in c.delta.tool_calls or []:
                arguments += piece.function.arguments or ""
                names += [piece.function.name] if piece.function.name else []
                ids += [piece.id] if piece.id else []
    assert arguments == call.function.arguments and names == [call.function.name] and len(ids) == 1
    messages = [*ASK, {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]}, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
    assert client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, max_tokens=40).choices[0].finish_reason
    for form in ({"type": "json_object", "schema": Person.model_json_schema()}, {"type": "json_schema", "json_schema": {"name": "p", "schema": Person.model_json_schema()}}):
        r = client.chat.completions.create(model=MODEL, messages=ASK, response_format=form, temperature=0, max_tokens=120)
        assert Person.model_validate_json(r.choices[0].message.content)
    r = client.chat.completions.create(model=MODEL, messages=ASK, response_format={"type": "grammar", "grammar": 'root ::= "left" | "right"'}, max_tokens=9)
    assert r.choices[0].message.content in ("left", "right")


OLD_CLIENT = """
import json, sys
import fireworks.client
url, key, model, tools, schema = sys.argv[1:]
fireworks.client.api_key, fireworks.client.base_url = key, url
args = dict(model=model, messages=[{"role": "user", "content": "What is 2 + 3?"}], max_tokens=120, temperature=0)
tools = json.loads(tools)
choice = fireworks.client.ChatCompletion.create(**args, tools=tools, tool_choice="required", parallel_tool_calls=False).choices[0]
(call,) = choice.message.tool_calls
assert isinstance(json.loads(call.function.arguments), dict) and call.id and choice.finish_reason == "tool_calls", choice
arguments, names = "", []
for chunk in fireworks.client.ChatCompletion.create(**args, tools=tools, tool_choice="required", parallel_tool_calls=False, stream=True):
    for c in chunk.choices:
        for piece in getattr(c.delta, "tool_calls", None) or []:
            arguments += piece.function.arguments or ""
            names += [piece.function.name] if piece.function.name else []
assert arguments == call.function.arguments and names == [call.function.name], (arguments, names)
r = fireworks.client.ChatCompletion.create(**args, response_format={"type": "json_object", "schema": json.loads(schema)})
print(r.choices[0].message.content)
"""


def test_old_fireworks(keyed):
    python = pathlib.Path(os.environ.get("HEARTH_FIREWORKS0", ROOT / "build/venv-fireworks0/bin/python"))
    done = subprocess.run([python, "-c", OLD_CLIENT, keyed.url + "/inference/v1", KEY, MODEL, json.dumps(TOOLS), json.dumps(Person.model_json_schema())],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and Person.model_validate_json(done.stdout), done.stderr


# ---- langchain-openai -----------------------------------------------------------------------------------------------


@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """The weather of a city."""
    return f"sunny in {city}, 20 {unit}"


@tool
def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


@pytest.fixture
def llm(keyed):
    return ChatOpenAI(model=MODEL, base_url=keyed.url + "/v1", api_key=KEY, max_tokens=200, temperature=0)


@pytest.mark.parametrize("stream", [False, True])
def test_langchain_loop(llm, stream):
    bound = llm.bind_tools([get_weather, add], tool_choice="any", parallel_tool_calls=False)
    messages, ids = [HumanMessage("What is 2 + 3?")], []
    for _ in range(3):
        if stream:
            reply = None
            for chunk in bound.stream(messages):
                reply = chunk if reply is None else reply + chunk
        else:
            reply = bound.invoke(messages)
        assert not reply.invalid_tool_calls
        (call,) = reply.tool_calls
        messages += [reply, ToolMessage(str({"get_weather": get_weather, "add": add}[call["name"]].invoke(call["args"])), tool_call_id=call["id"])]
        ids.append(call["id"])
    assert len(set(ids)) == 3
    assert llm.invoke(messages, max_tokens=8).content is not None


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_langchain_structured_output(llm, method):
    bounded = llm.with_structured_output(Person, method=method, include_raw=True)
    if method == "json_mode":  # any object will do for the server: the form is in the prompt alone
        raw = bounded.invoke('Repeat this JSON: {"name": "Ann", "age": 3, "colour": "red"}')["raw"]
        assert raw.content.lstrip().startswith("{")
        return
    got = bounded.invoke("Describe a person as JSON.")
    assert isinstance(got["parsed"], Person) and got["parsing_error"] is None
