"""Makes tests/golden/tokenizer: small trained tokenizers, and the ids of cases.txt for them and for published ones.

    python tools/reference/tokenizer/make_golden.py [--train] [--assets DIR] [--smollm FILE.gguf]

Without --train the small tokenizers are kept as they are and only the ids are made again (after adding a case, say).
DIR holds folders with the tokenizer.json of published models (llama3_1, qwen3, deepseek_v3), FILE is a SmolLM2 GGUF file.
Needs `tokenizers`, `sentencepiece` and `gguf`.

A line of NAME.ids belongs to a case: the ids with no control token recognised, then, if they differ, " | " and the ids
with control tokens recognised.
"""
import argparse
import io
import json
import pathlib
import re

import reference
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).parents[3]
OUT = ROOT / "tests/golden/tokenizer"

LETTERS = r"[^\r\n\p{L}\p{N}]?"
UP, LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = CONTRACTIONS + "|" + LETTERS + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
O200K = (LETTERS + UP + "*" + LOW + "+" + CONTRACTIONS + "?|" + LETTERS + UP + "+" + LOW + "*" + CONTRACTIONS +
         r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES)


def unescape(line):
    """The bytes that a line of cases.txt says."""
    out = io.BytesIO()
    for m in re.finditer(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|([^\\]+)", line):
        byte, u4, u8, one, text = m.groups()
        if byte:
            out.write(bytes([int(byte, 16)]))
        elif u4 or u8:
            out.write(chr(int(u4 or u8, 16)).encode())
        elif one:
            out.write({"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "\\": b"\\"}[one])
        else:
            out.write(text.encode())
    return out.getvalue()


def cases():
    for line in (OUT / "cases.txt").read_text().split("\n"):
        if line and not line.startswith("# "):
            yield unescape(line).decode("utf-8", "replace")


def write_ids(name, special, plain):
    with open(OUT / (name + ".ids"), "w") as f:
        for text in cases():
            p, s = plain(text), special(text)
            f.write(" ".join(map(str, p)) + ("" if p == s else " | " + " ".join(map(str, s))) + "\n")


def training_text():
    lines = [t.replace("\0", "") for t in cases()]
    licence = (ROOT / "LICENSE").read_text().split("\n")
    return [t for t in lines if "\ufffd" not in t] * 3 + licence


def save(name, tokenizer, change=None):
    doc = json.loads(tokenizer.to_str())
    if change:
        change(doc)
    (OUT / name).mkdir(exist_ok=True)
    (OUT / name / "tokenizer.json").write_text(json.dumps(doc, ensure_ascii=False, separators=(",", ":")))


def train_bytes(name, normalizer, splits, added, change=None, vocab=700):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator(training_text(), trainer)
    for token in added:
        (t.add_special_tokens if token.special else t.add_tokens)([token])
    save(name, t, change)


def isolated(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def train_all():
    chat = [AddedToken(s, special=True, normalized=False) for s in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    train_bytes("qwen_small", normalizers.NFC(), [isolated(QWEN2)],
                chat + [AddedToken("<think>", special=False, normalized=False), AddedToken("</think>", normalized=True),
                        AddedToken("    ", normalized=False), AddedToken("word", single_word=True, normalized=True),
                        AddedToken("<|eot_id|>", special=True, normalized=False, rstrip=True),
                        AddedToken("<|eom_id|>", special=True, normalized=False, lstrip=True)])

    def o200k(doc):
        doc["model"]["ignore_merges"] = True
        doc["model"]["merges"] = [" ".join(m) for m in doc["model"]["merges"]]  # the older spelling
        doc["post_processor"] = json.loads(processors.TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 700)]).__getstate__())

    train_bytes("o200k_small", None, [isolated(O200K)],
                [AddedToken(s, special=True, normalized=False) for s in ("<|begin_of_text|>", "<|eot|>", "<|eom|>")], o200k)
    train_bytes("odd_small", normalizers.Sequence([normalizers.NFKC()]),
                [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(" ", "merged_with_next"),
                 pre_tokenizers.Split(Regex(r"[\r\n]+"), "contiguous"), pre_tokenizers.Punctuation("merged_with_previous"),
                 pre_tokenizers.Split(Regex(r"\p{Lu}?\p{Ll}+|\s+|\S+?"), "isolated", invert=True)], chat)
    train_spm()


def train_spm():
    import sentencepiece as spm
    from gguf import GGUFWriter, TokenType

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(t for t in training_text() if t), model_writer=model, model_type="bpe", vocab_size=900,
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2)
    (OUT / "spm_small").mkdir(exist_ok=True)
    (OUT / "spm_small" / "tokenizer.model").write_bytes(model.getvalue())
    sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
    n = sp.get_piece_size()
    pieces = [sp.id_to_piece(i) for i in range(n)]
    scores = [sp.get_score(i) for i in range(n)]
    kinds = [TokenType.UNKNOWN if sp.is_unknown(i) else TokenType.CONTROL if sp.is_control(i) else
             TokenType.BYTE if sp.is_byte(i) else TokenType.NORMAL for i in range(n)]

    w = GGUFWriter(OUT / "spm_small" / "spm_small.gguf", "llama")
    w.add_tokenizer_model("llama")
    w.add_token_list([p.encode() for p in pieces])
    w.add_token_scores(scores)
    w.add_token_types(kinds)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()

    # The same as the tokenizer.json that Llama 2 came with: merges in the order of the pieces they make.
    vocab = {p: i for i, p in enumerate(pieces)}
    normal = {p: i for p, i in vocab.items() if kinds[i] == TokenType.NORMAL}
    merges = sorted((-scores[i], len(p[:k]), p[:k], p[k:]) for p, i in normal.items() for k in range(1, len(p))
                    if p[:k] in normal and p[k:] in normal)
    merges = [(a, b) for _, _, a, b in merges]

    def make():
        t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
        t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
        return t

    legacy = make()
    legacy.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    legacy.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    save("spm_legacy", legacy)
    first = make()
    first.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    first.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("[INST]", "[/INST]")])
    save("spm_first", first)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--train", action="store_true")
    ap.add_argument("--assets")
    ap.add_argument("--smollm")
    a = ap.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if a.train:
        train_all()
    for name in ("qwen_small", "o200k_small", "odd_small", "spm_legacy", "spm_first"):
        special, plain = reference.of_folder(OUT / name)
        write_ids(name, lambda s: reference.ids(special, s), lambda s: reference.ids(plain, s))
    import sentencepiece as spm

    sp = spm.SentencePieceProcessor(model_file=str(OUT / "spm_small" / "tokenizer.model"))
    special, _ = reference.of_folder(OUT / "spm_legacy")
    write_ids("spm_small", lambda s: reference.ids(special, s), sp.encode)
    for name in ("llama3_1", "qwen3", "deepseek_v3") if a.assets else ():
        special, plain = reference.of_folder(pathlib.Path(a.assets) / name)
        write_ids(name, lambda s: reference.ids(special, s), lambda s: reference.ids(plain, s))
    if a.smollm:
        special, plain = reference.of_smollm_gguf(a.smollm)
        write_ids("smollm2", lambda s: reference.ids(special, s), lambda s: reference.ids(plain, s))


if __name__ == "__main__":
    main()
