"""The command line's habits: what a shell completes, the manual page, `hearth` alone, servers that go on by themselves."""
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import BIN, PATIENCE, ROOT, Server, environment

TINY = ROOT / "tests/golden/lm/chat"


@pytest.fixture
def home(tmp_path):
    """Settings and folders of one's own, with a tiny model and another name for it."""
    shutil.copytree(TINY, tmp_path / "models/tiny")
    (tmp_path / "models/aliases").write_text("gpt-4o accounts/local/models/tiny\n")
    return environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": str(tmp_path / "models"), "XDG_STATE_HOME": str(tmp_path / "state"),
                            "XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}


def run(*command, env, code=0, **more):
    r = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, **more)
    assert r.returncode == code, (r.stdout, r.stderr)
    return r


def runs(pid):
    """A process that is over may wait for somebody to ask for its status; it runs no more."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def need(tool):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not here; tools/setup/packages.sh test installs it")


def test_bash_completes(home, tmp_path):
    run(BIN, "completion", "bash", env=home)
    script = """source <("$HEARTH" completion bash) || exit
    complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hearth; printf '%s\\n' "${COMPREPLY[@]}"; echo --; }
    complete_words hearth se
    complete_words hearth serve --det
    complete_words hearth serve --log-level w
    complete_words "$HEARTH" chat ''
    complete_words "$HEARTH" run gp
    complete_words hearth keys r
    complete_words hearth serve --models mod
    complete_words hearth completion z
    complete_words hearth help st"""
    out = run("bash", "--norc", "-c", script, env=home | {"HEARTH": BIN}, cwd=tmp_path)
    assert out.stderr == ""
    found = [block.split() for block in out.stdout.split("--\n")[:-1]]
    assert found == [["serve", "secrets"], ["--detach"], ["warn"], ["tiny", "gpt-4o"], ["gpt-4o"], ["rotate", "revoke"], ["models"], ["zsh"], ["stop", "store"]]


def test_fish_completes(home):
    need("fish")
    env = home | {"PATH": f"{os.path.dirname(BIN)}:{home['PATH']}"}

    def offered(line):
        out = run("fish", "--no-config", "-c", f"{BIN} completion fish | source; complete -C '{line}'", env=env)
        return [row.split("\t")[0] for row in out.stdout.splitlines()]
    assert offered("hearth se") == ["secrets", "serve"]
    assert offered("hearth serve --detac") == ["--detach"]
    assert offered("hearth serve --log-level w") == ["warn"]
    assert {"tiny", "gpt-4o"} <= set(offered("hearth chat "))
    assert {"rotate", "revoke"} <= set(offered("hearth keys r"))


def test_zsh_takes_it(home):
    """What can be had without a terminal: it loads, defines the function, and each _arguments has what it can read."""
    need("zsh")
    script = f"""autoload -U compinit; compinit -D -u; source <({BIN} completion zsh) || exit 1
    _describe() {{ print -rl -- ${{(P)2}} }}
    _arguments() {{ print -rl -- "$@" }}
    words=(hearth ''); CURRENT=2; _hearth; echo --; words=(hearth serve ''); CURRENT=3; _hearth; print $_comps[hearth]"""
    out = run("zsh", "-f", "-c", script, env=home)
    commands, serve = out.stdout.split("--\n", 1)
    assert "serve:serve models over HTTP" in commands.splitlines() and out.stderr == ""
    rows = serve.splitlines()
    assert rows[-1] == "_hearth" and "*:argument:_hearth_models" in rows
    assert "--log-level[what is logged to standard error]:log-level:(error warn info debug)" in rows
    for row in rows[:-2]:  # brackets and colons of the texts are escaped
        assert re.fullmatch(r"\*?--[a-z0-9-]+\[(?:[^\[\]\\]|\\.)*\](?::(?:[^:\\]|\\.)*:(?:[^:]*))?", row), row


def test_manual_page(home, tmp_path):
    page = tmp_path / "hearth.1"
    page.write_text(run(BIN, "help", "--man", env=home).stdout)
    text = page.read_text()
    for word in re.findall(r"^  ([a-z]+) +\S", run(BIN, "help", env=home).stdout, re.M):
        assert f"\n.B hearth {word}" in text
    need("mandoc")
    lint = subprocess.run(["mandoc", "-Tlint", "-W", "warning", page], capture_output=True, text=True)
    complaints = [line for line in lint.stdout.splitlines() if "missing date" not in line]  # a build has none that stays the same
    assert not complaints
    shown = run("mandoc", "-Tutf8", page, env=home).stdout
    assert "NO_COLOR" in re.sub(r".\x08", "", shown)


def test_alone_it_says_what_to_do_next(home, tmp_path):
    out = run(BIN, env=home)
    assert "hearth chat tiny" in out.stdout and "hearth serve --detach" in out.stdout and "1 model is in" in out.stdout and out.stderr == ""
    empty = run(BIN, env=home | {"HEARTH_MODELS": str(tmp_path / "none")})
    assert "hearth pull smollm2-135m-instruct" in empty.stdout and "hearth chat" not in empty.stdout


def test_a_detached_server(home, tmp_path):
    """It is ready when the command ends, has let go of its pipes, is found by stop, and a second one is refused."""
    assert "no detached server runs" in run(BIN, "stop", env=home, code=1).stderr
    out = run(BIN, "serve", "--detach", "--listen", "127.0.0.1:0", env=home)
    url = re.search(r"URL +(\S+)/v1", out.stdout)[1]
    pid = int((tmp_path / "state/hearth/serve.pid").read_text())
    try:
        assert os.getsid(pid) == pid != os.getsid(0)
        assert run("curl", "-sS", f"{url}/ready", env=home).stdout
        assert f"process {pid}" in run(BIN, "serve", "--detach", "--listen", "127.0.0.1:0", env=home, code=1).stderr
        assert "hearth stop" in run(BIN, env=home).stdout
        run(BIN, "stop", env=home)
        assert not runs(pid)
    finally:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)
    assert "stopped" in (tmp_path / "state/hearth/serve.log").read_text()
    assert "no detached server runs" in run(BIN, "stop", env=home, code=1).stderr  # the number of the dead one means nobody
    assert "loopback" in run(BIN, "serve", "--detach", "--listen", "0.0.0.0:0", env=home, code=1).stderr


def test_stop_unloads_a_model(home):
    s = Server("tiny", models=home["HEARTH_MODELS"])
    assert "tiny" in s.get("/api/ps").text
    run(BIN, "stop", "gpt-4o", "--url", s.url, env=home)
    s.wait_until(lambda: "tiny" not in s.get("/api/ps").text, "the model stays in memory")
    assert "404" in run(BIN, "stop", "nothing", "--url", s.url, env=home, code=1).stderr
    assert "goes with a model" in run(BIN, "stop", "--url", s.url, env=home, code=2).stderr
    s.stop()


def test_docs_are_found_beside_the_program(home, tmp_path):
    """In a checkout and where it was installed; a page's path is printed where nobody looks on."""
    assert Path(run(BIN, "docs", env=home).stdout.strip()) == ROOT / "docs/getting-started.md" or os.path.dirname(BIN) != str(ROOT / "build/release")
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/share/doc/hearth").mkdir(parents=True)
    shutil.copy(BIN, tmp_path / "usr/bin/hearth")
    (tmp_path / "usr/share/doc/hearth/routing.md").write_text("# Routing")
    for name in ("routing", "routing.md"):
        assert run(tmp_path / "usr/bin/hearth", "docs", name, env=home).stdout == f"{tmp_path}/usr/share/doc/hearth/routing.md\n"
    assert "there is no page" in run(tmp_path / "usr/bin/hearth", "docs", "nothing", env=home, code=1).stderr
    assert "is no name of a page" in run(BIN, "docs", "../README", env=home, code=1).stderr


def test_pages_for_those_who_come_from_elsewhere_are_true(home):
    """Every option and variable that they name is one, and every page that they lead to is there."""
    table = (ROOT / "docs/options.md").read_text()
    options, variables = set(re.findall(r"`--([a-z0-9-]+)", table)), set(re.findall(r"`(HEARTH_\w+)`", table))
    pages = [*(ROOT / "docs").glob("from-*.md"), ROOT / "docs/getting-started.md", ROOT / "docs/security.md", ROOT / "docs/installing.md", ROOT / "docs/deploying.md"]
    assert len(pages) == 10
    for page in pages:
        for row in page.read_text().split("\n"):
            ours = row.split("|", 2)[2] if row.startswith("|") else row  # the first column is of the other program
            for option in re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", ours):
                assert option.removeprefix("no-") in options or "docker" in row or "helm" in row or "openssl" in row or "kubectl" in row or "systemctl" in row, (page.name, option)
            assert set(re.findall(r"\bHEARTH_[A-Z_]+\b", ours)) - {"HEARTH_NAME", "HEARTH_MAINTAINER"} <= variables, page.name
            for link in re.findall(r"\]\(([\w.-]+\.md)\)", row):
                assert (page.parent / link).exists(), (page.name, link)
