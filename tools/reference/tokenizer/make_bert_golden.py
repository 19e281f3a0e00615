"""Makes tests/golden/tokenizer/bert_*: small WordPiece tokenizers, and the ids of cases.txt for them.

    python tools/reference/tokenizer/make_bert_golden.py

bert_small has no capitals and accents, bert_cased has both; bert_lines is bert_small as vocab.txt, and as a GGUF file with the vocabulary
turned round as llama.cpp's converter does. Needs `tokenizers` and `gguf`.
"""
import json

import make_golden
import reference
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make(name, lowercase):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=SPECIAL, limit_alphabet=400, show_progress=False)
    # The other half has unknown pieces. A GGUF file cannot tell "##" before U+2581 from a word's beginning.
    t.train_from_iterator([c.replace("\u2581", " ") for c in list(make_golden.cases())[::2]], trainer)
    t.post_processor = processors.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]")))
    t.decoder = decoders.WordPiece()
    folder = make_golden.OUT / name
    folder.mkdir(exist_ok=True)
    t.save(str(folder / "tokenizer.json"))
    special, plain = reference.of_folder(folder)
    make_golden.write_ids(name, lambda s: reference.ids(special, s), lambda s: reference.ids(plain, s))
    return t


def turned(piece):
    if piece.startswith("[") and piece.endswith("]"):
        return piece
    return piece[2:] if piece.startswith("##") else "\u2581" + piece


def lines(t):
    folder = make_golden.OUT / "bert_lines"
    folder.mkdir(exist_ok=True)
    vocab = sorted(t.get_vocab(), key=t.get_vocab().get)
    (folder / "vocab.txt").write_text("".join(p + "\n" for p in vocab))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"}) + "\n")
    w = GGUFWriter(folder / "bert_small.gguf", "bert")
    w.add_tokenizer_model("bert")
    w.add_token_list([turned(p) for p in vocab])
    w.add_token_types([TokenType.CONTROL if p in SPECIAL else TokenType.NORMAL for p in vocab])
    w.add_unk_token_id(vocab.index("[UNK]"))
    w.add_sep_token_id(vocab.index("[SEP]"))
    w.add_pad_token_id(vocab.index("[PAD]"))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    lines(make("bert_small", True))
    make("bert_cased", False)
