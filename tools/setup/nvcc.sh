#!/bin/sh
# nvcc.sh NVCC "ARCHS" FLAGS...: compiles one fat binary for those of ARCHS that this compiler knows, and PTX of the newest plain one.
set -eu
nvcc=$1 archs=$2
shift 2
known=$("$nvcc" --list-gpu-code 2>/dev/null)
gencode='' last=''
for a in $archs; do
    case "$known" in *"sm_$a"*)
        gencode="$gencode -gencode arch=compute_$a,code=sm_$a"
        case $a in *a) ;; *) last=$a ;; esac ;;
    esac
done
[ -n "$last" ] || { echo "$nvcc knows none of sm_$(echo "$archs" | sed 's/ /, sm_/g')" >&2; exit 1; }
# shellcheck disable=SC2086
exec "$nvcc" -fatbin $gencode -gencode "arch=compute_$last,code=compute_$last" "$@"
