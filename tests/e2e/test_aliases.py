"""Names of one's own for models: given by a command, known to a running server and to every command."""
import json
import os
import shutil
import subprocess

import pytest

from conftest import BIN, ROOT, Server

pytestmark = pytest.mark.checked
TINY = ROOT / "tests/golden/lm/chat"
ID = "accounts/local/models/tiny"


def hearth(*args, models, code=0):
    env = {**os.environ, "HEARTH_MODELS": str(models), "HEARTH_CONFIG": ""}
    r = subprocess.run([BIN, *args], env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert r.returncode == code, r.stdout + r.stderr
    return r


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(TINY, tmp_path / "tiny")
    return tmp_path


def chat(server, model):
    return server.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "seed": 1})


def test_a_running_server_learns_and_forgets(folder):
    """llama4-scout-instruct-basic is in the catalog and not installed: one's own names come first."""
    s = Server(models=str(folder))
    scout = "accounts/fireworks/models/llama4-scout-instruct-basic"
    assert chat(s, scout).status_code == 404
    hearth("alias", "llama4-scout-instruct-basic", "tiny", models=folder)
    hearth("cp", "tiny", "gpt-4o", models=folder)
    want = chat(s, "tiny").json()
    for name in (scout, "GPT-4o", "llama4-scout-instruct-basic"):
        got = chat(s, name)
        assert got.status_code == 200 and got.json()["choices"] == want["choices"] and got.json()["model"] == ID
    rows = s.get("/v1/models").json()["data"]
    assert [(m["id"], m.get("alias_of")) for m in rows] == [(ID, None), ("llama4-scout-instruct-basic", ID), ("gpt-4o", ID)]
    assert s.get("/v1/models/gpt-4o").json()["id"] == ID
    hearth("rm", "gpt-4o", models=folder)
    assert chat(s, "gpt-4o").status_code == 404 and chat(s, scout).status_code == 200
    s.stop()


def test_the_command_says_what_is_wrong(folder):
    for args, says in [(("alias", "x", "nothing"), 'no installed model is called "nothing"'), (("alias", "tiny", "tiny"), "is the name of an installed model"),
                       (("alias", "a b", "tiny"), "no white space"), (("cp", "tiny"), "expected a name and a model")]:
        r = hearth(*args, models=folder, code=2 if len(args) == 2 else 1)
        assert says in r.stderr and r.stdout == ""
    assert "there is none" in hearth("alias", models=folder).stderr
    hearth("alias", "x", "tiny", models=folder)
    hearth("alias", "y", "x", models=folder)
    assert json.loads(hearth("alias", "--json", models=folder).stdout) == {"x": ID, "y": ID}
    assert hearth("complete", "y", "a", "--max-tokens", "2", "--seed", "1", models=folder).stdout == \
        hearth("complete", "tiny", "a", "--max-tokens", "2", "--seed", "1", models=folder).stdout
    (folder / "aliases").write_text("one\n")
    assert "aliases: line 1: expected NAME MODEL" in hearth("alias", "z", "tiny", models=folder, code=1).stderr
