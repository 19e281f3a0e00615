#!/usr/bin/env python3
"""Logits of positions far into a text: past Llama 4's chunk of 8,192 and its temperature's step, past the 4,096 that DeepSeek's and Phi 3's
rotary scaling begins at.

    python3 tools/reference/long_golden.py tests/golden/lm [NAME...]

long/NAME.json says whose weights a case has and its config.json, as published but for the sizes; long/NAME.safetensors holds the `rows` that are
looked at, and of each the `logits` that transformers computes in f32 with what the cache holds rounded to f16. The text is not stored: token i is
(i * i * 7 + i * 3 + (i >> 5) * 11) mod the vocabulary's size. Needs what lm_golden.py needs.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from deepseek_golden import round_latents

BLOCK = 256


def blockwise(module, query, key, value, mask, *args, scaling=None, **kwargs):
    """Causal attention a block of queries at a time: the whole matrix of 8,000 positions takes gigabytes."""
    c, n = module.config, query.shape[2]
    if not hasattr(c, "kv_lora_rank"):
        key, value = key.half().float(), value.half().float()
    key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    pos = torch.arange(n)
    chunked = getattr(c, "layer_types", None) and c.layer_types[module.layer_idx] == "chunked_attention"
    out = []
    for at in range(0, n, BLOCK):
        here = pos[at: at + BLOCK, None]
        hidden = pos[None] > here
        if chunked:
            hidden = hidden | (pos[None] // c.attention_chunk_size != here // c.attention_chunk_size)
        s = (query[:, :, at: at + BLOCK] @ key.transpose(2, 3)) * scaling
        out.append(s.masked_fill(hidden, -torch.inf).softmax(-1) @ value)
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register("blockwise", blockwise)

YARN = dict(type="yarn", factor=40, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=4096)
LISTS = dict(short_factor=[1.0, 1.02, 1.1, 1.3, 1.5, 1.7], long_factor=[1.1, 1.4, 2.5, 3.5, 6.0, 9.0])
CASES = {
    "llama4": ("llama4_scout", 8192 + 40, dict(attention_chunk_size=8192, floor_scale=8192, attn_scale=0.1, max_position_embeddings=10485760)),
    "deepseek": ("deepseek_v3", 4096 + 40, dict(rope_scaling=YARN, max_position_embeddings=163840)),
    "phi3": ("phi3", 4096 + 40, dict(max_position_embeddings=131072, original_max_position_embeddings=4096,
                                     rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, **LISTS))),
}


def case(root, name, base, n, more):
    config = {**json.loads((root / base / "config.json").read_text()), **more}
    kind = config["model_type"]
    c = CONFIG_MAPPING[kind](**{k: v for k, v in config.items() if k != "model_type"})
    c._attn_implementation = "blockwise"
    model = AutoModelForCausalLM.from_config(c).float().eval()
    state, stored = model.state_dict(), load_file(root / base / "model.safetensors")
    for k, v in list(stored.items()):  # experts one by one -> stacked, as the model has them
        if ".experts.0.gate_proj" in k:
            stem, e = k.split(".experts.")[0] + ".experts.", range(c.n_routed_experts)
            stored[stem + "gate_up_proj"] = torch.stack([torch.cat([stored[f"{stem}{i}.{p}_proj.weight"] for p in ("gate", "up")]) for i in e])
            stored[stem + "down_proj"] = torch.stack([stored[f"{stem}{i}.down_proj.weight"] for i in e])
    model.load_state_dict({k: stored[k].float() for k in state})
    if kind == "deepseek_v3":
        round_latents(model)
    i = torch.arange(n)
    ids = (i * i * 7 + i * 3 + (i >> 5) * 11) % c.vocab_size
    mask = {"full_attention": None, "chunked_attention": None} if kind == "llama4_text" else None
    with torch.no_grad():
        logits = model(ids[None], attention_mask=mask).logits[0]
    rows = torch.tensor(sorted({0, 1, 40, 1000, n // 2, *range(n - 44, n, 3), n - 1}))
    out = root / "long"
    out.mkdir(exist_ok=True)
    save_file({"rows": rows.to(torch.int32), "logits": logits[rows].contiguous()}, out / f"{name}.safetensors")
    (out / f"{name}.json").write_text(json.dumps({"weights": base, "tokens": n, "config": config}, indent=1) + "\n")
    print(name, n, "tokens, logits std %.2f" % logits[rows].std())


def main():
    root = pathlib.Path(sys.argv[1])
    for name, (base, n, more) in CASES.items():
        if not sys.argv[2:] or name in sys.argv[2:]:
            case(root, name, base, n, more)


if __name__ == "__main__":
    main()
