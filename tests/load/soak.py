"""Mixed load against one server, with every finished answer's bytes compared to the answer given alone before.

    build/venv/bin/python tests/load/soak.py [--seconds 30] [--workers 8] [--threads N] [--also-threads N] [--seed 1]

Chats (plain, streamed, several choices, with stops, cancelled in the middle, read slowly), completions, tokenizations and pictures, all
with fixed seeds. First each kind is asked alone; then workers ask them all at once until the time is up. At the end the server must be
idle, hold no more open files than before the load, and have grown by less than --growth MB since the load's first third. With
--also-threads the answers given alone are also asked of a second server with that many compute threads. HEARTH_BIN and HEARTH_MODELS as
for tests/e2e. Exit status 1: something differed, or grew.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from conftest import MODEL, MODELS, PATIENCE, Server  # noqa: E402

CHAT, COMPLETE, TOKENIZE, DRAW = "/v1/chat/completions", "/v1/completions", "/tokenize", "/v1/images/generations"
Job = collections.namedtuple("Job", "name path body how")


def chat(text, **fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 24, "temperature": 0.9, "seed": 7, **fields}


def jobs():
    shared = "You know ships, harbours, tides and lighthouses well. " * 12
    story = "Once upon a time, far to the north, "
    out = [Job(f"plain {i}", CHAT, chat(f"{shared} Question {i}: why?", seed=i), "plain") for i in range(4)]
    out += [Job(f"stream {i}", CHAT, chat(f"{shared} Name {i + 2} tides.", seed=i, stream=True), "stream") for i in range(4)]
    out += [
        Job("greedy", CHAT, chat("Say hello.", temperature=0), "plain"),
        Job("choices", CHAT, chat("A word for blue?", n=4), "plain"),
        Job("choices streamed", CHAT, chat("A word for red?", n=3, stream=True), "stream"),
        Job("stop", CHAT, chat("Count to twenty.", temperature=0, stop=[" 5", "\n\n"], max_tokens=40), "plain"),
        Job("stop streamed", CHAT, chat("Count to thirty.", temperature=0, stop=["4", "."], stream=True), "stream"),
        Job("log-probabilities", CHAT, chat("A fruit?", logprobs=True, top_logprobs=3, max_tokens=8), "plain"),
        Job("slow reader", CHAT, chat("Tell me of the sea.", stream=True, max_tokens=48, ignore_eos=True), "slow"),
        Job("cancelled", CHAT, chat("Tell a very long story.", stream=True, max_tokens=2000, ignore_eos=True), "cancel"),
        Job("completion", COMPLETE, {"model": MODEL, "prompt": story, "max_tokens": 24, "seed": 3}, "plain"),
        Job("completion streamed", COMPLETE, {"model": MODEL, "prompt": story + "a", "max_tokens": 16, "seed": 3, "stream": True}, "stream"),
        Job("several prompts", COMPLETE, {"model": MODEL, "prompt": [story, "Two", "The"], "max_tokens": 8, "seed": 4}, "plain"),
        Job("tokens", TOKENIZE, {"model": MODEL, "prompt": shared * 4}, "plain"),
        Job("long tokens", TOKENIZE, {"model": MODEL, "prompt": "a\u0301 \U0001f600 x1 " * 20000}, "plain"),
    ]
    picture = {"model": "starter-image", "prompt": "a red circle", "size": "128x128", "steps": 2, "response_format": "b64_json"}
    out += [Job(f"picture {i}", DRAW, {**picture, "seed": i, "n": i}, "plain") for i in (1, 2)]
    return out


def essence(value):
    """An answer without what differs between two equal ones: names, times, and how much of a prompt was in the cache."""
    if isinstance(value, dict):
        drop = {"id", "created", "prompt_tokens_details", "perf_metrics"}
        return {k: essence(v) for k, v in value.items() if k not in drop}
    return [essence(v) for v in value] if isinstance(value, list) else value


def joined(events):
    """What a stream said, whatever its pieces were: of each choice the text and the end."""
    text, end = collections.defaultdict(str), {}
    for event in events:
        if "error" in event:
            return {"error": event}
        for c in event.get("choices", []):
            text[c["index"]] += c.get("text") or (c.get("delta") or {}).get("content") or ""
            end[c["index"]] = c.get("finish_reason") or end.get(c["index"])
    return {i: [text[i], end.get(i)] for i in sorted(text)}


def ask(server, job):
    """The answer's essence as JSON; None when it was cancelled."""
    if job.how == "plain":
        r = server.post(job.path, job.body)
        return json.dumps([r.status_code, essence(r.json())], sort_keys=True)
    events = []
    with requests.post(server.url + job.path, json=job.body, stream=True, timeout=PATIENCE) as r:
        for line in r.iter_lines(chunk_size=16 if job.how == "slow" else 512):
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                events.append(json.loads(line[6:]))
            if job.how == "cancel" and len(events) == 5:
                return None
            if job.how == "slow":
                time.sleep(0.02)
    return json.dumps([r.status_code, joined(events)], sort_keys=True)


def resident_mb(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def settled_files(server, limit):
    """Open files once the connections of the last answers are closed: looked at until they are as few as `limit`, for a while."""
    for _ in range(200):
        if open_files(server) <= limit:
            break
        time.sleep(0.05)
    return open_files(server)


def serve(folder, threads):
    models = folder / "models"
    if not models.exists():
        models.mkdir()
        (models / "starter-image").symlink_to(pathlib.Path(__file__).resolve().parents[2] / "models/starter-image")
        (models / "smollm2-135m-instruct").symlink_to(pathlib.Path(MODELS).resolve() / "smollm2-135m-instruct")
    return Server("--threads", str(threads), "--files", str(folder / "files"), "--kv-memory", "256M", models=str(models))


def show(a, b):
    """Where two answers part."""
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return f"from byte {at}:\n   alone {a[max(at - 60, 0):at + 60]!r}\n   here  {b[max(at - 60, 0):at + 60]!r}"


class Load:
    """Workers that ask until the time is up."""

    def __init__(self, server, alone, o):
        self.server, self.alone, self.o = server, alone, o
        self.count, self.wrong, self.lock = collections.Counter(), [], threading.Lock()
        self.end = 0

    def work(self, i):
        dice, every = random.Random(self.o.seed * 1000 + i), jobs()
        while time.monotonic() < self.end and len(self.wrong) < 20:
            job = dice.choice(every)
            try:
                got = ask(self.server, job)
            except (requests.RequestException, ValueError, KeyError) as e:
                got = repr(e)
            with self.lock:
                self.count[job.name] += 1
                if got is not None and got != self.alone[job.name]:
                    self.wrong.append(f"{job.name}: {show(self.alone[job.name] or '', got)}")

    def run(self, seconds):
        self.end = time.monotonic() + seconds
        workers = [threading.Thread(target=self.work, args=(i,)) for i in range(self.o.workers)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        self.server.wait_idle()


def books(server):
    """Every admitted request has ended, once, and what they used is what the models made."""
    server.wait_until(lambda: server.metric("hearth_ended_total") == server.metric("hearth_admitted_total"), "an admitted request has no end, or two")
    used, made = server.metric("hearth_used_completion_tokens_total"), server.metric("hearth_generated_tokens_total")
    return [] if used == made else [f"ended requests used {used:.0f} tokens, the models made {made:.0f}"]


def soak(o, folder):
    server = serve(folder, o.threads)
    alone = {job.name: ask(server, job) for job in jobs()}
    bad = [f"{name}: {answer[:300]}" for name, answer in alone.items() if answer and not answer.startswith("[200, ")]
    bad += [f"{job.name}: asked again alone, {show(alone[job.name], got)}" for job in jobs()
            if (got := ask(server, job)) is not None and got != alone[job.name]]
    server.wait_idle()
    files = open_files(server)
    load = Load(server, alone, o)
    load.run(o.seconds / 3)
    before = resident_mb(server)
    load.run(o.seconds * 2 / 3)
    after, files_after = resident_mb(server), settled_files(server, files)
    bad += load.wrong
    if after - before > o.growth:
        bad.append(f"memory grew from {before:.0f} to {after:.0f} MB")
    if files_after > files:
        bad.append(f"open files grew from {files} to {files_after}")
    if left := list((folder / "files").glob(".*")):
        bad.append(f"unfinished pictures stay behind: {left}")
    bad += books(server)
    print(f"{server.metric('hearth_ended_total'):.0f} requests ended, {server.metric('hearth_used_completion_tokens_total'):.0f} tokens used")
    server.stop()
    print(f"{sum(load.count.values())} answers, {len(load.wrong)} wrong; memory {before:.1f} -> {after:.1f} MB, open files {files} -> {files_after}")
    print(", ".join(f"{k}: {v}" for k, v in sorted(load.count.items())))
    if o.also_threads:
        other = serve(folder, o.also_threads)
        for job in jobs():
            got = ask(other, job)
            if got != alone[job.name]:
                bad.append(f"{job.name} with {o.also_threads} threads, {show(alone[job.name] or '', got or '')}")
        other.stop()
        print(f"{len(jobs())} answers with {o.also_threads} threads compared to those with {o.threads}")
    return bad


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("--seconds", 30.0), ("--workers", 8), ("--threads", 2), ("--also-threads", 0), ("--seed", 1), ("--growth", 64.0)):
        p.add_argument(name, type=type(default), default=default)
    with tempfile.TemporaryDirectory() as folder:
        bad = soak(p.parse_args(), pathlib.Path(folder))
    for b in bad:
        print("WRONG", b)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
