"""Cuts published tokenizers down to what the golden cases need, so that their tests need no download.

    python tools/reference/tokenizer/cut.py DIR

DIR holds folders with the tokenizer.json and tokenizer_config.json of llama3_1, qwen3 and deepseek_v3. The cut files under
tests/golden/tokenizer keep the patterns, added tokens and post-processor, and of the vocabulary the bytes, what the cases give, and the
merges that lead there. Ids are counted anew, without gaps; line i of published_ids.txt is the published id of token i. A merge that the whole file would make in one of these texts is always kept, so the tokens
are the same; the script checks that. Needs `tokenizers`.
"""
import json
import pathlib
import sys

import reference
from make_golden import OUT, cases

# What tokenizer_test.c asks beyond cases.txt.
MORE = ["Hello world", "Hello, world!", " The year is 2024, not 12345.", "don't DON'T I'll", "x = foo(bar[1]);\n\n\tif (y != 0) {\r\n",
        "東京都は日本の首都です。", "naïve café — résumé", "CamelCaseHTTPServer2", "   leading and   trailing   ", "Привет, как дела?",
        "\U0001F642\U0001F469\u200D\U0001F469\u200D\U0001F467 ok"]


def derivation(piece, rank):
    """The merges that make a piece of the vocabulary, in their order."""
    parts, made = list(piece), []
    while len(parts) > 1:
        best = min(range(len(parts) - 1), key=lambda i: rank.get((parts[i], parts[i + 1]), 1 << 60))
        pair = (parts[best], parts[best + 1])
        if pair not in rank:
            break  # a word taken whole (ignore_merges)
        made.append(pair)
        parts[best:best + 2] = [parts[best] + parts[best + 1]]
    return made


def renumber(node, new):
    """Every list of ids in a post-processor."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key == "ids":
            node[key] = [new[i] for i in value]
        else:
            renumber(value, new)


def cut(folder, out):
    text = (folder / "tokenizer.json").read_text()
    doc = json.loads(text)
    model = doc["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    rank = {m: i for i, m in enumerate(merges)}
    special, plain = reference.of_folder(folder)
    texts = [*cases(), *MORE]
    want = [(reference.ids(special, t), reference.ids(plain, t)) for t in texts]
    name = {i: p for p, i in model["vocab"].items()}
    kept = {p for p in model["vocab"] if len(p) == 1}
    used = set()
    for i in {i for both in want for ids in both for i in ids} & set(name):
        kept.add(name[i])
        used.update(derivation(name[i], rank))
    kept.update(p for a, b in used for p in (a, b, a + b))
    kept.update(token["content"] for token in doc["added_tokens"] if token["content"] in model["vocab"])
    pieces = sorted((p for p in model["vocab"] if p in kept), key=model["vocab"].get)
    published = [model["vocab"][p] for p in pieces]
    model["vocab"] = {p: i for i, p in enumerate(pieces)}
    for token in sorted(doc["added_tokens"], key=lambda x: x["id"]):
        if token["content"] not in model["vocab"]:
            published.append(token["id"])
        token["id"] = model["vocab"].get(token["content"], len(published) - 1)
    renumber(doc["post_processor"], {old: new for new, old in enumerate(published)})
    model["merges"] = [" ".join(m) if isinstance(model["merges"][0], str) else list(m) for m in merges if m in used]
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(json.dumps(doc, ensure_ascii=False, separators=(",", ":")) + "\n")
    (out / "published_ids.txt").write_text("".join(f"{i}\n" for i in published))
    (out / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
    for whole, less in zip((special, plain), reference.of_folder(out)):
        for text in texts:
            assert reference.ids(whole, text) == [published[i] for i in reference.ids(less, text)], text
    print(f"{out.name}: {len(model['vocab'])} pieces, {len(model['merges'])} merges, {(out / 'tokenizer.json').stat().st_size} bytes")


for folder in ("llama3_1", "qwen3", "deepseek_v3"):
    cut(pathlib.Path(sys.argv[1]) / folder, OUT / folder)
