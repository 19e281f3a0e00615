"""Several models in one process: found, loaded when asked for, unloaded when memory is short. On the tiny models of the golden tests."""
import json
import shutil
import struct
import subprocess
import threading

import pytest

from conftest import BIN, PATIENCE, ROOT, Server

pytestmark = pytest.mark.checked
TINY = ROOT / "tests/golden/lm/chat"
ONE = str((TINY / "model.safetensors").stat().st_size)  # a memory limit that one of the models passes as soon as it has a cache


def ask(server, model, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "seed": 1, **fields}
    return server.post("/v1/chat/completions", body)


@pytest.fixture
def folder(tmp_path):
    for name in ("tiny-a", "tiny-b"):
        shutil.copytree(TINY, tmp_path / name)
    return tmp_path


def test_loaded_on_demand_and_unloaded_for_room(folder):
    s = Server("--memory-limit", ONE, models=str(folder))
    assert [m["id"] for m in s.get("/v1/models").json()["data"]] == ["accounts/local/models/tiny-a", "accounts/local/models/tiny-b"]
    assert "loaded" not in "".join(s.log)
    replies = [ask(s, m) for m in ("tiny-a", "accounts/local/models/tiny-b", "TINY-A", "me/tiny-b")]
    assert [r.status_code for r in replies] == [200] * 4
    assert replies[0].json()["model"] == replies[2].json()["model"] == "accounts/local/models/tiny-a"
    assert replies[0].json()["choices"] == replies[2].json()["choices"]
    s.stop()
    log = "".join(s.log)
    assert log.count(" loaded ") == 4 and log.count("unloading") == 3


def test_both_stay_when_there_is_room(folder):
    s = Server(str(folder / "tiny-a"), models=str(folder))
    assert "tiny-a (loaded)" in "".join(s.banner)
    for _ in range(3):
        assert ask(s, "tiny-a").status_code == ask(s, "tiny-b").status_code == 200
    s.stop()
    assert "".join(s.log).count(" loaded ") == 2 and "unloading" not in "".join(s.log)


def test_one_model_a_name(folder):
    for owner in ("one", "two"):
        shutil.copytree(TINY, folder / owner / "same")
    s = Server(models=str(folder))
    ids = [m["id"] for m in s.get("/v1/models").json()["data"]]
    assert sorted(ids) == [f"accounts/local/models/{n}" for n in ("same", "tiny-a", "tiny-b")]
    assert ask(s, "same").status_code == 200
    s.stop()
    assert "".join(s.log).count("has the same name") == 1
    with pytest.raises(RuntimeError, match="rename one of them"):
        Server(str(folder / "one/same"), str(folder / "two/same"))


def test_models_that_come_later(folder):
    s = Server(models=str(folder))
    assert ask(s, "tiny-c").status_code == 404
    shutil.copytree(TINY, folder / "tiny-c")
    for _ in range(30):
        if (r := ask(s, "tiny-c")).status_code == 200:
            break
        threading.Event().wait(0.1)
    assert r.status_code == 200
    s.stop()


def test_a_broken_model_is_an_error_of_its_own(folder):
    (folder / "broken").mkdir()
    (folder / "broken/broken.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 100)
    s = Server(models=str(folder))
    r = ask(s, "broken")
    assert r.status_code == 500 and "broken" in r.json()["error"]["message"]
    assert ask(s, "tiny-a").status_code == 200
    s.stop()


def test_a_family_that_is_not_known(folder):
    config = folder / "tiny-b/config.json"
    config.write_text(config.read_text().replace('"llama"', '"gemma"'))
    s = Server(models=str(folder))
    r = ask(s, "tiny-b")
    assert r.status_code == 400 and "architecture 'gemma' is not supported" in r.text and "mistral" in r.text and "qwen3_moe" in r.text
    assert ask(s, "tiny-a").status_code == 200
    s.stop()


def test_many_clients_change_models_all_the_time(folder):
    s = Server("--memory-limit", ONE, models=str(folder))
    codes = []

    def one(i):
        for k in range(12):
            codes.append(ask(s, ("tiny-a", "tiny-b")[(i + k) % 2], stream=k % 3 == 0).status_code)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(codes) == 96 and set(codes) <= {200, 429} and codes.count(200) > 10
    s.stop()


def begin(server, model, **fields):
    """A stream whose first bytes are here and that goes on."""
    r = ask(server, model, stream=True, ignore_eos=True, **fields)
    next(r.iter_content(1))
    return r


def test_a_model_waits_for_memory_that_others_hold(folder):
    s = Server("--memory-limit", ONE, models=str(folder))
    running = begin(s, "tiny-a", max_tokens=200)
    assert ask(s, "tiny-b").status_code == 200
    assert running.content.endswith(b"data: [DONE]\n\n")
    s.stop()


def test_a_model_waits_no_longer_than_it_is_told(folder):
    s = Server("--memory-limit", ONE, "--memory-wait", "0", models=str(folder))
    with s.connect() as running:
        body = b'{"model": "tiny-a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 480, "ignore_eos": true, "stream": true, "n": 64}'
        running.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert b"200 OK" in running.recv(1000)
        r = ask(s, "tiny-b")
        assert r.status_code == 429 and int(r.headers["Retry-After"]) >= 1 and "memory" in r.json()["error"]["message"]
    s.wait_idle()
    s.stop()


def unusable(folder):
    """Models that are installed and cannot run: name -> a word of the reason."""
    (folder / "cut").mkdir()
    for file in ("config.json", "tokenizer.json"):
        shutil.copy(TINY / file, folder / "cut")
    whole = (TINY / "model.safetensors").read_bytes()
    (folder / "cut/model.safetensors").write_bytes(whole[:-1000])
    shutil.copytree(TINY, folder / "odd")
    config = json.loads((TINY / "config.json").read_text())
    (folder / "odd/config.json").write_text(json.dumps(config | {"model_type": "mamba2"}))
    (folder / "pickled").mkdir()
    (folder / "pickled/config.json").write_text("{}")
    (folder / "pickled/pytorch_model.bin").write_bytes(b"PK\x03\x04")
    shutil.copytree(TINY, folder / "silent", ignore=shutil.ignore_patterns("tokenizer*"))
    (folder / "video").mkdir()
    (folder / "video/model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    return {"cut": "truncated", "odd": "mamba2", "pickled": "pytorch_model.bin", "silent": "tokenizer", "video": "WanPipeline"}


def test_lists_say_what_cannot_run_and_why(folder):
    reasons = unusable(folder)
    s = Server(models=str(folder))
    listed = s.get("/v1/models").json()
    assert [m["id"] for m in listed["data"]] == ["accounts/local/models/tiny-a", "accounts/local/models/tiny-b"]
    assert not any("problem" in m for m in listed["data"])
    why = {m["id"].rsplit("/", 1)[1]: m["problem"] for m in listed["unavailable"]}
    assert why.keys() == reasons.keys()
    for name, word in reasons.items():
        assert word in why[name] and str(folder) not in why[name], why[name]
        assert word in s.get(f"/v1/models/accounts/local/models/{name}").json()["problem"]
        shown = s.get(f"/v1/accounts/local/models/{name}").json()
        assert shown["state"] != "READY" and word in shown["status"]["message"]
        r = ask(s, name)
        assert r.status_code in (400, 500), r.text
    assert s.get("/v1/models/accounts/local/models/video").status_code == 200
    banner = "".join(s.banner)
    assert banner.count("cannot be used") == len(reasons)
    # what is put in order is served; what is removed is gone
    shutil.copy(TINY / "config.json", folder / "odd")
    (folder / "odd/model.safetensors").rename(folder / "odd/was")  # a folder shows what is renamed in it
    (folder / "odd/was").rename(folder / "odd/model.safetensors")
    shutil.rmtree(folder / "cut")
    s.wait_until(lambda: "accounts/local/models/odd" in [m["id"] for m in s.get("/v1/models").json()["data"]], "odd stays unavailable")
    assert "cut" not in "".join(m["id"] for m in s.get("/v1/models").json()["unavailable"])
    assert ask(s, "odd").status_code == 200
    s.stop()


def test_models_command_says_what_cannot_run_and_why(folder):
    reasons = unusable(folder)
    out = subprocess.run([BIN, "models", "--models", folder, "--json"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    rows = {m["id"].rsplit("/", 1)[1]: m for m in json.loads(out)["models"] if m["installed"]}
    assert rows.keys() == reasons.keys() | {"tiny-a", "tiny-b"}
    assert {k for k, m in rows.items() if "problem" in m} == reasons.keys()
    assert all(word in rows[name]["problem"] for name, word in reasons.items())


def test_a_model_larger_than_memory_says_what_it_needs(folder):
    (folder / "tiny-b/model.safetensors").rename(folder / "tiny-b/part-1.safetensors")
    header = json.dumps({"extra": {"dtype": "U8", "shape": [1000], "data_offsets": [0, 1000]}}).encode()
    (folder / "tiny-b/part-2.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(1000))
    shutil.copy(folder / "tiny-a/model.safetensors", folder / "tiny-a/other.safetensors")  # no part of it
    s = Server("--memory-limit", ONE, models=str(folder))
    assert ask(s, "tiny-a").status_code == 200
    r = ask(s, "tiny-b")
    assert r.status_code == 400 and "memory for its weights" in r.json()["error"]["message"]
    assert "memory for its weights" in s.get("/v1/models").json()["unavailable"][0]["problem"]
    s.stop()
    with pytest.raises(RuntimeError, match="more than this machine's memory"):
        Server(str(folder / "tiny-a"), "--kv-memory", "1000000000000000", models=str(folder))


def test_every_model_of_the_catalog_has_an_engine(folder):
    out = subprocess.run([BIN, "models", "--models", folder, "--json"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    rows = [m for m in json.loads(out)["models"] if not m["installed"]]
    assert len(rows) > 15 and not any("problem" in m for m in rows)


def test_known_models_without_an_engine_say_so(folder, tmp_path):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("version: 1\nmodels:\n  - id: accounts/own/models/snake\n    kind: text\n    arch: mamba2\n    context: 100\n    source: hf:own/repo\n")
    with_it = ["--models", folder, "--catalog", str(catalog)]
    out = subprocess.run([BIN, "models", *with_it, "--json"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    rows = {m["id"].rsplit("/", 1)[1]: m for m in json.loads(out)["models"] if not m["installed"]}
    assert "no engine for mamba2" in rows["snake"]["problem"]
    r = subprocess.run([BIN, "pull", "snake", *with_it, "--hub", "http://127.0.0.1:9"], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 1 and "no engine for" in r.stderr and r.stderr.count("\n") == 1  # before anybody is asked for a byte
    s = Server("--catalog", str(catalog), models=str(folder))
    r = ask(s, "accounts/own/models/snake")
    assert r.status_code == 404 and "no engine for mamba2" in r.json()["error"]["message"]
    s.stop()
