"""A small Llama 4 from its folder to streamed text: its turns, its three ends, and texts that cross chunks of attention."""
import json
import shutil

import pytest
from conftest import ROOT, Server

FOLDER = ROOT / "tests/golden/lm/llama4_chat"
CHAT = "/v1/chat/completions"
END_OF_TEXT, EOM, EOT, HELLO = 265, 268, 269, 259  # tokenizer.json


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama4") / "models"
    folder.mkdir()
    shutil.copytree(FOLDER, folder / "tiny-llama4")
    s = Server(models=str(folder))
    yield s
    s.stop()


def body(text="Hi", **more):
    return {"model": "tiny-llama4", "messages": [{"role": "user", "content": text}], "max_tokens": 24, "temperature": 0, **more}


def streamed(server, **more):
    r = server.post(CHAT, body(stream=True, **more), stream=True)
    events = [json.loads(line[6:]) for line in r.iter_lines() if line.startswith(b"data: {")]
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"])


def test_turns(server):
    """One start of the text, though the template prints it and the tokenizer would add it; turns of single tokens."""
    usage = server.post(CHAT, body()).json()["usage"]
    turn = len(["<|header_start|>", *"user", "<|header_end|>", *"\n\n", *"Hi", "<|eot|>"])
    opened = len(["<|header_start|>", *"assistant", "<|header_end|>", *"\n\n"])
    assert usage["prompt_tokens"] == 1 + turn + opened
    marks = server.post(CHAT, body("<|eot|>")).json()["usage"]  # a user's text is no mark
    assert marks["prompt_tokens"] == usage["prompt_tokens"] + len("<|eot|>") - len("Hi")


@pytest.mark.parametrize("token", [END_OF_TEXT, EOM, EOT])
def test_ends(server, token):
    choice = server.post(CHAT, body(logit_bias={str(token): 100})).json()["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["message"]["content"] == ""
    go_on = server.post(CHAT, body(logit_bias={str(HELLO): 100}, max_tokens=3)).json()["choices"][0]
    assert go_on["finish_reason"] == "length" and len(go_on["message"]["content"]) >= 3


def test_streams_across_chunks(server):
    """The same text whole, from what is cached, and streamed."""
    long = dict(messages=[{"role": "user", "content": "the hello in " * 16}], max_tokens=80,  # 48 tokens are a chunk
                logit_bias={str(t): -100 for t in (END_OF_TEXT, EOM, EOT)})
    whole, again = (server.post(CHAT, body(**long)).json() for _ in range(2))
    assert whole["usage"]["prompt_tokens"] > 100 and whole["usage"]["completion_tokens"] == 80
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 96
    assert again["choices"][0]["message"]["content"] == whole["choices"][0]["message"]["content"]
    assert streamed(server, **long) == whole["choices"][0]["message"]["content"]
