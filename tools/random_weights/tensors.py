"""Safetensors files of random weights, written as a stream: a 12 GB file needs a few megabytes of memory.

A weight is one of 256 equally likely quantiles of a normal distribution with standard deviation fan_in ** -0.5, so a layer keeps
the size of what goes through it. Norms are ones, biases zeros.
"""
import json
import statistics
import struct
from typing import NamedTuple

import numpy as np


class Tensor(NamedTuple):
    name: str
    shape: tuple
    kind: str = "weight"  # weight, one, zero


def linear(name, n_out, n_in, bias=True):
    yield Tensor(f"{name}.weight", (n_out, n_in))
    if bias:
        yield Tensor(f"{name}.bias", (n_out,), "zero")


def conv(name, n_out, n_in, side=3):
    yield Tensor(f"{name}.weight", (n_out, n_in, side, side))
    yield Tensor(f"{name}.bias", (n_out,), "zero")


def norm(name, n):
    yield Tensor(f"{name}.weight", (n,), "one")
    yield Tensor(f"{name}.bias", (n,), "zero")


E4M3 = np.array([(-1) ** (c >> 7) * ((c & 7) * 2.0 ** -9 if not c >> 3 & 15 else (1 + (c & 7) / 8) * 2.0 ** ((c >> 3 & 15) - 7))
                 for c in range(256)])  # 0x7F and 0xFF are not numbers, and larger than anything written here

QUANTILES = np.array([statistics.NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def encode(values, dtype):
    """A small array as little-endian bytes of a safetensors type, [n, bytes of one]."""
    if dtype == "F8_E4M3":
        out = np.abs(E4M3[None, :] - values[:, None]).argmin(1).astype(np.uint8)
    elif dtype == "F16":
        out = values.astype("<f2")
    elif dtype == "BF16":
        out = (values.astype("<f4").view("<u4") + 0x8000 >> 16).astype("<u2")
    else:
        out = values.astype("<f4")
    return out.view(np.uint8).reshape(len(values), -1)


SIZE = {"F8_E4M3": 1, "F16": 2, "BF16": 2, "F32": 4}
CHUNK = 1 << 22  # elements


def pieces(t, dtype, rng):
    """A tensor's bytes, a chunk at a time."""
    left = int(np.prod(t.shape))
    if t.kind != "weight":
        yield encode(np.array([1.0 if t.kind == "one" else 0.0]), dtype).tobytes() * left
        return
    table = encode(QUANTILES * np.prod(t.shape[1:]) ** -0.5, dtype)
    wide = table.reshape(-1).view({1: "u1", 2: "<u2", 4: "<u4"}[SIZE[dtype]])
    while left:
        n = min(left, CHUNK)
        draw = rng.bytes(n)
        yield draw.translate(table.tobytes()) if SIZE[dtype] == 1 else wide[np.frombuffer(draw, np.uint8)].tobytes()
        left -= n


def write(path, tensors, dtype, seed):
    """Every tensor of the iterable in one file and one type. Returns the file's size."""
    tensors = list(tensors)
    header, at = {}, 0
    for t in tensors:
        n = int(np.prod(t.shape)) * SIZE[dtype]
        header[t.name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [at, at + n]}
        at += n
    assert len(header) == len(tensors), "two tensors of one name"
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.Generator(np.random.SFC64(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors:
            for piece in pieces(t, dtype, rng):
                f.write(piece)
    return 8 + len(text) + at
