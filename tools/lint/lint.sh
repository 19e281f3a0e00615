#!/bin/sh
# make lint: import direction, file sizes, format, warnings under clang, clang-tidy, the portable build for aarch64.
set -u
cd "$(dirname "$0")/../.."
fail=0
step() { printf '== %s\n' "$1"; }
bad() { echo "lint: $1" >&2; fail=1; }

step "import direction"
python3 tools/lint/imports.py || bad "an include runs the wrong way"

step "file length"
long=$(git ls-files 'src/*.c' 'src/*.h' | xargs wc -l | awk '$2 != "total" && $1 > 1000 { print $1, $2 }')
[ -z "$long" ] || { echo "$long"; bad "a source file passes 1000 lines: which second idea moved in?"; }

step "format"
git ls-files 'src/*.c' 'src/*.h' 'tests/*.c' 'bench/*.c' | xargs clang-format --dry-run --Werror || bad "run: make format"

step "clang warnings"
make --no-print-directory -s -j"$(nproc)" WERROR=1 MODE=clang CC=clang build/clang/hearth || bad "clang has warnings"

step "clang-tidy"
flags="-std=c17 -Isrc -D_GNU_SOURCE -DHEARTH_VERSION='\"lint\"' $(pkg-config --cflags $(make -s print-PKGS))"
git ls-files 'src/*.c' ':!src/*_test.c' | grep -vE '_(avx2|avxvnni|avx512|avx512bf16|amx|neon)\.c$' |
    FLAGS="$flags" xargs -P "$(nproc)" -n 6 sh -c 'eval "clang-tidy --quiet \"\$@\" -- $FLAGS" 2>/dev/null' sh ||
    bad "clang-tidy found something"

step "portable build for aarch64"
for f in $(git ls-files 'src/base/*.c' 'src/format/*.c' 'src/device/*.c' 'src/lm/*.c' 'src/image/*.c' |
    grep -vE '_(avx2|avxvnni|avx512|avx512bf16|amx)\.c$|_test\.c$'); do
    # The arithmetic and the engines only: the libraries' headers are not installed for a foreign machine.
    aarch64-linux-gnu-gcc -std=c17 -Isrc -D_GNU_SOURCE -O1 -Wall -Wextra -Werror -fsyntax-only -idirafter /usr/include \
        -idirafter /usr/include/x86_64-linux-gnu "$f" || bad "$f does not compile for aarch64"
done

[ $fail -eq 0 ] && echo "lint: clean"
exit $fail
