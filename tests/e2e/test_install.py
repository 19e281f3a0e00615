"""The Makefile, as a packager uses it."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

ENV = {k: v for k, v in os.environ.items() if not k.endswith("FLAGS") and k not in ("MODE", "WERROR", "B")}


def make(*args, cwd=ROOT, env=ENV):
    r = subprocess.run(["make", "--no-print-directory", *args], cwd=cwd, env=env, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def test_install_ships_licences_and_uninstall_takes_them_back(tmp_path):
    where = (f"DESTDIR={tmp_path / 'with space'}", "PREFIX=/usr")
    make("-s", "install", *where)
    usr = tmp_path / "with space/usr"
    doc = usr / "share/doc/hearth"
    assert subprocess.run([usr / "bin/hearth", "version"], capture_output=True, text=True).stdout.startswith("hearth ")
    assert {"LICENSE", "LICENSE.nsfw-classifier", "LICENSE.starter-image", "NOTICE", "starter-image.md", "README.md", "options.md"} <= {p.name for p in doc.iterdir()}
    assert f"ExecStart={where[1][7:]}/bin/hearth serve" in (usr / "lib/systemd/system/hearth.service").read_text()
    for name in ("man/man1/hearth.1", "bash-completion/completions/hearth", "zsh/site-functions/_hearth", "fish/vendor_completions.d/hearth.fish"):
        assert (usr / "share" / name).stat().st_size > 1000
    assert "UNICODE LICENSE V3" in (doc / "NOTICE").read_text() and "Infinite Red" in (doc / "LICENSE.nsfw-classifier").read_text()
    make("-s", "uninstall", *where)
    assert not [p for p in usr.rglob("*") if p.is_file()] and not doc.exists()


@pytest.mark.parametrize("as_argument", [True, False])
def test_a_packagers_flags_add_to_ours(tmp_path, as_argument):
    flags = {"CFLAGS": "-O1 -DPACKAGER=1", "CPPFLAGS": "-DPREPROCESSOR=1", "LDFLAGS": "-Wl,-z,now"}
    extra = [f"{k}={v}" for k, v in flags.items()] if as_argument else []
    env = ENV if as_argument else {**ENV, **flags}
    lines = make("-n", f"B={tmp_path}", *extra, f"{tmp_path}/hearth", env=env).splitlines()
    compiled = {m.group(1): line.split() for line in lines if (m := re.search(r"-o \S+/(\w+)\.o ", line))}
    for name in ("main", "quant_avx2") if "quant_avx2" in compiled else ("main",):
        words = compiled[name]
        assert {"-std=c17", "-ffp-contract=off", "-Isrc", "-DPACKAGER=1", "-DPREPROCESSOR=1"} <= set(words)
        assert words.index("-O1") > words.index("-O2") and "-Werror" not in words
    assert "-mavx2" not in compiled["main"]
    if "quant_avx2" in compiled:
        assert words.index("-mavx2") > words.index("-O1")
    link = next(line for line in lines if "/hearth " in line and " -o " in line)
    assert "-Wl,-z,now" in link and "-pthread" in link


def test_such_a_build_has_its_instructions(tmp_path):
    if os.uname().machine != "x86_64" or not shutil.which("objdump"):
        pytest.skip("AVX2 is x86-64's")
    target = tmp_path / "device/cpu/gemm_avx2.o"
    make("-s", f"B={tmp_path}", "CFLAGS=-O1", str(target))
    assert "ymm" in subprocess.run(["objdump", "-d", target], capture_output=True, text=True).stdout


def test_the_version_is_the_commits(tmp_path):
    """One file is compiled for a new one; without a repository it is that of the tarball, or unknown, never that of a repository around it."""
    def lines(folder, *args):
        return [line for line in make("-n", *args, "build/release/libhearth.a", cwd=folder).splitlines() if " -c " in line]

    (tmp_path / "around").mkdir()
    subprocess.run(["git", "init", "-q", tmp_path / "around"], check=True)
    copy = tmp_path / "around/hearth"
    (copy / "tools/setup").mkdir(parents=True)
    for name in ("Makefile", "tools/setup/version"):
        shutil.copy(ROOT / name, copy / name)
    assert make("print-VERSION", cwd=copy) == "unknown\n"
    script = (copy / "tools/setup/version").read_text()
    (copy / "tools/setup/version").write_text(script.replace("$Format:%h$", "1234567"))
    assert make("print-VERSION", cwd=copy) == "1234567\n"
    (copy / "tools/setup/version").write_text(script.replace("$Format:%h$", "1234567").replace("$Format:%(describe:tags)$", "v1.2-3-g1234567"))
    assert make("print-VERSION", cwd=copy) == "v1.2-3-g1234567\n"

    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", copy]
    (copy / "src/base").mkdir(parents=True)
    for name in ("version.c", "version.h", "err.c", "err.h"):
        shutil.copy(ROOT / "src/base" / name, copy / "src/base" / name)
    (copy / ".gitignore").write_text("build\n")
    subprocess.run([*git, "init", "-q"], check=True)

    def commit(message):
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
        return subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()

    first = commit("one")
    make("-s", "build/release/base/version.o", "build/release/base/err.o", cwd=copy)
    assert first.encode() in (copy / "build/release/base/version.o").read_bytes()
    stamp = (copy / "build/release/base/err.o").stat().st_mtime_ns, (copy / "build/release/base/version.o").stat().st_mtime_ns
    make("-s", "build/release/base/version.o", "build/release/base/err.o", cwd=copy)
    assert stamp == ((copy / "build/release/base/err.o").stat().st_mtime_ns, (copy / "build/release/base/version.o").stat().st_mtime_ns)
    second = commit("two")
    make("-s", "build/release/base/version.o", "build/release/base/err.o", cwd=copy)
    assert second.encode() in (copy / "build/release/base/version.o").read_bytes()
    assert stamp[0] == (copy / "build/release/base/err.o").stat().st_mtime_ns


def test_a_bare_machine_sees_no_noise(tmp_path):
    """No compiler, no pkg-config, no git: what is missing is what `make run` is about to install."""
    for tool in ("make", "sh", "find", "sed", "dirname", "mkdir", "cat", "cmp", "nproc"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    r = subprocess.run(["make", "-n", "run"], cwd=ROOT, env={**ENV, "PATH": str(tmp_path)}, capture_output=True, text=True)
    assert r.stderr == "" and "tools/setup/packages.sh build" in r.stdout
