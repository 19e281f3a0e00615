#!/usr/bin/env python3
"""src/format/quant_grids.c: the codebooks of GGUF's IQ types, as the `gguf` package has them. A codebook's entry is what 8 (or 4) elements
can be together; here it is one number, each element's place among the type's magnitudes at 2 (or 3) bits, first element lowest."""
import pathlib

import numpy as np
from gguf import quants

out = pathlib.Path(__file__).resolve().parents[2] / "src/format/quant_grids.c"
tables = [("iq2_xxs", quants.IQ2_XXS), ("iq2_xs", quants.IQ2_XS), ("iq2_s", quants.IQ2_S), ("iq3_xxs", quants.IQ3_XXS),
          ("iq3_s", quants.IQ3_S), ("iq1", quants.IQ1_S)]
text = ["/* quant_grids.c - the codebooks of GGUF's IQ types. Made by tools/reference/make_grids.py: change that instead. */",
        '#include "format/quant_codes.h"', "", "/* clang-format off */"]
for name, cls in tables:
    cls.init_grid()
    n, per = cls.grid_shape
    bits = 16 // per if per == 8 else 3
    place = {v: i for i, v in enumerate(cls.grid_map)}
    entries = [sum(place[v] << bits * i for i, v in enumerate(row)) for row in cls.grid.reshape(n, per).tolist()]
    assert max(entries) < 65536
    text.append(f"const uint16_t quant_grid_{name}[{n}] = {{")
    for i in range(0, n, 20):
        text.append("    " + "".join(f"{v}," for v in entries[i : i + 20]))
    text.append("};")
text.append("/* clang-format on */")
out.write_text("\n".join(text) + "\n")
