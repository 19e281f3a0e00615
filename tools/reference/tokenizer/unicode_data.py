"""Writes src/text/unicode_data.c: the character classes that pre-tokenizer patterns ask for, as the regex engine of the
`tokenizers` library (Oniguruma) sees them, and which characters its NFC normaliser may touch.

    python tools/reference/tokenizer/unicode_data.py > src/text/unicode_data.c
"""
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

N = 0x110000
BITS = {"[\\p{Lu}\\p{Lt}]": 1, "\\p{Ll}": 2, "[\\p{Lm}\\p{Lo}]": 4, "\\p{M}": 8, "\\p{N}": 16, "\\p{P}": 32,
        "\\p{S}": 64, "\\s": 128}
NFC_BIT = 256


def members(pattern):
    """All code points that match: a Split that removes matches keeps the others."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    for base in range(0, N, 4096):
        cps = [c for c in range(base, base + 4096) if not 0xD800 <= c < 0xE000]
        kept = set()
        for _, (a, b) in split.pre_tokenize_str("".join(map(chr, cps))):
            kept.update(range(a, b))
        yield from (c for i, c in enumerate(cps) if i not in kept)


def nfc_active():
    """Characters that NFC may change, reorder or join to what stands before them."""
    nfc = normalizers.NFC().normalize_str
    seconds = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    for c in range(N):
        d = unicodedata.decomposition(chr(c))
        if d and not d.startswith("<") and " " in d and nfc(chr(c)) == chr(c):
            seconds.add(int(d.split()[1], 16))
    for c in range(N):
        if 0xD800 <= c < 0xE000:
            continue
        s = chr(c)
        if c in seconds or c == 0x345 or nfc(s) != s or nfc("\u0345" + s) != "\u0345" + s:
            yield c


flags = [0] * N
for pattern, bit in BITS.items():
    for c in members(pattern):
        flags[c] |= bit
for c in nfc_active():
    flags[c] |= NFC_BIT

runs = [c for c in range(N) if c == 0 or flags[c] != flags[c - 1]]
print("""/* unicode_data.c - runs of characters with the same classes (unicode.h says what the bits mean).
 * Made by tools/reference/tokenizer/unicode_data.py; do not edit. */
#include "text/unicode.h"

/* clang-format off */
/* (first code point << 9) | bits; a run lasts until the next one begins. */
const uint32_t unicode_runs[] = {""")
line = "   "
for c in runs:
    item = " 0x%x," % (c << 9 | flags[c])
    if len(line) + len(item) > 110:
        print(line)
        line = "   "
    line += item
print(line)
print("};\n/* clang-format on */\nconst size_t n_unicode_runs = sizeof unicode_runs / sizeof *unicode_runs;")
