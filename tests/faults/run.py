"""Makes the n-th call of one function of the system's fail, for n = 1, 2, 3, ..., under short commands and a server (fail_nth.c).

What must hold: no signal, no hang, an exit status of 0 with the answer of an unfailed run, or of 1 or 2 with an error on standard error;
a server answers with an error envelope and then the next request as if nothing had happened. No failure is blamed on the input.

    tests/faults/run.py LIBRARY HEARTH [--only COMMAND] [--call FUNCTION] [--all N] [--sampled N] [--count N] [--seconds S]

Exit status 1 when something did not hold; what it was is printed with the line that makes it happen again.
"""
import argparse
import difflib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHAT = ROOT / "tests/golden/lm/chat"
SDXL = ROOT / "tests/golden/pipelines/sdxl"
CALLS = ("pthread_create", "mmap", "open", "fopen", "read", "pread", "write", "realloc", "calloc", "malloc")
HANG = 60  # seconds; what a command here does takes well under one
END = 1 << 20  # no command makes so many calls: the search for its last ends there
BLAMED = re.compile(r"not valid JSON|malformed|corrupt|truncated", re.I)
SAID = re.compile(rb"(cannot be used|\"problem\"): .*(memory|open files|Input/output)")  # by `hearth models`, of one model among others

TEXTS = (
    ("/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "a b"}], "max_tokens": 3, "temperature": 0}, lambda a: a["choices"]),
    ("/tokenize", {"model": "chat", "prompt": "a b c"}, lambda a: a["tokens"]),
)
PICTURES = (
    ("/v1/images/generations", {"model": "sdxl", "prompt": "a", "size": "64x64", "steps": 1, "seed": 1, "n": 2, "response_format": "b64_json"},
     lambda a: a["data"]),
    ("/v1/images/generations", {"model": "sdxl", "prompt": "a", "size": "64x64", "steps": 1, "seed": 1, "output_format": "jpeg"},
     lambda a: [d["seed"] for d in a["data"]]),
)


class Bad(Exception):
    pass


def environment(library, call, n, report, home, count=1):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HEARTH_", "XDG_"))}
    env |= {"HEARTH_CONFIG": "/dev/null", "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "NO_COLOR": "1"}
    if call:
        env |= {"LD_PRELOAD": str(library), "FAIL_CALL": call, "FAIL_NTH": str(n), "FAIL_COUNT": str(count), "FAIL_REPORT": str(report)}
    return env


def check_end(code, errors):
    """Of a command or a server that ended by itself."""
    if code not in (0, 1, 2):
        raise Bad(f"exit status {code}: {errors[-600:]}")
    if code and not errors.strip():
        raise Bad(f"exit status {code} without a word")
    if code and BLAMED.search(errors):
        raise Bad(f"the input is blamed: {errors[-600:]}")


def difference(right, answer):
    """The first lines in which they differ."""
    texts = [(str(a) if isinstance(a, list) else a[0].decode(errors="replace") + str([len(f) for f in a[1]])).splitlines() for a in (right, answer)]
    return "\n".join(list(difflib.unified_diff(*texts, lineterm="", n=0))[3:9])


def command(*args, fruit=None):
    """A run of one command: what it printed, and the bytes of the file or folder that it makes."""

    def run(hearth, env, home):
        where = home / "out"
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir()
        words = [str(hearth), *(str(a).replace("OUT", str(where)).replace("HOME", str(home)) for a in args)]
        try:
            p = subprocess.run(words, env=env, capture_output=True, timeout=HANG, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Bad(f"no end within {HANG} s") from None
        if SAID.search(p.stdout):
            return None
        check_end(p.returncode, p.stderr.decode(errors="replace"))
        if p.returncode:
            return None
        made = [f.read_bytes() for f in sorted(where.rglob(fruit)) if f.is_file()] if fruit else []
        return p.stdout, made

    return run


def ask(url, path, body):
    """(status, answer); a failed connection is status 0."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=HANG) as r:
            return r.status, json.load(r)
    except urllib.error.HTTPError as e:
        try:
            return e.code, json.load(e)
        except ValueError:
            return e.code, None
    except TimeoutError:
        raise Bad(f"{path}: no answer within {HANG} s") from None
    except (OSError, ValueError):
        return 0, None


def serve(model, requests):
    """A server of one model that answers these, and ends."""

    def run(hearth, env, home):
        p = subprocess.Popen(
            [hearth, "serve", "--listen", "127.0.0.1:0", "--models", home / "none", "--files", home / "files", "--threads", "2", model],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        banner, log = [], []
        readers = [threading.Thread(target=lambda s=s, to=to: to.extend(s), daemon=True) for s, to in ((p.stderr, log),)]
        for r in readers:
            r.start()
        watchdog = threading.Timer(HANG, p.kill)
        watchdog.start()
        try:
            url = None
            for line in p.stdout:
                banner.append(line)
                if found := re.search(r"URL +(http://\S+)/v1", line):
                    url = found[1]
                    break
            if url is None:
                code = p.wait()
                readers[0].join()
                check_end(code, "".join(log))
                if code == 0:
                    raise Bad("ended with status 0 before it served")
                return None
            answers, lost = [], 0
            for path, body, part in requests:
                for attempt in range(3):
                    status, answer = ask(url, path, body)
                    if status == 200:
                        break
                    if p.poll() is not None:
                        break
                    lost += 1
                    if status and not (isinstance(answer, dict) and "error" in answer):
                        raise Bad(f"{path}: {status} without an error: {answer}")
                    if status and (status < 429 or BLAMED.search(json.dumps(answer))):
                        raise Bad(f"{path}: the client is blamed: {status} {answer}")
                if status != 200:
                    raise Bad(f"{path}: {status} {answer} three times; {''.join(log)[-600:]}")
                answers.append(part(answer))
            p.terminate()
            code = p.wait()
            readers[0].join()
            if code:
                raise Bad(f"stopped with status {code}: {''.join(log)[-600:]}")
            return answers
        finally:
            hung = not watchdog.is_alive() and p.returncode == -9
            watchdog.cancel()
            if p.poll() is None:
                p.kill()
                p.wait()
            if hung:
                raise Bad(f"no end within {HANG} s: {''.join(log)[-300:]}")

    return run


COMMANDS = {
    "version": command("version"),
    "models": command("models", "--models", "HOME/some"),
    "models-json": command("models", "--json", "--models", "HOME/some"),
    "inspect-lm": command("inspect", CHAT),
    "inspect-json": command("inspect", "--json", CHAT),
    "inspect-image": command("inspect", SDXL),
    "pull": command("pull", "--models", "OUT", CHAT, fruit="*"),
    "complete": command("complete", "--max-tokens", "3", "--temperature", "0", "--threads", "2", CHAT, "a b"),
    "image": command("image", "--model", SDXL, "--steps", "1", "--size", "64x64", "--seed", "1", "--threads", "2", "-o", "OUT/p.png", "a", fruit="p.png"),
    "serve": serve(CHAT, TEXTS),
    "draw": serve(SDXL, PICTURES),
}


class Faults:
    def __init__(self, args, home):
        self.args, self.home, self.report, self.runs, self.found = args, home, home / "report", 0, 0
        self.deadline = time.monotonic() + args.seconds

    def once(self, name, call, n, right):
        """False when the command never made so many calls."""
        self.report.unlink(missing_ok=True)
        self.runs += 1
        env = environment(self.args.library, call, n, self.report, self.home, self.args.count)
        try:
            answer = COMMANDS[name](self.args.hearth, env, self.home)
            if answer is not None and answer != right:
                raise Bad("a wrong answer with status 0: " + difference(right, answer))
        except Bad as e:
            self.found += 1
            print(f"FAULT {name}: FAIL_CALL={call} FAIL_NTH={n}: {e}", flush=True)
        return self.report.exists()

    def sweep(self, name, call, right):
        """All of the first calls, then some of the rest: each next one further away by up to a tenth, the same in every run."""
        dice, n = random.Random(f"{name} {call}"), 1
        sampled = 0
        while n < END and sampled < self.args.sampled and time.monotonic() < self.deadline:
            if not self.once(name, call, n, right):
                return
            sampled += n >= self.args.all
            n += 1 if n < self.args.all else 1 + dice.randrange(1, max(2, n // 10))

    def run(self):
        names = self.args.only or list(COMMANDS)
        for name in names:
            right = COMMANDS[name](self.args.hearth, environment(None, None, 0, None, self.home), self.home)
            if right is None:
                raise SystemExit(f"{name} fails by itself")
            for call in self.args.call or CALLS:
                before, began = self.runs, time.monotonic()
                self.sweep(name, call, right)
                print(f"{name}: {call}: {self.runs - before} runs, {time.monotonic() - began:.1f} s", flush=True)
        print(f"faults: {self.runs} runs, {self.found} of them wrong")
        return 1 if self.found else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("library", type=pathlib.Path)
    p.add_argument("hearth", type=pathlib.Path)
    p.add_argument("--only", action="append", choices=COMMANDS, help="this command (repeatable)")
    p.add_argument("--call", action="append", choices=CALLS, help="this function (repeatable)")
    p.add_argument("--all", type=int, default=200, help="calls that each fail in turn before calls are sampled")
    p.add_argument("--sampled", type=int, default=40, help="calls that are sampled after them")
    p.add_argument("--count", type=int, default=1, help="calls that fail, one after the other (a server may not be asked for much then)")
    p.add_argument("--seconds", type=float, default=1800, help="after which no further run begins")
    args = p.parse_args()
    args.library, args.hearth = args.library.resolve(), args.hearth.resolve()
    with tempfile.TemporaryDirectory() as home:
        (pathlib.Path(home) / "none").mkdir()
        (pathlib.Path(home) / "some").mkdir()
        for model in CHAT, SDXL:
            (pathlib.Path(home) / "some" / model.name).symlink_to(model)
        return Faults(args, pathlib.Path(home)).run()


if __name__ == "__main__":
    sys.exit(main())
