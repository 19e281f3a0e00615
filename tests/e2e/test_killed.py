"""A server that is killed, or whose disk is full, and what the next one finds."""
import io
import os
import re
import resource
import threading
import time

import PIL.Image
import pytest
import requests

from conftest import PATIENCE, ROOT, Server

DRAW = {"model": "starter-image", "prompt": "a red circle", "size": "128x128", "steps": 1, "n": 4}


@pytest.fixture
def folder(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    (models / "starter-image").symlink_to(ROOT / "models/starter-image")
    return tmp_path


def serve(folder, **kw):
    return Server("--files", str(folder / "files"), models=str(folder / "models"), **kw)


def fetched(server, url):
    """The picture behind an answer's address, whichever server gave it."""
    r = server.get(re.sub(r"^https?://[^/]+", "", url))
    if r.status_code == 200:
        PIL.Image.open(io.BytesIO(r.content)).load()
    return r.status_code


def test_killed_while_it_draws(folder):
    """Whatever moment it is: pictures that were announced are whole, no half one has a name, and the next server starts and clears up."""
    for round in range(3):
        server, urls = serve(folder), []

        def draw(server=server, urls=urls):
            try:
                while True:
                    r = server.post("/v1/images/generations", {**DRAW, "response_format": "url"})
                    urls.extend(x["url"] for x in r.json()["data"])
            except (requests.RequestException, ValueError):
                pass

        workers = [threading.Thread(target=draw) for _ in range(4)]
        for w in workers:
            w.start()
        server.wait_until(lambda: len(urls) > 8 * round, "nothing was drawn")
        server.process.kill()
        server.process.wait()
        for w in workers:
            w.join(PATIENCE)
        part = folder / "files" / f".{'0123456789abcdef' * 2}.png.part"
        part.write_bytes(b"\x89PNG")
        for p in (folder / "files").glob(".*"):  # of the moment, and one for certain: as they are a while later
            os.utime(p, (time.time() - 100,) * 2)
        again = serve(folder)
        assert [fetched(again, u) for u in urls] == [200] * len(urls)
        assert not list((folder / "files").glob(".*"))
        for p in (folder / "files").iterdir():
            with PIL.Image.open(p) as picture:
                picture.load()
        again.stop()


def test_no_room_for_pictures(folder):
    """One error that tells the client nothing of paths, nothing left behind, and the server goes on."""
    server = serve(folder)
    url, b64 = ({**DRAW, "response_format": f} for f in ("url", "b64_json"))
    for limit in (2000, 0):
        before = set((folder / "files").iterdir())
        assert server.post("/v1/images/generations", b64).status_code == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))  # as a full disk would have it
        r = server.post("/v1/images/generations", url)
        assert r.status_code == 500 and r.json()["error"]["message"] == "a picture could not be kept for its URL: File too large"
        assert set((folder / "files").iterdir()) == before
        r = server.post("/v1/images/generations", b64)
        assert r.status_code == 200 and len(r.json()["data"]) == 4
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        r = server.post("/v1/images/generations", url)
        assert [fetched(server, x["url"]) for x in r.json()["data"]] == [200] * 4
    server.stop()


def test_no_room_from_the_start(folder):
    """What a server needs before its first picture is no file of the machine's either: the message has no path."""
    server = serve(folder, wrap=("prlimit", "--fsize=2000"))
    r = server.post("/v1/images/generations", DRAW)
    assert r.status_code == 500 and "File too large" in r.text and "/" not in r.json()["error"]["message"]
    assert server.get("/health").status_code == 200
    server.stop()
