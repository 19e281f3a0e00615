"""HTTPS: what is spoken and what is not, certificates that cannot be used, and ones that come while a stream goes on."""
import datetime
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import openai
import pytest
import requests

from certificates import Authority
from conftest import BIN, KEY, PATIENCE, ROOT, Server, environment, http, read_all

pytestmark = pytest.mark.checked
TINY = str(ROOT / "tests/golden/lm/chat")
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def start(authority, cert, key, *args):
    return Server("--keys", KEY, "--tls-cert", str(cert), "--tls-key", str(key), *args, TINY, models="/nonexistent", ca=str(authority.ca))


@pytest.fixture(scope="module")
def server(authority):
    s = start(authority, *authority.sign(), "--http-redirect", "0")
    yield s
    s.stop()


def body(**fields):
    return {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "seed": 1, **fields}


def handshake(server, version=None, ciphers=None, authority=None):
    context = ssl.create_default_context(cafile=server.verify)
    if version:
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context.wrap_socket(socket.create_connection(server.address, timeout=PATIENCE), server_hostname="localhost")


def serial(server):
    with handshake(server) as s:
        return s.getpeercert()["serialNumber"]


def test_answers_and_streams(server):
    assert server.url.startswith("https://")
    r = server.post("/v1/chat/completions", body(), headers=AUTH)
    assert r.status_code == 200 and r.json()["usage"]["completion_tokens"] > 0
    again = server.post("/v1/chat/completions", body(), headers=AUTH)
    assert again.json()["choices"] == r.json()["choices"]
    assert server.get("/v1/models").status_code == 401
    assert server.get("/health").headers["Content-Length"]
    text = server.get("/metrics", headers=AUTH).text
    assert float(re.search(r'hearth_tls_handshakes_total{result="done"} (\S+)', text)[1]) >= 1


def test_the_openai_client(server):
    with openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=server.verify)) as transport:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, http_client=transport, timeout=PATIENCE)
        whole = client.chat.completions.create(**body())
        parts = [c.choices[0].delta.content or "" for c in client.chat.completions.create(**body(stream=True)) if c.choices]
        assert "".join(parts) == whole.choices[0].message.content
        assert [m.id for m in client.models.list()]


def test_large_both_ways(server):
    """A body and a reply of many records."""
    text = "word " * 400_000
    r = server.post("/v1/chat/completions", body(messages=[{"role": "user", "content": text}]), headers=AUTH)
    assert r.status_code == 400 and r.json()["error"]["code"] == "context_length_exceeded", r.text[:200]
    r = server.post("/v1/tokenize", {"model": "chat", "prompt": "hello " * 60_000}, headers=AUTH)
    assert r.status_code == 200 and len(r.content) > 200_000 and r.json()


def test_a_slow_reader(server):
    """The socket takes less than there is: what is left of a record goes on, and nothing is lost or said twice."""
    prompt = json.dumps({"model": "chat", "prompt": "hello " * 120_000}).encode()
    want = server.raw(http("POST", "/v1/tokenize", prompt, headers=[f"Authorization: Bearer {KEY}"])).split(b"\r\n\r\n", 1)[1]
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(PATIENCE)
    plain.connect(server.address)
    with ssl.create_default_context(cafile=server.verify).wrap_socket(plain, server_hostname="localhost") as s:
        s.sendall(http("POST", "/v1/tokenize", prompt, headers=[f"Authorization: Bearer {KEY}"]))
        got = b""
        while data := s.recv(1000):
            got += data
    assert got.split(b"\r\n\r\n", 1)[1] == want


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(server, version):
    with handshake(server, version) as s:
        assert s.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
        s.sendall(http("GET", "/health"))
        assert b'"ok"' in read_all(s)


@pytest.mark.parametrize("version, ciphers", [
    (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
    (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
    (ssl.TLSVersion.TLSv1_2, "AES128-SHA:@SECLEVEL=0"),
    (ssl.TLSVersion.TLSv1_2, "AES256-GCM-SHA384"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),
])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_not_spoken(server, version, ciphers):
    with pytest.raises(OSError):
        handshake(server, version, ciphers).close()
    assert server.get("/health").status_code == 200


def test_plain_http_is_told(server):
    with socket.create_connection(server.address, timeout=PATIENCE) as s:
        s.sendall(http("POST", "/v1/chat/completions", body(), headers=[f"Authorization: Bearer {KEY}"]) * 3)
        data = read_all(s)
    head, text = data.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400") and b"https://" in text and json.loads(text)["error"]["message"]


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\xff\xff" + b"a" * 70000, b"\x16", b"\x16\x03\x01\x00\x05hello", b"\0" * 100, b""])
def test_no_handshake_harms(server, junk):
    with socket.create_connection(server.address, timeout=PATIENCE) as s:
        try:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was closed before
        read_all(s)
    assert server.get("/health").status_code == 200


def test_redirect(server):
    url = re.search(r"redirect +(http://\S+)", "".join(server.banner))[1]
    r = requests.get(url + "/v1/models?a=b%20c", allow_redirects=False, timeout=PATIENCE)
    port = server.address[1]
    assert r.status_code == 308 and r.headers["Location"] == f"https://127.0.0.1:{port}/v1/models?a=b%20c"
    assert requests.post(url + "/v1/chat/completions", json=body(), headers=AUTH, verify=server.verify, timeout=PATIENCE).status_code == 401  # requests drops the key between ports
    host, plain = url.removeprefix("http://").rsplit(":", 1)
    for raw in (b"GET / HTTP/1.0\r\n\r\n", http("GET", "/").replace(b"localhost", b"a b\"c"), b"nonsense\r\n\r\n"):
        with socket.create_connection((host, int(plain)), timeout=PATIENCE) as s:
            s.sendall(raw)
            assert b" 400 " in read_all(s).split(b"\r\n")[0]


def test_new_certificates_while_a_stream_goes_on(authority, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(pair):
        shutil.copy(pair[0], cert)
        shutil.copy(pair[1], key)

    put(authority.sign("first"))
    server = start(authority, cert, key)
    first = serial(server)
    with requests.post(server.url + "/v1/chat/completions", json=body(stream=True, max_tokens=400, ignore_eos=True), headers=AUTH, stream=True,
                       verify=server.verify, timeout=PATIENCE) as r:
        lines = r.iter_lines()
        next(lines)
        put(authority.sign("second", kind="rsa"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_log("new connections get the certificate")
        second = serial(server)
        assert second != first
        assert [x for x in lines if x][-1] == b"data: [DONE]"
    # Ones that cannot be used: the old one is kept, and the log says why.
    for words, make in (("ended on", lambda: put(authority.sign("old", start="20200101000000Z", end="20210101000000Z"))),
                        ("is not the key of", lambda: shutil.copy(authority.sign("other")[1], key)),
                        ("no certificate in PEM form", lambda: cert.write_text("nothing")),
                        ("No such file", cert.unlink)):
        put(authority.sign("good"))
        make()
        server.process.send_signal(signal.SIGHUP)
        server.wait_log(words)
        server.wait_until(lambda: any(words in x and "old certificate is kept" in x for x in server.log), words)
        assert serial(server) == second
    server.stop()


def refused(*args):
    r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", "/nonexistent", *map(str, args)], capture_output=True, text=True,
                       env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert r.returncode == 1 and r.stderr.count("hearth serve:") == 1, r.stderr
    return r.stderr.splitlines()[-1]


def test_what_is_said_at_the_start(authority, tmp_path):
    cert, key = authority.sign("fine")
    late = authority.sign("late", start="20200101000000Z", end="20210101000000Z")
    early = authority.sign("early", start="20900101000000Z")
    (tmp_path / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "pkey", "-in", str(key), "-aes128", "-passout", "pass:secret", "-out", str(locked)], check=True)
    assert "tls-key is missing" in refused("--tls-cert", cert)
    assert "tls-cert is missing" in refused("--tls-key", key)
    assert "needs tls-cert" in refused("--http-redirect", "0")
    assert "ended on 2021-01-01" in refused("--tls-cert", late[0], "--tls-key", late[1])
    assert "does not hold before 2090-01-01" in refused("--tls-cert", early[0], "--tls-key", early[1])
    assert "is not the key of the certificate" in refused("--tls-cert", cert, "--tls-key", late[1])
    assert "No such file" in refused("--tls-cert", tmp_path / "none", "--tls-key", key)
    assert "no certificate in PEM form" in refused("--tls-cert", tmp_path / "junk.pem", "--tls-key", key)
    assert "no private key in PEM form" in refused("--tls-cert", cert, "--tls-key", cert)
    assert "encrypted" in refused("--tls-cert", cert, "--tls-key", locked)


def test_a_certificate_that_ends_soon(authority):
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=10, hours=1)
    server = start(authority, *authority.sign("soon", end=end.strftime("%Y%m%d%H%M%SZ")))
    server.wait_log("in 10 days")
    server.stop()


def test_many_at_once(server):
    """Handshakes, keep-alive and streams side by side: each gets the bytes that it would get alone."""
    want = server.post("/v1/chat/completions", body(), headers=AUTH).json()["choices"]
    wrong = []

    def work():
        with requests.Session() as session:
            for _ in range(4):
                r = session.post(server.url + "/v1/chat/completions", json=body(), headers=AUTH, verify=server.verify, timeout=PATIENCE)
                if r.status_code != 200 or r.json()["choices"] != want:
                    wrong.append(r.text)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE)
    assert not wrong
