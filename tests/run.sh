#!/bin/sh
# Runs hearth's tests and ends with one line: N passed, N failed.
#
#   tests/run.sh                     unit and golden tests, then end to end with real clients (release build)
#   tests/run.sh --server-only asan  the server's tests against a checked build (asan or tsan), for make asan and make tsan
#
# The Python clients live in build/venv*, made here. The models the tests need go into build/models unless HEARTH_MODELS says where
# they are.
set -u
cd "$(dirname "$0")/.."

mode=release
server_only=no
if [ "${1:-}" = --server-only ]; then
    server_only=yes
    mode=${2:?usage: tests/run.sh --server-only asan|tsan}
fi
export HEARTH_MODELS="${HEARTH_MODELS:-$PWD/build/models}"
export HEARTH_BIN="${HEARTH_BIN:-$PWD/build/$mode/hearth}"
passed=0 failed=0

say() { printf '\n==== %s\n' "$1"; }

# A virtual environment from a requirements file, made again when the file changes.
venv() {
    dir=$1 list=$2
    if [ ! -f "$dir/.stamp" ] || ! cmp -s "$list" "$dir/.stamp"; then
        rm -rf "$dir"
        python3 -m venv "$dir" && "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$list" && cp "$list" "$dir/.stamp" ||
            { echo "tests: could not install $list into $dir" >&2; return 1; }
    fi
}

if [ $server_only = no ]; then
    say "build"
    make --no-print-directory -s -j"$(nproc)" all || { echo "0 passed, 1 failed"; exit 1; }
fi

say "models and clients"
make --no-print-directory -s starter || exit 1
venv build/venv tests/requirements.txt || exit 1
venv build/venv-fireworks0 tests/requirements-fireworks0.txt || exit 1

if [ $server_only = no ]; then
    say "unit and golden tests"
    make --no-print-directory -s -j"$(nproc)" unit-programs || failed=$((failed + 1))
    for t in $(make -s print-TEST_BINS); do
        log=$t.log
        if "$t" >"$log" 2>&1; then verdict=ok; else verdict=FAILED; fi
        p=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
        f=$(sed -nE 's/^\[  FAILED  \] ([0-9]+) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
        [ $verdict = FAILED ] && [ "$f" -eq 0 ] && f=1
        passed=$((passed + p)) failed=$((failed + f))
        printf '%-60s %s (%s passed, %s failed)\n' "$t" "$verdict" "$p" "$f"
        [ $verdict = ok ] || tail -n 40 "$log"
    done
fi

say "end to end"
report=build/e2e-$mode.xml
if [ $server_only = yes ]; then set -- -m checked; else set --; fi
build/venv/bin/python -m pytest -q --maxfail=20 --junitxml="$report" "$@" tests/e2e || true
if [ -f "$report" ]; then
    counts=$(python3 - "$report" <<'PY'
import sys, xml.etree.ElementTree as ET
suite = ET.parse(sys.argv[1]).getroot().find("testsuite")
total, bad, skipped = (int(suite.get(k)) for k in ("tests", "failures", "skipped"))
bad += int(suite.get("errors"))
print(total - bad - skipped, bad)
PY
)
    passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
    [ "$counts" = "0 0" ] && { echo "tests: no end-to-end test ran" >&2; failed=$((failed + 1)); }
else
    failed=$((failed + 1))
fi

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
