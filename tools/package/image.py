#!/usr/bin/env python3
"""image.py TREE OUT VERSION: a container image of a root folder, written without a daemon and without root.

OUT is one tar that is an OCI image layout (index.json, blobs/) and a docker-archive (manifest.json) at once: `docker load`, `podman load`,
`skopeo copy oci-archive:OUT ...` and `skopeo copy docker-archive:OUT ...` all take it. Everything in it belongs to root; hearth runs as 10001.
"""
import gzip
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

UID = 10001
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
FILES = {"etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nhearth:x:{UID}:{UID}:hearth:/var/lib/hearth:/sbin/nologin\n",
         "etc/group": f"root:x:0:\nhearth:x:{UID}:\n",
         "etc/nsswitch.conf": "hosts: files dns\n"}


def add(tar, info, data=None):
    info.mtime, info.uname, info.gname = 0, "", ""
    tar.addfile(info, data)


def layer(tree):
    """The root folder as a tar; the same tree makes the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        found = []
        for folder, folders, files in os.walk(tree):
            found += [os.path.relpath(os.path.join(folder, n), tree) for n in folders + files]
        for name in sorted(found):
            path = os.path.join(tree, name)
            info = tarfile.TarInfo(name)
            if os.path.isdir(path):
                info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                info.uid = info.gid = UID if name.startswith("var/lib/hearth") else 0
                add(tar, info)
            else:
                info.size, info.mode = os.path.getsize(path), 0o755 if os.access(path, os.X_OK) else 0o644
                with open(path, "rb") as f:
                    add(tar, info, f)
        for name, text in FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            add(tar, info, io.BytesIO(text.encode()))
        # The loader stands where programs name it, and finds the libraries in the folder that it is told of.
        loader = next(n for n in os.listdir(os.path.join(tree, "usr/lib/hearth")) if n.startswith("ld-linux"))
        home = "lib64" if "x86-64" in loader else "lib"
        info = tarfile.TarInfo(home)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        add(tar, info)
        info = tarfile.TarInfo(f"{home}/{loader}")
        info.type, info.linkname = tarfile.SYMTYPE, f"../usr/lib/hearth/{loader}"
        add(tar, info)
    return out.getvalue()


def main():
    tree, target, version = sys.argv[1:]
    plain = layer(tree)
    packed = gzip.compress(plain, 6, mtime=0)
    blobs = {}

    def blob(data, media):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    config = blob(json.dumps({
        "architecture": ARCHITECTURES[platform.machine()], "os": "linux",
        "config": {
            "User": f"{UID}:{UID}", "ExposedPorts": {"3000/tcp": {}}, "WorkingDir": "/var/lib/hearth", "StopSignal": "SIGTERM",
            "Env": ["PATH=/usr/bin", "LD_LIBRARY_PATH=/usr/lib/hearth", "HOME=/var/lib/hearth", "HEARTH_LISTEN=0.0.0.0:3000",
                    "HEARTH_URL=http://127.0.0.1:3000", "HEARTH_MODELS=/var/lib/hearth/models", "HEARTH_FILES=/tmp/files",
                    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "Entrypoint": ["hearth"], "Cmd": ["serve"],
            "Healthcheck": {"Test": ["CMD", "hearth", "health"], "Interval": 30_000_000_000, "Timeout": 10_000_000_000,
                            "StartPeriod": 5_000_000_000, "Retries": 3},
            "Labels": {"org.opencontainers.image.title": "hearth", "org.opencontainers.image.version": version,
                       "org.opencontainers.image.licenses": "Apache-2.0"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]},
        "history": [{"created_by": "make image"}]}, sort_keys=True).encode(), "application/vnd.oci.image.config.v1+json")
    rows = blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
    manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
                                "layers": [rows]}, sort_keys=True).encode(), "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": "localhost/hearth:latest"}

    def place(row):
        return "blobs/sha256/" + row["digest"].split(":")[1]
    blobs["oci-layout"] = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]}).encode()
    blobs["manifest.json"] = json.dumps([{"Config": place(config), "RepoTags": ["localhost/hearth:latest"], "Layers": [place(rows)]}]).encode()
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(blobs):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(blobs[name]), 0o644
            add(tar, info, io.BytesIO(blobs[name]))
    print(f"{target}: {len(packed) / 1e6:.1f} MB packed, {len(plain) / 1e6:.1f} MB unpacked")


if __name__ == "__main__":
    main()
