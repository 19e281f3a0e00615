#!/usr/bin/env python3
"""Tiny random checkpoints of the Llama and Qwen families with the logits that transformers computes from them.

    python3 tools/reference/lm_golden.py tests/golden/lm [NAME...]

Each case is a folder: config.json and model.safetensors as Hugging Face writes them, model.gguf with the same weights
as llama.cpp's converter would store them (q and k permuted, llama3 scaling as rope_freqs.weight), and
golden.safetensors with the token ids and two sets of logits of every position: `logits`, all in f32 on exactly the
stored (rounded) weights; and `logits_kv16`, the same but for keys and values rounded to f16, as the cache stores them,
so that everything else can be held to a much narrower bound. Needs torch, transformers, safetensors, gguf, numpy, tokenizers.

`variants/NAME.json` says which case's weights a variant shares and what its config.json has otherwise; NAME.safetensors holds
`logits_kv16` for the case's ids, computed by transformers from those files as a user would load them.
`defaults.json` holds what transformers' configuration classes take where config.json names nothing but the model type.
"""
import json
import math
import pathlib
import sys
import tempfile

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.llama.modeling_llama import eager_attention_forward

N_IDS = 72  # crosses two page borders of the key/value cache


def kv16_attention(module, query, key, value, mask, *args, sliding_window=None, **kwargs):
    if sliding_window:  # the mask given is the plain causal one
        n = query.shape[2]
        mask = mask + torch.full((n, n), -torch.inf).tril(-sliding_window)
    return eager_attention_forward(module, query, key.half().float(), value.half().float(), mask, *args, **kwargs)


ALL_ATTENTION_FUNCTIONS.register("kv16", kv16_attention)


def plain_mask(config):
    """The causal mask, and for layers with chunks theirs: an unknown attention gets none by itself."""
    full = torch.full((N_IDS, N_IDS), -torch.inf).triu(1)
    if config.model_type != "llama4_text":
        return full[None, None]
    chunk = torch.arange(N_IDS) // config.attention_chunk_size
    chunked = full.masked_fill(chunk[:, None] != chunk[None], -torch.inf)
    return {"full_attention": full[None, None], "chunked_attention": chunked[None, None]}


def build(model_type, cfg, seed):
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[model_type](**cfg)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1 and "norm" in name:
                p.copy_((0 if model_type == "gemma3_text" else 1) + 0.2 * torch.randn_like(p))  # Gemma multiplies by 1 + w
            elif p.dim() == 1:
                p.copy_(0.2 * torch.randn_like(p))
            elif "embed" in name:
                # tied: a token's own logit would drown the others
                p.copy_(torch.randn_like(p) * (0.25 if config.tie_word_embeddings else 1.0))
            else:
                # gain 1: a larger one makes a chaotic network that multiplies every rounding
                n_in = p.shape[-2] if model_type == "llama4_text" and p.dim() == 3 else p.shape[-1]  # experts lie [in, out]
                p.copy_(torch.randn_like(p) * (1.0 / math.sqrt(n_in)))
    return model


def e4m3_blocks(w, block):
    """w -> (e4m3 data, scale of each block of `block` rows and columns, the value they stand for)."""
    n_out, n_in = w.shape
    rows, cols = -(-n_out // block[0]), -(-n_in // block[1])
    q, s, back = torch.empty(w.shape, dtype=torch.float8_e4m3fn), torch.empty(rows, cols), torch.empty_like(w)
    for r in range(rows):
        for c in range(cols):
            at = (slice(r * block[0], (r + 1) * block[0]), slice(c * block[1], (c + 1) * block[1]))
            s[r, c] = w[at].abs().max() / 448
            q[at] = (w[at] / s[r, c]).to(torch.float8_e4m3fn)
            back[at] = q[at].float() * s[r, c]
    return q, s, back


def q8_values(w):
    """What GGUF's Q8_0 keeps of w."""
    kind = gguf.GGMLQuantizationType.Q8_0
    return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(w.numpy()), kind), kind))


def e4m3_experts(name, t, fused):
    """Llama 4's stacked experts [expert, in, out] -> (tensors as FP8 copies of Maverick have them, the values they stand for): one number a column,
    stacked as fbgemm_fp8 writes them, or an expert's matrices apart and turned, as compressed-tensors does."""
    scale = t.abs().amax(1, keepdim=True) / 448
    q = (t / scale).to(torch.float8_e4m3fn)
    back = q.float() * scale
    if fused:
        return {name: q, name + "_scale": scale.transpose(1, 2) if "down" in name else scale}, back
    stem, kind = name.rsplit(".", 1)
    out = {}
    for e in range(t.shape[0]):
        parts = [("down_proj", q[e], scale[e])] if kind == "down_proj" else [
            (k, q[e][:, half], scale[e][:, half])
            for k, half in (("gate_proj", slice(0, t.shape[2] // 2)), ("up_proj", slice(t.shape[2] // 2, None)))]
        for k, w, s in parts:
            out[f"{stem}.{e}.{k}.weight"] = w.T.contiguous()
            out[f"{stem}.{e}.{k}.weight_scale"] = s.T.contiguous()
    return out, back


FP8_CHANNELS = {
    "fused": {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]},
    "apart": {"quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed",
              "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_expert.*", r"re:.*feed_forward\.(gate|up|down)_proj$"],
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
                                            "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}}}},
}


def split_experts(state):
    """Fused expert tensors of newer transformers -> one tensor an expert, as Mixtral and Qwen publish them."""
    out = {}
    for name, t in state.items():
        if name.endswith("mlp.experts.gate_up_proj") or name.endswith("mlp.experts.down_proj"):
            stem = name[: name.index("mlp.experts.")]
            for e in range(t.shape[0]):
                out[f"{stem}EXPERT.{e}." + ("gate_up" if "gate_up" in name else "down")] = t[e]
        else:
            out[name] = t
    return out


def hf_names(state, style):
    """Published spelling of expert tensors: 'mixtral', 'qwen' or 'fused'."""
    if style == "fused":
        return dict(state)
    out = {}
    for name, t in split_experts(state).items():
        if "EXPERT" in name:
            stem, rest = name.split("EXPERT.")
            e, kind = rest.split(".")
            base = f"{stem}block_sparse_moe.experts.{e}." if style == "mixtral" else f"{stem}mlp.experts.{e}."
            names = ("w1", "w3", "w2") if style == "mixtral" else ("gate_proj", "up_proj", "down_proj")
            if kind == "gate_up":
                half = t.shape[0] // 2
                out[base + names[0] + ".weight"], out[base + names[1] + ".weight"] = t[:half], t[half:]
            else:
                out[base + names[2] + ".weight"] = t
        elif style == "mixtral" and name.endswith("mlp.gate.weight"):
            out[name.replace("mlp.gate", "block_sparse_moe.gate")] = t
        else:
            out[name] = t
    return out


GGUF_NAMES = {
    "input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate.weight": "ffn_gate_inp.weight",
}


LLAMA4_NAMES = {
    "feed_forward.gate_proj": "ffn_gate", "feed_forward.up_proj": "ffn_up", "feed_forward.down_proj": "ffn_down",
    "feed_forward.router": "ffn_gate_inp", "feed_forward.shared_expert.gate_proj": "ffn_gate_shexp",
    "feed_forward.shared_expert.up_proj": "ffn_up_shexp", "feed_forward.shared_expert.down_proj": "ffn_down_shexp",
}


GEMMA_NORMS = {
    "post_attention_layernorm.weight": "post_attention_norm.weight", "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
}


def permute(w, n_head):
    return w.reshape(n_head, 2, w.shape[0] // n_head // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def llama3_divisors(rope, head_dim):
    out = []
    for i in range(head_dim // 2):
        f = rope["rope_theta"] ** (-2 * i / head_dim)
        wave = 2 * math.pi / f
        lo, hi = (rope["original_max_position_embeddings"] / rope[k] for k in ("low_freq_factor", "high_freq_factor"))
        if wave < hi:
            out.append(1.0)
        elif wave > lo:
            out.append(rope["factor"])
        else:
            s = (rope["original_max_position_embeddings"] / wave - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - s) / rope["factor"] + s))
    return np.array(out, np.float32)


def write_gguf(path, arch, model, state, quant, more=lambda w: None):
    """more: what else is to be said in the file."""
    c = model.config
    hd = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(str(path), arch)
    w.add_name("golden")
    more(w)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    n_experts = getattr(c, "num_local_experts", None) or getattr(c, "num_experts", None)
    llama4 = arch == "llama4"
    w.add_feed_forward_length(c.intermediate_size_mlp if llama4 else c.intermediate_size)
    if llama4:
        w.add_expert_feed_forward_length(c.intermediate_size)
        w.add_interleave_moe_layer_step(c.interleave_moe_layer_step)
        w.add_uint32("llama4.attention.chunk_size", c.attention_chunk_size)  # published files leave these three out
        w.add_uint32("llama4.attention.temperature_length", c.floor_scale)
        w.add_float32("llama4.attention.temperature_scale", c.attn_scale)
    if n_experts:
        w.add_expert_count(n_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
        if hasattr(c, "moe_intermediate_size"):
            w.add_expert_feed_forward_length(c.moe_intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(hd)
    w.add_value_length(hd)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    rope = c.rope_parameters
    gemma = arch == "gemma3"
    if gemma:
        rope = rope["full_attention"]  # llama.cpp knows the other one's base by itself
        w.add_sliding_window(c.sliding_window)
        w.add_uint32("gemma3.attention.sliding_window_pattern", c.layer_types.index("full_attention") + 1)
    w.add_rope_freq_base(rope["rope_theta"])
    w.add_rope_dimension_count(hd)
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(rope, hd))
    for name, t in state.items():
        if name.startswith("model.layers."):
            _, _, il, rest = name.split(".", 3)
            parts = [(rest, t)]
            if llama4 and "feed_forward.experts." in rest:
                t = t.transpose(1, 2)
                rest = rest.replace("feed_forward", "mlp")
                parts = [(rest, t)]
            if rest == "mlp.experts.gate_up_proj":
                half = t.shape[1] // 2
                parts = [("GATE", t[:, :half]), ("UP", t[:, half:])]
            elif rest == "mlp.experts.down_proj":
                parts = [("DOWN", t)]
            for rest, t in parts:
                a = t.float().numpy()
                if arch in ("llama", "smollm3") and ("q_proj" in rest or "k_proj" in rest):
                    a = permute(a, c.num_attention_heads if "q_proj" in rest else c.num_key_value_heads)
                if rest in ("GATE", "UP", "DOWN"):
                    to = f"ffn_{rest.lower()}_exps.weight"
                else:
                    names = {**GGUF_NAMES, **(GEMMA_NORMS if gemma else {}), **(LLAMA4_NAMES if llama4 else {})}
                    to = next((rest.replace(k, v) for k, v in names.items() if k in rest), None)
                if to is None:
                    raise SystemExit(f"no GGUF name for {rest}")
                add(w, f"blk.{il}.{to}", a + 1 if gemma and "norm" in to else a, quant)
        else:
            to = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                  "lm_head.weight": "output.weight"}[name]
            add(w, to, t.float().numpy() + (gemma and "norm" in to), quant)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def add(w, name, a, quant):
    a = np.ascontiguousarray(a, dtype=np.float32)
    if quant is None or a.ndim == 1 or "ffn_gate_inp" in name:
        w.add_tensor(name, a)
    else:
        w.add_tensor(name, gguf.quants.quantize(a, quant), raw_dtype=quant)


def case(root, name, model_type, cfg, seed, dtype=torch.float32, fp8=None, old_rope=None, style="fused", arch="llama", drop=(),
         fp8_experts=None, q8=False):
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    model = build(model_type, cfg, seed)
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        state = {k: v for k, v in state.items() if k != "lm_head.weight"}
    scales = {}
    stored = {}
    with torch.no_grad():
        for k, v in state.items():
            if q8 and v.dim() > 1 and "router" not in k:
                v.copy_(q8_values(v.transpose(1, 2)).transpose(1, 2) if v.dim() == 3 else q8_values(v))  # experts lie [in, out]
            elif fp8 and v.dim() == 2 and "proj" in k:
                q, s, back = e4m3_blocks(v, fp8)
                stored[k], scales[k + "_scale_inv"] = q, s
                v.copy_(back)
            elif fp8_experts and ".experts." in k:
                tensors, back = e4m3_experts(k, v, fp8_experts == "fused")
                stored.update(tensors)
                v.copy_(back)
            elif fp8 or dtype != torch.float32:
                stored[k] = v.to(torch.bfloat16 if fp8 else dtype)
                v.copy_(stored[k].float())
            else:
                stored[k] = v.clone()
    ids = torch.randint(0, model.config.vocab_size, (1, N_IDS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(ids).logits[0].float()
        mask = plain_mask(model.config)
        model.config._attn_implementation = "kv16"
        logits_kv16 = model(ids, attention_mask=mask).logits[0].float()
    out = root / name
    out.mkdir(parents=True, exist_ok=True)
    if not q8:
        save_file({k: v.contiguous() for k, v in {**hf_names(stored, style), **scales}.items()}, out / "model.safetensors")
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous(), "logits_kv16": logits_kv16.contiguous()}, out / "golden.safetensors")
    config = json.loads(model.config.to_json_string(use_diff=False))
    keep = {"model_type", "vocab_size", "rope_parameters", "tie_word_embeddings", "attention_bias", "mlp_bias", "norm_topk_prob", "num_local_experts",
            *cfg}
    config = {k: v for k, v in config.items() if k in keep and k not in drop}
    if old_rope:
        config.pop("rope_parameters")
        config.update(old_rope)
    if fp8:
        config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": list(fp8)}
    if fp8_experts:
        config["quantization_config"] = FP8_CHANNELS[fp8_experts]
    if not q8:
        (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if arch and not fp8 and not fp8_experts:
        quant = gguf.GGMLQuantizationType.Q8_0 if q8 else {torch.bfloat16: gguf.GGMLQuantizationType.BF16, torch.float16: gguf.GGMLQuantizationType.F16}.get(dtype)
        write_gguf(out / "model.gguf", arch, model, state, quant)
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes, logits std %.2f" % logits.std())


YARN = dict(type="yarn", factor=4.0, original_max_position_embeddings=32)
# name -> (case whose weights and ids it has, members of config.json that are set, and those that are taken away)
VARIANTS = {
    # keys that the family's reference passes over
    "llama_sliding_window": ("llama3", dict(sliding_window=16, use_sliding_window=True, layer_types=["sliding_attention"] * 2), ()),
    "llama_experts": ("llama3", dict(num_local_experts=4, num_experts_per_tok=2), ()),
    "llama_unused_biases": ("llama_linear_bias", dict(attention_bias=False), ("mlp_bias",)),
    # and those that it obeys
    "mistral_layer_types": ("llama3", dict(model_type="mistral", sliding_window=16, head_dim=8,
                                           layer_types=["sliding_attention", "full_attention"]), ()),
    "ministral": ("llama3", dict(model_type="ministral", sliding_window=16, head_dim=8), ()),
    "mistral_window": ("llama3", dict(model_type="mistral", sliding_window=16), ()),
    "mixtral_window": ("mixtral", dict(sliding_window=16), ()),
    "qwen3_moe_window": ("qwen3_moe", dict(use_sliding_window=True, sliding_window=16, max_window_layers=2,
                                           layer_types=["sliding_attention", "full_attention"]), ()),
    "qwen3_moe_window_off": ("qwen3_moe", dict(use_sliding_window=False, sliding_window=16, norm_topk_prob=False), ()),
    "qwen2_window_null": ("qwen2_window", dict(sliding_window=None), ("layer_types",)),
    # absent keys
    "mistral_absent": ("llama3", dict(model_type="mistral"), ("rms_norm_eps", "rope_parameters", "max_position_embeddings")),
    "mixtral_absent": ("mixtral", {}, ("rms_norm_eps", "num_experts_per_tok", "rope_theta")),
    "qwen2_max_window_layers_absent": ("qwen2_window", {}, ("max_window_layers", "layer_types")),
    # layers with and without experts: the file has both kinds of all layers
    "qwen3_moe_sparse_step": ("qwen3_moe_both", dict(decoder_sparse_step=2), ("norm_topk_prob",)),
    "qwen3_moe_mlp_only": ("qwen3_moe_both", dict(mlp_only_layers=[0, 2]), ()),
    "qwen3_moe_step_and_mlp_only": ("qwen3_moe_both", dict(decoder_sparse_step=2, mlp_only_layers=[3, 0]), ()),
    # rotary parameters in two places
    "rope_scaling_beside_parameters": ("llama3", dict(rope_scaling=YARN, rope_parameters=dict(rope_type="default", rope_theta=5e5)), ()),
    "rope_scaling_empty": ("llama3", dict(rope_scaling={}, rope_parameters=dict(rope_type="default", rope_theta=5e5), rope_theta=7.0), ()),
    "rope_theta_beside": ("llama3", dict(rope_scaling=YARN, rope_theta=5e5), ("rope_parameters",)),
    "rope_original_outside": ("llama3", dict(rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=1e4,
                                                                  original_max_position_embeddings=128),
                                             original_max_position_embeddings=32), ()),
    "rope_yarn_magnitudes": ("llama3", dict(rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=1e4, truncate=False,
                                                                 mscale=0.8, mscale_all_dim=0.5, beta_fast=16, beta_slow=2,
                                                                 original_max_position_embeddings=64)), ()),
    "rope_dynamic": ("llama3", dict(rope_parameters=dict(rope_type="dynamic", factor=4.0, rope_theta=1e4), max_position_embeddings=48), ()),
    "rope_dynamic_within": ("llama3", dict(rope_scaling=dict(type="dynamic", factor=4.0), rope_theta=1e4, max_position_embeddings=80),
                            ("rope_parameters",)),
    "rope_longrope": ("llama3", dict(rope_scaling=dict(type="longrope", long_factor=[1.5, 2.0, 3.0, 4.0], short_factor=[1.0, 1.1, 1.2, 1.3],
                                                       factor=8.0, original_max_position_embeddings=64), rope_theta=1e4), ("rope_parameters",)),
    # Phi 3: the other list, its old name, what it may be given
    "phi3_near": ("phi3", dict(original_max_position_embeddings=80), ()),
    "phi3_su": ("phi3", dict(rope_scaling=dict(type="su", long_factor=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], short_factor=[1.0] * 8,
                                               original_max_position_embeddings=32),
                             rope_theta=1e4, sliding_window=20), ("rope_parameters",)),
    "phi3_factor": ("phi3", dict(rope_parameters=dict(rope_type="longrope", rope_theta=1e4, partial_rotary_factor=0.25, attention_factor=1.25,
                                                      long_factor=[1.5, 2.0], short_factor=[1.0, 1.1])), ()),
    "phi3_part_beside": ("phi3", dict(partial_rotary_factor=0.5, rope_theta=1e4, rope_scaling=None), ("rope_parameters",)),
    "glm4_moe_absent": ("glm4_moe_plain", {}, ("rope_parameters", "rms_norm_eps", "n_shared_experts", "first_k_dense_replace", "norm_topk_prob")),
    "mistral3": ("llama3", dict(model_type="mistral", head_dim=8, sliding_window=None, rope_theta=1e9), ("rope_parameters",)),
    # as Gemma 3 is published: a pattern, and rotary parameters beside each other
    "gemma3_published": ("gemma3", dict(rope_theta=1e6, rope_local_base_freq=1e4, rope_scaling=dict(rope_type="linear", factor=8.0),
                                        sliding_window_pattern=2, query_pre_attn_scalar=24), ("rope_parameters", "layer_types")),
    "gemma3_absent": ("gemma3", {}, ("rope_parameters", "layer_types", "query_pre_attn_scalar", "sliding_window", "hidden_activation",
                                     "tie_word_embeddings", "rms_norm_eps")),
    "smollm3_listed": ("smollm3", dict(no_rope_layers=[1, 0, 1, 1, 0], use_sliding_window=True, sliding_window=16, tie_word_embeddings=True,
                                       layer_types=["full_attention", "sliding_attention"] * 2 + ["full_attention"]), ()),
    # Llama 4: what lists say, absent keys
    "llama4_listed": ("llama4_scout", dict(no_rope_layers=[1, 0, 1, 0], attn_temperature_tuning=False, use_qk_norm=True,
                                           layer_types=["full_attention", "chunked_attention", "chunked_attention", "full_attention"]), ()),
    "llama4_moe_layers": ("llama4_maverick", dict(moe_layers=[1, 3], no_rope_layer_interval=2, use_qk_norm=True), ("interleave_moe_layer_step",)),
    "llama4_absent": ("llama4_scout", {}, ("attention_chunk_size", "floor_scale", "attn_scale", "use_qk_norm", "interleave_moe_layer_step",
                                           "rms_norm_eps", "rope_parameters", "intermediate_size_mlp", "num_experts_per_tok")),
    # activations
    "llama_gelu": ("llama3", dict(hidden_act="gelu"), ()),
    "llama_gelu_tanh": ("llama3", dict(hidden_act="gelu_pytorch_tanh"), ()),
    "mixtral_gelu_tanh": ("mixtral", dict(hidden_act="gelu_new"), ()),
    # a head of its own in a model that says it has none
    "llama_tied_with_head": ("llama3", dict(tie_word_embeddings=True), ()),
}


def variant(root, name, base, more, drop):
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    config = json.loads((root / base / "config.json").read_text())
    config.update(more)
    for key in drop:
        config.pop(key, None)
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        (d / "config.json").write_text(json.dumps(config))
        (d / "model.safetensors").symlink_to((root / base / "model.safetensors").resolve())
        model = AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32, attn_implementation="eager").eval()
    ids = load_file(root / base / "golden.safetensors")["ids"][None].long()
    with torch.no_grad():
        plain = model(ids).logits[0].float()
        mask = plain_mask(model.config)
        model.config._attn_implementation = "kv16"
        logits = model(ids, attention_mask=mask).logits[0].float()
    assert (plain - logits).norm() / plain.norm() < 2e-3, name  # else the mask of one of them is another
    out = root / "variants"
    out.mkdir(exist_ok=True)
    save_file({"logits_kv16": logits.contiguous()}, out / f"{name}.safetensors")
    (out / f"{name}.json").write_text(json.dumps({"weights": base, "config": config}, indent=1) + "\n")
    was = load_file(root / base / "golden.safetensors")["logits_kv16"]
    print(name, "differs from its case by %.2e" % ((was - logits).norm() / was.norm()))


def both(root, cfg):
    """qwen3_moe_both: a file with experts and with a dense network in every layer, so that config.json decides."""
    name = "qwen3_moe_both"
    case(root, name, "qwen3_moe", cfg, 16, style="qwen", arch=None)
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    state = load_file(root / name / "model.safetensors")
    dense = build("qwen3_moe", {**cfg, "mlp_only_layers": list(range(cfg["num_hidden_layers"]))}, 17).state_dict()
    state.update({k: v.contiguous() for k, v in dense.items() if ".mlp." in k})
    save_file(state, root / name / "model.safetensors")


def defaults(root):
    kinds = {}
    for kind in ("llama", "mistral", "ministral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gemma3_text", "smollm3"):
        c = AutoConfig.for_model(kind)
        rope = c.rope_parameters.get("full_attention", c.rope_parameters)
        c = {**c.to_dict(), "head_dim": getattr(c, "head_dim", None), "rope_theta": rope["rope_theta"]}
        if "sliding_attention" in c["rope_parameters"]:
            c["rope_local_base_freq"] = c["rope_parameters"]["sliding_attention"]["rope_theta"]
            c["sliding"] = [i for i, t in enumerate(c["layer_types"]) if t == "sliding_attention"]
        # the window where it is switched on, which its class forgets where it is not
        c["sliding_window"] = getattr(AutoConfig.for_model(kind, use_sliding_window=True), "sliding_window", None)
        keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
                "max_position_embeddings", "rms_norm_eps", "rope_theta", "sliding_window", "max_window_layers",
                "num_local_experts", "num_experts", "num_experts_per_tok", "moe_intermediate_size", "decoder_sparse_step",
                "norm_topk_prob", "attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window", "rope_local_base_freq",
                "sliding", "hidden_activation", "query_pre_attn_scalar", "no_rope_layers")
        kinds[kind] = {k: c[k] for k in keys if k in c}
    (root / "defaults.json").write_text(json.dumps(kinds, indent=1) + "\n")


def llama4_defaults(root):
    c = AutoConfig.for_model("llama4_text")
    keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
            "intermediate_size_mlp", "max_position_embeddings", "rms_norm_eps", "num_local_experts", "num_experts_per_tok", "moe_layers",
            "no_rope_layers", "layer_types", "attention_chunk_size", "use_qk_norm", "attn_temperature_tuning", "floor_scale", "attn_scale",
            "attention_bias", "tie_word_embeddings", "hidden_act")
    out = {**{k: getattr(c, k) for k in keys}, "rope_theta": c.rope_parameters["rope_theta"]}
    (root / "llama4_defaults.json").write_text(json.dumps(out) + "\n")


def tokenizer_files(out):
    """A byte-level tokenizer of 256 bytes, a few merges and two control tokens, so that a case can chat."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {b: i for i, b in enumerate(bytes_)}
    merges = []
    for a, b in (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n")):
        merges.append((a, b))
        vocab[a + b] = len(vocab)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tok.save(str(out / "tokenizer.json"))
    template = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": template}, indent=1) + "\n")
    return tok.get_vocab_size()


LLAMA4_SPLIT = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def llama4_tokenizer_files(out):
    """Llama 4's tokenizer of 256 bytes and few merges: its pre-tokenizer, its control tokens, the start of a text by a post-processor."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {b: i for i, b in enumerate(bytes_)}
    merges = []
    for a, b in (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("t", "h"), ("th", "e"), ("\u0120", "the"), ("i", "n")):
        merges.append((a, b))
        vocab[a + b] = len(vocab)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=False))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA4_SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>",
                            "<|python_start|>", "<|python_end|>"])
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                                      special_tokens=[("<|begin_of_text|>", tok.token_to_id("<|begin_of_text|>"))])])
    tok.save(str(out / "tokenizer.json"))
    template = ("{{ bos_token }}{% for m in messages %}<|header_start|>{{ m.role }}<|header_end|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
                "{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>\n\n{% endif %}")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|eot|>", "chat_template": template},
        indent=1) + "\n")
    stops = [tok.token_to_id(t) for t in ("<|end_of_text|>", "<|eom|>", "<|eot|>")]
    (out / "generation_config.json").write_text(json.dumps({
        "bos_token_id": tok.token_to_id("<|begin_of_text|>"), "eos_token_id": stops}, indent=1) + "\n")
    return tok.get_vocab_size()


def gemma_tokenizer_files(out):
    """A SentencePiece tokenizer as Gemma's tokenizer.json has it (spaces as U+2581, bytes for what has no token), and its turns."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    pieces = special + [f"<0x{b:02X}>" for b in range(256)] + list("\n\u2581abcdefghijklmnopqrstuvwxyz.,!?") + ["he", "ll", "hell", "hello", "th", "the"]
    vocab = {p: i for i, p in enumerate(pieces)}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("t", "h"), ("th", "e")]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tok.normalizer = normalizers.Replace(" ", "\u2581")
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tok.add_special_tokens(special)
    tok.save(str(out / "tokenizer.json"))
    template = ("{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
                "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<end_of_turn>", "add_bos_token": True,
        "chat_template": template}, indent=1) + "\n")
    return tok.get_vocab_size()


def main():
    root = pathlib.Path(sys.argv[1])
    base = dict(vocab_size=64, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
                num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=False)
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    theta = dict(rope_theta=10000.0)
    case(root, "llama3", "llama", {**base, "rope_parameters": {**theta, **llama3}}, 1)
    case(root, "llama_tied", "llama", {**base, "tie_word_embeddings": True, "head_dim": 16,
                                       "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}, 2,
         old_rope=dict(rope_theta=500000.0, rope_scaling=None))
    case(root, "llama_linear_bias", "llama", {**base, "attention_bias": True, "mlp_bias": True,
                                              "rope_parameters": {**theta, "rope_type": "linear", "factor": 4.0}}, 3,
         old_rope=dict(rope_theta=10000.0, rope_scaling=dict(type="linear", factor=4.0)))
    case(root, "llama_yarn", "llama", {**base, "rope_parameters": {**theta, "rope_type": "yarn", "factor": 4.0,
                                                                   "original_max_position_embeddings": 64}}, 4)
    case(root, "llama_bf16", "llama", {**base, "rope_parameters": {**theta, **llama3}}, 5, dtype=torch.bfloat16,
         old_rope=dict(rope_theta=10000.0, rope_scaling=llama3))
    case(root, "llama_fp8", "llama", {**base, "intermediate_size": 72, "rope_parameters": {**theta, "rope_type": "default"}}, 6,
         fp8=(32, 32))
    # blocks that are not square, that end inside the matrix both ways, and that products cannot end at
    plain = {**base, "rope_parameters": {**theta, "rope_type": "default"}}
    case(root, "llama_fp8_64x32", "llama", {**plain, "hidden_size": 96, "intermediate_size": 136}, 60, fp8=(64, 32))
    case(root, "llama_fp8_128", "llama", {**plain, "hidden_size": 144, "intermediate_size": 200, "num_hidden_layers": 1}, 61, fp8=(128, 128))
    case(root, "llama_fp8_24x40", "llama", {**plain, "intermediate_size": 72}, 62, fp8=(24, 40))
    case(root, "llama_f16", "llama", {**plain, "num_hidden_layers": 4}, 63, dtype=torch.float16)
    case(root, "llama_bf16_tied", "llama", {**plain, "tie_word_embeddings": True}, 64, dtype=torch.bfloat16)
    moe = {**base, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4, "num_local_experts": 4,
           "num_experts_per_tok": 2, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
    case(root, "mixtral", "mixtral", moe, 7, style="mixtral", old_rope=dict(rope_theta=1e6))
    case(root, "mixtral_fused", "mixtral", moe, 8, style="fused")
    qwen = {**base, "hidden_size": 32, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
    case(root, "qwen3", "qwen3", qwen, 10, arch="qwen3", old_rope=dict(rope_theta=1e6))
    # intermediate_size is a decoy: experts have a width of their own
    case(root, "qwen3_moe", "qwen3_moe", {**qwen, "intermediate_size": 40, "moe_intermediate_size": 16, "num_experts": 6,
                                          "num_experts_per_tok": 3, "norm_topk_prob": True}, 11, style="qwen", arch="qwen3moe")
    qwen2 = {k: v for k, v in qwen.items() if k != "head_dim"}
    case(root, "qwen2", "qwen2", {**qwen2, "hidden_size": 48}, 12, arch="qwen2")
    case(root, "qwen2_bf16", "qwen2", {**qwen2, "hidden_size": 48}, 65, arch="qwen2", dtype=torch.bfloat16)
    # windows: from the second layer on; of the first alone; written down but not switched on. llama.cpp has none of these.
    windows = {**qwen2, "hidden_size": 48, "sliding_window": 16}
    case(root, "qwen2_window", "qwen2", {**windows, "use_sliding_window": True, "max_window_layers": 1}, 13, arch=None)
    case(root, "qwen3_layer_types", "qwen3", {**qwen, "use_sliding_window": True, "sliding_window": 16,
                                              "layer_types": ["sliding_attention", "full_attention"]}, 14, arch=None)
    case(root, "qwen2_no_window", "qwen2", {**windows, "use_sliding_window": False, "max_window_layers": 0}, 15, arch=None,
         old_rope=dict(rope_theta=1e6, sliding_window=16))
    full, local = dict(rope_type="linear", factor=8.0, rope_theta=1e6), dict(rope_type="default", rope_theta=1e4)
    case(root, "gemma3", "gemma3_text", {
        **base, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 16, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {"full_attention": full, "sliding_attention": local}}, 18, arch="gemma3")
    # every fourth layer rotates nothing
    small = {**base, "pad_token_id": 0, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4, "tie_word_embeddings": True,
             "rope_parameters": {"rope_theta": 2e6, "rope_type": "default"}}
    case(root, "smollm3", "smollm3", small, 20, arch="smollm3")
    # Scout: experts everywhere, heads normalised; Maverick: dense layers between, which are wider, and heads as they are. Both cross chunks
    # and steps of the temperature.
    llama4 = {k: v for k, v in base.items() if k != "rope_parameters"} | dict(
        hidden_size=32, intermediate_size=16, intermediate_size_mlp=40, num_hidden_layers=4, num_attention_heads=4, head_dim=8,
        num_local_experts=4, num_experts_per_tok=1, attention_chunk_size=20, floor_scale=11, attn_scale=0.3)
    case(root, "llama4_scout", "llama4_text", {
        **llama4, "use_qk_norm": True, "interleave_moe_layer_step": 1,
        "rope_parameters": dict(rope_type="llama3", rope_theta=5e5, factor=16.0, low_freq_factor=1.0, high_freq_factor=1.0,
                                original_max_position_embeddings=64)}, 21, arch="llama4")
    # 128 experts: by that number llama.cpp knows which of the two it has
    case(root, "llama4_maverick", "llama4_text", {
        **llama4, "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 4, "num_local_experts": 128,
        "use_qk_norm": False, "interleave_moe_layer_step": 2, "rope_parameters": dict(rope_type="default", rope_theta=5e5)}, 22, arch="llama4")
    # Maverick as it is published in FP8, and in BF16: gate and up of one size with the embedding, so that a matrix turned wrongly still fits
    square = {**llama4, "num_hidden_layers": 4, "interleave_moe_layer_step": 2, "use_qk_norm": False, "intermediate_size": 16,
              "rope_parameters": dict(rope_type="default", rope_theta=5e5)}
    case(root, "llama4_fp8_fused", "llama4_text", square, 24, dtype=torch.bfloat16, arch=None, fp8_experts="fused")
    case(root, "llama4_fp8_apart", "llama4_text", square, 25, dtype=torch.bfloat16, arch=None, fp8_experts="apart")
    case(root, "llama4_q8_0", "llama4_text", {**square, "use_qk_norm": True, "intermediate_size": 32, "intermediate_size_mlp": 64}, 27, arch="llama4", q8=True)
    case(root, "llama4_bf16", "llama4_text", {**square, "use_qk_norm": True}, 26, dtype=torch.bfloat16, arch="llama4")
    # one that can chat, for the engine's own tests: six layers by the default pattern, five of which see 40 tokens
    gemma = root / "gemma3_chat"
    if not sys.argv[2:] or gemma.name in sys.argv[2:]:
        gemma.mkdir(parents=True, exist_ok=True)
        case(root, gemma.name, "gemma3_text", {
            **base, "vocab_size": gemma_tokenizer_files(gemma), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 6,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 512, "tie_word_embeddings": True,
            "sliding_window": 40, "query_pre_attn_scalar": 16}, 19, arch=None)
        (gemma / "golden.safetensors").unlink()
    # and one of Llama 4: eight layers, six of which see chunks of 48 tokens
    chat4 = root / "llama4_chat"
    if not sys.argv[2:] or chat4.name in sys.argv[2:]:
        chat4.mkdir(parents=True, exist_ok=True)
        case(root, chat4.name, "llama4_text", {
            **llama4, "vocab_size": llama4_tokenizer_files(chat4), "num_hidden_layers": 8, "num_attention_heads": 2, "num_key_value_heads": 1,
            "intermediate_size_mlp": 32, "max_position_embeddings": 512, "interleave_moe_layer_step": 2, "attention_chunk_size": 48,
            "floor_scale": 50, "rope_parameters": dict(rope_type="default", rope_theta=5e5)}, 23, dtype=torch.bfloat16, arch=None)
        (chat4 / "golden.safetensors").unlink()
    both(root, {**qwen, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 24, "moe_intermediate_size": 16, "num_experts": 4,
                "num_experts_per_tok": 2, "norm_topk_prob": True})
    for name, (base_case, more, drop) in VARIANTS.items():
        variant(root, name, base_case, more, drop)
    if not sys.argv[2:] or "llama4_defaults" in sys.argv[2:]:
        llama4_defaults(root)
    if sys.argv[2:]:
        return
    defaults(root)
    chat = root / "chat"
    chat.mkdir(parents=True, exist_ok=True)
    n_vocab = tokenizer_files(chat)
    case(root, "chat", "llama", {**base, "vocab_size": n_vocab, "tie_word_embeddings": True,
                                 "max_position_embeddings": 512, "rope_parameters": {**theta, **llama3}}, 9)
    for extra in ("model.gguf", "golden.safetensors"):
        (chat / extra).unlink()


if __name__ == "__main__":
    main()
