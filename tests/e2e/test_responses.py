"""Responses through openai's client and its agents, and over the wire where those hide what came. The model is small: what is asserted is that its helpers
understand what comes, and that it says what chat completions say."""
import asyncio
import json
import shutil

import agents
import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from conftest import KEY, MODEL, PATIENCE, ROOT, Server

TINY = ROOT / "tests/golden/lm/chat"
INSIDE = ("{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
          "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}")
ADD = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["a", "b"], "additionalProperties": False}
TOOLS = [{"type": "function", "name": "add", "description": "The sum of two numbers.", "parameters": ADD, "strict": True}]
EITHER = {"format": {"type": "json_schema", "name": "either", "schema": {"enum": ["left", "right"]}}}  # so that an answer ends
ENDS = ("response.completed", "response.incomplete", "response.failed")


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=99)


@pytest.fixture(scope="module")
def client(keyed):
    return openai.OpenAI(base_url=keyed.url + "/v1", api_key=KEY, max_retries=0, timeout=PATIENCE)


def raw(server, path="/v1/responses", **body):
    return server.post(path, {"model": MODEL, "max_output_tokens": 12, "temperature": 0, **body}, headers={"Authorization": "Bearer " + KEY})


def events(response):
    """The events of a stream, numbered without a gap, and their order held against the rules of the API: items one after the other, their parts inside."""
    assert response.status_code == 200, response.text
    found, item, part, items = [], None, None, 0
    for n, block in enumerate(response.text.strip().split("\n\n")):
        name, data = block.split("\n", 1)
        event = json.loads(data.removeprefix("data: "))
        kind = event["type"]
        assert name == "event: " + kind and event["sequence_number"] == n
        found.append(event)
        if kind == "response.output_item.added":
            assert item is None and event["output_index"] == items and event["item"]["status"] == "in_progress"
            item, items = event["item"], items + 1
        elif kind == "response.output_item.done":
            assert part is None and event["item"]["id"] == item["id"] and event["item"]["type"] == item["type"]
            item = None
        elif kind.endswith("_part.added"):
            assert item and part is None and event["item_id"] == item["id"]
            part = event["part"]["type"]
        elif kind.endswith("_part.done"):
            assert part == event["part"]["type"]
            part = None
        elif kind.endswith((".delta", ".done")):
            assert event["item_id"] == item["id"] and event["output_index"] == items - 1
            assert (part is None) == (item["type"] == "function_call")
        else:
            assert (n, kind) in ((0, "response.created"), (1, "response.in_progress")) or (item is None and kind in ENDS)
    assert [e["type"] for e in found[:2]] == ["response.created", "response.in_progress"] and found[-1]["type"] in ENDS
    return found


def bare(output):
    return [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in output]


# ---- texts ----------------------------------------------------------------------------------------------------------


def test_says_what_chat_says(client, keyed):
    args = dict(model=MODEL, max_output_tokens=12, temperature=0, instructions="You are kind.", input="Say hello.")
    r = client.responses.create(**args, metadata={"a": "b"})
    want = keyed.post("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Say hello."}], "max_tokens": 12, "temperature": 0},
                      headers={"Authorization": "Bearer " + KEY}).json()
    assert r.output_text == want["choices"][0]["message"]["content"] and r.id.startswith("resp_") and r.output[0].id.startswith("msg_")
    assert (r.usage.input_tokens, r.usage.output_tokens) == (want["usage"]["prompt_tokens"], want["usage"]["completion_tokens"])
    assert (r.status == "incomplete") == (want["choices"][0]["finish_reason"] == "length") == (r.incomplete_details is not None)
    assert r.instructions == "You are kind." and r.metadata == {"a": "b"} and r.max_output_tokens == 12 and r.tools == []
    count = client.responses.input_tokens.count(model=MODEL, instructions="You are kind.", input="Say hello.")
    assert count.input_tokens == r.usage.input_tokens


def test_streamed(client, keyed):
    args = dict(model=MODEL, max_output_tokens=12, temperature=0, text=EITHER, input=[{"role": "user", "content": [{"type": "input_text", "text": "Which way?"}]}])
    with client.responses.stream(**args) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        final = stream.get_final_response()
    whole = client.responses.create(**args)
    assert text == final.output_text == whole.output_text and final.status == whole.status and final.usage.output_tokens == whole.usage.output_tokens
    found = events(raw(keyed, input="Count to five.", stream=True))
    whole = raw(keyed, input="Count to five.").json()
    assert found[-1]["response"]["usage"]["total_tokens"] > 12 and bare(found[-1]["response"]["output"]) == bare(whole["output"])
    usage = raw(keyed, "/inference/v1/responses", input="Count to five.").json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (usage["input_tokens"], usage["output_tokens"])


def test_parsed(client):
    r = client.responses.parse(model=MODEL, max_output_tokens=80, temperature=0, input="Who are you? Answer in JSON.", text_format=Person)
    assert isinstance(r.output_parsed, Person) and r.status == "completed"
    r = client.responses.create(model=MODEL, max_output_tokens=40, temperature=0, input="Answer in JSON.", text={"format": {"type": "json_object"}})
    assert r.output_text.startswith("{") and (r.status == "incomplete" or isinstance(json.loads(r.output_text), dict))


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_going_on(client):
    """A response goes on from another as if its items had been sent; instructions are not inherited."""
    args = dict(model=MODEL, max_output_tokens=8, temperature=0)
    first = client.responses.create(**args, instructions="Be brief.", input="Say hello.")
    second = client.responses.create(**args, input="And goodbye.", previous_response_id=first.id)
    third = client.responses.create(**args, input="Again.", previous_response_id=second.id)
    said = [{"role": "user", "content": "Say hello."}, *[i.model_dump(exclude_none=True) for i in first.output], {"role": "user", "content": "And goodbye."}]
    apart = client.responses.create(**args, input=said)
    assert second.output_text == apart.output_text and second.usage.input_tokens == apart.usage.input_tokens and second.previous_response_id == first.id
    assert third.usage.input_tokens > second.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="resp_nothing"):
        client.responses.create(**args, input="x", previous_response_id="resp_nothing")


@pytest.mark.parametrize("stream", [False, True])
def test_asked_for_again(client, stream):
    args = dict(model=MODEL, max_output_tokens=12, temperature=0, text=EITHER, input=[{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two."}, {"role": "user", "content": "Three."}])
    if stream:
        with client.responses.stream(**args) as s:
            r = s.get_final_response()
    else:
        r = client.responses.create(**args)
    again = client.responses.retrieve(r.id)
    assert again.output_text == r.output_text and again.usage.output_tokens == r.usage.output_tokens and again.status == r.status
    items = list(client.responses.input_items.list(r.id, order="asc", limit=2))
    assert [i.role for i in items] == ["user", "assistant", "user"] and len({i.id for i in items}) == 3
    assert client.responses.input_items.list(r.id, limit=1).data[0].id == items[-1].id
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(r.id)
    client.responses.delete(r.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(r.id)


def test_not_kept(client):
    r = client.responses.create(model=MODEL, max_output_tokens=2, input="Hi.", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(r.id)


def test_kept_for_its_key_alone():
    s = Server("--keys", KEY, "--keys", "another-key-0123456789")
    try:
        mine, other = (openai.OpenAI(base_url=s.url + "/v1", api_key=k, max_retries=0, timeout=PATIENCE) for k in (KEY, "another-key-0123456789"))
        r = mine.responses.create(model=MODEL, max_output_tokens=2, input="Hi.")
        for call in (other.responses.retrieve, other.responses.delete):
            with pytest.raises(openai.NotFoundError):
                call(r.id)
        with pytest.raises(openai.BadRequestError):
            other.responses.create(model=MODEL, max_output_tokens=2, input="Hi.", previous_response_id=r.id)
        assert mine.responses.retrieve(r.id).id == r.id
    finally:
        s.stop()


# ---- tools and thoughts ---------------------------------------------------------------------------------------------


def test_kept_over_a_restart(tmp_path):
    """In the store: the response, its items, and what goes on from it; for the key that asked, and until it is deleted."""
    store = ["--store", str(tmp_path / "store.db"), "--keys", KEY, "--keys", "another-key-0123456789"]
    ask = {"model": MODEL, "input": "My number is seven.", "max_output_tokens": 8}
    s = Server(*store)
    try:
        mine = openai.OpenAI(base_url=s.url + "/v1", api_key=KEY, timeout=PATIENCE)
        first, gone = mine.responses.create(**ask), mine.responses.create(**ask)
        mine.responses.delete(gone.id)
    finally:
        s.stop()
    s = Server(*store)
    try:
        mine, other = (openai.OpenAI(base_url=s.url + "/v1", api_key=k, timeout=PATIENCE) for k in (KEY, "another-key-0123456789"))
        assert mine.responses.retrieve(first.id).model_dump() == first.model_dump()
        assert "My number is seven." in mine.responses.input_items.list(first.id).to_json()
        second = mine.responses.create(model=MODEL, input="Which?", previous_response_id=first.id, max_output_tokens=8)
        assert second.usage.input_tokens > first.usage.input_tokens
        for client, response in ((other, first.id), (mine, gone.id)):
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(response)
        with pytest.raises(openai.NotFoundError):
            other.responses.delete(first.id)
        mine.responses.delete(first.id)
        with pytest.raises(openai.BadRequestError, match="not found"):
            mine.responses.create(model=MODEL, input="Which?", previous_response_id=first.id)
    finally:
        s.stop()


def test_a_call_and_its_result(client, keyed):
    args = dict(model=MODEL, max_output_tokens=60, temperature=0, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    r = client.responses.create(**args, input="Add 2 and 3.")
    (call,) = r.output
    assert call.type == "function_call" and call.name == "add" and set(json.loads(call.arguments)) == {"a", "b"} and r.status == "completed"
    found = events(raw(keyed, **{k: v for k, v in args.items() if k != "model"}, input="Add 2 and 3.", stream=True))
    assert "".join(e["delta"] for e in found if e["type"].endswith("arguments.delta")) == call.arguments
    assert bare(found[-1]["response"]["output"]) == bare([call.model_dump(exclude_none=True)])
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "5"}
    by_id = client.responses.create(model=MODEL, max_output_tokens=8, temperature=0, tools=TOOLS, tool_choice="none", input=[output], previous_response_id=r.id)
    by_items = client.responses.create(model=MODEL, max_output_tokens=8, temperature=0, tools=TOOLS, tool_choice="none", input=[{"role": "user", "content": "Add 2 and 3."}, call, output])
    assert by_id.output_text == by_items.output_text and by_id.usage.input_tokens == by_items.usage.input_tokens


def test_agents(keyed):
    """openai's agents, with the API that they use when nothing is said."""
    agents.set_tracing_disabled(True)
    client = openai.AsyncOpenAI(base_url=keyed.url + "/v1", api_key=KEY, max_retries=0, timeout=PATIENCE)
    asked = []

    @agents.function_tool
    def add(a: int, b: int) -> str:
        """The sum of two numbers."""
        asked.append((a, b))
        return str(a + b)

    model = agents.OpenAIResponsesModel(model=MODEL, openai_client=client)
    settings = dict(temperature=0, max_tokens=60)
    agent = agents.Agent(name="Adder", instructions="Use the tool.", tools=[add], model=model, tool_use_behavior="stop_on_first_tool",
                         model_settings=agents.ModelSettings(tool_choice="required", parallel_tool_calls=False, **settings))

    async def run():
        plain = await agents.Runner.run(agents.Agent(name="A", instructions="Be brief.", model=model, model_settings=agents.ModelSettings(**settings)), "Say hello.")
        streamed = agents.Runner.run_streamed(agents.Agent(name="A", instructions="Be brief.", model=model, model_settings=agents.ModelSettings(**settings)), "Say hello.")
        kinds = {e.type async for e in streamed.stream_events()}
        tooled = await agents.Runner.run(agent, "Add 2 and 3.")
        return plain.final_output, streamed.final_output, kinds, tooled.final_output

    plain, streamed, kinds, tooled = asyncio.run(run())
    assert plain and plain == streamed and "raw_response_event" in kinds
    assert len(asked) == 1 and tooled == str(sum(asked[0]))


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thinker")
    shutil.copytree(TINY, folder / "inside")
    config = json.loads((TINY / "tokenizer_config.json").read_text())
    (folder / "inside" / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": INSIDE}))
    s = Server(models=str(folder))
    yield s
    s.stop()


@pytest.mark.parametrize("summary", [None, "auto"])
def test_thoughts_are_items(thinker, summary):
    body = dict(model="inside", input="Which way?", max_output_tokens=40, reasoning={"effort": "low", "summary": summary})
    whole = raw(thinker, **body).json()
    thought = whole["output"][0]
    assert thought["type"] == "reasoning" and whole["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    (part,) = thought["summary"] if summary else thought["content"]
    assert part["type"] == ("summary_text" if summary else "reasoning_text") and part["text"] and bool(thought["summary"]) == bool(summary)
    found = events(raw(thinker, **body, stream=True))
    kind = "response.reasoning_summary_text" if summary else "response.reasoning_text"
    assert "".join(e["delta"] for e in found if e["type"] == kind + ".delta") == part["text"]
    assert bare(found[-1]["response"]["output"]) == bare(whole["output"]) and whole["status"] == "incomplete"
    count = lambda items: thinker.post("/v1/responses/input_tokens", {"model": "inside", "input": items}, headers={"Authorization": "Bearer " + KEY}).json()["input_tokens"]
    ask, answer = {"role": "user", "content": "Which way?"}, {"role": "assistant", "content": "left"}
    assert count([ask, thought, answer, ask]) > count([ask, answer, ask])


# ---- refusals -------------------------------------------------------------------------------------------------------


CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
REFUSED = [
    ({"input": None}, "input"), ({"input": 3}, "input"), ({"input": []}, "input"), ({"wishes": 1}, "wishes"), ({"background": True}, "background"), ({"conversation": "c"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"), ({"tools": [{"type": "web_search"}]}, "web_search"), ({"tools": [{"type": "function", "name": "no name"}]}, "tools[0].name"),
    ({"tool_choice": "required"}, "tool_choice"), ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"), ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"text": {"format": {"type": "json_object"}}}, "input"), ({"reasoning": {"effort": "vast"}}, "reasoning.effort"), ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
    ({"truncation": "some"}, "truncation"), ({"include": ["message.output_text.logprobs"]}, "include"), ({"top_logprobs": 2}, "top_logprobs"), ({"metadata": {"a": 1}}, "metadata"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"), ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"), ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content"), ({"input": [CALL]}, "c1"), ({"input": [{"type": "function_call_output", "call_id": "c2", "output": "x"}]}, "c2"),
    ({"input": [{**CALL, "arguments": "{"}]}, "input[0]"), ({"input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]}]}, "reasoning"), ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": 3}, "temperature"), ({"input": [{"role": "user", "content": "x", "colour": "red"}]}, "input[0].colour"),
]


@pytest.mark.parametrize("fields, named", REFUSED, ids=[f"{n}-{json.dumps(f)[:30]}" for f, n in REFUSED])
def test_refused_by_name(keyed, fields, named):
    r = raw(keyed, **{"input": "Hi.", **fields})
    assert r.status_code == 400 and r.json()["error"]["type"] == "invalid_request_error", r.text
    assert named in r.json()["error"]["message"], r.text


def test_paths(keyed):
    headers = {"Authorization": "Bearer " + KEY}
    assert keyed.get("/v1/responses/resp_x", headers=headers).status_code == 404
    assert keyed.get("/v1/responses/resp_x/more", headers=headers).json()["error"]["code"] == "unknown_url"
    assert keyed.get("/v1/responses", headers=headers).status_code == 405
    assert keyed.get("/v1/responses/resp_x?stream=true", headers=headers).json()["error"]["param"] == "stream"


def test_the_example_of_the_documents(server, capsys):
    page = (ROOT / "docs/api.md").read_text()
    example = page.split("## Responses")[1].split("```python\n")[1].split("```")[0]
    assert example.count("http://127.0.0.1:8080/v1") == 1
    exec(compile(example.replace("http://127.0.0.1:8080", server.url), "docs/api.md", "exec"), {})
    first, second = capsys.readouterr().out.strip().split("\n---\n")
    assert first and second
