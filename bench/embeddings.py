"""Vectors of texts beside sentence-transformers: milliseconds for 1, 8, 64 and 512 texts, turn about in one run, as JSON lines.

    embeddings.py HEARTH FOLDER [ROUNDS]

FOLDER is an encoder as sentence-transformers saves it (all-MiniLM-L6-v2, bge-small-en). Both have the machine's cores, of each the best round counts, and the vectors are
compared. hearth is asked over HTTP, with everything that this takes. Needs sentence-transformers.
"""
import base64
import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

WORDS = ("the of and to in a is that for it was on as with be by at from his an were are which this also have had but not or their its first new one "
         "harbour river winter engine paper garden market window history language").split()


def texts(n, rng):
    """Short ones mostly, as passages and questions are."""
    return [" ".join(rng.choice(WORDS) for _ in range(rng.choice([5, 10, 20, 40, 80]))) for _ in range(n)]


def serve(binary, folder):
    p = subprocess.Popen([binary, "serve", "--listen", "127.0.0.1:0", "--log-level", "error", folder], stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        if found := re.search(r"URL +http://(\S+)/v1", line):
            return p, found[1]
    sys.exit("hearth did not start")


def timed(f, seconds):
    t = time.perf_counter()
    f()
    seconds.append(time.perf_counter() - t)


def main():
    binary, folder, rounds = sys.argv[1], str(pathlib.Path(sys.argv[2]).resolve()), int(sys.argv[3]) if len(sys.argv) > 3 else 8
    torch.set_num_threads(os.cpu_count())
    reference = SentenceTransformer(folder, device="cpu")
    process, address = serve(binary, folder)
    try:
        connection = http.client.HTTPConnection(address, timeout=600)
        name = pathlib.Path(folder).name

        def hearth(batch):
            body = json.dumps({"model": name, "input": batch, "encoding_format": "base64"})
            connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
            reply = json.loads(connection.getresponse().read())
            return np.stack([np.frombuffer(base64.b64decode(d["embedding"]), "<f4") for d in reply["data"]])

        def torch_(batch):
            return reference.encode(batch, batch_size=64, normalize_embeddings=True, show_progress_bar=False)

        for n in (1, 8, 64, 512):
            batch = texts(n, random.Random(n))
            off = float(np.abs(hearth(batch) - torch_(batch)).max())  # and both are warm
            ours, theirs = [], []
            for _ in range(rounds):
                timed(lambda: hearth(batch), ours)
                timed(lambda: torch_(batch), theirs)
            print(json.dumps({"texts": n, "hearth_ms": round(min(ours) * 1e3, 1), "sentence_transformers_ms": round(min(theirs) * 1e3, 1),
                              "ratio": round(min(theirs) / min(ours), 2), "most_off": off}), flush=True)
    finally:
        process.terminate()
        process.wait()


main()
