#!/usr/bin/env python3
"""Vectors of texts from tiny checkpoints of tests/golden/lm that have a tokenizer, as transformers computes them.

    python3 tools/reference/embed_golden.py tests/golden/lm

Writes embed.json: of each case the hidden state behind the last norm of the last of some token ids, and the mean over all of them.
Needs torch, transformers.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModel

CASES = ["chat", "gemma3_chat"]
N_IDS = 72  # crosses two page borders of the key/value cache


def main():
    folder = pathlib.Path(sys.argv[1])
    out = {}
    for case in CASES:
        ids = torch.tensor([[(i * 37 + 11) % 250 for i in range(N_IDS)]])
        model = AutoModel.from_pretrained(folder / case, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0]
        out[case] = {"ids": ids[0].tolist(), "last": states[-1].tolist(), "mean": states.mean(0).tolist()}
    lines = [f'{json.dumps(case)}: {json.dumps(v)}' for case, v in out.items()]
    (folder / "embed.json").write_text("{" + ",\n".join(lines) + "}\n")


main()
