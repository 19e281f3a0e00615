"""Families beside the catalog's, from their files to streamed text: small random checkpoints, laid out and templated as they are published. And what
is said of families that are not there."""
import concurrent.futures
import json
import math
import shutil
import subprocess

import numpy as np
import pytest
from conftest import BIN, PATIENCE, ROOT, Server
from test_checkpoints import plain, save

CHAT_FILES, TEMPLATES = ROOT / "tests/golden/lm/chat", ROOT / "tools/reference/templates"
CHAT = "/v1/chat/completions"
EMBD, HEADS, KV, HEAD, FF, EXPERTS, VOCAB = 32, 4, 2, 16, 24, 4, 266
Q = HEADS * HEAD
BASE = dict(vocab_size=VOCAB, hidden_size=EMBD, intermediate_size=FF, num_hidden_layers=2, num_attention_heads=HEADS, num_key_value_heads=KV,
            max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=False)
APART = {"self_attn.q_proj.weight": (Q, EMBD), "self_attn.k_proj.weight": (KV * HEAD, EMBD), "self_attn.v_proj.weight": (KV * HEAD, EMBD),
         "self_attn.o_proj.weight": (EMBD, Q), "input_layernorm.weight": (EMBD,), "post_attention_layernorm.weight": (EMBD,)}
BIASES = {f"self_attn.{x}_proj.bias": (n,) for x, n in (("q", Q), ("k", KV * HEAD), ("v", KV * HEAD))}
JOINED = {"mlp.gate_up_proj.weight": (2 * FF, EMBD), "mlp.down_proj.weight": (EMBD, FF)}
DENSE = {"mlp.gate_proj.weight": (FF, EMBD), "mlp.up_proj.weight": (FF, EMBD), "mlp.down_proj.weight": (EMBD, FF)}
GLM_EXPERTS = {f"mlp.experts.{e}.{x}_proj.weight": (EMBD, FF) if x == "down" else (FF, EMBD) for e in range(EXPERTS) for x in ("gate", "up", "down")}
GLM_SHARED = {f"mlp.shared_experts.{x}_proj.weight": (EMBD, FF) if x == "down" else (FF, EMBD) for x in ("gate", "up", "down")}
LONG = dict(rope_type="longrope", long_factor=[1.0 + i for i in range(6)], short_factor=[1.0] * 6)

# model_type -> (config.json beside BASE, template, tensors of each layer)
FAMILIES = {
    "phi3": (dict(head_dim=HEAD, rope_theta=1e4, partial_rotary_factor=0.75, original_max_position_embeddings=4096, rope_scaling=LONG), "phi4_mini",
             [{"self_attn.qkv_proj.weight": (Q + 2 * KV * HEAD, EMBD), **{k: v for k, v in APART.items() if "_proj" not in k or "o_proj" in k}, **JOINED}] * 2),
    "mistral": (dict(head_dim=HEAD, sliding_window=None, rope_theta=1e9), "mistral_small_3_2", [{**APART, **DENSE}] * 2),
    "glm4": (dict(head_dim=HEAD, partial_rotary_factor=0.5), "glm4_6",
             [{**APART, **BIASES, **JOINED, "post_self_attn_layernorm.weight": (EMBD,), "post_mlp_layernorm.weight": (EMBD,)}] * 2),
    "glm4_moe": (dict(head_dim=HEAD, partial_rotary_factor=0.5, attention_bias=True, n_routed_experts=EXPERTS, num_experts_per_tok=2,
                      moe_intermediate_size=FF, first_k_dense_replace=1), "glm4_6",
                 [{**APART, **BIASES, **DENSE},
                  {**APART, **BIASES, **GLM_EXPERTS, **GLM_SHARED, "mlp.gate.weight": (EXPERTS, EMBD), "mlp.gate.e_score_correction_bias": (EXPERTS,)}]),
    "gpt_oss": (dict(head_dim=HEAD, num_local_experts=EXPERTS, num_experts_per_tok=2, sliding_window=32, swiglu_limit=7.0,
                     rope_scaling=dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=4096, truncate=False)), "gpt_oss",
                [{**APART, **BIASES, "self_attn.o_proj.bias": (EMBD,), "self_attn.sinks": (HEADS,), "mlp.router.weight": (EXPERTS, EMBD),
                  "mlp.router.bias": (EXPERTS,), "mlp.experts.gate_up_proj": (EXPERTS, EMBD, 2 * FF), "mlp.experts.gate_up_proj_bias": (EXPERTS, 2 * FF),
                  "mlp.experts.down_proj": (EXPERTS, FF, EMBD), "mlp.experts.down_proj_bias": (EXPERTS, EMBD)}] * 2),
}


def weights(layers):
    r = np.random.default_rng(5)
    shapes = {"model.embed_tokens.weight": (VOCAB, EMBD), "model.norm.weight": (EMBD,), "lm_head.weight": (VOCAB, EMBD)}
    for il, layer in enumerate(layers):
        shapes |= {f"model.layers.{il}.{k}": v for k, v in layer.items()}
    return {k: (1 + 0.2 * r.standard_normal(s) if "norm" in k else r.standard_normal(s) / math.sqrt(s[-1])).astype(np.float32)
            for k, s in shapes.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families") / "models"
    for name, (config, template, layers) in FAMILIES.items():
        shutil.copytree(CHAT_FILES, folder / name)
        (folder / name / "config.json").write_text(json.dumps({"model_type": name, **BASE, **config}))
        save(folder / name / "model.safetensors", plain(weights(layers)))
        tok = json.loads((CHAT_FILES / "tokenizer_config.json").read_text())
        tok |= {"bos_token": "<|im_start|>", "chat_template": (TEMPLATES / f"{template}.jinja").read_text()}
        (folder / name / "tokenizer_config.json").write_text(json.dumps(tok))
    s = Server("--ctx", "4096", models=str(folder))
    yield s
    s.stop()


def body(name, **more):
    return {"model": name, "messages": [{"role": "user", "content": "Hi there"}], "max_tokens": 20, "temperature": 1.0, "seed": 3, "ignore_eos": True, **more}


def said(message):
    return (message.get("reasoning_content") or "") + "|" + (message.get("content") or "")


@pytest.mark.parametrize("name", FAMILIES)
def test_files_to_streamed_text(server, name):
    r = server.post(CHAT, body(name))
    assert r.status_code == 200, r.text
    whole = r.json()
    assert whole["usage"]["completion_tokens"] == 20
    parts = []
    with server.post(CHAT, body(name, stream=True), stream=True) as r:
        assert r.status_code == 200, r.text
        for line in r.iter_lines():
            if line.startswith(b"data: {"):
                parts += [c["delta"] for c in json.loads(line[6:])["choices"]]
    both = {k: "".join(p.get(k) or "" for p in parts) for k in ("reasoning_content", "content")}
    assert said(both) == said(whole["choices"][0]["message"]) and len(said(both)) > 1


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_text_alone_and_among_others(server, name):
    alone = said(server.post(CHAT, body(name)).json()["choices"][0]["message"])
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        others = [pool.submit(server.post, CHAT, body(name, seed=3 if i % 2 else i + 10)) for i in range(6)]
        texts = [said(f.result().json()["choices"][0]["message"]) for f in others]
    assert texts[1] == texts[3] == texts[5] == alone and len(set(texts)) > 1


@pytest.mark.parametrize("kind", ["mamba2", "rwkv7", "t5", "qwen2_5_vl", "qwen2_moe", "qwen3_next", "kimi_k2", "falcon_h1", "gpt2"])
def test_families_that_are_not_there(tmp_path, kind):
    shutil.copytree(CHAT_FILES, tmp_path / "m")
    config = json.loads((CHAT_FILES / "config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps(config | {"model_type": kind}))
    out = subprocess.run([BIN, "complete", str(tmp_path / "m"), "Hi"], capture_output=True, text=True, timeout=PATIENCE)
    assert out.returncode != 0
    assert f"'{kind}' is not supported" in out.stderr
    for known in ("llama", "qwen3_moe", "deepseek_v3", "phi3", "glm4_moe", "gpt_oss"):
        assert known in out.stderr
