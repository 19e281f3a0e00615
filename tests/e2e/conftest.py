"""Starts build/release/hearth (or HEARTH_BIN) with the starter model and hands tests its address.

HEARTH_MODELS names the folder of installed models; the tests need the starter chat model in it. Tests marked `checked` drive the
server's own code hard and also run against the address and thread checked builds.
"""
import atexit
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ.get("HEARTH_BIN", str(ROOT / "build/release/hearth"))
MODELS = os.environ.get("HEARTH_MODELS", str(pathlib.Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "hearth/models"))
MODEL = "accounts/hearth/models/smollm2-135m-instruct"
KEY = "test-key-0123456789"
# Seconds after which a test takes whatever it waits for as lost. No machine is so slow or so busy: only what hangs gets there.
PATIENCE = float(os.environ.get("HEARTH_TEST_PATIENCE", 900))


def environment():
    """This process's, without hearth's settings but for the instruction set that everything here is run as."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_") or k == "HEARTH_ISA"}


def pytest_configure(config):
    config.addinivalue_line("markers", "checked: also runs against the address and thread checked builds")


class Server:
    """A running `hearth serve`; its log is read all the time so that it never blocks."""

    def __init__(self, *args, models=MODELS, wrap=(), ca=None, environ=None):
        self.verify = ca or True  # a file of the authority that signed the server's certificate

        env = environment() | {"HEARTH_CONFIG": "/dev/null"} | (environ or {})
        command = [*wrap, BIN, "serve", "--listen", "127.0.0.1:0", "--models", models, *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        atexit.register(self.process.kill)  # when a test fails before it stops its server
        self.banner, self.log, self.url = [], [], None
        self.threads = [threading.Thread(target=self._read, args=a, daemon=True) for a in ((self.process.stdout, self.banner), (self.process.stderr, self.log))]
        for t in self.threads:
            t.start()
        deadline = time.monotonic() + PATIENCE
        while self.url is None:
            found = re.search(r"URL +(https?://\S+)/v1", "".join(self.banner))
            if found:
                self.url = found[1]
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"hearth serve did not start: {''.join(self.log)}")
            time.sleep(0.01)
        host, port = self.url.split("://", 1)[1].rsplit(":", 1)
        self.address = (host, int(port))
        self.wait_until(lambda: self.get("/ready").status_code == 200, "the server never became ready")

    def _read(self, stream, lines):
        for line in stream:
            lines.append(line)

    def post(self, path, body, headers=None, **kw):
        return requests.post(self.url + path, json=body, headers=headers, timeout=PATIENCE, verify=self.verify, **kw)

    def get(self, path, **kw):
        return requests.get(self.url + path, timeout=PATIENCE, verify=self.verify, **kw)

    def metric(self, name):
        """Sum of a metric over its labels."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(x.rsplit(" ", 1)[1]) for x in lines if x.startswith(name + "{") or x.startswith(name + " "))

    def wait_until(self, done, what):
        """Until `done()` says so; fails with `what` when it never does."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    def wait_log(self, words):
        """Until the log has these words: its line may come a moment after the reply that it is about."""
        self.wait_until(lambda: words in "".join(self.log), f"{words!r} is not in the log: {self.log[-20:]}")

    def wait_idle(self):
        """Until nothing is generated."""
        self.wait_until(lambda: not (self.metric("hearth_running") or self.metric("hearth_queue")), "requests still hold their slots")

    def connect(self, timeout=PATIENCE):
        s = socket.create_connection(self.address, timeout=timeout)
        if self.url.startswith("http:"):
            return s
        return ssl.create_default_context(cafile=self.verify).wrap_socket(s, server_hostname="localhost", suppress_ragged_eofs=False)

    def raw(self, data, timeout=PATIENCE):
        """Sends bytes, returns everything until the server closes."""
        if self.url.startswith("https:"):
            return self._raw_tls(data, timeout)
        with self.connect(timeout) as s:
            s.sendall(data)
            return read_all(s)

    def _raw_tls(self, data, timeout):
        """The same behind TLS: all of it is handed to the system at once there too, so that a refusal in the middle can be read."""
        come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl.create_default_context(cafile=self.verify).wrap_bio(come, go, server_hostname="localhost")
        with socket.create_connection(self.address, timeout=timeout) as s:

            def pump(step):
                while True:
                    try:
                        return step()
                    except ssl.SSLWantReadError:
                        s.sendall(go.read())
                        got = s.recv(65536)
                        come.write(got) if got else come.write_eof()

            pump(tls.do_handshake)
            tls.write(data)
            s.sendall(go.read())
            out = b""
            try:
                while got := pump(lambda: tls.read(65536)):
                    out += got
            except (ssl.SSLZeroReturnError, ConnectionError):
                pass
            return out

    def stop(self, seconds=PATIENCE):
        """Asks it to stop and demands that it ends well; what a checked build has to complain about stands in the message."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(seconds)
        for t in self.threads:
            t.join(PATIENCE)
        assert code == 0, "".join(self.log[-150:])


def stand_ins(folder, *names):
    """Links the starter image model into folder/models under the names of larger weights, and writes a catalog in which every image model is drawn
    at the starter's size. Their sizes, steps and prices stay; a picture of 1344x768 then costs what one of 128x128 does. Returns arguments."""
    models = folder / "models"
    models.mkdir()
    for name in names:
        (models / name).symlink_to(ROOT / "models/starter-image")
    catalog = (ROOT / "catalog/models.yaml").read_text()
    entries = re.split(r"(?m)^(?=  - id: )", catalog)
    for i, entry in enumerate(entries):
        if "kind: image" in entry and "native:" not in entry:
            entries[i] = re.sub(r"(?m)^    sizes: ", "    native: 128x128\n    sizes: ", entry)
    (folder / "catalog.yaml").write_text("".join(entries))
    return ["--catalog", str(folder / "catalog.yaml"), "--files", str(folder / "files")], str(models)


def read_all(s):
    out = b""
    try:
        while data := s.recv(65536):
            out += data
    except ConnectionError:
        pass
    return out


def http(method, path, body=None, headers=(), close=True):
    """The bytes of a request."""
    body = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(content="Say hello.", **fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 8, **fields}


def events(response):
    """The JSON of a stream's events; the last one must be [DONE]."""
    data = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(x) for x in data[:-1]]


@pytest.fixture(scope="session")
def server():
    s = Server()
    yield s
    s.stop()


@pytest.fixture(scope="session")
def keyed():
    s = Server("--keys", KEY, "--allow-origin", "https://app.example")
    yield s
    s.stop()
