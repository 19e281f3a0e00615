#!/bin/sh
# tree.sh DIR: a root folder with hearth, the libraries that it needs, certificates and notices, and nothing else.
set -eu
cd "$(dirname "$0")/../.."
tree=$1
rm -rf "$tree"
umask 022
mkdir -p "$tree/usr/bin" "$tree/usr/lib/hearth" "$tree/etc/ssl/certs" "$tree/tmp" "$tree/var/lib/hearth/models" "$tree/usr/share/doc/hearth/libraries"
cp build/release/hearth "$tree/usr/bin/hearth"
strip --strip-unneeded "$tree/usr/bin/hearth"
libraries=$(ldd build/release/hearth | awk '$3 ~ /^\// {print $3} $1 ~ /^\/.*ld-linux/ {print $1}')
set --
for lib in $libraries; do
    cp -L "$lib" "$tree/usr/lib/hearth/"
    set -- "$@" "*/$(basename "$(realpath "$lib")")"
done
# The licences of what is brought along stand in the packages that it is from.
for package in $(dpkg -S "$@" 2>/dev/null | cut -d: -f1 | sort -u); do
    [ ! -f "/usr/share/doc/$package/copyright" ] || cp -L "/usr/share/doc/$package/copyright" "$tree/usr/share/doc/hearth/libraries/$package"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/"
cp LICENSE NOTICE "$tree/usr/share/doc/hearth/"
cp models/nsfw/LICENSE "$tree/usr/share/doc/hearth/LICENSE.nsfw-classifier"
