"""A chat stream beside a drawing: how much further apart its tokens come, and how much longer a picture takes, as JSON lines.

    beside.py http://HOST:PORT CHAT_MODEL IMAGE_MODEL SIZE STEPS
"""
import json
import sys
import threading
import time
import urllib.request

url, chat, image, size, steps = sys.argv[1:]


def post(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=3600)


def stream(n):
    """Seconds between the tokens of a stream."""
    times = []
    with post("/v1/completions", {"model": chat, "prompt": "Once upon a time", "max_tokens": n, "temperature": 0, "stream": True, "ignore_eos": True}) as reply:
        for line in reply:
            if line.startswith(b"data: {"):
                times.append(time.perf_counter())
    return [b - a for a, b in zip(times, times[1:])]


def draw():
    begin = time.perf_counter()
    with post("/v1/images/generations", {"model": image, "prompt": "a red apple", "size": size, "steps": int(steps), "seed": 1, "response_format": "b64_json"}) as reply:
        reply.read()
    return time.perf_counter() - begin


def report(test, gaps, seconds=None):
    gaps = sorted(gaps)
    row = {"test": test, "n": len(gaps), "mean_ms": round(sum(gaps) / len(gaps) * 1e3, 2), "p99_ms": round(gaps[len(gaps) * 99 // 100] * 1e3, 2)}
    print(json.dumps(row | ({"picture_s": round(seconds, 2)} if seconds else {})), flush=True)


stream(16)
draw()
report("alone", stream(400), draw())
picture, gaps = [], []
thread = threading.Thread(target=lambda: picture.append(draw()))
thread.start()
time.sleep(0.2)  # it is at work
while thread.is_alive():
    gaps += stream(100)
report("beside", gaps, picture[0])
