"""Families with routed experts and latent attention, and long prompts: hearth beside llama.cpp on cut shapes of random weights.

BENCH_FAMILIES="deepseek scout maverick qwen3-30b mixtral" picks the shapes (1.4 to 5 GB each); BENCH_FAMILY_TYPES="Q4_K Q8_0" their types;
BENCH_LONG="1b deepseek" those that are also asked behind BENCH_LONG_PROMPT (8192) tokens, in Q4_K (the peer takes minutes for each). Both with AVX2 alone, as
the peer's wheel (xllamacpp, for the interpreter in BENCH_PEER_PYTHON) has no more. BENCH_RUN="chrt -f 5" is put before both.
"""
import os
import re
import subprocess
import sys

from common import BUILD, FILES, ROOT, THREADS, lines, number, ratio, raw, table

SHAPES = os.environ.get("BENCH_FAMILIES", "deepseek scout maverick qwen3-30b mixtral").split()
TYPES = os.environ.get("BENCH_FAMILY_TYPES", "Q4_K").split()
LONG = os.environ.get("BENCH_LONG", "1b deepseek").split()
PEER_PYTHON = os.environ.get("BENCH_PEER_PYTHON", sys.executable)
RUN = os.environ.get("BENCH_RUN", "").split()
STREAM_NEW = 32
LONG_PROMPT, LONG_NEW = int(os.environ.get("BENCH_LONG_PROMPT", "8192")), 32
PROGRAM = {
    "1b": ["random_llama.py"],
    "deepseek": ["random_deepseek.py", "--layers", "2", "--experts", "64"],
}


def file_of(shape, kind):
    FILES.mkdir(parents=True, exist_ok=True)
    path = FILES / f"{shape}-{kind}.gguf"
    if not path.exists():
        program, *more = PROGRAM.get(shape, ["random_experts.py", shape])
        command = [program, path, *more[:1], kind] if program == "random_experts.py" else [program, path, kind, *more]
        subprocess.run([sys.executable, ROOT / "tools/bench" / command[0], *command[1:]], check=True)
    return path


def active_share(path):
    """Of the bytes of the weights: those that one token's generation reads. Of stacked experts those chosen, of the embedding none."""
    import gguf
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    experts, used = (reader.fields[f"{arch}.{key}"].contents() if f"{arch}.{key}" in reader.fields else 1 for key in ("expert_count", "expert_used_count"))
    every = read = 0
    tied = not any(t.name == "output.weight" for t in reader.tensors)
    for t in reader.tensors:
        every += t.n_bytes
        if re.search(r"_exps\.weight$", t.name):
            read += t.n_bytes * used // experts
        elif t.name != "token_embd.weight" or tied:
            read += t.n_bytes
    return read / every


def pair(path, *args):
    """One run of each: rows of both, and what went wrong."""
    ours, why = lines([*RUN, BUILD / "bench/lm", path, THREADS, 1, *args], env={"HEARTH_ISA": "avx2"})
    peer, why_peer = lines([*RUN, PEER_PYTHON, ROOT / "bench/peer_avx2.py", path, THREADS, *args])
    return ours, peer, [w for w in (why and f"hearth, {path.stem}: {why}", why_peer and f"llama.cpp, {path.stem}: {why_peer}") if w]


def one(rows, test, n=None, key="tokens_per_s"):
    return next((r[key] for r in rows if r["test"] == test and (n is None or r["n"] == n)), None)


def cells(ours, peer, tests):
    out = []
    for test, n, digits in tests:
        a, b = one(ours, test, n), one(peer, test, n)
        out += [f"{number(a, digits)} / {number(b, digits)}", f"**{ratio(a, b)}**"]
    return out


def section():
    notes, seen, rows, long_rows = [], [], [], []
    for shape in SHAPES:
        for kind in TYPES:
            path = file_of(shape, kind)
            ours, peer, why = pair(path, 512, STREAM_NEW)
            notes += why
            share = one(ours, "generate", key="bandwidth_share")
            rows.append([f"{shape} {kind}", *cells(ours, peer, (("prompt", None, 0), ("generate", None, 1), ("streams", 8, 0), ("streams", 16, 0))),
                         number(share and share * active_share(path), 2)])
            seen += [{"file": path.stem, "hearth": r} for r in ours] + [{"file": path.stem, "llama.cpp": r} for r in peer]
    for shape in LONG:
        path = file_of(shape, "Q4_K")
        ours, peer, why = pair(path, LONG_PROMPT, LONG_NEW)
        notes += why
        long_rows.append([f"{shape} Q4_K", *cells(ours, peer, (("prompt", LONG_PROMPT, 0), ("behind", LONG_PROMPT, 1)))])
        seen += [{"file": path.stem, "hearth": r} for r in ours] + [{"file": path.stem, "llama.cpp": r} for r in peer]
    out = ["## Families with routed experts, and long prompts, with AVX2", "",
           "Cut shapes: the widths of the models with few layers, words and experts and random weights (`tools/bench/random_experts.py`, `random_deepseek.py`). HEARTH_ISA=avx2 beside "
           "llama.cpp as the PyPI wheel xllamacpp has it (AVX2, FMA, F16C and nothing beyond): tokens per second, hearth / llama.cpp, and the ratio: a prompt of 512, a generation "
           f"of 128, 8 and 16 streams of {STREAM_NEW} tokens after prompts of 100, in total. Both in process, {THREADS} threads, one after the other. The last column: what hearth's "
           "generation reads each second (of the experts those chosen), as a share of the read bandwidth measured just before; more than 1 where caches keep part of a cut shape.", ""]
    out += table(["shape", "prompt", "", "generate", "", "8 streams", "", "16 streams", "", "of bandwidth"], rows)
    if long_rows:
        out += [f"A prompt of {LONG_PROMPT:,} tokens, and the {LONG_NEW} tokens behind it:", ""]
        out += table(["shape", f"prompt of {LONG_PROMPT:,}", "", "generate behind it", ""], long_rows)
    return out + [f"- {n}" for n in notes] + ([""] if notes else []) + ["<details><summary>Every figure</summary>", ""] + raw(seen) + ["</details>", ""]
