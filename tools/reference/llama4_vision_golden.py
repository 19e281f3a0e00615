#!/usr/bin/env python3
"""A tiny random Llama 4 with its tower, and what transformers makes of two tiles.

    python3 tools/reference/llama4_vision_golden.py tests/golden/lm/llama4_vision

config.json and model.safetensors as Hugging Face writes them; golden.safetensors holds `tiles` [2, 3, 24, 24], `rows` [2, 9, n_embd] (what stands for the
embeddings of their tokens), `ids` with the picture's token where those rows go, and `logits` of every position, all in f32. Needs torch,
transformers, safetensors.
"""
import json
import math
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import Llama4Config, Llama4ForConditionalGeneration

VISION = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, image_size=24, patch_size=4, num_channels=3,
              projector_input_dim=40, projector_output_dim=40, vision_output_dim=40, pixel_shuffle_ratio=0.5)
TEXT = dict(vocab_size=64, hidden_size=32, intermediate_size=16, intermediate_size_mlp=40, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1, interleave_moe_layer_step=2, attention_chunk_size=20,
            floor_scale=11, attn_scale=0.3, max_position_embeddings=256, rms_norm_eps=1e-5, use_qk_norm=True)
PICTURE = 63


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(31)
    config = Llama4Config(vision_config=VISION, text_config=TEXT, image_token_index=PICTURE, boi_token_index=61, eoi_token_index=62)
    config._attn_implementation = "eager"
    model = Llama4ForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif p.dim() == 1 or "positional" in name:
                p.copy_(0.3 * torch.randn_like(p))
            elif "embed_tokens" in name:
                p.copy_(torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) / math.sqrt(p.shape[-2] if p.dim() == 3 else p.shape[-1]))
        tiles = torch.rand(2, 3, 24, 24) * 2 - 1
        rows = model.multi_modal_projector(model.get_image_features(tiles).last_hidden_state)
        text = torch.randint(0, 60, (30,))
        ids = torch.cat([text[:6], torch.tensor([61]), torch.full((18,), PICTURE), torch.tensor([62]), text[6:]])[None]
        logits = model(input_ids=ids, pixel_values=tiles).logits[0]
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, out / "model.safetensors")
    save_file({"tiles": tiles, "rows": rows.contiguous(), "ids": ids[0].to(torch.int32), "logits": logits.contiguous()}, out / "golden.safetensors")
    (out / "config.json").write_text(json.dumps({
        "model_type": "llama4", "image_token_index": PICTURE, "boi_token_index": 61, "eoi_token_index": 62,
        "text_config": {"model_type": "llama4_text", **TEXT}, "vision_config": {"model_type": "llama4_vision_model", **VISION}}, indent=1) + "\n")
    print(sum(f.stat().st_size for f in out.iterdir()), "bytes, rows std %.2f, logits std %.2f" % (rows.std(), logits.std()))


main()
