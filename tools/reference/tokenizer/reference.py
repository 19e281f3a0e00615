"""The reference tokenizers that the golden tests compare with: objects of the `tokenizers` library."""
import json
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers


def is_markup(t):
    """What a person must not be able to say (src/text/tokenizer/tokenizer_added.h)."""
    c = t["content"]
    return t["special"] or len(c) >= 3 and (c[0] + c[-1]) in ("<>", "[]")


def of_folder(folder):
    """(special, plain): as published, and without the tokens that user text must not contain."""
    text = (pathlib.Path(folder) / "tokenizer.json").read_text()
    doc = json.loads(text)
    doc["truncation"] = doc["padding"] = None
    text = json.dumps(doc)
    for t in doc["added_tokens"]:
        if is_markup(t):  # kept for its id, under a spelling that no text has
            t["content"] = "\U000f1234%d\U000f1234" % t["id"]
    doc["post_processor"] = None
    return Tokenizer.from_str(text), Tokenizer.from_str(json.dumps(doc))


def of_smollm_gguf(path):
    from gguf import GGUFReader

    f = GGUFReader(path).fields
    tokens = f["tokenizer.ggml.tokens"].contents()
    types = f["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in f["tokenizer.ggml.merges"].contents()]

    def make():
        t = Tokenizer(models.BPE({s: i for i, s in enumerate(tokens)}, merges))
        t.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
        t.decoder = decoders.ByteLevel()
        return t

    special = make()
    special.add_special_tokens([AddedToken(s, special=True, normalized=False) for s, k in zip(tokens, types) if k == 3])
    return special, make()


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids
