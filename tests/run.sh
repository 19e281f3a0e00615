#!/bin/sh
# Runs hearth's tests and ends with one line: N passed, N failed, N skipped.
#
#   tests/run.sh                    unit and golden tests, then end to end with real clients, of the release build
#   tests/run.sh unit MODE          unit and golden tests of a build (release, asan, tsan)
#   tests/run.sh server MODE        the server's own tests, those marked `checked`, against a build
#   tests/run.sh images MODE        the end to end tests that draw: their bounds hold on every machine
#
# HEARTH_ISA=plain|avx2|... before it runs all that as on a machine that has no more (src/base/isa.h).
#
# The Python clients live in build/venv*, made here. The models the tests need go into build/models unless HEARTH_MODELS says
# where they are. What should run and did not is a failure; what a test leaves out is counted and named.
set -u
cd "$(dirname "$0")/.."

what=${1:-all}
mode=${2:-release}
isa=${HEARTH_ISA:-}
case $what in
all | unit | server | images) ;;
*) echo "usage: [HEARTH_ISA=...] tests/run.sh [unit|server|images MODE]" >&2; exit 2 ;;
esac
export HEARTH_MODELS="${HEARTH_MODELS:-$PWD/build/models}"
export HEARTH_BIN="${HEARTH_BIN:-$PWD/build/$mode/hearth}"
passed=0 failed=0 skipped=0

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

give_up() { echo "tests: $1" >&2; echo "0 passed, 1 failed"; exit 1; }

# The sum of the numbers that cmocka prints behind a word in brackets.
cmocka_count() { sed -nE "s/^\[  $1 *\] ([0-9]+) test.*/\1/p" "$2" | awk '{s += $1} END {print s + 0}'; }

# Each test program in turn. One that hangs is ended; one that says nothing has failed.
unit_tests() {
    say "unit and golden tests: $mode${isa:+ as $isa}"
    programs=$(make -s MODE="$mode" print-TEST_BINS)
    [ -n "$programs" ] || give_up "no test program was found"
    for t in $programs; do
        log=$t${isa:+.$isa}.log
        timeout 1800 "$t" >"$log" 2>&1
        status=$?
        p=$(cmocka_count PASSED "$log") f=$(cmocka_count FAILED "$log") s=$(cmocka_count SKIPPED "$log")
        if [ $status -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
        if [ $((p + f)) -eq 0 ]; then f=1; fi
        [ "$f" -eq 0 ] && verdict=ok || verdict=FAILED
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
        printf '%-60s %s (%s passed, %s failed, %s skipped)\n' "$t" "$verdict" "$p" "$f" "$s"
        [ "$s" -eq 0 ] || sed -nE 's/^\[  SKIPPED \] ([^0-9].*)/    skipped: \1/p' "$log" | sort -u
        [ $verdict = ok ] || tail -n 60 "$log"
    done
}

# Runs pytest in an environment and adds up what it reports: `pytest_in VENV NAME ARGUMENTS...`.
pytest_in() {
    python=$1/bin/python report=build/e2e-$2.xml
    shift 2
    rm -f "$report" # one of an earlier run would be counted if pytest did not start
    "$python" -m pytest -q -rs --maxfail=20 --timeout=3600 --junitxml="$report" "$@"
    status=$?
    [ $status -le 1 ] || { echo "tests: pytest ended with status $status" >&2; failed=$((failed + 1)); }
    [ -f "$report" ] || { echo "tests: pytest wrote no $report" >&2; failed=$((failed + 1)); return; }
    counts=$(python3 - "$report" <<'PY'
import sys, xml.etree.ElementTree as ET
suite = ET.parse(sys.argv[1]).getroot().find("testsuite")
total, bad, skipped = (int(suite.get(k)) for k in ("tests", "failures", "skipped"))
bad += int(suite.get("errors"))
print(total - bad - skipped, bad, skipped)
PY
    ) || { failed=$((failed + 1)); return; }
    set -- $counts
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    [ $(($1 + $2)) -gt 0 ] || { echo "tests: no end-to-end test ran" >&2; failed=$((failed + 1)); }
}

end_to_end() {
    say "end to end: $mode${isa:+ as $isa}"
    venv build/venv tests/requirements.txt && venv build/venv-fireworks0 tests/requirements-fireworks0.txt ||
        { failed=$((failed + 1)); return; }
    if [ "$what" = server ]; then
        pytest_in build/venv "$mode" -m checked tests/e2e
        return
    fi
    if [ "$what" = images ]; then
        pytest_in build/venv "$mode" tests/e2e/test_images.py tests/e2e/test_loras.py tests/e2e/test_layouts.py tests/e2e/test_starter_image.py
        return
    fi
    pytest_in build/venv "$mode" tests/e2e
    for list in tests/e2e/clients_*.txt; do # clients that cannot share an environment with the others
        name=$(basename "$list" .txt)
        say "end to end: $name"
        if venv "build/venv-$name" "$list"; then
            pytest_in "build/venv-$name" "$name" tests/e2e/"$name"*.py
        else
            failed=$((failed + 1))
        fi
    done
}

say "build and models"
case $what in unit) programs=unit-programs ;; server | images) programs=all ;; *) programs="all unit-programs" ;; esac
make --no-print-directory -s -j"$(nproc)" MODE="$mode" $programs || give_up "the build failed"
make --no-print-directory -s starter || give_up "the starter models are not there"

case $what in all | unit) unit_tests ;; esac
[ "$what" = unit ] || end_to_end

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
