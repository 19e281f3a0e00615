"""Makes tests/golden/tokenizer/files: small tokenizer folders, each with one thing that is easy to read wrongly, and what the
reference makes of texts (expect.json).

    python tools/reference/tokenizer/make_files.py [NAME...]

The reference of a tokenizer.json is the `tokenizers` library, of a folder with files beside it `transformers`, of a tokenizer.model
`sentencepiece`. Needs all three. Without names all folders are made again.
"""
import copy
import io
import json
import pathlib
import shutil
import sys

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).parents[3]
OUT = ROOT / "tests/golden/tokenizer/files"

LINES = ["hello world", "hello  world", "a  b    c", "The year is 2024, not 12345.", "don't DON'T I'll we've", "it's 12345678 a",
         "नमस्ते hello नमस्ते", "hello\n\nworld\n", " hello", "hello ", "  x\n y", "a ½ b ²", "日本語 テキスト 한국어", "Привет, мир!",
         "x = foo(bar[1]);\n\treturn", "CamelCaseHTTPServer", "e\u0301 café", "…!?", "<s>hello</s>", "▁hello▁world"]
CORPUS = LINES * 3 + ["hello world hello", "नमस्ते नमस्ते", "world world 2024 12 34 345 123", " world the year"] * 4


def token(id, content, **settings):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **settings}


def byte_level(pre, vocab=330, **more):
    """A byte-level tokenizer.json trained with these pre-tokenizers (JSON)."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, special_tokens=["<s>", "</s>"]))
    doc = json.loads(t.to_str())
    doc["pre_tokenizer"] = pre
    doc["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    doc.update(more)
    return doc


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES_ONLY = {**BYTES, "use_regex": False}


def sequence(*pre):
    return {"type": "Sequence", "pretokenizers": list(pre)}


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def write(name, files, texts, reference, **expect):
    """`reference(text, around)` gives ids."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, content in files.items():
        if isinstance(content, bytes):
            (folder / file).write_bytes(content)
        else:
            (folder / file).write_text(content if isinstance(content, str) else
                                       json.dumps(content, ensure_ascii=False, separators=(",", ":")))
    rows = []
    ref = reference(folder) if texts else None
    for text in texts:
        row = {"text": text, "ids": ref(text, False)}
        # a text that begins with the beginning token gets no second one here, unlike the reference: none of those
        if ref(text, True) != row["ids"] and not text.startswith("<s>"):
            row["around"] = ref(text, True)
        rows.append(row)
    body = ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    rest = "".join(",\n%s: %s" % (json.dumps(k), json.dumps(v, ensure_ascii=False)) for k, v in expect.items())
    (folder / "expect.json").write_text('{"texts": [\n%s\n]%s}\n' % (body, rest))


def by_tokenizers(folder):
    t = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda s, around: t.encode(s, add_special_tokens=around).ids


def by_transformers(folder):
    from transformers import PreTrainedTokenizerFast

    t = PreTrainedTokenizerFast.from_pretrained(folder)
    return lambda s, around: t(s, add_special_tokens=around).input_ids


def by_sentencepiece(added=(), bos=1):
    """Added tokens are cut out first, and every stretch between them is a text of its own."""
    def open_(folder):
        p = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        control = {p.id_to_piece(i): i for i in range(p.get_piece_size()) if p.is_control(i) or p.is_unknown(i)}
        known = {**control, **dict(added)}

        def encode(s, around):
            out, i, start = [bos] if around else [], 0, 0
            while i < len(s):
                hit = max((k for k in known if s.startswith(k, i)), key=len, default=None)
                if hit is None:
                    i += 1
                    continue
                out += p.encode(s[start:i]) + [known[hit]]
                i += len(hit)
                start = i
            return out + p.encode(s[start:])
        return encode
    return open_


def sentencepiece(**how):
    model = io.BytesIO()
    defaults = dict(model_type="bpe", vocab_size=340, byte_fallback=True, character_coverage=0.98, hard_vocab_limit=False,
                    normalization_rule_name="identity", minloglevel=2)
    spm.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=model, **{**defaults, **how})
    return without_paths(model.getvalue())


def without_paths(model):
    """The trainer notes where its rules lay; what they say is in the character map."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    return proto.SerializeToString()


FOLDERS = {}


def folder(f):
    FOLDERS[f.__name__] = f
    return f


# -- what stands beside the vocabulary

CHAT = ["<|im_start|>hello<|im_end|>", "hello <|im_end|> world", "a <pad>b", "hello</s>", "x <think> y", "x<think>"]


@folder
def added_in_config():
    """Tokens that only added_tokens_decoder names, one of which is a piece already, and one that the file has otherwise."""
    doc = byte_level(BYTES)
    n = len(doc["model"]["vocab"])
    doc["added_tokens"] = [token(0, "<s>"), token(1, "</s>", lstrip=True), token(n, "<think>", special=False)]
    decoder = {str(t.pop("id")): t for t in copy.deepcopy(
        [token(0, "<s>"), token(1, "</s>"), token(n, "<think>", special=False, lstrip=True, rstrip=True), token(n + 1, "<|im_start|>"),
         token(n + 2, "<|im_end|>"), token(doc["model"]["vocab"]["world"], "world", special=False, single_word=True)])}
    config = {"added_tokens_decoder": decoder, "bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "</s>"}
    write("added_in_config", {"tokenizer.json": doc, "tokenizer_config.json": config}, CHAT + LINES, by_transformers, eos=n + 2,
          names={"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "</s>"})


@folder
def added_in_file():
    """added_tokens.json, and names in special_tokens_map.json, which win over those of tokenizer_config.json."""
    doc = byte_level(BYTES)
    n = len(doc["model"]["vocab"])
    write("added_in_file", {
        "tokenizer.json": doc, "added_tokens.json": {"<|im_end|>": n + 1, "<|im_start|>": n, "<think>": n + 2},
        "special_tokens_map.json": {"bos_token": {"content": "<|im_start|>", "lstrip": False, "normalized": False, "rstrip": False,
                                                  "single_word": False}, "eos_token": "<|im_end|>"},
        "tokenizer_config.json": {"eos_token": "</s>", "unk_token": "<s>", "chat_template": "of the config"},
    }, CHAT + LINES, by_transformers, eos=n + 1, template="of the config", **{"from": "tokenizer_config.json"},
        names={"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<s>"})


@folder
def named_pieces():
    """Names of tokens that are pieces of the vocabulary and no added tokens: they are cut out of the text all the same."""
    doc = byte_level(BYTES)
    doc["added_tokens"] = []
    write("named_pieces", {"tokenizer.json": doc, "tokenizer_config.json": {
        "bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": ["hello"], "add_bos_token": True, "add_eos_token": True}},
        CHAT + LINES, by_transformers, eos=1)


@folder
def added_beside_model():
    model = sentencepiece(remove_extra_whitespaces=False)
    n = spm.SentencePieceProcessor(model_proto=model).get_piece_size()
    decoder = {str(t.pop("id")): t for t in [token(n, "<|im_end|>"), token(n + 1, "<|im_start|>")]}
    write("added_beside_model", {"tokenizer.model": model, "tokenizer_config.json": {
        "added_tokens_decoder": decoder, "bos_token": "<s>", "eos_token": "<|im_end|>", "tokenizer_class": "LlamaTokenizer"}},
        CHAT + LINES, by_sentencepiece({"<|im_end|>": n, "<|im_start|>": n + 1}), eos=n)
    write("added_beside_model_2", {"tokenizer.model": model, "added_tokens.json": {"<|im_start|>": n, "<|im_end|>": n + 1},
                                   "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "<|im_end|>"}},
          CHAT + LINES, by_sentencepiece({"<|im_end|>": n + 1, "<|im_start|>": n}), eos=n + 1)


@folder
def template_json():
    """chat_template.json of a processor; chat_template.jinja wins over it, and it over tokenizer_config.json."""
    doc = byte_level(BYTES, vocab=260)
    config = {"chat_template": "of the config", "eos_token": "</s>"}
    write("template_json", {"tokenizer.json": doc, "tokenizer_config.json": config, "chat_template.json": {"chat_template": "[{{ x }}]"}},
          [], None, template="[{{ x }}]", **{"from": "chat_template.json"})
    write("template_jinja", {"tokenizer.json": doc, "tokenizer_config.json": config, "chat_template.json": {"chat_template": "no"},
                             "chat_template.jinja": "({{ x }})"},
          [], None, template="({{ x }})", **{"from": "chat_template.jinja"})


@folder
def added_results_of_merges():
    """Runs of U+2581 that are added tokens and pieces (Gemma), and a byte-level word that is both."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trainer = trainers.BpeTrainer(vocab_size=340, show_progress=False,
                                  special_tokens=["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)])
    t.train_from_iterator([s.replace(" ", "▁") for s in CORPUS if "▁" not in s], trainer)
    doc = json.loads(t.to_str())
    vocab = doc["model"]["vocab"]
    n = len(vocab)
    for k, (a, b) in enumerate([("▁", "▁"), ("▁▁", "▁▁"), ("a", "▁▁"), ("b", "▁▁▁▁")]):
        vocab[a + b] = n + k
        doc["model"]["merges"].insert(k, [a, b])
    doc["added_tokens"] = [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>"), token(n, "▁▁", special=False),
                           token(n + 1, "▁▁▁▁", special=False)]
    doc["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    doc["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                                       {"type": "ByteFallback"}, {"type": "Fuse"}]}
    write("added_results_of_merges", {"tokenizer.json": doc}, LINES + ["a  b    c", "x▁▁y", "a    ", "b    b"], by_tokenizers)
    doc = byte_level(BYTES)
    v = doc["model"]["vocab"]
    doc["added_tokens"] += [token(v["Ġworld"], "Ġworld", special=False), token(v["hello"], "hello", special=False)]
    write("added_byte_pieces", {"tokenizer.json": doc}, LINES + ["xĠworld", "hellohello world"], by_tokenizers)


# -- the post-processor

def template(single, *tokens):
    return {"type": "TemplateProcessing", "single": [
        {"Sequence": {"id": "A", "type_id": 0}} if s == "$A" else {"SpecialToken": {"id": s, "type_id": 0}} for s in single],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": ids, "tokens": [t] * len(ids)} for t, ids in tokens}}


@folder
def post_processors():
    two = (("<s>", [0]), ("</s>", [1]))
    texts = ["hello", "", "a b"]
    cases = {
        "post_two_first": template(["</s>", "<s>", "$A"], *two),
        "post_around": template(["<s>", "$A", "</s>", "</s>"], *two),
        "post_two_ids": template(["<s>", "$A"], ("<s>", [0, 1])),
        "post_sequence": {"type": "Sequence", "processors": [{**BYTES, "trim_offsets": False}, template(["</s>", "$A", "<s>"], *two)]},
        "post_roberta": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": False},
        "post_bert": {"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]},
    }
    for name, post in cases.items():
        write(name, {"tokenizer.json": byte_level(BYTES, vocab=280, post_processor=post)}, texts, by_tokenizers)


    nested = {"type": "Sequence", "processors": [template(["<s>", "$A"], *two), template(["$A", "</s>"], *two)]}
    write("post_nested", {"tokenizer.json": byte_level(BYTES, vocab=260, post_processor=nested)}, [], None,
          error="two post-processors")  # the reference takes the first one's result for a pair of texts


# -- pre-tokenizers

PATTERNS = {
    "nested_class": r" ?[^(\s|[.,!?])]+",
    "intersection": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{M}&&[^\p{Han}]]+|\p{Han}+|\p{N}{1,3}|\s+",
    "anchor_lines": r"^\s+",
    "u_escape": r"[\u0900-\u097f]+|\s+",
    "word_marks": r"\w+|[^\w\s]+|\s+",
    "empty_matches": r"(?=(\d{3})+(?!\d))",
}


@folder
def patterns():
    for name, pattern in PATTERNS.items():
        write("pattern_" + name, {"tokenizer.json": byte_level(sequence(split(pattern), BYTES_ONLY))}, LINES, by_tokenizers)
    write("pattern_bounded_plus", {"tokenizer.json": byte_level(sequence(
        split(r"\A\p{Nd}{1,2}(?=\p{Nd}{3}+\z)"), split(r"\p{Nd}{3}"), BYTES_ONLY))}, LINES + ["12345123", "1234"], by_tokenizers)
    write("pattern_refused", {"tokenizer.json": byte_level(sequence(split(r"(?~abc)"), BYTES_ONLY), vocab=260)}, [], None,
          error="an absent group (?~...) at byte")


DIGITS = {"type": "Digits", "individual_digits": False}
PUNCTUATION = {"type": "Punctuation", "behavior": "Contiguous"}


@folder
def steps_behind_bytes():
    """Steps behind ByteLevel see bytes in GPT-2's alphabet."""
    chains = {
        "digits": sequence(BYTES, DIGITS),
        "falcon": sequence(PUNCTUATION, BYTES, DIGITS, split("[0-9][0-9][0-9]")),
        "word": sequence(BYTES_ONLY, split(r"\w+"), split("Ġ", "MergedWithNext")),
        "removed": sequence(BYTES, split("[ĠÃ]", "Removed")),
        "space": sequence({**BYTES, "add_prefix_space": True}, {"type": "Digits", "individual_digits": True}),
        "space_alone": {**BYTES, "add_prefix_space": True},
        "split_space": sequence(split(r"\d+"), {**BYTES, "add_prefix_space": True}),
        "white": sequence({"type": "Whitespace"}, BYTES_ONLY),
        "meta": sequence({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}, BYTES_ONLY),
    }
    for name, pre in chains.items():
        write("bytes_" + name, {"tokenizer.json": byte_level(pre)}, LINES, by_tokenizers)
    write("bytes_twice", {"tokenizer.json": byte_level(sequence(BYTES, BYTES, DIGITS), vocab=260)}, [], None, error="twice")


def marked(pre, normalizer=None):
    """A tokenizer.json whose vocabulary has U+2581 for spaces."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False,
                                  special_tokens=["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)])
    t.train_from_iterator(["▁" + s.replace(" ", "▁") for s in CORPUS], trainer)
    doc = json.loads(t.to_str())
    doc["added_tokens"] = [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")]
    doc["pre_tokenizer"] = pre
    doc["normalizer"] = normalizer
    doc["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                                       {"type": "ByteFallback"}, {"type": "Fuse"}]}
    return doc


@folder
def steps_behind_marks():
    """Steps behind Metaspace, or behind a normalizer, see U+2581 where a space was; those before see the space."""
    def meta(scheme, cut=True):
        return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}

    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    chains = {
        "split_meta": (sequence(split(r"\s+"), meta("always")), None),
        "split_first": (sequence(split(r"\d"), meta("first")), None),
        "meta_split": (sequence(meta("always", False), split(r"\s|[^\s\w]")), None),
        "meta_word": (sequence(meta("first", False), split(r"▁?\w+")), None),
        "meta_digits": (sequence(meta("never"), {"type": "Digits", "individual_digits": True}, PUNCTUATION), None),
        "meta_literal": (sequence(meta("always", False), {"type": "Split", "pattern": {"String": "▁w"}, "behavior": "Isolated", "invert": False}), None),
        "replace_split": (split(r"\s+|▁+"), replace),
        "replace_literal": (sequence({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
                                     {"type": "Split", "pattern": {"String": "▁"}, "behavior": "MergedWithNext", "invert": False}), replace),
        "prepend_split": (split(r"[^▁]+"), {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}),
        "white_split": (sequence({"type": "WhitespaceSplit"}, meta("always")), None),
    }
    for name, (pre, normalizer) in chains.items():
        write("marks_" + name, {"tokenizer.json": marked(pre, normalizer)}, LINES, by_tokenizers)


# -- SentencePiece models by their own settings

MESSY = ["hello   world", "  hello world  ", " ", "   ", "", "\t a\u3000b\u00a0c ", "ﬁne ½ Ａ①\u200b e\u0301", "▁▁hello ▁", "hello<sep>world", "a<sep> <sep>b", "xyz🙂🙂 q", "🙂",
         "hello world " * 30]


def gguf_beside(folder):
    """The same model as a GGUF file."""
    from gguf import GGUFWriter, TokenType
    from sentencepiece import sentencepiece_model_pb2

    m = sentencepiece_model_pb2.ModelProto()
    m.ParseFromString((folder / "tokenizer.model").read_bytes())
    w = GGUFWriter(folder / "tokenizer.gguf", "llama")
    w.add_tokenizer_model("t5" if m.trainer_spec.model_type == 1 else "llama")
    w.add_token_list([p.piece.encode() for p in m.pieces])
    w.add_token_scores([p.score for p in m.pieces])
    w.add_token_types([TokenType(p.type) for p in m.pieces])
    w.add_add_space_prefix(m.normalizer_spec.add_dummy_prefix)
    w.add_remove_extra_whitespaces(m.normalizer_spec.remove_extra_whitespaces)
    if m.normalizer_spec.precompiled_charsmap:
        w.add_precompiled_charsmap(m.normalizer_spec.precompiled_charsmap)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


@folder
def spm_settings():
    nfkc = str(OUT.parent / "rules.tsv")
    pathlib.Path(nfkc).write_text("".join("%s\t%s\n" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)) for a, b in (
        ("ﬁ", "fi"), ("½", "1/2"), ("①", "1"), ("\u3000", " "), ("Ａ", "A"), ("e\u0301", "é"), ("\u00a0", " "), ("\u200b", ""), ("\t", " "), ("\n", " "))))
    plain = dict(remove_extra_whitespaces=False)
    mapped = dict(normalization_rule_tsv=nfkc)
    sep = dict(user_defined_symbols=["<sep>", "▁▁", "lo w", "½"])
    uni = dict(model_type="unigram", vocab_size=365)
    kinds = {
        "bpe_extra": {}, "bpe_no_dummy": dict(add_dummy_prefix=False, **plain), "bpe_behind": dict(treat_whitespace_as_suffix=True, **plain),
        "bpe_mapped": mapped, "bpe_symbols": {**sep, **plain}, "bpe_symbols_mapped": {**sep, **mapped}, "bpe_no_bytes": dict(byte_fallback=False, vocab_size=120),
        "uni_plain": {**uni, **plain}, "uni_extra": uni, "uni_no_dummy": dict(add_dummy_prefix=False, **uni), "uni_behind": dict(treat_whitespace_as_suffix=True, **uni),
        "uni_mapped": {**uni, **mapped}, "uni_symbols": {**uni, **sep}, "uni_no_bytes": {**uni, "byte_fallback": False, "vocab_size": 130, "character_coverage": 0.98},
        "uni_across": {**uni, **plain, "split_by_whitespace": False}, "char": dict(model_type="char", byte_fallback=False, vocab_size=150),
        "other_ends": dict(bos_piece="<begin>", eos_piece="<end>", **plain),
    }
    for name, how in kinds.items():
        how = {"bos_id": 1, **how}
        write("spm_" + name, {"tokenizer.model": sentencepiece(**how)}, LINES + MESSY, by_sentencepiece(), eos=2)
        if name in ("uni_mapped", "uni_extra", "uni_no_dummy", "uni_no_bytes", "bpe_extra"):
            gguf_beside(OUT / ("spm_" + name))
    pathlib.Path(nfkc).unlink()
    write("spm_word", {"tokenizer.model": sentencepiece(model_type="word", byte_fallback=False, vocab_size=60)}, [], None, error='of the type "word"')


@folder
def unigram_json():
    """Unigram models as tokenizer.json, with the normalizers that converted SentencePiece models have."""
    import base64
    from sentencepiece import sentencepiece_model_pb2

    def doc(model, normalizer, pre, byte_fallback=True):
        m = sentencepiece_model_pb2.ModelProto()
        m.ParseFromString(model)
        t = Tokenizer(models.Unigram([(p.piece, p.score) for p in m.pieces], unk_id=0, byte_fallback=byte_fallback))
        out = json.loads(t.to_str())
        out["added_tokens"] = [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")]
        out["normalizer"], out["pre_tokenizer"] = normalizer, pre
        out["decoder"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        return out, base64.b64encode(m.normalizer_spec.precompiled_charsmap).decode()

    def several(*normalizers):
        return {"type": "Sequence", "normalizers": list(normalizers)}

    rules = OUT.parent / "rules.tsv"
    rules.write_text("FB01\t66 69\nBD\t31 2F 32\n3000\t20\nA0\t20\n200B\t\n9\t20\n")
    uni = dict(model_type="unigram", vocab_size=365)
    mapped = sentencepiece(normalization_rule_tsv=str(rules), **uni)
    rules.unlink()
    plain, scarce = sentencepiece(**uni), sentencepiece(**{**uni, "byte_fallback": False, "vocab_size": 130})
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    runs = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    _, charsmap = doc(mapped, None, None)
    precompiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    for name, model, normalizer, pre in (
            ("plain", plain, None, meta), ("mapped", mapped, several(precompiled, strip, runs), meta),
            ("prepend", plain, several({"type": "Prepend", "prepend": "▁"}, replace), None), ("whole", plain, replace, None),
            ("runs", plain, several(runs, replace), None), ("nfkc", plain, several({"type": "NFKC"}), {**meta, "prepend_scheme": "first", "split": False})):
        write("unigram_" + name, {"tokenizer.json": doc(model, normalizer, pre)[0]}, LINES + MESSY, by_tokenizers)
    write("unigram_no_bytes", {"tokenizer.json": doc(scarce, None, meta, False)[0]}, LINES + MESSY, by_tokenizers)


def main():
    for name, make in FOLDERS.items():
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make()


main()
