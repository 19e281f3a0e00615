#!/usr/bin/env python3
"""A GGUF file of random weights in the widths of DeepSeek V3, with few layers and experts, for measuring speed.

    python3 tools/bench/random_deepseek.py OUT.gguf TYPE [--layers 3] [--experts 32] [--joined]      TYPE: Q4_0 Q8_0 Q4_K BF16

A token goes to 8 experts as in the model, so that each layer reads what one of the model's does. Keys of a head, 128 wide, are Q8_0 in
files of Q4_K. --joined: keys and values of the latents in one matrix, as in older files. Needs gguf, numpy.
"""
import argparse

import gguf
import numpy as np

from random_llama import add_tokens, blocks

EMBD, HEADS, Q_RANK, KV_RANK, NOPE, ROPE, V, FF, FF_EXPERT, VOCAB = 7168, 128, 1536, 512, 128, 64, 128, 18432, 2048, 16384


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("type", choices=["Q4_0", "Q8_0", "Q4_K", "BF16"])
    p.add_argument("--layers", type=int, default=3)
    p.add_argument("--experts", type=int, default=32)
    p.add_argument("--joined", action="store_true")
    a = p.parse_args()
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(a.out, "deepseek2")
    w.add_name(f"random DeepSeek V3, {a.layers} layers of {a.experts} experts, {a.type}")
    w.add_block_count(a.layers)
    w.add_context_length(16384)
    w.add_embedding_length(EMBD)
    w.add_feed_forward_length(FF)
    w.add_head_count(HEADS)
    w.add_head_count_kv(HEADS if a.joined else 1)
    w.add_key_length(NOPE + ROPE if a.joined else KV_RANK + ROPE)
    w.add_value_length(V if a.joined else KV_RANK)
    if not a.joined:
        w.add_key_length_mla(NOPE + ROPE)
        w.add_value_length_mla(V)
    w.add_q_lora_rank(Q_RANK)
    w.add_kv_lora_rank(KV_RANK)
    w.add_leading_dense_block_count(1)
    w.add_expert_count(a.experts)
    w.add_expert_used_count(8)
    w.add_expert_shared_count(1)
    w.add_expert_feed_forward_length(FF_EXPERT)
    w.add_expert_weights_scale(2.5)
    w.add_expert_weights_norm(True)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_dimension_count(ROPE)
    w.add_rope_freq_base(10000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(40.0)
    w.add_rope_scaling_orig_ctx_len(4096)
    w.add_rope_scaling_yarn_log_mul(0.1)
    w.add_vocab_size(VOCAB)
    add_tokens(w, VOCAB)

    def matrix(name, rows, cols, stack=0):
        kind = "Q8_0" if a.type == "Q4_K" and cols % 256 else a.type
        b = blocks(rng, kind, rows * max(stack, 1), cols)
        w.add_tensor(name + ".weight", b.reshape(stack, rows, -1) if stack else b, raw_dtype=getattr(gguf.GGMLQuantizationType, kind))

    def ones(name, n):
        w.add_tensor(name + ".weight", np.ones(n, np.float32))

    matrix("token_embd", VOCAB, EMBD)
    ones("output_norm", EMBD)
    matrix("output", VOCAB, EMBD)
    for i in range(a.layers):
        blk = f"blk.{i}."
        ones(blk + "attn_norm", EMBD)
        ones(blk + "ffn_norm", EMBD)
        ones(blk + "attn_q_a_norm", Q_RANK)
        ones(blk + "attn_kv_a_norm", KV_RANK)
        matrix(blk + "attn_q_a", Q_RANK, EMBD)
        matrix(blk + "attn_q_b", HEADS * (NOPE + ROPE), Q_RANK)
        matrix(blk + "attn_kv_a_mqa", KV_RANK + ROPE, EMBD)
        if a.joined:
            matrix(blk + "attn_kv_b", HEADS * (NOPE + V), KV_RANK)
        else:
            matrix(blk + "attn_k_b", KV_RANK, NOPE, HEADS)
            matrix(blk + "attn_v_b", V, KV_RANK, HEADS)
        matrix(blk + "attn_output", EMBD, HEADS * V)
        if i == 0:
            for name, rows, cols in (("ffn_gate", FF, EMBD), ("ffn_up", FF, EMBD), ("ffn_down", EMBD, FF)):
                matrix(blk + name, rows, cols)
            continue
        w.add_tensor(blk + "ffn_gate_inp.weight", (rng.standard_normal((a.experts, EMBD)) * EMBD ** -0.5).astype(np.float32))
        w.add_tensor(blk + "exp_probs_b.bias", np.zeros(a.experts, np.float32))
        for name, rows, cols in (("ffn_gate", FF_EXPERT, EMBD), ("ffn_up", FF_EXPERT, EMBD), ("ffn_down", EMBD, FF_EXPERT)):
            matrix(blk + name + "_exps", rows, cols, a.experts)
            matrix(blk + name + "_shexp", rows, cols)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
