"""The commands as people use them: at a terminal, in pipes, with the words they know from other programs."""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

from conftest import BIN, MODELS, PATIENCE, ROOT, Server, environment

MODEL = "smollm2-135m-instruct"


def hearth(*args, code=0, models=MODELS, **kw):
    env = environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": str(models)}
    r = subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, env=env, timeout=PATIENCE, **kw)
    assert r.returncode == code, (r.stdout, r.stderr)
    return r


class Terminal:
    """`hearth chat` with a person in front of it."""

    def __init__(self, tmp_path, *args, model=MODEL, **more):
        env = environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": MODELS, "TERM": "xterm", "XDG_STATE_HOME": str(tmp_path / "state"),
                               "LC_ALL": "C.UTF-8", **more}
        env = {k: v for k, v in env.items() if v is not None}
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([BIN, "chat", model, "--temperature", "0", *(args or ["--max-tokens", "4"])], stdin=slave, stdout=slave, stderr=slave, env=env,
                                        start_new_session=True, preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0))
        os.close(slave)
        self.seen, self.saved = "", tmp_path / "saved.json"
        self.wait("> ")

    def wait_any(self, *words):
        """Until one of these has come; which one was first."""
        deadline = time.monotonic() + PATIENCE
        while not any(w in self.seen for w in words):
            assert time.monotonic() < deadline, self.seen
            self.read()
        first = min((w for w in words if w in self.seen), key=self.seen.index)
        self.wait(first)
        return first

    def read(self):
        if select.select([self.master], [], [], 1)[0]:
            self.seen += os.read(self.master, 65536).decode(errors="replace")

    def wait(self, words):
        """Until these words have come since the last call."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    assert words in self.seen, self.seen
        before, self.seen = self.seen[:self.seen.index(words)], self.seen[self.seen.index(words) + len(words):]
        return before

    def type(self, text):
        os.write(self.master, text.encode())

    def conversation(self):
        self.saved.unlink(missing_ok=True)
        self.type(f"/save {self.saved}\n")
        deadline = time.monotonic() + PATIENCE
        while not self.saved.exists() or not self.saved.read_text().endswith("]"):
            assert time.monotonic() < deadline and self.process.poll() is None, self.seen
            time.sleep(0.02)
        self.wait("> ")
        return json.loads(self.saved.read_text())

    def end(self):
        assert self.process.wait(PATIENCE) == 0
        os.close(self.master)


def test_control_c_drops_what_is_typed(tmp_path):
    t = Terminal(tmp_path)
    for start in ('"""', '"""begun', "one line \\"):
        t.type(start + "\n")
        t.wait(". ")
        t.type("half of a mess")
        t.wait("mess")
        t.type("\x03")
        t.wait("leaves")
        t.wait("> ")
        assert t.conversation() == []
    t.type("half a line\x03")
    t.wait("leaves")
    t.wait("> ")
    assert t.conversation() == []
    t.type("/bye\n")
    t.end()


def test_control_r_searches_what_was_said(tmp_path):
    t = Terminal(tmp_path)
    for said in ("/set seed 11", "/set top-k 7"):
        t.type(said + "\n")
        t.wait("> ")
    t.type("\x12")
    t.wait("bck")  # libedit's own word for a search backwards
    t.type("seed")
    t.wait("seed 11")
    t.type("\x1b")
    t.type("\x03")
    t.wait("leaves")
    t.wait("> ")
    t.type("/bye\n")
    t.end()


def test_control_c_at_an_empty_prompt_asks_once_more(tmp_path):
    t = Terminal(tmp_path)
    t.type("\x03")
    t.wait("Ctrl-C once more")
    t.wait("> ")
    assert t.conversation() == []  # still there; and the next one asks again
    t.type("\x03")
    t.wait("Ctrl-C once more")
    t.wait("> ")
    t.type("\x03")
    t.end()


def test_control_d_inside_a_block_sends_nothing(tmp_path):
    t = Terminal(tmp_path)
    t.type('"""\n')
    t.wait(". ")
    t.type("half a message\n")
    t.wait("message")
    t.wait(". ")
    t.type("\x04")
    t.end()
    assert "tokens/s" not in t.seen


def test_blocks_share_lines_with_their_marks(tmp_path):
    t = Terminal(tmp_path)
    t.type('"""two\nlines"""\n')
    t.wait("tokens/s")
    t.wait("> ")
    t.type('"""\nthree\n\nlines\n"""\n')
    t.wait("tokens/s")
    t.wait("> ")
    t.type('"""one"""\n')
    t.wait("tokens/s")
    t.wait("> ")
    assert [m["content"] for m in t.conversation() if m["role"] == "user"] == ["two\nlines", "three\n\nlines", "one"]
    t.type("/exit\n")
    t.end()
    history = tmp_path / "state/hearth/chat_history"
    assert history.exists() and history.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("setting, coloured", [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"TERM": None}, False)])
def test_colours(tmp_path, setting, coloured):
    t = Terminal(tmp_path, **setting)
    t.type("Hi.\n")
    text = t.wait("tokens/s")
    assert ("\x1b[2m" in text) == coloured
    t.type("/quit\n")
    t.end()


def test_blocks_through_a_pipe():
    r = hearth("chat", MODEL, "--max-tokens", "4", input='"""never closed\nthis is not sent\n', code=1)
    assert r.stdout == "" and "not sent" in r.stderr and r.stderr.count("\n") == 1


def test_complete_reads_standard_input():
    want = hearth("complete", MODEL, "The capital of France is", "--temperature", "0", "--max-tokens", "6").stdout
    assert hearth("complete", MODEL, "--temperature", "0", "--max-tokens", "6", input="The capital of France is").stdout == want
    assert hearth("complete", "--temperature", "0", "--max-tokens", "6", input="The capital of France is").stdout == want
    assert hearth("complete", "The capital of France is", "--temperature", "0", "--max-tokens", "6", input="").stdout == want
    r = hearth("complete", MODEL, input="", code=1)
    assert r.stderr == "hearth complete: there is no prompt\n"


@pytest.fixture(scope="module")
def behind_a_url():
    """Arguments that ask a model loaded by the command, and those that ask a server's."""
    s = Server(models=MODELS)
    yield {"here": [], "url": ["--url", s.url]}
    s.stop()


@pytest.mark.parametrize("where", ["here", "url"])
def test_answers_that_must_have_a_form(tmp_path, behind_a_url, where):
    (tmp_path / "g.gbnf").write_text('root ::= ("red" | "blue") [0-9]\n')
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"n": {"enum": [1, 2, 3]}}, "required": ["n"], "additionalProperties": false}')
    args = [MODEL, "--temperature", "1", "--seed", "1", "--max-tokens", "60", *behind_a_url[where]]
    assert re.fullmatch("(left|right)[a-c]{3}\n", hearth("complete", *args, "Go", "--regex", "(left|right)[a-c]{3}").stdout)
    assert re.fullmatch("(red|blue)[0-9]\n", hearth("complete", *args, "Go", "--grammar", tmp_path / "g.gbnf").stdout)
    for answer in (hearth("complete", *args, "Go", "--schema", tmp_path / "s.json").stdout, hearth("chat", *args, "Give me JSON.", "--schema", tmp_path / "s.json").stdout,
                   hearth("chat", *args, "--schema", tmp_path / "s.json", input="Give me JSON.\n").stdout):
        assert json.loads(answer)["n"] in (1, 2, 3)


@pytest.mark.parametrize("args, words", [
    (["complete", MODEL, "a", "--regex", "a", "--schema", "s.json"], ["--schema", "--regex", "one"]), (["complete", MODEL, "a", "--schema", "none.json"], ["none.json", "No such file"]),
    (["complete", MODEL, "a", "--schema", "broken.json"], ["broken.json", "line 2"]), (["complete", MODEL, "a", "--schema", "list.json"], ["list.json"]),
    (["complete", MODEL, "a", "--schema", "bad.json"], ["bad.json", "type", "strong"]), (["complete", MODEL, "a", "--grammar", "bad.gbnf"], ["bad.gbnf", "line 2"]),
    (["complete", MODEL, "a", "--grammar", "empty.gbnf"], ["empty.gbnf"]), (["complete", MODEL, "a", "--regex", "(a"], ["--regex"]),
    (["chat", MODEL, "a", "--tools", "bad.json"], ["bad.json", "array"]), (["chat", MODEL, "a", "--tools", "tools.json"], ["tools.json[1]", "name"]),
    (["chat", MODEL, "a", "--tools", "one.json", "--tool-choice", "other"], ["--tool-choice", "other"]), (["chat", MODEL, "a", "--tool-choice", "required"], ["--tools"]),
    (["chat", MODEL, "a", "--reasoning", "much"], ["--reasoning", "none|low|medium|high"])])
def test_bad_wishes_get_one_clear_error(tmp_path, args, words):
    for name, text in {"broken.json": '{\n"a": }', "list.json": "[]", "bad.json": '{"type": "strong"}', "bad.gbnf": 'root ::= "a"\n  nowhere\n', "empty.gbnf": "",
                       "tools.json": json.dumps([tool("f"), {"type": "function", "function": {"name": "no spaces"}}]), "one.json": json.dumps([tool("f")])}.items():
        (tmp_path / name).write_text(text)
    r = hearth(*args, "--max-tokens", "4", cwd=tmp_path, code=2 if "much" in args else 1)
    assert r.stdout == "" and r.stderr.startswith(f"hearth {args[0]}: ") and r.stderr.count("\n") == 1
    for word in words:
        assert word in r.stderr, r.stderr


def tool(name):
    return {"type": "function", "function": {"name": name, "description": "The weather.", "parameters": {
        "type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}, "required": ["city"], "additionalProperties": False}}}


CALL = r'weather \{"city":"(Rome|Paris)"\}\n'


@pytest.mark.parametrize("where", ["here", "url"])
def test_tools_through_a_pipe(tmp_path, behind_a_url, where):
    """A call is a line; the next line of the input is what it gave, until the answer comes. After the first call the model is free to make another."""
    (tmp_path / "tools.json").write_text(json.dumps([tool("weather"), tool("news")]))
    args = ["chat", MODEL, "--tools", tmp_path / "tools.json", "--tool-choice", "weather", "--temperature", "0", "--max-tokens", "40", *behind_a_url[where]]
    r = hearth(*args, input="What is the weather in Rome?\n", code=1)
    assert re.fullmatch(CALL, r.stdout) and r.stderr.count("\n") == 1 and "weather gave" in r.stderr
    env = environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": MODELS}
    r = subprocess.run([BIN, *map(str, args), "What is the weather in Rome?"], input="sunny, 20 degrees\n" * 5, capture_output=True, text=True, env=env, timeout=PATIENCE)
    calls = re.match(f"({CALL})((?:(?:{CALL})|news .*\n)*)", r.stdout)
    assert calls and len(r.stdout.splitlines()) >= 2
    assert r.stderr == "" and r.stdout[calls.end():].strip() if r.returncode == 0 else "gave" in r.stderr and r.stdout.count("\n") >= 6


def test_tools_at_a_terminal(tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps([tool("weather")]))
    t = Terminal(tmp_path, "--max-tokens", "40", "--tools", str(tmp_path / "tools.json"), "--tool-choice", "required")
    t.type("What is the weather in Rome?\n")
    t.wait('weather {"city":"')
    t.wait("weather gave: ")
    for _ in range(5):
        t.type("sunny\n")
        t.wait("tokens/s")
        if t.wait_any("weather gave: ", "> ") == "> ":
            question, called, result, *_, answer = t.conversation()
            (call,) = called["tool_calls"]
            assert question["role"] == "user" and result == {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
            assert answer["role"] == "assistant" and answer["content"] and "tool_calls" not in answer
            break
    else:
        t.type("\x03")
        t.wait("dropped")
        t.wait("> ")
    before = t.conversation()
    t.type("And in Paris?\n")
    t.wait("weather gave: ")
    t.type("\x03")
    t.wait("dropped")
    t.wait("> ")
    assert t.conversation() == before
    t.type("/quit\n")
    t.end()


def test_thoughts_are_dimmed_in_a_terminal_and_absent_in_a_pipe(tmp_path):
    """A tiny model of random weights, whose template opens its thought: the budget of `low` is not used up here, the answer never comes."""
    tiny = tmp_path / "thinker"
    shutil.copytree(ROOT / "tests/golden/lm/chat", tiny)
    config = json.loads((tiny / "tokenizer_config.json").read_text())
    config["chat_template"] = "{% for m in messages %}{{ m.content }};{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}"
    (tiny / "tokenizer_config.json").write_text(json.dumps(config))
    assert hearth("chat", tiny, "a", "--max-tokens", "12", "--temperature", "0").stdout == "\n"
    t = Terminal(tmp_path, "--max-tokens", "12", model=str(tiny))
    t.type("a\n")
    shown = t.wait("tokens/s")
    assert re.search("\x1b\\[2m.+\x1b\\[0m", shown, re.S) and "think>" not in shown
    t.wait("> ")
    assert [m["content"] for m in t.conversation()] == ["a", ""]
    t.type("/quit\n")
    t.end()


def test_a_reader_that_leaves(tmp_path):
    env = environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": MODELS}
    for args in (["complete", MODEL, "Once upon a time"], ["chat", MODEL, "Tell a long story."]):
        p = subprocess.Popen([BIN, *args, "--temperature", "0", "--max-tokens", "6000"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        assert p.stdout.read(1)
        p.stdout.close()
        assert p.stderr.read() == b"" and p.wait(PATIENCE) in (0, 1)


def test_words_of_other_programs(tmp_path):
    assert hearth("help", "serve").stdout == hearth("serve", "--help").stdout
    assert hearth("help", "run").stdout == hearth("chat", "--help").stdout
    assert hearth("-v").stdout == hearth("version").stdout
    assert hearth("list").stdout == hearth("models").stdout
    assert hearth("show", MODEL).stdout == hearth("inspect", MODEL).stdout
    assert hearth("run", MODEL, "Hi.", "--temperature", "0", "--max-tokens", "3").stdout == hearth("chat", MODEL, "Hi.", "--temperature", "0", "--max-tokens", "3").stdout
    assert "no command" in hearth("help", "nonsense", code=2).stderr


def test_rm(tmp_path):
    source = ROOT / "tests/golden/lm/chat"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for f in source.iterdir():
            (tmp_path / name / f.name).write_bytes(f.read_bytes())
    (tmp_path / "three").symlink_to(tmp_path / "two")
    assert "no installed model is called" in hearth("rm", "four", models=tmp_path, code=1).stderr
    hearth("rm", "one", "three", models=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["two"] and (tmp_path / "two/config.json").exists()


def test_ps_and_ports(tmp_path):
    s = Server("--port", "0", models=MODELS)
    out = hearth("ps", "--url", s.url).stdout
    assert "accounts/hearth/models/" + MODEL in out and "GB" in out
    assert json.loads(hearth("ps", "--url", s.url, "--json").stdout)["accounts/hearth/models/" + MODEL]["bytes"] > 50e6
    s.stop()
    p = subprocess.Popen([BIN, "serve", "--listen", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": str(tmp_path)})
    text = ""
    while "URL" not in text:
        line = p.stdout.readline()
        assert line, p.stderr.read()
        text += line
    assert "http://127.0.0.1:" in text
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=PATIENCE)
    assert p.returncode == 0


def test_pictures_are_not_overwritten(tmp_path):
    def draw(*args, code=0):
        return hearth("image", "a red apple", "--model", "starter-image", "--steps", "1", *args, code=code, models=ROOT / "models", cwd=tmp_path)

    assert draw("--seed", "1").stdout == "picture.png  seed 1\n"
    assert draw("--seed", "2").stdout == "picture_2.png  seed 2\n"
    assert draw("--seed", "3", "-n", "2").stdout == "picture-1.png  seed 3\npicture-2.png  seed 4\n"
    assert draw("--seed", "5", "-n", "2").stdout == "picture_2-1.png  seed 5\npicture_2-2.png  seed 6\n"
    first = (tmp_path / "picture.png").read_bytes()
    r = draw("--seed", "7", "-o", "picture.png", code=1)
    assert r.stderr == "hearth image: picture.png is there already; --overwrite replaces it\n" and (tmp_path / "picture.png").read_bytes() == first
    draw("--seed", "7", "-o", "picture.png", "--overwrite")
    assert (tmp_path / "picture.png").read_bytes() != first
    assert draw("--seed", "8", "-o", "/dev/null").returncode == 0


def test_documents_name_commands_that_there_are():
    """`hearth WORD` in code of the documents; what `hearth help` lists is what stands in the page of options."""
    listed = re.findall(r"^  (\w+) +\S", hearth("help").stdout, re.M)
    page = (ROOT / "docs/options.md").read_text()
    assert re.findall(r"^\| `hearth (\w+)", page, re.M) == listed and len(listed) > 10
    named = {}
    for path in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "models").glob("*/README.md")]:
        for word in re.findall(r"(?:`|/|^\$ |\| )hearth ([a-z]+)", path.read_text(), re.M):
            named.setdefault(word, path.name)
    assert {"serve", "chat", "complete", "image", "models", "inspect", "pull"} <= set(named)
    for word in sorted(set(named) - {"help", *listed}):
        assert not word, f"{named[word]} names `hearth {word}`, which there is not"


def test_the_page_of_options_is_what_the_binary_prints():
    assert hearth("help", "--markdown").stdout == (ROOT / "docs/options.md").read_text()


def test_an_unknown_model_is_answered_in_words_of_the_command_line(tmp_path):
    r = hearth("complete", "no-such-model", "text", models=tmp_path, code=1)
    assert "`hearth models` lists" in r.stderr and "/v1" not in r.stderr
