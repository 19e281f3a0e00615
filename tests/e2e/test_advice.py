"""What the server and the command line advise: in mode "seed" what the guides' own functions return for every case (tests/golden/advice), and
better by default."""
import json
import subprocess

import pytest
from openai import APIStatusError, OpenAI

from conftest import BIN, MODEL, PATIENCE, ROOT, Server, environment

CASES = json.loads((ROOT / "tests/golden/advice/cases.json").read_text())


@pytest.fixture(scope="module")
def server():
    s = Server("--no-preload")
    yield s
    s.stop()


def said(**words):
    return {k: v for k, v in words.items() if v is not None}


def ask(server, path, **body):
    r = server.post("/v1" + path, said(**body))
    assert r.status_code == 200, r.text
    return r.json()


def cli(*args, code=0):
    r = subprocess.run([BIN, *args], capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert r.returncode == code, (r.stdout, r.stderr)
    return r


@pytest.mark.checked
def test_texts(server):
    for case in CASES["text"]:
        a = ask(server, "/recommendations", kind="text", mode="seed", task=case["task"], complexity=case["complexity"], budget=case["budget"])
        assert (a["model"], a["parameters"]) == (case["model"], case["parameters"]), case


def test_pictures(server):
    for case in CASES["image_parameters"]:
        a = ask(server, "/recommendations", kind="image", mode="seed", model=case["model"], use_case=case["use_case"])
        assert a["parameters"] == case["parameters"], case
    for case in CASES["use_case"]:
        assert ask(server, "/recommendations", mode="seed", use_case=case["use_case"], budget_per_image=case["dollars"])["says"] == case["says"]
    for case in CASES["quality"]:
        a = ask(server, "/recommendations", mode="seed", quality=case["quality"], budget_per_image=case["dollars"])
        assert [a["model"], a["parameters"]["steps"], a["cost_per_image"]] == list(case["answer"].values()), case
    for way, priority in (("speed", "speed"), ("better", "quality")):
        for case in CASES[way][::5]:
            a = ask(server, "/recommendations", mode="seed", priority=priority, **case["given"])
            assert {"model": a["model"]} | a["parameters"] == case["answer"], case


def test_batches(server):
    for case in CASES["batch"]:
        a = ask(server, "/plans", mode="seed", n=case["n"], total_budget=case["dollars"])
        want = case["answer"]
        assert a["each"]["model"] == want["recommended_config"]["model"]
        assert a["each"]["parameters"]["steps"] == want["recommended_config"]["steps"]
        assert a["total_cost"] == pytest.approx(want["total_estimated_cost"], rel=1e-12)
        assert a["images_per_dollar"] == pytest.approx(want["images_per_dollar"], rel=1e-12)
    assert ask(server, "/plans", prompts=["cat", "dog"], total_budget=5)["n"] == 2


def test_prompts(server):
    for case in CASES["enhance"]:
        a = ask(server, "/prompts/enhance", mode="seed", prompt=case["prompt"], style=case["style"], add_quality=case["quality"])
        assert a["prompt"] == case["answer"]
        assert cli("enhance", "mode=seed", f"style={case['style']}", f"add_quality={str(case['quality']).lower()}", case["prompt"]).stdout.splitlines()[0].split(
            maxsplit=1)[1] == case["answer"]
    for case in CASES["negative"]:
        assert ask(server, "/prompts/enhance", mode="seed", prompt="p", avoid=case["avoid"])["negative_prompt"] == case["answer"]
    assert ask(server, "/prompts/enhance", prompt="p", model="flux-1-dev-fp8")["negative_prompt"] is None


def test_what_is_here(server):
    a = ask(server, "/recommendations", task="reasoning", complexity="high")
    assert a["installed"] is False and a["nearest_here"] == MODEL


def test_better_than_the_rules(server):
    """What the literal rules recommend costs more than may be spent."""
    seed = ask(server, "/recommendations", mode="seed", quality="good", budget_per_image=0.0015)
    best = ask(server, "/recommendations", quality="good", budget_per_image=0.0015)
    assert seed["cost_per_image"] > 0.0015 >= best["cost_per_image"] and not best["over_budget"]
    assert ask(server, "/recommendations", quality="good", budget_per_image=0.0001)["over_budget"] is True


def test_refused(server):
    client = OpenAI(base_url=server.url + "/v1", api_key="none")
    for path, body, param in [("/recommendations", {"task": "gardening"}, None), ("/recommendations", {"colour": "red"}, None),
                              ("/recommendations", {"kind": "sound"}, "kind"), ("/recommendations", {"task": "general", "quality": "good"}, "task"),
                              ("/recommendations", {"quality": "good", "budget_per_image": -1}, "budget_per_image"), ("/plans", {"n": 3}, "total_budget"),
                              ("/plans", {"prompts": "cat", "total_budget": 1}, "prompts"), ("/prompts/enhance", {}, "prompt"),
                              ("/prompts/enhance", {"prompt": "p", "style": "no such"}, "style"),
                              ("/prompts/enhance", {"prompt": "p", "model": "flux-1-dev-fp8", "avoid": ["x"]}, "avoid"),
                              ("/recommendations", {"mode": "worst"}, "mode"), ("/recommendations", {"model": "deepseek-v3", "priority": "speed"}, None)]:
        with pytest.raises(APIStatusError) as e:
            client.post(path, body=body, cast_to=object)
        assert e.value.status_code in (400, 404) and e.value.body["message"], (path, body)
        assert param is None or e.value.body["param"] == param, (path, body, e.value.body)


def test_on_the_command_line():
    for case in CASES["text"][::20]:
        a = json.loads(cli("recommend", "--json", "text", "mode=seed", *(f"{k}={v}" for k, v in said(task=case["task"], complexity=case["complexity"],
                                                                                                  budget=case["budget"]).items())).stdout)
        assert (a["model"], a["parameters"]) == (case["model"], case["parameters"])
    for case in CASES["quality"][::7]:
        a = json.loads(cli("recommend", "image", "--json", "mode=seed", f"quality={case['quality']}", f"budget_per_image={case['dollars']}").stdout)
        assert a["model"] == case["answer"]["model"] and a["cost_per_image"] == case["answer"]["estimated_cost"]
    assert json.loads(cli("plan", "--json", "n=1000", "total_budget=1").stdout)["affordable"] == 714
    assert "no \"colour\"" in cli("recommend", "text", "colour=red", code=2).stderr
    assert "NAME=VALUE" in cli("plan", "many", code=2).stderr
    assert "needs n" in cli("plan", "n=3", code=2).stderr
    assert "expected a number" in cli("plan", "n=3", "total_budget=much", code=2).stderr
