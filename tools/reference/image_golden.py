#!/usr/bin/env python3
"""Makes the tiny image networks under tests/golden/image and what the reference implementations compute from them.

    pip install torch diffusers transformers safetensors numpy
    tools/reference/image_golden.py [OUT]

Each folder holds a random-weight network in its published file format (config.json and safetensors), twins of it in other
layouts or types, and golden.safetensors: fixed inputs and the outputs of diffusers or transformers in float32 on the CPU.
Norm weights lie around 1 and everything else around 0, wide enough that a mistake shows.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/image")


def randomise(model, seed, std=0.15):
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=gen)
            norm = p.ndim == 1 and name.endswith("weight")
            p.copy_(1 + 0.2 * noise if norm else std * noise)
    return model.eval()


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def folder(name):
    path = OUT / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(path, tensors):
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, str(path))


def save_model(path, model, dtype=None):
    state = {k: (v.to(dtype) if dtype and v.is_floating_point() else v) for k, v in model.state_dict().items()}
    save(path / ("model.safetensors" if dtype is None else f"model.{str(dtype).split('.')[1]}.safetensors"), state)


def rounded(model, dtype):
    """The same network with its weights rounded to dtype, still computing in float32."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(dtype).float())
    return model


# ---- CLIP -----------------------------------------------------------------------------------------------------------


def clip():
    for name, act, cls in (("clip_l", "quick_gelu", CLIPTextModel), ("clip_g", "gelu", CLIPTextModelWithProjection)):
        path = folder(name)
        config = CLIPTextConfig(vocab_size=99, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
                                intermediate_size=48, max_position_embeddings=20, projection_dim=24, hidden_act=act,
                                bos_token_id=97, eos_token_id=98, pad_token_id=98 if name == "clip_l" else 0)
        model = randomise(cls(config), 11)
        ids = torch.tensor([[97, 5, 40, 3, 77, 12, 98] + [98 if name == "clip_l" else 0] * 13])
        with torch.no_grad():
            out = model(ids, output_hidden_states=True)
        (path / "config.json").write_text(json.dumps({**config.to_dict(), "architectures": [cls.__name__]}, indent=1))
        save_model(path, model)
        golden = {"ids": ids[0].int(), "penultimate": out.hidden_states[-2][0], "skip2": out.hidden_states[-3][0],
                  "last": out.last_hidden_state[0],
                  "pooled": out.pooler_output[0] if name == "clip_l" else out.text_embeds[0]}
        save(path / "golden.safetensors", golden)
        if name == "clip_g":  # OpenCLIP's layout: fused q, k, v and a transposed projection
            s = model.state_dict()
            base = "text_model." if any(k.startswith("text_model.") for k in s) else ""
            p = "conditioner.embedders.1.model."
            twin = {p + "token_embedding.weight": s[base + "embeddings.token_embedding.weight"],
                    p + "positional_embedding": s[base + "embeddings.position_embedding.weight"],
                    p + "ln_final.weight": s[base + "final_layer_norm.weight"],
                    p + "ln_final.bias": s[base + "final_layer_norm.bias"],
                    p + "text_projection": s["text_projection.weight"].T.contiguous()}
            for i in range(3):
                a, b = f"{base}encoder.layers.{i}.", f"{p}transformer.resblocks.{i}."
                for leaf in ("weight", "bias"):
                    twin[b + f"attn.in_proj_{leaf}"] = torch.cat(
                        [s[a + f"self_attn.{x}_proj.{leaf}"] for x in "qkv"])
                    for x, y in (("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("self_attn.out_proj", "attn.out_proj"),
                                 ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
                        twin[b + f"{y}.{leaf}"] = s[a + f"{x}.{leaf}"]
            save(path / "openclip.safetensors", twin)


# ---- T5 -------------------------------------------------------------------------------------------------------------


def t5():
    path = folder("t5")
    config = T5Config(vocab_size=60, d_model=20, d_kv=8, d_ff=36, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu",
                      relative_attention_num_buckets=32, relative_attention_max_distance=128, tie_word_embeddings=False)
    model = randomise(T5EncoderModel(config), 12, 0.25)
    ids = torch.randint(3, 60, (1, 150), generator=torch.Generator().manual_seed(5))
    ids[0, 100] = 1
    ids[0, 101:] = 0
    with torch.no_grad():
        out = model(ids).last_hidden_state[0]
    (path / "config.json").write_text(json.dumps(config.to_dict(), indent=1))
    state = {k: v for k, v in model.state_dict().items() if k != "encoder.embed_tokens.weight"}
    save(path / "model.safetensors", state)
    save(path / "golden.safetensors", {"ids": ids[0].int(), "hidden": out})


# ---- FLUX -----------------------------------------------------------------------------------------------------------


def to_bfl(s, n_double, n_single):
    """Diffusers names to BFL's, with fused q, k, v and the last modulation's halves swapped."""
    out = {}
    outer = {"x_embedder": "img_in", "context_embedder": "txt_in", "proj_out": "final_layer.linear",
             "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
             "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
             "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
             "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
             "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
             "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer"}
    for leaf in ("weight", "bias"):
        for a, b in outer.items():
            if f"{a}.{leaf}" in s:
                out[f"{b}.{leaf}"] = s[f"{a}.{leaf}"]
        out[f"final_layer.adaLN_modulation.1.{leaf}"] = s[f"norm_out.linear.{leaf}"].roll(
            s[f"norm_out.linear.{leaf}"].shape[0] // 2, 0)
        for i in range(n_double):
            a, b = f"transformer_blocks.{i}.", f"double_blocks.{i}."
            for x, y in (("norm1.linear", "img_mod.lin"), ("norm1_context.linear", "txt_mod.lin"),
                         ("attn.to_out.0", "img_attn.proj"), ("attn.to_add_out", "txt_attn.proj"),
                         ("ff.net.0.proj", "img_mlp.0"), ("ff.net.2", "img_mlp.2"),
                         ("ff_context.net.0.proj", "txt_mlp.0"), ("ff_context.net.2", "txt_mlp.2")):
                out[f"{b}{y}.{leaf}"] = s[f"{a}{x}.{leaf}"]
            out[f"{b}img_attn.qkv.{leaf}"] = torch.cat([s[f"{a}attn.to_{x}.{leaf}"] for x in "qkv"])
            out[f"{b}txt_attn.qkv.{leaf}"] = torch.cat([s[f"{a}attn.add_{x}_proj.{leaf}"] for x in "qkv"])
        for i in range(n_single):
            a, b = f"single_transformer_blocks.{i}.", f"single_blocks.{i}."
            out[f"{b}modulation.lin.{leaf}"] = s[f"{a}norm.linear.{leaf}"]
            out[f"{b}linear1.{leaf}"] = torch.cat(
                [s[f"{a}attn.to_{x}.{leaf}"] for x in "qkv"] + [s[f"{a}proj_mlp.{leaf}"]])
            out[f"{b}linear2.{leaf}"] = s[f"{a}proj_out.{leaf}"]
    for i in range(n_double):
        a, b = f"transformer_blocks.{i}.attn.", f"double_blocks.{i}."
        for x, y in (("norm_q", "img_attn.norm.query_norm"), ("norm_k", "img_attn.norm.key_norm"),
                     ("norm_added_q", "txt_attn.norm.query_norm"), ("norm_added_k", "txt_attn.norm.key_norm")):
            out[f"{b}{y}.scale"] = s[f"{a}{x}.weight"]
    for i in range(n_single):
        a, b = f"single_transformer_blocks.{i}.attn.", f"single_blocks.{i}.norm."
        out[f"{b}query_norm.scale"] = s[f"{a}norm_q.weight"]
        out[f"{b}key_norm.scale"] = s[f"{a}norm_k.weight"]
    return out


def flux_inputs():
    grid_h, grid_w, n_text = 3, 5, 7
    ids = torch.zeros(grid_h, grid_w, 3)
    ids[..., 1] += torch.arange(grid_h)[:, None]
    ids[..., 2] += torch.arange(grid_w)[None, :]
    return {"hidden_states": randn(1, 1, 15, 16), "encoder_hidden_states": randn(2, 1, n_text, 32),
            "pooled_projections": randn(3, 1, 24), "img_ids": ids.reshape(15, 3), "txt_ids": torch.zeros(n_text, 3)}


def flux_run(model, guidance):
    with torch.no_grad():
        return model(**flux_inputs(), timestep=torch.tensor([0.73]), guidance=torch.tensor([3.5]) if guidance else None,
                     return_dict=False)[0][0]


def flux():
    for name, guidance in (("flux_dev", True), ("flux_schnell", False)):
        path = folder(name)
        config = dict(patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=8,
                      num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=24, guidance_embeds=guidance,
                      axes_dims_rope=[2, 2, 4])
        model = randomise(FluxTransformer2DModel(**config), 13)
        (path / "config.json").write_text(json.dumps({"_class_name": "FluxTransformer2DModel", **config}, indent=1))
        save_model(path, model)
        i = flux_inputs()
        golden = {"x": i["hidden_states"][0], "context": i["encoder_hidden_states"][0], "pooled": i["pooled_projections"][0],
                  "velocity": flux_run(model, guidance)}
        if guidance:
            save(path / "bfl.safetensors", to_bfl(model.state_dict(), 2, 2))
            # e4m3 with one scale a tensor in the community's "scaled fp8" form: value = fp8 * scale_weight
            scaled, plain_state = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}, model.state_dict()
            for k, v in to_bfl(plain_state, 2, 2).items():
                if v.ndim == 2:
                    scale = v.abs().max() / 448
                    scaled[k] = (v / scale).to(torch.float8_e4m3fn)
                    scaled[k[: -len("weight")] + "scale_weight"] = scale.float()
                else:
                    scaled[k] = v
            save(path / "bfl_fp8_scaled.safetensors", scaled)
            save(path / "bfl_fp8.safetensors",
                 {k: v.to(torch.float8_e4m3fn) if v.ndim == 2 else v.to(torch.bfloat16)
                  for k, v in to_bfl(plain_state, 2, 2).items()})
            half = FluxTransformer2DModel(**config)
            half.load_state_dict(plain_state)
            save_model(path, rounded(half, torch.bfloat16), torch.bfloat16)
            golden["velocity_bf16"] = flux_run(half.eval(), guidance)
            # What the fp8 twins mean: their matrices rounded, the rest as it is (bf16 in the plain form).
            for kind in ("scaled", "plain"):
                state = {k: v.clone() for k, v in plain_state.items()}
                for k, v in state.items():
                    if v.ndim == 2 and kind == "plain":
                        state[k] = v.to(torch.float8_e4m3fn).float()
                    elif kind == "plain":
                        state[k] = v.to(torch.bfloat16).float()
                if kind == "scaled":
                    fused = {k: v for k, v in scaled.items() if v.dtype == torch.float8_e4m3fn and k != "scaled_fp8"}
                    deq = {k: v.float() * scaled[k[: -len("weight")] + "scale_weight"] for k, v in fused.items()}
                    state = from_bfl(deq, state, 2, 2)
                half.load_state_dict(state)
                golden[f"velocity_fp8_{kind}"] = flux_run(half, guidance)
        save(path / "golden.safetensors", golden)


def from_bfl(deq, state, n_double, n_single):
    """Puts the dequantised BFL matrices back under their diffusers names."""
    # Send element numbers through the same renaming, so that the way back needs no second table.
    numbered, offset, where = {}, 0, {}
    for k, v in state.items():
        numbered[k] = (torch.arange(v.numel(), dtype=torch.float64) + offset).reshape(v.shape)
        where[k] = (offset, v.shape)
        offset += v.numel()
    flat = torch.cat([v.reshape(-1).double() for v in state.values()])
    for k, idx in to_bfl(numbered, n_double, n_single).items():
        if k in deq:
            flat[idx.reshape(-1).long()] = deq[k].reshape(-1).double()
    return {k: flat[o : o + shape.numel()].reshape(shape).float() for k, (o, shape) in where.items()}


# ---- VAE ------------------------------------------------------------------------------------------------------------


def to_ldm(s, levels):
    out = {}
    for k, v in s.items():
        k = k.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        for a, b in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            if f"mid_block.attentions.0.{a}." in k:
                k = k.replace(f"mid_block.attentions.0.{a}.", f"mid.attn_1.{b}.")
                v = v[:, :, None, None] if v.ndim == 2 else v
        part = k.split(".")
        if part[1] == "down_blocks":
            part[1:2] = ["down"]
        elif part[1] == "up_blocks":
            part[1:2] = ["up"]
            part[2] = str(levels - 1 - int(part[2]))
        k = ".".join(part)
        k = (k.replace(".resnets.", ".block.").replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
             .replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out"))
        out[k] = v
    return out


def vae():
    for name, z, quant in (("vae_sdxl", 4, True), ("vae_flux", 16, False), ("vae_f16", 4, True)):
        path = folder(name)
        config = dict(block_out_channels=[8, 16], latent_channels=z, norm_num_groups=4, layers_per_block=1,
                      down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
                      scaling_factor=0.13025 if quant else 0.3611, use_quant_conv=quant, use_post_quant_conv=quant,
                      shift_factor=None if quant else 0.1159)
        model = randomise(AutoencoderKL(**config), 14)
        half = name == "vae_f16"  # stored so; the reference computes in f32 on what is stored
        if half:
            model = model.half().float()
        (path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **config}, indent=1))
        state = {k: v.half() if half else v for k, v in model.state_dict().items()}
        save(path / "model.safetensors", state)
        save(path / "ldm.safetensors", to_ldm(state, 2))
        latent, image = randn(4, 1, z, 12, 20), randn(6, 1, 3, 24, 40).clamp(-1, 1)
        scale, shift = config["scaling_factor"], config["shift_factor"] or 0.0
        with torch.no_grad():
            decoded = model.decode(latent / scale + shift, return_dict=False)[0][0]
            posterior = model.encode(image).latent_dist
        save(path / "golden.safetensors",
             {"latent": latent[0], "decoded": decoded.permute(1, 2, 0), "image": image[0].permute(1, 2, 0),
              "mean": ((posterior.mean - shift) * scale)[0], "noise": randn(7, z, 12, 20),
              "sample": ((posterior.mean + posterior.std * randn(7, 1, z, 12, 20) - shift) * scale)[0]})


# ---- UNet -----------------------------------------------------------------------------------------------------------


def unet_to_ldm(s, n_res):
    """Diffusers names to those of an LDM checkpoint, without its model.diffusion_model. prefix."""
    leaf = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
            "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    outer = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
             "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
             "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    out = {}
    for k, v in s.items():
        part = k.split(".")
        if ".".join(part[:-1]) in outer:
            out[outer[".".join(part[:-1])] + "." + part[-1]] = v
            continue
        kind = part[2] if part[0] != "mid_block" else part[1]
        rest = part[4:] if part[0] != "mid_block" else part[3:]
        if kind == "resnets":
            rest = leaf[rest[0]].split(".") + rest[1:]
        if part[0] == "mid_block":
            base = f"middle_block.{2 * int(part[2]) if kind == 'resnets' else 1}"
        elif part[0] == "down_blocks":
            b, j = int(part[1]), int(part[3])
            base = (f"input_blocks.{b * (n_res + 1) + 1 + j}.{0 if kind == 'resnets' else 1}" if kind != "downsamplers"
                    else f"input_blocks.{(b + 1) * (n_res + 1)}.0")
            if kind == "downsamplers":
                rest = ["op"] + rest[1:]
        else:
            b, j = int(part[1]), int(part[3])
            attention = any(x.startswith(f"up_blocks.{b}.attentions.{n_res}.") for x in s)
            base = (f"output_blocks.{b * (n_res + 1) + j}.{0 if kind == 'resnets' else 1}" if kind != "upsamplers"
                    else f"output_blocks.{b * (n_res + 1) + n_res}.{2 if attention else 1}")
        out[".".join([base] + rest)] = v
    return out


UNETS = {
    "unet_sdxl": dict(transformer_layers_per_block=[1, 2], mid_block_type="UNetMidBlock2DCrossAttn"),
    "unet_ssd": dict(transformer_layers_per_block=[[1, 1], [1, 2]], mid_block_type="UNetMidBlock2D",
                     reverse_transformer_layers_per_block=[[1, 1, 2], 1]),
}


def unet_config(extra):
    return dict(sample_size=8, in_channels=4, out_channels=4, block_out_channels=[4, 8], layers_per_block=2,
                down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
                up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"], attention_head_dim=[1, 2], cross_attention_dim=12,
                norm_num_groups=2, addition_embed_type="text_time", addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 10, use_linear_projection=True, **extra)


def unet():
    for name, extra in UNETS.items():
        path = folder(name)
        config = unet_config(extra)
        model = randomise(UNet2DConditionModel(**config), 15)
        (path / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel", **config}, indent=1))
        state = model.state_dict()
        save(path / "model.safetensors", {k: v.half() for k, v in state.items()})
        save(path / "ldm.safetensors", {k: v.half() for k, v in unet_to_ldm(state, 2).items()})
        # The files are half precision (small, and the published type); the reference computes with the same values in f32.
        model.load_state_dict({k: v.half().float() for k, v in state.items()})
        x, context, pooled = randn(8, 1, 4, 6, 10), randn(9, 1, 5, 12), randn(10, 1, 10)
        ids = torch.tensor([[48.0, 80.0, 0.0, 4.0, 48.0, 80.0]])
        with torch.no_grad():
            y = model(x, 613.0, encoder_hidden_states=context,
                      added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}, return_dict=False)[0]
        save(path / "golden.safetensors", {"x": x[0].permute(1, 2, 0), "context": context[0], "pooled": pooled[0],
                                           "time_ids": ids[0], "out": y[0].permute(1, 2, 0)})
        if name == "unet_sdxl":
            save(path / "model.float32.safetensors", {k: v.half().float() for k, v in state.items()})


# ---- adapters -------------------------------------------------------------------------------------------------------


def low_rank(seed, n_out, n_in, rank):
    return 0.3 * randn(seed, rank, n_in), 0.3 * randn(seed + 1, n_out, rank)


def lora():
    """Adapters in their file forms, and what the networks compute with them merged into the weights."""
    path, weight = folder("lora"), 0.8
    config = json.loads((OUT / "flux_dev" / "config.json").read_text())
    model = FluxTransformer2DModel(**{k: v for k, v in config.items() if not k.startswith("_")})
    base = {k: v.clone() for k, v in randomise(model, 13).state_dict().items()}
    golden = {}

    # PEFT with diffusers' names: alpha is the rank when the file does not say otherwise.
    peft, merged = {}, {k: v.clone() for k, v in base.items()}
    for i, name in enumerate(("transformer_blocks.0.attn.to_q", "transformer_blocks.1.ff.net.0.proj",
                              "transformer_blocks.1.attn.add_v_proj", "single_transformer_blocks.0.proj_mlp",
                              "single_transformer_blocks.1.proj_out", "norm_out.linear", "x_embedder")):
        n_out, n_in = base[f"{name}.weight"].shape
        a, b = low_rank(100 + 2 * i, n_out, n_in, 2)
        peft[f"transformer.{name}.lora_A.weight"], peft[f"transformer.{name}.lora_B.weight"] = a, b
        merged[f"{name}.weight"] += weight * b @ a
    save(path / "flux_peft.safetensors", peft)
    model.load_state_dict(merged)
    golden["flux_peft"] = flux_run(model.eval(), True)

    # kohya with BFL's fused names and an alpha of its own.
    bfl = to_bfl(base, 2, 2)
    kohya, fused = {}, {}
    for i, name in enumerate(("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_mlp.2", "single_blocks.1.linear1",
                              "final_layer.adaLN_modulation.1")):
        n_out, n_in = bfl[f"{name}.weight"].shape
        a, b = low_rank(200 + 2 * i, n_out, n_in, 3)
        flat = "lora_unet_" + name.replace(".", "_")
        kohya[f"{flat}.lora_down.weight"], kohya[f"{flat}.lora_up.weight"] = a, b
        kohya[f"{flat}.alpha"] = torch.tensor(1.5)
        fused[f"{name}.weight"] = bfl[f"{name}.weight"] + weight * (1.5 / 3) * b @ a
    save(path / "flux_kohya.safetensors", kohya)
    model.load_state_dict(from_bfl(fused, base, 2, 2))
    golden["flux_kohya"] = flux_run(model, True)
    for k, v in from_bfl(fused, base, 2, 2).items():
        merged[k] += v - base[k]
    model.load_state_dict(merged)
    golden["flux_both"] = flux_run(model, True)
    save(path / "golden.safetensors", golden)
    save(path / "flux_dora.safetensors", {**kohya, "lora_unet_double_blocks_0_img_attn_qkv.dora_scale": torch.ones(48, 1)})

    # SDXL: the same adapter in LDM and in diffusers names; and with one module more that no network of ours has.
    ldm, diff = {}, {}
    for i, (sgm, name, n_out, n_in) in enumerate((("input_blocks_4_1_transformer_blocks_0_attn1_to_q",
                                                   "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", 8, 8),
                                                  ("output_blocks_1_1_transformer_blocks_0_attn2_to_k",
                                                   "up_blocks_0_attentions_1_transformer_blocks_0_attn2_to_k", 8, 12))):
        a, b = low_rank(300 + 2 * i, n_out, n_in, 2)
        for flat, out in ((sgm, ldm), (name, diff)):
            out[f"lora_unet_{flat}.lora_down.weight"], out[f"lora_unet_{flat}.lora_up.weight"] = a, b
            out[f"lora_unet_{flat}.alpha"] = torch.tensor(2.0)
    save(path / "sdxl_ldm.safetensors", ldm)
    save(path / "sdxl_diffusers.safetensors", diff)
    ldm["lora_unet_input_blocks_9_1_proj_in.lora_down.weight"] = randn(1, 2, 8)
    ldm["lora_unet_input_blocks_9_1_proj_in.lora_up.weight"] = randn(1, 8, 2)
    save(path / "sdxl_foreign.safetensors", ldm)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for make in (clip, t5, flux, vae, unet, lora):
        make()
