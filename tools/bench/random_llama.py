#!/usr/bin/env python3
"""A GGUF file of random weights in the shape of Llama 3.2 1B or a smaller one, for measuring speed.

    python3 tools/bench/random_llama.py OUT.gguf TYPE [--shape 1b|135m]      TYPE: Q4_0 Q8_0 Q4_K BF16

Blocks are drawn directly in the file's format, so it takes seconds. llama.cpp loads these files too. Needs gguf, numpy.
"""
import argparse

import gguf
import numpy as np

SHAPES = {  # layers, embd, heads, kv heads, head dim, ff, vocab
    "1b": (16, 2048, 32, 8, 64, 8192, 128256),
    "135m": (30, 576, 9, 3, 64, 1536, 49152),
}


def half(x, n):
    return np.full(n, x, np.float16).view(np.uint8).reshape(n, 2)


def blocks(rng, kind, rows, cols):
    """Raw bytes [rows, bytes a row] of weights with a standard deviation near cols ** -0.5."""
    std = cols ** -0.5
    if kind == "BF16":
        w = (rng.standard_normal((min(rows, 256), cols), np.float32) * std).view(np.uint32) >> 16
        return np.resize(w.astype(np.uint16), (rows, cols)).view(np.uint8)
    per, size = {"Q4_0": (32, 18), "Q8_0": (32, 34), "Q4_K": (256, 144)}[kind]
    n = rows * cols // per
    b = rng.integers(0, 256, (n, size), np.uint8)
    if kind == "Q4_0":
        b[:, :2] = half(std / 4.6, n)
    elif kind == "Q8_0":
        b[:, :2] = half(std / 74, n)
    else:  # 6-bit scales and minima average 32; minima centre the nibbles
        b[:, 0:2] = half(std / 150, n)
        b[:, 2:4] = half(std / 20, n)
        b[:, 4:16] &= 0x3F
    return b.reshape(rows, cols // per * size)


def add_tokens(w, vocab):
    """A tokenizer of bytes with so many entries."""
    printable = [c for c in range(33, 127)] + [c for c in range(161, 173)] + [c for c in range(174, 256)]
    chars = [chr(c) for c in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = chars + ["Ġt"] + [f"<filler {i}>" for i in range(vocab - 258)] + ["<|end|>"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(tokens)
    w.add_token_types([1] * 257 + [5] * (vocab - 258) + [3])
    w.add_token_merges(["Ġ t"])
    w.add_bos_token_id(vocab - 1)
    w.add_eos_token_id(vocab - 1)
    w.add_add_bos_token(False)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("type", choices=["Q4_0", "Q8_0", "Q4_K", "BF16"])
    p.add_argument("--shape", default="1b", choices=SHAPES)
    a = p.parse_args()
    n_layer, embd, heads, kv, hd, ff, vocab = SHAPES[a.shape]
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(a.out, "llama")
    w.add_name(f"random {a.shape} {a.type}")
    w.add_block_count(n_layer)
    w.add_context_length(16384)
    w.add_embedding_length(embd)
    w.add_feed_forward_length(ff)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_rope_dimension_count(hd)
    w.add_rope_freq_base(500000.0)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(vocab)
    add_tokens(w, vocab)
    kind = getattr(gguf.GGMLQuantizationType, a.type)

    def matrix(name, rows, cols):
        w.add_tensor(name, blocks(rng, a.type, rows, cols), raw_dtype=kind)

    matrix("token_embd.weight", vocab, embd)
    w.add_tensor("output_norm.weight", np.ones(embd, np.float32))
    for i in range(n_layer):
        for name, rows, cols in (("attn_q", heads * hd, embd), ("attn_k", kv * hd, embd), ("attn_v", kv * hd, embd),
                                 ("attn_output", embd, heads * hd), ("ffn_gate", ff, embd), ("ffn_up", ff, embd), ("ffn_down", embd, ff)):
            matrix(f"blk.{i}.{name}.weight", rows, cols)
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{name}.weight", np.ones(embd, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
