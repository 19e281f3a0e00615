"""The SDXL UNet: shapes under their diffusers names, and the renaming to a single checkpoint's."""
import re

from tensors import conv, linear, norm

CONFIG = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30.0", "in_channels": 4, "out_channels": 4,
          "sample_size": 128, "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
          "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
          "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
          "mid_block_type": "UNetMidBlock2DCrossAttn", "transformer_layers_per_block": [1, 2, 10],
          "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048, "addition_embed_type": "text_time",
          "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816, "use_linear_projection": True,
          "norm_num_groups": 32, "norm_eps": 1e-5, "act_fn": "silu", "flip_sin_to_cos": True, "freq_shift": 0,
          "downsample_padding": 1, "center_input_sample": False, "upcast_attention": None}


def resnet(name, n_in, n_out, n_time):
    yield from norm(f"{name}.norm1", n_in)
    yield from conv(f"{name}.conv1", n_out, n_in)
    yield from linear(f"{name}.time_emb_proj", n_out, n_time)
    yield from norm(f"{name}.norm2", n_out)
    yield from conv(f"{name}.conv2", n_out, n_out)
    if n_in != n_out:
        yield from conv(f"{name}.conv_shortcut", n_out, n_in, 1)


def transformer(name, d, depth, n_context):
    yield from norm(f"{name}.norm", d)
    yield from linear(f"{name}.proj_in", d, d)
    for i in range(depth):
        b = f"{name}.transformer_blocks.{i}"
        for k, width in ((1, d), (2, n_context)):
            yield from norm(f"{b}.norm{k}", d)
            for part, n_in in (("to_q", d), ("to_k", width), ("to_v", width)):
                yield from linear(f"{b}.attn{k}.{part}", d, n_in, bias=False)
            yield from linear(f"{b}.attn{k}.to_out.0", d, d)
        yield from norm(f"{b}.norm3", d)
        yield from linear(f"{b}.ff.net.0.proj", 8 * d, d)
        yield from linear(f"{b}.ff.net.2", d, 4 * d)
    yield from linear(f"{name}.proj_out", d, d)


def diffusers(c=CONFIG):
    widths, n_res, n_context = c["block_out_channels"], c["layers_per_block"], c["cross_attention_dim"]
    depth = [n if "CrossAttn" in kind else 0 for n, kind in zip(c["transformer_layers_per_block"], c["down_block_types"])]
    n_time, last = 4 * widths[0], len(widths) - 1
    yield from linear("time_embedding.linear_1", n_time, widths[0])
    yield from linear("time_embedding.linear_2", n_time, n_time)
    yield from linear("add_embedding.linear_1", n_time, c["projection_class_embeddings_input_dim"])
    yield from linear("add_embedding.linear_2", n_time, n_time)
    yield from conv("conv_in", widths[0], c["in_channels"])
    skips, at = [widths[0]], widths[0]
    for i, d in enumerate(widths):
        for j in range(n_res):
            yield from resnet(f"down_blocks.{i}.resnets.{j}", at, d, n_time)
            if depth[i]:
                yield from transformer(f"down_blocks.{i}.attentions.{j}", d, depth[i], n_context)
            at = d
            skips.append(d)
        if i < last:
            yield from conv(f"down_blocks.{i}.downsamplers.0.conv", d, d)
            skips.append(d)
    yield from resnet("mid_block.resnets.0", at, at, n_time)
    yield from transformer("mid_block.attentions.0", at, depth[last], n_context)
    yield from resnet("mid_block.resnets.1", at, at, n_time)
    for i, d in enumerate(reversed(widths)):
        for j in range(n_res + 1):
            yield from resnet(f"up_blocks.{i}.resnets.{j}", at + skips.pop(), d, n_time)
            if depth[last - i]:
                yield from transformer(f"up_blocks.{i}.attentions.{j}", d, depth[last - i], n_context)
            at = d
        if i < last:
            yield from conv(f"up_blocks.{i}.upsamplers.0.conv", d, d)
    yield from norm("conv_norm_out", widths[0])
    yield from conv("conv_out", c["out_channels"], widths[0])


OUTER = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
         "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0",
         "conv_out": "out.2"}
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}


def ldm_name(name, c=CONFIG):
    """A diffusers name as the original checkpoint has it, without model.diffusion_model."""
    module, leaf = name.rsplit(".", 1)
    if module in OUTER:
        return f"{OUTER[module]}.{leaf}"
    side, rest = re.match(r"(down|mid|up)_blocks?\.(.*)", name).groups()
    per = c["layers_per_block"] + (side in ("down", "up"))
    if side == "mid":
        kind, j, rest = re.match(r"(resnets|attentions)\.(\d+)\.(.*)", rest).groups()
        place = f"middle_block.{2 * int(j) if kind == 'resnets' else 1}"
    else:
        i, kind, j, rest = re.match(r"(\d+)\.(\w+)\.(\d+)\.(.*)", rest).groups()
        i, j = int(i), int(j)
        if kind == "downsamplers":
            return f"input_blocks.{(i + 1) * per}.0.op.{leaf}"
        if kind == "upsamplers":
            return f"output_blocks.{i * per + per - 1}.{2 if 'CrossAttn' in c['up_block_types'][i] else 1}.conv.{leaf}"
        first = f"input_blocks.{i * per + 1 + j}" if side == "down" else f"output_blocks.{i * per + j}"
        place = f"{first}.{0 if kind == 'resnets' else 1}"
    if kind == "resnets":
        module, leaf = rest.rsplit(".", 1)
        return f"{place}.{RESNET[module]}.{leaf}"
    return f"{place}.{rest}"
