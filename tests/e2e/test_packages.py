"""What `make deb`, `make tarball` and `make image` write, unpacked and run where nothing of this machine is at hand."""
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from conftest import PATIENCE, ROOT
from test_install import make

TINY = ROOT / "tests/golden/lm/chat"


def changed(root, uid):
    tool = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    return [tool, f"--userspec={uid}:{uid}", root] if os.getuid() == 0 else [shutil.which("unshare"), "-r", tool, root]


def inside(root, *command, env=(), code=0, uid=0):
    """Runs a command with `root` for the file system; without being root, as one in a name space of users."""
    if subprocess.run([*changed(root, uid), "/none"], capture_output=True, text=True).returncode == 125:
        pytest.skip("this machine lets nobody change the root folder")
    command = [*changed(root, uid), *command]
    r = subprocess.run(command, env=dict(env), capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert r.returncode == code, (r.stdout, r.stderr)
    return r.stdout


@pytest.mark.skipif(not shutil.which("dpkg-shlibdeps"), reason="dpkg's tools are not here")
def test_debian_package(tmp_path):
    package = ROOT / make("-s", "deb").split()[-1]
    fields = subprocess.run(["dpkg-deb", "-f", package], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^Version: (0~git\d{8}\.|\d)", fields, re.M) and re.search(r"^Depends: .*libc6 .*libcurl4", fields, re.M)
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    for name in ("usr/bin/hearth", "usr/share/man/man1/hearth.1.gz", "lib/systemd/system/hearth.service", "usr/share/bash-completion/completions/hearth",
                 "usr/share/zsh/vendor-completions/_hearth", "usr/share/fish/vendor_completions.d/hearth.fish", "usr/share/doc/hearth/copyright",
                 "usr/share/doc/hearth/NOTICE", "usr/share/doc/hearth/options.md"):
        assert (tmp_path / name).stat().st_size > 0, name
    assert "ExecStart=/usr/bin/hearth serve" in (tmp_path / "lib/systemd/system/hearth.service").read_text()
    assert subprocess.run([tmp_path / "usr/bin/hearth", "version"], capture_output=True, text=True).stdout.startswith("hearth ")
    if shutil.which("lintian"):
        r = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", package], capture_output=True, text=True)
        assert r.returncode == 0, r.stdout + r.stderr


def test_tarball_runs_without_this_machines_libraries(tmp_path):
    """In a folder that has a shell of its own and no library: as on a system with another C library, or an older one."""
    shell = shutil.which("busybox")
    if not shell or "statically" not in subprocess.run(["file", "-L", shell], capture_output=True, text=True).stdout:
        pytest.skip("there is no static busybox; tools/setup/packages.sh test installs it")
    ball = ROOT / make("-s", "tarball").split()[-1]
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(shell, root / "bin/busybox")
    for tool in ("sh", "dirname", "readlink"):
        (root / "bin" / tool).symlink_to("busybox")
    with tarfile.open(ball) as t:
        t.extractall(root / "opt")
    (program,) = (root / "opt").iterdir()
    (root / "bin/hearth").symlink_to(f"/opt/{program.name}/bin/hearth")
    shutil.copytree(TINY, root / "models/tiny")
    env = {"PATH": "/bin", "HEARTH_MODELS": "/models"}
    assert inside(root, "/bin/hearth", "version", env=env).startswith("hearth ")
    assert inside(root, "/bin/hearth", "complete", "tiny", "a", "--max-tokens", "3", "--seed", "1", env=env)
    assert (program / "share/man/man1/hearth.1").exists() and (program / "share/doc/hearth/libraries/libc6").exists()


def test_container_image(tmp_path):
    """Both forms in one file name the same bytes; what is in it runs as its user, who can write nowhere but where one says."""
    make("-s", "image")
    with tarfile.open(ROOT / "build/hearth-image.tar") as t:
        files = {m.name: t.extractfile(m).read() for m in t.getmembers()}
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == name.rsplit("/", 1)[1]

    def blob(row):
        data = files["blobs/" + row["digest"].replace(":", "/")]
        assert len(data) == row["size"]
        return data
    manifest = json.loads(blob(json.loads(files["index.json"])["manifests"][0]))
    docker = json.loads(files["manifest.json"])[0]
    assert docker["Layers"] == ["blobs/sha256/" + manifest["layers"][0]["digest"].split(":")[1]] and len(blob(manifest["layers"][0])) < 60e6
    config = json.loads(blob(manifest["config"]))["config"]
    assert config["User"] == "10001:10001" and config["Healthcheck"]["Test"] == ["CMD", "hearth", "health"]
    if shutil.which("skopeo"):
        for kind in ("oci-archive", "docker-archive"):
            seen = subprocess.run(["skopeo", "inspect", "--config", f"{kind}:{ROOT}/build/hearth-image.tar"], capture_output=True, text=True)
            assert seen.returncode == 0, seen.stderr
            assert json.loads(seen.stdout)["config"]["Entrypoint"] == ["hearth"]

    root = tmp_path / "root"
    with tarfile.open(fileobj=io.BytesIO(blob(manifest["layers"][0])), mode="r:gz") as t:
        assert all(m.uid == (10001 if m.name.startswith("var/lib/hearth") else 0) for m in t.getmembers())
        t.extractall(root)
    shutil.copytree(TINY, root / "var/lib/hearth/models/tiny")
    env = dict(row.split("=", 1) for row in config["Env"])
    uid = 10001 if os.getuid() == 0 else 0
    assert [*config["Entrypoint"], *config["Cmd"]] == ["hearth", "serve"]
    assert inside(root, "/usr/bin/hearth", "version", env=env, uid=uid).startswith("hearth ")
    # To be open to others without a key is refused; on loopback it serves, and its own probe finds it.
    inside(root, "/usr/bin/hearth", "serve", env=env, uid=uid, code=1)
    p = subprocess.Popen([*changed(root, uid), "/usr/bin/hearth", "serve"], env=env | {"HEARTH_LISTEN": "127.0.0.1:0"}, stdout=subprocess.PIPE, text=True)
    try:
        url = next(m[1] for line in p.stdout if (m := re.search(r"URL +(\S+)/v1", line)))
        assert '"ready":true' in inside(root, "/usr/bin/hearth", "health", env=env | {"HEARTH_URL": url}, uid=uid)
        assert inside(root, "/usr/bin/hearth", "chat", "tiny", "hi", "--max-tokens", "2", "--seed", "1", env=env | {"HEARTH_URL": url}, uid=uid)
    finally:
        p.terminate()
        assert p.wait(PATIENCE) == 0
    inside(root, "/usr/bin/hearth", "health", env=env | {"HEARTH_URL": url}, uid=uid, code=1)


def test_service_unit(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / "hearth.service"
    text = Path(ROOT / "deploy/systemd/hearth.service").read_text().replace("@BINDIR@/hearth", "/bin/true")
    unit.write_text(text)
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert r.returncode == 0 and "hearth" not in r.stderr, r.stderr
