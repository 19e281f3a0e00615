"""A model as judge: that it is asked, that its answer is bound to its labels and obeyed, and what happens when it fails."""
import http.server
import json
import threading

import pytest
import requests

from conftest import MODEL, PATIENCE, Server, chat
from test_account import new_key

RULES = """images: {{unsafe: [hentai, porn], threshold: 0.6, action: pass}}
words:
  default: careful
  lists:
    - {{name: never, category: violence, words: [forbidden]}}
  policies:
    - {{name: careful, refuse: [never]}}
  judge: {{model: {model}, threshold: {threshold}{more}}}
"""


class Judge:
    """A server that is asked, and says what the test wants; what it was asked is kept."""

    def __init__(self):
        self.asked, self.says, self.status = [], "", 200
        judge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                judge.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                body = {"id": "c", "object": "chat.completion", "created": 1, "model": "judge",
                        "choices": [{"index": 0, "message": {"role": "assistant", "content": judge.says}, "finish_reason": "stop"}],
                        "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}}
                data = json.dumps(body if judge.status == 200 else {"error": {"message": "out of order"}}).encode()
                self.send_response(judge.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def judged_by(folder, judge, threshold=0.5, more="", *args):
    """A server whose judge is that one, over a route."""
    (folder / "rules.yaml").write_text(RULES.format(model="judge", threshold=threshold, more=more))
    (folder / "routes.yaml").write_text(f"version: 1\nupstreams:\n  - name: court\n    base_url: http://127.0.0.1:{judge.http.server_address[1]}/v1\n"
                                        "    models:\n      - { name: judge }\n")
    return Server("--no-preload", "--safety", str(folder / "rules.yaml"), "--routes", str(folder / "routes.yaml"), *args)


def moderate(server, text):
    r = server.post("/v1/moderations", {"input": text})
    assert r.status_code == 200, r.text
    return r.json()["results"]


@pytest.mark.checked
def test_it_is_obeyed(tmp_path):
    judge = Judge()
    s = judged_by(tmp_path, judge, 0.6, ", labels: [hate, sexual]")
    try:
        judge.says = json.dumps({"label": "hate", "sure": 8})
        first, second = moderate(s, ["I do not like you", "a forbidden word"])
        assert first["flagged"] and first["categories"]["hate"] and first["category_scores"]["hate"] == 0.8 and not first["categories"]["violence"]
        assert second["categories"]["violence"] and second["category_scores"]["violence"] == 1  # the lists count as well; and what they refuse may be judged
        question = judge.asked[0]
        assert "I do not like you" in question["messages"][1]["content"] and question["temperature"] == 0
        assert question["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"] == ["safe", "sexual", "hate"]
        assert len(judge.asked) == 2
        judge.says = json.dumps({"label": "hate", "sure": 5})  # below the threshold: said, not flagged
        [r] = moderate(s, "x")
        assert not r["flagged"] and r["category_scores"]["hate"] == 0.5
        judge.says = json.dumps({"label": "safe", "sure": 10})
        [r] = moderate(s, "x")
        assert not r["flagged"] and set(r["category_scores"].values()) == {0}
        assert s.post("/v1/chat/completions", {"model": "judge", "messages": [{"role": "user", "content": "forbidden"}]}).status_code == 400
    finally:
        s.stop()
        judge.close()


@pytest.mark.checked
@pytest.mark.parametrize("more", ["", ", on_failure: pass"], ids=["refuse", "pass"])
def test_it_fails(tmp_path, more):
    judge = Judge()
    s = judged_by(tmp_path, judge, 0.5, more)
    try:
        for judge.status, judge.says, words in ((200, "I think it is fine.", "no judgement"), (200, json.dumps({"label": "odd", "sure": 5}), "no judgement"),
                                                (200, json.dumps({"label": "hate", "sure": 99}), "no judgement"), (400, "", "answered 400")):
            r = s.post("/v1/moderations", {"input": ["forbidden", "x"]})
            if more:
                assert r.status_code == 200 and [x["flagged"] for x in r.json()["results"]] == [True, False]
            else:
                assert r.status_code == 503 and words in r.json()["error"]["message"]
            s.wait_log(words)
    finally:
        s.stop()
        judge.close()


@pytest.mark.checked
def test_prompts(tmp_path):
    """Every API's prompts are judged before anything is done with them; the question itself is not."""
    judge = Judge()
    s = judged_by(tmp_path, judge, 0.5, ", prompts: true")
    said = [{"role": "user", "content": [{"type": "text", "text": "what I say"}]}]
    asks = [("/v1/chat/completions", {"model": MODEL, "messages": said, "max_tokens": 1}), ("/inference/v1/completions", {"model": MODEL, "prompt": "what I say", "max_tokens": 1}),
            ("/v1/chat/completions", {"model": MODEL, "messages": said, "max_tokens": 1, "stream": True}),
            ("/v1/responses", {"model": MODEL, "input": "what I say", "max_output_tokens": 16}), ("/v1/messages", {"model": MODEL, "messages": said, "max_tokens": 1}),
            ("/api/chat", {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "what I say"}], "options": {"num_predict": 1}}),
            ("/v1/images/generations", {"model": "starter-image", "prompt": "what I say", "steps": 1})]
    try:
        for flagged in (True, False):
            judge.says = json.dumps({"label": "hate" if flagged else "safe", "sure": 9})
            for path, body in asks:
                judge.asked.clear()
                r = s.post(path, body)
                assert r.status_code == (400 if flagged else 200), (path, r.text)
                assert not flagged or "judged to be hate" in r.text
                assert len(judge.asked) == 1 and "what I say" in judge.asked[0]["messages"][1]["content"], path
        judge.says = json.dumps({"label": "hate", "sure": 9})
        judge.asked.clear()
        r = requests.post(s.url + "/v1/images/edits", data={"model": "starter-image", "prompt": "what I say"}, files={"image": ("a.png", b"x")}, timeout=PATIENCE)
        assert r.status_code == 400 and "judged to be hate" in r.text and len(judge.asked) == 1
        assert "unexpected" not in s.post("/v1/chat/completions", {"model": MODEL}).text and len(judge.asked) == 1  # there is nothing to judge
        judge.status = 400
        r = s.post(*asks[0])
        assert r.status_code == 503 and "answered 400" in r.json()["error"]["message"]
        judge.status = 200
        judge.says = json.dumps({"label": "safe", "sure": 9})
        assert s.post("/v1/chat/completions", chat("forbidden")).status_code == 400  # the lists hold as well
    finally:
        s.stop()
        judge.close()


@pytest.mark.checked
def test_a_model_of_this_server(tmp_path):
    """A small model judges badly, but it is bound: one of the labels, the same each time; and each text is a request in the ledger."""
    (tmp_path / "rules.yaml").write_text(RULES.format(model=MODEL, threshold=0.1, more=", labels: [hate, violence]"))
    store = str(tmp_path / "a.db")
    key, _ = new_key(store)
    s = Server("--safety", str(tmp_path / "rules.yaml"), "--store", store)
    try:
        results = []
        for _ in range(2):
            r = s.post("/v1/moderations", {"input": "I will find you."}, headers={"Authorization": f"Bearer {key}", "X-Request-Id": "asked"})
            assert r.status_code == 200, r.text
            results.append(r.json()["results"])
        assert results[0] == results[1]
        assert {k for k, v in results[0][0]["category_scores"].items() if v} <= {"hate", "violence"}
        s.wait_log("asked.0 /v1/chat/completions 200")
        assert s.post("/v1/chat/completions", chat(max_tokens=1), headers={"Authorization": f"Bearer {key}"}).status_code == 200
    finally:
        s.stop()


def test_a_key_in_the_form_of_anthropic(tmp_path):
    """Whose key stands in x-api-key is asked for in that key's name as well."""
    (tmp_path / "rules.yaml").write_text(RULES.format(model=MODEL, threshold=1, more=", prompts: true, labels: [hate]"))
    store = str(tmp_path / "a.db")
    key, _ = new_key(store)
    s = Server("--safety", str(tmp_path / "rules.yaml"), "--store", store)
    try:
        body = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
        r = s.post("/v1/messages", body, headers={"x-api-key": key, "anthropic-version": "2023-06-01", "X-Request-Id": "asked"})
        assert r.status_code == 200, r.text
        s.wait_log("asked.900 /v1/chat/completions 200")
        assert s.post("/v1/messages", body, headers={"x-api-key": key + "x"}).status_code == 401
    finally:
        s.stop()


def test_settings(tmp_path):
    for line, words in (("threshold: 0.5, model: judge", "threshold: 2"), ("model: judge", "labels: [odd]"), ("model: judge", "on_failure: shrug"), ("model: ''", "threshold: 1")):
        (tmp_path / "rules.yaml").write_text("images: {unsafe: [porn], threshold: 1, action: pass}\nwords:\n  judge: {%s}\n" % (line.replace("threshold: 0.5, ", "") + ", " + words))
        with pytest.raises(RuntimeError, match="rules.yaml:3:"):
            Server("--no-preload", "--safety", str(tmp_path / "rules.yaml"))
