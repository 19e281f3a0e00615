#!/bin/sh
# Makes build/aarch64-root: the arm64 packages that hearth is built with, unpacked into a folder, nothing installed. A private
# apt state is used, so that the machine's own packages and architectures stay as they are and no root is needed.
# Exits with 3 and one line when the packages cannot be had; does nothing when the folder is there.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD/build/aarch64-root state=$PWD/build/aarch64-apt
want="libc6-dev libmicrohttpd-dev libgnutls28-dev libjansson-dev libpcre2-dev libcurl4-openssl-dev libsodium-dev libyaml-dev libedit-dev
libpng-dev libjpeg-dev libwebp-dev libchafa-dev libglib2.0-dev libunistring-dev libstb-dev zlib1g-dev libsqlite3-dev libpq-dev libhiredis-dev
libcmocka-dev"
[ "$(cat "$root/.complete" 2>/dev/null)" = "$want" ] && exit 0
cannot() { echo "hearth: no arm64 packages: $1" >&2; exit 3; }
command -v apt-get >/dev/null 2>&1 || cannot "this machine has no apt-get"

rm -rf "$root" "$state"
mkdir -p "$root" "$state/lists/partial" "$state/cache/archives/partial"
: >"$state/status"
apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$state" -o Dir::State::status="$state/status" \
        -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@"
}
apt update >/dev/null 2>"$state/log" || cannot "$(tail -n 1 "$state/log")"
# shellcheck disable=SC2086
apt install --download-only -y --no-install-recommends $want >/dev/null 2>"$state/log" || cannot "$(tail -n 1 "$state/log")"
for deb in "$state"/cache/archives/*.deb; do dpkg -x "$deb" "$root"; done
# Links that begin at the root of the system are meant to begin at ours.
find "$root" -type l -lname '/*' | while read -r link; do ln -sfn "$root$(readlink "$link")" "$link"; done
rm -rf "$state"
printf '%s\n' "$want" >"$root/.complete"
