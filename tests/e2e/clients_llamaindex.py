"""LlamaIndex against the server. Run by tests/run.sh in the environment of clients_llamaindex.txt."""
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from conftest import KEY, MODEL


def test_openai_like(keyed):
    m = OpenAILike(model=MODEL, api_base=keyed.url + "/v1", api_key=KEY, is_chat_model=True, temperature=0, max_tokens=8)
    text = m.chat([ChatMessage(role="user", content="Say hello.")]).message.content
    assert text and "".join(x.delta for x in m.stream_chat([ChatMessage(role="user", content="Say hello.")])) == text
    assert m.complete("Say hello.").text == text
