"""Makes the tokenizers of image models in tests/golden/tokenizer: small trained CLIP and T5 ones, and the ids that
transformers' CLIPTokenizerFast and T5TokenizerFast give to cases.txt and prompts.txt.

    python tools/reference/tokenizer/make_image_golden.py [--train]

A line of NAME.ids is a case: all its tokens, without start, end and padding. That cutting and padding are what
src/text/tokenizer/clip_tokenizer.h and t5_tokenizer.h say is asserted here for several lengths.
Needs `transformers`, `tokenizers` and `sentencepiece`.
"""
import io
import json
import pathlib
import sys

import make_golden
from make_golden import OUT, ROOT

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizerFast, T5TokenizerFast

PATTERN = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def texts():
    for name in ("cases.txt", "prompts.txt"):
        for line in (OUT / name).read_text().split("\n"):
            if line and not line.startswith("# "):
                yield make_golden.unescape(line).decode("utf-8", "replace")


def training_text():
    lines = [t.replace("\0", "") for t in texts() if "\ufffd" not in t and t.strip()]
    return lines * 3 + (ROOT / "LICENSE").read_text().split("\n")


def token(text):
    return {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def train_clip():
    t = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=1400, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False)
    t.train_from_iterator(training_text(), trainer)
    merges = json.loads(t.to_str())["model"]["merges"]
    # In the order of the published vocabulary: bytes, bytes at a word's end, merges, start, end.
    symbols = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges]
    symbols = list(dict.fromkeys(symbols)) + ["<|startoftext|>", "<|endoftext|>"]
    for name, pad in (("clip_small", "<|endoftext|>"), ("clip_pad_small", "!")):
        d = OUT / name
        d.mkdir(exist_ok=True)
        (d / "vocab.json").write_text(json.dumps({s: i for i, s in enumerate(symbols)}, ensure_ascii=False, separators=(",", ":")))
        (d / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in merges))
        names = {"bos_token": token("<|startoftext|>"), "eos_token": token("<|endoftext|>"),
                 "unk_token": token("<|endoftext|>"), "pad_token": pad}
        (d / "special_tokens_map.json").write_text(json.dumps(names))
        (d / "tokenizer_config.json").write_text(json.dumps(
            {**names, "add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": 77,
             "tokenizer_class": "CLIPTokenizer"}))
    CLIPTokenizerFast.from_pretrained(OUT / "clip_small").save_pretrained(OUT / "clip_json_small")


def train_t5():
    import sentencepiece as spm

    def train(name, **how):
        model = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(t for t in training_text()), model_writer=model, model_type="unigram", vocab_size=1000,
            character_coverage=0.98, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2, **how)
        (OUT / name).mkdir(exist_ok=True)
        (OUT / name / "spiece.model").write_bytes(model.getvalue())

    train("t5_small", normalization_rule_name="nmt_nfkc")
    # The same with a map of a few rules, for the form that tokenizer.json keeps it in (nmt_nfkc is 240 KB).
    rules = OUT / "rules.tsv"
    rules.write_text("".join("%s\t%s\n" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)) for a, b in (
        ("ﬁ", "fi"), ("½", "1/2"), ("①", "1"), ("\u3000", " "), ("Ａ", "A"), ("e\u0301", "é"), ("\u00a0", " "), ("\u200b", ""),
        ("㌔", "キロ"), ("\u0085", " "), ("\t", " "), ("\n", " "))))
    train("t5_json_small", normalization_rule_tsv=str(rules))
    rules.unlink()
    t = T5TokenizerFast.from_pretrained(OUT / "t5_json_small")
    t.save_pretrained(OUT / "t5_json_small")
    (OUT / "t5_json_small" / "spiece.model").unlink()


def write(name, tokenizer, head):
    with open(OUT / (name + ".ids"), "w") as f:
        for text in texts():
            ids = tokenizer(text, add_special_tokens=False).input_ids
            for n in (5, 77):
                want = head + ids[:n - len(head) - 1] + [tokenizer.eos_token_id]
                want += [tokenizer.pad_token_id] * (n - len(want))
                assert tokenizer(text, padding="max_length", truncation=True, max_length=n).input_ids == want
            f.write(" ".join(map(str, ids)) + "\n")


def main():
    if "--train" in sys.argv:
        train_clip()
        train_t5()
    for name in ("clip_small", "clip_pad_small", "clip_json_small"):
        t = CLIPTokenizerFast.from_pretrained(OUT / name)
        write(name, t, [t.bos_token_id])
    for name in ("t5_small", "t5_json_small"):
        write(name, T5TokenizerFast.from_pretrained(OUT / name), [])


main()
