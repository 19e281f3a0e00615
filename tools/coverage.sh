#!/bin/sh
# What the unit tests reach: `coverage.sh [PROGRAM...]`, all of them without arguments. Prints
#
#   1. the files that decide on access and money (EXACT): each line with a branch that no test takes. They should have none; the
#      status says whether that is so.
#   2. the rest: each file's share of lines, and the lines that no test reaches.
#
# The same as pages: build/coverage/report/index.html.
set -eu
cd "$(dirname "$0")/.."
EXACT="src/service/account/ src/service/principal src/http/auth src/http/admission"

make --no-print-directory -s -j"$(nproc)" MODE=coverage unit-programs
find build/coverage -name '*.gcda' -exec rm -f {} +
failed=""
for t in ${*:-$(make -s MODE=coverage print-TEST_BINS)}; do
    timeout 3600 "$t" >"$t.log" 2>&1 || failed="$failed $t"
done

report() {
    gcovr --root . --object-directory build/coverage --exclude '.*_test\.c' --exclude '.*/test_[a-z_]*\.h' --exclude-unreachable-branches "$@"
}
exact=$(for f in $EXACT; do printf -- '--filter %s ' "$f"; done)
rest=$(for f in $EXACT; do printf -- '--exclude %s ' "$f"; done)
mkdir -p build/coverage/report
# shellcheck disable=SC2086
report --filter src/ $rest --txt build/coverage/rest.txt --html-details build/coverage/report/index.html
# shellcheck disable=SC2086
report $exact --branches --txt build/coverage/exact.txt
echo "==== lines that no test reaches"
cat build/coverage/rest.txt
echo "==== access and money: lines with a branch that no test takes"
cat build/coverage/exact.txt
[ -z "$failed" ] || echo "failed:$failed"
[ -z "$failed" ] && awk '/^TOTAL/ {exit $4 != "100%"}' build/coverage/exact.txt
