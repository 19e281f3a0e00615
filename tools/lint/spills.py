#!/usr/bin/env python3
"""Vector registers that the compiler keeps on the stack in the kernels' hot loops: fails where there are more than the limit.

    spills.py [BUILD] [-v]      BUILD: build/release, or build/aarch64; -v: every hot loop that has any, and the worst of each function

A hot loop is one that multiplies vectors and holds no other loop that does: the instructions on a way from its head to the jump back,
not the rare code that compilers lay in between. Counted are its moves from vector registers to the stack, in hundredths of its
multiplications. Some are meant: sums that are touched once a block. Many are not: an operand that
does not fit the registers costs a store and a read for each product. (Reads alone are constants, which cost nothing there.)
After a change of a kernel look at its loops with -v, and lower a limit that has room.

The limits are those of gcc 12; for objects of another compiler nothing is checked, and that is said. Needs binutils.
"""
import pathlib
import re
import subprocess
import sys

COMPILER = "GCC: 12"
ARM = ("neon", "dotprod", "i8mm", "armbf16")
# "file" or "file function": stores in hundredths of the multiplications of its worst loop. What has no line may have none.
LIMITS = {
    "quant_avx2": 16,  # eight sums of 64 products, once a block; twice where scales are per 16
    "quant_avxvnni": 18,
    "quant_avx512": 8,
    "quant_amx": 9,  # a block's sums and scales, once for sixteen rows
    "quant_avx2 dot_code3_k16": 25,  # eight sums and eight scales a block of the formats whose codes mean levels
    "quant_avx2 dot_nvfp4": 18,
    "quant_avx512 dot_q2_k": 12,  # 24 sums of 196 products, once a block
    "quant_avx2 quant_store": 20,  # GELU's polynomial beside its operands
    "quant_avxvnni quant_store": 20,
    "paged_avx2": 8,
    "paged_avx512 put": 150,  # the few products that round a vector of a cache
    "paged_avx512 attend_many_f16": 4,  # one of the three keys that meet eight queries
    "paged_avx512 attend_many_q8": 5,  # one of 24 sums, where the scales of a block multiply them once
    "gemm_avx2 body_pack_row_bf16": 40,
    "gemm_avx2 body_depthwise": 100,
    "gemm_avx512 body_depthwise": 100,
    "gemm_avx512bf16 body_depthwise": 100,
    "gemm_amx body_depthwise": 100,
}
LIMITS |= {  # 64-bit Arm
    "quant_neon": 4,  # a sum or two of 72 products, once a block
    "quant_dotprod": 2,
    "quant_neon dot_iq4_nl": 5,  # the levels of its codes hold a register
    "quant_neon dot_mxfp4": 5,
    "quant_dotprod dot_code3_k": 3,
    "gemm_neon": 2,
    "gemm_armbf16": 1,
    "gemm_neon body_pack_row_bf16": 19,
    "gemm_armbf16 body_pack_row_bf16": 19,
    "gemm_neon body_depthwise": 100,
    "gemm_armbf16 body_depthwise": 100,
}
MULTIPLY = re.compile(
    r"(sdot|smmla|bfmmla|sml[as]l2?|smull2?|fml[as]|fmul)$|v(pmaddubs|pmaddwd|pdp|fn?m(add|sub)\d|dpbf16|mulps|pmulld|pmullw)")
VECTOR = re.compile(r"%[xyz]mm\d+|\bq\d+")
JUMP = re.compile(r"j|b$|b\.|cbn?z$|tbn?z$")
LEAVES = re.compile(r"(jmp|ret|b|br|ud2|brk)$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(?:\{vex\}\s+)?(\S+)\s*(.*)")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def tool(path, name):
    """Arm's objects need the binutils that came with their compiler."""
    return f"aarch64-linux-gnu-{name}" if path.stem.rsplit("_", 1)[1] in ARM else name


def functions(path):
    """(name, [(address, mnemonic, operands)]) of each function."""
    name, body = None, []
    for line in output(tool(path, "objdump"), "-d", "--no-show-raw-insn", path).splitlines():
        head = re.match(r"^[0-9a-f]+ <(.*)>:", line)
        if head:
            if body:
                yield name, body
            name, body = head[1], []
            continue
        m = INSTRUCTION.match(line)
        if m:
            body.append((int(m[1], 16), m[2], m[3]))
    if body:
        yield name, body


def successors(body):
    """For each instruction the places in `body` that may come next. Jumps through a register lead nowhere here."""
    place = {address: i for i, (address, _, _) in enumerate(body)}
    after = []
    for i, (_, mnemonic, operands) in enumerate(body):
        ways = [i + 1] if not LEAVES.match(mnemonic) and i + 1 < len(body) else []
        target = re.search(r"\b([0-9a-f]+) <", operands) if JUMP.match(mnemonic) else None
        if target and int(target[1], 16) in place:
            ways.append(place[int(target[1], 16)])
        after.append(ways)
    return after


def around(after, first, last):
    """Places on a way from `first` to `last` that stays between them. Compilers lay rare code of other loops there; it is on none."""
    before = {}
    seen, waiting = {first}, [first]
    while waiting:
        i = waiting.pop()
        for k in after[i]:
            if first <= k <= last:
                before.setdefault(k, []).append(i)
                if k not in seen:
                    seen.add(k)
                    waiting.append(k)
    if last not in seen:
        return set()
    back, waiting = {last}, [last]
    while waiting:
        for k in before.get(waiting.pop(), []):
            if k not in back:
                back.add(k)
                waiting.append(k)
    return back


def hot_loops(body):
    """Loops that multiply vectors, without those that hold another such loop: (address, instructions)."""
    after = successors(body)
    loops = []
    for last, ways in enumerate(after):
        for first in ways:
            if first > last:
                continue
            inside = [body[i] for i in sorted(around(after, first, last))]
            if any(MULTIPLY.match(x[1]) for x in inside):
                loops.append((first, last, inside))
    for first, last, inside in loops:
        if not any(first <= f and l <= last and (f, l) != (first, last) for f, l, _ in loops):
            yield body[first][0], inside


def counts(inside, frame):
    """Stores, reads, multiplications."""
    stack = re.compile(r"\(%(rsp|rbp)\)|\[sp\b" if frame else r"\(%rsp\)|\[sp\b")
    stores = reads = multiplications = 0
    for _, mnemonic, operands in inside:
        multiplications += bool(MULTIPLY.match(mnemonic))
        if not stack.search(operands) or not VECTOR.search(operands):
            continue
        stored = mnemonic in ("str", "stp", "stur") or mnemonic.startswith("vmov") and stack.search(operands.rsplit(",", 1)[-1])
        stores, reads = stores + bool(stored), reads + (not stored)
    return stores, reads, multiplications


def compiler_of(path):
    found = re.search(r"GCC: [^\n\]]*\) (\d+)|clang version [^\n\]]*", output("readelf", "-p", ".comment", path))
    return "GCC: " + found[1] if found and found[1] else found[0] if found else "an unknown compiler"


def check(path, verbose):
    """False if a loop has more than its limit."""
    good, worst = True, {}
    for name, body in functions(path):
        name = name.split(".")[0]
        frame = any(m == "mov" and o == "%rsp,%rbp" for _, m, o in body)
        for first, inside in hot_loops(body):
            stores, reads, products = counts(inside, frame)
            share, limit = 100 * stores // products, LIMITS.get(f"{path.stem} {name}", LIMITS.get(path.stem, 0))
            worst[name] = max(worst.get(name, 0), share)
            if verbose and stores:
                print(f"{path.name} {name} at {first:x}: {stores} stores, {reads} reads, {products} multiplications")
            if share > limit:
                good = False
                print(f"{path}: {name}, the loop at {first:x}: {stores} vector stores to the stack for {products} multiplications; "
                      f"at most {limit} in a hundred are allowed (tools/lint/spills.py)")
    if verbose:
        print("".join(f'    "{path.stem} {name}": {share},\n' for name, share in worst.items() if share), end="")
    return good


def main():
    arguments = [a for a in sys.argv[1:] if a != "-v"]
    build = pathlib.Path(arguments[0] if arguments else "build/release")
    paths = [p for isa in ("avx2", "avxvnni", "avx512", "avx512bf16", "amx", *ARM) for p in sorted(build.rglob(f"*_{isa}.o"))]
    if not paths:
        print(f"spills: skipped: {build} has no kernels")
        return 0
    good, checked = True, 0
    for path in paths:
        if compiler_of(path) != COMPILER:
            print(f"spills: skipped: {path.name} is by {compiler_of(path)}, the limits are those of {COMPILER}")
            continue
        checked += 1
        good &= check(path, "-v" in sys.argv)
    if good and checked:
        print(f"spills: {checked} files within their limits")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
