"""Files and batches, as OpenAI's client sends them."""
import json
import os
import pty
import random
import re
import signal
import sqlite3
import subprocess
import sys

import openai
import pytest
import requests

from conftest import BIN, KEY, PATIENCE, ROOT, Server, environment

LINES = b'{"a": 1}\n{"b": 2}\n'


def client(server, key="none"):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=key, timeout=PATIENCE, max_retries=0)


def new_key(store, *args):
    r = subprocess.run([BIN, "keys", "new", "--store", store, *args], capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    return r.stdout.strip()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("batches") / "store.db")


@pytest.fixture(scope="module")
def keys(store):
    """Two of one project, one of another, one of none."""
    return [new_key(store, "--project", "a"), new_key(store, "--project", "a"), new_key(store, "--project", "b"), new_key(store)]


@pytest.fixture(scope="module")
def server(store, keys, tmp_path_factory):
    s = Server("--store", store, "--upload-limit", "1M", "--uploads-limit", "1500K", models=str(tmp_path_factory.mktemp("models")))
    yield s
    s.stop()


def test_a_file_comes_and_goes(server, keys):
    ask = client(server, keys[3])
    sent = ask.files.create(file=("lines.jsonl", LINES), purpose="batch")
    assert (sent.object, sent.bytes, sent.filename, sent.purpose, sent.status) == ("file", len(LINES), "lines.jsonl", "batch", "processed")
    assert ask.files.retrieve(sent.id) == sent
    assert ask.files.content(sent.id).read() == LINES
    assert [f.id for f in ask.files.list()] == [sent.id]
    other = ask.files.create(file=("empty.jsonl", b""), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert other.expires_at == other.created_at + 3600
    assert ask.files.content(other.id).read() == b""
    pages = ask.files.list(limit=1, order="asc")
    assert pages.data == [sent] and pages.has_more and pages.get_next_page().data == [other]
    assert ask.files.list(limit=1).data == [other]
    assert not ask.files.list(purpose="batch_output").data
    for f in sent, other:
        assert ask.files.delete(f.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File"):
        ask.files.retrieve(sent.id)


def test_a_file_is_its_projects(server, keys):
    first, same, foreign, alone = (client(server, k) for k in keys)
    f = first.files.create(file=("mine.jsonl", LINES), purpose="batch")
    assert same.files.content(f.id).read() == LINES
    for other in foreign, alone:
        assert not other.files.list().data
        for act in other.files.retrieve, other.files.content, other.files.delete:
            with pytest.raises(openai.NotFoundError):
                act(f.id)
    assert same.files.delete(f.id).deleted
    with pytest.raises(openai.AuthenticationError):
        client(server).files.list()


def test_wrong_files_are_refused(server, store, keys):
    ask = client(server, keys[3])
    for error, says, file, fields in (
        (openai.BadRequestError, "purpose must be", ("x", LINES), {"purpose": "fine-tune"}),
        (openai.BadRequestError, "seconds must be", ("x", LINES), {"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 5}}),
        (openai.APIStatusError, "larger than the limit", ("x", b"x" * ((1 << 20) + 1)), {"purpose": "batch"}),
        (openai.APIStatusError, "larger than the limit", ("x", b"x" * (3 << 20)), {"purpose": "batch"}),
    ):
        with pytest.raises(error, match=says):
            ask.files.create(file=file, **fields)
    bearer = {"Authorization": f"Bearer {keys[3]}"}
    for says, sent in (("empty", {}), ("no purpose", {"files": {"file": ("x", LINES)}}), ("no file", {"files": {"purpose": (None, "batch")}}), ("multipart", {"json": {}})):
        r = requests.post(server.url + "/v1/files", headers=bearer, timeout=PATIENCE, **sent)
        assert r.status_code in (400, 415) and says in r.json()["error"]["message"], r.text
    full = ask.files.create(file=("x", b"x" * (1 << 20)), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="they may have 1536000 together"):
        ask.files.create(file=("x", b"x" * (1 << 20)), purpose="batch")
    ask.files.delete(full.id)
    assert [n for n in os.listdir(store + ".uploads") if not n.startswith(".")] == []  # nothing half stays


def test_a_full_disk_leaves_nothing_half(tmp_path):
    """The limit on a file's size stands in for a disk that is full."""
    store = str(tmp_path / "store.db")
    key = new_key(store)
    s = Server("--store", store, models=str(tmp_path), wrap=("prlimit", f"--fsize={8 << 20}"))
    try:
        ask = client(s, key)
        with pytest.raises(openai.APIStatusError, match="the disk is full") as refused:
            ask.files.create(file=("x", b"x" * (12 << 20)), purpose="batch")
        assert refused.value.status_code == 503
        assert [n for n in os.listdir(store + ".uploads") if not n.startswith(".")] == []
        f = ask.files.create(file=("x", LINES), purpose="batch")  # and a small one has room
        assert ask.files.content(f.id).read() == LINES
    finally:
        s.stop()


def test_without_a_store_there_are_no_files(tmp_path):
    s = Server(models=str(tmp_path))
    try:
        with pytest.raises(openai.NotFoundError, match="--store names one"):
            client(s).files.create(file=("x", LINES), purpose="batch")
        with pytest.raises(openai.NotFoundError, match="--store names one"):
            client(s).files.list()
    finally:
        s.stop()


# ---- batches

def line(n, body=None, url="/v1/chat/completions", **fields):
    return {"custom_id": f"line-{n}", "method": "POST", "url": url, "body": body or {"model": "chat", "messages": [{"role": "user", "content": f"{n}"}], "max_tokens": 3, "seed": n}} | fields


def text_of(lines):
    return "".join(x if isinstance(x, str) else json.dumps(x) + "\n" for x in lines).encode()


def make(ask, lines, endpoint="/v1/chat/completions", window="24h", **fields):
    f = ask.files.create(file=("in.jsonl", text_of(lines)), purpose="batch")
    return ask.batches.create(input_file_id=f.id, endpoint=endpoint, completion_window=window, **fields)


OVER = ("completed", "failed", "expired", "cancelled")


def wait(server, ask, batch, states=OVER):
    got = []
    server.wait_until(lambda: got.append(ask.batches.retrieve(batch.id)) or got[-1].status in states, f"{batch.id} never got there")
    return got[-1]


def lines_of(ask, file):
    return [json.loads(x) for x in ask.files.content(file).text.splitlines()] if file else []


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny ones: of chats and of pictures."""
    folder = tmp_path_factory.mktemp("models")
    for name, golden in (("chat", "lm/chat"), ("draws", "pipelines/sdxl")):
        (folder / name).symlink_to(ROOT / "tests/golden" / golden)
    return str(folder)


@pytest.fixture(scope="module")
def batching(tmp_path_factory, models):
    store = str(tmp_path_factory.mktemp("batching") / "store.db")
    key = new_key(store)
    s = Server("--store", store, models=models)
    s.ask = client(s, key)
    s.store, s.key = store, key
    yield s
    s.stop()


def rows(store, sql, *args):
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=PATIENCE) as db:
        return db.execute(sql, args).fetchall()


def test_a_batch_is_answered(batching):
    ask = batching.ask
    sent = [line(n) for n in range(5)]
    made = make(ask, [*sent[:2], "\n", *sent[2:]], metadata={"what": "test"})
    assert (made.object, made.endpoint, made.completion_window, made.metadata, made.status) == ("batch", "/v1/chat/completions", "24h", {"what": "test"}, "validating")
    assert made.expires_at == made.created_at + 86400
    done = wait(batching, ask, made)
    assert done.status == "completed", done
    assert done.request_counts.to_dict() == {"total": 5, "completed": 5, "failed": 0} and done.error_file_id is None
    assert done.in_progress_at and done.finalizing_at and done.completed_at
    out = lines_of(ask, done.output_file_id)
    assert [x["custom_id"] for x in out] == [x["custom_id"] for x in sent]
    for x, want in zip(out, sent):
        assert x["error"] is None and x["response"]["status_code"] == 200 and x["response"]["request_id"] == x["id"]
        alone = batching.post("/v1/chat/completions", want["body"], {"Authorization": f"Bearer {batching.key}"}).json()
        assert x["response"]["body"]["choices"] == alone["choices"]  # same seed, same bytes
    ledger = rows(batching.store, "SELECT request, status, how, cost FROM ledger WHERE request LIKE 'batch_req_%'")
    assert sorted(r[0] for r in ledger) == sorted(x["id"] for x in out) and {r[1:3] for r in ledger} == {(200, "done")}
    assert rows(batching.store, "SELECT count(*) FROM batch_lines") == [(0,)]
    file = ask.files.retrieve(done.output_file_id)
    assert file.purpose == "batch_output" and file.expires_at
    assert ask.batches.list(limit=1).data[0].id == made.id


def test_every_endpoint_and_a_model_per_line(batching):
    ask = batching.ask
    for endpoint, body, look in (
        ("/v1/completions", {"model": "chat", "prompt": "a", "max_tokens": 2}, lambda b: b["choices"][0]["text"] is not None),
        ("/v1/embeddings", {"model": "chat", "input": "a"}, lambda b: b["data"][0]["embedding"]),
        ("/v1/responses", {"model": "chat", "input": "a", "max_output_tokens": 2}, lambda b: b["object"] == "response"),
        ("/v1/images/generations", {"model": "draws", "prompt": "a", "size": "64x64", "steps": 1, "response_format": "b64_json"}, lambda b: b["data"][0]["b64_json"]),
    ):
        good, other = line(1, body, endpoint), line(2, body | {"model": "nobody"}, endpoint)
        done = wait(batching, ask, make(ask, [good, other], endpoint))
        assert done.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1}, (endpoint, lines_of(ask, done.error_file_id))
        (out,), (error,) = lines_of(ask, done.output_file_id), lines_of(ask, done.error_file_id)
        assert out["custom_id"] == "line-1" and look(out["response"]["body"]), out
        assert error["custom_id"] == "line-2" and error["response"]["status_code"] == 404 and error["response"]["body"]["error"]["code"] == "model_not_found", error


def test_wrong_lines_fail_the_batch(batching):
    ask = batching.ask
    other = line(3)
    other["url"] = "/v1/embeddings"
    lines = [line(1), "no json\n", {"custom_id": "a"}, line(1), other, line(4, method="GET"), line(5, more=1), line(6, {"model": "chat", "stream": True}), line(7, body=[1]), "[]\n"]
    done = wait(batching, ask, make(ask, lines))
    assert done.status == "failed" and done.failed_at and not done.output_file_id and not done.error_file_id
    assert done.errors.object == "list"
    assert [(e.line, e.code, e.param) for e in done.errors.data] == [
        (2, "invalid_json_line", None), (3, "missing_required_parameter", "method"), (4, "duplicate_custom_id", "custom_id"), (5, "mismatched_url", "url"), (6, "invalid_method", "method"),
        (7, "unknown_parameter", None), (8, "invalid_value", "body.stream"), (9, "invalid_type", "body"), (10, "invalid_json_line", None)]
    assert all(e.message for e in done.errors.data)
    for empty in [], ["\n \n"]:
        done = wait(batching, ask, make(ask, empty))
        assert done.status == "failed" and [e.code for e in done.errors.data] == ["empty_file"]
    assert not rows(batching.store, "SELECT line FROM batch_lines")


def test_wrong_batches_are_refused(batching):
    ask = batching.ask
    f = ask.files.create(file=("x", text_of([line(1)])), purpose="batch")
    good = {"input_file_id": f.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    for says, wrong in (
        ("Missing required parameter", {"endpoint": None}),
        ("endpoint must be one of", {"endpoint": "/v1/audio/speech"}),
        ("completion_window must be", {"completion_window": "soon"}),
        ("completion_window must be", {"completion_window": "31d"}),
        ("No such File", {"input_file_id": "file-000"}),
        ("no id of a file", {"input_file_id": "../x"}),
        ("metadata", {"metadata": {"a": 1}}),
        ("metadata", {"metadata": {str(n): "" for n in range(17)}}),
        ("not offered", {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}),
    ):
        r = batching.post("/v1/batches", good | wrong, {"Authorization": f"Bearer {batching.key}"})
        assert r.status_code == 400 and says in r.json()["error"]["message"], r.text
    for act in ask.batches.retrieve, ask.batches.cancel:
        with pytest.raises(openai.NotFoundError, match="No batch found"):
            act("batch_000")
    done = wait(batching, ask, ask.batches.create(**good))
    with pytest.raises(openai.BadRequestError, match="status 'failed'"):
        ask.batches.cancel(done.id)
    stranger = client(batching, new_key(batching.store))
    batching.wait_until(lambda: batching.get("/v1/models", headers={"Authorization": f"Bearer {stranger.api_key}"}).status_code == 200, "the key never came")
    with pytest.raises(openai.NotFoundError):
        stranger.batches.retrieve(done.id)
    with pytest.raises(openai.BadRequestError, match="No such File"):
        stranger.batches.create(**good)
    assert not stranger.batches.list().data


def test_a_batch_is_cancelled(tmp_path, models):
    store = str(tmp_path / "store.db")
    s = Server("--store", store, "--batch-parallel", "1", "--keys", KEY, models=models)
    try:
        ask = client(s, KEY)
        made = make(ask, [line(n, {"model": "chat", "prompt": "a", "max_tokens": 1}, "/v1/completions") for n in range(2000)], "/v1/completions")
        wait(s, ask, made, ("in_progress", *OVER))
        s.wait_until(lambda: ask.batches.retrieve(made.id).request_counts.completed, "no line was answered")
        with pytest.raises(openai.BadRequestError, match="is being read by"):
            ask.files.delete(made.input_file_id)
        assert ask.batches.cancel(made.id).status in ("cancelling", "cancelled")
        done = wait(s, ask, made)
        assert done.status == "cancelled" and done.cancelling_at and done.cancelled_at
        out, errors = lines_of(ask, done.output_file_id), lines_of(ask, done.error_file_id)
        assert len(out) == done.request_counts.completed and 0 < len(out) < 2000 and len(out) + len(errors) == 2000
        assert {e["error"]["code"] for e in errors} == {"batch_cancelled"} and {e["response"] for e in errors} == {None}
        assert rows(store, "SELECT count(*) FROM ledger") == [(len(out),)]
        assert ask.files.delete(made.input_file_id).deleted
    finally:
        s.stop()


def test_a_batch_expires(tmp_path, models):
    store = str(tmp_path / "store.db")
    s = Server("--store", store, "--batch-parallel", "0", "--keys", KEY, models=models)
    try:
        ask = client(s, KEY)
        made = make(ask, [line(1), line(2)], window="2s")
        done = wait(s, ask, made)
        assert done.status == "expired" and done.expired_at >= done.expires_at and done.request_counts.total in (0, 2)
        assert [(e["custom_id"], e["error"]["code"]) for e in lines_of(ask, done.error_file_id)] == [("line-1", "batch_expired"), ("line-2", "batch_expired")]
        assert rows(store, "SELECT count(*) FROM ledger") == [(0,)]
    finally:
        s.stop()


def test_a_revoked_key_pays_for_nothing_more(tmp_path, models):
    """Its lines are refused one by one, and none is in the ledger."""
    store = str(tmp_path / "store.db")
    key = new_key(store, "--project", "p")
    friend = new_key(store, "--project", "p")
    s = Server("--store", store, "--batch-parallel", "0", models=models)
    try:
        made = make(client(s, key), [line(n) for n in range(3)])
        wait(s, client(s, friend), made, ("in_progress",))
    finally:
        s.stop()
    (name,) = rows(store, "SELECT id FROM keys ORDER BY made_ms LIMIT 1")[0]
    subprocess.run([BIN, "keys", "revoke", name, "--store", store], check=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE, capture_output=True)
    s = Server("--store", store, models=models)
    try:
        ask = client(s, friend)
        done = wait(s, ask, made)
        assert done.status == "completed" and done.request_counts.failed == 3 and not done.output_file_id
        assert {e["response"]["status_code"] for e in lines_of(ask, done.error_file_id)} == {401}
        assert rows(store, "SELECT count(*) FROM ledger") == [(0,)]
    finally:
        s.stop()


def test_a_batch_pays_its_part(tmp_path, models):
    """Half of the price, of what is reserved and of what is spent."""
    store, prices = str(tmp_path / "store.db"), tmp_path / "prices.yaml"
    prices.write_text("prices:\n  - { model: accounts/local/models/chat, input: 1000, cached_input: 1000, output: 2000, batch: 0.5 }\n")
    key = new_key(store, "--budget", "total=1000")
    s = Server("--store", store, "--prices", str(prices), models=models)
    try:
        ask = client(s, key)
        alone = s.post("/v1/chat/completions", line(1)["body"], {"Authorization": f"Bearer {key}"})
        done = wait(s, ask, make(ask, [line(1), line(2, {"model": "chat", "messages": [], "max_tokens": 1})]))
        assert done.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1}
        ((full,),) = rows(store, "SELECT cost FROM ledger WHERE request NOT LIKE 'batch_%'")
        paid = rows(store, "SELECT cost FROM ledger WHERE request LIKE 'batch_%' ORDER BY cost DESC")
        assert full > 0 and paid == [(full // 2,), (0,)]
        assert float(alone.headers["X-Hearth-Cost"]) == full / 1e9
        assert rows(store, "SELECT spent, reserved FROM spending") == [(full + full // 2, 0)]
        quote = s.post("/v1/quote", {"endpoint": "/v1/chat/completions", "batch": True, "request": line(1)["body"]}, {"Authorization": f"Bearer {key}"}).json()
        whole = s.post("/v1/quote", {"endpoint": "/v1/chat/completions", "request": line(1)["body"]}, {"Authorization": f"Bearer {key}"}).json()
        assert quote["at_most"]["cost"] * 2 == whole["at_most"]["cost"] and (quote["price"]["input"], whole["price"]["input"]) == (500, 1000)
    finally:
        s.stop()


def test_killed_at_any_moment(tmp_path, models):
    """Every line is answered once and paid for once, however often the server is killed. HEARTH_BATCH_KILLS: how often."""
    kills, draw = int(os.environ.get("HEARTH_BATCH_KILLS", 6)), random.Random(int(os.environ.get("HEARTH_BATCH_SEED", 1)))
    store, prices = str(tmp_path / "store.db"), tmp_path / "prices.yaml"
    prices.write_text("prices:\n  - { model: accounts/local/models/chat, input: 1000, cached_input: 1000, output: 2000, batch: 0.5 }\n")
    key = new_key(store, "--budget", "total=1000")
    start = lambda: Server("--store", store, "--prices", str(prices), models=models)
    s = start()
    wrong = {"model": "nobody", "messages": [{"role": "user", "content": "a"}]}
    sent = [line(n, wrong if n % 10 == 9 else None) for n in range(40 * kills)]
    made = make(client(s, key), sent)
    for _ in range(kills):
        # Between two answers, at any place: while a batch is validated, lines are worked on, or its files are written.
        before = rows(store, "SELECT done + failed FROM batches")[0][0]
        more = draw.randrange(1, 50)
        s.wait_until(lambda: rows(store, "SELECT done + failed >= ? OR state IN ('finalizing', 'completed') FROM batches", before + more)[0][0], "it stands still")
        s.process.kill()
        s.process.wait()
        s = start()
    try:
        ask = client(s, key)
        done = wait(s, ask, made)
        n_wrong = 4 * kills
        assert done.status == "completed" and done.request_counts.to_dict() == {"total": len(sent), "completed": len(sent) - n_wrong, "failed": n_wrong}
        out, errors = lines_of(ask, done.output_file_id), lines_of(ask, done.error_file_id)
        assert [x["custom_id"] for x in out] == [x["custom_id"] for x in sent if x["body"] is not wrong]
        assert [x["custom_id"] for x in errors] == [x["custom_id"] for x in sent if x["body"] is wrong]
        ledger = rows(store, "SELECT request, status, how, cost, prompt, completion FROM ledger")
        assert sorted(r[0] for r in ledger) == sorted(x["id"] for x in out + errors)  # each once, and nothing else: none is "lost"
        assert {r[1:3] for r in ledger} == {(200, "done"), (404, "refused")}
        answered = {x["id"]: x["response"]["body"] for x in out}
        for request, status, _, cost, prompt, completion in ledger:
            usage = answered[request]["usage"] if status == 200 else {"prompt_tokens": 0, "completion_tokens": 0}
            assert (prompt, completion, cost) == (usage["prompt_tokens"], usage["completion_tokens"], prompt * 500_000 + completion * 1_000_000)
        assert rows(store, "SELECT spent, reserved FROM spending") == [(sum(r[3] for r in ledger), 0)]
        assert rows(store, "SELECT count(*) FROM reservations") == [(0,)]
        assert sorted(n for n in os.listdir(store + ".uploads") if not n.startswith(".")) == sorted(f.id for f in ask.files.list())
        verified = subprocess.run([BIN, "ledger", "verify", "--store", store], env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE, capture_output=True, text=True)
        assert verified.returncode == 0, verified.stderr
    finally:
        s.stop()


# ---- the command


def command(server, *args, rc=0, **kw):
    r = subprocess.run([BIN, "batch", "--url", server.url, "--key", server.key, *args], capture_output=True, text=True, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE, **kw)
    assert r.returncode == rc, (r.returncode, r.stdout, r.stderr)
    return r


def written(path):
    return [json.loads(x) for x in path.read_text().splitlines()]


def test_the_command_answers_a_file(batching, tmp_path):
    file, answers, errors = (tmp_path / n for n in ("in.jsonl", "in.answers.jsonl", "in.errors.jsonl"))
    file.write_bytes(b"\n" + text_of([line(n) for n in range(3)]))
    r = command(batching, str(file))
    assert [x["custom_id"] for x in written(answers)] == ["line-0", "line-1", "line-2"] and not errors.exists()
    assert "completed: 3 of 3 answered, 0 with an error" in r.stderr and r.stdout == ""
    r = command(batching, str(file), rc=2)
    assert "--overwrite" in r.stderr
    file.write_bytes(text_of([line(1), line(2, {"model": "nobody", "messages": []})]))
    r = command(batching, "--overwrite", "--json", str(file), rc=3)
    assert json.loads(r.stdout)["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert [x["custom_id"] for x in written(answers)] == ["line-1"] and [x["response"]["status_code"] for x in written(errors)] == [400]
    name = command(batching, "--detach", "--output", "-", "--overwrite", str(file)).stdout.strip()
    assert name.startswith("batch_")
    r = command(batching, name, "--output", "-", rc=3, cwd=tmp_path)
    assert [json.loads(x)["custom_id"] for x in r.stdout.splitlines()] == ["line-1"] and len(written(tmp_path / f"{name}.errors.jsonl")) == 1


def test_the_command_says_what_is_wrong(batching, tmp_path):
    file = tmp_path / "in.jsonl"
    for content, rc, says in ((text_of([line(1), line(1)]), 1, "line 2: The custom_id 'line-1'"), (b"", 1, "first line is no request"), (b"[]\n", 1, "first line is no request"),
                              (text_of([line(1, url="/v1/models")]), 1, "endpoint must be one of")):
        file.write_bytes(content)
        assert says in command(batching, str(file), rc=rc).stderr
    assert "No such file" in command(batching, str(tmp_path / "none"), rc=1).stderr
    assert "No batch found" in command(batching, "batch_0", rc=1).stderr
    assert "completion_window must be" in (file.write_bytes(text_of([line(1)])), command(batching, "--window", "soon", str(file), rc=1))[1].stderr
    assert "expected one file" in command(batching, rc=2).stderr
    assert "standard output" in command(batching, "--json", "--output", "-", str(file), rc=2).stderr


def test_the_command_is_interrupted(tmp_path, models):
    """Ctrl-C cancels, and what is answered comes all the same; the bar of a terminal has the counts."""
    store, file = str(tmp_path / "store.db"), tmp_path / "in.jsonl"
    s = Server("--store", store, "--batch-parallel", "1", "--keys", KEY, models=models)
    s.key = KEY
    try:
        file.write_bytes(text_of([line(n, {"model": "chat", "prompt": "a", "max_tokens": 1}, "/v1/completions") for n in range(3000)]))
        ours, theirs = pty.openpty()
        p = subprocess.Popen([BIN, "batch", "--url", s.url, "--key", KEY, str(file)], stderr=theirs, stdout=subprocess.PIPE, env=environment() | {"HEARTH_CONFIG": "/dev/null", "TERM": "xterm"})
        os.close(theirs)
        shown, told = b"", False
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not told and re.search(rb"in_progress .*[1-9]\d*/3000", shown):
                told = True
                p.send_signal(signal.SIGINT)
        p.stdout.close()
        assert p.wait(PATIENCE) == 3 and told, shown[-500:]
        assert b"cancelling batch_" in shown and b"answers  " in shown
        (done,) = client(s, KEY).batches.list().data
        answers, errors = (written(tmp_path / f"in.{n}.jsonl") for n in ("answers", "errors"))
        assert done.status == "cancelled" and len(answers) == done.request_counts.completed and len(answers) + len(errors) == 3000
    finally:
        s.stop()


def test_the_documents_examples(batching, tmp_path):
    """docs/batches.md as it stands, against this server."""
    document = (ROOT / "docs/batches.md").read_text()
    (tmp_path / "requests.jsonl").write_bytes(text_of([line(1)]))
    run = 0
    for kind, code in re.findall(r"```(sh|python)\n(.*?)```", document, re.S):
        code = code.replace("http://localhost:8080", batching.url)
        env = environment() | {"HEARTH_CONFIG": "/dev/null", "KEY": batching.key}
        if kind == "sh":
            ids = "$(curl -sf {0}/v1/files -H 'Authorization: Bearer {1}' -F purpose=batch -F file=@requests.jsonl | grep -o 'file-[0-9a-f]*')".format(batching.url, batching.key)
            code = "set -e\n" + code.replace("FILE_ID", f"{ids}").replace("hearth batch", f"{BIN} batch --url {batching.url} --key {batching.key}").replace("curl ", "curl -sf ")
            subprocess.run(["bash", "-c", code], check=True, cwd=tmp_path, env=env, timeout=PATIENCE, capture_output=True)
        else:
            head, tail = code.split("batch = client.batches.retrieve", 1)
            code = f"import os, time\nKEY = os.environ['KEY']\n{head}\nwhile client.batches.retrieve(batch.id).status != 'completed':\n    time.sleep(0.05)\nbatch = client.batches.retrieve{tail}"
            out = subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=env, timeout=PATIENCE, capture_output=True, text=True).stdout
            assert json.loads(out)["custom_id"] == "line-1"
        run += 1
    assert run == 3
