"""Schemas as token masks, hearth's beside llguidance's and xgrammar's, each on one thread, and a table of them.

    schemas_peers.py TOKENIZER.json FILE.jsonl [EVERY [ENGINE ...]]       (pip install -r bench/requirements-schemas.txt)

FILE is bench/schemas' (a JSON object a line: schema and instances). All are fed the same tokens: each instance as json.dumps writes it. A schema
passes when it compiles, its valid instances are taken and its invalid ones are not. A peer that crashes or takes a minute over a schema has refused it.
"""
import json
import os
import select
import subprocess
import sys
import time

from common import BUILD, ROOT, lines, number, table

MINUTE = 60


def llguidance_peer(tokenizer):
    import llguidance as ll
    import llguidance.numpy as lln

    tok = ll.LLTokenizer(tokenizer)
    bits = lln.allocate_token_bitmask(1, tok.vocab_size)

    def compile(schema):
        g = ll.LLMatcher.grammar_from_json_schema(schema)
        if error := ll.LLMatcher(tok, g).get_error():
            raise ValueError(error)
        return g

    class Text:
        def __init__(self, g):
            self.m = ll.LLMatcher(tok, g)

        def mask(self):
            lln.fill_next_token_bitmask(self.m, bits, 0)

        def take(self, token):
            return self.m.consume_token(token)

        def can_end(self):
            return self.m.is_accepting()

    return compile, Text


def xgrammar_peer(tokenizer):
    import tokenizers
    import xgrammar as xgr

    tok = tokenizers.Tokenizer.from_file(tokenizer)
    words = [""] * tok.get_vocab_size()
    for word, i in tok.get_vocab().items():
        words[i] = word
    ends = [i for i, w in enumerate(words) if w in ("<|end_of_text|>", "<|eot_id|>")]
    info = xgr.TokenizerInfo(words, vocab_type=xgr.VocabType.BYTE_LEVEL, vocab_size=len(words), stop_token_ids=ends)
    compiler = xgr.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    bits = xgr.allocate_token_bitmask(1, len(words))

    class Text:
        def __init__(self, g):
            self.m = xgr.GrammarMatcher(g)

        def mask(self):
            self.m.fill_next_token_bitmask(bits)

        def take(self, token):
            return self.m.accept_token(token)

        def can_end(self):
            return self.m.accept_token(ends[0])

    return lambda schema: compiler.compile_json_schema(schema, strict_mode=False), Text


PEERS = {"llguidance": llguidance_peer, "xgrammar": xgrammar_peer}


def takes(m, ids, row):
    for k, token in enumerate(ids):
        begin = time.perf_counter()
        m.mask()
        us = round((time.perf_counter() - begin) * 1e6, 1)
        row["masks"].append(us)
        if k == 0:
            row["first"].append(us)
        if not m.take(token):
            return False
    return m.can_end()


def work(name, tokenizer, file, every, first):
    """One JSON line before each schema and one behind it, so that whoever reads knows which one it was that never ended."""
    import tokenizers

    tok = tokenizers.Tokenizer.from_file(tokenizer)
    compile, text = PEERS[name](tokenizer)
    for i, line in enumerate(open(file)):
        if i % every or i < first:
            continue
        print(json.dumps({"at": i}), flush=True)
        o = json.loads(line)
        row = {"masks": [], "first": [], "compile": None, "valid_refused": 0, "invalid_accepted": 0}
        begin = time.perf_counter()
        try:
            g = compile(json.dumps(o["schema"]))
        except Exception as error:  # whatever a peer refuses with
            print(json.dumps({"refused": str(error)[:80]}), flush=True)
            continue
        row["compile"] = time.perf_counter() - begin
        for t in o["tests"]:
            try:
                ok = takes(text(g), tok.encode(json.dumps(t["data"], ensure_ascii=False), add_special_tokens=False).ids, row)
            except Exception:  # a peer that raises has not taken it
                ok = False
            row["valid_refused"] += t["valid"] and not ok
            row["invalid_accepted"] += ok and not t["valid"]
        print(json.dumps(row), flush=True)


def peer(name, tokenizer, file, every):
    first, masks, firsts, compiles = 0, [], [], []
    row = {"engine": name, "schemas": 0, "refused": 0, "passed": 0, "valid_refused": 0, "invalid_accepted": 0}
    while first is not None:
        at, first = None, first
        command = [sys.executable, __file__, "--worker", name, tokenizer, file, str(every), str(first)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        rest, ended = b"", False
        while not ended:
            ready, _, _ = select.select([worker.stdout], [], [], MINUTE)
            more = os.read(worker.stdout.fileno(), 1 << 20) if ready else b""
            ended = not more
            *whole, rest = (rest + more).split(b"\n")
            for x in map(json.loads, whole):
                if "at" in x:
                    at = x["at"]
                    row["schemas"] += 1
                    continue
                at = None
                if "refused" in x:
                    row["refused"] += 1
                    continue
                masks += x["masks"]
                firsts += x["first"]
                compiles.append(x["compile"] * 1e6)
                row["valid_refused"] += x["valid_refused"]
                row["invalid_accepted"] += x["invalid_accepted"]
                row["passed"] += not x["valid_refused"] and not x["invalid_accepted"]
        worker.kill()
        worker.wait()
        row["refused"] += at is not None
        first = None if at is None else at + 1
    for name, times in (("mask", masks), ("first_mask", firsts), ("compile", compiles)):
        times.sort()
        row[f"{name}_avg_us"] = round(sum(times) / max(len(times), 1), 1)
        for p, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1)):
            row[f"{name}_{p}_us"] = times[int(q * (len(times) - 1))] if times else 0
    return row | {"masks": len(masks)}


def measure(tokenizer, file, every, engines):
    rows, why = [], ""
    if "hearth" in engines:
        own, why = lines([BUILD / "bench/schemas", tokenizer, file, str(every)], timeout=7200)
        rows = [{"engine": "hearth"} | own[-1]] if own else []
    return rows + [peer(name, tokenizer, file, every) for name in PEERS if name in engines], why


def section(tokenizer, file, every, engines):
    rows, why = measure(tokenizer, file, every, engines)
    head = ["engine", "schemas", "passed", "refused", "valid refused", "invalid accepted", "mask avg us", "p50", "p99", "p99.9", "first mask avg us", "compile avg ms", "max"]
    keys = ["mask_avg_us", "mask_p50_us", "mask_p99_us", "mask_p999_us", "first_mask_avg_us"]
    out = table(head, [[r["engine"]] + [number(r[k]) for k in ("schemas", "passed", "refused", "valid_refused", "invalid_accepted")] + [number(r[k], 1) for k in keys]
                       + [number(r["compile_avg_us"] / 1e3, 2), number(r["compile_max_us"] / 1e3, 1)] for r in rows])
    return out + ([why, ""] if why else []), rows


def section_of_run():
    """bench/run.py's part. BENCH_EVERY: each so-many-th schema (8)."""
    every = int(os.environ.get("BENCH_EVERY", "8"))
    out, _ = section(os.environ["BENCH_TOKENIZER"], os.environ["BENCH_SCHEMAS"], every, ["hearth", *PEERS])
    return ["## Structured output", "", f"One thread each, one schema in {every}; a mask is what one token costs.", ""] + out


if __name__ == "__main__":
    if sys.argv[1] == "--worker":
        work(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
    else:
        tables, figures = section(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1, sys.argv[4:] or ["hearth", *PEERS])
        print("\n".join(tables + [json.dumps(r) for r in figures]))
