#!/usr/bin/env python3
"""A GGUF file of random weights in the widths of a model with routed experts, with few of its layers, words and experts, for measuring speed.

    python3 tools/bench/random_experts.py OUT.gguf SHAPE TYPE      SHAPE: scout maverick qwen3-30b mixtral      TYPE: Q4_0 Q8_0 Q4_K BF16

A token goes to as many experts as in the model, so that each layer reads what one of the model's does. All experts of a layer have the same
weights: their speed does not depend on them. llama.cpp loads these files too. Needs gguf, numpy. DeepSeek: random_deepseek.py.
"""
import argparse
from typing import NamedTuple

import gguf
import numpy as np

from random_llama import add_tokens, blocks

VOCAB = 16384


class Shape(NamedTuple):
    arch: str
    layers: int
    embd: int
    heads: int
    kv: int
    head: int
    ff: int         # of dense layers
    ff_expert: int
    experts: int
    used: int
    every: int = 1  # so many layers make one with experts, the last of them
    shared: bool = False
    head_norms: bool = False


SHAPES = {
    "scout": Shape("llama4", 4, 5120, 40, 8, 128, 16384, 8192, 8, 1, shared=True),          # of 48 layers and 16 experts
    "maverick": Shape("llama4", 4, 5120, 40, 8, 128, 16384, 8192, 16, 1, 2, shared=True),   # of 48 and 128
    "qwen3-30b": Shape("qwen3moe", 4, 2048, 32, 4, 128, 6144, 768, 128, 8, head_norms=True),  # of 48
    "mixtral": Shape("llama", 2, 4096, 32, 8, 128, 14336, 14336, 8, 2),                     # of 32
}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("shape", choices=SHAPES)
    p.add_argument("type", choices=["Q4_0", "Q8_0", "Q4_K", "BF16"])
    a = p.parse_args()
    s = SHAPES[a.shape]
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(a.out, s.arch)
    w.add_name(f"random {a.shape}, {s.layers} layers of {s.experts} experts, {a.type}")
    w.add_block_count(s.layers)
    w.add_context_length(16384)
    w.add_embedding_length(s.embd)
    w.add_feed_forward_length(s.ff)
    w.add_head_count(s.heads)
    w.add_head_count_kv(s.kv)
    w.add_key_length(s.head)
    w.add_value_length(s.head)
    w.add_rope_dimension_count(s.head)
    w.add_rope_freq_base(500000.0)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_expert_count(s.experts)
    w.add_expert_used_count(s.used)
    w.add_expert_feed_forward_length(s.ff_expert)
    if s.shared:
        w.add_interleave_moe_layer_step(s.every)
    w.add_vocab_size(VOCAB)
    add_tokens(w, VOCAB)
    kind = getattr(gguf.GGMLQuantizationType, a.type)

    def matrix(name, rows, cols):
        w.add_tensor(name + ".weight", blocks(rng, a.type, rows, cols), raw_dtype=kind)

    def experts(name, rows, cols):
        one = blocks(rng, a.type, rows, cols)
        w.add_tensor(name + ".weight", np.broadcast_to(one, (s.experts, *one.shape)).copy(), raw_dtype=kind)

    def ones(name, n):
        w.add_tensor(name + ".weight", np.ones(n, np.float32))

    matrix("token_embd", VOCAB, s.embd)
    ones("output_norm", s.embd)
    matrix("output", VOCAB, s.embd)
    for i in range(s.layers):
        blk = f"blk.{i}."
        ones(blk + "attn_norm", s.embd)
        ones(blk + "ffn_norm", s.embd)
        if s.head_norms:
            ones(blk + "attn_q_norm", s.head)
            ones(blk + "attn_k_norm", s.head)
        for name, rows, cols in (("attn_q", s.heads * s.head, s.embd), ("attn_k", s.kv * s.head, s.embd), ("attn_v", s.kv * s.head, s.embd),
                                 ("attn_output", s.embd, s.heads * s.head)):
            matrix(blk + name, rows, cols)
        if (i + 1) % s.every:
            for name, rows, cols in (("ffn_gate", s.ff, s.embd), ("ffn_up", s.ff, s.embd), ("ffn_down", s.embd, s.ff)):
                matrix(blk + name, rows, cols)
            continue
        w.add_tensor(blk + "ffn_gate_inp.weight", (rng.standard_normal((s.experts, s.embd)) * s.embd ** -0.5).astype(np.float32))
        for name, rows, cols in (("ffn_gate", s.ff_expert, s.embd), ("ffn_up", s.ff_expert, s.embd), ("ffn_down", s.embd, s.ff_expert)):
            experts(blk + name + "_exps", rows, cols)
            if s.shared:
                matrix(blk + name + "_shexp", rows, cols)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
