#!/usr/bin/env python3
"""Tiny random checkpoints of further families (Phi 3, GLM-4, GLM-4.5, gpt-oss, Ministral 3) with the logits that transformers computes from them.

    python3 tools/reference/families_golden.py tests/golden/lm [NAME...]

The folders are as lm_golden.py's. Names of tensors in GGUF files are those of gguf-py's map of the architecture, metadata that
of llama.cpp's converter. Needs what lm_golden.py needs.
"""
import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as attention_with_sinks

from lm_golden import N_IDS, build, hf_names, permute, plain_mask


def kv16_sinks(module, query, key, value, mask, *args, **kwargs):
    return attention_with_sinks(module, query, key.half().float(), value.half().float(), mask, *args, **kwargs)


ALL_ATTENTION_FUNCTIONS.register("kv16_sinks", kv16_sinks)


def masks(config):
    """Of layers that see all, and of those with a window."""
    full = plain_mask(config)
    window = full + torch.full((N_IDS, N_IDS), -torch.inf).tril(-config.sliding_window)
    return {"full_attention": full, "sliding_attention": window}


class Gguf:
    """A file as the converter writes it: what all these families have, and what is added."""

    def __init__(self, path, arch, c, n_rot, n_layer=None):
        self.arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
        self.names = gguf.get_tensor_name_map(self.arch, (n_layer or c.num_hidden_layers) + 1)
        self.w = w = gguf.GGUFWriter(str(path), arch)
        w.add_name("golden")
        w.add_block_count(n_layer or c.num_hidden_layers)
        w.add_context_length(c.max_position_embeddings)
        w.add_embedding_length(c.hidden_size)
        w.add_feed_forward_length(c.intermediate_size)
        w.add_head_count(c.num_attention_heads)
        w.add_head_count_kv(c.num_key_value_heads)
        w.add_layer_norm_rms_eps(c.rms_norm_eps)
        w.add_rope_freq_base(c.rope_parameters["rope_theta"])
        w.add_rope_dimension_count(n_rot)

    quant = None  # of stacked experts

    def tensor(self, name, t):
        to = self.names.get_name(name, try_suffixes=(".weight", ".bias"))
        if to is None:
            raise SystemExit(f"no GGUF name for {name}")
        self.raw(to, t)

    def raw(self, to, t):
        a = np.ascontiguousarray(t.float().numpy(), dtype=np.float32)
        if self.quant and a.ndim == 3:
            self.w.add_tensor(to, gguf.quants.quantize(a, self.quant), raw_dtype=self.quant)
        else:
            self.w.add_tensor(to, a)

    def close(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def head_dim(c):
    return getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads


def n_rot(c):
    return int(head_dim(c) * c.rope_parameters.get("partial_rotary_factor", 1.0))


def phi3_gguf(path, c, state):
    g = Gguf(path, "phi3", c, n_rot(c))
    rope = c.rope_parameters
    if rope["rope_type"] == "longrope":
        scale = c.max_position_embeddings / rope["original_max_position_embeddings"]
        g.w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        g.w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(rope["original_max_position_embeddings"])))
        for kind in ("long", "short"):
            g.raw(f"rope_factors_{kind}.weight", torch.tensor(rope[f"{kind}_factor"]))
    for name, t in state.items():
        g.tensor(name, t)
    g.close()


def glm4_gguf(path, c, state):
    g = Gguf(path, "glm4", c, n_rot(c))
    g.w.add_key_length(c.head_dim)
    g.w.add_value_length(c.head_dim)
    for name, t in state.items():
        g.tensor(name, t)
    g.close()


def glm4_moe_gguf(path, c, state):
    g = Gguf(path, "glm4moe", c, n_rot(c), c.num_hidden_layers + 1)  # with the layer that guesses, of which only the count matters
    g.w.add_key_length(head_dim(c))
    g.w.add_value_length(head_dim(c))
    g.w.add_expert_count(c.n_routed_experts)
    g.w.add_expert_used_count(c.num_experts_per_tok)
    g.w.add_expert_feed_forward_length(c.moe_intermediate_size)
    g.w.add_expert_shared_count(c.n_shared_experts)
    g.w.add_leading_dense_block_count(c.first_k_dense_replace)
    g.w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    g.w.add_expert_weights_scale(c.routed_scaling_factor)
    g.w.add_expert_weights_norm(c.norm_topk_prob)
    g.w.add_expert_group_count(c.n_group)
    g.w.add_expert_group_used_count(c.topk_group)
    g.w.add_nextn_predict_layers(1)
    for name, t in state.items():
        stem = name.rsplit(".mlp.experts.", 1)[0]
        if name.endswith("mlp.experts.gate_up_proj"):
            half = t.shape[1] // 2
            g.tensor(stem + ".mlp.experts.gate_proj.weight", t[:, :half])
            g.tensor(stem + ".mlp.experts.up_proj.weight", t[:, half:])
        elif name.endswith("mlp.experts.down_proj"):
            g.tensor(stem + ".mlp.experts.down_proj.weight", t)
        else:
            g.tensor(name.replace("e_score_correction_bias", "e_score_correction.bias"), t)
    g.close()


def ministral3_gguf(path, c, state):
    g = Gguf(path, "mistral3", c, n_rot(c))
    g.w.add_key_length(c.head_dim)
    g.w.add_value_length(c.head_dim)
    rope = c.rope_parameters
    g.w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    g.w.add_rope_scaling_factor(rope["factor"])
    g.w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    g.w.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
    g.w.add_float32("mistral3.attention.temperature_scale", rope["llama_4_scaling_beta"])
    for name, t in state.items():
        heads = c.num_attention_heads if "q_proj" in name else c.num_key_value_heads if "k_proj" in name else 0
        g.tensor(name, torch.from_numpy(permute(t.numpy(), heads)) if heads else t)
    g.close()


def gpt_oss_gguf(path, c, state, quant=None):
    g = Gguf(path, "gpt-oss", c, n_rot(c))
    g.quant = quant
    g.w.add_key_length(c.head_dim)
    g.w.add_value_length(c.head_dim)
    g.w.add_expert_count(c.num_local_experts)
    g.w.add_expert_used_count(c.num_experts_per_tok)
    g.w.add_expert_feed_forward_length(c.intermediate_size)
    g.w.add_sliding_window(c.sliding_window)
    g.w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    g.w.add_rope_scaling_factor(c.rope_parameters["factor"])
    g.w.add_rope_scaling_orig_ctx_len(c.rope_parameters["original_max_position_embeddings"])
    for name, t in state.items():
        stem = name.rsplit(".mlp.experts.", 1)[0] + ".mlp.experts."
        if name.endswith("gate_up_proj"):
            g.tensor(stem + "gate_proj.weight", t[..., ::2].transpose(1, 2))
            g.tensor(stem + "up_proj.weight", t[..., 1::2].transpose(1, 2))
        elif name.endswith("gate_up_proj_bias"):
            g.tensor(stem + "gate_proj.bias", t[..., ::2])
            g.tensor(stem + "up_proj.bias", t[..., 1::2])
        elif name.endswith("experts.down_proj"):
            g.tensor(stem + "down_proj.weight", t.transpose(1, 2))
        elif name.endswith("experts.down_proj_bias"):
            g.tensor(stem + "down_proj.bias", t)
        else:
            g.tensor(name + ".weight" if name.endswith("sinks") else name, t)
    g.close()


def mxfp4_experts(model):
    """Experts as a GGUF file in MXFP4 keeps them, in the model's own tensors: blocks lie along the input."""
    kind = gguf.GGMLQuantizationType.MXFP4
    for name, p in model.named_parameters():
        if name.endswith("_proj") and p.dim() == 3:
            a = np.ascontiguousarray(p.detach().transpose(1, 2).numpy())
            p.copy_(torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(a, kind), kind)).transpose(1, 2))


def case(root, name, model_type, cfg, seed, to_gguf, mxfp4=False):
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    model = build(model_type, cfg, seed)
    with torch.no_grad():
        for k, v in model.named_buffers():
            if k.endswith("e_score_correction_bias"):
                v.copy_(0.4 * torch.rand_like(v) - 0.2)
        if mxfp4:
            mxfp4_experts(model)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    ids = torch.randint(0, model.config.vocab_size, (1, N_IDS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(ids).logits[0].float()
        sinks = model_type == "gpt_oss"
        mask = masks(model.config) if sinks else plain_mask(model.config)
        model.config._attn_implementation = "kv16_sinks" if sinks else "kv16"
        logits_kv16 = model(ids, attention_mask=mask).logits[0].float()
    out = root / name
    out.mkdir(parents=True, exist_ok=True)
    if not mxfp4:
        save_file({k: v.contiguous() for k, v in hf_names(state, "fused" if sinks else "qwen").items()}, out / "model.safetensors")
        (out / "config.json").write_text(json.dumps({"model_type": model_type, **cfg}, indent=1) + "\n")
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous(), "logits_kv16": logits_kv16.contiguous()}, out / "golden.safetensors")
    to_gguf(out / "model.gguf", model.config, state, *([gguf.GGMLQuantizationType.MXFP4] if mxfp4 else []))
    differ = (logits - logits_kv16).norm() / logits.norm()
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes, logits std %.2f, an f16 cache is worth %.1e" % (logits.std(), differ))


def main():
    root = pathlib.Path(sys.argv[1])
    base = dict(vocab_size=64, hidden_size=64, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False, pad_token_id=None)
    lists = dict(short_factor=[1.0, 1.02, 1.1, 1.3, 1.5, 1.7], long_factor=[1.1, 1.4, 2.5, 3.5, 6.0, 9.0])
    case(root, "phi3", "phi3", {**base, "original_max_position_embeddings": 32,
                                "rope_parameters": dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, **lists)}, 50, phi3_gguf)
    case(root, "phi3_tied", "phi3", {**base, "tie_word_embeddings": True, "rope_parameters": dict(rope_type="default", rope_theta=10000.0)}, 51,
         phi3_gguf)
    half = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)
    case(root, "glm4", "glm4", {**base, "head_dim": 20, "rope_parameters": {**half, "partial_rotary_factor": 0.6}}, 52, glm4_gguf)
    moe = dict(n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, n_shared_experts=1, first_k_dense_replace=1, routed_scaling_factor=1.5,
               hidden_size=32)
    case(root, "glm4_moe", "glm4_moe", {**base, **moe, "use_qk_norm": True, "attention_bias": True, "n_group": 2, "topk_group": 1,
                                        "rope_parameters": half}, 53, glm4_moe_gguf)
    case(root, "glm4_moe_plain", "glm4_moe", {**base, **moe, "norm_topk_prob": False, "rope_parameters": half}, 54, glm4_moe_gguf)
    yarn = dict(rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False, original_max_position_embeddings=32, rope_theta=150000.0)
    case(root, "gpt_oss", "gpt_oss", {**base, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "head_dim": 16, "num_local_experts": 6,
                                      "num_experts_per_tok": 2, "sliding_window": 20, "rope_parameters": yarn}, 55, gpt_oss_gguf)
    case(root, "gpt_oss_mxfp4", "gpt_oss", {**base, "hidden_size": 64, "intermediate_size": 32, "head_dim": 16, "num_local_experts": 4,
                                            "num_experts_per_tok": 2, "sliding_window": 20, "rope_parameters": yarn}, 57, gpt_oss_gguf, mxfp4=True)
    yarn = dict(rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=16,
                rope_theta=1000000.0, llama_4_scaling_beta=0.3)
    case(root, "ministral3", "ministral3", {**base, "hidden_size": 32, "head_dim": 16, "rope_parameters": yarn}, 56, ministral3_gguf)


if __name__ == "__main__":
    main()
