#!/usr/bin/env python3
"""Tiny random encoders in tests/golden/encoders, in the folders that sentence-transformers saves, and what it makes of some texts.

    python3 tools/reference/encoder_golden.py tests/golden/encoders

Each folder is a model; golden.json has of each the ids and the vector of every text, or of every pair of texts its score. Two are GGUF files
as well. Needs torch, transformers, sentence-transformers, tokenizers and gguf.
"""
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quants
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer, models
from tokenizers import Tokenizer, models as tok_models, normalizers, pre_tokenizers, processors
from transformers import (BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast, DistilBertConfig, DistilBertModel,
                          NomicBertConfig, NomicBertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForSequenceClassification,
                          XLMRobertaModel)

OUT = pathlib.Path(sys.argv[1])
SHAPE = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=64,
             initializer_range=0.35)
TEXTS = ["The cat sat on the mat.", "a", "Search: what is a hearth?", "Naïve café, 12345!", "cat " * 40, "東京 [MASK] zq"]
PAIRS = [("what is a cat?", t) for t in TEXTS] + [("a", "a"), ("the " * 50, "cat " * 70), ("cat " * 70, "mat")]
WORDS = ("the cat sat on mat what is a hearth search fire and in of to it that was for ##s ##ing ##ed ##er ##th ##t ##e ##a ##n "
         "##i ##o ##r ##c ##f ##1 ##2 ##3 ##4 ##5").split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = list("bcdefghijklmnopqrstuvwxyz0123456789.,:!?") + ["東"]


def word_pieces(folder):
    vocab = SPECIAL + WORDS + LETTERS
    t = Tokenizer(tok_models.WordPiece({p: i for i, p in enumerate(vocab)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = BertTokenizerFast(tokenizer_object=t, model_max_length=64, unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]",
                             cls_token="[CLS]", mask_token="[MASK]")
    fast.save_pretrained(folder)
    return len(vocab)


def unigrams(folder):
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [("\u2581" + w if not w.startswith("##") else w[2:], -2.0 - i / 16) for i, w in enumerate(WORDS)]
    have = {p for p, _ in pieces}
    pieces += [(c, -9.0 - i / 16) for i, c in enumerate(["\u2581", "T", "N", "S"] + LETTERS) if c not in have]
    t = Tokenizer(tok_models.Unigram(pieces, 3, False))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0 </s>:0", pair="<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0", special_tokens=[("<s>", 0), ("</s>", 2)])
    fast = PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=60, bos_token="<s>", eos_token="</s>", cls_token="<s>",
                                   sep_token="</s>", pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return len(pieces)


def rounded(t, kind):
    """A matrix as the GGUF file will have it, so that both formats are the same network."""
    if not kind or t.dim() != 2 or t.shape[0] == 2 or t.shape[1] % 32:
        return t
    return torch.from_numpy(quants.dequantize(quants.quantize(t.numpy(), kind), kind)).float()


def backbone(folder, model_class, config_class, tokens, kind=None, **config):
    n = tokens(folder)
    model = model_class(config_class(vocab_size=n, **config))
    for name, p in model.named_parameters():  # norms and biases that would be ones and zeros
        if p.dim() == 1:
            p.data += torch.randn_like(p) * 0.2
        p.data = rounded(p.data, kind)
    model.eval().save_pretrained(folder)


def vectors(name, model_class, config_class, tokens, config, pooling, more=(), max_len=None, dtype=None, kind=None):
    with tempfile.TemporaryDirectory() as tmp:
        backbone(tmp, model_class, config_class, tokens, kind, **config)
        first = models.Transformer(tmp, max_seq_length=max_len)
        width = first.get_embedding_dimension() if hasattr(first, "get_embedding_dimension") else first.get_word_embedding_dimension()
        st = SentenceTransformer(modules=[first, models.Pooling(width, pooling), *[m(width) for m in more]], device="cpu")
        if dtype:
            st.to(dtype)
        shutil.rmtree(OUT / name, ignore_errors=True)
        st.save(str(OUT / name), create_model_card=False)
        st = SentenceTransformer(str(OUT / name), device="cpu", model_kwargs={"dtype": torch.float32})
        rows = [{"text": t, "ids": st.tokenizer(t, truncation=True, max_length=st.max_seq_length)["input_ids"],
                 "vector": [float(x) for x in st.encode(t)]} for t in TEXTS]
    return rows


def scores(name, model_class, config_class, tokens, config, fn):
    with tempfile.TemporaryDirectory() as tmp:
        backbone(tmp, model_class, config_class, tokens, num_labels=1, **config)
        ce = CrossEncoder(tmp, device="cpu", activation_fn=fn)
        shutil.rmtree(OUT / name, ignore_errors=True)
        ce.save_pretrained(str(OUT / name), create_model_card=False)
        ce = CrossEncoder(str(OUT / name), device="cpu")
        return [{"query": q, "document": d, "score": float(ce.predict([(q, d)])[0])} for q, d in PAIRS]


def turned(piece):
    if piece.startswith("[") and piece.endswith("]"):
        return piece
    return piece[2:] if piece.startswith("##") else "\u2581" + piece


NAMES = {"embeddings.word_embeddings": "token_embd", "embeddings.token_type_embeddings": "token_types",
         "embeddings.position_embeddings": "position_embd", "embeddings.LayerNorm": "token_embd_norm", "emb_ln": "token_embd_norm",
         "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
         "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm", "intermediate.dense": "ffn_up",
         "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm", "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output",
         "mlp.fc11": "ffn_up", "mlp.fc12": "ffn_gate", "mlp.fc2": "ffn_down", "norm1": "attn_output_norm", "norm2": "layer_output_norm",
         "pooler.dense": "cls", "classifier": "cls.output"}


def as_gguf(name, arch, pooling, kind, extra=()):
    """The folder as llama.cpp's converter writes it; matrices of whole blocks as `kind`."""
    tensors = load_file(OUT / name / "model.safetensors")
    config = json.loads((OUT / name / "config.json").read_text())
    vocab = SPECIAL + WORDS + LETTERS
    w = GGUFWriter(OUT / (name + ".gguf"), arch)
    w.add_block_count(config["num_hidden_layers"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_layer_norm_eps(config["layer_norm_eps"])
    w.add_causal_attention(False)
    w.add_uint32(arch + ".pooling_type", pooling)
    for key, value in extra:
        w.add_float32(key, value)
    w.add_tokenizer_model("bert")
    w.add_token_list([turned(p) for p in vocab])
    w.add_token_types([TokenType.CONTROL if p in SPECIAL else TokenType.NORMAL for p in vocab])
    for key, token in (("unknown", "[UNK]"), ("seperator", "[SEP]"), ("padding", "[PAD]"), ("cls", "[CLS]"), ("mask", "[MASK]")):
        w.add_uint32("tokenizer.ggml.%s_token_id" % key, vocab.index(token))
    for full, t in tensors.items():
        full = full.removeprefix("bert.")
        layer, rest, what = "", *full.rsplit(".", 1)
        for prefix in ("encoder.layer.", "encoder.layers."):
            if rest.startswith(prefix):
                number, rest = rest[len(prefix):].split(".", 1)
                layer = "blk.%s." % number
        if rest not in NAMES or (rest == "pooler.dense" and pooling != 4):
            continue
        data = t.float().numpy()
        if data.ndim == 2 and rest != "embeddings.token_type_embeddings" and data.shape[1] % 32 == 0 and kind:
            w.add_tensor(layer + NAMES[rest] + "." + what, quants.quantize(data, kind), raw_dtype=kind)
        else:
            w.add_tensor(layer + NAMES[rest] + "." + what, np.ascontiguousarray(data))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    torch.manual_seed(5)
    OUT.mkdir(exist_ok=True)
    nomic = {**SHAPE, "hidden_size": 32, "num_attention_heads": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}}
    distil = dict(dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=64, initializer_range=0.35)
    wide = {**SHAPE, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}
    tall = {**SHAPE, "max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}
    unit = models.Normalize
    dense = lambda w: models.Dense(w, 16, activation_function=torch.nn.Tanh())
    golden = {
        "bert": vectors("bert", BertModel, BertConfig, word_pieces, SHAPE, "mean", [lambda w: unit()]),
        "bert_first": vectors("bert_first", BertModel, BertConfig, word_pieces, {**SHAPE, "hidden_act": "gelu_new"}, "cls", [dense], max_len=30),
        "bert_bf16": vectors("bert_bf16", BertModel, BertConfig, word_pieces, {**SHAPE, "hidden_act": "relu"}, "max", dtype=torch.bfloat16),
        "xlm_roberta": vectors("xlm_roberta", XLMRobertaModel, XLMRobertaConfig, unigrams, tall, "cls", [lambda w: unit()]),
        "distilbert": vectors("distilbert", DistilBertModel, DistilBertConfig, word_pieces, distil, "mean"),
        "nomic_bert": vectors("nomic_bert", NomicBertModel, NomicBertConfig, word_pieces, nomic, "mean", kind=GGMLQuantizationType.F16),
        "wide": vectors("wide", BertModel, BertConfig, word_pieces, wide, "cls", kind=GGMLQuantizationType.Q8_0),
        "cross": scores("cross", BertForSequenceClassification, BertConfig, word_pieces, SHAPE, torch.nn.Identity()),
        "cross_roberta": scores("cross_roberta", XLMRobertaForSequenceClassification, XLMRobertaConfig, unigrams, tall, None),
    }
    as_gguf("wide", "bert", 2, GGMLQuantizationType.Q8_0)
    as_gguf("nomic_bert", "nomic-bert", 1, GGMLQuantizationType.F16, [("nomic-bert.rope.freq_base", 1000.0)])
    as_gguf("cross", "bert", 4, None)
    for junk in list(OUT.glob("*/README.md")) + list(OUT.glob("*/special_tokens_map.json")):
        junk.unlink()
    (OUT / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")).replace("},", "},\n") + "\n")


main()
