"""One call of the system's that fails, at the first places where it can: tests/faults says what must hold; `make faults` looks at all of them."""
import subprocess
import sys

import pytest

from conftest import BIN, PATIENCE, ROOT

LIBRARY = "build/faults/fail_nth.so"


@pytest.fixture(scope="module")
def library():
    subprocess.run(["make", "-s", LIBRARY], cwd=ROOT, check=True)
    return str(ROOT / LIBRARY)


@pytest.mark.parametrize("call", ["pthread_create", "mmap", "open", "read", "pread", "write", "malloc", "calloc", "realloc"])
def test_one_call_fails(library, call):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/faults/run.py"), library, BIN, "--call", call, "--all", "8", "--sampled", "12"],
        capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command, call", [("inspect-lm", "malloc"), ("complete", "realloc"), ("serve", "realloc")])
def test_each_call_fails(library, command, call):
    """Where what is lost was part of an answer: bytes of a configuration, text of a reply, the body of a request."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/faults/run.py"), library, BIN, "--only", command, "--call", call, "--all", "220", "--sampled", "1"],
        capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
