#!/usr/bin/env python3
"""Pictures scaled by Pillow's Lanczos filter: tests/golden/image/resample.safetensors. `rgb` [h, w, 3] and `grey` [h, w] are the
pictures, KIND_WxH what they become.

    pip install numpy pillow safetensors
    tools/reference/resample_golden.py
"""
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

r = np.random.default_rng(5)
pictures = {"rgb": r.integers(0, 256, (37, 53, 3), dtype=np.uint8), "grey": (r.random((29, 41)) > 0.5).astype(np.uint8) * 255}
out = dict(pictures)
for kind, v in pictures.items():
    h, w = v.shape[:2]
    for size in ((w, h), (64, 48), (24, 16), (w, 16), (24, h), (1, 1), (7, 90)):
        out["%s_%dx%d" % (kind, *size)] = np.array(Image.fromarray(v).resize(size, Image.Resampling.LANCZOS))
save_file(out, "tests/golden/image/resample.safetensors")
