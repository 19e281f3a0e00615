"""The FLUX.1 transformer: shapes, and the names of both published layouts."""
from tensors import Tensor, linear

CONFIG = {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0", "patch_size": 1, "in_channels": 64,
          "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128, "num_attention_heads": 24,
          "joint_attention_dim": 4096, "pooled_projection_dim": 768, "guidance_embeds": True, "axes_dims_rope": [16, 56, 56]}


def config(double, single):
    return CONFIG | {"num_layers": double, "num_single_layers": single}


def diffusers(c):
    hd, d = c["attention_head_dim"], c["attention_head_dim"] * c["num_attention_heads"]
    yield from linear("x_embedder", d, c["in_channels"])
    yield from linear("context_embedder", d, c["joint_attention_dim"])
    for name, n_in in (("timestep", 256), ("guidance", 256), ("text", c["pooled_projection_dim"])):
        embedder = f"time_text_embed.{name}_embedder"
        yield from linear(f"{embedder}.linear_1", d, n_in)
        yield from linear(f"{embedder}.linear_2", d, d)
    for i in range(c["num_layers"]):
        b = f"transformer_blocks.{i}"
        yield from linear(f"{b}.norm1.linear", 6 * d, d)
        yield from linear(f"{b}.norm1_context.linear", 6 * d, d)
        for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
            yield from linear(f"{b}.attn.{name}", d, d)
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            yield Tensor(f"{b}.attn.{name}.weight", (hd,), "one")
        for name in ("ff", "ff_context"):
            yield from linear(f"{b}.{name}.net.0.proj", 4 * d, d)
            yield from linear(f"{b}.{name}.net.2", d, 4 * d)
    for i in range(c["num_single_layers"]):
        b = f"single_transformer_blocks.{i}"
        yield from linear(f"{b}.norm.linear", 3 * d, d)
        yield from linear(f"{b}.proj_mlp", 4 * d, d)
        yield from linear(f"{b}.proj_out", d, 5 * d)
        for name in ("to_q", "to_k", "to_v"):
            yield from linear(f"{b}.attn.{name}", d, d)
        for name in ("norm_q", "norm_k"):
            yield Tensor(f"{b}.attn.{name}.weight", (hd,), "one")
    yield from linear("norm_out.linear", 2 * d, d)
    yield from linear("proj_out", c["in_channels"], d)


def bfl(c):
    hd, d = c["attention_head_dim"], c["attention_head_dim"] * c["num_attention_heads"]
    yield from linear("img_in", d, c["in_channels"])
    yield from linear("txt_in", d, c["joint_attention_dim"])
    for name, n_in in (("time_in", 256), ("guidance_in", 256), ("vector_in", c["pooled_projection_dim"])):
        yield from linear(f"{name}.in_layer", d, n_in)
        yield from linear(f"{name}.out_layer", d, d)
    for i in range(c["num_layers"]):
        for side in ("img", "txt"):
            b = f"double_blocks.{i}.{side}"
            yield from linear(f"{b}_mod.lin", 6 * d, d)
            yield from linear(f"{b}_attn.qkv", 3 * d, d)
            yield from linear(f"{b}_attn.proj", d, d)
            for name in ("query_norm", "key_norm"):
                yield Tensor(f"{b}_attn.norm.{name}.scale", (hd,), "one")
            yield from linear(f"{b}_mlp.0", 4 * d, d)
            yield from linear(f"{b}_mlp.2", d, 4 * d)
    for i in range(c["num_single_layers"]):
        b = f"single_blocks.{i}"
        yield from linear(f"{b}.modulation.lin", 3 * d, d)
        yield from linear(f"{b}.linear1", 7 * d, d)
        yield from linear(f"{b}.linear2", d, 5 * d)
        for name in ("query_norm", "key_norm"):
            yield Tensor(f"{b}.norm.{name}.scale", (hd,), "one")
    yield from linear("final_layer.adaLN_modulation.1", 2 * d, d)
    yield from linear("final_layer.linear", c["in_channels"], d)
