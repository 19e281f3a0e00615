#!/bin/sh
# nvcc.sh NVCC "ARCHS" FLAGS...: compiles one fat binary for those of ARCHS that this compiler knows, and PTX of the newest plain one.
set -eu
nvcc=$1 archs=$2
shift 2
known=$("$nvcc" --list-gpu-code 2>/dev/null) || known=
gencode='' last=''
for a in $archs; do
    case "$known" in *"sm_$a"*)
        gencode="$gencode -gencode arch=compute_$a,code=sm_$a"
        case $a in *a) ;; *) last=$a ;; esac ;;
    esac
done
[ -n "$last" ] || echo "hearth: $nvcc knows none of the GPUs that there are kernels for" >&2
out=''
for a; do [ "${before:-}" = -o ] && out=$a; before=$a; done
# shellcheck disable=SC2086
"$nvcc" -fatbin $gencode -gencode "arch=compute_$last,code=compute_$last" "$@" && exit 0
[ -z "${WERROR:-}" ] || exit 1
echo "hearth: $nvcc cannot compile the kernels for GPUs (its message is above); going on without them" >&2
: >"$out"
