"""Fireworks' own packages: the current one here, the older fireworks.client in an environment of its own."""
import asyncio
import os
import pathlib
import subprocess

import fireworks
import pytest

from conftest import KEY, MODEL, PATIENCE, ROOT

MESSAGES = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(params=["/inference", "/inference/v1"])  # the second doubles the v1
def client(keyed, request):
    return fireworks.Fireworks(api_key=KEY, base_url=keyed.url + request.param, max_retries=0)


def test_chat(client):
    r = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, temperature=0, top_k=5)
    assert r.choices[0].message.content and r.usage.total_tokens > 0


def test_stream(client):
    text, usage = "", None
    for chunk in client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, temperature=0, stream=True):
        usage = chunk.usage or usage
        text += "".join(c.delta.content or "" for c in chunk.choices)
    plain = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=10, temperature=0)
    assert text == plain.choices[0].message.content
    assert usage.completion_tokens == plain.usage.completion_tokens


def test_completions(client):
    r = client.completions.create(model=MODEL, prompt="The sky is", max_tokens=5)
    assert r.choices[0].text


def test_control_plane_list(keyed):
    auth = {"Authorization": "Bearer " + KEY}
    names, token = [], ""
    for _ in range(10):  # one model a page, until there is no next one
        page = keyed.get(f"/v1/accounts/hearth/models?pageSize=1&pageToken={token}", headers=auth).json()
        assert len(page["models"]) == 1
        names += [m["name"] for m in page["models"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert MODEL in names and len(names) == len(set(names)) == page["totalSize"]
    assert keyed.get("/inference/v1/v1/accounts/nobody/models", headers=auth).json()["models"] == []
    assert keyed.get("/v1/accounts/hearth/models/smollm2-135m-instruct", headers=auth).json()["name"] == MODEL
    assert keyed.get("/v1/accounts/hearth/keys", headers=auth).status_code == 404


def test_errors(client):
    with pytest.raises(fireworks.NotFoundError):
        client.chat.completions.create(model="accounts/fireworks/models/nope", messages=MESSAGES)
    with pytest.raises(fireworks.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=9)
    with pytest.raises(fireworks.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model=MODEL, messages=MESSAGES)


def test_async(keyed):
    async def run():
        async with fireworks.AsyncFireworks(api_key=KEY, base_url=keyed.url + "/inference") as client:
            return await asyncio.gather(*[client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=4) for _ in range(4)])

    assert all(r.choices[0].message.content for r in asyncio.run(run()))


OLD_CLIENT = """
import asyncio, sys
import fireworks.client
from fireworks.client.error import InvalidRequestError, AuthenticationError
url, key, model = sys.argv[1:]
fireworks.client.api_key = key
fireworks.client.base_url = url
messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Name a colour."}]
response = fireworks.client.ChatCompletion.create(model=model, messages=messages, max_tokens=8, temperature=0)
plain = response.choices[0].message.content
assert plain and response.usage.total_tokens > 8, response
streamed = "".join(c.choices[0].delta.content or "" for c in
                   fireworks.client.ChatCompletion.create(model=model, messages=messages, max_tokens=8, temperature=0, stream=True))
assert streamed == plain, (streamed, plain)
assert fireworks.client.Completion.create(model=model, prompt="The sky is", max_tokens=4).choices[0].text
async def run():
    r = await fireworks.client.ChatCompletion.acreate(model=model, messages=messages, max_tokens=8, temperature=0)
    assert r.choices[0].message.content == plain
    text = ""
    async for c in fireworks.client.ChatCompletion.acreate(model=model, messages=messages, max_tokens=8, temperature=0, stream=True):
        text += c.choices[0].delta.content or ""
    assert text == plain, (text, plain)
asyncio.run(run())
for wrong, error in ({"temperature": 9}, InvalidRequestError), ({"model": "nope"}, InvalidRequestError):
    try:
        fireworks.client.ChatCompletion.create(**{"model": model, "messages": messages, **wrong})
        raise SystemExit("no error for %r" % wrong)
    except error:
        pass
fireworks.client.api_key = "wrong"
try:
    fireworks.client.ChatCompletion.create(model=model, messages=messages)
    raise SystemExit("a wrong key was accepted")
except AuthenticationError:
    pass
print("ok")
"""


def test_old_client(keyed):
    python = pathlib.Path(os.environ.get("HEARTH_FIREWORKS0", ROOT / "build/venv-fireworks0/bin/python"))
    assert python.exists(), "no environment with fireworks-ai 0.x; tests/run.sh makes one"
    done = subprocess.run([python, "-c", OLD_CLIENT, keyed.url + "/inference/v1", KEY, MODEL], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout.strip().endswith("ok"), done.stdout + done.stderr
