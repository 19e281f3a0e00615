#!/bin/sh
# build/hearth-VERSION-ARCH.tar.gz: hearth with its libraries and their loader, for systems that have others or none. `make tarball`.
set -eu
cd "$(dirname "$0")/../.."
arch=$(uname -m)
name=hearth-$(tools/setup/version)-$arch
rm -rf build/tarball
tools/package/tree.sh build/tarball/tree
out=build/tarball/$name
mkdir -p "$out/bin" "$out/libexec"
mv build/tarball/tree/usr/bin/hearth "$out/libexec/hearth"
mv build/tarball/tree/usr/lib/hearth "$out/lib"
mv build/tarball/tree/usr/share "$out/share"
make --no-print-directory -s install PREFIX=/usr DESTDIR="$(pwd)/build/tarball/install"
cp -R build/tarball/install/usr/share/. "$out/share/"
cat >"$out/bin/hearth" <<'END'
#!/bin/sh
# hearth with the libraries beside it, from wherever this folder was unpacked.
self=$0
while [ -L "$self" ]; do
    link=$(readlink "$self")
    case $link in /*) self=$link ;; *) self=$(dirname "$self")/$link ;; esac
done
here=$(cd "$(dirname "$self")/.." && pwd)
exec "$here"/lib/ld-linux-*.so.* --library-path "$here/lib" "$here/libexec/hearth" "$@"
END
chmod 755 "$out/bin/hearth"
epoch=${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct HEAD 2>/dev/null || echo 0)}
tar -C build/tarball --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$name" | gzip -6n >"build/$name.tar.gz"
rm -rf build/tarball
echo "build/$name.tar.gz"
