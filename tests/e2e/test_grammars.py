"""Answers that a grammar derives, or that a regular expression matches; in both dialects, plain and streamed. The model says what it likes within them."""
import concurrent.futures
import re

import pytest

from conftest import MODEL, PATIENCE, chat
from test_structured import DIALECTS, answers, refused

GRAMMAR = 'root ::= ("yes" | "no") ", " number " times"\nnumber ::= [1-9] [0-9]{0,2}  # not zero\n'
SENTENCE = r"(yes|no), [1-9][0-9]{0,2} times"
FORMS = {"grammar": {"type": "grammar", "grammar": GRAMMAR}, "regex": {"type": "regex", "pattern": SENTENCE}}


def regex(pattern):
    return {"type": "regex", "pattern": pattern}


@pytest.mark.parametrize("base", DIALECTS)
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_forms(server, base, form):
    for fields in ({"temperature": 0}, {"temperature": 1.5, "seed": 3, "n": 2}, {"temperature": 1, "seed": 4, "top_p": 0.9, "repetition_penalty": 1.3}):
        plain = answers(server, base, False, response_format=form, **fields)
        assert plain == answers(server, base, True, response_format=form, **fields)
        assert all(reason == "stop" and re.fullmatch(SENTENCE, text) for text, reason in plain), plain


@pytest.mark.parametrize("base", DIALECTS)
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_completions(server, base, form):
    r = server.post(base + "/completions", {"model": MODEL, "prompt": "It is:", "max_tokens": 200, "response_format": form, "temperature": 1, "seed": 1})
    assert r.status_code == 200 and re.fullmatch(SENTENCE, r.json()["choices"][0]["text"]), r.text


@pytest.mark.parametrize("stream", [False, True])
def test_ends(server, stream):
    assert answers(server, "/v1", stream, response_format=regex("red-(green|blue)"), stop=["-"], temperature=0) == [("red", "stop")]
    (text, reason), = answers(server, "/v1", stream, response_format=regex("[a-z ]{200,300}"), max_tokens=6, temperature=0)
    assert reason == "length" and re.fullmatch("[a-z ]{1,199}", text)


def test_characters_of_several_bytes(server):
    """Tokens of this model are pieces of characters; the answer is whole ones."""
    pattern = "(日本語|ÄÖÜß|🙂🙃|नमस्ते){4}"
    for seed in range(3):
        fields = dict(response_format=regex(pattern), temperature=2, seed=seed)
        plain = answers(server, "/v1", False, **fields)
        assert plain == answers(server, "/v1", True, **fields)
        assert plain[0][1] == "stop" and re.fullmatch(pattern, plain[0][0])
    (text, reason), = answers(server, "/v1", False, response_format={"type": "grammar", "grammar": "root ::= [α-ω]{5} [^a-zA-Z0-9]{2} [\\U0001F600-\\U0001F64F]"}, temperature=2, seed=1)
    assert reason == "stop" and re.fullmatch("[α-ω]{5}[^a-zA-Z0-9]{2}[\U0001F600-\U0001F64F]", text)


def test_recursion(server):
    """What no regular expression says: brackets that match."""
    grammar = 'root ::= item "!"\nitem ::= "(" item item ")" | "[" item "]" | [xyz]\n'
    for seed in range(6):
        text, reason = answers(server, "/v1", False, response_format={"type": "grammar", "grammar": grammar}, temperature=1.5, seed=seed, max_tokens=100)[0]
        if reason == "stop":
            assert text.endswith("!")
            while (shorter := re.sub(r"\(([xyz])[xyz]\)|\[([xyz])\]", "x", text)) != text:
                text = shorter
            assert re.fullmatch("[xyz]!", text), text


def test_the_same_bytes_alone_and_among_others(server):
    def one(seed, form):
        return answers(server, "/v1", False, content="Go.", temperature=1.5, seed=seed, max_tokens=40, **({"response_format": form} if form else {}))

    forms = [*FORMS.values(), None, regex("[a-z]{2,40}")]
    alone = [one(1, form) for form in forms]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        others = [pool.submit(one, 100 + i, forms[i % 4]) for i in range(16)]
        assert [x.result(PATIENCE) for x in [pool.submit(one, 1, form) for form in forms]] == alone
        assert all(o.result(PATIENCE) for o in others)


@pytest.mark.parametrize("form, words", [
    ({"type": "grammar", "grammar": 'root ::= "a'}, ["line 1"]), ({"type": "grammar", "grammar": "root ::= nowhere"}, ["nowhere"]), ({"type": "grammar", "grammar": 'start ::= "a"'}, ["root"]),
    ({"type": "grammar"}, ["grammar"]), (regex("(a"), []), (regex(None), []), (regex("(a{1,1000}){1,1000}b{1,1000}"), []),
    ({"type": "grammar", "grammar": "root ::= " + "(" * 5000 + "x" + ")" * 5000}, []), ({"type": "grammar", "grammar": 'root ::= ("a"{1,9999}){1,9999}'}, [])])
def test_a_bad_form_is_refused(server, form, words):
    message = refused(server, form)
    for word in ["response_format", *words]:
        assert word in message, message


def test_other_spellings(server):
    def one(**fields):
        return server.post("/v1/chat/completions", chat(max_tokens=20, temperature=0, **fields))

    for fields, pattern in (({"guided_regex": "[ab]{4}"}, "[ab]{4}"), ({"guided_choice": ["left", "right"]}, "left|right"), ({"guided_grammar": 'root ::= "x"'}, "x"), ({"grammar": 'root ::= "x"'}, "x"),
                            ({"structured_outputs": {"regex": "[ab]{4}"}}, "[ab]{4}"), ({"structured_outputs": {"choice": ["le\"ft", "right\\"]}}, r'le"ft|right\\')):
        r = one(**fields)
        assert r.status_code == 200 and re.fullmatch(pattern, r.json()["choices"][0]["message"]["content"]), r.text
    assert one(guided_regex="a", guided_choice=["b"]).status_code == 400
