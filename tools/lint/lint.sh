#!/bin/sh
# make lint: import direction, file sizes, format, warnings under clang (fuzz targets too), vectors on the stack, dead exports, clang-tidy; the build for aarch64 and its kernels' tests.
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

# They are built by clang alone, which warns of more than gcc.
step "clang warnings of the fuzz targets"
# shellcheck disable=SC2046
git ls-files 'tests/fuzz/*.c' | xargs clang -std=c17 -Isrc -D_GNU_SOURCE $(make -s WERROR=1 print-WARN) $(pkg-config --cflags $(make -s print-PKGS)) \
    -fsyntax-only || bad "clang has warnings in a fuzz target"

step "vectors on the stack"
make --no-print-directory -s -j"$(nproc)" build/release/hearth && python3 tools/lint/spills.py build/release ||
    bad "a kernel's hot loop keeps vectors on the stack"

step "exports that nothing uses"
make --no-print-directory -s -j"$(nproc)" all unit-programs && python3 tools/lint/dead_exports.py build/release ||
    bad "an export is used nowhere else: make it static or remove it"

step "clang-tidy"
flags="-std=c17 -Isrc -D_GNU_SOURCE -DHEARTH_VERSION='\"lint\"' $(pkg-config --cflags $(make -s print-PKGS))"
git ls-files 'src/*.c' ':!src/*_test.c' | grep -vE '_(avx2|avxvnni|avx512|avx512bf16|amx|neon|dotprod|i8mm|armbf16)\.c$' |
    FLAGS="$flags" xargs -P "$(nproc)" -n 6 sh -c 'eval "clang-tidy --quiet \"\$@\" -- $FLAGS" 2>/dev/null' sh ||
    bad "clang-tidy found something"

# Every instruction set of 64-bit Arm, emulated: the arithmetic and what stands on it.
step "aarch64: build, link, run under qemu"
arm_tests="base/isa_test base/machine_test base/pool_test text/sampler_test device/cpu/linear_test device/cpu/linear_fine_test
device/cpu/float_linear_test device/cpu/attention_test device/cpu/paged_attention_test device/cpu/conv_test lm/golden_test"
tools/setup/aarch64.sh
case $? in
0)
    # Its own compiler, whatever CC says of this machine.
    if env -u CC make --no-print-directory -s -j"$(nproc)" MODE=aarch64 all $(printf ' build/aarch64/%s' $arm_tests); then
        printf '%s\n' $arm_tests | xargs -P "$(nproc)" -I{} sh -c 'tools/run_aarch64.sh build/aarch64/{} >build/aarch64/{}.log 2>&1 ||
            { tail -n 20 build/aarch64/{}.log; echo "{} fails on aarch64"; exit 1; }' || bad "tests fail on aarch64"
        python3 tools/lint/spills.py build/aarch64 || bad "a kernel's hot loop keeps vectors on the stack"
    else
        bad "hearth does not build for aarch64"
    fi ;;
3) echo "skipped: the arm64 packages cannot be had here" ;;
*) bad "tools/setup/aarch64.sh failed" ;;
esac

[ $fail -eq 0 ] && echo "lint: clean"
exit $fail
