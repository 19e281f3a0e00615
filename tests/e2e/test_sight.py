"""A small Llama 4 that sees, from its folder to answers about pictures (tests/golden/lm/llama4_see, tools/reference/llama4_see_golden.py)."""
import base64
import concurrent.futures
import http.server
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import threading
import zlib

import openai
import pytest
from conftest import BIN, KEY, PATIENCE, ROOT, Server, environment

FOLDER = ROOT / "tests/golden/lm/llama4_see"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
CHAT = "/v1/chat/completions"


def data_url(name):
    return "data:image/png;base64," + base64.b64encode((FOLDER / name).read_bytes()).decode()


def png(width, height, rows=b""):
    """A grey picture; without rows of its own every byte is 0."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows or b"\0" * (height * (width + 1)), 9)) + chunk(b"IEND", b"")


def url_of(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def as_sent(messages, **detail):
    """Golden messages as a client of the API sends them."""
    part = lambda p: {"type": "image_url", "image_url": {"url": data_url(p["picture"]), **detail}} if p["type"] == "image" else p
    return [{**m, "content": m["content"] if isinstance(m["content"], str) else [part(p) for p in m["content"]]} for m in messages]


def see(*urls, text="What?", **detail):
    return [{"role": "user", "content": [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": u, **detail}} for u in urls)]}]


class Pictures(http.server.BaseHTTPRequestHandler):
    asked = []

    def do_GET(self):
        self.asked.append(self.path)
        body = (FOLDER / "p0.png").read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, web):
    folder = tmp_path_factory.mktemp("sight") / "models"
    folder.mkdir()
    shutil.copytree(FOLDER, folder / "tiny-sight", ignore=shutil.ignore_patterns("golden.json", "p*.png", "gguf"))
    shutil.copytree(FOLDER / "gguf", folder / "tiny-sight-gguf")
    shutil.copytree(ROOT / "tests/golden/lm/llama4_chat", folder / "tiny-blind")
    s = Server("--keys", KEY, "--image-hosts", f"127.0.0.1:{web}", models=str(folder))
    yield s
    s.stop()


def body(messages, **more):
    return {"model": "tiny-sight", "messages": messages, "max_tokens": 1, "temperature": 0, "seed": 1, **more}


def ask(server, messages, status=200, **more):
    r = server.post(CHAT, body(messages, **more), headers={"Authorization": f"Bearer {KEY}"})
    assert r.status_code == status, r.text
    return r.json()


@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_first_token_as_the_reference(server, number):
    """The prompt's tokens and the first token's probabilities, through openai's client."""
    golden = GOLDEN[number]
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY)
    r = client.chat.completions.create(model="tiny-sight", messages=as_sent(golden["messages"]), max_tokens=1, temperature=0, logprobs=True, top_logprobs=20,
                                       extra_body={"ignore_eos": True})
    assert r.usage.prompt_tokens == len(golden["ids"])
    total = math.log(sum(math.exp(x) for x in golden["logits"]))
    want = sorted((x - total for x in golden["logits"]), reverse=True)[:20]
    got = [t.logprob for t in r.choices[0].logprobs.content[0].top_logprobs]
    assert len(got) == 20 and max(abs(a - b) for a, b in zip(got, want)) < 3e-2  # weights in bf16


def test_gguf_with_projector(server):
    golden = GOLDEN[1]
    whole = ask(server, as_sent(golden["messages"]), model="tiny-sight-gguf", logprobs=True, top_logprobs=5)
    folder = ask(server, as_sent(golden["messages"]), logprobs=True, top_logprobs=5)
    assert whole["usage"]["prompt_tokens"] == len(golden["ids"])
    tops = [[t["logprob"] for t in a["choices"][0]["logprobs"]["content"][0]["top_logprobs"]] for a in (whole, folder)]
    assert max(abs(a - b) for a, b in zip(*tops)) < 3e-2


def test_models_say_who_sees(server):
    rows = server.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).json()["data"]
    assert {r["id"].rsplit("/", 1)[-1]: r["supports_image_input"] for r in rows} == {"tiny-sight": True, "tiny-sight-gguf": True, "tiny-blind": False}


def test_fireworks_client(server):
    """Their first SDK, on the path of theirs."""
    python = pathlib.Path(os.environ.get("HEARTH_FIREWORKS0", ROOT / "build/venv-fireworks0/bin/python"))
    assert python.exists(), "no environment with fireworks-ai 0.x; tests/run.sh makes one"
    asks = "import json, sys, fireworks.client\n" \
           "fireworks.client.base_url, fireworks.client.api_key = sys.argv[1:3]\n" \
           "r = fireworks.client.ChatCompletion.create(model='tiny-sight', messages=json.load(sys.stdin), max_tokens=1, temperature=0)\n" \
           "print(r.usage.prompt_tokens)\n"
    done = subprocess.run([python, "-c", asks, server.url + "/inference/v1", KEY], input=json.dumps(as_sent(GOLDEN[3]["messages"])), capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.returncode == 0 and int(done.stdout) == len(GOLDEN[3]["ids"]), done.stdout + done.stderr


def test_detail(server):
    """low: one tile of the whole picture; high and auto: a grid and that tile."""
    rows = 9 + 3
    tokens = {d: ask(server, see(data_url("p2.png"), detail=d))["usage"]["prompt_tokens"] for d in ("low", "high", "auto")}
    none = ask(server, see())["usage"]["prompt_tokens"]
    assert tokens["low"] == none + rows
    assert tokens["high"] == tokens["auto"] == none + rows + 4 * (9 + 1)  # 30 x 100 on at most six tiles of 24: four below each other
    bare = [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "input_image", "image_url": data_url("p2.png") + "#transform=inline"}]}]
    assert ask(server, bare)["usage"]["prompt_tokens"] == tokens["high"]


def test_cache_knows_pictures(server):
    """The same picture is found again, another one of the same form is not."""
    one, other = see(data_url("p1.png"), text="cache"), see(url_of(png(60, 40)), text="cache")
    first, again, different = (ask(server, m)["usage"] for m in (one, one, other))
    cached = lambda u: (u.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    assert again["prompt_tokens"] == first["prompt_tokens"] == different["prompt_tokens"]
    assert cached(again) == again["prompt_tokens"] - 1
    assert cached(different) < first["prompt_tokens"] - 9


def test_alone_and_among_others(server):
    chats = [body(as_sent(g["messages"]), max_tokens=16, temperature=0.8, ignore_eos=True, logprobs=True) for g in GOLDEN]
    post = lambda b: server.post(CHAT, b, headers={"Authorization": f"Bearer {KEY}"}).json()["choices"][0]
    alone = [post(b) for b in chats]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(post, [b for b in chats for _ in range(2)]))
    assert [c for c in alone for _ in range(2)] == together


@pytest.mark.parametrize("messages, says", [
    (see("data:image/png;base64,!!!!"), "not base64"),
    (see("data:image/png,abc"), "data:image/png;base64"),
    (see(url_of(b"GIF89a" + bytes(40))), "picture 1"),
    (see(url_of(png(60, 40)[:60])), "picture 1"),
    (see(url_of(png(1, 60000))), "picture 1"),  # one side alone is too long
    (see(url_of(png(16000, 16000, b"\0"))), "picture 1"),  # a few bytes that claim 256 million pixels
    (see(data_url("p0.png"), detail="huge"), "detail must be one of"),
    (see("/etc/passwd"), "data URL"),
    (see("file:///etc/passwd"), "data URL"),
    (see(*[data_url("p0.png")] * 31), "more than 30 pictures"),
    ([{"role": "system", "content": [{"type": "image_url", "image_url": {"url": data_url("p0.png")}}]}, *see()], "user's message"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "image_url must be"),
    (see("http://example.com/a.png"), "--image-hosts"),
    (see("http://localhost:80/a.png"), "--image-hosts"),
])
def test_refused(server, messages, says):
    error = ask(server, messages, 400)["error"]
    assert says in error["message"] and "messages[" in error["message"]


def test_narrow_picture(server):
    """As many pixels as its side allows, and shrunk to one column."""
    assert ask(server, see(url_of(png(1, 16000))))["usage"]["prompt_tokens"] > 20


def test_model_without_sight(server):
    error = ask(server, see(data_url("p0.png")), 400, model="tiny-blind")["error"]
    assert "tiny-blind sees no pictures" in error["message"] and "messages[0]" in error["message"]


def test_by_url(server, web):
    here = ask(server, see(data_url("p0.png")))
    there = ask(server, see(f"http://127.0.0.1:{web}/p0.png"))
    assert there["usage"]["prompt_tokens"] == here["usage"]["prompt_tokens"]
    assert there["choices"] == here["choices"] and "/p0.png" in Pictures.asked


def test_user_text_is_no_picture(server):
    """A mark spelled out by a user is text, and disturbs no picture."""
    plain = ask(server, see(data_url("p0.png"), text="abcdefghi"))["usage"]["prompt_tokens"]
    assert ask(server, see(data_url("p0.png"), text="<|image|>"))["usage"]["prompt_tokens"] == plain


def test_command_line(server):
    """hearth chat --image, with a model of its own and with a server's, says the same."""
    said = []
    for model in (["--url", server.url + "/v1", "--key", KEY, "tiny-sight"], [str(FOLDER)]):
        done = subprocess.run([BIN, "chat", "--image", str(FOLDER / "p0.png"), "--temperature", "0", "--max-tokens", "4", *model, "What?"], capture_output=True,
                              timeout=PATIENCE, env=environment() | {"HEARTH_CONFIG": "/dev/null"})
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    done = subprocess.run([BIN, "chat", "--image", str(FOLDER / "config.json"), str(FOLDER), "What?"], capture_output=True, text=True, timeout=PATIENCE,
                          env=environment() | {"HEARTH_CONFIG": "/dev/null"})
    assert done.returncode == 1 and "config.json is no picture" in done.stderr


def test_a_picture_in_the_middle_of_a_conversation():
    """/image shows a picture with the next message alone, and says at once when it is none."""
    def talk(*args, lines=""):
        return subprocess.run([BIN, "chat", *args, "--temperature", "0", "--max-tokens", "4", str(FOLDER)], input=lines, capture_output=True, text=True, errors="replace",
                              timeout=PATIENCE, env=environment() | {"HEARTH_CONFIG": "/dev/null"})
    first = talk("--image", str(FOLDER / "p0.png"), lines="What?\nAnd now?\n")
    typed = talk(lines=f"/image {FOLDER / 'p0.png'}\nWhat?\nAnd now?\n")
    assert first.returncode == typed.returncode == 0 and first.stdout == typed.stdout != talk(lines="What?\nAnd now?\n").stdout
    for line, says in [(f"/image {FOLDER / 'config.json'}", "config.json is no picture"), ("/image", "usage: /image FILE"), ("/image /nowhere", "cannot open /nowhere")]:
        r = talk(lines=line + "\n")
        assert r.returncode == 1 and says in r.stderr
