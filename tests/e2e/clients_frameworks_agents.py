"""Agents of the libraries that applications are written with: three turns with two tools, plain and streamed, and answers in a form. The model is small:
what is asserted is that their readers understand every call, never that it is wise.

Run by tests/run.sh in the environment of clients_frameworks.txt.
"""
import asyncio
import functools
import json
import os
from typing import Literal

import openai
import pytest
from conftest import KEY, MODEL
from pydantic import BaseModel, ConfigDict, Field

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network for prices at import
os.environ.setdefault("OPENAI_AGENTS_DISABLE_TRACING", "1")
PROMPT = "What is the weather in Rome, and what is 2 + 3? Answer in JSON."
MESSAGES = [{"role": "user", "content": PROMPT}]


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=150)
    colour: Literal["red", "blue"]


def get_weather(unit: Literal["celsius", "fahrenheit"], city: Literal["Rome", "Paris"]) -> str:
    """The weather of a city."""
    assert unit in ("celsius", "fahrenheit") and city in ("Rome", "Paris")
    return f"sunny in {city}"


def double(number: Literal[1, 2, 3]) -> int:
    """Twice a number."""
    assert number in (1, 2, 3)
    return 2 * number


TOOLS = [{"type": "function", "function": {"name": name, "description": f.__doc__, "parameters": {"type": "object", "properties": p, "required": list(p), "additionalProperties": False}}}
         for name, f, p in (("get_weather", get_weather, {"unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}, "city": {"type": "string", "enum": ["Rome", "Paris"]}}),
                            ("double", double, {"number": {"type": "integer", "enum": [1, 2, 3]}}))]


@pytest.fixture(params=[("openai", "/v1"), ("fireworks_ai", "/inference/v1")], ids=["openai", "fireworks_ai"])
def litellm_args(keyed, request):
    provider, base = request.param
    return dict(model=f"{provider}/{MODEL}", api_base=keyed.url + base, api_key=KEY, max_tokens=200, allowed_openai_params=["tool_choice"])


@pytest.mark.parametrize("stream", [False, True])
def test_litellm_loop(litellm_args, stream):
    import litellm

    messages, ids = list(MESSAGES), []
    for turn in range(3):
        args = dict(litellm_args, messages=messages, tools=TOOLS, tool_choice="required", temperature=1, seed=turn)
        r = litellm.stream_chunk_builder(list(litellm.completion(**args, stream=True)), messages=messages) if stream else litellm.completion(**args)
        message = r.choices[0].message
        assert r.choices[0].finish_reason == "tool_calls" and message.tool_calls
        messages.append(message.model_dump(exclude_none=True))
        for c in message.tool_calls:
            result = {"get_weather": get_weather, "double": double}[c.function.name](**json.loads(c.function.arguments))
            messages.append({"role": "tool", "tool_call_id": c.id, "name": c.function.name, "content": str(result)})
            ids.append(c.id)
    assert len(ids) == len(set(ids)) >= 3
    r = litellm.completion(**litellm_args | {"max_tokens": 8}, messages=messages, tools=TOOLS, tool_choice="none")
    assert r.choices[0].message.content is not None and not r.choices[0].message.tool_calls


def test_litellm_form(litellm_args):
    import litellm

    r = litellm.completion(**litellm_args, messages=MESSAGES, response_format=Person, temperature=0)
    assert Person.model_validate_json(r.choices[0].message.content)


def test_langchain_fireworks(keyed):
    from langchain_fireworks import ChatFireworks

    m = ChatFireworks(model=MODEL, api_key=KEY, base_url=keyed.url + "/inference/v1", temperature=0, max_tokens=200)
    (call,) = m.bind_tools(TOOLS, tool_choice="any", parallel_tool_calls=False).invoke(PROMPT).tool_calls
    assert {"get_weather": get_weather, "double": double}[call["name"]](**call["args"])
    for method in ("json_schema", "function_calling"):
        assert isinstance(m.with_structured_output(Person, method=method).invoke(PROMPT), Person)


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA", "FUNCTIONS"])
def test_instructor(keyed, mode):
    import instructor

    client = instructor.from_openai(openai.OpenAI(base_url=keyed.url + "/v1", api_key=KEY), mode=getattr(instructor.Mode, mode))
    args = dict(model=MODEL, messages=[{"role": "user", "content": "Describe a person as JSON."}], max_tokens=120, temperature=0, max_retries=0)
    assert isinstance(client.chat.completions.create(**args, response_model=Person), Person)
    if mode == "TOOLS":
        parts = list(client.chat.completions.create_partial(**args, response_model=Person))
        assert parts and parts[-1].colour in ("red", "blue")


def pydantic_model(keyed, **settings):
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return dict(model=OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=keyed.url + "/v1", api_key=KEY)),
                model_settings={"temperature": 1, "max_tokens": 200, "parallel_tool_calls": False, **settings})


@pytest.mark.parametrize("kind", ["ToolOutput", "NativeOutput"])
def test_pydantic_ai_output(keyed, kind):
    import pydantic_ai

    agent = pydantic_ai.Agent(**pydantic_model(keyed, temperature=0), output_type=getattr(pydantic_ai, kind)(Person))

    async def run():
        plain = (await agent.run("Describe a person.")).output
        async with agent.run_stream("Describe a person.") as s:
            return plain, await s.get_output()

    plain, streamed = asyncio.run(run())
    assert isinstance(plain, Person) and streamed == plain


@pytest.mark.parametrize("stream", [False, True])
def test_pydantic_ai_loop(keyed, stream):
    """An agent whose answer is a call as well: until it makes that one it calls tools, three turns at most."""
    import pydantic_ai
    from pydantic_ai.usage import UsageLimits

    calls = []

    def counted(f):
        @functools.wraps(f)
        def call(**arguments):
            calls.append(f.__name__)
            return f(**arguments)
        return call

    agent = pydantic_ai.Agent(**pydantic_model(keyed, seed=3), tools=[counted(get_weather), counted(double)], output_type=pydantic_ai.ToolOutput(Person))

    async def run():
        if not stream:
            return (await agent.run(PROMPT, usage_limits=UsageLimits(request_limit=3))).output
        async with agent.run_stream(PROMPT, usage_limits=UsageLimits(request_limit=3)) as s:
            return await s.get_output()

    try:
        assert isinstance(asyncio.run(run()), Person)
    except pydantic_ai.UsageLimitExceeded:
        assert len(calls) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_openai_agents_loop(keyed, stream):
    import agents

    results = []

    def after(context, found):
        results.extend(found)
        done = len(results) >= 3
        return agents.ToolsToFinalOutputResult(is_final_output=done, final_output=str(found[-1].output) if done else None)

    agent = agents.Agent(name="helper", instructions="Use the tools.", tools=[agents.function_tool(get_weather), agents.function_tool(double)], tool_use_behavior=after, reset_tool_choice=False,
                         model=agents.OpenAIChatCompletionsModel(MODEL, openai.AsyncOpenAI(base_url=keyed.url + "/v1", api_key=KEY)),
                         model_settings=agents.ModelSettings(tool_choice="required", parallel_tool_calls=False, temperature=1, max_tokens=200, extra_body={"seed": 1}))

    async def run():
        if not stream:
            return (await agents.Runner.run(agent, PROMPT, max_turns=4)).new_items
        r = agents.Runner.run_streamed(agent, PROMPT, max_turns=4)
        async for _ in r.stream_events():
            pass
        return r.new_items

    items = asyncio.run(run())
    called = [i.raw_item for i in items if i.type == "tool_call_item"]
    assert len(results) == len(called) == 3 and len({c.call_id for c in called}) == 3
    assert all(str(r.output) in ("sunny in Rome", "sunny in Paris", "2", "4", "6") for r in results), results


def test_openai_agents_output(keyed):
    import agents

    agent = agents.Agent(name="teller", instructions="Describe a person as JSON.", output_type=Person,
                         model=agents.OpenAIChatCompletionsModel(MODEL, openai.AsyncOpenAI(base_url=keyed.url + "/v1", api_key=KEY)),
                         model_settings=agents.ModelSettings(temperature=0, max_tokens=120))
    assert isinstance(agents.Runner.run_sync(agent, "Go.", max_turns=1).final_output, Person)
