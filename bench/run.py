"""Measures hearth and its peers in one run, interleaved, and writes docs/benchmarks.md.

    run.py [language|avx2|families|images|schemas ...]      all parts by default; a part that is not asked for keeps its place in the document

schemas needs BENCH_TOKENIZER and BENCH_SCHEMAS (bench/schemas_peers.py) and is not among the parts by default without them.

Every figure is the best of the repetitions (BENCH_REPETITIONS, 3); ratios are of figures taken minutes apart on the same machine. A
peer that does not run here is said so, never guessed.
"""
import datetime
import os
import platform
import subprocess
import sys

import families
import images
import language
import schemas_peers
from common import BUILD, REPETITIONS, ROOT, THREADS, lines, raw

PARTS = {"language": language.section, "avx2": language.section_avx2, "families": families.section, "images": images.section, "schemas": schemas_peers.section_of_run}
DOCUMENT = ROOT / "docs/benchmarks.md"


def ceilings(env):
    rows, why = lines([BUILD / "bench/ceilings", THREADS], env=env)
    return ["## The machine's ceilings", "", "GB/s read from memory, and billions of operations a second (a multiplication and an addition are two).", ""] + raw(rows) + ([why, ""] if why else [])


def kept(part):
    """What the document says of a part already."""
    text = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    begin, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    return text[text.index(begin):text.index(end)].splitlines()[1:] if begin in text and end in text else []


def main():
    asked = sys.argv[1:] or [p for p in PARTS if p != "schemas" or "BENCH_SCHEMAS" in os.environ]
    if unknown := [a for a in asked if a not in PARTS]:
        sys.exit(f"run.py: no part is called {unknown[0]}; there are {', '.join(PARTS)}")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    cpu = next((x.split(":", 1)[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    out = ["# Benchmarks", "", "Written by `make bench`; the parts may be of different runs, each says which. Every figure is the best of its repetitions.", ""]
    for part, section in PARTS.items():
        out.append(f"<!-- {part} -->")
        if part in asked:
            load = os.getloadavg()[1]
            body = ceilings({"HEARTH_ISA": "avx2"} if part in ("avx2", "families") else None) + section()
            out += [f"*{datetime.date.today()}, commit {commit}: {cpu}, {THREADS} threads, best of {REPETITIONS}, load average at the start {load:.1f}.*", ""] + body
        else:
            out += kept(part)
        out.append(f"<!-- end of {part} -->")
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text("\n".join(out) + "\n")
    print("\n".join(out))


if __name__ == "__main__":
    main()
