#!/usr/bin/env python3
"""Tiny Llamas whose projections are kept as whole numbers or FP4, as the libraries write them, and one whose projections are of GGUF types that
the gguf package reads and does not write, with the logits that transformers computes from the values they stand for.

    python3 tools/reference/packed_golden.py tests/golden/lm [NAME...]

Needs what lm_golden.py needs, and the package compressed_tensors, which packs and unpacks its own formats here. GPTQ's and AWQ's layouts
are those of AutoGPTQ's pack() and AutoAWQ's: eight numbers of four bits in an int32, the first one lowest (AWQ: columns 0 2 4 6 1 3 5 7);
zero points of GPTQ's first format are those of GPTQModel's conversion.
"""
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
from lm_golden import N_IDS, add, build, permute, plain_mask
from safetensors.torch import save_file

CFG = dict(vocab_size=32, hidden_size=128, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
           head_dim=32, max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=False)
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def quantise(w, group, bits, symmetric, dtype):
    """w [out, in] -> (numbers 0 .. 2^bits - 1, scales and zero points [out, groups])"""
    out, n = w.shape
    g = w.reshape(out, n // group, group)
    top = 2**bits - 1
    if symmetric:
        scale = (g.abs().amax(-1) / (top // 2)).to(dtype).float()
        zero = torch.full_like(scale, 2 ** (bits - 1))
    else:
        lo, hi = g.amin(-1).clamp(max=0), g.amax(-1).clamp(min=0)
        scale = ((hi - lo) / top).to(dtype).float()
        zero = (-lo / scale).round().clamp(0, top)
    q = (g / scale[..., None] + zero[..., None]).round().clamp(0, top)
    return q.reshape(out, n).to(torch.int64), scale, zero.to(torch.int64)


def values(q, scale, zero, group_of):
    return (q - zero[:, group_of]) * scale[:, group_of]


def words(q, bits, order=None):
    """[rows, n] -> int32 [rows, n * bits / 32], the first lowest"""
    per = 32 // bits
    q = q.reshape(q.shape[0], -1, per)
    if order:
        q = q[:, :, order]
    v = sum(q[:, :, i] << bits * i for i in range(per))
    return torch.where(v >= 2**31, v - 2**32, v).to(torch.int32)


def words_of_3(q):
    """[rows, n] -> int32 [rows, n * 3 / 32]: ten numbers in a word, of the eleventh what fits, and its rest in the next, as AutoGPTQ packs them"""
    out = np.zeros((q.shape[0], q.shape[1] // 32 * 3), np.uint32)
    q = q.numpy().astype(np.uint32)
    for i in range(0, q.shape[1], 32):
        a, b, c = out[:, i // 32 * 3], out[:, i // 32 * 3 + 1], out[:, i // 32 * 3 + 2]
        for k in range(10):
            a |= q[:, i + k] << 3 * k
            b |= q[:, i + 11 + k] << 3 * k + 1
            c |= q[:, i + 22 + k] << 3 * k + 2
        a |= q[:, i + 10] << 30
        b |= q[:, i + 10] >> 2 & 1 | q[:, i + 21] << 31
        c |= q[:, i + 21] >> 1 & 3
    return torch.from_numpy(out.view(np.int32))


def gptq_zeros(zero, bits, v2):
    """[groups, out] -> words. The first format has one less, subtracted from the words (of 3 bits: from each number), so that zeros of 0 borrow."""
    if bits == 3:
        return words_of_3(zero if v2 else zero - 1 & 7)
    v = words(zero, bits)
    return v if v2 else (v.numpy().view(np.uint32) - np.uint32(0xFFFFFFFF // (2**bits - 1))).view(np.int32)


def gptq(name, w, group=64, bits=4, symmetric=False, v2=False, sort=False):
    n_in = w.shape[1]
    group = n_in if group < 0 else group
    if not symmetric and "k_proj" in name:
        w = w.clone()
        w[::5, :group] = w[::5, :group].abs()  # these groups have zero points of 0
    order = torch.randperm(n_in, generator=torch.Generator().manual_seed(5)) if sort else torch.arange(n_in)
    q, scale, zero = quantise(w[:, order], group, bits, symmetric, torch.float16)
    back = torch.empty_like(q)
    back[:, order] = q
    group_of = torch.empty(n_in, dtype=torch.int64)
    group_of[order] = torch.arange(n_in) // group
    pack = words_of_3 if bits == 3 else lambda q: words(q, bits)
    return {name + ".qweight": pack(back).T.contiguous(),
            name + ".qzeros": torch.as_tensor(gptq_zeros(zero.T.contiguous(), bits, v2)), name + ".scales": scale.T.contiguous().half(),
            name + ".g_idx": group_of.to(torch.int32)}, values(back, scale, zero, group_of)


def awq(name, w, group=128):
    q, scale, zero = quantise(w, group, 4, False, torch.float16)
    return {name + ".qweight": words(q.T.contiguous(), 4, AWQ_ORDER), name + ".qzeros": words(zero.T.contiguous(), 4, AWQ_ORDER),
            name + ".scales": scale.T.contiguous().half()}, values(q, scale, zero, torch.arange(w.shape[1]) // group)


def ct_args(bits, group, symmetric):
    return {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group" if group else "channel",
            **({"group_size": group} if group else {})}


def ct_scheme(args):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))


def ct_pack(name, w, bits=4, group=128, symmetric=True):
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor as C
    q, scale, zero = quantise(w, group or w.shape[1], bits, symmetric, torch.bfloat16)
    half = 2 ** (bits - 1)
    state = {"weight": values(q, scale, zero, torch.arange(w.shape[1]) // (group or w.shape[1])).float(), "weight_scale": scale.to(torch.bfloat16),
             "weight_zero_point": (zero - half).to(torch.int8)}
    scheme = ct_scheme(ct_args(bits, group, symmetric))
    packed = C.compress(state, scheme)
    back = C.decompress({**packed, "weight_scale": packed["weight_scale"].float()}, scheme)["weight"].float()
    assert torch.equal(back, state["weight"]), "the library reads something else"
    return {f"{name}.{k}": v for k, v in packed.items()}, back


def ct_int(name, w):
    scale = w.abs().amax(1, keepdim=True) / 127
    q = (w / scale).round().clamp(-127, 127)
    return {name + ".weight": q.to(torch.int8), name + ".weight_scale": scale}, q * scale


LEVELS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def fp4(w, scale):
    """codes [out, in] of w / scale, and pairs of them in bytes, the first low"""
    code = (w[..., None] / scale[..., None] - LEVELS).abs().argmin(-1)
    return code, (code[:, ::2] | code[:, 1::2] << 4).to(torch.uint8)


def nvfp4(name, w, divides=False):
    whole = w.abs().max() / (6 * 448)
    s = (w.reshape(w.shape[0], -1, 16).abs().amax(-1) / 6 / whole).to(torch.float8_e4m3fn)
    if divides:
        whole = 1 / (1 / whole)
    code, packed = fp4(w, (s.float() * whole).repeat_interleave(16, 1))
    back = LEVELS[code] * s.float().repeat_interleave(16, 1) * whole
    if divides:
        return {name + ".weight_packed": packed, name + ".weight_scale": s, name + ".weight_global_scale": (1 / whole).reshape(1)}, back
    return {name + ".weight": packed, name + ".weight_scale": s, name + ".weight_scale_2": whole,
            name + ".input_scale": torch.tensor(1.0)}, back


def mxfp4(name, w):
    e = (w.reshape(w.shape[0], -1, 32).abs().amax(-1) / 6).log2().ceil().clamp(-126, 127)
    code, packed = fp4(w, (2.0**e).repeat_interleave(32, 1))
    return {name + ".weight_packed": packed, name + ".weight_scale": (e + 127).to(torch.uint8)}, LEVELS[code] * (2.0**e).repeat_interleave(32, 1)


def ct(fmt, args, *ignore):
    return {"quant_method": "compressed-tensors", "format": fmt, "ignore": ["lm_head", *ignore],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": args}}}


# Its block lies in a file of its own, hf_quant_config.json.
MODELOPT = {"producer": {"name": "modelopt", "version": "0.33.0"},
            "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16, "exclude_modules": ["lm_head", "model.embed_tokens"]}}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": False}
CASES = {  # name: (how a matrix is packed, quantization_config)
    "packed_w4": (ct_pack, ct("pack-quantized", ct_args(4, 128, True), "re:.*self_attn\\.o_proj$")),
    "packed_w4_zeros_32": (lambda n, w: ct_pack(n, w, group=32, symmetric=False), ct("pack-quantized", ct_args(4, 32, False))),
    "packed_w8_channel": (lambda n, w: ct_pack(n, w, 8, 0), ct("pack-quantized", ct_args(8, 0, True))),
    "packed_int8": (ct_int, ct("int-quantized", ct_args(8, 0, True))),
    "packed_gptq": (gptq, {**GPTQ, "desc_act": False}),
    "packed_gptq_order": (lambda n, w: gptq(n, w, 32, sort=True, v2=True), {**GPTQ, "desc_act": True, "group_size": 32, "checkpoint_format": "gptq_v2"}),
    "packed_gptq_8": (lambda n, w: gptq(n, w, 32, 8, True), {**GPTQ, "bits": 8, "group_size": 32, "sym": True}),
    "packed_awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}),
    "packed_nvfp4": (nvfp4, MODELOPT),
    "packed_nvfp4_ct": (lambda n, w: nvfp4(n, w, True), ct("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16})),
    "packed_mxfp4_ct": (mxfp4, ct("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32})),
    "packed_gptq_row": (lambda n, w: gptq(n, w, -1, 4, False), {**GPTQ, "group_size": -1, "checkpoint_format": "gptq"}),
    "packed_gptq_3": (lambda n, w: gptq(n, w, 32, 3, sort=True), {**GPTQ, "bits": 3, "group_size": 32, "desc_act": True}),
    "packed_gptq_2": (lambda n, w: gptq(n, w, 64, 2, v2=True), {**GPTQ, "bits": 2, "checkpoint_format": "gptq_v2", "desc_act": False}),
    "packed_gptq_2_sym": (lambda n, w: gptq(n, w, 128, 2, True), {**GPTQ, "bits": 2, "group_size": 128, "sym": True, "desc_act": False}),
}


def write_golden(out, model, seed):
    ids = torch.randint(0, model.config.vocab_size, (1, N_IDS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(ids).logits[0].float()
        mask = plain_mask(model.config)
        model.config._attn_implementation = "kv16"
        kv16 = model(ids, attention_mask=mask).logits[0].float()
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous(), "logits_kv16": kv16.contiguous()}, out / "golden.safetensors")


def folder(root, name, pack, block, seed):
    model = build("llama", CFG, seed)
    stored = {}
    with torch.no_grad():
        for k, v in model.state_dict().items():
            if "_proj.weight" in k and not (name == "packed_w4" and "o_proj" in k):  # one is left as it is
                tensors, back = pack(k[: -len(".weight")], v)
                stored.update(tensors)
                v.copy_(back)
            else:
                stored[k] = v.half()
                v.copy_(stored[k].float())
    out = root / name
    out.mkdir(parents=True, exist_ok=True)
    write_golden(out, model, seed)
    save_file({k: v.contiguous() for k, v in stored.items()}, out / "model.safetensors")
    config = {"model_type": "llama", **CFG, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "hidden_act": "silu"}
    if block is MODELOPT:
        (out / "hf_quant_config.json").write_text(json.dumps(block, indent=1) + "\n")
    else:
        config["quantization_config"] = block
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes")


TYPES = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "IQ2_XXS", "IQ3_XXS", "IQ1_M"]
GGUF = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def random_blocks(kind, n_out, n_in, rng):
    """Blocks of any codes whose values have about the variance of a layer's."""
    elems, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    b = rng.integers(0, 256, (n_out * n_in // elems, size), dtype=np.uint8)
    at = {"TQ1_0": 52, "TQ2_0": 64}.get(kind, 0)
    goal = {"TQ1_0": 0.08, "TQ2_0": 0.06, "IQ1_S": 0.009, "IQ1_M": 0.009, "IQ2_XXS": 0.0012, "IQ2_XS": 0.0012, "IQ2_S": 0.0012,
            "IQ3_XXS": 0.0005, "IQ3_S": 0.0005}.get(kind)
    if kind == "MXFP4":
        b[:, 0] = rng.integers(119, 122, len(b))
    elif kind == "NVFP4":
        b[:, :4] = rng.integers(0x08, 0x18, (len(b), 4))
    else:
        half = (goal * rng.uniform(0.7, 1.3, len(b))).astype(np.float16).view(np.uint16)
        if kind == "IQ1_M":
            for i in range(4):
                b[:, 49 + 2 * i] = b[:, 49 + 2 * i] & 15 | (half >> 4 * i & 15).astype(np.uint8) << 4
        else:
            b[:, at : at + 2] = half.view(np.uint8).reshape(-1, 2)
    return b.reshape(n_out, -1)


def types(root, name, seed):
    cfg = {**CFG, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2}
    model = build("llama", cfg, seed)
    rng = np.random.default_rng(seed)
    out = root / name
    out.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(str(out / "model.gguf"), "llama")
    c = model.config
    for key, v in (("block_count", 2), ("context_length", 256), ("embedding_length", 256), ("feed_forward_length", c.intermediate_size),
                   ("head_count", 4), ("head_count_kv", 2), ("key_length", 32), ("value_length", 32), ("rope_dimension_count", 32),
                   ("rope_freq_base", 10000.0)):
        getattr(w, "add_" + key)(v)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    kinds = iter(TYPES)
    with torch.no_grad():
        for k, v in model.state_dict().items():
            if not k.startswith("model.layers."):
                to = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[k]
                add(w, to, v.numpy(), None if v.dim() == 1 else gguf.GGMLQuantizationType.F16)
                v.copy_(v.half().float())
                continue
            il, rest = k.split(".")[2], ".".join(k.split(".")[3:-1])
            if rest not in GGUF:
                add(w, f"blk.{il}.{'attn_norm' if 'input' in rest else 'ffn_norm'}.weight", v.numpy(), None)
                continue
            n_out, n_in = v.shape
            if rest == "self_attn.o_proj":  # rows of 128 are no whole blocks of most types
                kind = "MXFP4"
            else:
                kind = next(kinds)
            b = random_blocks(kind, n_out, n_in, rng)
            t = gguf.GGMLQuantizationType[kind]
            w.add_tensor(f"blk.{il}.{GGUF[rest]}.weight", b, raw_dtype=t)
            a = gguf.quants.dequantize(b, t).astype(np.float32)
            if "q_proj" in rest or "k_proj" in rest:  # rows of a file stand in pairs
                heads = c.num_attention_heads if "q_proj" in rest else c.num_key_value_heads
                a = a.reshape(heads, 16, 2, n_in).swapaxes(1, 2).reshape(n_out, n_in)
                assert np.array_equal(permute(a, heads), gguf.quants.dequantize(b, t))
            print(name, il, rest, kind, "std %.4f" % a.std())
            if kind == "NVFP4":  # llama.cpp keeps the number for the matrix beside it
                w.add_tensor(f"blk.{il}.{GGUF[rest]}.scale", np.array([0.7], np.float32))
                a = a * np.float32(0.7)
            v.copy_(torch.from_numpy(a))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    write_golden(out, model, seed)
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes")


def gpt_oss(root, name, seed):
    """Experts in MXFP4 as OpenAI publishes them; transformers' own function says what they stand for."""
    from families_golden import masks
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    yarn = dict(rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False, original_max_position_embeddings=32, rope_theta=150000.0)
    cfg = dict(vocab_size=32, hidden_size=64, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
               num_local_experts=6, num_experts_per_tok=2, sliding_window=20, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False,
               pad_token_id=None, rope_parameters=yarn)
    model = build("gpt_oss", cfg, seed)
    stored = {}
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for k, v in model.state_dict().items():
            if k.endswith(("experts.gate_up_proj", "experts.down_proj")):
                n_expert, n_in, n_out = v.shape
                blocks = torch.randint(0, 256, (n_expert, n_out, n_in // 32, 16), generator=rng, dtype=torch.uint8)
                scales = torch.randint(121, 125, (n_expert, n_out, n_in // 32), generator=rng, dtype=torch.uint8)
                stored[k + "_blocks"], stored[k + "_scales"] = blocks, scales
                v.copy_(convert_moe_packed_tensors(blocks, scales, dtype=torch.float32))
            else:
                stored[k] = v.half()
                v.copy_(stored[k].float())
    out = root / name
    out.mkdir(parents=True, exist_ok=True)
    ids = torch.randint(0, 32, (1, N_IDS), generator=rng)
    with torch.no_grad():
        logits = model(ids).logits[0].float()
        model.config._attn_implementation = "kv16_sinks"
        kv16 = model(ids, attention_mask=masks(model.config)).logits[0].float()
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous(), "logits_kv16": kv16.contiguous()}, out / "golden.safetensors")
    save_file({k: v.contiguous() for k, v in stored.items()}, out / "model.safetensors")
    block = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
    (out / "config.json").write_text(json.dumps({"model_type": "gpt_oss", **cfg, "quantization_config": block}, indent=1) + "\n")
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes, std %.2f" % logits.std())


def main():
    root = pathlib.Path(sys.argv[1])
    for i, (name, (pack, block)) in enumerate(CASES.items()):
        if not sys.argv[2:] or name in sys.argv[2:]:
            folder(root, name, pack, block, 40 + i)
    if not sys.argv[2:] or "gguf_types" in sys.argv[2:]:
        types(root, "gguf_types", 60)
    if not sys.argv[2:] or "packed_gpt_oss" in sys.argv[2:]:
        gpt_oss(root, "packed_gpt_oss", 61)


main()
