"""hearth pull against a small server that speaks the hub's layout and misbehaves on demand."""

import fcntl
import hashlib
import http.server
import json
import os
import pathlib
import resource
import signal
import struct
import subprocess
import threading
import time

import pytest

from conftest import BIN as HEARTH
from conftest import PATIENCE, ROOT


def safetensors(value: int, n: int = 50_000) -> bytes:
    header = json.dumps({"x": {"dtype": "U8", "shape": [n], "data_offsets": [0, n]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes((i * 7 + value) % 256 for i in range(n))


GGUF = (ROOT / "tests/golden/readers/tiny.gguf").read_bytes()


class Hub:
    """The state of one test's server: files by repository path, and what goes wrong."""

    def __init__(self):
        self.files = {}  # path -> bytes
        self.cut_after = []  # one entry for each of the next CDN answers: bytes after which the connection breaks
        self.status = []  # one entry for each of the next CDN answers: this status instead, or None
        self.retry_after = None
        self.token = None  # needed on the hub, forbidden on the CDN
        self.etag = "one"
        self.wrong_sha = False
        self.linked = True
        self.lfs = True
        self.page = 1000
        self.ranges = True
        self.bad_range = False
        self.slow = 0  # seconds between blocks
        self.redirect = None
        self.sizes = {}  # path -> bytes, where the listing says other than what is there
        self.requests = []  # (server, path, headers)

    def sha(self, path):
        return "0" * 64 if self.wrong_sha else hashlib.sha256(self.files[path]).hexdigest()


def handler(hub, cdn_port):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            for k, v in headers.items():
                self.send_header(k.replace("_", "-"), v)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            on_hub = self.server.server_port != cdn_port[0]
            hub.requests.append(("hub" if on_hub else "cdn", self.path, dict(self.headers)))
            if not on_hub:
                return self.cdn()
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.answer(401, b'{"error":"gated"}')
            path, _, query = self.path.partition("?")
            if path == "/api/models/own/repo/tree/main":
                return self.tree(query)
            prefix = "/own/repo/resolve/main/"
            if path.startswith(prefix) and path[len(prefix):] in hub.files:
                name = path[len(prefix):]
                linked = {"X_Linked_Etag": f'"{hub.sha(name)}"'} if hub.linked else {}
                target = hub.redirect or f"http://127.0.0.1:{cdn_port[0]}/cdn/{name}"
                return self.answer(302, b"elsewhere", Location=target, **linked)
            self.answer(404, b"Not Found")

        def tree(self, query):
            start = int(query.split("cursor=")[1]) if "cursor=" in query else 0
            names = sorted(hub.files)[start:start + hub.page]
            out = [{"type": "directory", "path": "sub", "oid": "1", "size": 0}]
            for n in names:
                entry = {"type": "file", "path": n, "oid": "2", "size": hub.sizes.get(n, len(hub.files[n]))}
                if hub.lfs and n.endswith((".safetensors", ".gguf")):
                    entry["lfs"] = {"oid": hub.sha(n), "size": entry["size"], "pointerSize": 134}
                out.append(entry)
            link = {}
            if start + hub.page < len(hub.files):
                host = f"http://127.0.0.1:{self.server.server_port}"
                link = {"Link": f'<{host}/api/models/own/repo/tree/main?recursive=true&cursor={start + hub.page}>; rel="next"'}
            self.answer(200, json.dumps(out).encode(), **link)

        def cdn(self):
            name = self.path.removeprefix("/cdn/")
            status = hub.status.pop(0) if hub.status else None
            if status:
                extra = {"Retry_After": hub.retry_after} if hub.retry_after else {}
                return self.answer(status, b"no", **extra)
            if name not in hub.files:
                return self.answer(404)
            data, start, status = hub.files[name], 0, 200
            want = self.headers.get("Range")
            if want and hub.ranges and self.headers.get("If-Range", f'"{hub.etag}"') == f'"{hub.etag}"':
                start = int(want.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    return self.answer(416)
                status = 206
            self.send_response(status)
            self.send_header("ETag", f'"{hub.etag}"')
            self.send_header("Content-Length", str(len(data) - start))
            if status == 206:
                first = start + (1 if hub.bad_range else 0)
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            cut = hub.cut_after.pop(0) if hub.cut_after else None
            body = data[start:] if cut is None else data[start:start + cut]
            for i in range(0, len(body), 4096):
                self.wfile.write(body[i:i + 4096])
                if hub.slow:
                    self.wfile.flush()
                    time.sleep(hub.slow)
            if cut is not None:
                self.wfile.flush()
                self.connection.shutdown(2)
                self.close_connection = True

        do_HEAD = do_GET

    return Handler


@pytest.fixture
def hub():
    state, port = Hub(), [0]
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(state, port)) for _ in range(2)]
    port[0] = servers[1].server_port
    state.url, state.cdn_url = (f"http://127.0.0.1:{s.server_port}" for s in servers)
    for s in servers:
        threading.Thread(target=s.serve_forever, daemon=True).start()
    yield state
    for s in servers:
        s.shutdown()
        s.server_close()


def command(hub, tmp_path, *args):
    return [HEARTH, "pull", "--models", str(tmp_path / "models"), "--hub", hub.url, "--tries", "2", *args]


def environment(tmp_path):
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def pull(hub, tmp_path, *args, ok=True):
    r = subprocess.run(command(hub, tmp_path, *args), capture_output=True, text=True, env=environment(tmp_path), timeout=PATIENCE)
    assert (r.returncode == 0) == ok, r.stderr
    if not ok:
        assert r.returncode == 1 and r.stdout == ""
    return r


def installed(tmp_path):
    root = tmp_path / "models"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def cdn_requests(hub):
    return [r for r in hub.requests if r[0] == "cdn"]


REPO = {
    "config.json": b'{"model_type":"llama"}',
    "tokenizer.json": b"{}",
    "merges.txt": b"a b\n",
    "README.md": b"read me",
    ".gitattributes": b"x",
    "model.safetensors.index.json": b'{"weight_map":{}}',
    "model-00001-of-00002.safetensors": safetensors(1),
    "model-00002-of-00002.safetensors": safetensors(2),
    "consolidated.safetensors": safetensors(3),
    "pytorch_model.bin": b"PK",
    "original/params.json": b"{}",
    "onnx/model.onnx": b"o",
}


def test_whole_repository(hub, tmp_path):
    hub.files = dict(REPO)
    hub.page = 5  # the listing has three pages
    r = pull(hub, tmp_path, "hf:own/repo")
    assert r.stdout.strip() == str(tmp_path / "models/own/repo")
    wanted = ["config.json", "tokenizer.json", "merges.txt", "model.safetensors.index.json",
              "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert installed(tmp_path) == {f"own/repo/{n}": REPO[n] for n in wanted}
    before = len(cdn_requests(hub))
    pull(hub, tmp_path, "hf:own/repo")  # again: nothing is fetched
    assert len(cdn_requests(hub)) == before
    (tmp_path / "models/own/repo/model-00001-of-00002.safetensors").write_bytes(safetensors(9))
    pull(hub, tmp_path, "hf:own/repo")  # and what was damaged is repaired
    assert installed(tmp_path)["own/repo/model-00001-of-00002.safetensors"] == REPO["model-00001-of-00002.safetensors"]


def test_pipeline(hub, tmp_path):
    hub.files = {
        "model_index.json": b"{}", "big.safetensors": safetensors(1), "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.safetensors": safetensors(2),
        "unet/diffusion_pytorch_model.fp16.safetensors": safetensors(3),
        "vae/config.json": b"{}", "vae/diffusion_pytorch_model.fp16.safetensors": safetensors(4),
        "tokenizer/merges.txt": b"", "unet/model.onnx": b"", "a/b/config.json": b"{}",
    }
    pull(hub, tmp_path, "hf:own/repo")
    assert sorted(installed(tmp_path)) == sorted(f"own/repo/{n}" for n in [
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors", "tokenizer/merges.txt"])


def test_gguf_quantisations(hub, tmp_path):
    hub.files = {"m-Q2_K.gguf": GGUF, "m-Q4_K_M.gguf": GGUF, "Q8_0/m-Q8_0-00001-of-00002.gguf": GGUF,
                 "Q8_0/m-Q8_0-00002-of-00002.gguf": GGUF, "mmproj-m.gguf": GGUF, "config.json": b"{}"}
    r = pull(hub, tmp_path, "hf:own/repo")
    assert list(installed(tmp_path)) == ["own/repo/m-Q4_K_M.gguf"]
    assert r.stdout.strip().endswith("/own/repo/m-Q4_K_M.gguf")
    r = pull(hub, tmp_path, "hf:own/repo:q8_0")
    assert r.stdout.strip().endswith("/own/repo/m-Q8_0-00001-of-00002.gguf")
    pull(hub, tmp_path, "hf:own/repo/m-Q2_K.gguf")
    assert len(installed(tmp_path)) == 4
    r = pull(hub, tmp_path, "hf:own/repo:Q3_K_S", ok=False)
    assert 'no file or quantisation "Q3_K_S"' in r.stderr


def test_addresses(hub, tmp_path):
    hub.files = {"m.gguf": GGUF}
    r = pull(hub, tmp_path, f"{hub.url}/own/repo/resolve/main/m.gguf?download=true")
    assert r.stdout.strip() == str(tmp_path / "models/own/repo/m.gguf")
    r = pull(hub, tmp_path, f"{hub.cdn_url}/cdn/m.gguf")  # any other server: no listing, no sum
    assert r.stdout.strip() == str(tmp_path / "models/m/m.gguf")
    r = pull(hub, tmp_path, "--sha256", "1" * 64, f"{hub.cdn_url}/cdn/m.gguf", ok=False)
    assert "expected SHA-256 111" in r.stderr
    r = pull(hub, tmp_path, "--sha256", hashlib.sha256(GGUF).hexdigest(), f"{hub.cdn_url}/cdn/m.gguf")
    for bad, why in [("http://example.com/m.gguf", "expected https://"), ("ftp://127.0.0.1/m.gguf", "expected https://"),
                     ("file:///etc/passwd", "not a valid URL"), (f"{hub.cdn_url}/cdn/..%2fm.gguf", "file's name"),
                     (f"{hub.cdn_url}/cdn/m.bin", "expected a .gguf or .safetensors"), (f"{hub.cdn_url}/", "expected the address"),
                     ("hf:own", "expected hf:OWNER/REPO"), ("hf:../repo", "expected hf:OWNER/REPO"),
                     ("hf:own/repo/../../x", "expected hf:OWNER/REPO"), ("hf:own/repo@../x", "expected hf:OWNER/REPO")]:
        r = pull(hub, tmp_path, bad, ok=False)
        assert why in r.stderr, (bad, r.stderr)


@pytest.mark.parametrize("cuts", [[1000], [1000, 20000], [1, 1, 1, 1]])
def test_broken_connections(hub, tmp_path, cuts):
    hub.files = {"model.safetensors": safetensors(1)}
    hub.cut_after = list(cuts)
    pull(hub, tmp_path, "hf:own/repo")
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(1)}
    ranges = [r[2].get("Range") for r in cdn_requests(hub)]
    assert ranges[0] is None and ranges[-1] == f"bytes={sum(cuts)}-"  # nothing was fetched twice


def test_gives_up_and_resumes_later(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1)}
    hub.cut_after = [1000] + [0] * 10
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "gave up after 2 attempts" in r.stderr
    assert "model.safetensors" not in [pathlib.Path(p).name for p in installed(tmp_path)]
    hub.cut_after = []
    pull(hub, tmp_path, "hf:own/repo")
    assert cdn_requests(hub)[-1][2]["Range"] == "bytes=1000-"
    assert cdn_requests(hub)[-1][2]["If-Range"] == '"one"'
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(1)}


def test_killed_and_resumed(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1, 2_000_000)}
    hub.slow = 0.01
    p = subprocess.Popen(command(hub, tmp_path, "hf:own/repo"), env=environment(tmp_path), stderr=subprocess.DEVNULL)
    part = tmp_path / "models/own/repo/.model.safetensors.part"
    deadline = time.monotonic() + PATIENCE
    while not (part.exists() and part.stat().st_size > 100_000):
        assert time.monotonic() < deadline and p.poll() is None
        time.sleep(0.02)
    p.send_signal(signal.SIGKILL)
    p.wait()
    hub.slow = 0
    pull(hub, tmp_path, "hf:own/repo")
    assert int(cdn_requests(hub)[-1][2]["Range"].split("=")[1][:-1]) > 100_000
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(1, 2_000_000)}


def test_changed_etag_starts_over(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1)}
    hub.cut_after = [1000] + [0] * 10
    pull(hub, tmp_path, "hf:own/repo", ok=False)
    hub.cut_after, hub.etag, hub.files = [], "two", {"model.safetensors": safetensors(2)}
    r = pull(hub, tmp_path, "hf:own/repo")
    assert "starting over" in r.stderr
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(2)}


def test_changed_content_under_the_same_etag(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1)}
    hub.cut_after = [1000] + [0] * 10
    pull(hub, tmp_path, "hf:own/repo", ok=False)
    hub.cut_after, hub.files = [], {"model.safetensors": safetensors(2)}
    r = pull(hub, tmp_path, "hf:own/repo")
    assert "not right: starting over" in r.stderr
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(2)}


def test_server_without_ranges(hub, tmp_path):
    hub.files, hub.ranges = {"model.safetensors": safetensors(1)}, False
    hub.cut_after = [1000]
    pull(hub, tmp_path, "hf:own/repo")
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(1)}


def test_lying_range(hub, tmp_path):
    hub.files, hub.bad_range = {"model.safetensors": safetensors(1)}, True
    hub.cut_after = [1000]
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "asked for bytes from 1000, the server sent them from 1001" in r.stderr


@pytest.mark.parametrize("lfs", [True, False])
def test_wrong_sum_installs_nothing(hub, tmp_path, lfs):
    hub.files, hub.wrong_sha, hub.lfs = {"model.safetensors": safetensors(1)}, True, lfs
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "expected SHA-256 000" in r.stderr and "nothing was installed" in r.stderr
    assert installed(tmp_path) == {}


def test_error_page_is_not_installed(hub, tmp_path):
    hub.files, hub.lfs, hub.linked = {"model.safetensors": b"<html>sorry</html>"}, False, False
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "what came is no such model file" in r.stderr
    assert installed(tmp_path) == {}


def test_server_errors_are_retried(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1)}
    hub.status, hub.retry_after = [503], "1"
    start = time.time()
    r = pull(hub, tmp_path, "hf:own/repo")
    assert "the server answered 503; trying again in 1.0 s" in r.stderr and time.time() - start > 0.9
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(1)}
    hub.files["model.safetensors"], hub.status = safetensors(2), [500, 502]
    assert "gave up after 2 attempts: the server answered 502" in pull(hub, tmp_path, "hf:own/repo", ok=False).stderr


def test_not_found(hub, tmp_path):
    r = pull(hub, tmp_path, "hf:own/other", ok=False)
    assert "not there (404)" in r.stderr and "/api/models/own/other/" in r.stderr
    hub.files = {"model.safetensors": safetensors(1), "only.bin": b"PK"}
    hub.status = [404]
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "not there (404)" in r.stderr
    hub.files = {"only.bin": b"PK"}
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "PyTorch pickles are not read" in r.stderr


def test_token_stays_on_the_hub(hub, tmp_path):
    hub.files, hub.token = {"model.safetensors": safetensors(1)}, "hf_secret"
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "401" in r.stderr and "--hub-token" in r.stderr
    r = pull(hub, tmp_path, "--hub-token", "hf_wrong", "hf:own/repo", ok=False)
    assert "does not open it" in r.stderr and "hf_wrong" not in r.stderr
    pull(hub, tmp_path, "--hub-token", "hf_secret", "hf:own/repo")
    assert cdn_requests(hub) and all("Authorization" not in r[2] for r in cdn_requests(hub))


def test_redirects_that_are_refused(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1)}
    for target, why in [("http://example.com/x", "expected https://"), ("file:///etc/passwd", "")]:
        hub.redirect = target
        r = pull(hub, tmp_path, "hf:own/repo", ok=False)
        assert why in r.stderr
    hub.redirect = f"{hub.url}/own/repo/resolve/main/model.safetensors"  # in a circle
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "redirect" in r.stderr.lower()


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a/../../evil.json", "a\\evil.json", "a//b.json", "x\n.json"])
def test_names_from_the_server_are_not_trusted(hub, tmp_path, name):
    hub.files = {"model.safetensors": safetensors(1), name: b"{}"}
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "not safe" in r.stderr
    assert not (tmp_path / "models").exists() or installed(tmp_path) == {}


def test_two_pulls_at_once(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1, 400_000)}
    hub.slow = 0.01
    both = [subprocess.Popen(command(hub, tmp_path, "hf:own/repo"), env=environment(tmp_path), stderr=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True) for _ in range(2)]
    notes = "".join(p.communicate(timeout=PATIENCE)[1] for p in both)
    assert [p.returncode for p in both] == [0, 0] and "waiting for it" in notes
    assert len(cdn_requests(hub)) == 1
    assert installed(tmp_path) == {"own/repo/model.safetensors": safetensors(1, 400_000)}


def test_waits_for_a_lock(hub, tmp_path):
    hub.files = {"model.safetensors": safetensors(1)}
    part = tmp_path / "models/own/repo/.model.safetensors.part"
    part.parent.mkdir(parents=True)
    with open(part, "wb") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        p = subprocess.Popen(command(hub, tmp_path, "hf:own/repo"), env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        assert p.poll() is None and not cdn_requests(hub)
    assert "waiting for it" in p.communicate(timeout=PATIENCE)[1] and p.returncode == 0


def test_local_paths(hub, tmp_path):
    (tmp_path / "a.gguf").write_bytes(GGUF)
    r = pull(hub, tmp_path, str(tmp_path / "a.gguf"))
    assert r.stdout.strip() == str(tmp_path / "models/a/a.gguf")
    folder = tmp_path / "My-Model"
    folder.mkdir()
    for n in ["config.json", "model.safetensors", "README.md"]:
        (folder / n).write_bytes(REPO.get(n, safetensors(1)))
    r = pull(hub, tmp_path, str(folder))
    assert r.stdout.strip() == str(tmp_path / "models/My-Model")
    assert sorted(installed(tmp_path)) == ["My-Model/config.json", "My-Model/model.safetensors", "a/a.gguf"]
    (tmp_path / "b.gguf").write_bytes(GGUF[:-200])
    r = pull(hub, tmp_path, str(tmp_path / "b.gguf"), ok=False)
    assert "truncated" in r.stderr and not (tmp_path / "models/b/b.gguf").exists()
    assert "No such file" in pull(hub, tmp_path, "no-such-thing", ok=False).stderr
    assert "expected a .gguf" in pull(hub, tmp_path, str(folder / "README.md"), ok=False).stderr


def test_usage():
    r = subprocess.run([HEARTH, "pull"], capture_output=True, text=True)
    assert r.returncode == 2 and "expected one model" in r.stderr


def everything(tmp_path):
    return [p for p in (tmp_path / "models").rglob("*")] if (tmp_path / "models").exists() else []


def test_a_model_without_an_engine_is_refused_before_the_first_byte(hub, tmp_path):
    hub.files = {"config.json": b'{"model_type": "mamba2"}', "tokenizer.json": b"{}", "model.safetensors": safetensors(1)}
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert r.stderr == "hearth pull: hf:own/repo: this build has no engine for models of type 'mamba2'; nothing was fetched\n"
    assert [p for _, p, _ in cdn_requests(hub)] == ["/cdn/config.json"] and everything(tmp_path) == []
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("version: 1\nmodels:\n  - id: accounts/own/models/snake\n    kind: text\n    arch: mamba2\n    context: 100\n    source: hf:own/repo\n")
    r = pull(hub, tmp_path, "snake", "--catalog", str(catalog), ok=False)
    assert "there is no engine for mamba2 yet" in r.stderr and everything(tmp_path) == []
    hub.files["config.json"] = b'{"model_type": "llama"}'
    pull(hub, tmp_path, "hf:own/repo")
    assert "own/repo/model.safetensors" in installed(tmp_path)


@pytest.mark.parametrize("wrong", ["sha", "gone", "content"])
def test_a_failed_pull_leaves_nothing(hub, tmp_path, wrong):
    hub.files = {"config.json": b'{"model_type": "llama"}', "model.safetensors": safetensors(1)}
    if wrong == "sha":
        hub.wrong_sha = True
    elif wrong == "gone":
        hub.status = [None, None, 404]  # config.json is asked for twice: what it is, then to keep it
    else:
        hub.files["model.safetensors"] = b"x" * 50_000
        hub.lfs = hub.linked = False
    pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert everything(tmp_path) == []


def test_what_a_killed_pull_left_empty_goes(hub, tmp_path):
    """Killed before its first byte, of a file that the repository no longer has: no later pull leaves it there."""
    folder = tmp_path / "models/own/repo"
    folder.mkdir(parents=True)
    (folder / ".old.safetensors.part").write_bytes(b"")
    (folder / ".old.safetensors.part.etag").write_text('"one"\n')
    hub.files, hub.status = {"config.json": b'{"model_type": "llama"}', "model.safetensors": safetensors(1)}, [None, None, 404]
    pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert everything(tmp_path) == []


def limited(n):
    """For a process whose disk takes files of n bytes, as a full one would."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))


@pytest.mark.parametrize("source", ["hub", "folder"])
def test_full_disk(hub, tmp_path, source):
    hub.files = {"config.json": b'{"model_type":"llama"}', "model.safetensors": safetensors(1)}
    here = tmp_path / "given"
    here.mkdir()
    for name, data in hub.files.items():
        (here / name).write_bytes(data)
    what = "hf:own/repo" if source == "hub" else str(here)
    r = subprocess.run(command(hub, tmp_path, what), capture_output=True, text=True, env=environment(tmp_path), timeout=PATIENCE,
                       preexec_fn=limited(20_000))
    assert r.returncode == 1 and r.stderr.count("File too large") == 1, (r.returncode, r.stderr)
    left = {p.name for p in everything(tmp_path) if p.is_file()}
    if source == "hub":  # what a resume needs, under no name that is served
        assert left <= {"config.json", ".model.safetensors.part", ".model.safetensors.part.etag"}
    else:
        assert left == set()
    pull(hub, tmp_path, what)
    assert installed(tmp_path)[("own/repo" if source == "hub" else "given") + "/model.safetensors"] == safetensors(1)
    assert not [p for p in everything(tmp_path) if p.name.startswith(".")]


def test_more_than_the_disk_holds(hub, tmp_path):
    """The whole model is counted before the first of its files is fetched."""
    room = os.statvfs(tmp_path)
    hub.files = dict(REPO)
    hub.sizes = {n: room.f_blocks * room.f_frsize * 2 // 3 for n in REPO if n.startswith("model-")}  # one alone might fit
    r = pull(hub, tmp_path, "hf:own/repo", ok=False)
    assert "more on the disk of" in r.stderr and "B free" in r.stderr
    assert [p for _, p, _ in cdn_requests(hub)] == ["/cdn/config.json"] and everything(tmp_path) == []


@pytest.mark.parametrize("names, kept", [
    (["a/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf"], ["m-Q4_K_M.gguf"]),
    (["m-Q4_K_M.gguf", "m-q4_k_m.gguf"], ["m-Q4_K_M.gguf"]),
    (["m-00001-of-99999.gguf"], "holds 1 of its 99999 parts; nothing was fetched"),
    (["m-00002-of-00002.gguf"], "holds 1 of its 2 parts; nothing was fetched"),
    (["m-00001-of-00002.gguf", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf"], "holds 1 of its 2 parts"),
    (["config.json", "model-00001-of-00002.safetensors"], "holds 1 of its 2 parts; nothing was fetched"),
    (["n" * 300 + ".gguf"], "not safe"),
    (["config.json", "CONFIG.JSON", "model.safetensors"], ["CONFIG.JSON", "config.json", "model.safetensors"]),
    (["config.json", "config.json/x.json", "model.safetensors"], ["config.json", "model.safetensors"]),
    (["x\0.json", "model.safetensors"], "not valid JSON"),
    (["con" + "/d" * 600 + "/x.json", "model.safetensors"], "not safe"),
])
def test_hostile_names(hub, tmp_path, names, kept):
    hub.files = {n: GGUF if n.endswith(".gguf") else safetensors(1) if n.endswith("tensors") else b'{"model_type":"llama"}' for n in names}
    r = pull(hub, tmp_path, "hf:own/repo", ok=isinstance(kept, list))
    if isinstance(kept, list):
        assert installed(tmp_path) == {f"own/repo/{n}": next(d for p, d in hub.files.items() if p.endswith(n)) for n in kept}
    else:
        assert kept in r.stderr and everything(tmp_path) == [] and not cdn_requests(hub)


@pytest.mark.parametrize("place", ["../other.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "sub/x.safetensors", ".x.safetensors"])
def test_an_index_that_points_elsewhere(tmp_path, place):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type":"llama"}')
    (folder / "model-00001-of-00001.safetensors").write_bytes(safetensors(1))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": place}}))
    r = subprocess.run([HEARTH, "inspect", str(folder)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 1 and "in the same folder" in r.stderr


def test_a_tensor_in_two_parts(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type":"llama"}')
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for n in names:
        (folder / n).write_bytes(safetensors(1))
    r = subprocess.run([HEARTH, "inspect", str(folder)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 1 and "x" in r.stderr and all(n in r.stderr for n in names[1:]), r.stderr
