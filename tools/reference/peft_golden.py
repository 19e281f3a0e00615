#!/usr/bin/env python3
"""What PEFT itself makes of alpha_pattern and rank_pattern: tests/golden/image/lora/patterns.json.

    pip install torch peft
    tools/reference/peft_golden.py

Each case is a configuration and, for every module of a small model, the rank and the factor of B A that PEFT gives it.
"""
import json

import torch
from peft import LoraConfig, inject_adapter_in_model

NAMES = [f"{side}.{i}.attn{k}.{leaf}" for side in ("down_blocks", "mid_block", "up_blocks") for i in (0, 1, 11) for k in (1, 2)
         for leaf in ("to_q", "to_k", "to_out.0")] + ["to_q", "proj_out", "odd_to_q"]
CASES = [
    {"alpha_pattern": {"to_q": 6}},
    {"alpha_pattern": {r".*attn\d\.to_[qk]": 6, "to_q": 9}},
    {"alpha_pattern": {r"^down_blocks\.1\..*": 3, r"to_out\.0": 5, "mid_block.*|up_blocks.*": 7}},
    {"alpha_pattern": {"attn1": 9, r"up_blocks\.1.*": 2, "0": 11, "proj_(in|out)": 1}},
    {"alpha_pattern": {r"down_blocks\.\d\.attn1\.to_q": 3, "o_q": 50, "blocks.0.attn2.to_k": 4}},
    {"rank_pattern": {r"attn2\.to_k": 3, r"^to_q$": 5}, "alpha_pattern": {r".*attn2.*": 8}},
    {"rank_pattern": {"to_out.0": 2}, "use_rslora": True, "alpha_pattern": {"up_blocks.*": 12}},
    {"lora_alpha": 10, "use_rslora": True},
    {"r": 2},
]


def model():
    root = torch.nn.Module()
    for name in NAMES:
        at = root
        *path, leaf = name.split(".")
        for part in path:
            if not hasattr(at, part):
                at.add_module(part, torch.nn.Module())
            at = getattr(at, part)
        at.add_module(leaf, torch.nn.Linear(4, 4, bias=False))
    return root


out = []
for case in CASES:
    m = inject_adapter_in_model(LoraConfig(target_modules=[n.split(".")[-2] + "." + n.split(".")[-1] if "." in n else n for n in NAMES],
                                           **{"r": 4, **case}), model())
    modules = dict(m.named_modules())
    out.append({"config": {"r": 4, **case}, "modules": {n: [modules[n].r["default"], modules[n].scaling["default"]] for n in NAMES}})
with open("tests/golden/image/lora/patterns.json", "w") as f:
    json.dump(out, f, indent=0)
    f.write("\n")
