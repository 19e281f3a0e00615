"""Files and batches, as OpenAI's client sends them."""
import os
import subprocess

import openai
import pytest
import requests

from conftest import BIN, PATIENCE, Server, environment

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
