"""Answers that must be JSON, or fit a schema; in both dialects, plain and streamed.

The model is small and says what it likes; what is asserted is the form, which does not depend on it."""
import concurrent.futures
import json
import re
import time

import pytest

from conftest import MODEL, PATIENCE, Server, chat, events

DIALECTS = ["/v1", "/inference/v1"]
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                                           "tags": {"type": "array", "items": {"enum": ["red", "blue", "green"]}, "minItems": 1, "maxItems": 2, "uniqueItems": True}},
          "required": ["name", "age", "tags"], "additionalProperties": False}
WORD = {"type": "string", "minLength": 200, "maxLength": 300}


STRICT = {**PERSON, "properties": {**PERSON["properties"], "tags": {k: v for k, v in PERSON["properties"]["tags"].items() if k != "uniqueItems"}}}


def is_person(text, distinct=True):
    p = json.loads(text)
    assert list(p) == ["name", "age", "tags"] or set(p) == {"name", "age", "tags"}
    assert isinstance(p["name"], str) and len(p["name"]) <= 12
    assert p["age"] == int(p["age"]) and 0 <= p["age"] <= 150  # 1.0 is an integer
    assert 1 <= len(p["tags"]) <= 2 and set(p["tags"]) <= {"red", "blue", "green"} and (len(set(p["tags"])) == len(p["tags"]) or not distinct)
    return p


def schema(s, **more):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": s, **more}}


def answers(server, base, stream, **fields):
    """[(text, finish reason)] of every choice."""
    body = chat(**{"content": "Describe a person as JSON.", "max_tokens": 200, "stream": stream, **fields})
    r = server.post(base + "/chat/completions", body)
    assert r.status_code == 200, r.text
    if not stream:
        return [(c["message"]["content"], c["finish_reason"]) for c in r.json()["choices"]]
    texts, reasons = {}, {}
    for event in events(r):
        for c in event["choices"]:
            texts[c["index"]] = texts.get(c["index"], "") + (c["delta"].get("content") or "")
            if c["finish_reason"]:
                assert c["index"] not in reasons
                reasons[c["index"]] = c["finish_reason"]
    return [(texts[i], reasons[i]) for i in sorted(texts)]


def refused(server, form, base="/v1", **fields):
    r = server.post(base + "/chat/completions", chat(response_format=form, **fields))
    assert r.status_code == 400, r.text
    return r.json()["error"]["message"]


@pytest.mark.parametrize("base", DIALECTS)
@pytest.mark.parametrize("form, fits", [
    (schema(PERSON), is_person), (schema(STRICT, strict=True), lambda text: is_person(text, False)), ({"type": "json_object", "schema": PERSON}, is_person),
    ({"type": "json_schema", "json_schema": json.dumps({"name": "p", "schema": PERSON})}, is_person)], ids=["schema", "strict", "object", "string"])
def test_forms(server, base, form, fits):
    for fields in ({"temperature": 0}, {"temperature": 1.5, "seed": 3}, {"temperature": 1, "seed": 4, "top_p": 0.9, "repetition_penalty": 1.3}):
        plain = answers(server, base, False, response_format=form, **fields)
        assert plain == answers(server, base, True, response_format=form, **fields)
        (text, reason), = plain
        assert reason == "stop" and fits(text), text


@pytest.mark.parametrize("base", DIALECTS)
def test_any_object(server, base):
    """json_object promises an object that parses, however long the model goes on; cut off, it is the beginning of one."""
    whole = 0
    for seed in range(4):
        text, reason = answers(server, base, False, content='Repeat this JSON: {"a": 1}', response_format={"type": "json_object"}, temperature=1, seed=seed, max_tokens=120)[0]
        assert text.lstrip().startswith("{") and reason in ("stop", "length")
        if reason == "stop":
            assert isinstance(json.loads(text), dict)
            whole += 1
    assert whole


def test_json_object_asks_for_the_word(server):
    """As OpenAI does: without the word in a message a model may not know what is wanted of it."""
    assert "json" in refused(server, {"type": "json_object"}, content="A person.").lower()
    r = server.post("/inference/v1/chat/completions", chat("A person.", response_format={"type": "json_object"}, max_tokens=2))
    assert r.status_code == 200


@pytest.mark.parametrize("base", DIALECTS)
def test_completions(server, base):
    r = server.post(base + "/completions", {"model": MODEL, "prompt": "It is:", "max_tokens": 200, "response_format": schema(PERSON), "temperature": 1, "seed": 1})
    assert r.status_code == 200 and is_person(r.json()["choices"][0]["text"]), r.text


@pytest.mark.parametrize("base", DIALECTS)
def test_several_choices(server, base):
    fields = dict(response_format=schema(PERSON), n=4, temperature=1.5, seed=5)
    plain = answers(server, base, False, **fields)
    assert plain == answers(server, base, True, **fields)
    assert len(plain) == 4 and len({text for text, _ in plain}) > 1
    assert all(reason == "stop" and is_person(text) for text, reason in plain)


def test_log_probabilities(server):
    """Of the tokens that were chosen: they make up the answer, and none of them is likelier than sure."""
    r = server.post("/v1/chat/completions", chat("A person.", max_tokens=200, response_format=schema(PERSON), temperature=0, logprobs=True, top_logprobs=2)).json()
    content = r["choices"][0]["logprobs"]["content"]
    assert b"".join(bytes(t["bytes"]) for t in content).decode() == r["choices"][0]["message"]["content"]
    assert len(content) == r["usage"]["completion_tokens"] or len(content) == r["usage"]["completion_tokens"] - 1  # the end token says nothing
    assert all(t["logprob"] <= 0 and len(t["top_logprobs"]) <= 2 for t in content)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_cut(server, stream):
    (text, reason), = answers(server, "/v1", stream, response_format=schema(PERSON), stop=['"age"'], temperature=0)
    assert reason == "stop" and '"age"' not in text and '"name"' in text


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_answer_says_so(server, stream):
    (text, reason), = answers(server, "/v1", stream, response_format=schema(WORD), max_tokens=6, temperature=0)
    assert reason == "length" and text.lstrip().startswith('"') and len(text) < 200


@pytest.mark.parametrize("form", [schema(PERSON), {"type": "json_object"}, None])
def test_the_same_bytes_alone_and_among_others(server, form):
    def one(seed, form):
        fields = dict(content=f"Say something of number {seed} as JSON.", temperature=1, seed=seed, max_tokens=60)
        return answers(server, "/v1", False, **fields, **({"response_format": form} if form else {}))

    alone = one(1, form)
    forms = [schema(PERSON), None, schema(WORD), {"type": "json_object"}]
    with concurrent.futures.ThreadPoolExecutor(17) as pool:
        others = [pool.submit(one, 100 + i, forms[i % 4]) for i in range(16)]
        among = pool.submit(one, 1, form)
        assert among.result(PATIENCE) == alone
        assert all(o.result(PATIENCE) for o in others)


def test_characters_of_several_bytes(server):
    """Tokens of this model are pieces of characters; the answer is whole ones, in a stream at every event."""
    words = ["日本語", "ÄÖÜß", "🙂🙃", "नमस्ते"]
    form = schema({"type": "array", "items": {"enum": words}, "minItems": 3, "maxItems": 3})
    for seed in range(3):
        plain = answers(server, "/v1", False, response_format=form, temperature=2, seed=seed)
        assert plain == answers(server, "/v1", True, response_format=form, temperature=2, seed=seed)
        assert plain[0][1] == "stop" and set(json.loads(plain[0][0])) <= set(words)


def test_white_space_is_bounded(server):
    """A model that wants nothing but white space ends all the same."""
    blanks = {i for text in ("\n", " ", "\n\n", "  ", "    ", "\t", "\n\n\n", " \n") for i in server.post("/tokenize", {"model": MODEL, "prompt": text}).json()["tokens"]}
    (text, reason), = answers(server, "/v1", False, response_format=schema({"type": "array", "items": {"enum": [1]}, "minItems": 2, "maxItems": 2}), max_tokens=1000, temperature=0,
                              logit_bias={str(i): 100 for i in blanks})
    assert reason == "stop" and json.loads(text) == [1, 1] and len(text) < 1000
    assert max((len(s) for s in re.findall(r"\s+", text)), default=0) <= 200


@pytest.mark.parametrize("bad, words", [
    ({"type": "object", "properties": {"a": {"type": "strong"}}}, ["type", "properties/a", "strong"]),
    ({"type": "object", "properties": {"a": {"pattern": "("}}}, ["pattern", "properties/a"]),
    ({"$ref": "#/$defs/nowhere"}, ["$ref", "nowhere"]),
    ({"type": "array", "minItems": -1}, ["minItems"]),
    ({"type": "array", "items": {"type": "object", "additonalProperties": False}}, ["additonalProperties", "items"]),
    ({"type": "string", "enum": [1]}, []),  # nothing fits it
    ({"allOf": [{"minimum": 3}, {"maximum": 1}], "type": "integer"}, [])])
@pytest.mark.parametrize("base", DIALECTS)
def test_a_bad_schema_is_refused_by_keyword_and_path(server, base, bad, words):
    message = refused(server, schema(bad), base)
    for word in ["response_format", *words]:
        assert word in message, message


def test_a_keyword_that_decides_nothing_is_named(server):
    for form in (schema({"type": "object", "properties": {"a": {"type": "null", "colour": 1}}}), schema({"type": "null", "title": "t"})):
        r = server.post("/v1/chat/completions", chat(response_format=form, max_tokens=30))
        assert r.status_code == 200, r.text
        assert r.headers.get("x-schema-ignored") == ("#/properties/a/colour" if "properties" in str(form) else None)


@pytest.mark.parametrize("form, words", [({"type": "json_schema"}, ["json_schema"]), ({"type": "yaml"}, ["yaml"]), ({}, ["type"]), ("json", []), ({"type": "json_schema", "json_schema": 3}, ["json_schema"]),
                                         ({"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}, ["name"])])
def test_a_bad_form_is_refused(server, form, words):
    message = refused(server, form)
    for word in ["response_format", *words]:
        assert word in message, message


HOSTILE = {
    "oneOf": {"oneOf": [{"oneOf": [{"type": "object", "properties": {f"p{i}": {"oneOf": [{"minimum": k} for k in range(20)]} for i in range(20)}} for _ in range(6)]} for _ in range(6)]},
    "items": {"type": "array", "items": {"oneOf": [{"type": "array", "minItems": k, "maxItems": 10**9, "uniqueItems": True, "contains": {"minLength": k}} for k in range(60)]}},
    "refs": {"$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"not": {"$ref": f"#/$defs/d{i + 1}"}}]} for i in range(200)} | {"d200": {"type": "string"}}, "$ref": "#/$defs/d0"},
    "itself": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "pattern": {"type": "string", "pattern": "^((a{1,1000}){1,1000}|(b{1,1000}c?){1,1000}){1,1000}$"},
    "lookahead": {"type": "string", "pattern": "^(?=.*a.{200})(?=.*b.{200})(?=.*c.{200}).*$"},
}


def test_hostile_schemas_disturb_nobody(server):
    """Each is refused with a reason, while a stream beside them goes on."""
    with server.post("/v1/chat/completions", chat("Tell a long story.", max_tokens=400, temperature=1, seed=1, ignore_eos=True, stream=True), stream=True) as story:
        lines = (line for line in story.iter_lines() if line.startswith(b"data: {"))
        next(lines)
        for name, bad in HOSTILE.items():
            began = time.monotonic()
            message = refused(server, schema(bad))
            assert time.monotonic() - began < PATIENCE / 10, name  # what hangs, not what is slow: a machine may be busy
            assert message.startswith("response_format: "), (name, message)
            assert next(lines), name
        assert sum(1 for _ in lines) > 5


def test_a_large_schema_that_is_sound(server):
    names = [f"colour {i}" for i in range(2000)]
    (text, reason), = answers(server, "/v1", False, response_format=schema({"enum": names}), temperature=1.5, seed=2)
    assert reason == "stop" and json.loads(text) in names


def test_other_spellings(server):
    def one(**fields):
        return server.post("/v1/chat/completions", chat(max_tokens=20, temperature=0, **fields))

    for field in ({"guided_json": {"enum": [7]}}, {"structured_outputs": {"json": {"enum": [7]}}}, {"guided_json": '{"enum": [7]}'}):
        assert json.loads(one(**field).json()["choices"][0]["message"]["content"]) == 7
    r = one(response_format=schema(PERSON), guided_json={"enum": [7]})
    assert r.status_code == 400 and "guided_json" in r.json()["error"]["message"] and "response_format" in r.json()["error"]["message"]


@pytest.fixture(scope="module")
def checked():
    s = Server("--max-batch", "4")
    yield s
    s.stop()


def test_more_choices_than_places(checked):
    """What waits for a place, or is set back, goes on as it began."""
    fields = dict(response_format=schema(PERSON), n=8, temperature=1.5, seed=9)
    got = answers(checked, "/v1", False, **fields)
    assert len(got) == 8 and all(reason == "stop" and is_person(text) for text, reason in got)
    assert got == answers(checked, "/v1", True, **fields)
