"""libhearth: its examples in C and Python, and that it says what the program says."""
import ctypes
import os
import subprocess
import sys
import threading

import pytest
from PIL import Image

from conftest import BIN, MODELS, PATIENCE, ROOT, environment
from test_install import make

sys.path.insert(0, str(ROOT / "lib/examples"))
from hello import Error, Hearth  # noqa: E402

TINY = str(ROOT / "tests/golden/lm/chat")
CHAT = f"{MODELS}/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def library():
    make("-s", "library")
    return str(ROOT / "build/release/libhearth.so.1")


@pytest.fixture(scope="module")
def chat(library):
    h = Hearth(library, CHAT)
    yield h
    h.close()


def hearth(*args):
    r = subprocess.run([BIN, *args], capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
                       env=environment() | {"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": MODELS})
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_the_examples_agree(library, tmp_path):
    program, picture = tmp_path / "hello", tmp_path / "apple.ppm"
    subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT}/include", "-o", program, ROOT / "lib/examples/hello.c",
                    f"-L{ROOT}/build/release", "-lhearth"], check=True)
    env = environment() | {"LD_LIBRARY_PATH": str(ROOT / "build/release")}
    prompt = "a red apple on a blue background"
    c = subprocess.run([program, TINY, prompt, ROOT / "models/starter-image", picture], env=env, capture_output=True, timeout=PATIENCE)
    assert c.returncode == 0, c.stderr
    python = subprocess.run([sys.executable, ROOT / "lib/examples/hello.py", library, TINY, prompt], env=env, capture_output=True, timeout=PATIENCE)
    assert python.returncode == 0 and python.stdout == c.stdout, python.stderr
    hearth("image", prompt, "--model", str(ROOT / "models/starter-image"), "--size", "128x128", "--steps", "2", "--seed", "1", "-o", str(tmp_path / "apple.png"))
    assert Image.open(picture).tobytes() == Image.open(tmp_path / "apple.png").convert("RGB").tobytes()
    wrong = subprocess.run([program, "/nowhere", "x"], env=env, capture_output=True, text=True)
    assert wrong.returncode == 1 and "/nowhere" in wrong.stderr


def test_it_says_what_the_program_says(chat):
    text, used = chat.generate("The capital of France is", max_tokens=8)
    assert text == hearth("complete", "smollm2-135m-instruct", "The capital of France is", "--temperature", "0", "--max-tokens", "8").rstrip("\n")
    assert used.generated_tokens == 8 and used.finish == 1
    text, used = chat.generate(messages=[("user", "What is the capital of France?")], max_tokens=60)
    assert text == hearth("chat", "smollm2-135m-instruct", "What is the capital of France?", "--temperature", "0", "--max-tokens", "60").rstrip("\n")
    assert used.finish == 0


def test_tokens_and_back(chat):
    ids, n, text, length = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t(), ctypes.c_char_p(), ctypes.c_size_t()
    said = "Hello <|im_end|> wörld \U0001f34e".encode()
    chat.check(chat.lib.hearth_tokenize(chat.text, said, ctypes.c_size_t(len(said)), ctypes.byref(ids), ctypes.byref(n), ctypes.byref(chat.error)))
    chat.check(chat.lib.hearth_detokenize(chat.text, ids, n, ctypes.byref(text), ctypes.byref(length), ctypes.byref(chat.error)))
    assert text.value == said and length.value == len(said) and n.value > 5
    wrong = (ctypes.c_int32 * 1)(-1)
    with pytest.raises(RuntimeError, match="-1 is no token"):
        chat.check(chat.lib.hearth_detokenize(chat.text, wrong, ctypes.c_size_t(1), ctypes.byref(text), ctypes.byref(length), ctypes.byref(chat.error)))


def test_cancelled_from_the_callback_and_from_elsewhere(chat):
    seen = []
    text, used = chat.generate("Once upon a time", max_tokens=5000, temperature=1.0, seed=3, each=lambda p: seen.append(p) or len(seen) < 4)
    assert used.finish == 2 and used.generated_tokens < 5000 and len(seen) == 4
    chat.lib.hearth_stop_new.restype = ctypes.c_void_p
    stop = ctypes.c_void_p(chat.lib.hearth_stop_new())
    begun = threading.Event()

    def end():
        begun.wait(PATIENCE)
        chat.lib.hearth_stop_now(stop)
    t = threading.Thread(target=end)
    t.start()
    text, used = chat.generate("Once upon a time", max_tokens=7000, temperature=1.0, seed=5, stop=stop, each=lambda p: begun.set() or True)
    t.join()
    assert used.finish == 2 and used.generated_tokens < 7000
    text, used = chat.generate("Once", max_tokens=7000, temperature=1.0, seed=5, stop=stop)  # stopped before it begins
    assert used.finish == 2
    chat.lib.hearth_stop_free(stop)


def test_what_is_wrong_is_said(library, chat):
    for fields, says in [({}, "give a prompt or messages"), ({"prompt": "a", "messages": [("user", "b")]}, "not both"), ({"prompt": "a", "temperature": -1.0}, "temperature"),
                         ({"prompt": "word " * 9000}, "context")]:
        with pytest.raises(RuntimeError, match=says):
            chat.generate(**fields)
    with pytest.raises(RuntimeError, match="does not say its size"):
        chat.check(chat.lib.hearth_generate(chat.text, ctypes.byref(ctypes.c_size_t(0)), None, None, None, ctypes.byref(chat.error)))
    with pytest.raises(RuntimeError, match="threads must be"):
        chat.check(chat.lib.hearth_engine_open(ctypes.byref(ctypes.c_void_p()), -1, ctypes.byref(chat.error)))
    assert ctypes.sizeof(Error) == 404


def test_it_exports_nothing_else(library):
    out = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1] for line in out.splitlines()]
    assert len(names) == 17 and all(n == "HEARTH_1" or (n.startswith("hearth_") and n.endswith("@@HEARTH_1")) for n in names)
    header = (ROOT / "include/hearth.h").read_text()
    assert all(f"{n.split('@')[0]}(" in header for n in names if n != "HEARTH_1")
    assert "libhearth.so.1" in subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
