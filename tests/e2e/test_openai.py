"""The openai package against both base paths."""
import asyncio

import openai
import pytest

from conftest import KEY, MODEL

MESSAGES = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name a colour."}]


@pytest.fixture(params=["/v1", "/inference/v1"])
def client(keyed, request):
    return openai.OpenAI(base_url=keyed.url + request.param, api_key=KEY, max_retries=0)


def test_chat(client):
    r = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=12, temperature=0)
    assert r.choices[0].message.role == "assistant" and r.choices[0].message.content
    assert r.choices[0].message.tool_calls is None
    assert r.choices[0].finish_reason in ("stop", "length")
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    assert r.usage.completion_tokens <= 12 and r.usage.prompt_tokens > 10
    assert r.usage.prompt_tokens_details.cached_tokens is not None
    assert r.model == MODEL and r.object == "chat.completion" and r._request_id


def test_same_text_streamed_and_plain(client):
    args = dict(model=MODEL, messages=MESSAGES, max_tokens=20, temperature=0)
    plain = client.chat.completions.create(**args)
    text, reasons, usage = "", [], None
    for chunk in client.chat.completions.create(**args, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for c in chunk.choices:
            text += c.delta.content or ""
            reasons += [c.finish_reason] if c.finish_reason else []
    assert text == plain.choices[0].message.content
    assert reasons == [plain.choices[0].finish_reason]
    assert usage.completion_tokens == plain.usage.completion_tokens


def test_seed_repeats(client):
    def once(seed):
        return client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=16, temperature=1.2, seed=seed).choices[0].message.content

    assert once(7) == once(7)
    assert len({once(s) for s in range(4)}) > 1


def test_stream_helper_accumulates(client):
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, max_tokens=200, stop=["a", "e", "o", "i"]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "stop"


def test_n_choices(client):
    r = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=6, n=3, temperature=1.5, seed=1)
    assert [c.index for c in r.choices] == [0, 1, 2]
    assert len({c.message.content for c in r.choices}) > 1
    first, ends = {}, []
    for i, chunk in enumerate(client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=6, n=3, stream=True, temperature=1.5, seed=1)):
        for c in chunk.choices:
            first.setdefault(c.index, i)
            ends += [c.index] if c.finish_reason else []
    assert first[0] < first[1] < first[2]
    assert sorted(ends) == [0, 1, 2]


def test_logprobs(client):
    r = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3)
    content = r.choices[0].logprobs.content
    assert "".join(bytes(t.bytes).decode(errors="replace") for t in content).strip() != ""
    for t in content:
        assert len(t.top_logprobs) == 3
        assert t.token == t.top_logprobs[0].token and t.logprob == t.top_logprobs[0].logprob <= 0
        assert [x.logprob for x in t.top_logprobs] == sorted((x.logprob for x in t.top_logprobs), reverse=True)


def test_stop_is_left_out(client):
    args = dict(model=MODEL, messages=[{"role": "user", "content": "Count: one, two, three, four, five."}], max_tokens=40, temperature=0)
    whole = client.chat.completions.create(**args).choices[0].message.content
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    r = client.chat.completions.create(**args, stop=[stop, "never there"])
    assert r.choices[0].message.content == whole[: whole.index(stop)]
    assert r.choices[0].finish_reason == "stop"
    streamed = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(**args, stop=stop, stream=True) if c.choices)
    assert streamed == r.choices[0].message.content


def test_completions(client):
    r = client.completions.create(model=MODEL, prompt=["The capital of France is", "One plus one is"], max_tokens=4, n=2, temperature=0.8, seed=3, logprobs=2)
    assert [c.index for c in r.choices] == [0, 1, 2, 3]
    for c in r.choices:
        assert len(c.logprobs.tokens) == len(c.logprobs.token_logprobs) == len(c.logprobs.text_offset)
        assert "".join(c.logprobs.tokens) == c.text
    text = "".join(c.choices[0].text for c in client.completions.create(model=MODEL, prompt="Hello", max_tokens=5, stream=True) if c.choices)
    assert text


def test_completion_echo_scores_the_prompt(client):
    r = client.completions.create(model=MODEL, prompt="The sky is blue", max_tokens=0, echo=True, logprobs=1, temperature=0)
    assert r.choices[0].text == "The sky is blue"
    lp = r.choices[0].logprobs
    assert lp.token_logprobs[0] is None and all(x < 0 for x in lp.token_logprobs[1:])


def test_completion_of_token_ids(client, keyed):
    ids = keyed.post("/tokenize", {"model": MODEL, "prompt": "The capital of France is"}, {"Authorization": "Bearer " + KEY}).json()["tokens"]
    by_text = client.completions.create(model=MODEL, prompt="The capital of France is", max_tokens=6, temperature=0)
    by_ids = client.completions.create(model=MODEL, prompt=ids, max_tokens=6, temperature=0)
    assert by_ids.choices[0].text == by_text.choices[0].text
    assert by_ids.usage.prompt_tokens == len(ids)


def test_best_of(client):
    r = client.completions.create(model=MODEL, prompt="Once", max_tokens=5, n=1, best_of=4, temperature=1.5, seed=11)
    assert len(r.choices) == 1 and r.usage.completion_tokens > 5


def test_models(client):
    ids = [m.id for m in client.models.list()]
    assert MODEL in ids
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.retrieve("smollm2-135m-instruct").id == MODEL
    with pytest.raises(openai.NotFoundError) as e:
        client.models.retrieve("accounts/fireworks/models/qwen3-30b-a3b")
    assert "hearth pull" in str(e.value)


def test_errors(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=3.5)
    assert e.value.param == "temperature" and "temperature must be between 0 and 2, got 3.5" in e.value.message
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    assert e.value.param == "model"
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
    assert e.value.code == "context_length_exceeded" and "prompt is too long" in e.value.message
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model=MODEL, messages=MESSAGES)


def test_extra_body(client):
    r = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=4, extra_body={"top_k": 1, "min_p": 0.05, "repetition_penalty": 1.1})
    assert r.choices[0].message.content
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body={"top_q": 1})
    assert "Extra inputs are not permitted, field: 'top_q', value: 1" in e.value.message


def test_many_async_streams(keyed):
    client = openai.AsyncOpenAI(base_url=keyed.url + "/v1", api_key=KEY)

    async def one(i):
        text = ""
        async for chunk in await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"Number {i}?"}], max_tokens=10, temperature=0, stream=True):
            text += chunk.choices[0].delta.content or ""
        return text

    async def all_of_them():
        return await asyncio.gather(*[one(i % 8) for i in range(24)])

    texts = asyncio.run(all_of_them())
    assert all(texts)
    for i in range(8):
        assert texts[i] == texts[i + 8] == texts[i + 16]
