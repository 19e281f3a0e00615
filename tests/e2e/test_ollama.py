"""Ollama's API with its own Python package, and by hand where that package hides something."""

import base64
import json
import pathlib
import re

import ollama
import pytest
import requests

from conftest import KEY, MODEL, MODELS, PATIENCE, ROOT, Server

NAME = "smollm2-135m-instruct:latest"


@pytest.fixture(scope="module")
def client(server):
    return ollama.Client(host=server.url, timeout=PATIENCE)


def ask(content="Say hello."):
    return [{"role": "user", "content": content}]


FIXED = {"seed": 7, "num_predict": 8}


def test_chat_whole_and_in_pieces(client):
    whole = client.chat(NAME, ask(), options=FIXED)
    assert whole.done and whole.done_reason == "length" and whole.message.role == "assistant"
    assert whole.model == NAME and whole.eval_count == 8 and whole.prompt_eval_count > 8
    assert whole.total_duration > 0 and whole.eval_duration > 0 and whole.load_duration >= 0
    pieces = list(client.chat(NAME, ask(), options=FIXED, stream=True))
    assert "".join(p.message.content for p in pieces) == whole.message.content != ""
    assert [p.done for p in pieces] == [False] * (len(pieces) - 1) + [True] and pieces[-1].done_reason == "length"
    assert pieces[-1].eval_count == 8


def test_generate_is_a_chat_of_one_turn(client):
    chat = client.chat(NAME, [{"role": "system", "content": "Be brief."}, *ask("Why?")], options=FIXED)
    made = client.generate(NAME, "Why?", system="Be brief.", options=FIXED)
    assert made.response == chat.message.content and made.prompt_eval_count == chat.prompt_eval_count
    assert "".join(p.response for p in client.generate(NAME, "Why?", system="Be brief.", options=FIXED, stream=True)) == made.response


def test_a_raw_prompt_is_completed_as_it_is(client, server):
    raw = client.generate(NAME, "The capital of France is", raw=True, options={"temperature": 0, "num_predict": 4})
    r = server.post("/v1/completions", {"model": MODEL, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 4}).json()
    assert raw.response == r["choices"][0]["text"] and raw.prompt_eval_count == r["usage"]["prompt_tokens"]


def test_stream_is_what_it_does_unless_told(server):
    r = server.post("/api/chat", {"model": NAME, "messages": ask(), "options": FIXED})
    assert r.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(x) for x in r.text.splitlines()]
    assert lines[-1]["done"] and not lines[0]["done"] and r.text.endswith("}\n")


def test_formats(client):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"], "additionalProperties": False}
    got = client.chat(NAME, ask("Numbers."), format=schema, options={"seed": 1, "num_predict": 60})
    if got.done_reason == "stop":
        assert set(json.loads(got.message.content)) == {"a", "b"}
    else:
        assert got.message.content.startswith("{")
    got = client.generate(NAME, "Some JSON.", format="json", options={"seed": 1, "num_predict": 40})
    assert got.response.lstrip().startswith("{")


def test_options_are_followed(client):
    same = [client.chat(NAME, ask(), options={"temperature": 0, "num_predict": 12}).message.content for _ in range(2)]
    assert same[0] == same[1]
    stop = same[0].split()[1]
    cut = client.chat(NAME, ask(), options={"temperature": 0, "num_predict": 12, "stop": [stop]})
    assert cut.done_reason == "stop" and stop not in cut.message.content


def test_options_that_change_nothing_are_named_in_the_log(client, server):
    client.chat(NAME, ask(), options={**FIXED, "num_ctx": 4096, "num_gpu": 1})
    server.wait_log("options that change nothing here: num_ctx, num_gpu")


TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather of a place.",
                                          "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}


def test_calls_come_back_as_objects(client, server):
    def run(stream):
        body = {"model": NAME, "messages": ask("Weather in Oslo?"), "tools": [TOOL], "stream": stream, "options": {"seed": 3, "num_predict": 30}}
        return server.post("/api/chat", body)

    whole = run(False).json()
    lines = [json.loads(x) for x in run(True).text.splitlines()]
    calls = [c for x in lines for c in x["message"].get("tool_calls", [])]
    plain = [{k: v for k, v in c["function"].items() if k != "index"} for c in calls]
    assert plain == [{k: v for k, v in c["function"].items() if k != "index"} for c in whole["message"].get("tool_calls", [])]
    assert "".join(x["message"]["content"] for x in lines) == whole["message"]["content"]
    for c in calls:
        assert isinstance(c["function"]["arguments"], dict)


def test_results_of_tools_are_taken(client):
    talk = [*ask("Weather in Oslo?"),
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"place": "Oslo"}}}]},
            {"role": "tool", "content": "rain", "tool_name": "weather"}]
    assert client.chat(NAME, talk, tools=[TOOL], options=FIXED).done
    talk[2] = {"role": "tool", "content": "rain"}
    assert client.chat(NAME, talk, options=FIXED).done


def test_what_is_there(client, server):
    listed = client.list().models
    assert NAME in [m.model for m in listed]
    mine = next(m for m in listed if m.model == NAME)
    assert len(mine.digest) == 64 and mine.size > 1e6 and mine.details.format == "gguf" and mine.details.parameter_size.endswith("M")
    shown = client.show(NAME)
    assert shown.modelinfo["general.architecture"] == "llama" and shown.modelinfo["llama.context_length"] == 8192
    assert "completion" in shown.capabilities and shown.details.quantization_level == "Q4_1"
    assert server.get("/api/version").json()["version"]
    assert client.show("smollm2-135m-instruct").details.family == "llama"
    client.chat(NAME, ask(), options=FIXED)
    loaded = client.ps().models
    assert [m.model for m in loaded if m.context_length] == [NAME] and loaded[0].expires_at.year > 2200


@pytest.mark.parametrize("path, body, status, why", [
    ("/api/chat", {"model": "nobody", "messages": ask()}, 404, "nobody"),
    ("/api/chat", {"messages": ask()}, 400, "model is required"),
    ("/api/chat", {"model": NAME, "messages": ask(), "surplus": 1}, 400, "surplus"),
    ("/api/chat", {"model": NAME, "messages": [1]}, 400, "messages[0]"),
    ("/api/chat", {"model": NAME, "messages": ask(), "options": {"temperature": "hot"}}, 400, "temperature"),
    ("/api/chat", {"model": NAME, "messages": ask(), "keep_alive": "soon"}, 400, "keep_alive"),
    ("/api/chat", {"model": NAME, "messages": ask(), "format": "xml"}, 400, "format"),
    ("/api/chat", {"model": NAME, "messages": [{"role": "user", "content": "x", "images": ["!"]}]}, 400, "base64"),
    ("/api/generate", {"model": NAME, "prompt": "x", "suffix": "y"}, 400, "suffix"),
    ("/api/generate", {"model": NAME, "prompt": "x", "template": "y"}, 400, "template"),
    ("/api/generate", {"model": NAME, "prompt": "x", "context": [1]}, 400, "context"),
    ("/api/show", {}, 400, "model is required"),
    ("/api/show", {"model": "nobody"}, 404, "nobody"),
    ("/api/copy", {"source": "nobody", "destination": "b"}, 404, "nobody"),
    ("/api/copy", {"source": NAME}, 400, "destination is required"),
    ("/api/push", {"model": NAME}, 400, "not supported"),
    ("/api/create", {"model": "b", "from": NAME}, 400, "not supported"),
    ("/api/pull", {"model": "x"}, 400, "hearth pull"),
])
def test_what_is_wrong_is_said(server, path, body, status, why):
    r = server.post(path, body)
    assert r.status_code == status and why in r.json()["error"] and list(r.json()) == ["error"]


def test_a_picture_for_a_model_that_sees_none_is_refused(client):
    png = (ROOT / "models/starter-image/samples.png").read_bytes()
    with pytest.raises(ollama.ResponseError) as e:
        client.chat(NAME, [{"role": "user", "content": "What is this?", "images": [png]}])
    assert e.value.status_code == 400 and "pictures" in e.value.error
    with pytest.raises(ollama.ResponseError):
        client.generate(NAME, "What is this?", images=[base64.b64encode(png).decode()])


def test_keys_are_asked_for(keyed):
    assert keyed.get("/api/tags").status_code == 401
    assert requests.get(keyed.url + "/api/tags", headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE).status_code == 200
    assert ollama.Client(host=keyed.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE).list().models


def test_models_come_and_go():
    """An empty prompt loads, keep_alive 0 unloads, an idle model goes by itself, and no request is lost to that."""
    s = Server("--keep-loaded", "1", "--no-preload", models=MODELS)
    client = ollama.Client(host=s.url, timeout=PATIENCE)
    try:
        assert not client.ps().models
        assert client.generate(NAME, "").done_reason == "load"
        assert [m.model for m in client.ps().models] in ([NAME], [])  # a second may be over by now
        s.wait_until(lambda: not client.ps().models, "an idle model was never unloaded")
        s.wait_log("nobody has used it")
        assert client.generate(NAME, "", keep_alive=-1).done_reason == "load"
        assert client.ps().models[0].expires_at.year > 2200
        assert client.chat(NAME, ask(), options=FIXED, keep_alive="10m").done
        until = client.ps().models[0].expires_at
        assert until.year < 2200
        assert client.generate(NAME, "", keep_alive=0).done_reason == "unload"
        s.wait_until(lambda: not client.ps().models, "keep_alive 0 did not unload")
        for _ in range(4):  # each unloads behind itself, beside one that is just being asked
            got = [client.chat(NAME, ask(), options=FIXED, keep_alive=0, stream=True) for _ in range(2)]
            assert all(list(g)[-1].done for g in got)
    finally:
        s.stop()


def test_the_page_says_what_is(server, capsys):
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs/ollama.md").read_text(), re.S):
        exec(code.replace("http://127.0.0.1:8080", server.url), {})
    assert capsys.readouterr().out.strip()


def test_names_of_ones_own(tmp_path):
    """Ollama's cp and rm: names are given and taken back, and an installed model is the operator's to remove."""
    for entry in pathlib.Path(MODELS).iterdir():
        (tmp_path / entry.name).symlink_to(entry.resolve())
    s = Server(models=str(tmp_path))
    try:
        client = ollama.Client(host=s.url, timeout=PATIENCE)
        assert client.copy(NAME, "mine:latest").status == "success"
        assert client.show("mine").details == client.show(NAME).details
        assert client.chat("mine", ask(), options=FIXED).message.content == client.chat(NAME, ask(), options=FIXED).message.content
        assert client.delete("mine").status == "success"
        for name in ("mine", "nobody"):
            with pytest.raises(ollama.ResponseError, match="not found"):
                client.delete(name)
        with pytest.raises(ollama.ResponseError, match="hearth rm"):
            client.delete(NAME)
        assert requests.head(s.url + "/", timeout=PATIENCE).status_code == 200  # how its clients ask whether there is a server
    finally:
        s.stop()
    s = Server("--keys", KEY, models=str(tmp_path))
    try:
        r = s.post("/api/copy", {"source": NAME, "destination": "mine"}, {"Authorization": f"Bearer {KEY}"})
        assert r.status_code == 403 and "may not change" in r.json()["error"]
    finally:
        s.stop()
