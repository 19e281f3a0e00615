#!/usr/bin/env python3
"""What transformers makes of the starter model's very weights, in f32: greedy continuations of 20 prompts, and the
log-probability of every token of a text (the project's licence).

    python3 tools/reference/lm_smollm2.py FOLDER_OF_THE_GGUF tests/golden/lm/smollm2.json

src/lm/smollm2_test.c holds the engine against the file. llama.cpp would be no reference: its rounding of activations to
8 bits moves the log-probabilities of this small model by 0.06 on average. Needs torch, transformers, gguf.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT = ["What is the capital of France?", "Write a haiku about the sea.", "Explain photosynthesis in two sentences.",
        "List three prime numbers larger than ten.", "Who wrote Pride and Prejudice?", "Translate 'good morning' into Spanish.",
        "Give me a recipe for pancakes.", "Why is the sky blue?", "What is 12 times 12?", "Tell me a short story about a fox."]
TEXT = ["Once upon a time, in a small village by the river,", "The three laws of thermodynamics are",
        "def fibonacci(n):\n    ", "In 1969, the first humans", "The recipe calls for two cups of flour,",
        "Dear Sir or Madam,\n\nI am writing to", "The mitochondria is", "A list of the planets in order:\n1.",
        "The quick brown fox", "Python is a programming language that"]
N_NEW, N_TEXT = 64, 2000


def main():
    folder, out = sys.argv[1:3]
    torch.set_num_threads(1)
    tok = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32).eval()
    cases = []
    with torch.no_grad():
        for i, text in enumerate(CHAT + TEXT):
            if i < len(CHAT):
                text = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
            ids = tok.encode(text, add_special_tokens=False)
            past, step, new = None, torch.tensor([ids]), []
            while len(new) < N_NEW and (not new or new[-1] != 2):
                r = model(step, past_key_values=past, use_cache=True)
                past = r.past_key_values
                new.append(int(r.logits[0, -1].argmax()))
                step = torch.tensor([[new[-1]]])
            cases.append({"prompt": ids, "out": new})
            print(i, repr(tok.decode(new))[:70], flush=True)
        licence = pathlib.Path(__file__).resolve().parents[2] / "LICENSE"
        ids = tok.encode(licence.read_text(), add_special_tokens=False)[:N_TEXT]
        lp = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        logprobs = [round(lp[i - 1, ids[i]].item(), 4) for i in range(1, len(ids))]
    json.dump({"cases": cases, "text": ids, "start": 1, "logprobs": logprobs}, open(out, "w"), separators=(",", ":"))


main()
