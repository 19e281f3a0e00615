"""POST /api/generate, POST /api/chat and GET /health as the Express servers of the guides answer them, to their own clients."""
import base64
import io
import json
import subprocess

import PIL.Image
import pytest

from conftest import KEY, MODEL, PATIENCE, Server, stand_ins

FLUX = "accounts/fireworks/models/flux-1-dev-fp8"
CLIENT = """
const [, url, path, body] = process.argv;
const response = await fetch(url + path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
console.log(JSON.stringify({ status: response.status, type: response.headers.get('content-type'), body: await response.text() }));
"""


def js(server, path, body):
    """What a browser's page would send and see."""
    r = subprocess.run(["node", "--input-type=module", "-e", CLIENT, server.url, path, json.dumps(body)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    args, models = stand_ins(tmp_path_factory.mktemp("express"), "flux-1-dev-fp8")
    s = Server("--no-preload", *args, models=models)
    yield s
    s.stop()


@pytest.fixture(scope="module")
def talker():
    s = Server("--no-preload")
    yield s
    s.stop()


def test_pictures(server):
    said = js(server, "/api/generate", {"prompt": "a red apple", "seed": 7, "steps": 2})
    assert (said["status"], said["type"]) == (200, "application/json")
    a = json.loads(said["body"])
    assert list(a) == ["images", "prompt", "model", "parameters"]
    assert a["prompt"] == "a red apple" and a["model"] == FLUX
    assert a["parameters"] == {"size": "1024x1024", "steps": 2, "guidance_scale": 3.5, "seed": 7}
    assert [i["format"] for i in a["images"]] == ["jpeg"]
    image = PIL.Image.open(io.BytesIO(base64.b64decode(a["images"][0]["b64_json"])))
    assert image.format == "JPEG" and image.size == (1024, 1024)
    again = server.post("/api/generate", {"prompt": "a red apple", "seed": 7, "steps": 2, "n": 2, "model": FLUX, "size": "1344x768"}).json()
    assert len(again["images"]) == 2 and again["parameters"]["size"] == "1344x768"
    # JPEG at quality 90 is what the same picture is elsewhere at that quality.
    plain = server.post("/v1/images/generations", {"prompt": "a red apple", "model": FLUX, "seed": 7, "steps": 2, "guidance_scale": 3.5, "size": "1024x1024",
                                                   "response_format": "b64_json", "output_format": "jpeg", "output_compression": 90})
    assert plain.json()["data"][0]["b64_json"] == a["images"][0]["b64_json"]


def test_pictures_refused(server):
    for body in ({}, {"prompt": ""}, {"prompt": 7}, {"prompt": None}):
        r = server.post("/api/generate", body)
        assert (r.status_code, r.json()) == (400, {"error": "Valid prompt is required"}), body
    for prompt in ("x" * 1001, "\N{OWL}" * 501):  # characters as JavaScript counts them
        r = server.post("/api/generate", {"prompt": prompt})
        assert (r.status_code, r.json()) == (400, {"error": "Prompt too long (max 1000 characters)"})
    for body in ({"size": "big"}, {"steps": 0}, {"n": 99}, {"model": "stable-diffusion-xl-1024-v1-0"}):
        r = server.post("/api/generate", {"prompt": "x"} | body)
        assert r.status_code == 500 and r.json()["error"] == "Image generation failed" and r.json()["message"], body
    r = server.post("/api/generate", [])
    assert r.status_code == 400 and isinstance(r.json()["error"], str)


def test_chat(talker):
    said = js(talker, "/api/chat", {"message": "Say hello.", "model": MODEL})
    assert said["status"] == 200
    a = json.loads(said["body"])
    assert list(a) == ["response"] and a["response"]
    # A model of this server's where the guide's is not here.
    assert list(talker.post("/api/chat", {"message": "Say hello."}).json()) == ["response"]
    for body in ({}, {"message": ""}, {"message": ["x"]}, {"model": MODEL}):
        r = talker.post("/api/chat", body)
        assert (r.status_code, r.json()) == (400, {"error": "Invalid message"}), body
    r = talker.post("/api/chat", {"message": "x", "model": "no-such-model"})
    assert (r.status_code, r.json()) == (500, {"error": "Internal server error"})
    assert "no-such-model" in r.headers["X-Hearth-Error"]


def test_the_other_api(talker):
    """What Ollama's clients send on the same paths is told apart, and not answered as something else."""
    for path, body in (("/api/chat", {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "options": {"num_predict": 2}}), ("/api/generate", {"model": MODEL, "prompt": "x", "options": {"num_predict": 2}})):
        r = talker.post(path, body)
        assert r.status_code == 200 and json.loads(r.text.splitlines()[-1])["done"], path


def test_health(server):
    assert server.get("/health").json() == {"status": "ok", "service": "image-generation"}


def fill(server, path):
    """Asks until the limit is full; how many were let in within its window, and the refusal."""
    admitted, window = 0, None
    while True:
        r = server.post(path, {})
        if r.headers["X-RateLimit-Reset"] != window:  # a quarter of an hour ended meanwhile
            admitted, window = 0, r.headers["X-RateLimit-Reset"]
        if r.status_code == 429:
            return admitted, r
        assert r.status_code == 400
        admitted += 1


def test_limits():
    s = Server("--no-preload")
    try:
        admitted, r = fill(s, "/api/chat")
        assert admitted == 100 and r.headers["X-RateLimit-Limit"] == "100"
        assert r.text == "Too many requests, please try again later." and r.headers["Content-Type"].startswith("text/plain") and int(r.headers["Retry-After"]) > 0
        admitted, r = fill(s, "/api/generate")
        assert admitted == 50
        assert r.text == "Too many image generation requests, please try again later."
        # What the other API, and the other endpoints, ask is not counted there.
        assert s.post("/api/chat", {"model": MODEL, "messages": []}).status_code == 200
        assert s.post("/api/chat", {"message": "Hello"}).status_code == 429
    finally:
        s.stop()


def test_keys():
    """A server with keys asks for one here too."""
    s = Server("--no-preload", "--keys", KEY)
    try:
        r = s.post("/api/chat", {"message": "x"})
        assert r.status_code == 401 and "API key" in r.json()["error"]
        assert s.post("/api/chat", {}, headers={"Authorization": f"Bearer {KEY}"}).status_code == 400
    finally:
        s.stop()
