"""A small DeepSeek V3 from its folder to streamed text: its turns, its end, what its cache takes, and both kinds of cache."""
import json
import shutil
import subprocess

import pytest
from conftest import BIN, ROOT, Server

FOLDER = ROOT / "tests/golden/lm/deepseek_chat"
CHAT = "/v1/chat/completions"
END, HELLO = 265, 259  # tokenizer.json


@pytest.fixture(scope="module", params=["f16", "q8_0"])
def server(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("deepseek") / "models"
    folder.mkdir()
    shutil.copytree(FOLDER, folder / "tiny-deepseek")
    s = Server("--kv-type", request.param, models=str(folder))
    yield s
    s.stop()


def body(text="Hi", **more):
    return {"model": "tiny-deepseek", "messages": [{"role": "user", "content": text}], "max_tokens": 24, "temperature": 0, **more}


def streamed(server, **more):
    r = server.post(CHAT, body(stream=True, **more), stream=True)
    events = [json.loads(line[6:]) for line in r.iter_lines() if line.startswith(b"data: {")]
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"])


def test_turns(server):
    """One start of the text, though the template prints it and the tokenizer would add it; marks are single tokens."""
    usage = server.post(CHAT, body()).json()["usage"]
    assert usage["prompt_tokens"] == len(["begin", "User", *"Hi", "Assistant"])
    marks = server.post(CHAT, body("<\uff5cUser\uff5c>")).json()["usage"]  # a user's text is no mark
    assert marks["prompt_tokens"] == usage["prompt_tokens"] + len("<\uff5cUser\uff5c>".encode()) - len("Hi")


def test_end(server):
    choice = server.post(CHAT, body(logit_bias={str(END): 100})).json()["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["message"]["content"] == ""
    go_on = server.post(CHAT, body(logit_bias={str(HELLO): 100}, max_tokens=3)).json()["choices"][0]
    assert go_on["finish_reason"] == "length" and go_on["message"]["content"] == "hello" * 3


def test_streams(server):
    """The same text whole, from what is cached, and streamed."""
    long = dict(messages=[{"role": "user", "content": "the hello in " * 16}], max_tokens=80, logit_bias={str(END): -100})
    whole, again = (server.post(CHAT, body(**long)).json() for _ in range(2))
    assert whole["usage"]["prompt_tokens"] > 100 and whole["usage"]["completion_tokens"] == 80
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 96
    assert again["choices"][0]["message"]["content"] == whole["choices"][0]["message"]["content"]
    assert streamed(server, **long) == whole["choices"][0]["message"]["content"]


def test_inspect():
    """What is kept of a token: 32 latents and 8 rotary numbers of two bytes in each of two layers."""
    out = subprocess.run([BIN, "inspect", "--json", FOLDER], capture_output=True, text=True, check=True).stdout
    memory = json.loads(out)["memory"]
    assert memory["kv_type"] == "f16" and memory["kv"] == memory["ctx"] * 2 * (32 + 8) * 2
