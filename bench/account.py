"""What a store costs small requests: requests a second of one server with a store and of one without, turn about, and the time that the
account takes of each.

    python3 bench/account.py [SECONDS] [ROUNDS]     # needs wrk (Debian: apt-get install wrk), build/release/hearth

Each request is a chat of one token of a model of a few thousand weights: with a store it has a key that is looked up, a limit, a budget that is
reserved and settled, a place in the journal and a row in the ledger, which is on the disk before the answer is sent.
"""
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = os.environ.get("HEARTH_BIN", str(ROOT / "build/release/hearth"))
SECONDS, ROUNDS = (int(x) for x in (sys.argv[1:] + ["5", "3"][len(sys.argv) - 1:])[:2])
CONNECTIONS = (1, 16, 64)
LUA = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
wrk.body = '{"model": "chat", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}'
"""


def environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")} | {"HEARTH_CONFIG": "/dev/null"}


def serve(folder, *more):
    p = subprocess.Popen([BIN, "serve", "--models", str(folder / "models"), "--listen", "127.0.0.1:0", "--log-level", "error", "--queue-limit", "1000", *more],
                         stdout=subprocess.PIPE, text=True, env=environment())
    for line in p.stdout:
        if m := re.match(r"  URL      (http.*)/v1", line):
            return p, m[1]
    raise SystemExit("a server did not start")


def load(url, script, connections, path="/v1/chat/completions"):
    said = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", script, url + path], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    ms = {"us": 1e-3, "ms": 1, "s": 1e3}
    median = re.search(r"50%\s+([0-9.]+)(us|ms|s)", said)
    return float(re.search(r"Requests/sec:\s+([0-9.]+)", said)[1]), float(median[1]) * ms[median[2]]


def processor_seconds(p):
    fields = pathlib.Path(f"/proc/{p.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "models").mkdir()
        (folder / "models/chat").symlink_to(ROOT / "tests/golden/lm/chat")
        store = str(folder / "a.db")
        key = subprocess.run([BIN, "keys", "new", "--store", store, "--name", "bench", "--budget", "total=1000000", "--limit", "requests/minute=100000000"],
                             capture_output=True, text=True, check=True, env=environment()).stdout.strip()
        script = folder / "post.lua"
        script.write_text(LUA % key)
        with_store, url = serve(folder, "--store", store)
        without, other = serve(folder, "--keys", key)
        try:
            for connections in CONNECTIONS:
                rates = {True: [], False: []}
                medians = {True: [], False: []}
                took = {True: [], False: []}
                for _ in range(ROUNDS):
                    for kept, p, at in ((True, with_store, url), (False, without, other)):
                        before = processor_seconds(p)
                        rate, median = load(at, str(script), connections)
                        rates[kept].append(rate)
                        medians[kept].append(median)
                        took[kept].append((processor_seconds(p) - before) / (rate * SECONDS) * 1e6)
                mid = statistics.median
                print(f"{connections:3} connections: {mid(rates[True]):7.0f} requests/s with a store, {mid(rates[False]):7.0f} without, ratio {mid(rates[True]) / mid(rates[False]):.2f}; "
                      f"median {mid(medians[True]):.2f} and {mid(medians[False]):.2f} ms; processor {mid(took[True]):.0f} and {mid(took[False]):.0f} us a request", flush=True)
        finally:
            for p in (with_store, without):
                p.send_signal(signal.SIGTERM)
                p.wait()


main()
