"""Requests that two readers of the same bytes would divide differently: refused in turn, and no body is ever read as a request."""
import json
import re
import socket

import pytest

from certificates import Authority
from conftest import Server, chat, http, read_all

pytestmark = pytest.mark.checked
CHAT = "/v1/chat/completions"
SMUGGLED = http("GET", "/smuggled")


@pytest.fixture(scope="module", params=["http", "https"])
def server(request, server, tmp_path_factory):
    """The same holds behind TLS, which hands the same bytes on."""
    if request.param == "http":
        yield server
        return
    authority = Authority(tmp_path_factory.mktemp("authority"))
    cert, key = authority.sign()
    s = Server("--tls-cert", str(cert), "--tls-key", str(key), ca=str(authority.ca))
    yield s
    s.stop()


def replies(data):
    """Status, headers and body of each reply in what a connection brought; anything else fails."""
    out = []
    while data:
        head, data = data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.[01] (\d+) .*", lines[0])[1])
        headers = {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines[1:])}
        assert "content-length" in headers, "one block of headers, then a body of a length that it says"
        n = int(headers["content-length"])
        out.append((status, headers, data[:n]))
        data = data[n:]
    return out


def head(*lines):
    return "\r\n".join(["POST " + CHAT + " HTTP/1.1", *lines]).encode() + b"\r\n\r\n"


@pytest.mark.parametrize("raw, status", [
    (head("Host: localhost", f"Content-Length : {len(SMUGGLED)}"), 400),
    (head("Host: localhost", f"Content-Length\t: {len(SMUGGLED)}"), 400),
    (head("Host: localhost", "Transfer-Encoding : chunked"), 400),
    (head("Host: localhost", "X: y", " folded: z"), 400),
    (head("Host: localhost", f"Content-Length: {len(SMUGGLED)}", "Content-Length: 0"), 400),
    (head("Host: localhost", "Content-Length: 0", "Content-Length: 0"), 400),
    (head("Host: localhost", "Content-Length: 0, 0"), 400),
    (head("Host: localhost", "Content-Length: +0"), 400),
    (head("Host: localhost", "Content-Length: 0", "Transfer-Encoding: chunked"), 400),
    (head("Host: localhost", "Transfer-Encoding: gzip"), 400),
    (head("Host: localhost", "Transfer-Encoding: chunked, chunked"), 400),
    (head("Host: localhost", "Transfer-Encoding: identity"), 400),
    (head("Host: localhost", "Transfer-Encoding: \x0bchunked"), 400),
    (head("Host: localhost", "Host: localhost"), 400),
    (head("Host: localhost", "no colon"), 400),
    (head("Host: localhost", "X: a\rContent-Length: 100"), 400),
    (head("Host: localhost", "X: a\nContent-Length: 100"), 400),
    (head("Host: localhost", "X: a\0b"), 400),
    (head("X: no host"), 400),
    (b"POST " + CHAT.encode() + b"\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"POST " + CHAT.encode() + b"%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"POST  " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"POST " + CHAT.encode() + b"\r\nHost: localhost\r\n\r\n", 400),
    (b"POST " + CHAT.encode() + b" HTTP/1.1\nHost: localhost\n\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    (b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    (b"GET /v1/models?" + b"a&" * 300 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    (head("Host: localhost", "X: " + "a" * 100000), 431),
    (head("Host: localhost", *[f"X{i}: y" for i in range(1000)]), 431),
    (head("Host: localhost", "Content-Length: 99999999999999999999999999"), 413),
])
def test_refused_in_one_envelope(server, raw, status):
    for before in (b"", http("GET", "/health", close=False)):
        got = replies(server.raw(before + raw + SMUGGLED))
        assert [r[0] for r in got] == [200] * bool(before) + [status], "and what lies behind is nobody's request"
        error = json.loads(got[-1][2])["error"]
        assert error["message"] and error["type"] == "invalid_request_error"
        assert got[-1][1]["content-type"] == "application/json" and "x-request-id" in got[-1][1]
        assert got[-1][1]["connection"].lower() == "close"


@pytest.mark.parametrize("body", [
    b"x\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"-1\r\n", b"5\nhello\r\n0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n", b"0\r\nContent-Length : 5\r\n\r\n", b"0\r\nno colon\r\n\r\n", b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
    b"0" * 5000 + b"5\r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n",
])
@pytest.mark.parametrize("path", [CHAT, "/inference/v1/chat/completions"])
def test_broken_chunks(server, path, body):
    raw = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    got = replies(server.raw(raw + body + SMUGGLED))
    assert [r[0] for r in got] == [400] and json.loads(got[0][2])["error"]["message"]


def test_a_chunk_too_large_to_count(server):
    got = replies(server.raw(head("Host: localhost", "Transfer-Encoding: chunked") + b"fffffffffffffffff\r\n" + SMUGGLED))
    assert [r[0] for r in got] == [413]


def test_bodies_in_any_pieces(server):
    """A request in chunks with extensions and a trailer, cut anywhere, is the same request; the next one follows behind it."""
    body = json.dumps(chat(max_tokens=1, temperature=0)).encode()
    plain = replies(server.raw(http("POST", CHAT, body)))[0]
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(c), c) for c in (body[i:i + 7] for i in range(0, len(body), 7)))
    raw = head("Host: localhost", "Transfer-Encoding: chunked") + chunks + b"0\r\nX-Sum: 1\r\n\r\n" + http("GET", "/health")
    for step in (1, 3, 64, len(raw)):
        with server.connect() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(0, len(raw), step):
                s.sendall(raw[i:i + step])
            got = replies(read_all(s))
        assert [r[0] for r in got] == [200, 200] and got[1][2] == b'{"status":"ok","service":"image-generation"}'
        assert json.loads(got[0][2])["choices"] == json.loads(plain[2])["choices"]


def test_a_body_is_never_a_request(server):
    """The length says how much is body, whatever the body says."""
    for method in ("GET", "HEAD", "DELETE", "OPTIONS", "PUT"):
        raw = f"{method} /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n".encode() + SMUGGLED + http("GET", "/ready")
        data = server.raw(raw)
        assert b"smuggled" not in data and data.count(b"HTTP/1.1 ") == 2 and data.endswith(b'{"ready":true}'), method


def test_a_hundred_in_a_row(server):
    got = replies(server.raw(http("GET", "/health", close=False) * 100 + http("GET", "/health")))
    assert [r[0] for r in got] == [200] * 101


def test_largest_headers_that_are_allowed(server):
    lines = [f"X-{i}: {'v' * 200}" for i in range(120)]
    got = replies(server.raw(http("GET", "/v1/models?" + "a=b&" * 100, headers=lines, close=False) + http("GET", "/health")))
    assert [r[0] for r in got] == [200, 200]


def test_metrics_know_every_status(server):
    server.raw(http("GET", "/" + "a" * 100000))
    server.raw(http("POST", "/v1/images/generations", headers=["X: " + "y" * 100000]))  # refused while it is still being sent, which not every client can read
    text = server.get("/metrics").text
    assert 'status="414"' in text and 'status="431"' in text
    assert server.get("/files/none", headers={"Range": "bytes=0-1"}).status_code == 404


def test_old_and_odd_clients(server):
    assert server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200") or server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert replies(server.raw(b"\r\n\r\n" + http("GET", "/health")))[0][0] == 200
    assert replies(server.raw(http("GET", "http://localhost/health")))[0][0] == 200
    r = server.raw(http("HEAD", "/health"))
    assert r.startswith(b"HTTP/1.1 200") and r.endswith(b"\r\n\r\n")
    with server.connect() as s:  # a client that asks before it sends
        body = json.dumps(chat(max_tokens=1)).encode()
        s.sendall(head("Host: localhost", f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close"))
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        assert read_all(s).startswith(b"HTTP/1.1 200")
    with server.connect() as s:  # and one that need not send at all
        s.sendall(head("Host: localhost", "Content-Length: 999999999", "Expect: 100-continue"))
        assert read_all(s).startswith(b"HTTP/1.1 413")


def test_an_end_in_the_middle(server):
    for raw in (b"", b"GET", b"GET / HTTP/1.1\r\nHost: loc", head("Host: localhost", "Content-Length: 10") + b"123", head("Host: localhost", "Transfer-Encoding: chunked") + b"5\r\nhe"):
        with server.connect() as s:
            s.sendall(raw)
            socket.socket.shutdown(s, socket.SHUT_WR)  # of the connection, whatever it carries
            assert read_all(s) == b""
    assert server.get("/health").status_code == 200
