"""The LDM autoencoder of FLUX and SDXL: shapes and names in both layouts."""
from tensors import conv, linear, norm

COMMON = {"_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0", "in_channels": 3, "out_channels": 3,
          "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32, "act_fn": "silu",
          "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
          "sample_size": 1024, "force_upcast": False, "mid_block_add_attention": True}
FLUX = COMMON | {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False,
                 "use_post_quant_conv": False}
SDXL = COMMON | {"latent_channels": 4, "scaling_factor": 0.13025, "use_quant_conv": True, "use_post_quant_conv": True}


def resnet(name, n_in, n_out, original):
    yield from norm(f"{name}.norm1", n_in)
    yield from conv(f"{name}.conv1", n_out, n_in)
    yield from norm(f"{name}.norm2", n_out)
    yield from conv(f"{name}.conv2", n_out, n_out)
    if n_in != n_out:
        yield from conv(f"{name}.{'nin_shortcut' if original else 'conv_shortcut'}", n_out, n_in, 1)


def middle(half, d, original):
    for i in range(2):
        yield from resnet(f"{half}.mid.block_{i + 1}" if original else f"{half}.mid_block.resnets.{i}", d, d, original)
    if original:
        yield from norm(f"{half}.mid.attn_1.norm", d)
        for name in ("q", "k", "v", "proj_out"):
            yield from conv(f"{half}.mid.attn_1.{name}", d, d, 1)
    else:
        a = f"{half}.mid_block.attentions.0"
        yield from norm(f"{a}.group_norm", d)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from linear(f"{a}.{name}", d, d)


def tensors(c, original=False):
    """original: the names of ae.safetensors and of single checkpoints."""
    widths, n_res, z = c["block_out_channels"], c["layers_per_block"], c["latent_channels"]
    last = len(widths) - 1
    yield from conv("encoder.conv_in", widths[0], c["in_channels"])
    at = widths[0]
    for i, d in enumerate(widths):
        b = f"encoder.down.{i}" if original else f"encoder.down_blocks.{i}"
        for j in range(n_res):
            yield from resnet(f"{b}.{'block' if original else 'resnets'}.{j}", at, d, original)
            at = d
        if i < last:
            yield from conv(f"{b}.{'downsample' if original else 'downsamplers.0'}.conv", d, d)
    yield from middle("encoder", at, original)
    yield from norm("encoder.norm_out" if original else "encoder.conv_norm_out", at)
    yield from conv("encoder.conv_out", 2 * z, at)
    yield from conv("decoder.conv_in", at, z)
    yield from middle("decoder", at, original)
    for i, d in enumerate(reversed(widths)):
        b = f"decoder.up.{last - i}" if original else f"decoder.up_blocks.{i}"
        for j in range(n_res + 1):
            yield from resnet(f"{b}.{'block' if original else 'resnets'}.{j}", at, d, original)
            at = d
        if i < last:
            yield from conv(f"{b}.{'upsample' if original else 'upsamplers.0'}.conv", d, d)
    yield from norm("decoder.norm_out" if original else "decoder.conv_norm_out", at)
    yield from conv("decoder.conv_out", c["out_channels"], at)
    if c["use_quant_conv"]:
        yield from conv("quant_conv", 2 * z, 2 * z, 1)
        yield from conv("post_quant_conv", z, z, 1)
