"""`hearth migrate`: what a client's source and logs use of an API, by file and line, against the catalog and against a server."""
import json
import subprocess

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT, Server, environment

SOURCES = ROOT / "tests/golden/migrate"


def migrate(*args, code=0, data=None, lines=True):
    args = [*args, "--json"] if lines else list(args)
    r = subprocess.run([BIN, "migrate", *args], capture_output=True, text=True, input=data, cwd=SOURCES, env=environment() | {"HEARTH_CONFIG": "/dev/null"}, timeout=PATIENCE)
    assert r.returncode == code, (r.stdout, r.stderr)
    return [json.loads(line) for line in r.stdout.splitlines()] if lines else r.stdout + r.stderr


def brief(rows):
    return [(r["line"], r["kind"], r["text"], r["verdict"]) for r in rows]


HERE = "http://127.0.0.1:8080"
FOUND = {
    "chat.py": [
        (6, "address", "https://api.fireworks.ai/inference/v1", "changes"),
        (6, "setting", "OPENAI_API_KEY", "changes"),
        (7, "endpoint", "chat.completions.create", "served"),
        (8, "model", "accounts/fireworks/models/deepseek-v3", "served"),
        (10, "parameter", "temperature", "served"),
        (11, "parameter", "max_tokens", "served"),
        (16, "address", "https://api.fireworks.ai/inference/v1", "changes"),
        (19, "endpoint", "/images/generations", "served"),
        (19, "model", "dall-e-3", "served"),
        (22, "endpoint", "audio.transcriptions.create", "missing"),
        (22, "model", "whisper-1", "missing"),
        (23, "model", "gpt-4o", "changes"),
    ],
    "page.ts": [
        (1, "address", "https://firemoon.studio/api/v1/flux/dev", "changes"),
        (3, "parameter", "image_size", "served"),
        (3, "parameter", "num_images", "served"),
        (3, "parameter", "guidance_scale", "served"),
        (5, "endpoint", "chat.completions.create", "served"),
        (5, "model", "gpt-4o-mini", "changes"),
        (5, "parameter", "web_search_options", "missing"),
        (5, "parameter", "reasoning_effort", "served"),
    ],
    "ask.sh": [
        (1, "address", "https://api.openai.com/v1/chat/completions", "changes"),
        (1, "endpoint", "/chat/completions", "served"),
        (1, "setting", "OPENAI_API_KEY", "changes"),
        (2, "model", "gpt-4o", "changes"),
        (2, "parameter", "max_tokens", "served"),
    ],
    "settings.env": [
        (1, "address", "https://api.openai.com/v1", "changes"),
        (1, "setting", "OPENAI_BASE_URL", "changes"),
        (2, "model", "claude-sonnet-4-5", "changes"),
        (3, "address", "https://api.anthropic.com", "changes"),
        (3, "setting", "ANTHROPIC_BASE_URL", "changes"),
    ],
    "log.jsonl": [
        (1, "endpoint", "/chat/completions", "served"),
        (1, "model", "accounts/fireworks/models/llama4-scout-instruct-basic", "served"),
        (1, "parameter", "top_k", "served"),
        (1, "parameter", "service_tier", "ignored"),
        (2, "endpoint", "/embeddings", "served"),
        (2, "model", "text-embedding-3-small", "changes"),
        (2, "parameter", "dimensions", "served"),
    ],
}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_what_is_found(name):
    missing = any(v == "missing" for *_, v in FOUND[name])
    rows = migrate(name, code=3 if missing else 0)
    assert brief(rows) == FOUND[name] and {r["file"] for r in rows} == {name}
    text = (SOURCES / name).read_text().splitlines()
    assert all(r["text"] in text[r["line"] - 1] for r in rows)


def test_what_stands_in_its_place():
    instead = {r["text"]: r["instead"] for r in migrate("chat.py", "page.ts", "settings.env", code=3)}
    assert instead["https://api.fireworks.ai/inference/v1"] == HERE + "/inference/v1" and instead["https://firemoon.studio/api/v1/flux/dev"] == HERE + "/api/v1/flux/dev"
    assert instead["OPENAI_BASE_URL"] == HERE + "/v1" and instead["ANTHROPIC_BASE_URL"] == HERE
    assert instead["gpt-4o"].startswith("hearth alias gpt-4o ") and instead["accounts/fireworks/models/deepseek-v3"].endswith("hearth pull deepseek-v3")
    told = migrate("page.ts", code=3, lines=False).splitlines()
    assert told[0] == f"page.ts:1: address https://firemoon.studio/api/v1/flux/dev: changes: {HERE}/api/v1/flux/dev"
    assert "page.ts:3: parameter image_size: served" in told


def test_against_a_server():
    s = Server("--no-preload")
    try:
        source = f'c.chat.completions.create(model="{MODEL}")\nx = dict(model="deepseek-v3")\nurl = "https://api.openai.com/v1"\n'
        rows = migrate("-", "--url", s.url + "/v1", data=source, code=3)
    finally:
        s.stop()
    assert brief(rows)[1:3] == [(1, "model", MODEL, "served"), (2, "model", "deepseek-v3", "missing")]
    assert rows[3]["instead"] == s.url + "/v1"


def test_nothing_and_what_is_wrong(tmp_path):
    assert "nothing of an API" in migrate("-", data="x = 1\nif model == 'a': pass\n\0\xff", lines=False)
    assert "say which files" in migrate(code=2, lines=False)
    assert "No such file" in migrate(str(tmp_path / "none.py"), code=1, lines=False)
