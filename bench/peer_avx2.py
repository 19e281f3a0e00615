"""xllamacpp, a build of llama.cpp that goes no further than AVX2, on one file as JSON lines: the same work as bench/lm.c, once.

    peer_avx2.py MODEL THREADS [PROMPT [NEW]]

NEW: tokens of each stream (128), or those behind a PROMPT of another number than 512: then nothing else is measured. Through its server's
object, with no HTTP between: rates of a prompt and of a generation are its own; streams are threads that ask at once.
"""
import json
import random
import sys
import threading
import time

import xllamacpp

path, threads = sys.argv[1], int(sys.argv[2])
PROMPT, STREAM_NEW = (int(x) for x in (sys.argv[3:5] + ["512", "128"][len(sys.argv) - 3:]))
NEW, STREAM_PROMPT, MOST = 128, 100, 16
only_long = PROMPT != 512


def report(test, n, rate):
    print(json.dumps({"test": test, "n": n, "tokens_per_s": round(rate, 1)}), flush=True)


params = xllamacpp.CommonParams()
params.model.path = path
params.n_ctx, params.n_parallel = (PROMPT + 512, 1) if only_long else (MOST * 1024, MOST)
params.n_batch = params.n_ubatch = 512
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)


def ask(n_prompt, n_new):
    return server.handle_completions({"prompt": [random.randrange(3, 250) for _ in range(n_prompt)], "max_tokens": n_new, "n_predict": n_new,
                                      "ignore_eos": True, "temperature": 0.0, "cache_prompt": False, "stream": False})["timings"]


ask(64, 2)
if only_long:
    both = ask(PROMPT, STREAM_NEW)
    report("prompt", PROMPT, both["prompt_per_second"])
    report("behind", PROMPT, both["predicted_per_second"])
    sys.exit()
report("prompt", PROMPT, ask(PROMPT, 1)["prompt_per_second"])
report("generate", NEW, ask(32, NEW)["predicted_per_second"])
for n in (1, 8, MOST):
    begin = time.perf_counter()
    asking = [threading.Thread(target=ask, args=(STREAM_PROMPT, STREAM_NEW)) for _ in range(n)]
    for t in asking:
        t.start()
    for t in asking:
        t.join()
    report("streams", n, n * STREAM_NEW / (time.perf_counter() - begin))
