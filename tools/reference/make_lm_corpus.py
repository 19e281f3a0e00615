#!/usr/bin/env python3
"""The corpus of tests/fuzz/lm_weights_fuzz.c: of each family the configuration and the tensors' headers of its golden files, without numbers.

    python3 tools/reference/make_lm_corpus.py
"""
import json
import pathlib
import struct

GOLDEN, OUT = pathlib.Path("tests/golden/lm"), pathlib.Path("tests/fuzz/corpus/lm_weights")
FOLDERS = ("llama3", "llama_fp8", "mixtral", "qwen2", "qwen3_moe", "gemma3", "smollm3", "llama4_maverick", "deepseek_v3", "deepseek_v2_lite", "phi3",
           "glm4", "glm4_moe", "gpt_oss")
FILES = ("llama3", "gemma3", "llama4_scout", "deepseek_v2_lite", "phi3", "gpt_oss")


def gguf_head(raw):
    """Up to where the tensors' data begin."""
    at = 8
    n_tensors, n_keys = struct.unpack_from("<QQ", raw, at)
    at += 16
    widths = (1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8)

    def text(at):
        return at + 8 + struct.unpack_from("<Q", raw, at)[0]

    def value(kind, at):
        if kind == 8:
            return text(at)
        if kind == 9:
            inner, n = struct.unpack_from("<IQ", raw, at)
            at += 12
            for _ in range(n):
                at = value(inner, at)
            return at
        return at + widths[kind]

    for _ in range(n_keys):
        at = text(at)
        at = value(struct.unpack_from("<I", raw, at)[0], at + 4)
    for _ in range(n_tensors):
        at = text(at)
        at += 4 + 8 * struct.unpack_from("<I", raw, at)[0] + 12
    return raw[: (at + 31) // 32 * 32]


OUT.mkdir(parents=True, exist_ok=True)
for name in FOLDERS:
    raw = (GOLDEN / name / "model.safetensors").read_bytes()
    config = json.dumps(json.loads((GOLDEN / name / "config.json").read_text()), separators=(",", ":")).encode()
    (OUT / name).write_bytes(config + b"\0" + raw[8: 8 + struct.unpack_from("<Q", raw)[0]].rstrip())
for name in FILES:
    (OUT / (name + "_gguf")).write_bytes(gguf_head((GOLDEN / name / "model.gguf").read_bytes()))
