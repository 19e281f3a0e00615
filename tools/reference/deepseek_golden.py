#!/usr/bin/env python3
"""Tiny random DeepSeek checkpoints with the logits that transformers computes from them, in the form of lm_golden.py.

    python3 tools/reference/deepseek_golden.py tests/golden/lm [NAME...]

A case has, besides model.safetensors as published, model.gguf with keys and values of the latents in one matrix, as older converters
wrote them, and split.gguf with the two apart (k turned over), as newer ones do. `logits_kv16` is computed from latents and
rotary keys rounded to f16: these are what the cache holds. deepseek_chat can chat, for the engine's own tests. deepseek_defaults.json holds
what transformers' configuration classes take where config.json names nothing but the model type.
"""
import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig

from lm_golden import N_IDS, build, e4m3_blocks, hf_names

Q8 = gguf.GGMLQuantizationType.Q8_0
BF16 = gguf.GGMLQuantizationType.BF16


def round_latents(model):
    for layer in model.model.layers:
        a = layer.self_attn
        a.expand_kv = lambda c, k, a=a: type(a).expand_kv(a, c.half().float(), k.half().float())


def rounded(a, quant):
    """What is left of a tensor that is stored as `quant`."""
    if quant is None:
        return a
    return gguf.quants.dequantize(gguf.quants.quantize(a, quant), quant)


def rounded_keys(a, c, quant):
    """kv_b whose keys are stored turned over, as blocks of a head's channels."""
    kv = a.reshape(c.num_attention_heads, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank)
    k, v = kv[:, : c.qk_nope_head_dim], kv[:, c.qk_nope_head_dim:]
    return np.concatenate([rounded(np.ascontiguousarray(k.swapaxes(1, 2)), quant).swapaxes(1, 2), rounded(np.ascontiguousarray(v), quant)],
                          axis=1).reshape(a.shape)


def closest_choice(model, ids):
    """How near any choice of experts or groups is to another one: rounding must not decide what a case computes."""
    least, c = [1.0], model.config

    def look(gate, args, _):
        scores = torch.nn.functional.linear(args[0].view(-1, c.hidden_size), gate.weight).sigmoid() + gate.e_score_correction_bias
        groups = scores.view(len(scores), c.n_group, -1).topk(2, dim=-1)[0].sum(dim=-1)
        best = groups.topk(c.topk_group, dim=-1)[1]
        open_ = torch.zeros_like(groups).scatter_(1, best, 1).bool().repeat_interleave(scores.shape[1] // c.n_group, dim=1)
        for values, k in ((groups, c.topk_group), (scores.masked_fill(~open_, -1e9), c.num_experts_per_tok)):
            if k < values.shape[1]:
                top = values.topk(k + 1, dim=-1)[0]
                least[0] = min(least[0], (top[:, k - 1] - top[:, k]).min().item())

    hooks = [layer.mlp.gate.register_forward_hook(look) for layer in model.model.layers[c.first_k_dense_replace:]]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    return least[0]


def gguf_tensors(model, state, joined):
    """name -> array; experts stacked, kv_b in one or in two."""
    c = model.config
    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.q_a_proj": "attn_q_a",
        "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
        "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
        "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
    }
    for name, t in state.items():
        a = t.float().numpy()
        if not name.startswith("model.layers."):
            yield {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                   "lm_head.weight": "output.weight"}[name], a
            continue
        _, _, il, rest = name.split(".", 3)
        blk = f"blk.{il}."
        if rest == "mlp.experts.gate_up_proj":
            half = a.shape[1] // 2
            yield blk + "ffn_gate_exps.weight", a[:, :half]
            yield blk + "ffn_up_exps.weight", a[:, half:]
        elif rest == "mlp.experts.down_proj":
            yield blk + "ffn_down_exps.weight", a
        elif rest == "mlp.gate.e_score_correction_bias":
            if c.model_type == "deepseek_v3":
                yield blk + "exp_probs_b.bias", a
        elif rest == "self_attn.kv_b_proj.weight" and joined:
            yield blk + "attn_kv_b.weight", a
        elif rest == "self_attn.kv_b_proj.weight":
            kv = a.reshape(c.num_attention_heads, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank)
            yield blk + "attn_k_b.weight", kv[:, : c.qk_nope_head_dim].swapaxes(1, 2)
            yield blk + "attn_v_b.weight", kv[:, c.qk_nope_head_dim:]
        else:
            yield blk + names[rest.removesuffix(".weight")] + ".weight", a


def write_gguf(path, model, state, quant, joined):
    c = model.config
    v3 = c.model_type == "deepseek_v3"
    w = gguf.GGUFWriter(str(path), "deepseek2")
    w.add_name("golden")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_leading_dense_block_count(c.first_k_dense_replace)
    if c.q_lora_rank is not None:
        w.add_q_lora_rank(c.q_lora_rank)
    w.add_kv_lora_rank(c.kv_lora_rank)
    key = c.qk_nope_head_dim + c.qk_rope_head_dim
    if joined:
        w.add_head_count_kv(c.num_attention_heads)
        w.add_key_length(key)
        w.add_value_length(c.v_head_dim)
    else:
        w.add_head_count_kv(1)
        w.add_key_length(c.kv_lora_rank + c.qk_rope_head_dim)
        w.add_value_length(c.kv_lora_rank)
        w.add_key_length_mla(key)
        w.add_value_length_mla(c.v_head_dim)
    w.add_expert_feed_forward_length(c.moe_intermediate_size)
    w.add_expert_count(c.n_routed_experts)
    w.add_expert_used_count(c.num_experts_per_tok)
    w.add_expert_shared_count(c.n_shared_experts)
    w.add_expert_weights_scale(c.routed_scaling_factor)
    if v3:
        w.add_expert_weights_norm(True)
        w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if c.n_group and (v3 or c.topk_method == "group_limited_greedy"):
        w.add_expert_group_count(c.n_group)
        w.add_expert_group_used_count(c.topk_group)
    w.add_rope_dimension_count(c.qk_rope_head_dim)
    rope = c.rope_parameters
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
    for name, a in gguf_tensors(model, state, joined):
        a = np.ascontiguousarray(a, dtype=np.float32)
        if quant is None or a.ndim == 1 or "ffn_gate_inp" in name:
            w.add_tensor(name, a)
        else:
            w.add_tensor(name, gguf.quants.quantize(a, quant), raw_dtype=quant)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def further_layer(stored, il, width, vocab):
    """A layer behind the last, as it is published for guessing further tokens: only that it is there matters."""
    g = torch.Generator().manual_seed(il)
    for name, shape in (("embed_tokens.weight", (vocab, width)), ("enorm.weight", (width,)), ("hnorm.weight", (width,)),
                        ("eh_proj.weight", (width, 2 * width)), ("input_layernorm.weight", (width,)), ("shared_head.norm.weight", (width,))):
        stored[f"model.layers.{il}.{name}"] = torch.randn(shape, generator=g)


def case(root, name, model_type, cfg, seed, dtype=torch.float32, fp8=None, quant=None, files=("model", "split"), drop=(), config_more=None):
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    model = build(model_type, cfg, seed)
    with torch.no_grad():
        for k, v in model.named_buffers():
            if k.endswith("e_score_correction_bias"):
                v.copy_(0.4 * torch.rand_like(v) - 0.2)
    state = model.state_dict()
    stored = {}
    with torch.no_grad():
        for k, v in hf_names(state, "qwen").items():  # views into the model's own tensors
            if fp8 and v.dim() == 2 and "proj" in k:
                stored[k], stored[k + "_scale_inv"], back = e4m3_blocks(v, fp8)
                v.copy_(back)
            elif "e_score_correction_bias" in k:
                stored[k] = v.clone()
            elif quant and v.dim() == 2 and "mlp.gate.weight" not in k:
                keys = "kv_b_proj" in k and files == ("split",)
                v.copy_(torch.from_numpy(rounded_keys(v.numpy(), model.config, quant) if keys else rounded(v.numpy(), quant)))
            elif fp8 or dtype != torch.float32:
                stored[k] = v.to(torch.bfloat16)
                v.copy_(stored[k].float())
            else:
                stored[k] = v.clone()
    ids = torch.randint(0, model.config.vocab_size, (1, N_IDS), generator=torch.Generator().manual_seed(seed))
    if (dtype != torch.float32 or fp8 or quant) and closest_choice(model, ids) < 0.004:
        raise SystemExit(f"{name}: {closest_choice(model, ids)} decides which experts are chosen; take another seed than {seed}")
    with torch.no_grad():
        logits = model(ids).logits[0].float()
        round_latents(model)
        logits_kv16 = model(ids).logits[0].float()
    out = root / name
    out.mkdir(parents=True, exist_ok=True)
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous(), "logits_kv16": logits_kv16.contiguous()}, out / "golden.safetensors")
    if not quant:
        if model_type == "deepseek_v3":
            further_layer(stored, cfg["num_hidden_layers"], cfg["hidden_size"], cfg["vocab_size"])
        save_file({k: v.contiguous() for k, v in stored.items()}, out / "model.safetensors")
        config = {"model_type": model_type, **cfg, **(config_more or {})}
        config = {k: v for k, v in config.items() if k not in drop}
        if model_type == "deepseek_v3":
            config["num_nextn_predict_layers"] = 1
        if fp8:
            config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": list(fp8)}
        (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for file in () if fp8 else files:
        write_gguf(out / f"{file}.gguf", model, state, quant or {torch.bfloat16: BF16}.get(dtype), file == "model")
    differ = (logits - logits_kv16).norm() / logits.norm()
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes, logits std %.2f, an f16 cache is worth %.1e" % (logits.std(), differ))


def deepseek_tokenizer_files(out):
    """A byte-level tokenizer of 256 bytes and a few merges, with DeepSeek's marks and its turns, which nothing stands between."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    vocab = {b: i for i, b in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for a, b in (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n")):
        merges.append((a, b))
        vocab[a + b] = len(vocab)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    begin, end, user, assistant = (f"<\uff5c{name}\uff5c>" for name in
                                   ("begin\u2581of\u2581sentence", "end\u2581of\u2581sentence", "User", "Assistant"))
    tok.add_special_tokens([begin, end, user, assistant])
    tok.save(str(out / "tokenizer.json"))
    template = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}" + user +
                "{{ m.content }}{% else %}" + assistant + "{{ m.content }}" + end + "{% endif %}{% endfor %}"
                "{% if add_generation_prompt %}" + assistant + "{% endif %}")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "LlamaTokenizerFast", "bos_token": begin, "eos_token": end, "add_bos_token": True,
        "chat_template": template}, indent=1) + "\n")
    return tok.get_vocab_size()


def main():
    root = pathlib.Path(sys.argv[1])
    yarn = dict(rope_type="yarn", factor=40.0, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=16,
                rope_theta=10000.0)
    published = dict(rope_theta=10000.0, rope_scaling={("type" if k == "rope_type" else k): v for k, v in yarn.items() if k != "rope_theta"})
    base = dict(vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=3, num_attention_heads=4,
                num_key_value_heads=4, max_position_embeddings=640, rms_norm_eps=1e-6, tie_word_embeddings=False, q_lora_rank=24, kv_lora_rank=32,
                qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3,
                first_k_dense_replace=1, n_group=4, topk_group=2, routed_scaling_factor=2.5, rope_parameters=yarn)
    v3 = {**base, "norm_topk_prob": True}
    case(root, "deepseek_v3", "deepseek_v3", v3, 30, drop=("rope_parameters",),
         config_more=dict(**published, topk_method="noaux_tc", scoring_func="sigmoid", moe_layer_freq=1, ep_size=1, attention_bias=False))
    # the magnitudes differ: cos and sin are scaled too
    case(root, "deepseek_v3_mscale", "deepseek_v3", {**v3, "norm_topk_prob": False, "n_group": 1, "topk_group": 1, "num_hidden_layers": 2,
                                                     "rope_parameters": {**yarn, "mscale": 0.7, "mscale_all_dim": 1.3}}, 31, files=())
    v2 = {k: v for k, v in base.items() if k not in ("n_group", "topk_group")}
    v2.update(routed_scaling_factor=1.0, n_shared_experts=2, num_hidden_layers=2)
    mscale = {**yarn, "mscale": 0.707, "mscale_all_dim": 0.707}
    case(root, "deepseek_v2_lite", "deepseek_v2", {**v2, "q_lora_rank": None, "topk_method": "greedy", "rope_parameters": mscale}, 32,
         files=("model",), config_more=dict(norm_topk_prob=False, scoring_func="softmax"))
    case(root, "deepseek_v2", "deepseek_v2", {**v2, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
                                              "routed_scaling_factor": 4.0, "rope_parameters": dict(rope_type="default", rope_theta=10000.0)}, 33,
         files=("split",))
    # heads and ranks that fill blocks, but not all of them
    wide = {**v3, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 64, "q_lora_rank": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32,
            "v_head_dim": 32, "moe_intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 4, "n_group": 2,
            "topk_group": 1, "num_experts_per_tok": 2}
    case(root, "deepseek_bf16", "deepseek_v3", wide, 234, dtype=torch.bfloat16, files=("split",))
    case(root, "deepseek_q8_0", "deepseek_v3", wide, 35, quant=Q8, files=("model",))
    case(root, "deepseek_q8_0_split", "deepseek_v3", wide, 35, quant=Q8, files=("split",))
    case(root, "deepseek_fp8", "deepseek_v3", {**wide, "q_lora_rank": 40, "qk_rope_head_dim": 8, "moe_intermediate_size": 40}, 36, fp8=(32, 32))
    # no head begins where a block does
    case(root, "deepseek_fp8_48x40", "deepseek_v3", {**wide, "v_head_dim": 24}, 37, fp8=(48, 40))
    chat = root / "deepseek_chat"
    if not sys.argv[2:] or chat.name in sys.argv[2:]:
        chat.mkdir(parents=True, exist_ok=True)
        case(root, chat.name, "deepseek_v3", {**v3, "vocab_size": deepseek_tokenizer_files(chat), "num_hidden_layers": 2, "max_position_embeddings": 512},
             38, files=())
        (chat / "golden.safetensors").unlink()
    if not sys.argv[2:]:
        keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings", "rms_norm_eps",
                "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", "n_shared_experts", "first_k_dense_replace", "q_lora_rank",
                "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_group", "topk_group", "norm_topk_prob",
                "routed_scaling_factor", "tie_word_embeddings")
        kinds = {}
        for kind in ("deepseek_v3", "deepseek_v2"):
            c = AutoConfig.for_model(kind, num_experts_per_tok=8).to_dict()  # V2 has no number of its own for it
            kinds[kind] = {k: c[k] for k in keys if k in c}
        (root / "deepseek_defaults.json").write_text(json.dumps(kinds, indent=1) + "\n")


if __name__ == "__main__":
    main()
