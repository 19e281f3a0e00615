"""Prefixes that survive a restart (--cache-dir): the second start knows the prompt, answers the same bytes, keeps keys apart, and a folder that was
tampered with is never worse than none."""
from conftest import Server, chat

CHAT = "/v1/chat/completions"
SYSTEM = " ".join(f"Rule {i}: answer in words of the {i}th list." for i in range(60))
ASKED = {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Name a river."}], "max_tokens": 12, "temperature": 0.9, "seed": 4}


def ask(server):
    r = server.post(CHAT, chat(**ASKED))
    assert r.status_code == 200, r.text
    body = r.json()
    return body["choices"][0]["message"]["content"], body["usage"]["prompt_tokens"], body["usage"]["prompt_tokens_details"]["cached_tokens"]


def run(folder):
    s = Server("--cache-dir", str(folder))
    try:
        return ask(s)
    finally:
        s.stop()


def test_a_second_start_knows_the_prompt(tmp_path):
    folder = tmp_path / "prefixes"
    folder.mkdir(mode=0o700)
    text, prompt, cached = run(folder)
    assert cached == 0 and prompt > 300
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert files and all(p.stat().st_mode & 0o77 == 0 for p in files)
    assert run(folder) == (text, prompt, (prompt - 1) // 32 * 32)
    for p in folder.rglob("*"):  # each file's middle byte is another
        if p.is_file() and p.stat().st_size:
            data = bytearray(p.read_bytes())
            data[len(data) // 2] ^= 1
            p.write_bytes(data)
    again, _, _ = run(folder)
    assert again == text


def test_a_folder_that_cannot_be_used_is_no_cache_and_the_log_says_so(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    s = Server("--cache-dir", str(folder))
    try:
        text, _, cached = ask(s)
        assert text and cached == 0
        assert "prefixes are not kept" in "".join(s.log)
    finally:
        s.stop()
