"""What prompts may say: policies over HTTP, as the SDKs see a refusal, and on the command line; in mode "seed" what the guides' own function says."""
import base64
import json
import re
import shlex
import socket
import subprocess

import openai
import pytest
from openai import OpenAI

from conftest import BIN, MODEL, PATIENCE, ROOT, Server, chat, environment, stand_ins

CASES = json.loads((ROOT / "tests/golden/advice/cases.json").read_text())["safety"]


@pytest.fixture(scope="module")
def strict():
    s = Server("--no-preload", "--policy", "strict")
    yield s
    s.stop()


def cli(*args):
    return subprocess.run([BIN, "check", *args], capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)


def check(server, **body):
    r = server.post("/v1/prompts/check", body)
    assert r.status_code == 200, r.text
    return r.json()


def test_as_the_guides(strict):
    for case in CASES:
        assert check(strict, prompt=case["prompt"], mode="seed") == case["answer"]
        r = cli("--json", "mode=seed", case["prompt"])
        assert json.loads(r.stdout) == case["answer"], r
        assert r.returncode == (0 if case["answer"]["safe"] else 3)


@pytest.mark.checked
def test_better_than_the_guides(strict):
    assert check(strict, prompt="nonviolence")["action"] == "proceed"
    assert check(strict, prompt="v i o l e n c e")["action"] == "reject"
    assert check(strict, prompt="a weapon, some drugs") == {"object": "prompt.check", "policy": "strict", "safe": True, "action": "review",
                                                           "warnings": ["weapon", "drugs"]}
    assert check(strict, prompt="violence", policy="off")["action"] == "proceed"
    for body in ({}, {"prompt": 3}, {"prompt": "x", "policy": "none such"}, {"prompt": "x", "mode": "worst"}, {"prompt": "x", "colour": "red"}):
        r = strict.post("/v1/prompts/check", body)
        assert r.status_code == 400 and r.json()["error"]["message"], (body, r.text)


@pytest.mark.checked
def test_chats_are_refused(strict):
    client = OpenAI(base_url=strict.url + "/v1", api_key="none", max_retries=0)
    user = [{"role": "user", "content": "Some v1olence, please."}]
    earlier = [{"role": "user", "content": "VIOLENCE"}, {"role": "assistant", "content": "No."}, {"role": "user", "content": "Hello"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "vio"}, {"type": "text", "text": "lence"}]}]
    for messages in (user, earlier, parts):
        with pytest.raises(openai.BadRequestError) as e:
            client.chat.completions.create(model=MODEL, messages=messages, max_tokens=1)
        assert e.value.code == "content_policy_violation" and "violence" in e.value.message
    for prompt in ("harmful", ["fine", "harmful"], [[1, 2, 3]]):
        with pytest.raises(openai.BadRequestError) as e:
            client.completions.create(model=MODEL, prompt=prompt, max_tokens=1)
        assert e.value.body["param"] == "prompt"
    r = strict.post("/inference/v1/chat/completions", chat("Harmful things"))
    assert r.status_code == 400 and r.json()["error"]["code"] == "content_policy_violation"
    r = strict.post("/v1/chat/completions", chat("A weapon."))
    assert r.status_code == 200 and r.headers["X-Safety-Action"] == "review"
    strict.wait_log("to be reviewed (policy strict): weapon")
    r = strict.post("/v1/chat/completions", chat("A flower."))
    assert r.status_code == 200 and "X-Safety-Action" not in r.headers


@pytest.mark.checked
def test_pictures_are_refused(strict):
    client = OpenAI(base_url=strict.url + "/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError) as e:
        client.images.generate(model="starter-image", prompt="explicit scene")
    assert e.value.code == "content_policy_violation" and e.value.body["param"] == "prompt"


def test_pictures_of_the_other_dialects(tmp_path):
    args, models = stand_ins(tmp_path, "FLUX.1-dev")
    s = Server("--no-preload", "--policy", "strict", *args, models=models)
    try:
        why = 'Contains prohibited keyword: explicit (guides-prohibited), which the safety policy "strict" refuses'
        for path, answer in (("/api/v1/flux/dev", {"error": "Content policy violation", "message": why}), ("/api/generate", {"error": why}),
                             ("/inference/v1/workflows/accounts/fireworks/models/flux-1-dev-fp8/text_to_image",
                              {"error": {"object": "error", "type": "invalid_request_error", "code": "content_policy_violation", "param": "prompt", "message": why}})):
            r = s.post(path, {"prompt": "explicit scene"})
            assert (r.status_code, r.json()) == (400, answer)
            assert s.post(path, {"prompt": "a quiet scene"}).status_code == 200
    finally:
        s.stop()


def test_nothing_is_refused_unless_asked_for(server):
    assert server.post("/v1/chat/completions", chat("violence", max_tokens=1)).status_code == 200
    assert check(server, prompt="violence") == {"object": "prompt.check", "policy": "off", "safe": True, "action": "proceed"}


def test_on_the_command_line(tmp_path):
    assert cli("--policy", "strict", "v10lence").returncode == 3
    assert cli("v10lence").stdout == "proceed\n"
    assert "there is no safety policy" in cli("--policy", "none", "x").stderr
    (tmp_path / "words.yaml").write_text("images: {unsafe: [porn], threshold: 1, action: pass}\nwords:\n  default: own\n  lists:\n    - name: mine\n      words: [café]\n"
                                         "  policies:\n    - name: own\n      refuse: [mine]\n")
    assert cli("--safety", str(tmp_path / "words.yaml"), "CAFE").stdout == "reject: Contains prohibited keyword: café (mine)\n"
    (tmp_path / "words.yaml").write_text("words:\n  policies:\n    - name: own\n      refuse: [mine]\n")
    r = cli("--safety", str(tmp_path / "words.yaml"), "x")
    assert r.returncode == 1 and "words.yaml:4:16: there is no list \"mine\"" in r.stderr


WORDS = """images: {unsafe: [hentai, porn], threshold: 0.6, action: pass}
words:
  default: own
  lists:
    - {name: letters, words: ["%s"]}
  policies:
    - {name: own, refuse: [letters], answers: true}
"""


@pytest.mark.checked
def test_answers_are_filtered(server, tmp_path):
    """What the model says anyway is found out first; then the same is refused, in a stream and without."""
    body = chat("What is the sea?", max_tokens=24, temperature=0)
    said = server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    words = [w.strip(".,:!?") for w in said.split()]
    word = next(w for w in words[4:] if w.isalpha() and len(w) > 2 and w.lower() not in "what is the sea?" and w not in words[:4])
    before = re.split(rf"\b{word}\b", said)[0]
    policy = tmp_path / "words.yaml"
    policy.write_text(WORDS % word.upper())
    s = Server("--safety", str(policy))
    try:
        whole = s.post("/v1/chat/completions", body).json()
        choice = whole["choices"][0]
        assert choice["finish_reason"] == "content_filter" and word not in choice["message"]["content"]
        assert before.startswith(choice["message"]["content"])
        assert whole["usage"]["completion_tokens"] >= 1
        client = OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0)
        text, finish = "", []
        for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **body):
            for c in chunk.choices:
                text += c.delta.content or ""
                finish += [c.finish_reason] if c.finish_reason else []
        assert text == choice["message"]["content"] and finish == ["content_filter"]
        assert chunk.usage.completion_tokens >= 1
        s.wait_idle()  # what nobody sees is not generated
        both = s.post("/v1/chat/completions", chat("Hello", max_tokens=6, n=2, seed=5, temperature=1)).json()
        assert len(both["choices"]) == 2
    finally:
        s.stop()


@pytest.mark.checked
def test_moderations(server):
    client = OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    r = client.moderations.create(input="I will k1ll you, and this is how to make a bomb.")
    assert r.model == "omni-moderation-latest" and r.id.startswith("modr-")
    assert r.results[0].flagged and r.results[0].categories.harassment_threatening and r.results[0].categories.illicit_violent
    assert not r.results[0].categories.sexual and r.results[0].category_scores.harassment_threatening == 1
    assert r.results[0].category_applied_input_types.sexual == ["text"]
    r = client.moderations.create(input=["A kitten.", "heil hitler"], model="text-moderation-latest")
    assert [x.flagged for x in r.results] == [False, True] and r.results[1].categories.hate
    assert "illicit" not in server.post("/v1/moderations", {"input": "x", "model": "text-moderation-stable"}).json()["results"][0]["categories"]
    for body, status in (({}, 400), ({"input": []}, 400), ({"input": 3}, 400), ({"input": [{"type": "sound"}]}, 400), ({"input": ["x", {}]}, 400),
                         ({"input": "x", "model": "gpt-4"}, 404), ({"input": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}]}, 400),
                         ({"input": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}, 400),
                         ({"input": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}, 400)):
        r = server.post("/v1/moderations", body)
        assert r.status_code == status and r.json()["error"]["message"], (body, r.text)


def test_pictures_are_moderated(server):
    picture = "data:image/png;base64," + base64.b64encode((ROOT / "tests/golden/nsfw/gradient.png").read_bytes()).decode()
    client = OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    r = client.moderations.create(model="omni-moderation-latest", input=[{"type": "text", "text": "a cat"}, {"type": "image_url", "image_url": {"url": picture}}])
    assert len(r.results) == 1 and not r.results[0].flagged
    assert r.results[0].category_applied_input_types.sexual == ["text", "image"] and 0 < r.results[0].category_scores.sexual < 0.6


def test_by_key_and_project(tmp_path):
    """A key's tag goes before its project's line in the file, and that before the server's policy; a policy that is none lets nothing pass."""
    words = tmp_path / "words.yaml"
    words.write_text((ROOT / "catalog/safety.yaml").read_text().replace("  seed:\n", "  projects:\n    school: strict\n  seed:\n"))
    store = str(tmp_path / "store.db")

    def key(*args):
        r = subprocess.run([BIN, "keys", "new", "--store", store, *args], capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"},
                           timeout=PATIENCE)
        assert r.returncode == 0, r.stderr
        return {"Authorization": "Bearer " + r.stdout.strip()}

    free, school, own, lost = key(), key("--project", "school"), key("--project", "school", "--tag", "a=b,safety=off"), key("--tag", "safety=none")
    s = Server("--store", store, "--safety", str(words))
    try:
        for who, status, policy in ((free, 200, "off"), (school, 400, "strict"), (own, 200, "off")):
            assert s.post("/v1/chat/completions", chat("harmful", max_tokens=1), who).status_code == status
            assert s.post("/v1/prompts/check", {"prompt": "x"}, who).json()["policy"] == policy
        r = s.post("/v1/chat/completions", chat("harmless", max_tokens=1), lost)
        assert r.status_code == 500 and "tag safety" in r.json()["error"]["message"]
    finally:
        s.stop()
    r = subprocess.run([BIN, "ledger", "export", "--store", store], capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    refused = [x for x in map(json.loads, r.stdout.splitlines()) if x["status"] == 400]
    assert len(refused) == 1 and refused[0]["error"] == "content_policy_violation" and refused[0]["model"] == MODEL, r.stdout
    assert float(refused[0]["cost"]) == 0, refused


def test_the_document():
    """The examples of docs/safety.md print what stands there."""
    lines = (ROOT / "docs/safety.md").read_text().split("```")[1].strip().splitlines()
    assert len(lines) >= 8
    for command, printed in zip(lines[::2], lines[1::2]):
        words = shlex.split(command.removeprefix("$ hearth check "))
        assert command.startswith("$ hearth check ") and cli(*words).stdout == printed + "\n", command


def test_whatever_the_way(tmp_path):
    """Other APIs, and models that another server serves: what is refused is refused before anything of it leaves."""
    asked = socket.socket()  # an upstream that would never answer
    asked.bind(("127.0.0.1", 0))
    asked.listen()
    (tmp_path / "routes.yaml").write_text(f"version: 1\nupstreams:\n  - name: far\n    base_url: http://127.0.0.1:{asked.getsockname()[1]}\n    models: [{{ name: far-model }}]\n")
    s = Server("--no-preload", "--policy", "strict", "--routes", str(tmp_path / "routes.yaml"))
    try:
        for path, body in (("chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "harm"}, {"type": "text", "text": "ful"}]}]}),
                           ("completions", {"prompt": ["fine", "h4rmful"]}), ("images/generations", {"prompt": "harmful"}), ("embeddings", {"input": "harmful"})):
            r = s.post("/v1/" + path, {"model": "far-model"} | body)
            assert r.status_code == 400 and r.json()["error"]["code"] == "content_policy_violation", (path, r.text)
        r = s.post("/api/chat", {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "harmful"}], "stream": False})
        assert r.status_code == 400 and "prohibited keyword: harmful" in r.text
        r = s.post("/v1/messages", {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "harmful"}]})
        assert r.status_code == 400 and "prohibited keyword: harmful" in r.text
        r = s.post("/v1/responses", {"model": MODEL, "max_output_tokens": 16, "input": "harmful"})
        assert r.status_code == 400 and "prohibited keyword: harmful" in r.text
        asked.setblocking(False)
        with pytest.raises(BlockingIOError):
            asked.accept()
    finally:
        s.stop()
        asked.close()
