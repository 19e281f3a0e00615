"""What tests/golden/pipelines/variants/variants.json says of a changed pipeline, done to a copy of its folder. Needs nothing but
Python, because tools/reference/variant_golden.py, which draws the right pictures, takes it from here."""
import json
import struct


def load(path):
    """{name: (type, shape, bytes)} of a safetensors file."""
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    return {k: (v["dtype"], v["shape"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]])
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}


def save(path, tensors):
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(t[2] for t in tensors.values()))


def apply(spec, folder):
    """files: a file's whole content; edit: keys of a JSON file, gone where null stands for a key that was there; rename: beginnings
    of tensors' names."""
    for name, content in spec.get("files", {}).items():
        (folder / name).write_text(json.dumps(content))
    for name, keys in spec.get("edit", {}).items():
        file = json.loads((folder / name).read_text())
        for k, v in keys.items():
            file.pop(k, None) if v is None else file.__setitem__(k, v)
        (folder / name).write_text(json.dumps(file))
    for name, pairs in spec.get("rename", {}).items():
        tensors = load(folder / name)
        for old, new in pairs:
            tensors = {(new + k[len(old):] if k.startswith(old) else k): v for k, v in tensors.items()}
        save(folder / name, tensors)
