"""How many multiplications and additions one pass through the image networks takes: products, convolutions and attention, two
operations for each multiplication; norms, activations and what happens once a step are left out (under a hundredth)."""


def flux_step(side, text_tokens, double, single, d=3072):
    n = (side // 16) ** 2 + text_tokens
    block = 2 * n * 12 * d * d + 4 * n * n * d  # q, k, v, out and the feed-forward of four widths; scores and values
    return (double + single) * block


def resnet(hw, n_in, n_out):
    return 2 * hw * (9 * n_out * (n_in + n_out) + (n_in * n_out if n_in != n_out else 0))


def transformer(hw, d, depth, text_tokens=77, context=2048):
    self_attention = 2 * hw * 4 * d * d + 4 * hw * hw * d
    cross = 2 * hw * 2 * d * d + 2 * text_tokens * 2 * context * d + 4 * hw * text_tokens * d
    return 2 * hw * 2 * d * d + depth * (self_attention + cross + 2 * hw * 12 * d * d) if depth else 0


def sdxl_step(side):
    widths, depths = (320, 640, 1280), (0, 2, 10)
    hw = (side // 8) ** 2
    ops, at, skips = 2 * hw * 9 * 4 * 320, 320, [320]
    for i, (d, depth) in enumerate(zip(widths, depths)):
        for _ in range(2):
            ops += resnet(hw, at, d) + transformer(hw, d, depth)
            at = d
            skips.append(d)
        if i < 2:
            hw //= 4
            ops += 2 * hw * 9 * d * d
            skips.append(d)
    ops += 2 * resnet(hw, at, at) + transformer(hw, at, depths[-1])
    for i, (d, depth) in enumerate(zip(reversed(widths), reversed(depths))):
        for _ in range(3):
            ops += resnet(hw, at + skips.pop(), d) + transformer(hw, d, depth)
            at = d
        if i < 2:
            hw *= 4
            ops += 2 * hw * 9 * d * d
    return ops + 2 * hw * 9 * at * 4


def vae_decode(side, latent):
    hw, at = (side // 8) ** 2, 512
    ops = 2 * hw * 9 * latent * at + 2 * resnet(hw, at, at) + 2 * hw * 4 * at * at + 4 * hw * hw * at
    for i, d in enumerate((512, 512, 256, 128)):
        for _ in range(3):
            ops += resnet(hw, at, d)
            at = d
        if i < 3:
            hw *= 4
            ops += 2 * hw * 9 * d * d
    return ops + 2 * hw * 9 * at * 3
