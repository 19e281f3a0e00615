#!/bin/sh
# make bench: builds the programs, fetches the peer, measures both in one run, and writes docs/benchmarks.md.
# BENCH_TYPES="Q4_0 Q8_0 Q4_K BF16" picks the 1B shapes (each makes a file of 0.7 to 2.5 GB under build/bench); "" skips them.
# BENCH_IMAGES="flux sdxl" picks the image networks (19 GB of files), BENCH_FULL whole image models: see bench/images.py.
set -eu
cd "$(dirname "$0")/.."
make --no-print-directory -s -j"$(nproc)" all build/release/bench/ceilings build/release/bench/lm build/release/bench/tokenizer build/release/bench/float_ops build/release/bench/images
make --no-print-directory -s starter
[ -x build/venv-bench/bin/python ] || python3 -m venv build/venv-bench
build/venv-bench/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt ||
    echo "bench: the peer could not be installed; hearth is measured alone" >&2
exec build/venv-bench/bin/python bench/run.py "$@"
