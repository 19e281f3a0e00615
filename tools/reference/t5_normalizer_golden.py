#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/t5_normalizers.json: what the tokenizers library makes of a few texts with the tokenizer of
tests/golden/pipelines/flux_dev/tokenizer_2 under other normalizers and pre-tokenizers.

    pip install tokenizers
    tools/reference/t5_normalizer_golden.py
"""
import json
import pathlib

from tokenizers import Tokenizer

BASE = json.loads(pathlib.Path("tests/golden/pipelines/flux_dev/tokenizer_2/tokenizer.json").read_text())
TEXTS = ["a photo of an apple", "A PHOTO of \ufb01 \uff41\uff50\uff50\uff4c\uff45", "  two  spaces\tand\n a tab  ", "caf\u00e9 cafe\u0301 \u0130 \u03a3\u03a3",
         "", " ", "</s> a </s>b", "\u2581a\u2581 b", "horse,horse"]
seq = lambda *steps: {"type": "Sequence", "normalizers": list(steps)}
pre = lambda *steps: {"type": "Sequence", "pretokenizers": list(steps)}
one = lambda kind, **more: {"type": kind, **more}
regex = lambda pattern, content: one("Replace", pattern={"Regex": pattern}, content=content)
meta = lambda scheme, **more: one("Metaspace", replacement="\u2581", prepend_scheme=scheme, **more)

NORMALIZERS = [None, one("NFC"), one("NFD"), one("NFKC"), one("NFKD"), one("Lowercase"), seq(one("NFKC"), one("Lowercase")),
               seq(one("NFD"), one("StripAccents")), one("Strip", strip_left=True, strip_right=True), one("Strip", strip_left=False, strip_right=True),
               one("Replace", pattern={"String": "horse"}, content="photo"), regex(" {2,}", "\u2581"), regex("\\s+", " "), one("Prepend", prepend="a "),
               seq()]
PRE = [pre(one("WhitespaceSplit"), meta("never", split=True)), pre(one("WhitespaceSplit"), meta("first", split=True)), meta("always", split=True),
       meta("first", split=True), meta("never", split=True), meta("always", split=False), one("WhitespaceSplit"), None]
REFUSED = [dict(normalizer=one("Nmt")), dict(normalizer=seq(one("NFKC"), one("BertNormalizer", clean_text=True, lowercase=True))),
           dict(normalizer=regex("[a-c]+", "x")), dict(pre_tokenizer=one("Whitespace")),
           dict(pre_tokenizer=pre(one("WhitespaceSplit"), one("Punctuation", behavior="Isolated")))]


def case(**fields):
    tok = Tokenizer.from_str(json.dumps({**BASE, **fields}))
    return {**fields, "ids": [tok.encode(t).ids for t in TEXTS]}


if __name__ == "__main__":
    cases = [case(normalizer=n) for n in NORMALIZERS] + [case(pre_tokenizer=p) for p in PRE]
    cases += [case(normalizer=regex(" {2,}", "\u2581"), pre_tokenizer=meta("always", split=True))]
    lines = lambda items: "[\n" + ",\n".join(json.dumps(i) for i in items) + "\n]"
    pathlib.Path("tests/golden/tokenizer/t5_normalizers.json").write_text(
        "{\"texts\": " + json.dumps(TEXTS) + ",\n\"cases\": " + lines(cases) + ",\n\"refused\": " + lines(REFUSED) + "}\n")
