#!/usr/bin/env python3
"""Checks that a folder of src/ includes only folders below its own line (ARCHITECTURE.md, "The folders").

    imports.py [SRC]

Prints one line for each include that runs the wrong way and exits with 1 if there is any.
"""
import pathlib
import re
import sys

# What each folder may include besides itself. store is used by service alone; cli wires everything together.
MAY_USE = {
    "base": set(),
    "format": {"base"},
    "device": {"base", "format"},
    "text": {"base", "format"},
    "lm": {"base", "format", "device", "text"},
    "image": {"base", "format", "device", "text"},
    "store": {"base"},
    "service": {"base", "format", "text", "lm", "image", "store", "device"},
    "http": {"base", "format", "text", "service", "lm", "image"},
    "cli": {"base", "format", "device", "text", "lm", "image", "store", "service", "http"},
}
# Nothing above lm and image touches a tensor: these headers stay behind the two doors.
TENSOR_HEADERS = re.compile(r'"(device/cpu/|format/quant\.h|lm/(?!lm\.h)|image/(?!image\.h))')


def main() -> int:
    src = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "src")
    wrong = 0
    for path in sorted(src.rglob("*.[ch]")):
        folder = path.relative_to(src).parts[0]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"/]+)/', line)
            if not match or path.name.endswith("_test.c"):
                continue
            used = match.group(1)
            if used != folder and used not in MAY_USE[folder]:
                print(f"{path}:{number}: {folder}/ may not include {used}/")
                wrong += 1
            elif folder in ("service", "http") and TENSOR_HEADERS.search(line):
                print(f"{path}:{number}: {folder}/ sees the engines through lm/lm.h and image/image.h only")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
