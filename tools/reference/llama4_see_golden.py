#!/usr/bin/env python3
"""A tiny random Llama 4 with tower, tokenizer, chat template and processor, and what transformers makes of chats with pictures.

    python3 tools/reference/llama4_see_golden.py tests/golden/lm/llama4_see

A folder as Hugging Face has them (weights bf16, computed with in f32); in gguf/ the same as model.gguf and mmproj-tower.gguf (the tower and projector as llama.cpp's converter names
them), pictures pN.png, and golden.json: for each chat its messages as a client sends them (pictures by file name), the prompt's ids and the
logits behind its last token. Needs torch, torchvision, pillow, transformers, tokenizers, safetensors, gguf.
"""
import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Llama4Config, Llama4ForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.llama4.image_processing_llama4 import Llama4ImageProcessor
from transformers.models.llama4.processing_llama4 import Llama4Processor

from lm_golden import write_gguf

SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot|>", "<|header_start|>", "<|header_end|>", "<|image_start|>", "<|image_end|>",
           "<|tile_x_separator|>", "<|tile_y_separator|>", "<|image|>", "<|patch|>", "<|pad|>"]
BYTES = 257  # tokens before those: the bytes, and one merge, because GGUF knows no empty lists
VISION = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=24, patch_size=4, num_channels=3,
              projector_input_dim=24, projector_output_dim=24, vision_output_dim=24, pixel_shuffle_ratio=0.5)
TEXT = dict(vocab_size=BYTES + len(SPECIAL), hidden_size=32, intermediate_size=16, intermediate_size_mlp=40, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1, interleave_moe_layer_step=2,
            attention_chunk_size=96, floor_scale=64, attn_scale=0.3, max_position_embeddings=1024, rms_norm_eps=1e-5, use_qk_norm=True,
            bos_token_id=BYTES, eos_token_id=[BYTES + 1, BYTES + 2], pad_token_id=BYTES + 11)
TEMPLATE = """{{- bos_token }}
{%- for message in messages %}
    {{- '<|header_start|>' + message['role'] + '<|header_end|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for content in message['content'] %}
            {%- if content['type'] == 'image' %}
                {{- '<|image|>' }}
            {%- elif content['type'] == 'text' %}
                {{- content['text'] }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|header_start|>assistant<|header_end|>\\n\\n' }}
{%- endif %}
"""
PICTURES = [(20, 20), (60, 40), (30, 100)]


def tokenizer(out):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, "~~"])}, merges=[("~", "~")]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    fast = PreTrainedTokenizerFast(tokenizer_object=t, bos_token=SPECIAL[0], eos_token="<|eot|>", pad_token="<|pad|>")
    fast.chat_template = TEMPLATE
    t.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[0], "eos_token": "<|eot|>", "pad_token": "<|pad|>", "chat_template": TEMPLATE}, indent=1) + "\n")
    return fast


def model(out):
    config = Llama4Config(vision_config=VISION, text_config=TEXT, image_token_index=BYTES + SPECIAL.index("<|patch|>"),
                          boi_token_index=BYTES + SPECIAL.index("<|image_start|>"), eoi_token_index=BYTES + SPECIAL.index("<|image_end|>"))
    config._attn_implementation = "eager"
    m = Llama4ForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for name, p in m.named_parameters():
            if "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif p.dim() == 1 or "positional" in name:
                p.copy_(0.3 * torch.randn_like(p))
            elif "embed_tokens" in name:
                p.copy_(torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) / math.sqrt(p.shape[-2] if p.dim() == 3 else p.shape[-1]))
            p.copy_(p.to(torch.bfloat16))
    save_file({k: v.to(torch.bfloat16).contiguous() for k, v in m.state_dict().items()}, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps({
        "model_type": "llama4", "architectures": ["Llama4ForConditionalGeneration"], "image_token_index": config.image_token_index,
        "boi_token_index": config.boi_token_index, "eoi_token_index": config.eoi_token_index, "torch_dtype": "bfloat16",
        "text_config": {"model_type": "llama4_text", **TEXT}, "vision_config": {"model_type": "llama4_vision_model", "norm_eps": 1e-5, **VISION}}, indent=1) + "\n")
    return m


def text_gguf(m, tok, path):
    def more(w):
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("llama4")
        w.add_token_list(tok.convert_ids_to_tokens(list(range(TEXT["vocab_size"]))))
        w.add_token_types([gguf.TokenType.NORMAL] * BYTES + [gguf.TokenType.CONTROL] * len(SPECIAL))
        w.add_token_merges(["~ ~"])
        w.add_bos_token_id(BYTES)
        w.add_eos_token_id(BYTES + 2)
        w.add_chat_template(TEMPLATE)
        w.add_vocab_size(TEXT["vocab_size"])
    write_gguf(path, "llama4", m.language_model, m.language_model.state_dict(), gguf.GGMLQuantizationType.BF16, more)


def mmproj(m, path):
    """As llama.cpp's converter writes it, names by its own table."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, 64)
    w = gguf.GGUFWriter(path, "clip")
    w.add_type("mmproj")
    w.add_clip_has_vision_encoder(True)
    w.add_vision_projection_dim(TEXT["hidden_size"])
    w.add_vision_image_size(VISION["image_size"])
    w.add_vision_patch_size(VISION["patch_size"])
    w.add_vision_embedding_length(VISION["hidden_size"])
    w.add_vision_feed_forward_length(VISION["intermediate_size"])
    w.add_vision_block_count(VISION["num_hidden_layers"])
    w.add_vision_head_count(VISION["num_attention_heads"])
    w.add_vision_image_mean([0.5] * 3)
    w.add_vision_image_std([0.5] * 3)
    w.add_clip_projector_type(gguf.VisionProjectorType.LLAMA4)
    w.add_vision_attention_layernorm_eps(1e-5)
    w.add_vision_projector_scale_factor(2)
    w.add_vision_use_gelu(True)
    for name, p in m.state_dict().items():
        name = name.removeprefix("model.")
        if "multi_modal_projector.linear_1" in name:
            new = gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.V_MMPROJ_FC] + ".weight"
        elif name.startswith("vision_model."):
            if "positional_embedding_vlm" in name and ".weight" not in name:
                name += ".weight"
            # the table has had another family's name for this one since 2026
            new = names.get_name(name, try_suffixes=(".weight", ".bias")).replace("attn_post_norm", "ln2")
        else:
            continue
        data, kind = p.detach().float().numpy(), gguf.GGMLQuantizationType.BF16
        if p.dim() > 1:
            w.add_tensor(new, gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            w.add_tensor(new, data)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def picture(n, w, h):
    rng = np.random.default_rng(n)
    y, x = np.mgrid[0:h, 0:w]
    px = np.stack([x * 255 // max(w - 1, 1), y * 255 // max(h - 1, 1), rng.integers(0, 256, (h, w))], -1).astype(np.uint8)
    return Image.fromarray(px, "RGB")


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(77)
    tok, m = tokenizer(out), model(out)
    (out / "gguf").mkdir(exist_ok=True)
    text_gguf(m, tok, out / "gguf/model.gguf")
    mmproj(m, out / "gguf/mmproj-tower.gguf")
    rules = dict(size={"height": 24, "width": 24}, max_patches=6)
    processor = Llama4Processor(Llama4ImageProcessor(**rules), tok, patch_size=4, pixel_shuffle_ratio=0.5, chat_template=TEMPLATE)
    (out / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "Llama4ImageProcessorFast", "do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2,
        "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resize_to_max_canvas": False, **rules}, indent=1) + "\n")
    (out / "gguf/preprocessor_config.json").write_text((out / "preprocessor_config.json").read_text())
    pictures = [picture(n, *size) for n, size in enumerate(PICTURES)]
    for n, p in enumerate(pictures):
        p.save(out / f"p{n}.png")
    text = lambda t: {"type": "text", "text": t}
    see = lambda n: {"type": "image", "picture": f"p{n}.png"}
    chats = [[{"role": "user", "content": [text("What is this? "), see(0)]}],
             [{"role": "user", "content": [see(1), text("And this?")]}],
             [{"role": "system", "content": "Look."}, {"role": "user", "content": [see(2), text("or"), see(0)]}],
             [{"role": "user", "content": [see(1), text("First.")]}, {"role": "assistant", "content": "Yes."},
              {"role": "user", "content": [text("Now "), see(2)]}]]
    said = []
    for chat in chats:
        prompt = tok.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        seen = [pictures[int(c["picture"][1])] for m_ in chat if isinstance(m_["content"], list) for c in m_["content"] if c["type"] == "image"]
        inputs = processor(text=[prompt], images=seen, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            logits = m(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"].float()).logits[0, -1]
        said.append({"messages": chat, "ids": inputs["input_ids"][0].tolist(), "logits": [round(float(x), 5) for x in logits]})
    (out / "golden.json").write_text("[" + ",\n".join(json.dumps(s) for s in said) + "]\n")
    print(sum(f.stat().st_size for f in out.rglob("*")), "bytes;", [len(s["ids"]) for s in said], "tokens")


main()
