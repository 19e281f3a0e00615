#!/usr/bin/env python3
"""Checks that a folder of src/ includes only folders below its own line (ARCHITECTURE.md, "The folders"), and that the machine is
asked in one place.

    imports.py [SRC]

Prints one line for each include that runs the wrong way and exits with 1 if there is any.
"""
import pathlib
import re
import sys

# What each room may include besides itself: a folder of src/, or one inside it that has a line of its own. cli wires
# everything together.
MAY_USE = {
    "base": set(),
    "format": {"base"},
    "device": {"base", "format"},
    "text": {"base", "format"},
    "text/jinja": {"base", "text"},
    "text/tokenizer": {"base", "format", "text"},
    "text/grammar": {"base", "text", "text/tokenizer"},
    "lm": {"base", "format", "device", "text", "text/grammar", "text/jinja", "text/tokenizer"},
    "image": {"base", "format", "device", "text", "text/tokenizer"},
    "store": {"base"},
    "service": {"base", "format", "store", "text", "text/jinja", "text/tokenizer", "lm", "image", "device", "service/hub", "service/models",
                "service/tools", "service/safety", "service/c2pa", "text/grammar"},
    "service/c2pa": {"base", "format"},
    "service/safety": {"base", "format", "text", "image", "device", "store"},
    "service/tools": {"base", "format", "text", "text/jinja", "text/tokenizer", "service"},
    "service/models": {"base", "format", "lm", "image"},
    "service/hub": {"base", "format", "lm", "service/models"},
    "service/account": {"base", "format", "store", "service", "service/models"},
    "service/batch": {"base", "format", "store", "service", "service/account"},
    "service/advice": {"base", "format", "service/models"},
    "service/route": {"base", "format", "service", "service/account"},
    "http": {"base", "format", "text", "text/jinja", "text/tokenizer", "service", "service/models", "service/tools",
             "service/account", "service/advice", "service/batch", "service/route", "service/safety", "store"},
    "cli": {"base", "format", "device", "text", "text/jinja", "text/tokenizer", "lm", "image", "service", "service/hub",
            "service/models", "service/tools", "service/account", "service/advice", "service/batch", "service/route", "service/safety", "service/c2pa", "store", "http"},
}
# Headers that only these may include: a handler reaches its request through http/exchange.h, whichever transport carries it.
ONLY = {
    "microhttpd.h": {"http/server.c", "http/redirect.c"},
    "http/exchange_inside.h": {"http/server.c", "http/exchange.c", "http/exchange_turn.c", "http/exchange_memory.c", "http/preflight.c",
                               "http/loading.c", "http/watch.c", "http/endings.c", "http/admission.c", "http/inner.c"},
}
# Networks are written in device.h's operations: what a backend is made of is no business of theirs.
BACKEND_HEADERS = re.compile(r'"device/(?!device\.h)')
# Nothing above lm and image touches a tensor: these headers stay behind the two doors.
TENSOR_HEADERS = re.compile(r'"(device/cpu/|format/quant\.h|lm/(?!lm\.h)|image/(?!image\.h))')
# http sees replies (service/reply.h), not the language engine, though headers of service/ bring its door along.
ENGINE = re.compile(r"\b(lm_[a-z]\w*|LM_[A-Z]\w*)\b|\bstruct lm\b")
# What the machine has is asked in base/machine.c and base/isa.c: with control groups, HEARTH_ISA and tests.
ASKS_MACHINE = re.compile(
    r"_SC_(AV)?PHYS_PAGES|_SC_NPROCESSORS|_SC_LEVEL[1-4]|\bsched_getaffinity\b|\bget_?nprocs|\bsysinfo\(|\bgetauxval\b|"
    r"\b__builtin_cpu_(supports|is|init)\b|<cpuid\.h>|/proc/(meminfo|cpuinfo|self/cgroup)|/sys/fs/cgroup|/sys/devices/system/cpu")
MAY_ASK = {"base/machine.c", "base/isa.c"}

# Tests, and what only they include.
TESTS_ALONE = ("_test.c", "golden.h")


def room(parts: tuple[str, ...]) -> str:
    """The room of a path below src/: the longest of its folders that has a line in the table."""
    for n in range(len(parts) - 1, 0, -1):
        if "/".join(parts[:n]) in MAY_USE:
            return "/".join(parts[:n])
    return parts[0]


def main() -> int:
    src = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "src")
    wrong = 0
    for path in sorted(src.rglob("*.[ch]")):
        folder = room(path.relative_to(src).parts)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if ASKS_MACHINE.search(line) and str(path.relative_to(src)) not in MAY_ASK and not path.name.endswith("_test.c"):
                print(f"{path}:{number}: base/machine.h and base/isa.h say what the machine has")
                wrong += 1
            if folder == "http" and ENGINE.search(line) and not path.name.endswith("_test.c"):
                print(f"{path}:{number}: http/ sees language models through service/ (reply.h, generate.h, tokenize.h)")
                wrong += 1
            header = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
            if header and path.relative_to(src).as_posix() not in ONLY.get(header.group(1), {path.relative_to(src).as_posix()}):
                print(f"{path}:{number}: {header.group(1)} is for {', '.join(sorted(ONLY[header.group(1)]))}")
                wrong += 1
            match = re.match(r'\s*#\s*include\s+"([^"]+/[^"]+)"', line)
            if not match or path.name.endswith(TESTS_ALONE):
                continue
            used = room(tuple(match.group(1).split("/")))
            if used != folder and used not in MAY_USE[folder]:
                print(f"{path}:{number}: {folder}/ may not include {used}/")
                wrong += 1
            elif folder in ("lm", "image") and BACKEND_HEADERS.search(line):
                print(f"{path}:{number}: {folder}/ sees devices through device/device.h only")
                wrong += 1
            elif folder.split("/")[0] in ("service", "http") and TENSOR_HEADERS.search(line):
                print(f"{path}:{number}: {folder}/ sees the engines through lm/lm.h and image/image.h only")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
