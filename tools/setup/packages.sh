#!/bin/sh
# Installs the Debian packages that a goal needs and that are missing: `packages.sh build|test|lint|coverage`.
# Uses sudo when not root, says what it installs and why, and stops with a clear message where it cannot.
set -eu

build="gcc make pkg-config libc6-dev libmicrohttpd-dev libgnutls28-dev libjansson-dev libpcre2-dev libcurl4-openssl-dev libsodium-dev
libyaml-dev libedit-dev libpng-dev libjpeg-dev libwebp-dev libchafa-dev libglib2.0-dev libunistring-dev libstb-dev zlib1g-dev
libsqlite3-dev libpq-dev libhiredis-dev python3 python3-venv python3-pip ca-certificates git"
test="$build g++ libcmocka-dev curl openssl postgresql redis-server chromium chromium-driver
zsh fish mandoc busybox-static dpkg-dev binutils file lintian skopeo prometheus"
lint="$test clang clang-tidy clang-format libclang-rt-14-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"

case "${1:-}" in
build) want=$build why="build and run hearth" ;;
test) want=$test why="run hearth's tests" ;;
coverage) want="$test gcovr" why="see what hearth's tests reach" ;;
lint) want=$lint why="check hearth's sources and build its fuzz targets" ;;
*) echo "usage: packages.sh build|test|lint|coverage" >&2; exit 2 ;;
esac

missing=""
for p in $want; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "hearth: to $why these Debian packages are needed:$missing" >&2
    echo "hearth: this machine has no apt-get; install their counterparts by hand and set HEARTH_SKIP_PACKAGES=1" >&2
    [ "${HEARTH_SKIP_PACKAGES:-}" = 1 ] && exit 0
    exit 1
fi
[ "${HEARTH_SKIP_PACKAGES:-}" = 1 ] && exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "hearth: to $why these Debian packages are missing:$missing" >&2
        echo "hearth: run as root: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "hearth: to $why I install these Debian packages${sudo:+ (with sudo)}:$missing" >&2
$sudo apt-get update -qq || echo "hearth: apt-get update failed; trying with the lists at hand" >&2
# shellcheck disable=SC2086
if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
    echo "hearth: installing the packages above failed; install them by hand and try again" >&2
    exit 1
fi
