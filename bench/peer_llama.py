"""llama-cpp-python on one file as JSON lines: the same work as bench/lm.c, once.

    peer_llama.py MODEL THREADS [plain]      plain: without its buffers of rearranged weights, which crash on some processors

Streams are one llama_batch a step with a sequence for each, and the largest logit taken: less work than its own server does.
"""
import ctypes
import json
import random
import sys
import time

import llama_cpp
import numpy as np
from llama_cpp import Llama

path, threads, plain = sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["plain"]
PROMPT, NEW, STREAM_PROMPT, MOST = 512, 128, 100, 16


def report(test, n, rate):
    print(json.dumps({"test": test, "n": n, "tokens_per_s": round(rate, 1)}), flush=True)


def prompt(n):
    return [random.randrange(256) for _ in range(n)]


def single():
    model = Llama(path, n_ctx=1024, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False, use_extra_bufts=not plain)
    model.eval(prompt(64))
    model.reset()
    begin = time.perf_counter()
    model.eval(prompt(PROMPT))
    report("prompt", PROMPT, PROMPT / (time.perf_counter() - begin))
    model.reset()
    model.eval(prompt(32))
    begin = time.perf_counter()
    for _ in range(NEW):
        model.eval([model.sample(temp=0.0)])
    report("generate", NEW, NEW / (time.perf_counter() - begin))
    model.close()


def streams():
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = not plain
    model = llama_cpp.llama_model_load_from_file(path.encode(), params)
    options = llama_cpp.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch, options.n_seq_max = 16 * 256, 512, 512, MOST
    options.n_threads = options.n_threads_batch = threads
    options.kv_unified = True
    context = llama_cpp.llama_init_from_model(model, options)
    memory = llama_cpp.llama_get_memory(context)
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(512, 0, 1)

    def run(entries):
        """entries: (token, position, sequence, wanted). The best token of each wanted one, in order."""
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = sequence
        if llama_cpp.llama_decode(context, batch):
            raise RuntimeError("llama_decode failed")
        wanted = [i for i, x in enumerate(entries) if x[3]]
        rows = (np.ctypeslib.as_array(ctypes.cast(llama_cpp.llama_get_logits_ith(context, i), ctypes.POINTER(ctypes.c_float)), (n_vocab,)) for i in wanted)
        return [int(row.argmax()) for row in rows]

    for n in (1, 8, MOST):
        llama_cpp.llama_memory_clear(memory, True)
        begin = time.perf_counter()
        last = []
        for s in range(n):
            tokens = prompt(STREAM_PROMPT)
            last += run([(t, i, s, i == STREAM_PROMPT - 1) for i, t in enumerate(tokens)])
        for step in range(NEW - 1):
            last = run([(t, STREAM_PROMPT + step, s, True) for s, t in enumerate(last)])
        report("streams", n, n * NEW / (time.perf_counter() - begin))


single()
streams()
