"""What lies beside a model's vocabulary, seen through the server: templates, the names of special tokens, added tokens."""
import json
import shutil

import pytest

from conftest import ROOT, Server

pytestmark = pytest.mark.checked
TINY = ROOT / "tests/golden/lm/chat"
HI = [{"role": "user", "content": "hi"}]
FOLDERS = {
    "processor": {"tokenizer_config.json": {"eos_token": "<|im_end|>"}, "chat_template.json": {"chat_template": "[{{ messages[0].content }}]"}},
    "map": {"tokenizer_config.json": {"chat_template": "{{ bos_token }}A {{ messages[0].content }}{{ eos_token }}{{ pad_token }}"},
            "special_tokens_map.json": {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|im_end|>"}},
    "around": {"tokenizer_config.json": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "add_bos_token": True, "add_eos_token": True}},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, files in FOLDERS.items():
        shutil.copytree(TINY, folder / name)
        for file, content in files.items():
            (folder / name / file).write_text(json.dumps(content))
    s = Server(models=str(folder))
    yield s
    s.stop()


@pytest.mark.parametrize("model, right", [  # transformers' apply_chat_template
    ("processor", "[hi]"),
    ("map", "<|im_start|>A hi<|im_end|><|im_end|>"),
])
def test_templates_and_names(served, model, right):
    r = served.post("/v1/chat/completions", {"model": model, "messages": HI, "max_tokens": 1, "raw_output": True})
    assert r.status_code == 200, r.text
    assert r.json()["choices"][0]["raw_output"]["prompt_fragments"] == [right]


def test_special_tokens_around_a_prompt(served):
    tokens = served.post("/tokenize", {"model": "around", "content": "hi", "add_special": True}).json()["tokens"]
    inside = served.post("/tokenize", {"model": "around", "content": "hi", "add_special": False}).json()["tokens"]
    assert tokens == [264, *inside, 265]
