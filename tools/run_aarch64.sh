#!/bin/sh
# Runs a program of build/aarch64 on this machine: `[ARM_CPU=cortex-a72] tools/run_aarch64.sh PROGRAM ARGUMENTS...`. ARM_CPU is
# qemu's name of a processor; max, what is taken without it, has every instruction set that hearth knows.
exec qemu-aarch64-static -cpu "${ARM_CPU:-max}" -L "$(dirname "$0")/../build/aarch64-root" "$@"
