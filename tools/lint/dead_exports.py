#!/usr/bin/env python3
"""Finds functions and data that a file exports and nothing else uses: they are static, or should not be there.

    dead_exports.py BUILD_FOLDER     after `make all unit-programs`

Looks at the symbols of the object files below the folder, tests included, and takes a name for used when another object needs it or
when a program of bench/ or tests/ names it. Exits with 1 if there is any.
"""
import pathlib
import re
import subprocess
import sys

# Called by nobody here: the C library's callers find it in its place. So do the linker's (--wrap) of __wrap_NAME.
EXPECTED = {"main", "recv", "sendmsg", "sendfile64"}


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    # Those of sources that are there: a folder keeps what was built from files that have gone since.
    objects = sorted(str(p) for p in folder.rglob("*.o") if (pathlib.Path("src") / p.relative_to(folder)).with_suffix(".c").exists())
    if not objects:
        print(f"{folder}: no object files; build first", file=sys.stderr)
        return 2
    defined: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    for line in subprocess.run(["nm", "-A", "-g", *objects], capture_output=True, text=True, check=True).stdout.splitlines():
        where, _, rest = line.partition(":")
        kind, name = rest.split()[-2:]
        if kind == "U":
            used.setdefault(name, set()).add(where)
        else:
            defined[name] = where
    words = set()
    for path in [*pathlib.Path("bench").glob("*.[ch]"), *pathlib.Path("tests").rglob("*.[ch]")]:
        words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    dead = [(where, name) for name, where in defined.items() if name not in EXPECTED and not name.startswith("__wrap_") and not used.get(name) and name not in words]
    for where, name in sorted(dead):
        print(f"{where}: {name}() is used nowhere else")
    return 1 if dead else 0


sys.exit(main())
