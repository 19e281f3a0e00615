"""/openapi.json: that it is OpenAPI, that it and the server agree on every endpoint, and that what is asked by it is answered as it says.

schemathesis makes requests out of the description, good and bad ones, and holds the answers against it.
"""
import json
import pathlib
import re
import subprocess

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from conftest import BIN, KEY, MODEL, PATIENCE, ROOT, Server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection"
ERRORS = {"/v1/chat/completions": "Error", "/inference/v1/chat/completions": "Error", "/v1/messages": "AnthropicError", "/api/v1/flux/nothing": "FiremoonError",
          "/api/embed": "PlainError", "/api/generate": "PlainError"}


@pytest.fixture(scope="module")
def description(server):
    r = server.get("/openapi.json")
    assert r.status_code == 200 and r.headers["content-type"] == "application/json"
    return r.json()


def operation(description, path, method="post"):
    return description["paths"][path][method]


def fields(description, path):
    schema = operation(description, path)["requestBody"]["content"]["application/json"]["schema"]
    return description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]


def test_it_is_openapi(description, keyed):
    OpenAPIV31SpecValidator(description).validate()
    OpenAPIV31SpecValidator(requests.get(keyed.url + "/openapi.json", timeout=PATIENCE).json()).validate()  # of who has no key, too


def test_every_route_is_in_it_once(description):
    """The rows of the server's table, under each base, and nothing else; a row of the description that no route answers would be missing."""
    rows = re.findall(r'ROUTE\(METHOD_(\w+),\s*BASE_(\w+),\s*"([^"]+)"', (ROOT / "src/http/routes.def").read_text())
    said = {(method, path) for path, item in description["paths"].items() for method in item}
    answered = set()
    for method, base, path in rows:
        for prefix in [""] if base == "ROOT" else ["/v1", "/inference/v1"]:
            pattern = re.compile(re.escape(prefix + path).replace(r"\*", ".+") + "$")
            found = {(m, p) for m, p in said if m == method.lower() and pattern.match(p)}
            assert found, (method, prefix + path)
            answered |= found
    assert answered == said
    described = re.findall(r'^DESCRIBED\(METHOD_(\w+),\s*BASE_\w+,\s*"([^"]+)"', (ROOT / "src/http/described.def").read_text(), re.M)
    for method, path in described:
        assert {(method.lower(), base + path) for base in ("", "/v1")} & said, (method, path)
    ids = [operation["operationId"] for item in description["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_it_says_what_the_reader_goes_by(server, description):
    """Ends of ranges and words of a field are those at which the server begins to refuse."""
    chat = fields(description, "/v1/chat/completions")
    assert chat["required"] == ["model", "messages"] and chat["properties"]["temperature"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 2}
    assert "audio" in chat["x-refused"] and "audio" not in chat["properties"]
    body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
    for name, schema in chat["properties"].items():
        number = next((s for s in schema.get("anyOf", [schema]) if s.get("type") in ("integer", "number") and "maximum" in s), None)
        if number and name not in ("best_of", "logprobs"):
            r = server.post("/v1/chat/completions", body | {name: number["maximum"] + 1})
            assert r.status_code == 400 and name in r.json()["error"]["message"], (name, r.text)
    r = server.post("/v1/chat/completions", body | {"service_tier": "gold"})
    assert r.status_code == 400 and "one of auto, default, flex, priority, scale" in r.json()["error"]["message"]
    r = server.post("/v1/responses", {"model": MODEL, "input": "a", "include": ["reasoning.encrypted_content", 7]})
    assert r.status_code == 400 and r.json()["error"]["param"] == "include"


@pytest.mark.parametrize("path, name", ERRORS.items())
def test_errors_are_as_each_api_has_them(server, description, path, name):
    known = path if path in description["paths"] else "/api/v1/{provider}/{model}"
    said = operation(description, known)["responses"]["4XX"]["content"]["application/json"]["schema"]
    assert said == {"$ref": f"#/components/schemas/{name}"}
    schema = description["components"]["schemas"][name]
    answer = server.post(path, {"model": 7})
    assert 400 <= answer.status_code < 500 and set(schema["required"]) <= set(answer.json()), answer.text


def test_keys_are_asked_for_where_it_says_so(server, description, keyed):
    assert not any("security" in o for p, item in description["paths"].items() for o in item.values() if not p.startswith(("/admin", "/v1/organization", "/inference/v1/organization", "/api/keys")))
    said = requests.get(keyed.url + "/openapi.json", timeout=PATIENCE).json()
    assert said["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    for path, item in said["paths"].items():
        if "{" in path or "get" not in item:
            continue
        r = requests.get(keyed.url + path, timeout=PATIENCE)
        assert (r.status_code == 401) == ("security" in item["get"]), (path, r.status_code)
        if "security" in item["get"] and not path.startswith(("/admin", "/v1/organization", "/inference/v1/organization")):
            assert requests.get(keyed.url + path, headers={"x-api-key": KEY}, timeout=PATIENCE).status_code != 401, path


def test_unknown_fields_are_open_where_the_server_takes_them():
    s = Server("--no-strict-fields")
    try:
        said = s.get("/openapi.json").json()
        strict = json.loads(json.dumps(said))
        assert not any(schema.get("additionalProperties") is False for schema in strict["components"]["schemas"].values())
    finally:
        s.stop()


def test_the_page_of_endpoints_is_what_the_binary_prints():
    r = subprocess.run([BIN, "help", "--api-markdown"], capture_output=True, text=True, timeout=PATIENCE)
    assert r.stdout == (ROOT / "docs/endpoints.md").read_text(), "docs/endpoints.md: hearth help --api-markdown prints it anew"


def test_schemathesis(server, tmp_path):
    """Requests made out of the description: the same ones each time. What would draw for minutes with steps at their most is left out."""
    tool = pathlib.Path(__import__("sys").executable).with_name("schemathesis")
    command = [tool, "run", server.url + "/openapi.json", "--checks", CHECKS, "--seed", "7", "--max-examples", "3", "--phases", "fuzzing",
               "--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", str(PATIENCE), "--no-color",
               "--exclude-path-regex", "^/inference|^/metrics|/images/generations$|^/api/generate$", "--continue-on-failure"]
    r = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert r.returncode == 0, r.stdout[-8000:]
    tested = int(re.search(r"Tested: (\d+)", r.stdout)[1])
    assert tested >= 70 and re.search(r"(\d+) generated, \1 passed", r.stdout), r.stdout[-3000:]
