#!/usr/bin/env python3
"""Vectors for src/format/quant_test.c, from the `gguf` package, numpy and torch: tests/golden/quant/.

TYPE.bin  raw blocks (random bits, scales kept finite), then the f32 values that gguf.quants.dequantize gives.
f16.bin   f32 values, then the halves numpy rounds them to.
fp8.bin   256 f32 values of e4m3fn, then 256 of e5m2, as torch reads the bytes 0..255.
"""
import pathlib

import gguf
import numpy as np
import torch

out = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/quant"
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(20240607)

# type: byte offsets of its half-precision scales in a block
halves = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
}
codes = {  # the types of src/format/quant_codes.h and the ternary ones, which came later: random numbers of their own
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0], "IQ1_M": [], "TQ1_0": [52],
    "TQ2_0": [64], "MXFP4": [], "NVFP4": [],
}


def make(name, offsets, rng):
    qtype = gguf.GGMLQuantizationType[name]
    elems, size = gguf.GGML_QUANT_SIZES[qtype]
    blocks = rng.integers(0, 256, (1024 // elems, size), dtype=np.uint8)
    for at in offsets:
        scale = rng.normal(0, 0.1, len(blocks)).astype(np.float16)
        scale[0] = np.float16(2**-20)  # a subnormal scale
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    if name == "IQ1_M":  # its half lies in the last bits of four words
        half = rng.normal(0, 0.1, len(blocks)).astype(np.float16).view(np.uint16)
        for i in range(4):
            blocks[:, 49 + 2 * i] = blocks[:, 49 + 2 * i] & 15 | (half >> 4 * i & 15).astype(np.uint8) << 4
    if name == "MXFP4":
        blocks[:5, 0] = [0, 1, 2, 252, 100]
        blocks[5:, 0] &= 127
    values = gguf.quants.dequantize(blocks, qtype).astype(np.float32)
    (out / f"{name}.bin").write_bytes(blocks.tobytes() + values.tobytes())


for name, offsets in halves.items():
    make(name, offsets, rng)
for name, offsets in codes.items():
    make(name, offsets, np.random.default_rng(20261127))

edges = [0.0, 1.0, 65504.0, 65519.996, 65520.0, 1e6, np.inf, 2**-14, 2**-24, 2**-25, 1.0000001 * 2**-25, 6.1e-5,
         6.0975552e-05, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-20, 5.9e-8, 1e-30, 1e-45]
values = np.concatenate([np.array(edges), -np.array(edges), rng.normal(0, 1, 500), rng.normal(0, 1e-5, 300),
                         rng.normal(0, 1e-7, 150), rng.normal(0, 40000, 100)]).astype(np.float32)
with np.errstate(over="ignore"):
    (out / "f16.bin").write_bytes(values.tobytes() + values.astype(np.float16).tobytes())

raw = torch.arange(256, dtype=torch.uint8)
(out / "fp8.bin").write_bytes(raw.view(torch.float8_e4m3fn).float().numpy().tobytes()
                              + raw.view(torch.float8_e5m2).float().numpy().tobytes())
