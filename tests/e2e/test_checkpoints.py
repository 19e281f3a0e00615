"""Checkpoints as people have them, with what their authors' tools wrote into config.json: answered with the reference's
probabilities, or refused in one line.

The weights are a small random Llama's, made here from a seed; tests/golden/lm/cases holds each configuration and, in expected.json,
the log-probabilities of a prompt under a plain float64 forward pass with the reference's reading of that configuration.
"""
import json
import math
import shutil
import struct

import numpy as np
import pytest
from conftest import ROOT, Server

pytestmark = pytest.mark.checked
CASES = ROOT / "tests/golden/lm/cases"
EXPECTED = json.loads((CASES / "expected.json").read_text())
EMBD, HEADS, KV_HEADS, HEAD, FF, LAYERS, VOCAB = 48, 6, 2, 8, 64, 2, 266


def llama():
    r = np.random.default_rng(7)

    def matrix(n_out, n_in):
        return (r.standard_normal((n_out, n_in)) / math.sqrt(n_in)).astype(np.float32)

    w = {"model.embed_tokens.weight": r.standard_normal((VOCAB, EMBD)).astype(np.float32),
         "model.norm.weight": (1 + 0.2 * r.standard_normal(EMBD)).astype(np.float32)}
    w["lm_head.weight"] = matrix(VOCAB, EMBD)
    for il in range(LAYERS):
        shapes = {"self_attn.q_proj": (HEADS * HEAD, EMBD), "self_attn.k_proj": (KV_HEADS * HEAD, EMBD), "self_attn.v_proj": (KV_HEADS * HEAD, EMBD),
                  "self_attn.o_proj": (EMBD, HEADS * HEAD), "mlp.gate_proj": (FF, EMBD), "mlp.up_proj": (FF, EMBD), "mlp.down_proj": (EMBD, FF)}
        for name, shape in shapes.items():
            w[f"model.layers.{il}.{name}.weight"] = matrix(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            w[f"model.layers.{il}.{name}.weight"] = (1 + 0.2 * r.standard_normal(EMBD)).astype(np.float32)
    return w


E4M3 = {b: (-1 if b & 128 else 1) * ((b & 7) / 8 * 2**-6 if not b >> 3 & 15 else (1 + (b & 7) / 8) * 2.0 ** ((b >> 3 & 15) - 7))
        for b in range(256) if b & 127 != 127}


def e4m3(x):
    """The nearest e4m3 numbers, as bytes."""
    values, codes = map(np.array, zip(*sorted((v, b) for b, v in E4M3.items() if b != 128)))
    i = np.clip(np.searchsorted(values, x), 1, len(values) - 1)
    i = np.where(np.abs(values[i - 1] - x) <= np.abs(values[i] - x), i - 1, i)
    return codes[i].astype(np.uint8)


def save(path, tensors):
    """name -> (dtype, array)"""
    header, body = {}, b""
    for name, (dtype, a) in tensors.items():
        raw = a.tobytes()
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def plain(w):
    return {k: ("F32", v) for k, v in w.items()}


def fp8(w, block=None, scales=True, name="_scale"):
    """Projections as e4m3 with one scale, or with one a block of `block` x `block`."""
    out = {}
    for k, x in w.items():
        if "_proj" not in k:
            out[k] = ("F32", x)
            continue
        if block:
            rows, cols = -(-x.shape[0] // block), -(-x.shape[1] // block)
            s = np.array([[np.abs(x[i * block:(i + 1) * block, j * block:(j + 1) * block]).max() / 448 for j in range(cols)] for i in range(rows)],
                         dtype=np.float32)
            full = np.kron(s, np.ones((block, block)))[:x.shape[0], :x.shape[1]]
        else:
            s = full = np.array(np.abs(x).max() / 448, dtype=np.float32)
        out[k] = ("F8_E4M3", e4m3(x / full))
        if scales:
            out[k + name] = ("F32", s)
    return out


def packed(w):
    out = {}
    for k, x in w.items():
        if "_proj" not in k:
            out[k] = ("F32", x)
            continue
        stem = k.removesuffix(".weight")
        out[stem + ".weight_packed"] = ("I32", np.zeros((x.shape[0], x.shape[1] // 8), np.int32))
        out[stem + ".weight_scale"] = ("BF16", np.ones((x.shape[0], 1), np.uint16))
        out[stem + ".weight_shape"] = ("I64", np.array(x.shape))
    return out


def renamed(tensors, body, head):
    return {k.replace("model.", body, 1) if k.startswith("model.") else head + k: v for k, v in tensors.items()}


W = llama()
ANSWERED = {
    "fp8_block_size_in_text_config": renamed(fp8(W, 32, name="_scale_inv"), "language_model.model.", "language_model."),
    "llama_with_sliding_window": plain(W),
    "modelopt_fp8_named": fp8(W),
    "rope_scaling_beside_rope_parameters": plain(W),
    "vlm_names_of_transformers5": renamed(plain(W), "model.language_model.", ""),
}
REFUSED = {
    "compressed_tensors_packed": (packed(W), 400, ["weight_scale: groups of 48 inputs are not supported"]),
    "fp8_scale_missing": (fp8(W, scales=False), 500, ["quantization_config", "q_proj.weight is F8_E4M3 and has no scale"]),
}


def with_nan(w):
    w = {k: v.copy() for k, v in w.items()}
    w["model.layers.0.mlp.up_proj.weight"][3, 5] = np.nan
    return plain(w)


DAMAGED = {"not_a_number": with_nan(W)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, tensors in {**ANSWERED, **{k: v[0] for k, v in REFUSED.items()}}.items():
        (folder / name).mkdir()
        save(folder / name / "model.safetensors", tensors)
        shutil.copy(CASES / f"{name}.json", folder / name / "config.json")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(ROOT / "tests/golden/lm/chat" / file, folder / name)
    for name, tensors in DAMAGED.items():
        shutil.copytree(folder / "vlm_names_of_transformers5", folder / name)
        shutil.copy(CASES / "llama_with_sliding_window.json", folder / name / "config.json")
        save(folder / name / "model.safetensors", tensors)
    s = Server(models=str(folder))
    yield s
    s.stop()


def score(server, name):
    return server.post("/v1/completions", {"model": name, "prompt": EXPECTED["prompt"], "max_tokens": 0, "echo": True, "logprobs": 0})


@pytest.mark.parametrize("name", ANSWERED)
def test_answered_as_the_reference_does(server, name):
    r = score(server, name)
    assert r.status_code == 200, r.text
    got = r.json()["choices"][0]["logprobs"]["token_logprobs"][1:]
    # keys and values are kept as f16, FP8 weights may be multiplied in bf16; a wrong reading is off by 0.5 and more
    assert np.abs(np.array(got) - EXPECTED["token_logprobs"][name]).max() < (0.06 if "fp8" in name else 0.01)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(server, name):
    _, status, words = REFUSED[name]
    r = score(server, name)
    assert r.status_code == status
    message = r.json()["error"]["message"]
    assert all(w in message for w in words), message


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_weights_are_an_error(server, name):
    body = {"model": name, "prompt": EXPECTED["prompt"][:8], "max_tokens": 4}
    for more in ({}, {"n": 3}, {"temperature": 0}, {"echo": True, "max_tokens": 0, "logprobs": 0}):
        r = server.post("/v1/completions", {**body, **more})
        assert r.status_code == 500 and name in r.json()["error"]["message"] and "NaN" in r.json()["error"]["message"], r.text
    r = server.post("/v1/completions", {**body, "stream": True})
    events = [json.loads(line[6:]) for line in r.text.splitlines() if line.startswith("data: {")]
    assert r.status_code == 500 or (len(events) == 1 and name in events[0]["error"]["message"]), r.text
    # a neighbour in the same process goes on
    assert score(server, "llama_with_sliding_window").status_code == 200
