"""What guesses at the next tokens are worth: tokens per second of answers with and without them, turn about, as JSON lines.

    speculation.py HEARTH MODELS_FOLDER MODEL [ROUNDS]

Two servers of one binary answer in turn, one of them with --speculate off; of each the best round counts. Texts that quote what was said before (an edit, a summary, objects
with the same keys), texts that do not, and answers that the client foresees, of one stream and of eight. Times are from the first token to the last; answers are compared.
"""
import concurrent.futures
import json
import re
import subprocess
import sys
import time
import urllib.request

CODE = "\n".join(f"def load_{x}(path):\n    with open(path) as f:\n        data = json.load(f)\n    return [row for row in data if row['kind'] == '{x}']\n" for x in ("users", "orders", "items", "prices"))
STORY = ("The harbour of Lindesund lies open to the west. In autumn the storms push the water over the quay, and the fishermen tie their boats twice. Old Marten, who has "
         "kept the light for forty years, says that the sea gives back what it takes, though never to the same man. His daughter Inga keeps the books of the harbour: which "
         "boat went out, which came home, what was caught and what it was sold for.")
RECORDS = {"type": "object", "required": ["rows"], "additionalProperties": False, "properties": {"rows": {"type": "array", "minItems": 8, "maxItems": 8, "items": {
    "type": "object", "required": ["identifier", "description", "quantity", "available"], "additionalProperties": False, "properties": {
        "identifier": {"type": "integer", "minimum": 1, "maximum": 999}, "description": {"type": "string", "minLength": 3, "maxLength": 24},
        "quantity": {"type": "integer", "minimum": 0, "maximum": 99}, "available": {"type": "boolean"}}}}}}
WORK = {  # name: (prompt, fields)
    "edit": (f"Here is a file:\n```python\n{CODE}```\nHere is the same file once more, with no change:\n```python\n", {}),
    "edit, foreseen": (f"Here is a file:\n```python\n{CODE}```\nHere is the same file once more, with no change:\n```python\n", {"prediction": CODE}),
    "summary": (f"{STORY}\n\nThe same text, retold in its own words: ", {}),
    "schema": ("An inventory of a small shop, as JSON:\n", {"response_format": {"type": "json_schema", "json_schema": {"name": "rows", "schema": RECORDS}}}),
    "code": ("# A queue over two stacks, with tests\nclass Queue:\n", {"temperature": 0.8}),
    "chat": ("User: Tell me about your last journey.\nAssistant: ", {"temperature": 1.0}),
}


def serve(*options):
    p = subprocess.Popen([sys.argv[1], "serve", "--listen", "127.0.0.1:0", "--models", sys.argv[2], "--log-level", "error", *options], stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        if found := re.search(r"URL +(http://\S+)/v1", line):
            return p, found[1]
    sys.exit("hearth did not start")


def ask(url, prompt, fields, seed, n):
    """Text, tokens behind the first, and the seconds that they took."""
    body = {"model": sys.argv[3], "prompt": prompt, "max_tokens": n, "temperature": 0, "seed": seed, "stream": True, "stream_options": {"include_usage": True}, **fields}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    text, first, usage = "", None, None
    with urllib.request.urlopen(request, timeout=3600) as reply:
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            if event["choices"]:
                first = first or time.perf_counter()
                text += event["choices"][0]["text"]
    return text, usage["completion_tokens"] - 1, time.perf_counter() - first


def guesses(url):
    lines = urllib.request.urlopen(url + "/metrics").read().decode().splitlines()
    return [sum(float(x.split()[-1]) for x in lines if x.startswith(f"hearth_guesses_{kind}_total{{")) for kind in ("accepted", "refused")]


def measure(url, work, streams, n):
    prompt, fields = WORK[work]
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        begin = time.perf_counter()
        got = list(pool.map(lambda k: ask(url, prompt, fields, 100 + k, n), range(streams)))
        wall = time.perf_counter() - begin
    return [g[0] for g in got], got[0][1] / got[0][2] if streams == 1 else sum(g[1] for g in got) / wall


def main():
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    (off, off_url), (on, on_url) = serve("--speculate", "off"), serve()
    try:
        for streams in (1, 8):
            for work in WORK:
                rates, before = {off_url: [], on_url: []}, guesses(on_url)
                for i in range(rounds + 1):
                    texts = {}
                    for url in (off_url, on_url) if i % 2 else (on_url, off_url):
                        texts[url], rate = measure(url, work, streams, 200)
                        rates[url] += [rate] if i else []  # the first one fills the caches
                    if texts[off_url] != texts[on_url]:
                        sys.exit(f"{work}: other texts")
                accepted, refused = (round(b - a) for a, b in zip(before, guesses(on_url)))
                best = {u: max(r) for u, r in rates.items()}
                print(json.dumps({"test": work, "streams": streams, "tokens_per_s": round(best[on_url], 1), "without": round(best[off_url], 1),
                                  "ratio": round(best[on_url] / best[off_url], 3), "accepted": accepted, "refused": refused}), flush=True)
    finally:
        for p in (off, on):
            p.terminate()
            p.wait()


if __name__ == "__main__":
    main()
