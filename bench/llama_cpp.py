"""llama-cpp-python on one file: prompt and generation speed as JSON lines, the same work as bench/lm.c.

    llama_cpp.py MODEL THREADS REPETITIONS
"""
import json
import random
import sys
import time

from llama_cpp import Llama

path, threads, repetitions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = Llama(path, n_ctx=1024, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False, logits_all=False,
              use_extra_bufts=False)  # its AMX buffers crash on some builds


def prompt(n):
    return [random.randrange(256) for _ in range(n)]


best_prompt = best_generate = 0.0
for _ in range(repetitions):
    model.reset()
    begin = time.perf_counter()
    model.eval(prompt(512))
    best_prompt = max(best_prompt, 512 / (time.perf_counter() - begin))
    model.reset()
    model.eval(prompt(32))
    begin = time.perf_counter()
    for _ in range(128):
        model.eval([model.sample(temp=0.0)])
    best_generate = max(best_generate, 128 / (time.perf_counter() - begin))
print(json.dumps({"what": "prompt", "tokens_per_s": best_prompt}))
print(json.dumps({"what": "generate", "tokens_per_s": best_generate}))
