"""Makes src/text/tokenizer/wordpiece_data.c: what the tokenizers library's BertNormalizer and BertPreTokenizer think of each character.

    python tools/reference/tokenizer/bert_data.py > src/text/tokenizer/wordpiece_data.c

The library has tables of its own, of an older Unicode than its regular expressions: so they are asked, character by character.
Needs the `tokenizers` package.
"""
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer


def normalizer(**on):
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    return BertNormalizer(**{n: n in on for n in names})


def probe():
    clean, chinese = normalizer(clean_text=1), normalizer(handle_chinese_chars=1)
    strip, lower, split = normalizer(strip_accents=1), normalizer(lowercase=1), BertPreTokenizer()
    kind, low = {}, []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        s = chr(c)
        cleaned, small = clean.normalize_str(s), lower.normalize_str(s)
        assert cleaned in ("", " ", s)
        bits = "|".join(name for name, holds in (
            ("WP_DROP", cleaned == ""), ("WP_SPACE", cleaned == " "), ("WP_MARK", strip.normalize_str("a" + s) == "a"),
            ("WP_PUNCT", len(split.pre_tokenize_str("a" + s + "a")) == 3), ("WP_CHINESE", chinese.normalize_str(s) != s))
            if holds)
        if bits:
            kind[c] = bits
        if small != s and c != 0x130:  # the only one that becomes two characters: wordpiece.c
            assert len(small) == 1
            low.append((c, ord(small) - c))
    assert lower.normalize_str("\u0130") == "i\u0307"
    return kind, low


def main():
    kind, low = probe()
    runs = []
    for c in sorted(kind):
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == kind[c]:
            runs[-1][1] = c
        else:
            runs.append([c, c, kind[c]])
    steps = []
    for c, delta in low:
        if steps and steps[-1][3] == delta and c - steps[-1][1] == (steps[-1][2] or c - steps[-1][1]) <= 2:
            steps[-1][2] = c - steps[-1][1]
            steps[-1][1] = c
        else:
            steps.append([c, c, 0, delta])
    print("""/* wordpiece_data.c - characters as BERT's normaliser and pre-tokenizer see them (wordpiece.h).
 * Made by tools/reference/tokenizer/bert_data.py; do not edit. */
#include "text/tokenizer/wordpiece.h"

/* clang-format off */
const struct wp_run wp_runs[] = {""")
    line = "   "
    for first, last, bits in runs:
        one = " { 0x%x, 0x%x, %s }," % (first, last, bits)
        if len(line) + len(one) > 118:
            print(line)
            line = "   "
        line += one
    print(line + "\n};\nconst size_t wp_n_runs = sizeof wp_runs / sizeof *wp_runs;\n")
    print("const struct wp_lower wp_lowers[] = {")
    line = "   "
    for first, last, step, delta in steps:
        one = " { 0x%x, 0x%x, %d, %d }," % (first, last, step or 1, delta)
        if len(line) + len(one) > 118:
            print(line)
            line = "   "
        line += one
    print(line + "\n};\nconst size_t wp_n_lowers = sizeof wp_lowers / sizeof *wp_lowers;\n/* clang-format on */")


main()
