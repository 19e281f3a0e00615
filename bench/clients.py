"""Streaming clients of a server: tokens a second of all together, as a JSON line.

    clients.py http://HOST:PORT MODEL N

Each of N connections asks /v1/completions for 128 tokens after some 100 of prompt, streamed, greedy, no two prompts alike. One thread
reads them all, so that little is taken from the server on the same machine. Tokens are counted by the events that carry text.
"""
import json
import selectors
import socket
import sys
import time
from urllib.parse import urlparse

url, model, n = urlparse(sys.argv[1]), sys.argv[2], int(sys.argv[3])
STORY = ("Chapter {}. Once upon a time in a small village between the mountains and the sea there lived an old clock maker who had never "
         "in all his years repaired a clock that did not in the end run backwards. People came from far away to see them, and some of them "
         "stayed. This is the story of one of those who stayed, of the winter in which the sea froze, and of the bird that came over the ice "
         "with a letter tied to its foot. It begins, as such stories do, with a knock at the door late at night and a")


class Client:
    def __init__(self, i):
        body = json.dumps({"model": model, "prompt": STORY.format(i + 1), "max_tokens": 128, "temperature": 0, "stream": True}).encode()
        self.socket = socket.create_connection((url.hostname, url.port), timeout=600)
        self.socket.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.received, self.first = b"", None

    def read(self):
        """False when the stream has ended."""
        data = self.socket.recv(1 << 16)
        self.received += data
        if self.first is None and b"data: {" in self.received:
            self.first = time.perf_counter()
        return bool(data) and b"data: [DONE]" not in self.received[-200:]

    def tokens(self):
        if not self.received.startswith(b"HTTP/1.1 200") or b"data: [DONE]" not in self.received:
            raise RuntimeError(f"no whole stream: {self.received[:300]!r}")
        return sum(b'"text":""' not in x and b'"text": ""' not in x for x in self.received.split(b"data: {")[1:])


begin = time.perf_counter()
clients = [Client(i) for i in range(n)]
with selectors.DefaultSelector() as selector:
    for c in clients:
        selector.register(c.socket, selectors.EVENT_READ, c)
    left = n
    while left:
        for key, _ in selector.select(600):
            if not key.data.read():
                selector.unregister(key.fileobj)
                left -= 1
seconds = time.perf_counter() - begin
first = sorted(c.first - begin for c in clients)
print(json.dumps({"test": "clients", "n": n, "tokens_per_s": round(sum(c.tokens() for c in clients) / seconds, 1),
                  "first_ms": round(first[n // 2] * 1e3, 1)}))
