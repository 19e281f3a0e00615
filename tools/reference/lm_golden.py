#!/usr/bin/env python3
"""Tiny random checkpoints of the Llama and Qwen families with the logits that transformers computes from them.

    python3 tools/reference/lm_golden.py tests/golden/lm [NAME...]

Each case is a folder: config.json and model.safetensors as Hugging Face writes them, model.gguf with the same weights
as llama.cpp's converter would store them (q and k permuted, llama3 scaling as rope_freqs.weight), and
golden.safetensors with the token ids and two sets of logits of every position: `logits`, all in f32 on exactly the
stored (rounded) weights; and `logits_kv16`, the same but for keys and values rounded to f16, as the cache stores them,
so that everything else can be held to a much narrower bound. Needs torch, transformers, safetensors, gguf, numpy, tokenizers.
"""
import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
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


def build(model_type, cfg, seed):
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[model_type](**cfg)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1 and "norm" in name:
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif p.dim() == 1:
                p.copy_(0.2 * torch.randn_like(p))
            elif "embed" in name:
                # tied: a token's own logit would drown the others
                p.copy_(torch.randn_like(p) * (0.25 if config.tie_word_embeddings else 1.0))
            else:
                # gain 1: a larger one makes a chaotic network that multiplies every rounding
                p.copy_(torch.randn_like(p) * (1.0 / math.sqrt(p.shape[-1])))
    return model


def e4m3_blocks(w, block):
    """w -> (e4m3 data, scale of each block, the value they stand for)."""
    n_out, n_in = w.shape
    rows, cols = -(-n_out // block), -(-n_in // block)
    q, s, back = torch.empty(w.shape, dtype=torch.float8_e4m3fn), torch.empty(rows, cols), torch.empty_like(w)
    for r in range(rows):
        for c in range(cols):
            at = (slice(r * block, (r + 1) * block), slice(c * block, (c + 1) * block))
            s[r, c] = w[at].abs().max() / 448
            q[at] = (w[at] / s[r, c]).to(torch.float8_e4m3fn)
            back[at] = q[at].float() * s[r, c]
    return q, s, back


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


def write_gguf(path, arch, model, state, quant):
    c = model.config
    hd = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(str(path), arch)
    w.add_name("golden")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    n_experts = getattr(c, "num_local_experts", None) or getattr(c, "num_experts", None)
    w.add_feed_forward_length(c.intermediate_size)
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
            if rest == "mlp.experts.gate_up_proj":
                half = t.shape[1] // 2
                parts = [("GATE", t[:, :half]), ("UP", t[:, half:])]
            elif rest == "mlp.experts.down_proj":
                parts = [("DOWN", t)]
            for rest, t in parts:
                a = t.float().numpy()
                if arch == "llama" and ("q_proj" in rest or "k_proj" in rest):
                    a = permute(a, c.num_attention_heads if "q_proj" in rest else c.num_key_value_heads)
                if rest in ("GATE", "UP", "DOWN"):
                    to = f"ffn_{rest.lower()}_exps.weight"
                else:
                    to = next((rest.replace(k, v) for k, v in GGUF_NAMES.items() if k in rest), None)
                if to is None:
                    raise SystemExit(f"no GGUF name for {rest}")
                add(w, f"blk.{il}.{to}", a, quant)
        else:
            to = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                  "lm_head.weight": "output.weight"}[name]
            add(w, to, t.float().numpy(), quant)
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


def case(root, name, model_type, cfg, seed, dtype=torch.float32, fp8=0, old_rope=None, style="fused", arch="llama", drop=()):
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
            if fp8 and v.dim() == 2 and "proj" in k:
                q, s, back = e4m3_blocks(v, fp8)
                stored[k], scales[k + "_scale_inv"] = q, s
                v.copy_(back)
            elif fp8 or dtype != torch.float32:
                stored[k] = v.to(torch.bfloat16)
                v.copy_(stored[k].float())
            else:
                stored[k] = v.clone()
    ids = torch.randint(0, model.config.vocab_size, (1, N_IDS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(ids).logits[0].float()
        mask = torch.full((N_IDS, N_IDS), -torch.inf).triu(1)[None, None]  # an unknown attention gets no mask by itself
        model.config._attn_implementation = "kv16"
        logits_kv16 = model(ids, attention_mask=mask).logits[0].float()
    out = root / name
    out.mkdir(parents=True, exist_ok=True)
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
        config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [fp8, fp8]}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if arch and not fp8:
        quant = gguf.GGMLQuantizationType.BF16 if dtype == torch.bfloat16 else None
        write_gguf(out / "model.gguf", arch, model, state, quant)
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes, logits std %.2f" % logits.std())


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
         fp8=32)
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
    # windows: from the second layer on; of the first alone; written down but not switched on. llama.cpp has none of these.
    windows = {**qwen2, "hidden_size": 48, "sliding_window": 16}
    case(root, "qwen2_window", "qwen2", {**windows, "use_sliding_window": True, "max_window_layers": 1}, 13, arch=None)
    case(root, "qwen3_layer_types", "qwen3", {**qwen, "use_sliding_window": True, "sliding_window": 16,
                                              "layer_types": ["sliding_attention", "full_attention"]}, 14, arch=None)
    case(root, "qwen2_no_window", "qwen2", {**windows, "use_sliding_window": False, "max_window_layers": 0}, 15, arch=None,
         old_rope=dict(rope_theta=1e6, sliding_window=16))
    if sys.argv[2:]:
        return
    chat = root / "chat"
    chat.mkdir(parents=True, exist_ok=True)
    n_vocab = tokenizer_files(chat)
    case(root, "chat", "llama", {**base, "vocab_size": n_vocab, "tie_word_embeddings": True,
                                 "max_position_embeddings": 512, "rope_parameters": {**theta, **llama3}}, 9)
    for extra in ("model.gguf", "golden.safetensors"):
        (chat / extra).unlink()


main()
