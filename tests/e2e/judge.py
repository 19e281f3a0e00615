"""The starter image model's judge: which of its concepts a picture shows. models/starter-image/README.md describes the forward pass."""
import json
import pathlib

import numpy as np
import PIL.Image

STARTER = pathlib.Path(__file__).resolve().parents[2] / "models/starter-image"


def load():
    data = (STARTER / "classifier/classifier.safetensors").read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = {k: v for k, v in json.loads(data[8 : 8 + n]).items() if k != "__metadata__"}
    weights = {k: np.frombuffer(data[8 + n :], "<f2", int(np.prod(v["shape"])), v["data_offsets"][0]).reshape(v["shape"]).astype("f4") for k, v in header.items()}
    return weights, [x["name"] for x in json.loads((STARTER / "classifier/labels.json").read_text())]


WEIGHTS, NAMES = load()


def best(image, n=5):
    """The n likeliest concepts of a 128x128 picture, the likeliest first; a larger one is reduced first."""
    image = image.convert("RGB")
    if image.size != (128, 128):
        image = image.resize((128, 128), PIL.Image.Resampling.BOX)
    x = np.asarray(image, "f4").transpose(2, 0, 1) / 127.5 - 1
    for i in range(5):
        w, side = WEIGHTS[f"conv.{i}.weight"], x.shape[1] // 2
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        taps = [np.tensordot(w[:, :, y, k], x[:, y : y + 2 * side : 2, k : k + 2 * side : 2], 1) for y in range(3) for k in range(3)]
        x = np.maximum(sum(taps) + WEIGHTS[f"conv.{i}.bias"][:, None, None], 0)
    logits = WEIGHTS["head.weight"] @ x.mean((1, 2)) + WEIGHTS["head.bias"]
    return [NAMES[k] for k in np.argsort(-logits)[:n]]
