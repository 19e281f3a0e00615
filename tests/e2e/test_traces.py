"""Spans of requests, as a collector gets them: OTLP over HTTP in JSON, read by the standard's own definitions."""
import base64
import http.server
import json
import re
import socket
import threading

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from conftest import KEY, ROOT, Server

pytestmark = pytest.mark.checked
TINY = str(ROOT / "tests/golden/lm/chat")
AUTH = {"Authorization": f"Bearer {KEY}"}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Answers with `status`; keeps what it got."""

    def __init__(self, port=0):
        self.status, self.spans, self.headers, self.paths, self.batches = 200, [], [], [], 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.paths.append(self.path)
                outer.headers.append(dict(self.headers))
                outer.batches += 1
                if outer.status == 200:
                    outer.spans += outer.parse(body)
                self.send_response(outer.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @staticmethod
    def parse(body):
        """OTLP writes ids in hexadecimal, where protobuf's JSON has base64."""
        def to_base64(x):
            if isinstance(x, list):
                return [to_base64(v) for v in x]
            if not isinstance(x, dict):
                return x
            return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ("traceId", "spanId", "parentSpanId") else to_base64(v) for k, v in x.items()}

        request = json_format.ParseDict(to_base64(json.loads(body)), ExportTraceServiceRequest())
        assert [a.value.string_value for r in request.resource_spans for a in r.resource.attributes if a.key == "service.name"] == ["hearth"]
        return [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def of(self, request_id):
        """The span of a request and those below it, by name."""
        for s in self.spans:
            if attributes(s).get("hearth.request_id") == request_id:
                return s, {c.name: c for c in self.spans if c.parent_span_id == s.span_id}
        return None


def attributes(span):
    return {a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value for a in span.attributes}


def start(url, *args):
    return Server("--keys", KEY, "--otlp", url, *args, TINY, models="/nonexistent")


def ask(server, headers=None, **fields):
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "seed": 1, **fields}
    return server.post("/v1/chat/completions", body, headers=AUTH | (headers or {}))


def counted(server, name):
    return float(re.search(rf"^{name} (\S+)$", server.get("/metrics", headers=AUTH).text, re.M)[1])


def test_a_request_is_a_span_with_its_parts():
    collector = Collector()
    server = start(collector.url, "--otlp-header", "X-Tenant: shop")
    r = ask(server, {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "traced"})
    assert r.status_code == 200
    server.wait_until(lambda: collector.of("traced"), "no span came")
    span, parts = collector.of("traced")
    assert span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT and span.name == "POST /v1/chat/completions" and span.kind == 2
    assert r.headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert {"prompt", "generation"} <= set(parts) <= {"queue", "prompt", "generation"}
    for p in parts.values():
        assert p.trace_id == span.trace_id and span.start_time_unix_nano <= p.start_time_unix_nano < p.end_time_unix_nano <= span.end_time_unix_nano
    assert parts["prompt"].end_time_unix_nano == parts["generation"].start_time_unix_nano
    a = attributes(span)
    usage = r.json()["usage"]
    assert a["gen_ai.usage.input_tokens"] == usage["prompt_tokens"] and a["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert a["http.response.status_code"] == 200 and a["hearth.end"] == "done" and a["gen_ai.request.model"] == r.json()["model"]
    assert KEY not in json.dumps(a) and collector.paths[0] == "/v1/traces" and collector.headers[0]["X-Tenant"] == "shop"

    # A stream; one without a parent; one whose sender does not want it kept; a header that is none; a refusal.
    r = ask(server, {"X-Request-Id": "alone"}, stream=True)
    assert r.headers["traceparent"].endswith("-01")
    assert ask(server, {"traceparent": f"00-{TRACE}-{PARENT}-00", "X-Request-Id": "unkept"}).headers["traceparent"].endswith("-00")
    ask(server, {"traceparent": "00-nonsense", "X-Request-Id": "odd"})
    server.get("/v1/models", headers={"X-Request-Id": "refused"})
    server.wait_until(lambda: all(collector.of(x) for x in ("alone", "odd", "refused")), "spans are missing")
    assert not collector.of("alone")[0].parent_span_id and not collector.of("odd")[0].parent_span_id
    assert attributes(collector.of("refused")[0])["http.response.status_code"] == 401
    server.stop()
    assert collector.of("unkept") is None
    collector.close()


def test_the_end_of_the_server_sends_what_waits():
    collector = Collector()
    server = start(collector.url)
    ask(server, {"X-Request-Id": "last"})
    server.stop()
    assert collector.of("last")
    collector.close()


def test_a_collector_that_is_away_holds_nobody_up():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = start(f"http://127.0.0.1:{port}/")
    assert ask(server).status_code == 200
    server.wait_until(lambda: counted(server, "hearth_spans_dropped_total") > 0, "nothing was dropped")
    assert sum("spans are dropped" in x for x in server.log) == 1
    collector = Collector(port)  # and there it is
    server.wait_until(lambda: ask(server).status_code == 200 and collector.spans, "it was not found again")
    server.wait_log("takes spans again")
    # One that refuses: dropped; one that is busy for a moment: tried again.
    collector.status = 400
    dropped = counted(server, "hearth_spans_dropped_total")
    ask(server)
    server.wait_until(lambda: counted(server, "hearth_spans_dropped_total") > dropped, "a refusal was not counted")
    collector.status = 503
    ask(server, {"X-Request-Id": "busy"})
    before = collector.batches
    server.wait_until(lambda: collector.batches > before, "nothing came")
    collector.status = 200
    ask(server, {"X-Request-Id": "after"})
    server.wait_until(lambda: collector.of("after"), "nothing came any more")
    server.stop()
    collector.close()


@pytest.mark.parametrize("args, words", [
    (["--otlp", "collector:4318"], "otlp must be a URL"),
    (["--otlp", "http://"], "otlp must be a URL"),
    (["--otlp", "http://127.0.0.1:1", "--otlp-header", "nonsense"], "otlp-header must be"),
])
def test_settings_that_cannot_be(args, words):
    with pytest.raises(RuntimeError, match=words):
        Server(*args, TINY, models="/nonexistent")
