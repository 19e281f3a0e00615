"""Every text model of the catalog from its files to streamed text: small checkpoints of its family, laid out as it is published, under its
own name and with its own chat template. The numbers are random: what is held is that the whole way works, not what is said."""
import json
import math
import re
import shutil

import numpy as np
import pytest
from conftest import ROOT, Server
from test_checkpoints import plain, save

GOLDEN, TEMPLATES = ROOT / "tests/golden/lm", ROOT / "tools/reference/templates"
CHAT = "/v1/chat/completions"
EMBD, HEADS, KV_HEADS, HEAD, FF, LAYERS, EXPERTS, VOCAB = 32, 4, 2, 16, 24, 2, 4, 266


def entries():
    """(id, architecture, last part of the source) of the catalog's rows of text."""
    for row in re.split(r"(?m)^(?=  - id: )", (ROOT / "catalog/models.yaml").read_text())[1:]:
        field = dict(re.findall(r"(?m)^\s+-?\s*(id|kind|arch|source): (\S+)", row))
        if field["kind"] == "text" and "fireworks" in field["id"]:
            yield field["id"], field["arch"], field["source"].rsplit("/", 1)[-1]


ROWS = list(entries())


def experts(arch):
    """Weights of a small model with routed experts, one tensor an expert, under its family's names."""
    r = np.random.default_rng(11)
    names = {"qwen3_moe": ("mlp.gate", "mlp.experts.{}.", "gate_proj", "up_proj", "down_proj"),
             "mixtral": ("block_sparse_moe.gate", "block_sparse_moe.experts.{}.", "w1", "w3", "w2")}[arch]

    def matrix(n_out, n_in):
        return (r.standard_normal((n_out, n_in)) / math.sqrt(n_in)).astype(np.float32)

    def norm(n):
        return (1 + 0.2 * r.standard_normal(n)).astype(np.float32)

    w = {"model.embed_tokens.weight": matrix(VOCAB, EMBD), "model.norm.weight": norm(EMBD), "lm_head.weight": matrix(VOCAB, EMBD)}
    for il in range(LAYERS):
        at = f"model.layers.{il}."
        for name, rows, cols in (("q", HEADS * HEAD, EMBD), ("k", KV_HEADS * HEAD, EMBD), ("v", KV_HEADS * HEAD, EMBD), ("o", EMBD, HEADS * HEAD)):
            w[f"{at}self_attn.{name}_proj.weight"] = matrix(rows, cols)
        w[at + "input_layernorm.weight"], w[at + "post_attention_layernorm.weight"] = norm(EMBD), norm(EMBD)
        if arch == "qwen3_moe":
            w[at + "self_attn.q_norm.weight"], w[at + "self_attn.k_norm.weight"] = norm(HEAD), norm(HEAD)
        router, each, gate, up, down = names
        w[f"{at}{router}.weight"] = matrix(EXPERTS, EMBD)
        for e in range(EXPERTS):
            w[f"{at}{each.format(e)}{gate}.weight"], w[f"{at}{each.format(e)}{up}.weight"] = matrix(FF, EMBD), matrix(FF, EMBD)
            w[f"{at}{each.format(e)}{down}.weight"] = matrix(EMBD, FF)
    return w


def write(folder, arch):
    base = {"deepseek_v3": "deepseek_chat", "llama4": "llama4_chat"}.get(arch, "chat")
    shutil.copytree(GOLDEN / base, folder)
    if arch not in ("qwen3_moe", "mixtral"):
        return
    save(folder / "model.safetensors", plain(experts(arch)))
    config = dict(model_type=arch, vocab_size=VOCAB, hidden_size=EMBD, intermediate_size=FF, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, head_dim=HEAD, max_position_embeddings=8192, rms_norm_eps=1e-5, num_experts_per_tok=2,
                  tie_word_embeddings=False, rope_theta=1e6)
    config |= {"num_experts": EXPERTS, "moe_intermediate_size": FF, "norm_topk_prob": True} if arch == "qwen3_moe" else {"num_local_experts": EXPERTS}
    (folder / "config.json").write_text(json.dumps(config))


def template(source):
    """The model's own, and what it writes first of a question."""
    for part, name, start in (("R1-0528", "deepseek_r1_0528", "User"), ("R1", "deepseek_r1", "User"), ("8x7B", "mixtral_8x7b", "[INST] Hi"),
                              ("8x22B", "mixtral_8x22b", "[INST] Hi"), ("Llama-4", "llama4", "user<|header_end|>"),
                              ("Llama-3.1", "llama3_1", "user<|end_header_id|>")):
        if part in source:
            return (TEMPLATES / f"{name}.jinja").read_text(), start
    name, start = ("qwen3", "<|im_start|>user\nHi") if "Qwen" in source else ("deepseek_v3", "User")
    return json.loads((ROOT / f"tests/golden/tokenizer/{name}/tokenizer_config.json").read_text())["chat_template"], start


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog") / "models"
    folder.mkdir()
    for name, arch, source in ROWS:
        alone = sum(s == source for _, _, s in ROWS) == 1  # two offers of the same weights need a folder each, to be two models
        model = folder / (source if alone else name.rsplit("/", 1)[-1])
        write(model, arch)
        config = json.loads((model / "tokenizer_config.json").read_text())
        config["chat_template"] = template(source)[0]
        (model / "tokenizer_config.json").write_text(json.dumps(config))
    s = Server("--ctx", "2048", models=str(folder))
    yield s
    s.stop()


def test_there_are_twelve():
    assert len(ROWS) == 12 and {arch for _, arch, _ in ROWS} == {"deepseek_v3", "qwen3_moe", "llama4", "llama", "mixtral"}


@pytest.mark.parametrize("name, source", [(n, s) for n, _, s in ROWS], ids=[n.rsplit("/", 1)[-1] for n, _, _ in ROWS])
def test_files_to_streamed_text(server, name, source):
    body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, "temperature": 0, "ignore_eos": True, "raw_output": True}
    r = server.post(CHAT, body)
    assert r.status_code == 200, r.text
    whole = r.json()
    prompt = "".join(whole["choices"][0]["raw_output"]["prompt_fragments"])
    assert template(source)[1] in prompt and "Hi" in prompt
    assert whole["usage"]["completion_tokens"] == 12 and whole["model"] == name
    parts, usage = [], None
    with server.post(CHAT, body | {"stream": True, "stream_options": {"include_usage": True}}, stream=True) as r:
        assert r.status_code == 200, r.text
        for line in r.iter_lines():
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                parts.append(choice["delta"])
    message = whole["choices"][0]["message"]
    for field in ("content", "reasoning_content"):  # what a model thinks aloud stands apart where it is told so
        assert "".join(p.get(field) or "" for p in parts) == (message.get(field) or "")
    assert "".join(p.get("content") or p.get("reasoning_content") or "" for p in parts)
    assert usage["completion_tokens"] == 12
