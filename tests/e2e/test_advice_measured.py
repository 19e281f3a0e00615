"""How fast a model is at this server, as its ledger has it: what recommendations and plans say of it."""
from conftest import MODEL, ROOT, Server, chat
from test_account import new_key


def test_what_the_ledger_measured(tmp_path):
    store = str(tmp_path / "s.db")
    key, _ = new_key(store)
    rules = (ROOT / "catalog/advice.yaml").read_text()
    (tmp_path / "advice.yaml").write_text(rules.replace('{ model: llama4-scout-instruct-basic, why: "cheap and fast" }', '{ model: smollm2-135m-instruct, why: "it is here" }'))
    s = Server("--store", store, "--advice", str(tmp_path / "advice.yaml"))
    auth = {"Authorization": f"Bearer {key}"}

    def advice(size):
        r = s.post("/v1/recommendations", {"priority": "speed", "model": "starter-image", "steps": 2, "size": size}, headers=auth)
        assert r.status_code == 200, r.text
        return {k: r.json()[k] for k in ("basis", "measured_rows", "seconds_per_image")}

    def draw(n):
        for _ in range(n):
            r = s.post("/v1/images/generations", {"model": "starter-image", "prompt": "a circle", "size": "128x128", "steps": 1}, headers=auth)
            assert r.status_code == 200, r.text

    try:
        assert advice("128x128") == {"basis": "estimate", "measured_rows": 0, "seconds_per_image": None}
        draw(1)
        few = advice("128x128")
        assert few["basis"] == "estimate" and few["measured_rows"] == 1 and few["seconds_per_image"] > 0
        draw(4)
        enough, other = advice("128x128"), advice("256x256")
        assert enough["basis"] == "measured" and enough["measured_rows"] == 5
        assert other["basis"] == "estimate" and abs(other["seconds_per_image"] / enough["seconds_per_image"] - 4) < 1e-6
        text = lambda: {k: v for k, v in s.post("/v1/recommendations", {"task": "general"}, headers=auth).json().items() if k in ("model", "basis", "measured_rows", "tokens_per_second")}
        assert text() == {"model": MODEL, "basis": "estimate", "measured_rows": 0, "tokens_per_second": None}
        for _ in range(5):
            assert s.post("/v1/chat/completions", chat(max_tokens=4, ignore_eos=True), headers=auth).status_code == 200
        assert text()["basis"] == "measured" and text()["measured_rows"] == 5 and text()["tokens_per_second"] > 0
        plan = s.post("/v1/plans", {"n": 3, "total_budget": 5}, headers=auth).json()
        assert plan["each"]["basis"] == "estimate" and plan["each"]["seconds_per_image"] is None
    finally:
        s.stop()
