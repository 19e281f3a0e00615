"""Measures hearth and its peer in one run, interleaved, and writes docs/benchmarks.md.

Every figure is the best of the repetitions; ratios are of figures taken minutes apart on the same machine. A peer that does not
run here is said so, never guessed.
"""
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/release/bench"
MODELS = pathlib.Path(os.environ.get("HEARTH_MODELS") or pathlib.Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "hearth/models")
STARTER = MODELS / "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
THREADS = str(len(os.sched_getaffinity(0)))
REPETITIONS = os.environ.get("BENCH_REPETITIONS", "3")
TYPES = os.environ.get("BENCH_TYPES", "Q4_0 Q8_0 Q4_K BF16").split()


def lines(command, timeout=1800):
    """The JSON lines a program prints, and why there are none."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    out = [json.loads(x) for x in run.stdout.splitlines() if x.startswith("{")]
    if run.returncode != 0:
        return out, f"exit status {run.returncode}" + (f": {run.stderr.strip().splitlines()[-1]}" if run.stderr.strip() else "")
    return out, ""


def pick(rows, what, key="tokens_per_s"):
    for row in rows:
        if what in row.values() and key in row:
            return row[key]
    return None


def number(v, digits=0):
    return "-" if v is None else f"{v:,.{digits}f}"


def ratio(a, b):
    return "-" if not a or not b else f"{a / b:.2f}"


def main():
    out = []
    ceilings, why = lines([str(BUILD / "ceilings"), THREADS])
    out += ["## The machine's ceilings", "", "```"] + [json.dumps(r) for r in ceilings] + ([why] if why else []) + ["```", ""]

    files = [("135M Q4_1 (starter)", STARTER)]
    for kind in TYPES:
        path = ROOT / f"build/bench/llama-1b-{kind}.gguf"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            made = subprocess.run([sys.executable, str(ROOT / "tools/bench/random_llama.py"), str(path), kind])
            if made.returncode:
                continue
        files.append((f"1B {kind} (random weights)", path))

    out += ["## Language models", "",
            "Tokens per second: a prompt of 512, a generation of 128, and 8 streams of 128 tokens in total, on all threads.", "",
            "| model | hearth prompt | hearth generate | hearth 8 streams | llama.cpp prompt | llama.cpp generate | prompt ratio | generate ratio |",
            "|---|---|---|---|---|---|---|---|"]
    raw, notes = [], []
    for name, path in files:
        ours, why_ours = lines([str(BUILD / "lm"), str(path), THREADS, REPETITIONS])
        peer, why_peer = lines([sys.executable, str(ROOT / "bench/llama_cpp.py"), str(path), THREADS, REPETITIONS])
        raw += [f"{name}: {json.dumps(r)}" for r in ours]
        notes += [f"hearth, {name}: {why_ours}"] if why_ours else []
        notes += [f"llama-cpp-python, {name}: {why_peer}"] if why_peer else []
        streams = [r for r in ours if r.get("n") == 8 or r.get("streams") == 8]
        eight = streams[0].get("tokens_per_s") if streams else None
        p, g = pick(ours, "prompt"), pick(ours, "generate")
        pp, pg = pick(peer, "prompt"), pick(peer, "generate")
        out.append(f"| {name} | {number(p)} | {number(g, 1)} | {number(eight)} | {number(pp)} | {number(pg, 1)} | {ratio(p, pp)} | {ratio(g, pg)} |")
    out += [""] + [f"- {n}" for n in notes] + (["", "```"] + raw + ["```", ""] if raw else [""])

    floats, why = lines([str(BUILD / "float_ops"), THREADS])
    out += ["## Image operations", "", "Real shapes of FLUX and SDXL, as a share of the bf16 ceiling measured beside them.", "", "```"]
    out += [json.dumps(r) for r in floats] + ([why] if why else []) + ["```", ""]

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    cpu = next((x.split(":", 1)[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    head = ["# Benchmarks", "", f"Written by `make bench` on {datetime.date.today()} at commit {commit}: {cpu}, {THREADS} threads, "
            f"best of {REPETITIONS}, load average at the start {os.getloadavg()[1]:.1f}.", ""]
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs/benchmarks.md").write_text("\n".join(head + out))
    print("\n".join(head + out))


if __name__ == "__main__":
    main()
