"""What the parts of the benchmark share: running programs that print JSON lines, and writing tables."""
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/release"
FILES = ROOT / "build/bench"  # random weights: large, made when missing
THREADS = str(len(os.sched_getaffinity(0)))
REPETITIONS = int(os.environ.get("BENCH_REPETITIONS", "3"))


def lines(command, timeout=1800, env=None):
    """The JSON lines that a program prints, and why there are none. env: beside the present environment."""
    try:
        run = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, cwd=ROOT, env={**os.environ, **(env or {})})
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    out = [json.loads(x) for x in run.stdout.splitlines() if x.startswith("{")]
    if run.returncode != 0:
        said = run.stderr.strip().splitlines()
        return out, f"exit status {run.returncode}" + (f": {said[-1]}" if said else "")
    return out, ""


def number(v, digits=0):
    return "-" if v is None else f"{v:,.{digits}f}"


def ratio(a, b, digits=2):
    return "-" if not a or not b else f"{a / b:.{digits}f}"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(r) + " |" for r in rows] + [""]


def raw(rows):
    """Figures as they were printed."""
    return ["```"] + [json.dumps(r) for r in rows] + ["```", ""]
