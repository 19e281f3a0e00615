#!/usr/bin/env python3
"""The memory that the catalog's text models take, by type of their weights, and that of their caches: the tables of docs/language-models.md.

    python3 tools/reference/model_memory.py            prints the table
    python3 tools/reference/model_memory.py --hearth build/release/hearth     and holds it against what `hearth inspect` says

Shapes are those of transformers' models, built from the published configurations without memory; the sum of their parameters must be what the
catalog says. Products have the type of the column, what is few and read in full (norms, biases, routers) F32. --hearth writes a file of
each model whose numbers take no room on the disk. Needs torch and transformers, gguf, yaml.
"""
import argparse
import json
import math
import pathlib
import re
import struct
import subprocess
import tempfile

import gguf
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

DEEPSEEK = ("deepseek_v3", dict(vocab_size=129280, hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048, num_hidden_layers=61,
                                num_attention_heads=128, num_key_value_heads=128, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128,
                                qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8,
                                first_k_dense_replace=3, tie_word_embeddings=False))
LLAMA4 = dict(vocab_size=202048, hidden_size=5120, intermediate_size=8192, intermediate_size_mlp=16384, num_hidden_layers=48, num_attention_heads=40,
              num_key_value_heads=8, head_dim=128, num_experts_per_tok=1, tie_word_embeddings=False)
MODELS = {
    "deepseek-v3": DEEPSEEK, "deepseek-r1": DEEPSEEK, "deepseek-r1-basic": DEEPSEEK, "deepseek-r1-0528": DEEPSEEK,
    "qwen3-235b-a22b": ("qwen3_moe", dict(vocab_size=151936, hidden_size=4096, intermediate_size=12288, moe_intermediate_size=1536, num_hidden_layers=94,
                                          num_attention_heads=64, num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8,
                                          tie_word_embeddings=False)),
    "qwen3-30b-a3b": ("qwen3_moe", dict(vocab_size=151936, hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768, num_hidden_layers=48,
                                        num_attention_heads=32, num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8,
                                        tie_word_embeddings=False)),
    "llama4-maverick-instruct-basic": ("llama4_text", {**LLAMA4, "num_local_experts": 128, "interleave_moe_layer_step": 2}),
    "llama4-scout-instruct-basic": ("llama4_text", {**LLAMA4, "num_local_experts": 16, "interleave_moe_layer_step": 1}),
    "llama-v3p1-405b-instruct": ("llama", dict(vocab_size=128256, hidden_size=16384, intermediate_size=53248, num_hidden_layers=126,
                                               num_attention_heads=128, num_key_value_heads=8, tie_word_embeddings=False)),
    "llama-v3p1-70b-instruct": ("llama", dict(vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
                                              num_attention_heads=64, num_key_value_heads=8, tie_word_embeddings=False)),
    "mixtral-8x7b-instruct": ("mixtral", dict(vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                                              num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=2, tie_word_embeddings=False)),
    "mixtral-8x22b-instruct": ("mixtral", dict(vocab_size=32768, hidden_size=6144, intermediate_size=16384, num_hidden_layers=56,
                                               num_attention_heads=48, num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=2,
                                               tie_word_embeddings=False)),
}
TYPES = {"BF16": gguf.GGMLQuantizationType.BF16, "FP8": None, "Q8_0": gguf.GGMLQuantizationType.Q8_0, "Q6_K": gguf.GGMLQuantizationType.Q6_K,
         "Q4_K": gguf.GGMLQuantizationType.Q4_K, "Q2_K": gguf.GGMLQuantizationType.Q2_K}
TOKENS = 1000


def tensors(kind, config):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**config))
    return model.config, {k: tuple(v.shape) for k, v in model.state_dict().items()}


def is_small(name, shape):
    return len(shape) == 1 or re.search(r"mlp\.gate\.weight|router\.weight|\.gate\.weight", name) is not None


def weight_bytes(shapes, kind):
    total = 0
    for name, shape in shapes.items():
        n = math.prod(shape)
        if is_small(name, shape):
            total += 4 * n
        elif kind == "FP8":  # with a scale for each 128x128 block; embedding and head stay BF16
            total += 2 * n if "embed" in name or "lm_head" in name else n + 4 * n // (128 * 128)
        else:
            block, size = gguf.GGML_QUANT_SIZES[TYPES[kind]]
            total += n // block * size
    return total


def cache_numbers(c):
    """Of one token."""
    if getattr(c, "kv_lora_rank", None):
        return c.num_hidden_layers * (c.kv_lora_rank + c.qk_rope_head_dim)
    return c.num_hidden_layers * 2 * c.num_key_value_heads * (getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads)


def inspected(hearth, kind, config, shapes):
    """(bytes of BF16 weights, bytes of the cache of TOKENS tokens) as hearth sees the model's files."""
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        header, at = {}, 0
        for name, shape in shapes.items():
            small = is_small(name, shape)
            n = math.prod(shape) * (4 if small else 2)
            header[name] = {"dtype": "F32" if small else "BF16", "shape": shape, "data_offsets": [at, at + n]}
            at += n
        text = json.dumps(header).encode()
        with open(d / "model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            f.truncate(8 + len(text) + at)
        (d / "config.json").write_text(json.dumps({"model_type": kind, **config}))
        out = json.loads(subprocess.run([hearth, "inspect", "--json", "--ctx", str(TOKENS // 1000 * 1024), str(d)], capture_output=True, text=True,
                                        check=True).stdout)
        return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--hearth")
    a = ap.parse_args()
    catalog = (pathlib.Path(__file__).parents[2] / "catalog/models.yaml").read_text()
    print("| model | " + " | ".join(TYPES) + " | cache of 1,000 tokens: f16 | q8_0 |\n|---|" + "---:|" * (len(TYPES) + 2))
    known = {}
    for name, (kind, config) in MODELS.items():
        key = json.dumps([kind, config])
        if key not in known:
            known[key] = tensors(kind, config)
        c, shapes = known[key]
        total = sum(math.prod(s) for s in shapes.values())
        said = int(re.search(rf"- id: \S+/{name}\n(?:    .*\n)*?    parameters: {{ total: (\d+)", catalog)[1])
        # the text part of what sees; DeepSeek's bias of each expert is no parameter
        if abs(total - said) > 0.02 * said:
            raise SystemExit(f"{name}: {total} parameters, the catalog says {said}")
        cache = TOKENS * cache_numbers(c)
        row = [f"{weight_bytes(shapes, t) / 1e9:,.1f}" for t in TYPES]
        print(f"| {name} | " + " | ".join(row) + f" | {2 * cache / 1e6:,.1f} MB | {cache // 32 * 34 / 1e6:,.1f} MB |")
        if a.hearth and known.get(key + "held") is None:
            known[key + "held"] = True
            out = inspected(a.hearth, kind, config, shapes)
            if out.get("parameters") != total or out.get("bytes") != weight_bytes(shapes, "BF16"):
                raise SystemExit(f"{name}: hearth inspect says {out.get('parameters')} parameters, {out.get('weight_bytes')} bytes; here {total}, "
                                 f"{weight_bytes(shapes, 'BF16')}")
            if out["memory"]["kv"] != 2 * 1024 * cache_numbers(c):
                raise SystemExit(f"{name}: hearth inspect says {out['cache_bytes']} bytes of cache")


if __name__ == "__main__":
    main()
