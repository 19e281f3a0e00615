"""The text encoders (CLIP-L, OpenCLIP bigG, T5 v1.1 XXL) and tokenizers small enough to be made here."""
import json
import shutil

from tensors import Tensor, linear, norm

CLIP_L = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": 49408, "hidden_size": 768,
          "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768,
          "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "bos_token_id": 49406,
          "eos_token_id": 49407, "pad_token_id": 49407}
CLIP_G = CLIP_L | {"architectures": ["CLIPTextModelWithProjection"], "hidden_size": 1280, "intermediate_size": 5120,
                   "num_hidden_layers": 32, "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu"}
T5_XXL = {"architectures": ["T5EncoderModel"], "model_type": "t5", "vocab_size": 32128, "d_model": 4096, "d_kv": 64,
          "num_heads": 64, "d_ff": 10240, "num_layers": 24, "layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu",
          "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "pad_token_id": 0,
          "eos_token_id": 1, "tie_word_embeddings": False, "is_encoder_decoder": False, "use_cache": False}


def clip(c, projection=False):
    d, ff = c["hidden_size"], c["intermediate_size"]
    yield Tensor("text_model.embeddings.token_embedding.weight", (c["vocab_size"], d))
    yield Tensor("text_model.embeddings.position_embedding.weight", (c["max_position_embeddings"], d))
    for i in range(c["num_hidden_layers"]):
        b = f"text_model.encoder.layers.{i}"
        yield from norm(f"{b}.layer_norm1", d)
        yield from norm(f"{b}.layer_norm2", d)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{b}.self_attn.{name}", d, d)
        yield from linear(f"{b}.mlp.fc1", ff, d)
        yield from linear(f"{b}.mlp.fc2", d, ff)
    yield from norm("text_model.final_layer_norm", d)
    if projection:
        yield from linear("text_projection", c["projection_dim"], d, bias=False)


def openclip(c):
    """The second encoder as single checkpoints have it: q, k and v stacked, the projection transposed."""
    d, ff = c["hidden_size"], c["intermediate_size"]
    yield Tensor("token_embedding.weight", (c["vocab_size"], d))
    yield Tensor("positional_embedding", (c["max_position_embeddings"], d))
    for i in range(c["num_hidden_layers"]):
        b = f"transformer.resblocks.{i}"
        yield from norm(f"{b}.ln_1", d)
        yield from norm(f"{b}.ln_2", d)
        yield Tensor(f"{b}.attn.in_proj_weight", (3 * d, d))
        yield Tensor(f"{b}.attn.in_proj_bias", (3 * d,), "zero")
        yield from linear(f"{b}.attn.out_proj", d, d)
        yield from linear(f"{b}.mlp.c_fc", ff, d)
        yield from linear(f"{b}.mlp.c_proj", d, ff)
    yield from norm("ln_final", d)
    yield Tensor("text_projection", (d, c["projection_dim"]))


def t5(c):
    d, inner, ff = c["d_model"], c["num_heads"] * c["d_kv"], c["d_ff"]
    yield Tensor("shared.weight", (c["vocab_size"], d))
    for i in range(c["num_layers"]):
        b = f"encoder.block.{i}"
        for name in ("q", "k", "v"):
            yield from linear(f"{b}.layer.0.SelfAttention.{name}", inner, d, bias=False)
        yield from linear(f"{b}.layer.0.SelfAttention.o", d, inner, bias=False)
        if i == 0:
            yield Tensor(f"{b}.layer.0.SelfAttention.relative_attention_bias.weight",
                         (c["relative_attention_num_buckets"], c["num_heads"]))
        yield Tensor(f"{b}.layer.0.layer_norm.weight", (d,), "one")
        yield from linear(f"{b}.layer.1.DenseReluDense.wi_0", ff, d, bias=False)
        yield from linear(f"{b}.layer.1.DenseReluDense.wi_1", ff, d, bias=False)
        yield from linear(f"{b}.layer.1.DenseReluDense.wo", d, ff, bias=False)
        yield Tensor(f"{b}.layer.1.layer_norm.weight", (d,), "one")
    yield Tensor("encoder.final_layer_norm.weight", (d,), "one")


def clip_tokenizer(folder, pad="<|endoftext|>"):
    """Bytes, bytes that end a word, and the two marks at their published ids: no merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    chars = [chr(c) for c in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    vocab = {c: i for i, c in enumerate(chars)} | {f"{c}</w>": 256 + i for i, c in enumerate(chars)}
    vocab |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": "<|startoftext|>",
         "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad, "do_lower_case": True}))


def t5_tokenizer(folder, pieces, n_tokens):
    """The starter image model's pieces: its ids are few, so they fit any vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(pieces, folder / "spiece.model")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "T5Tokenizer", "model_max_length": n_tokens, "eos_token": "</s>", "unk_token": "<unk>",
         "pad_token": "<pad>", "extra_ids": 0}))
