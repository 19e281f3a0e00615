#!/usr/bin/env python3
"""make exactness: how far each type of weights, each type of cache and each instruction set is from f32 on the same weights.

Writes docs/exactness.md. Three parts: the golden networks' logits (what golden_test prints), the starter language model requantised
into each type, and the starter image model's pictures with its weights stored in each type. Needs numpy and gguf; files go to
build/exactness.
"""
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/release"
FILES = ROOT / "build/exactness"
MODELS = pathlib.Path(os.environ.get("HEARTH_MODELS", ROOT / "build/models"))
LEVELS = ("plain", "avx2", "avx512", "avx512bf16", "amx")  # avxvnni: of quantised products alone, which have the same bits everywhere
TEXT, N_TOKENS = ROOT / "LICENSE", 256
TYPES = ("F32", "BF16", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
PROMPTS = ("a red apple on a blue background", "a green tree")


def run(command, isa=""):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT, timeout=1200, env={**os.environ, "HEARTH_ISA": isa})
    if done.returncode:
        sys.exit(f"{command[0]} failed as {isa or 'it is'}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout + done.stderr


def levels():
    """The instruction sets that this machine has."""
    return [x for x in LEVELS if subprocess.run([BUILD / "bench/exactness"], capture_output=True, env={**os.environ, "HEARTH_ISA": x}).returncode == 0]


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(r) + " |" for r in rows] + [""]


# ---- golden networks -------------------------------------------------------------------------------------------------


def golden(isas):
    line = re.compile(r"^(\w+)/model\.\w+\s+relative error (\S+) ")
    worst = {}
    for isa in isas:
        for found in filter(None, map(line.match, run([BUILD / "lm/golden_test"], isa).splitlines())):
            name, error = found[1], float(found[2])
            family = json.loads((ROOT / f"tests/golden/lm/{name}/config.json").read_text())["model_type"]
            kind = next((k for k in ("bf16", "f16", "fp8") if k in name.split("_")), "f32")
            kind = {"fp8": "F8 in blocks"}.get(kind, kind.upper())
            at = worst.setdefault((family, kind), {})
            at[isa] = max(at.get(isa, 0), error)
    return table(["family", "weights", *isas], [[f, k, *(f"{at[i]:.1e}" for i in isas)] for (f, k), at in sorted(worst.items())])


# ---- the starter language model --------------------------------------------------------------------------------------


def requantise(source, kind, path):
    """A copy of the model with its matrices in another type, from what they stand for as they are published."""
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(path), reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        of = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], of)
    to = gguf.GGMLQuantizationType[kind]
    for t in reader.tensors:
        values = gguf.quants.dequantize(t.data, t.tensor_type).reshape([int(d) for d in reversed(t.shape)]).astype(np.float32)
        if values.ndim == 1 or kind == "F32":
            writer.add_tensor(t.name, values)
        else:
            writer.add_tensor(t.name, gguf.quants.quantize(values, to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(model, cache):
    out = FILES / "logits.bin"
    run([BUILD / "bench/exactness", model, cache, TEXT, N_TOKENS, out])
    raw = np.fromfile(out, np.int32)
    n, n_vocab = int(raw[0]), int(raw[1])
    return raw[2:2 + n].copy(), raw[2 + n:].view(np.float32).reshape(n, n_vocab).copy()


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def compare(ids, reference, logits_of_other):
    """Perplexity of the text, mean KL divergence from the reference, share of positions with the same likeliest token."""
    p, log_p = reference
    log_q, n = log_softmax(logits_of_other[:-1]), len(ids) - 1
    nll = -log_q[np.arange(n), ids[1:]].mean()
    same = (log_p.argmax(1) == log_q.argmax(1)).mean()
    return np.exp(nll), float(np.einsum("ij,ij->", p, log_p - log_q)) / n, same


def language():
    source = next(MODELS.glob("smollm2-135m-instruct/*.gguf"), None)
    if not source:
        sys.exit(f"the starter model is not in {MODELS}: make starter")
    rows, reference, ids = [], None, None
    for kind in TYPES:
        path = FILES / f"starter-{kind}.gguf"
        requantise(source, kind, path)
        for cache in ("f16", "q8_0") if kind in ("F32", "F16", "Q4_1") else ("f16",):
            ids, other = logits(path, cache)
            if reference is None:
                log_p = log_softmax(other[:-1])
                reference = np.exp(log_p), log_p
            perplexity, kl, same = compare(ids, reference, other)
            rows.append([kind, cache, f"{path.stat().st_size / 1e6:.0f}", f"{perplexity:.3f}", f"{kl:.1e}" if kl > 1e-12 else "0", f"{100 * same:.1f} %"])
        path.unlink()
    (FILES / "logits.bin").unlink()
    return len(ids), table(["weights", "cache", "MB", "perplexity", "KL divergence", "same likeliest token"], rows)


# ---- the starter image model -----------------------------------------------------------------------------------------


def e4m3(values):
    """The nearest e4m3 codes."""
    codes = np.arange(127, dtype=np.uint8)
    exponent, mantissa = codes >> 3, (codes & 7).astype(np.float64)
    stands_for = np.where(exponent == 0, mantissa * 2.0 ** -9, (8 + mantissa) * 2.0 ** (exponent.astype(np.float64) - 10))
    middle = (stands_for[1:] + stands_for[:-1]) / 2
    return (np.searchsorted(middle, np.abs(values)) | (np.signbit(values) << 7)).astype(np.uint8)


def restore(source, path, kind):
    """A safetensors file in BF16 again, stored as another type; F8: its matrices."""
    raw = source.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    out, blob = {}, b""
    for name, t in header.items():
        if name == "__metadata__":
            continue
        data = raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]
        dtype = t["dtype"]
        if dtype == "BF16":
            values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
            if kind == "F32":
                data, dtype = values.tobytes(), "F32"
            elif kind == "F16":
                data, dtype = values.astype(np.float16).tobytes(), "F16"
            elif kind == "F8_E4M3" and len(t["shape"]) == 2:
                data, dtype = e4m3(values).tobytes(), "F8_E4M3"
        out[name] = {"dtype": dtype, "shape": t["shape"], "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


def pixels(path):
    """An 8-bit RGB PNG."""
    raw = path.read_bytes()
    at, data = 8, b""
    while at < len(raw):
        n, kind = struct.unpack(">I4s", raw[at:at + 8])
        body = raw[at + 8:at + 8 + n]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            if (depth, colour) != (8, 2):
                sys.exit(f"{path}: not an 8-bit RGB picture")
        data += body if kind == b"IDAT" else b""
        at += 12 + n
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 3 * width)
    out = np.zeros((height + 1, 3 * (width + 1)), np.int64)  # a row and a pixel of zeros before the first
    for y in range(height):
        line, up, now = rows[y, 1:].astype(np.int64), out[y], out[y + 1]
        for x in range(3 * width):
            a, b, c = now[x], up[x + 3], up[x]
            p = a + b - c
            paeth = a if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c) else b if abs(p - b) <= abs(p - c) else c
            now[x + 3] = (line[x] + (0, a, b, (a + b) // 2, paeth)[rows[y, 0]]) & 255
    return out[1:, 3:]


def draw(model, prompt, isa):
    path = FILES / "picture.png"
    run([BUILD / "hearth", "image", prompt, "--model", model, "--seed", 1, "--size", "128x128", "-o", path], isa)
    return pixels(path)


def pictures(isas):
    source = MODELS / "starter-image"
    rows, reference = [], None
    for kind in ("F32", "F16", "BF16", "F8_E4M3"):
        folder = FILES / "image"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):
            for file in (source / part).glob("*.safetensors"):
                if kind != "F8_E4M3" or part == "transformer":
                    restore(file, folder / part / file.name, kind)
        row = [kind]
        for isa in isas:
            drawn = [draw(folder, p, isa) for p in PROMPTS]
            reference = drawn if reference is None else reference
            error = np.mean([(a - b) ** 2 for a, b in zip(drawn, reference)])
            most = max(int(np.abs(a - b).max()) for a, b in zip(drawn, reference))
            row.append("equal" if error == 0 else f"{10 * np.log10(255 ** 2 / error):.1f} dB, {most}")
        rows.append(row)
    shutil.rmtree(folder)
    (FILES / "picture.png").unlink()
    return table(["weights", *isas], rows)


def main():
    FILES.mkdir(parents=True, exist_ok=True)
    isas = levels()
    device = run([BUILD / "bench/exactness"]).strip()
    cpu = next((x.split(":")[1].strip() for x in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    networks = golden(isas)
    n, text = language()
    drawn = pictures(isas)
    page = ["# Exactness", "", f"Written by `make exactness`. *{time.strftime('%Y-%m-%d')}, commit {commit}: {cpu}, {device}.*", "",
            "What to expect of a type of weights: how far results are from those in f32 on the weights that the file stores (the first table), "
            "or on those it was made from (the others). Instruction sets are picked with `HEARTH_ISA`.", "",
            "## Networks", "",
            "Logits of the small golden networks (`tests/golden/lm`) against transformers in f32 on the stored weights, keys and values in f16 on "
            "both sides: relative error, the largest of each family's networks.", "", *networks,
            "## The starter language model", "",
            f"SmolLM2-135M-Instruct on the first {n} tokens of `LICENSE`, against its own f32 weights. Those are what its published file stands for, "
            "matrices in Q4_1 and the embedding in Q8_0; here every matrix, the embedding too, is made anew in each type by plain rounding. "
            "Small models keep 15 bits of their activations beside quantised weights. K quants are not made here.", "", *text,
            "## The starter image model", "",
            f"{len(PROMPTS)} pictures of 128x128, seed 1, with its weights (published as BF16) stored in each type (F8: the transformer's matrices alone, without scales), "
            f"against those of F32 as {isas[0]}: peak signal to noise, and the largest difference of 255.", "", *drawn]
    (ROOT / "docs/exactness.md").write_text("\n".join(page))
    print("\n".join(page))


main()
