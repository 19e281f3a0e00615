"""Stage 3: the two tokenizers and the two text encoders.

The tokenizers are trained on the training captions alone, in the formats of FLUX's own: CLIP's byte-level
BPE with `</w>` (vocab.json, merges.txt) and T5's SentencePiece unigram (spiece.model).

The encoders first learn to tell which concept and which background a caption means, which takes minutes;
the transformer's training then goes on with them. Learning the language from the pictures' loss alone
would take far longer than the transformer itself needs.
"""
import io
import json
import os

import numpy as np
import sentencepiece
import tokenizers
import torch
import torch.nn.functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast, T5Config, T5EncoderModel, T5TokenizerFast

import data
from stage import Average, Stage

CLIP_VOCAB, T5_VOCAB = 3072, 3072
LENGTH = 24         # tokens of the T5 sequence; CLIP's first LENGTH tokens are enough while training: it is causal
CLIP_LENGTH = 77
BATCH = 256
POOL = 100000       # captions drawn in advance
CLIP_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip_tokenizer(texts, folder):
    """Trains CLIP's BPE and writes vocab.json, merges.txt and what from_pretrained needs beside them."""
    tk = tokenizers.Tokenizer(tokenizers.models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    tk.normalizer = tokenizers.normalizers.Sequence([
        tokenizers.normalizers.NFC(), tokenizers.normalizers.Replace(tokenizers.Regex(r"\s+"), " "), tokenizers.normalizers.Lowercase()])
    tk.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(CLIP_PATTERN), behavior="removed", invert=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    n_merges = CLIP_VOCAB - 2 * 256 - 2
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=CLIP_VOCAB + 512, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>", show_progress=False)
    tk.train_from_iterator(texts, trainer)
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in json.loads(tk.to_str())["model"]["merges"]][:n_merges]
    # CLIP's order: printable bytes first, each as itself, then the others as code points from 256 on.
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    symbols = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    words = symbols + [s + "</w>" for s in symbols] + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(words)) == len(words)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump({w: i for i, w in enumerate(words)}, f, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    specials = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    fast = CLIPTokenizerFast(vocab={w: i for i, w in enumerate(words)}, merges=merges, model_max_length=CLIP_LENGTH, **specials)
    fast.save_pretrained(folder)
    return len(words)


def t5_tokenizer(texts, folder):
    """Trains the unigram model and writes spiece.model, tokenizer.json and tokenizer_config.json."""
    model = io.BytesIO()
    # Every ASCII character and kana, whether or not a caption has it: an unknown piece is a lost word.
    required = "".join(map(chr, [*range(33, 127), *range(0x3041, 0x3097), *range(0x30A1, 0x30FD)]))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="unigram", vocab_size=T5_VOCAB, character_coverage=1.0,
        required_chars=required, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>",
        normalization_rule_name="nmt_nfkc", num_threads=1, minloglevel=2, max_sentencepiece_length=12)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "spiece.model"), "wb") as f:
        f.write(model.getvalue())
    fast = T5TokenizerFast.from_pretrained(folder, extra_ids=0, model_max_length=LENGTH)
    fast.save_pretrained(folder)


def make_tokenizers(folder, cs):
    """Trains both on 60,000 training captions unless they are there already, and loads them."""
    clip_folder, t5_folder = os.path.join(folder, "tokenizer"), os.path.join(folder, "tokenizer_2")
    if not os.path.exists(os.path.join(t5_folder, "tokenizer.json")):
        rng = np.random.default_rng(3)
        captions = data.Captions(cs)
        texts = [captions.draw(rng, int(rng.integers(len(cs))), int(rng.integers(len(data.COLOURS)))) for _ in range(60000)]
        clip_tokenizer(texts, clip_folder)
        t5_tokenizer(texts, t5_folder)
    return CLIPTokenizerFast.from_pretrained(clip_folder), T5TokenizerFast.from_pretrained(t5_folder)


def models(clip_tk, t5_tk):
    n = len(clip_tk)
    clip = CLIPTextModel(CLIPTextConfig(
        vocab_size=n, hidden_size=96, intermediate_size=384, num_hidden_layers=2, num_attention_heads=3, projection_dim=96,
        max_position_embeddings=CLIP_LENGTH, hidden_act="quick_gelu", bos_token_id=n - 2, eos_token_id=n - 1, pad_token_id=n - 1))
    t5 = T5EncoderModel(T5Config(
        vocab_size=len(t5_tk), d_model=128, d_kv=32, num_heads=4, d_ff=256, num_layers=2, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", relative_attention_num_buckets=32, relative_attention_max_distance=128,
        pad_token_id=0, eos_token_id=1, tie_word_embeddings=False, is_encoder_decoder=False, use_cache=False))
    return clip, t5


def tokenize(clip_tk, t5_tk, texts):
    """int32 [n, LENGTH] for CLIP, cut and padded as its 77 tokens begin, and for T5."""
    c = clip_tk(texts, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    t = t5_tk(texts, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    return np.array(c, np.int32), np.array(t, np.int32)


def caption_pool(cs, clip_tk, t5_tk, n, seed, holdout=False, chosen=None):
    """n captions of all concepts or the chosen ones, as arrays: concept, colour, CLIP ids, T5 ids."""
    rng = np.random.default_rng([4, seed])
    captions = data.Captions(cs, holdout)
    concept = np.resize([c for c in chosen or range(len(cs)) if captions.has(c)], n)
    rng.shuffle(concept)
    colour = rng.integers(len(data.COLOURS), size=n)
    colour[rng.random(n) < 0.4] = 0          # most prompts name no background
    texts = [captions.draw(rng, int(c), int(k)) for c, k in zip(concept, colour)]
    return (concept, colour, *tokenize(clip_tk, t5_tk, texts))


class Reader(torch.nn.Module):
    """The encoders with a head each that says concept and background."""

    def __init__(self, clip, t5, n_concepts):
        super().__init__()
        self.clip, self.t5 = clip, t5
        n_out = n_concepts + len(data.COLOURS)
        self.clip_head = torch.nn.Linear(clip.config.hidden_size, n_out)
        self.t5_head = torch.nn.Linear(t5.config.d_model, n_out)

    def forward(self, clip_ids, t5_ids):
        pooled = self.clip(clip_ids).pooler_output
        tokens = self.t5(t5_ids).last_hidden_state
        return self.clip_head(pooled), self.t5_head(tokens.mean(1))


def train(path, minutes, cs, clip_tk, t5_tk):
    torch.manual_seed(3)
    model = Reader(*models(clip_tk, t5_tk), len(cs))
    average = Average(model, 0.99)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
    stage = Stage(path, minutes, {"model": model, "average": average, "optimiser": optimiser}, every=20)
    if stage.progress() < 1:
        pool = [torch.from_numpy(a).long() for a in caption_pool(cs, clip_tk, t5_tk, POOL, 0)]
    for step in stage.steps():
        pick = torch.from_numpy(np.random.default_rng([3, step]).integers(POOL, size=BATCH))
        concept, colour, clip_ids, t5_ids = (a[pick] for a in pool)
        with torch.autocast("cpu", torch.bfloat16):
            outs = model(clip_ids, t5_ids)
        loss = 0
        for out in outs:
            out = out.float()
            loss = loss + F.cross_entropy(out[:, :len(cs)], concept) + 0.5 * F.cross_entropy(out[:, len(cs):], colour)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * stage.rate()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update()
        stage.note(loss.detach())
    average.copy_to(model)
    model.eval()
    with torch.no_grad():
        concept, colour, clip_ids, t5_ids = (torch.from_numpy(a).long() for a in caption_pool(cs, clip_tk, t5_tk, 2000, 1, holdout=True))
        for name, out in zip(("CLIP", "T5"), model(clip_ids, t5_ids)):
            right = (out[:, :len(cs)].argmax(1) == concept).float().mean(), (out[:, len(cs):].argmax(1) == colour).float().mean()
            print(f"{name} on held-out wordings: concept {right[0]:.3f}, background {right[1]:.3f}", flush=True)
    return model.clip, model.t5
