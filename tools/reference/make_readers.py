#!/usr/bin/env python3
"""Tiny model files for the readers' tests and fuzzers, written by the reference packages: tests/golden/readers/."""
import pathlib
import shutil

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

root = pathlib.Path(__file__).resolve().parents[2]
out = root / "tests/golden/readers"
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)

w = gguf.GGUFWriter(str(out / "tiny.gguf"), "llama")
w.add_uint8("t.u8", 200)
w.add_int8("t.i8", -5)
w.add_uint16("t.u16", 60000)
w.add_int16("t.i16", -30000)
w.add_uint32("t.u32", 4000000000)
w.add_int32("t.i32", -7)
w.add_uint64("t.u64", 2**64 - 1)
w.add_int64("t.i64", -(2**40))
w.add_float32("t.f32", 0.5)
w.add_float64("t.f64", 1e-9)
w.add_bool("t.bool", True)
w.add_string("t.str", "h\u00e9arth")
w.add_array("t.strings", ["a", "", "merge me"])
w.add_array("t.ints", [1, -2, 3])
w.add_array("t.floats", [0.25, -0.5])
w.add_tensor("vec", np.arange(5, dtype=np.float32))
w.add_tensor("mat.f16", np.arange(6, dtype=np.float16).reshape(2, 3))
q = gguf.quants.quantize(rng.normal(size=(3, 64)).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
w.add_tensor("mat.q8", q, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

save_file(
    {
        "f32": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "bf16": torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
        "f8": torch.tensor([1.5], dtype=torch.float32).to(torch.float8_e4m3fn),
        "ids": torch.tensor([[-1, 2**40]], dtype=torch.int64),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "flag": torch.tensor([True, False]),
    },
    str(out / "tiny.safetensors"),
    {"format": "pt", "note": "line\n\"quoted\" \u00fc"},
)

for name in ("gguf", "safetensors"):
    corpus = root / "tests/fuzz/corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    shutil.copy(out / f"tiny.{name}", corpus / "tiny")
