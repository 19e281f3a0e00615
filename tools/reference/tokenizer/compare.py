"""Compares hearth's ids with the reference tokenizer's on megabytes of text: all of Unicode, random mixtures, and files.

    make && python tools/reference/tokenizer/compare.py MODEL [FILE...]

MODEL is a folder with a tokenizer.json, or the GGUF file of a SmolLM model. Needs the `tokenizers` package (and `gguf`).
"""
import array
import pathlib
import random
import subprocess
import sys
import tempfile

import reference

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]


def build(out):
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libpcre2-8", "jansson", "libsodium"], text=True)
    subprocess.check_call(["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-I%s" % (ROOT / "src"), str(HERE / "ids.c"),
                           str(ROOT / "build/release/libhearth.a"), *flags.split(), "-lunistring", "-lm", "-pthread",
                           "-o", out])


def scalars():
    return [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def texts():
    rng = random.Random(7)
    every = scalars()
    yield "every character in a row", "".join(map(chr, every))
    yield "every character, spaced", "".join(chr(c) + " " for c in every)
    yield "every character after a letter", "".join("a" + chr(c) for c in every)
    yield "every character before a letter", "".join("x " + chr(c) + "b" for c in every[:0x30000])
    shuffled = every[:]
    rng.shuffle(shuffled)
    yield "every character, shuffled", "".join(map(chr, shuffled))
    blocks = [range(0x20, 0x7F)] * 6 + [range(0xA0, 0x250), range(0x300, 0x340), range(0x370, 0x400), range(0x400, 0x500),
              range(0x590, 0x700), range(0x900, 0xE80), range(0x1100, 0x1200), range(0x2000, 0x2070), range(0x2150, 0x2190),
              range(0x3040, 0x3100), range(0x4E00, 0x4F00), range(0xAC00, 0xAD00), range(0x1F1E6, 0x1F6FF), range(0, 0x20)]
    pieces = ["'s", "'S", "'LL", "'Re", "'\u017f", "\r\n", "\n\n", "  ", "\t", "\u3000", "12345", "<|im_start|>", "</s>", "The",
              " the", "HTTPServer", "\u0301", "\u00a0", " \n ", "…", "//", "/\n", "\u200d", "\u180e", "\u1680", "\u0085",
              "\u2028", "\u2581"]
    out = []
    for _ in range(400000):
        if rng.random() < 0.35:
            out.append(rng.choice(pieces))
        else:
            out.append("".join(chr(rng.choice(rng.choice(blocks))) for _ in range(rng.randint(1, 3))))
    yield "random mixture", "".join(out)


def main():
    model, files = sys.argv[1], sys.argv[2:]
    special, plain = reference.of_smollm_gguf(model) if model.endswith(".gguf") else reference.of_folder(model)
    with tempfile.TemporaryDirectory() as tmp:
        program = tmp + "/ids"
        build(program)
        todo = list(texts()) + [(f, pathlib.Path(f).read_bytes().decode("utf-8", "replace")) for f in files]
        failed = False
        for name, text in todo:
            path = tmp + "/text"
            pathlib.Path(path).write_bytes(text.encode())
            for mode, tok in (("plain", plain), ("special", special)):
                r = subprocess.run([program, model, mode, path], capture_output=True, check=True)
                got = array.array("i", r.stdout).tolist()
                want = reference.ids(tok, text)
                same = got == want
                failed |= not same
                print("%-4s %-34s %-8s %8d tokens  %s" % ("ok" if same else "BAD", name, mode, len(want),
                                                          r.stderr.decode().strip()))
                if not same:
                    i = next((k for k, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
                    print("     token %d: hearth %s, reference %s" % (i, got[i:i + 8], want[i:i + 8]))
                    print("     before it: %r" % tok.decode(want[max(0, i - 8):i], skip_special_tokens=False))
                    print("     there: %r" % tok.decode(want[i:i + 8], skip_special_tokens=False))
    sys.exit(failed)


main()
