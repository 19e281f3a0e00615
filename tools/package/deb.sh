#!/bin/sh
# build/hearth_VERSION_ARCH.deb out of `make install`, with dpkg's own tools. Called by `make deb`.
set -eu
cd "$(dirname "$0")/../.."
arch=$(dpkg --print-architecture)
commit=$(tools/setup/version)
day=$(git show -s --format=%cd --date=format:%Y%m%d HEAD 2>/dev/null || echo 0)
case $commit in
v[0-9]*) version=$(echo "${commit#v}" | sed 's/-/+/; s/-/./g') ;;
*) version=0~git$day.$(echo "$commit" | sed 's/-/+/g') ;;
esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct HEAD 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
maintainer=${HEARTH_MAINTAINER:-hearth <packager@hearth.invalid>} # who builds it for others says who they are
tree=$(pwd)/build/deb
rm -rf "$tree"
mkdir -p "$tree/DEBIAN" "$tree/debian"
umask 022

make --no-print-directory -s install PREFIX=/usr DESTDIR="$tree"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$tree/usr/bin/hearth"
doc=$tree/usr/share/doc/hearth
gzip -9n "$tree/usr/share/man/man1/hearth.1"
# Debian's systemd and zsh look here.
mkdir -p "$tree/lib/systemd" "$tree/usr/share/zsh/vendor-completions"
mv "$tree/usr/lib/systemd/system" "$tree/lib/systemd/system"
mv "$tree/usr/share/zsh/site-functions/_hearth" "$tree/usr/share/zsh/vendor-completions/_hearth"
rmdir "$tree/usr/lib/systemd" "$tree/usr/lib" "$tree/usr/share/zsh/site-functions"
cp deploy/deb/copyright "$doc/copyright"
rm "$doc/LICENSE" # the Apache licence is on every Debian system, and copyright says where
printf 'hearth (%s) unstable; urgency=medium\n\n  * %s\n\n -- %s  %s\n' "$version" "Built from commit $commit." "$maintainer" \
    "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"

# Which packages have the libraries: dpkg-shlibdeps wants a source package's file to stand beside it.
printf 'Source: hearth\n\nPackage: hearth\nArchitecture: any\n' >"$tree/debian/control"
depends=$(cd "$tree" && dpkg-shlibdeps -O usr/bin/hearth 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
rm -rf "$tree/debian"
cp deploy/deb/postinst deploy/deb/prerm deploy/deb/postrm "$tree/DEBIAN/"
chmod 755 "$tree/DEBIAN"/p*
cat >"$tree/DEBIAN/control" <<END
Package: hearth
Version: $version
Architecture: $arch
Maintainer: $maintainer
Section: net
Priority: optional
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f1)
Depends: $depends
Recommends: ca-certificates
Description: self-hosted inference server for language and image models
 One program serves language models and image models from their published
 weight files, behind the APIs that programs already speak: OpenAI, Anthropic,
 Ollama, Fireworks. A page for chat and pictures is at the server's address.
 .
 The service is not started by itself; systemctl enable --now hearth does.
END
(cd "$tree" && find usr lib -type f -exec md5sum {} +) >"$tree/DEBIAN/md5sums"
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
out=build/hearth_${version}_$arch.deb
rm -f build/hearth_*_"$arch".deb
dpkg-deb --root-owner-group --build "$tree" "$out" >/dev/null
echo "$out"
