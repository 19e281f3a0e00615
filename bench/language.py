"""Language models: hearth beside llama.cpp (llama-cpp-python, built by pip for this machine), interleaved.

BENCH_TYPES="Q4_0 Q8_0 Q4_K BF16" picks the 1B shapes with random weights (0.7 to 2.5 GB each); "" skips them.
"""
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.request

from common import BUILD, FILES, REPETITIONS, ROOT, THREADS, lines, number, ratio, raw, table

MODELS = pathlib.Path(os.environ.get("HEARTH_MODELS") or pathlib.Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "hearth/models")
STARTER = MODELS / "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
TYPES = os.environ.get("BENCH_TYPES", "Q4_0 Q8_0 Q4_K BF16").split()
PEER = ROOT / "bench/peer_llama.py"


def files():
    yield "135M Q4_1 (starter)", STARTER
    FILES.mkdir(parents=True, exist_ok=True)
    for kind in TYPES:
        path = FILES / f"llama-1b-{kind}.gguf"
        if not path.exists():
            subprocess.run([sys.executable, ROOT / "tools/bench/random_llama.py", path, kind], check=True)
        yield f"1B {kind} (random weights)", path


def best(rows, test, n=None, key="tokens_per_s"):
    return max((r[key] for r in rows if r["test"] == test and (n is None or r["n"] == n)), default=None)


def engines(notes, peer_program=PEER, env=None):
    """Both engines in their own process, turn about; env: for hearth."""
    out, seen = [], []
    for name, path in files():
        ours, peer, plain = [], [], []
        for _ in range(REPETITIONS):
            rows, why = lines([BUILD / "bench/lm", path, THREADS, 1], env=env)
            ours += rows
            if why:
                notes.append(f"hearth, {name}: {why}")
            rows, why = lines([sys.executable, peer_program, path, THREADS] + plain)
            if why and not plain and peer_program == PEER:
                notes.append(f"llama.cpp, {name}: {why}; measured without its rearranged buffers")
                plain = ["plain"]
                rows, why = lines([sys.executable, peer_program, path, THREADS] + plain)
            if why:
                notes.append(f"llama.cpp, {name}: {why}")
            peer += rows
        row = [name]
        for test, n, digits in (("prompt", None, 0), ("generate", None, 1), ("streams", 8, 0), ("streams", 16, 0)):
            a, b = best(ours, test, n), best(peer, test, n)
            row += [f"{number(a, digits)} / {number(b, digits)}", f"**{ratio(a, b)}**"]
        row.append(number(best(ours, "generate", key="bandwidth_share"), 2))
        out.append(row)
        seen += [{"file": name, "hearth": r} for r in ours] + [{"file": name, "llama.cpp": r} for r in peer]
    return out, seen


class Server:
    """A server of either kind on a free port; url is set when it answers."""

    def __init__(self, command, ready):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.url = "http://127.0.0.1:%d" % s.getsockname()[1]
        begin = time.perf_counter()
        self.process = subprocess.Popen([str(c).replace("PORT", self.url.rsplit(":", 1)[1]) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                urllib.request.urlopen(self.url + ready, timeout=5).read()
                break
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - begin > 120:
                    raise RuntimeError(f"{command[0]} does not serve") from None
                time.sleep(0.005)
        self.seconds = time.perf_counter() - begin

    def memory(self):
        """Resident bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


SERVERS = {
    "hearth serve": ([BUILD / "hearth", "serve", STARTER, "--listen", "127.0.0.1:PORT", "--threads", THREADS], "/ready", "smollm2-135m-instruct"),
    "llama_cpp.server": ([sys.executable, "-m", "llama_cpp.server", "--model", STARTER, "--n_ctx", "4096", "--n_threads", THREADS,
                          "--n_threads_batch", THREADS, "--port", "PORT", "--interrupt_requests", "false", "--verbose", "false"], "/v1/models", "any"),
}


def serving(notes):
    """Both servers, one after the other, each repetition."""
    got = {name: [] for name in SERVERS}
    for _ in range(REPETITIONS):
        for name, (command, ready, model) in SERVERS.items():
            try:
                server = Server(command, ready)
            except (OSError, RuntimeError) as error:
                notes.append(f"{name}: {error}")
                continue
            rows = [{"test": "ready", "n": 0, "seconds": round(server.seconds, 3)}]
            for n in (1, 8, 16):
                more, why = lines([sys.executable, ROOT / "bench/clients.py", server.url, model, n])
                rows += more
                if why:
                    notes.append(f"{name}, {n} clients: {why}")
            rows.append({"test": "memory", "n": 0, "resident_mb": round(server.memory() / 2**20, 1)})
            server.stop()
            got[name] += rows
    return got


HEAD = ["model", "prompt", "", "generate", "", "8 streams", "", "16 streams", "", "of bandwidth"]


def section_avx2():
    """As a machine that has no more than AVX2, beside a build of llama.cpp that has no more either."""
    notes = []
    rows, seen = engines(notes, ROOT / "bench/peer_avx2.py", {"HEARTH_ISA": "avx2"})
    out = ["## Language models with AVX2", "",
           f"The same as above with HEARTH_ISA=avx2, beside llama.cpp as the PyPI wheel xllamacpp has it (AVX2, FMA, F16C and nothing beyond): tokens per second, hearth / llama.cpp, "
           f"and the ratio. Both in process, {THREADS} threads, turn about.", ""]
    out += table(HEAD, rows)
    return out + [f"- {n}" for n in notes] + ([""] if notes else []) + ["<details><summary>Every figure</summary>", ""] + raw(seen) + ["</details>", ""]


def section():
    notes = []
    rows, seen = engines(notes)
    out = ["## Language models", "",
           f"Tokens per second, hearth / llama.cpp, and the ratio: a prompt of 512, a generation of 128, and 8 and 16 streams of 128 tokens after prompts of 100, in total. "
           f"Both in process, {THREADS} threads, turn about. The last column: the bytes that hearth's generation reads each second, as a share of the read bandwidth measured just before.", ""]
    out += table(HEAD, rows)
    got = serving(notes)
    ours, peer = got.values()
    least = lambda r, test, key: min((x[key] for x in r if x["test"] == test), default=None)
    served = [[f"{n} streaming client" + "s" * (n > 1), number(best(ours, "clients", n)), number(best(peer, "clients", n)), ratio(best(ours, "clients", n), best(peer, "clients", n))] for n in (1, 8, 16)]
    for label, test, key, digits in (("start to ready, s", "ready", "seconds", 3), ("resident after that work, MB", "memory", "resident_mb", 0)):
        a, b = least(ours, test, key), least(peer, test, key)
        served.append([label, number(a, digits), number(b, digits), ratio(a, b)])
    out += ["Over HTTP, the starter model, clients of 128 tokens after some 100 of prompt, tokens per second in total (`bench/clients.py`; llama_cpp.server takes "
            "one request at a time):", ""] + table(["", *SERVERS, "ratio"], served)
    loaded = next((x["hearth"] for x in seen if "hearth" in x and x["hearth"]["test"] == "load"), None)
    if loaded:
        out += [f"The starter's weights are {loaded['weights_mb']:.0f} MB; loaded in process with a context of 1024 they leave {loaded['resident_mb']:.0f} MB resident.", ""]
    texts = sorted(ROOT.glob("*.md")) + sorted((ROOT / "src").glob("*/*.c")) + sorted((ROOT / "models").glob("*/README.md")) + [ROOT / "tests/golden/tokenizer/cases.txt"]
    tokens, why = lines([BUILD / "bench/tokenizer", STARTER, *texts])
    if why:
        notes.append(f"tokenizer: {why}")
    for r in tokens:
        out += [f"Tokenizer: {r['mb_per_s']:.0f} MB/s on one core ({r['bytes'] / 1e6:.1f} MB of prose, code and many scripts, the starter's vocabulary).", ""]
    return out + [f"- {n}" for n in notes] + ([""] if notes else []) + ["<details><summary>Every figure</summary>", ""] + raw(seen + [{name: r} for name, rows in got.items() for r in rows]) + ["</details>", ""]
