"""The libraries that applications are written with, plain and streamed: each must get the words that the API gives.

Run by tests/run.sh in the environment of clients_frameworks.txt.
"""
import asyncio
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import KEY, MODEL, PATIENCE

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network for prices at import
MESSAGES = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def words(keyed):
    """What the API itself answers."""
    r = keyed.post("/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "max_tokens": 8, "temperature": 0}, {"Authorization": "Bearer " + KEY})
    assert r.status_code == 200
    return r.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("provider, base", [("openai", "/v1"), ("fireworks_ai", "/inference/v1")])
def test_litellm(keyed, words, provider, base):
    import litellm

    def ask(**more):
        return litellm.completion(model=f"{provider}/{MODEL}", api_base=keyed.url + base, api_key=KEY, messages=MESSAGES, max_tokens=8, temperature=0, **more)

    r = ask()
    assert r.choices[0].message.content == words and r.usage.completion_tokens <= 8
    assert "".join(c.choices[0].delta.content or "" for c in ask(stream=True)) == words
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(model=f"{provider}/{MODEL}", api_base=keyed.url + base, api_key="wrong", messages=MESSAGES)
    with pytest.raises(litellm.BadRequestError):
        ask(top_p=7)


def test_langchain_fireworks(keyed, words):
    from langchain_fireworks import ChatFireworks

    m = ChatFireworks(model=MODEL, api_key=KEY, base_url=keyed.url + "/inference/v1", temperature=0, max_tokens=8)
    reply = m.invoke("Say hello.")
    assert reply.content == words and reply.usage_metadata["output_tokens"] <= 8
    assert "".join(c.content for c in m.stream("Say hello.")) == words
    assert asyncio.run(m.ainvoke("Say hello.")).content == words


def test_pydantic_ai(keyed, words):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=keyed.url + "/v1", api_key=KEY)), model_settings={"temperature": 0, "max_tokens": 8})

    async def run():
        r = await agent.run("Say hello.")
        async with agent.run_stream("Say hello.") as s:
            return r.output, await s.get_output()

    assert asyncio.run(run()) == (words, words)


def test_instructor(keyed, words):
    import instructor
    import openai

    client = instructor.from_openai(openai.OpenAI(base_url=keyed.url + "/v1", api_key=KEY), mode=instructor.Mode.MD_JSON)
    r = client.chat.completions.create(model=MODEL, messages=MESSAGES, response_model=None, max_tokens=8, temperature=0)
    assert r.choices[0].message.content == words


def test_haystack(keyed, words):
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.utils import Secret

    generator = OpenAIChatGenerator(model=MODEL, api_base_url=keyed.url + "/v1", api_key=Secret.from_token(KEY), generation_kwargs={"max_tokens": 8, "temperature": 0})
    assert generator.run([ChatMessage.from_user("Say hello.")])["replies"][0].text == words
    pieces = []
    generator.run([ChatMessage.from_user("Say hello.")], streaming_callback=lambda c: pieces.append(c.content or ""))
    assert "".join(pieces) == words


def test_dspy(keyed, words):
    import dspy

    lm = dspy.LM("openai/" + MODEL, api_base=keyed.url + "/v1", api_key=KEY, temperature=0, max_tokens=8, cache=False)
    assert lm(messages=MESSAGES) == [words]


def test_hugging_face_client(keyed, words):
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=keyed.url + "/v1", api_key=KEY)
    assert client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, temperature=0).choices[0].message.content == words
    pieces = client.chat_completion(model=MODEL, messages=MESSAGES, max_tokens=8, temperature=0, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in pieces if c.choices) == words


@pytest.mark.parametrize("stream", [[], ["--no-stream"]])
def test_llm_program(keyed, words, tmp_path, stream):
    (tmp_path / "extra-openai-models.yaml").write_text(f"- model_id: hearth\n  model_name: {MODEL}\n  api_base: {keyed.url}/v1\n  api_key_name: hearth\n")
    program = pathlib.Path(sys.executable).with_name("llm")
    r = subprocess.run([program, "-m", "hearth", "--key", KEY, "-o", "max_tokens", "8", "-o", "temperature", "0", *stream, "Say hello."],
                       capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "LLM_USER_PATH": str(tmp_path)})
    assert r.returncode == 0 and r.stdout.strip() == words.strip(), r.stderr
