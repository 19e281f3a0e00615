"""The forward pass of FluxTransformer2DModel, written for training on a CPU.

It reads the parameters of the diffusers module and computes the same function (`python velocity.py`
checks it in float32), some three times faster in bfloat16: projections of the same input are one
product, attention is two plain batched products, and the rotation works on halves of a head rather than
on interleaved pairs. Reordering the channels of a head in both queries and keys changes no score, so the
reordering is applied to the rows of the weights. The time and the guidance value stay in float32; under
autocast the library's own forward would round them to bfloat16.
"""
import torch
import torch.nn.functional as F


def embed(value):
    """Sines of `value` (already times 1000), 256 wide, cosines first."""
    freqs = torch.exp(torch.arange(128, dtype=torch.float32, device=value.device) * (-9.210340371976184 / 128))
    a = value.float()[:, None] * freqs
    return torch.cat([a.cos(), a.sin()], 1)


def linear(x, layer, dtype):
    return F.linear(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))


def joined(x, layers, dtype, order=None, reordered=0):
    """Several linear layers of one input as one product; the first `reordered` get their rows reordered."""
    w = [l.weight[order] if i < reordered else l.weight for i, l in enumerate(layers)]
    b = [l.bias[order] if i < reordered else l.bias for i, l in enumerate(layers)]
    return F.linear(x.to(dtype), torch.cat(w).to(dtype), torch.cat(b).to(dtype))


def normed(x, scale, shift):
    """LayerNorm without affine part, modulated per sample."""
    f = x.float()
    f = f - f.mean(-1, keepdim=True)
    f = f * torch.rsqrt(f.square().mean(-1, keepdim=True) + 1e-6)
    return (f * (1 + scale.float()[:, None]) + shift.float()[:, None]).to(x.dtype)


def head_norm(x, weight):
    f = x.float()
    return f * torch.rsqrt(f.square().mean(-1, keepdim=True) + 1e-6) * weight


class Rotation:
    """Angles of every token for one set of positions, and the channel order that splits pairs into halves."""

    def __init__(self, model, text_ids, image_ids):
        cos, sin = model.pos_embed(torch.cat([text_ids, image_ids]))        # [tokens, head_dim], each value twice
        self.cos, self.sin = cos[:, 0::2].float(), sin[:, 0::2].float()     # [tokens, head_dim / 2]
        config = model.config
        head = torch.cat([torch.arange(0, config.attention_head_dim, 2), torch.arange(1, config.attention_head_dim, 2)])
        self.head = head
        self.rows = torch.cat([head + h * config.attention_head_dim for h in range(config.num_attention_heads)])

    def turn(self, x):
        """x [n, tokens, heads, head_dim] float32, halves."""
        a, b = x.chunk(2, -1)
        cos, sin = self.cos[:, None], self.sin[:, None]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attend(q, k, v, rotation, dtype):
    """q, k normed float32, v: [n, tokens, heads, head_dim] -> [n, tokens, heads * head_dim]."""
    q = (rotation.turn(q) * q.shape[-1] ** -0.5).to(dtype).transpose(1, 2)
    k = rotation.turn(k).to(dtype).permute(0, 2, 3, 1)
    p = torch.softmax((q @ k).float(), -1).to(dtype)
    return (p @ v.transpose(1, 2)).transpose(1, 2).flatten(2)


def velocity(model, rotation, x, t, guidance, pooled, tokens, dtype=torch.bfloat16):
    heads, order, head = model.config.num_attention_heads, rotation.rows, rotation.head
    split = lambda a: a.unflatten(-1, (heads, -1))
    vec = 0
    te = model.time_text_embed
    for value, mlp in ((embed(t * 1000), te.timestep_embedder), (embed(guidance * 1000), te.guidance_embedder), (pooled, te.text_embedder)):
        vec = vec + linear(F.silu(linear(value, mlp.linear_1, dtype)), mlp.linear_2, dtype)
    vec = F.silu(vec)
    x = linear(x, model.x_embedder, dtype)
    c = linear(tokens, model.context_embedder, dtype)
    n_text = c.shape[1]

    for block in model.transformer_blocks:
        at = block.attn
        xm, cm = (linear(vec, n.linear, dtype).chunk(6, 1) for n in (block.norm1, block.norm1_context))
        xq, xk, xv = map(split, joined(normed(x, xm[1], xm[0]), (at.to_q, at.to_k, at.to_v), dtype, order, 2).chunk(3, -1))
        cq, ck, cv = map(split, joined(normed(c, cm[1], cm[0]), (at.add_q_proj, at.add_k_proj, at.add_v_proj), dtype, order, 2).chunk(3, -1))
        q = torch.cat([head_norm(cq, at.norm_added_q.weight[head]), head_norm(xq, at.norm_q.weight[head])], 1)
        k = torch.cat([head_norm(ck, at.norm_added_k.weight[head]), head_norm(xk, at.norm_k.weight[head])], 1)
        a = attend(q, k, torch.cat([cv, xv], 1), rotation, dtype)
        x = x + xm[2][:, None] * linear(a[:, n_text:], at.to_out[0], dtype)
        c = c + cm[2][:, None] * linear(a[:, :n_text], at.to_add_out, dtype)
        h = F.gelu(linear(normed(x, xm[4], xm[3]), block.ff.net[0].proj, dtype), approximate="tanh")
        x = x + xm[5][:, None] * linear(h, block.ff.net[2], dtype)
        h = F.gelu(linear(normed(c, cm[4], cm[3]), block.ff_context.net[0].proj, dtype), approximate="tanh")
        c = c + cm[5][:, None] * linear(h, block.ff_context.net[2], dtype)

    x = torch.cat([c, x], 1)
    for block in model.single_transformer_blocks:
        at, dim = block.attn, x.shape[-1]
        shift, scale, gate = linear(vec, block.norm.linear, dtype).chunk(3, 1)
        h = joined(normed(x, scale, shift), (at.to_q, at.to_k, at.to_v, block.proj_mlp), dtype, order, 2)
        q, k, v, h = h.split([dim, dim, dim, h.shape[-1] - 3 * dim], -1)
        a = attend(head_norm(split(q), at.norm_q.weight[head]), head_norm(split(k), at.norm_k.weight[head]), split(v), rotation, dtype)
        x = x + gate[:, None] * linear(torch.cat([a, F.gelu(h, approximate="tanh")], -1), block.proj_out, dtype)

    scale, shift = linear(vec, model.norm_out.linear, dtype).chunk(2, 1)
    return linear(normed(x[:, n_text:], scale, shift), model.proj_out, dtype).float()


if __name__ == "__main__":      # against the library, float32, random weights
    from diffusers import FluxTransformer2DModel

    import flow
    torch.manual_seed(0)
    model = FluxTransformer2DModel(**flow.CONFIG)
    ids, text_ids = flow.image_ids(), torch.zeros(24, 3)
    x, t, g = torch.randn(3, 64, 64), torch.rand(3), torch.rand(3) * 8
    pooled, tokens = torch.randn(3, 96), torch.randn(3, 24, 128)
    with torch.no_grad():
        want = model(hidden_states=x, timestep=t, guidance=g, pooled_projections=pooled, encoder_hidden_states=tokens,
                     img_ids=ids, txt_ids=text_ids, return_dict=False)[0]
        got = velocity(model, Rotation(model, text_ids, ids), x, t, g, pooled, tokens, torch.float32)
        got16 = velocity(model, Rotation(model, text_ids, ids), x, t, g, pooled, tokens)
    print("relative error: float32", ((got - want).norm() / want.norm()).item(), "bfloat16", ((got16 - want).norm() / want.norm()).item())
