"""Thoughts: shown apart or in the text, limited, forbidden; and never in the answer, whatever the answer must be. The models are tiny ones of random
weights with the templates of families that think: they would never end a thought by themselves."""
import json
import re
import shutil

import pytest

from conftest import ROOT, Server, events

TINY = ROOT / "tests/golden/lm/chat"
SWITCH = ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>"
          "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}")
INSIDE = "{% for m in messages %}<|{{ m.role }}|>{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
ANSWER = "(left|right)"


@pytest.fixture(scope="module")
def thinkers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thinkers")
    for name, template in (("switch", SWITCH), ("inside", INSIDE)):
        shutil.copytree(TINY, folder / name)
        config = json.loads((TINY / "tokenizer_config.json").read_text())
        (folder / name / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    s = Server(models=str(folder))
    yield s
    s.stop()


def ask(server, base, model, stream=False, **fields):
    """content, thought, finish reason, usage"""
    r = server.post(base + "/chat/completions", {"model": model, "messages": [{"role": "user", "content": "Which way?"}], "seed": 1, "temperature": 1, "max_tokens": 60,
                                                 "response_format": {"type": "regex", "pattern": ANSWER}, "stream": stream, **({"stream_options": {"include_usage": True}} if stream else {}), **fields})
    assert r.status_code == 200, r.text
    if not stream:
        d = r.json()
        m = d["choices"][0]["message"]
        return m["content"] or "", m.get("reasoning_content") or "", d["choices"][0]["finish_reason"], d["usage"]
    content = thought = reason = ""
    usage = None
    for e in events(r):
        usage = e.get("usage") or usage
        for c in e["choices"]:
            content += c["delta"].get("content") or ""
            thought += c["delta"].get("reasoning_content") or ""
            reason += c["finish_reason"] or ""
    return content, thought, reason, usage


@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_ends_a_thought(thinkers, stream):
    """The thought is closed for the model when its tokens are used up, and the answer has its form."""
    content, thought, reason, usage = ask(thinkers, "/v1", "inside", stream, reasoning_effort=12)
    assert re.fullmatch(ANSWER, content) and thought and "think>" not in thought + content and reason == "stop"
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] <= 20 < usage["completion_tokens"] + 20


def test_streamed_and_plain_say_the_same(thinkers):
    for base in ("/v1", "/inference/v1"):
        for model in ("inside", "switch"):
            assert ask(thinkers, base, model, False, reasoning_effort=10)[:3] == ask(thinkers, base, model, True, reasoning_effort=10)[:3]


def test_in_the_text_on_one_dialect_and_apart_on_the_other(thinkers):
    content, thought, _, _ = ask(thinkers, "/inference/v1", "inside", reasoning_effort=10)
    assert not thought and re.fullmatch(r"<think>.*</think>\s*" + ANSWER, content, re.S)
    apart, thought, _, _ = ask(thinkers, "/v1", "inside", reasoning_effort=10)
    assert thought and re.fullmatch(ANSWER, apart) and content.endswith(apart)


def test_no_thought_at_all(thinkers):
    for fields in ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, {"extra_body": {"reasoning_effort": "none"}}):
        content, thought, reason, usage = ask(thinkers, "/v1", "switch", **fields)
        assert re.fullmatch(ANSWER, content) and not thought and reason == "stop"
        assert usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0) == 0


def test_answers_that_begin_as_a_thought_does(thinkers):
    """What might have been either is not lost when it turns out to be the thought's."""
    for seed in range(8):
        for fields in ({"reasoning_effort": "none"}, {"reasoning_effort": 5}, {}):
            content, thought, reason, usage = ask(thinkers, "/v1", "switch", response_format={"type": "regex", "pattern": "<t(ool|hy)[ab]{3}"}, seed=seed, max_tokens=200, **fields)
            assert re.fullmatch("<t(ool|hy)[ab]{3}", content) and reason == "stop" or thought and reason == "length"
            assert fields.get("reasoning_effort") != "none" or usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0) == 0


def test_a_cut_thought_is_no_answer(thinkers):
    content, thought, reason, usage = ask(thinkers, "/v1", "inside", max_tokens=9)
    assert reason == "length" and thought and not content and usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"] == 9


def test_stop_strings_are_for_the_answer(thinkers):
    content, thought, reason, _ = ask(thinkers, "/v1", "inside", reasoning_effort=16, stop=list("aeiou0123456789")[:4], response_format={"type": "regex", "pattern": "[bcd]{3}a[bcd]{3}"})
    assert re.fullmatch("[bcd]{3}", content) and reason == "stop" and thought


@pytest.mark.parametrize("fields, words", [
    ({"reasoning_effort": "much"}, ["reasoning_effort", "much"]), ({"reasoning_effort": -3}, ["reasoning_effort"]),
    ({"thinking": {"type": "enabled", "budget_tokens": 10}}, ["budget_tokens", "1024"]), ({"thinking": {"type": "enabled"}, "reasoning_effort": "none"}, ["reasoning_effort"])])
def test_what_makes_no_sense_is_refused(thinkers, fields, words):
    r = thinkers.post("/inference/v1/chat/completions", {"model": "switch", "messages": [{"role": "user", "content": "a"}], **fields})
    assert r.status_code == 400
    for word in words:
        assert word in r.json()["error"]["message"], r.text
