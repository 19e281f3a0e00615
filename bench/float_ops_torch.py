#!/usr/bin/env python3
"""The cases of float_ops beside PyTorch's, in turns, on one thread of processor time each (right on a busy machine too).

    bench/float_ops_torch.py [build/release/bench/float_ops] [rounds]

Prints a Markdown table: GOPS of hearth, of PyTorch in bf16 and in f32, and the ratios. PyTorch is given what suits it best:
bf16 activations in and out (half the memory traffic of ours, which are f32) and channels last; its convolutions do
without the group norm and SiLU that ours have done on their input in the same time."""
import json
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

LINEAR = {  # name: rows, n_in, n_out
    "flux mlp up, bf16, 1024 rows": (1024, 3072, 12288),
    "flux mlp up, fp8, 1024 rows": (1024, 3072, 12288),
    "flux mlp down, fp8, 1024 rows": (1024, 12288, 3072),
    "flux single in, fp8, 1536 rows": (1536, 3072, 21504),
    "flux attention out, bf16, 4608 rows": (4608, 3072, 3072),
    "unet attention out, f16, 4096 rows": (4096, 640, 640),
    "unet feed-forward, f16, 1024 rows": (1024, 1280, 10240),
    "unet cross keys, f16, 77 rows": (77, 2048, 1280),
}
CONV = {  # name: side, n_in, n_out, kernel, stride, upsample
    "unet 3x3 320, 128x128": (128, 320, 320, 3, 1, 1),
    "unet 3x3 1280, 32x32": (32, 1280, 1280, 3, 1, 1),
    "unet down 320, 128x128": (128, 320, 320, 3, 2, 1),
    "vae 3x3 512, 128x128": (128, 512, 512, 3, 1, 1),
    "vae up 256, 256x256": (256, 256, 256, 3, 1, 2),
    "vae 3x3 256, 512x512": (512, 256, 256, 3, 1, 1),
    "vae 3x3 128, 512x512": (512, 128, 128, 3, 1, 1),
    "vae 1x1 256, 512x512": (512, 256, 128, 1, 1, 1),
}
ATTENTION = {  # name: queries, keys, heads, head_dim
    "flux 1536 tokens, 24 x 128": (1536, 1536, 24, 128),
    "unet 4096 tokens, 10 x 64": (4096, 4096, 10, 64),
    "unet cross 4096 x 77, 10 x 64": (4096, 77, 10, 64),
    "vae 4096 tokens, 1 x 512": (4096, 4096, 1, 512),
}


def best(f, reps):
    f()
    seconds = []
    for _ in range(reps):
        t = time.thread_time()
        f()
        seconds.append(time.thread_time() - t)
    return min(seconds)


def linear(dtype, n, n_in, n_out):
    x, w = torch.randn(n, n_in, dtype=dtype), torch.randn(n_out, n_in, dtype=dtype)
    return 2 * n * n_in * n_out, lambda: F.linear(x, w)


def conv(dtype, side, n_in, n_out, k, stride, up):
    x = torch.randn(1, n_in, side, side, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.randn(n_out, n_in, k, k, dtype=dtype).to(memory_format=torch.channels_last)
    out = side * up // stride

    def run():
        v = F.interpolate(x, scale_factor=2.0, mode="nearest") if up == 2 else x
        return F.conv2d(v, w, stride=stride, padding=k // 2)

    return 2 * out * out * n_out * n_in * k * k, run


def attention(dtype, n_q, n_kv, heads, head_dim):
    q = torch.randn(1, heads, n_q, head_dim, dtype=dtype)
    k = torch.randn(1, heads, n_kv, head_dim, dtype=dtype)
    return 4 * n_q * n_kv * heads * head_dim, lambda: F.scaled_dot_product_attention(q, k, k)


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "build/release/bench/float_ops"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    torch.set_num_threads(1)
    print("| case | hearth | torch bf16 | torch f32 | of torch bf16 | of torch f32 |")
    print("|---|---|---|---|---|---|")
    for table, make in ((LINEAR, linear), (CONV, conv), (ATTENTION, attention)):
        for name, shape in table.items():
            ours, theirs = 0.0, {torch.bfloat16: 0.0, torch.float32: 0.0}
            for _ in range(rounds):
                out = subprocess.run([program, "--threads", "1", "--reps", "3", "--only", name], check=True,
                                     capture_output=True, text=True).stdout
                for line in map(json.loads, out.splitlines()):
                    if line.get("case") == name:
                        ours = max(ours, line["gops"])
                for dtype in theirs:
                    with torch.no_grad():
                        ops, run = make(dtype, *shape)
                        reps = 3 if dtype == torch.bfloat16 else 1
                        theirs[dtype] = max(theirs[dtype], ops / best(run, reps) * 1e-9)
            bf16, f32 = theirs.values()
            print(f"| {name} | {ours:.0f} | {bf16:.0f} | {f32:.0f} | {ours / bf16:.2f} | {ours / f32:.2f} |", flush=True)


if __name__ == "__main__":
    main()
