"""The image part of `make bench`: hearth, diffusers on PyTorch and stable-diffusion.cpp in the shapes of FLUX.1-dev and SDXL, with
random weights, interleaved.

    BENCH_IMAGES="flux sdxl"     which networks ("" for none); they take 19 GB of files under build/bench
    BENCH_FULL="flux sdxl"       memory and time of hearth at full size (22 and 7 GB of files); nothing unless asked for
    BENCH_IMAGES_PYTHON          an interpreter that has the peers; default: build/venv-images, made from requirements-images.txt

stable-diffusion.cpp gets FLUX in bf16, its fastest float type here: it takes e4m3 too, but widens it to f16 for minutes at load. SDXL
it gets as one checkpoint: it takes a diffusers folder of it for Stable Diffusion 1.
"""
import os
import subprocess
import sys
import tempfile

import image_ops
import language
from common import BUILD, FILES, REPETITIONS, ROOT, THREADS, lines, number, ratio, raw, table

OWN_PYTHON = ROOT / "build/venv-images/bin/python"
SIDE, TEXT_TOKENS, DOUBLE, SINGLE = 512, 256, 2, 4
PEERS = {"sd.cpp": "stable-diffusion.cpp", "bfloat16": "PyTorch bf16", "float32": "PyTorch f32"}


class Network:
    def __init__(self, title, folder, sd_folder, step_ops, latent):
        self.title, self.folder, self.sd_folder = title, folder, sd_folder
        self.ops = {"step": step_ops, "decode": image_ops.vae_decode(SIDE, latent)}
        self.best = {}  # (program, test) to seconds
        self.failed = {}

    def note(self, program, rows, why):
        print(f"{self.title}: {program}: {why or rows}", file=sys.stderr, flush=True)  # a run takes many minutes
        for row in rows:
            if "seconds" in row:
                key = program, row["test"]
                self.best[key] = min(row["seconds"], self.best.get(key, row["seconds"]))
        if why:
            self.failed[program] = why


def peers_python(notes):
    """The peers' interpreter, made when it is missing. Each peer installs alone: one that does not is noted, the others are measured."""
    chosen = os.environ.get("BENCH_IMAGES_PYTHON")
    if chosen:
        return chosen
    if not OWN_PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", OWN_PYTHON.parents[1]], check=True)
    for wanted in (ROOT / "bench/requirements-images.txt").read_text().splitlines():
        if wanted and not wanted.startswith("#"):
            done = subprocess.run([OWN_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted], capture_output=True, text=True)
            if done.returncode:
                notes.append(f"- {wanted} could not be installed: {(done.stderr.strip().splitlines() or ['pip does not say why'])[-1]}")
    return str(OWN_PYTHON)


def made(name, *arguments):
    """A folder of random weights, written at the first use; None when that fails."""
    folder, part = FILES / name, FILES / f"{name}.part"
    if not folder.exists():
        if subprocess.run([sys.executable, ROOT / "tools/random_weights", arguments[0], part, *arguments[1:]]).returncode:
            return None
        part.rename(folder)
    return folder


def networks(wanted):
    if "flux" in wanted:
        shape = ["--layers", f"{DOUBLE},{SINGLE}", "--t5-layers", "1", "--text-tokens", str(TEXT_TOKENS)]
        folder = made("flux-short-fp8", "flux-dev-fp8", *shape)
        sd_folder = made("flux-short-bfl", "flux-dev-bf16", *shape, "--layout", "bfl")
        if folder and sd_folder:
            yield Network(f"FLUX.1-dev, {DOUBLE} of 19 double and {SINGLE} of 38 single blocks, e4m3", folder, sd_folder,
                          image_ops.flux_step(SIDE, TEXT_TOKENS, DOUBLE, SINGLE), 16)
    if "sdxl" in wanted:
        folder, sd_folder = made("sdxl-fp16", "sdxl-fp16"), made("sdxl-single", "sdxl-fp16", "--layout", "sdxl-single")
        if folder and sd_folder:
            yield Network("SDXL, whole, f16", folder, sd_folder, image_ops.sdxl_step(SIDE), 4)


def bf16_ceiling():
    """Operations a second of all threads, from registers."""
    rows, _ = lines([BUILD / "bench/ceilings", THREADS])
    return max((1e9 * rows[-1][k] for k in ("bf16_gflops", "amx_bf16_gflops", "f32_gflops")), default=0) if rows else 0


def measure(n, python):
    """Everybody in turn; returns the best ceiling that was seen beside."""
    ceiling = 0
    for _ in range(REPETITIONS):
        ceiling = max(ceiling, bf16_ceiling())
        n.note("hearth", *lines([BUILD / "bench/images", n.folder, SIDE, 4, THREADS]))
        n.note("sd.cpp", *lines([python, ROOT / "bench/sd_cpp_images.py", n.sd_folder, SIDE, 2, THREADS]))
        for dtype in ("bfloat16", "float32"):
            n.note(dtype, *lines([python, ROOT / "bench/diffusers_images.py", n.folder, dtype, SIDE, 3, THREADS, TEXT_TOKENS]))
    return ceiling


def row(n, test, what, ceiling):
    ours = n.best.get(("hearth", test))
    theirs = [n.best.get((p, test)) for p in PEERS]
    rate = n.ops[test] / ours if ours else None
    return [n.title, what, number(n.ops[test] / 1e12, 2), number(ours, 2), *(number(t, 2) for t in theirs),
            number(rate and rate / 1e9), ratio(rate, ceiling), *(ratio(t, ours) for t in theirs)]


def full_size(wanted):
    """hearth alone on whole models."""
    rows, notes = [], []
    for name, arguments, side in (("flux-full", ("flux-dev-fp8", "--t5-type", "bf16"), 512), ("sdxl-fp16", ("sdxl-fp16",), 1024)):
        folder = made(name, *arguments) if name.split("-")[0] in wanted else None
        if not folder:
            continue
        seen, why = lines([BUILD / "bench/images", folder, side, 2, THREADS])
        r = {x["test"]: x for x in seen}
        memory = r.get("memory", {})
        rows.append([" ".join(arguments), f"{side}x{side}", *(number(r.get(t, {}).get("seconds"), 1) for t in ("load", "first", "step", "decode")),
                     *(number(memory.get(k) and memory[k] / 1024, 1) for k in ("most_mb", "anonymous_mb", "file_mb"))])
        notes += [f"- {name}: {why}"] if why else []
    head = ["model", "picture", "load, s", "text and first step, s", "step, s", "VAE decode, s", "resident at most, GiB", "anonymous", "mapped"]
    return ["Whole models of random weights (`tools/random_weights`), hearth alone. Mapped pages are the weight files' own, which the "
            "kernel may drop and read again.", ""] + table(head, rows) + notes


def beside(folder):
    """A chat with the starter model while the FLUX shape draws."""
    with tempfile.TemporaryDirectory() as models:
        os.symlink(language.STARTER.parent, f"{models}/smollm2-135m-instruct")
        os.symlink(folder.resolve(), f"{models}/flux-shape")
        server = language.Server([BUILD / "hearth", "serve", "--models", models, "--listen", "127.0.0.1:PORT", "--threads", THREADS], "/ready")
        rows, why = lines([sys.executable, ROOT / "bench/beside.py", server.url, "smollm2-135m-instruct", "flux-shape", f"{SIDE}x{SIDE}", 4])
        server.stop()
    if why:
        return [f"A chat beside a drawing: {why}", ""]
    alone, both = rows
    return [f"A chat beside a drawing, over HTTP (`bench/beside.py`): the starter model's tokens come {alone['mean_ms']:.1f} ms apart alone and {both['mean_ms']:.1f} ms while the FLUX "
            f"shape draws, **{both['mean_ms'] / alone['mean_ms']:.2f}** of it (99 of 100 within {alone['p99_ms']:.0f} and {both['p99_ms']:.0f} ms); the picture takes "
            f"{both['picture_s']:.0f} s instead of {alone['picture_s']:.0f} beside a chat that never pauses.", ""]


def section():
    wanted, full = os.environ.get("BENCH_IMAGES", "flux sdxl").split(), os.environ.get("BENCH_FULL", "").split()
    rows, seen, notes = [], [], []
    python = peers_python(notes) if wanted else ""
    for n in networks(wanted):
        ceiling = measure(n, python)
        rows += [row(n, "step", "step", ceiling), row(n, "decode", "VAE decode", ceiling)]
        notes += [f"- {PEERS.get(p, p)}, {n.title}: {w}" for p, w in n.failed.items()]
        seen += [{"network": n.title, "program": p, "test": test, "seconds": s} for (p, test), s in n.best.items()]
    head = ["network", "what", "TFLOP", "hearth", *PEERS.values(), "hearth, GFLOP/s", "of the bf16 ceiling", *(f"vs {p}" for p in PEERS.values())]
    out = ["## Image models", "",
           f"Seconds at {SIDE}x{SIDE} with random weights, one pass (none for guidance), {TEXT_TOKENS} text tokens for FLUX; everybody turn about. "
           "The last columns are the peer's seconds over hearth's: above 1 hearth is faster. stable-diffusion.cpp has FLUX's weights in bf16; "
           "PyTorch has every weight in the type of its column.", ""] + table(head, rows) + notes + ([""] if notes else [])
    out += beside(FILES / "flux-short-fp8") if "flux" in wanted else []
    out += full_size(full) if full else []
    floats, why = lines([BUILD / "bench/float_ops", "--threads", THREADS])
    return out + ["<details><summary>Every figure, and the operations alone</summary>", ""] + raw(seen + floats) + ([why, ""] if why else []) + ["</details>", ""]
