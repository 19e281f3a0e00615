"""Clients that dribble, leave, say nothing, say too much at once, or come by the thousand."""
import json
import resource
import socket
import struct
import threading
import time

import pytest

from conftest import PATIENCE, Server, chat, http, read_all

pytestmark = pytest.mark.checked
CHAT = "/v1/chat/completions"


def test_split_reads(server):
    raw = http("POST", CHAT, chat(max_tokens=2))
    with server.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(raw), 5):
            s.sendall(raw[i:i + 5])
            time.sleep(0.001)
        assert read_all(s).startswith(b"HTTP/1.1 200")


def test_pipelining(server):
    raw = http("POST", CHAT, chat(max_tokens=2), close=False) + http("POST", CHAT, chat(max_tokens=2, stream=True), close=False) + http("GET", "/health")
    r = server.raw(raw)
    assert r.count(b"HTTP/1.1 200 OK") == 3 and r.index(b"[DONE]") < r.index(b'"status":"ok"')


def leave(s, abruptly):
    if abruptly:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("abruptly", [True, False])
def test_leaving_frees_the_slot(server, stream, abruptly):
    server.wait_idle()
    before = server.metric("hearth_cancelled_total")
    sockets = []
    for _ in range(8):
        s = server.connect()
        s.sendall(http("POST", CHAT, chat("Tell a very long story.", max_tokens=4000, stream=stream, ignore_eos=True)))
        sockets.append(s)
    server.wait_until(lambda: server.metric("hearth_running") == 8, "eight requests never ran at once")
    for s in sockets:
        leave(s, abruptly)
    server.wait_idle()
    assert server.metric("hearth_cancelled_total") >= before + 8


def test_half_closed_stream_is_finished(server):
    with server.connect() as s:
        s.sendall(http("POST", CHAT, chat(max_tokens=20, stream=True, ignore_eos=True)))
        first = s.recv(65536)
        s.shutdown(socket.SHUT_WR)
        assert (first + read_all(s)).rstrip().endswith(b"[DONE]\n\n\r\n0")


def test_slow_reader_does_not_hold_up_others(server):
    with server.connect() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.sendall(http("POST", CHAT, chat(max_tokens=200, stream=True, ignore_eos=True)))
        assert server.post(CHAT, chat(max_tokens=2)).status_code == 200
        text = b""
        while data := slow.recv(512):
            text += data
            time.sleep(0.0005)
        assert text.rstrip().endswith(b"[DONE]\n\n\r\n0")


def test_storm_of_leavers(server):
    def one(i):
        with server.connect() as s:
            s.sendall(http("POST", CHAT, chat(f"Story {i}", max_tokens=500, stream=i % 2 == 0, ignore_eos=True)))
            time.sleep((i * 37 % 100) / 400)
            leave(s, i % 3 == 0)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    server.wait_idle()
    assert server.post(CHAT, chat(max_tokens=2)).status_code == 200


def test_a_thousand_idle_connections(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    idle = [server.connect() for _ in range(1000)]
    for s in idle[::2]:
        s.sendall(http("GET", "/health", close=False))
    assert all(s.recv(4096).startswith(b"HTTP/1.1 200") for s in idle[::2])
    assert server.post(CHAT, chat(max_tokens=2)).status_code == 200
    for s in idle:
        s.close()


def test_many_streams_at_once():
    """Far more streams than the batch holds: the others wait in the queue, kept open by comments, and all are finished."""
    s = Server("--queue-limit", "1000", "--keepalive", "0.2", "--max-batch", "8")
    done, pings = [], []

    def one(i):
        r = s.raw(http("POST", CHAT, chat(f"Number {i}", max_tokens=8, stream=True)), timeout=PATIENCE)
        done.append(r.rstrip().endswith(b"[DONE]\n\n\r\n0"))
        pings.append(r.count(b": ping"))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [True] * 200
    assert sum(pings) > 0
    s.stop()


def test_full_queue_answers_429():
    s = Server("--queue-limit", "2", "--max-batch", "1")
    codes = []

    def one():
        r = s.post(CHAT, chat(max_tokens=60, ignore_eos=True))
        codes.append(r.status_code)
        if r.status_code == 429:
            assert int(r.headers["retry-after"]) >= 1 and r.json()["error"]["code"] == "rate_limit_exceeded"

    threads = [threading.Thread(target=one) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(codes) == {200, 429}
    s.stop()


def test_dribbled_request_is_cut_off():
    s = Server("--request-time", "1")
    with s.connect() as c:
        with pytest.raises(ConnectionError):  # long before the hour that the whole of it would take
            for byte in http("POST", CHAT, chat()) * 500:
                c.sendall(bytes([byte]))
                time.sleep(0.05)
    with s.connect() as c:  # headers at once, then nothing
        c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert c.recv(10) == b""
    s.stop()


def test_run_time_limit():
    s = Server("--run-time", "1")
    body = chat("Tell a very long story.", max_tokens=8000, ignore_eos=True)
    r = s.post("/inference/v1/chat/completions", body)
    assert r.status_code == 408
    r = s.post(CHAT, {**body, "stream": True})
    last = [x for x in r.text.split("\n") if x.startswith("data: ")][-1]
    assert json.loads(last[6:])["error"]["type"] == "timeout_error"
    s.wait_idle()
    s.stop()
