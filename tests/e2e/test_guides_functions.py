"""The guides' small functions over HTTP and on the command line: in mode "seed" what they return for every recorded case, and without their holes by
default (docs/advice.md)."""
import json
import subprocess

import pytest

from conftest import BIN, PATIENCE, ROOT, Server, environment

CASES = json.loads((ROOT / "tests/golden/advice/cases.json").read_text())
PREFIX = "accounts/fireworks/models/"


@pytest.fixture(scope="module")
def server():
    s = Server("--no-preload")
    yield s
    s.stop()


def ask(server, path, **body):
    r = server.post("/v1" + path, body)
    assert r.status_code == 200, r.text
    return {k: v for k, v in r.json().items() if k != "object"}


def cli(*args, code=0, data=None):
    r = subprocess.run([BIN, *args], capture_output=True, text=True, input=data, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert r.returncode == code, (r.stdout, r.stderr)
    return json.loads(r.stdout) if r.stdout else r.stderr


def words(**values):
    return [f"{k}={json.dumps(v)}" for k, v in values.items()]


def test_costs(server):
    for i, case in enumerate(CASES["picture_cost"]):
        q = {"model": case["model"], "steps": case["steps"], "n": case["n"]}
        assert ask(server, "/costs", mode="seed", **q)["cost"] == case["cost"], case
        if i % 7 == 0:
            assert cli("cost", "mode=seed", *words(**q))["cost"] == case["cost"]
    for i, case in enumerate(CASES["token_cost"]):
        q = {"model": PREFIX + case["model"], "prompt_tokens": case["input"], "completion_tokens": case["output"]}
        assert ask(server, "/costs", mode="seed", **q)["cost"] == case["cost"], case
        assert ask(server, "/costs", **q)["cost"] == pytest.approx(case["cost"], rel=1e-9), case
        if i % 7 == 0:
            assert cli("cost", "mode=seed", *words(**q))["cost"] == case["cost"]
    # A model that the guide's table does not have costs what the catalog says; the guide has no answer.
    q = {"model": "playground-v2-5-1024px-aesthetic", "steps": 30}
    assert ask(server, "/costs", mode="seed", **q)["cost"] is None and ask(server, "/costs", **q)["cost"] == pytest.approx(0.0039)


def test_messages(server, tmp_path):
    for i, case in enumerate(CASES["truncate"]):
        a = ask(server, "/chat/truncate", mode="seed", messages=case["messages"], max_tokens=case["max_tokens"])
        assert a["messages"] == case["answer"] and a["dropped"] == len(case["messages"]) - len(case["answer"])
        best = ask(server, "/chat/truncate", messages=case["messages"], max_tokens=case["max_tokens"])
        # Never more than fits, unless the last message alone is that.
        assert best["words"] <= case["max_tokens"] or len(best["messages"]) <= 2
        assert best["messages"][-1] == case["messages"][-1]
        if i % 7 == 0:
            (tmp_path / "m.json").write_text(json.dumps({"model": "m", "messages": case["messages"]}))
            assert cli("truncate", str(tmp_path / "m.json"), "mode=seed", f"max_tokens={case['max_tokens']}")["messages"] == case["answer"]
    call = [{"role": "user", "content": "a b c d e f"}, {"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "r"}, {"role": "user", "content": "x"}]
    assert ask(server, "/chat/truncate", messages=call, max_tokens=2)["messages"] == call[1:]
    assert ask(server, "/chat/truncate", messages=call[:1] + call[2:], max_tokens=2)["messages"] == call[3:]  # a result whose call is gone


def test_tools(server, tmp_path):
    for case in CASES["tools"]:
        for a in (ask(server, "/tools/validate", mode="seed", tools=case["tools"]),
                  cli("validate", "-", "mode=seed", data=json.dumps(case["tools"]), code=0 if case["answer"] is True else 3)):
            assert (a["valid"], a["errors"]) == ((True, []) if case["answer"] is True else (False, [case["answer"]]))
    bad = [{"type": "function", "function": {"name": "a b", "parameters": {"type": "object", "properties": {}, "required": ["x"]}}}, {"function": 3},
           {"type": "function", "function": {"name": "good"}}, {"type": "function", "function": {"name": "good"}}]
    assert ask(server, "/tools/validate", tools=bad)["errors"] == [
        "tools[0].function.name: must be 1 to 64 letters, digits, _ and -", 'tools[0].function.parameters.required: "x" is no property',
        'tools[1].type: must be "function"', "tools[1].function: is required, an object", "tools[3].function.name: is the name of another tool too"]


def test_waits(server):
    for case in CASES["retry"]:
        q = {k: case[k] for k in ("max_retries", "base_delay", "status")}
        for a in (ask(server, "/retry-plan", mode="seed", **q), cli("backoff", "mode=seed", *words(**q))):
            assert [w["least"] for w in a["waits"]] == case["least"] and [w["most"] for w in a["waits"]] == case["most"], case
    best = ask(server, "/retry-plan", status=503, max_retries=8, max_delay=20, retry_after=5)
    assert best["retry"] and best["waits"][0]["least"] == 5 and all(w["most"] <= 20 for w in best["waits"][1:])
    assert ask(server, "/retry-plan", status=400)["waits"] == []


def test_dalle(server):
    for case in CASES["dalle"]:
        assert ask(server, "/migrations", mode="seed", request=case["given"])["request"] == case["answer"], case
    a = ask(server, "/migrations", request={"model": "gpt-image-1", "prompt": "p", "size": "1536x1024", "quality": "high"})
    assert a["request"] | {"prompt": "p"} == a["request"] and (a["request"]["size"], a["request"]["steps"]) == ("1248x832", 35)
    assert [c.split()[0] for c in a["changed"]] == ["size", "model", "quality"]


@pytest.mark.parametrize("path, body, param", [
    ("/costs", {}, "model"), ("/costs", {"model": "no-such", "steps": 1}, "model"), ("/costs", {"model": "deepseek-v3", "steps": 1}, "model"),
    ("/costs", {"model": "deepseek-v3", "prompt_tokens": -1}, "prompt_tokens"), ("/costs", {"model": "m", "mode": "worst"}, "mode"),
    ("/chat/truncate", {"messages": "x"}, "messages"), ("/chat/truncate", {"messages": [1]}, "messages"), ("/tools/validate", {"tools": {}}, "tools"),
    ("/retry-plan", {"max_retries": 1000}, "max_retries"), ("/retry-plan", {"colour": 1}, None), ("/migrations", {}, "request"),
    ("/migrations", {"request": {"prompt": 1}}, "request"), ("/migrations", {"request": {"prompt": "p", "n": "2"}}, "request")])
def test_refused(server, path, body, param):
    r = server.post("/v1" + path, body)
    assert r.status_code in (400, 404) and r.json()["error"]["param"] == param and r.json()["error"]["message"], r.text


def test_refused_on_the_command_line(tmp_path):
    assert "no-such" in cli("cost", "model=no-such", "steps=1", code=1)
    assert "NAME=VALUE" in cli("backoff", "often", code=2)
    (tmp_path / "broken.json").write_text('{"messages": [')
    assert "broken.json:1" in cli("truncate", str(tmp_path / "broken.json"), code=2)
