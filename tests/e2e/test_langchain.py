"""langchain-openai."""
from langchain_openai import ChatOpenAI, OpenAI

from conftest import KEY, MODEL


def test_chat_model(keyed):
    llm = ChatOpenAI(model=MODEL, base_url=keyed.url + "/v1", api_key=KEY, max_tokens=8, temperature=0)
    reply = llm.invoke([("system", "You are brief."), ("user", "Name a colour.")])
    assert reply.content and reply.usage_metadata["total_tokens"] > 0
    assert "".join(c.content for c in llm.stream([("system", "You are brief."), ("user", "Name a colour.")])) == reply.content
    assert len(llm.batch(["One?", "Two?", "Three?"])) == 3


def test_completion_model(keyed):
    llm = OpenAI(model=MODEL, base_url=keyed.url + "/v1", api_key=KEY, max_tokens=5)
    assert llm.invoke("The sky is")
