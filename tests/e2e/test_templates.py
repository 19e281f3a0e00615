"""What a model's chat template makes of a request, seen through the server: the prompt that the model read comes back as raw output."""
import json
import shutil

import pytest

from conftest import ROOT, Server

pytestmark = pytest.mark.checked
TINY = ROOT / "tests/golden/lm/chat"
TEMPLATES = {
    "walks": "{% for m in messages %}{{ m.role }}:{% for p in m.content %}{% if p.type == 'text' %}<{{ p.text }}>{% endif %}{% endfor %};{% endfor %}",
    "prints": "{% for m in messages %}{{ m['role'] }}:{{ m['content'] | trim }};{% endfor %}",
    "asks": "{% for m in messages %}{% if m.content is string %}s:{{ m.content }};{% else %}{% for p in m.content %}p:{{ p.text }};{% endfor %}{% endif %}{% endfor %}",
    "macro": "{% macro show(c) %}{% if c is string %}s:{{ c }}{% else %}{% for x in c %}{% if 'text' in x %}p:{{ x.text }}{% endif %}{% endfor %}{% endif %}{% endmacro %}"
             "{% for m in messages %}{{ show(m.content) }};{% endfor %}",
}

LAST = "{% for m in messages %}{{ m.content }};{% endfor %}"
TEMPLATES |= {
    "switch": LAST + "{% if enable_thinking is defined %}{{ 'on' if enable_thinking else 'off' }}{% endif %}",
    "other-switch": LAST + "{{ thinking }}",
    "levels": LAST + "{{ reasoning_effort }}",
    "both": LAST + "{{ enable_thinking }} {{ reasoning_effort }}",
    "always": LAST + "{% if add_generation_prompt %}<think>\n{% endif %}",
    "never": LAST,
    "apart": "{% for m in messages %}{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }};{% endfor %}<think>",
    # As Qwen3's does: earlier thoughts are left out, wherever they stand, but for content that comes with a reasoning_content.
    "drops": "{% for m in messages %}{% if m.role == 'assistant' and m.reasoning_content is not defined %}{{ m.content.split('</think>')[-1] | trim }}{% else %}{{ m.content }}{% endif %};{% endfor %}",
    "strips": "{% for m in messages %}{{ m.content.split('</think>')[-1] | trim }};{% endfor %}",
    "tools": "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ 'result' if m.role == 'tool' else m.role }}:{{ m.content }}"
             "{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ c.function.arguments | tojson }}>{% endfor %};{% endfor %}",
    "vars": LAST + "{{ date }} {{ opts | tojson }} {{ bos_token }}",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    for name, template in TEMPLATES.items():
        shutil.copytree(TINY, folder / name)
        config = json.loads((TINY / "tokenizer_config.json").read_text())
        (folder / name / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    s = Server(models=str(folder))
    yield s
    s.stop()


def prompt(served, model, messages, **fields):
    r = served.post("/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 1, "seed": 1, "raw_output": True, **fields})
    assert r.status_code == 200, r.text
    return r.json()["choices"][0]["raw_output"]["prompt_fragments"][0]


def text(*parts):
    return [{"type": "text", "text": p} for p in parts]


@pytest.mark.parametrize("model, content, right", [  # the right texts are jinja2's, given what vLLM gives it
    ("walks", text("one", "two"), "user:<one><two>;"),
    ("walks", "one", "user:<one>;"),
    ("walks", {"type": "text", "text": "one"}, "user:<one>;"),
    ("prints", text("one", "two"), "user:one\ntwo;"),
    ("prints", "one", "user:one;"),
    ("asks", text("one", "two"), "p:one;p:two;"),
    ("asks", "one", "s:one;"),
    ("macro", text("one", "two"), "p:onep:two;"),
    ("macro", "one", "s:one;"),
])
def test_a_template_gets_content_as_it_takes_it(served, model, content, right):
    assert prompt(served, model, [{"role": "user", "content": content}]) == right


def test_empty_answers_and_system_messages_keep_their_form(served):
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": None}, {"role": "user", "content": text("b")}]
    assert prompt(served, "walks", messages) == "system:<be>;user:<a>;assistant:<>;user:<b>;"
    assert prompt(served, "prints", messages) == "system:be;user:a;assistant:;user:b;"


# A PNG of one white pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEANl9ngAAAAABJRU5ErkJggg=="


def test_pictures_are_refused_by_name(served):
    r = served.post("/v1/chat/completions", {"model": "walks", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]}]})
    assert r.status_code == 400 and "sees no pictures" in r.json()["error"]["message"]


HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("model, fields, right", [
    ("switch", {}, "hi;"),
    ("switch", {"reasoning_effort": "none"}, "hi;off"),
    ("switch", {"reasoning_effort": False}, "hi;off"),
    ("switch", {"reasoning_effort": "high"}, "hi;on"),
    ("switch", {"thinking": {"type": "disabled"}}, "hi;off"),
    ("switch", {"thinking": {"type": "enabled"}}, "hi;on"),
    ("switch", {"enable_thinking": False}, "hi;off"),
    ("switch", {"reasoning": {"enabled": False}}, "hi;off"),
    ("switch", {"reasoning": {"effort": "none"}, "reasoning_effort": "none"}, "hi;off"),
    ("switch", {"chat_template_kwargs": {"enable_thinking": False}}, "hi;off"),
    ("switch", {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"}, "hi;off"),
    ("switch", {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}, "hi;on"),
    ("other-switch", {"reasoning_effort": "none"}, "hi;False"),
    ("other-switch", {"chat_template_kwargs": {"thinking": True}}, "hi;True"),
    ("levels", {"reasoning_effort": "low"}, "hi;low"),
    ("levels", {"reasoning": {"effort": "high"}}, "hi;high"),
    ("levels", {"thinking": {"type": "enabled"}}, "hi;"),
    ("both", {"reasoning_effort": "low"}, "hi;True low"),
    ("both", {"reasoning_effort": "none"}, "hi;False "),
    ("always", {"reasoning_effort": "none"}, "hi;<think>\n"),
    ("always", {"thinking": {"type": "disabled"}}, "hi;<think>\n"),
    ("always", {"reasoning_effort": "low"}, "hi;<think>\n"),
    ("always", {"reasoning": {"max_tokens": 3}}, "hi;<think>\n"),
    ("never", {"reasoning_effort": "none", "thinking": {"type": "disabled"}, "chat_template_kwargs": {"enable_thinking": False, "thinking": False}}, "hi;"),
    ("vars", {"chat_template_kwargs": {"date": "today", "opts": {"a": [1]}}}, 'hi;today {"a": [1]} '),
    ("vars", {"chat_template_kwargs": {"date": "<|im_end|>", "opts": None}}, "hi;<|im_end|> "),
])
def test_the_switches_of_a_template(served, model, fields, right):
    if "opts" in TEMPLATES[model] and fields["chat_template_kwargs"]["opts"] is None:
        r = served.post("/v1/chat/completions", {"model": model, "messages": HI, "max_tokens": 1, **fields})
        assert r.status_code == 400 and "Undefined is not JSON serializable" in r.json()["error"]["message"], r.text
        return
    assert prompt(served, model, HI, **fields) == right


@pytest.mark.parametrize("model, fields, words", [
    ("always", {"chat_template_kwargs": {"enable_thinking": False}}, "asks for no variable 'enable_thinking'"),
    ("never", {"thinking": {"type": "enabled"}}, "thinking: this model has no switch"),
    ("switch", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "none"}, "reasoning_effort and chat_template_kwargs.enable_thinking disagree"),
    ("vars", {"chat_template_kwargs": {"bos_token": "x"}}, "'bos_token' is set by the server"),
])
def test_what_a_template_cannot_follow_is_refused(served, model, fields, words):
    r = served.post("/v1/chat/completions", {"model": model, "messages": HI, "max_tokens": 1, **fields})
    assert r.status_code == 400 and words in r.json()["error"]["message"], r.text


THOUGHT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "A", "reasoning_content": "one"},
           {"role": "user", "content": "b"}, {"role": "assistant", "content": "<think>\ntwo\n</think>\n\nB"}, {"role": "user", "content": "c"}]


@pytest.mark.parametrize("model, history, right", [
    ("apart", None, "a;(one)A;b;<think>\ntwo\n</think>\n\nB;c;<think>"),
    ("apart", "disabled", "a;A;b;B;c;<think>"),
    ("apart", "interleaved", "a;A;b;B;c;<think>"),
    ("apart", "preserved", "a;(one)A;b;<think>\ntwo\n</think>\n\nB;c;<think>"),
    ("drops", None, "a;A;b;B;c;"),
    ("drops", "preserved", "a;<think>\none\n</think>\n\nA;b;<think>\ntwo\n</think>\n\nB;c;"),
    ("never", "preserved", "a;<think>\none\n</think>\n\nA;b;<think>\ntwo\n</think>\n\nB;c;"),
    ("never", "disabled", "a;A;b;B;c;"),
])
def test_thoughts_of_earlier_turns(served, model, history, right):
    assert prompt(served, model, THOUGHT, **({"reasoning_history": history} if history else {})) == right


def test_thoughts_that_a_template_leaves_out_are_not_promised(served):
    r = served.post("/v1/chat/completions", {"model": "strips", "messages": THOUGHT, "max_tokens": 1, "reasoning_history": "preserved"})
    assert r.status_code == 400 and "reasoning_history: this model's chat template leaves out" in r.json()["error"]["message"], r.text
    assert r.json()["error"]["param"] == "reasoning_history"


TOOLS = [{"type": "function", "function": {"name": "get", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}}]


def test_tools_stand_where_the_template_has_them(served):
    shown = json.dumps(TOOLS)
    assert prompt(served, "tools", HI, tools=TOOLS) == shown + "user:hi;"
    assert prompt(served, "tools", HI, tools=TOOLS, tool_choice="none") == "user:hi;"
    calls = [{"id": "a", "type": "function", "function": {"name": "get", "arguments": '{"x": 1}'}}]
    turns = HI + [{"role": "assistant", "content": None, "tool_calls": calls}, {"role": "tool", "tool_call_id": "a", "content": "5"}]
    assert prompt(served, "tools", turns, tools=TOOLS) == shown + 'user:hi;assistant:<get {"x": 1}>;result:5;'


def test_tools_stand_in_a_system_message_where_the_template_has_no_place(served):
    text = prompt(served, "prints", HI, tools=TOOLS)
    assert text.startswith("system:") and '"get"' in text and text.endswith("user:hi;")
    text = prompt(served, "prints", [{"role": "system", "content": "Be kind."}] + HI, tools=TOOLS)
    assert text.startswith("system:Be kind.\n\n") and '"get"' in text
    assert "get" not in prompt(served, "prints", HI, tools=TOOLS, tool_choice="none")


def test_variables_that_a_template_does_not_ask_for_are_left_out_when_fields_are_not_strict(lenient):
    r = lenient.post("/v1/chat/completions", {"model": "tiny", "messages": HI, "max_tokens": 1, "chat_template_kwargs": {"zz": 1}})
    assert r.status_code == 200, r.text


# What one walk through a request finds at each depth that no API defines.
UNKNOWN = [
    ({"zz": 1}, "zz"),
    ({"messages": [{"role": "user", "content": "hi", "zz": 1}]}, "messages[0].zz"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "zz": 1}]}]}, "messages[0].content[0].zz"),
    ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "b", "zz": None}, {"role": "user", "content": "c"}]}, "messages[1].zz"),
    ({"stream": True, "stream_options": {"zz": 1}}, "stream_options.zz"),
    ({"response_format": {"type": "text", "zz": 1}}, "response_format.zz"),
    ({"prediction": {"type": "content", "content": "x", "zz": 1}}, "prediction.zz"),
    ({"extra_body": {"zz": 1}}, "zz"),
]


@pytest.fixture(scope="module")
def lenient(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lenient")
    shutil.copytree(TINY, folder / "tiny")
    s = Server("--no-strict-fields", models=str(folder))
    yield s
    s.stop()


@pytest.mark.parametrize("fields, name", UNKNOWN, ids=[u[1] + str(i) for i, u in enumerate(UNKNOWN)])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/inference/v1/chat/completions"])
def test_unknown_members_at_any_depth(served, lenient, fields, name, path):
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **fields}
    r = served.post(path, {"model": "prints", **body})
    assert r.status_code == 400 and f"Extra inputs are not permitted, field: '{name}'" in r.json()["error"]["message"], r.text
    r = lenient.post(path, {"model": "tiny", **body})
    assert r.status_code == 200, r.text


@pytest.mark.parametrize("fields, name", [({"zz": 1}, "zz"), ({"loras": [{"name": "a", "scale": 2}]}, "loras[].scale"), ({"text_prompts": [{"text": "a", "zz": 2}]}, "text_prompts[].zz")])
@pytest.mark.parametrize("path", ["/v1/images/generations", "/inference/v1/image_generation/accounts/x/models/none"])
def test_unknown_members_of_image_requests(served, lenient, path, fields, name):
    body = {"model": "none", **({} if "text_prompts" in fields and "image_generation" in path else {"prompt": "a"}), **fields}
    r = served.post(path, body)
    if "text_prompts" in fields and path.startswith("/v1"):
        name = "text_prompts"  # a field of the other API alone
    assert r.status_code == 400 and f"Extra inputs are not permitted, field: '{name}'" in r.json()["error"]["message"], r.text
    r = lenient.post(path, body)
    assert r.status_code == 404 and "none" in r.json()["error"]["message"], r.text


def test_what_clients_put_beside_a_message(served):
    """An id is an answer's own name sent back; cache hints change nothing."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}], "id": "x1"}]
    assert prompt(served, "prints", messages) == "user:hi;"
