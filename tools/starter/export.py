"""Writes the model as the folder that FluxPipeline.from_pretrained reads: bfloat16 tensors, one file a network."""
import json
import os
import shutil

import torch
from safetensors.torch import save_file

import data
import flow
import text

NAMES = {"transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model", "text_encoder_2": "model"}


def tensors(folder, part, state):
    save_file({k: v.detach().to(torch.bfloat16).contiguous() for k, v in state.items()},
              os.path.join(folder, part, NAMES[part] + ".safetensors"), metadata={"format": "pt"})


def config(folder, part, fields, name="config.json"):
    os.makedirs(os.path.join(folder, part), exist_ok=True)
    with open(os.path.join(folder, part, name), "w", encoding="utf-8") as f:
        json.dump(fields, f, indent=2, ensure_ascii=False)
        f.write("\n")


def folder(out, work, model, autoencoder, shift, scale):
    """`model` is flow.Drawer; shift and scale are the autoencoder's latent mean and inverse spread."""
    config(out, ".", {
        "_class_name": "FluxPipeline", "_diffusers_version": "0.30.0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"], "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"]}, "model_index.json")
    config(out, "scheduler", {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0", "base_image_seq_len": 256, "base_shift": 0.5,
        "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True},
        "scheduler_config.json")

    fields = {k: v for k, v in model.transformer.config.items() if not k.startswith("_") and v is not None}
    config(out, "transformer", {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0", **fields})
    tensors(out, "transformer", model.transformer.state_dict())
    fields = {k: v for k, v in autoencoder.config.items() if not k.startswith("_") and v is not None}
    fields.update(shift_factor=shift, scaling_factor=scale)
    config(out, "vae", {"_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0", **fields})
    tensors(out, "vae", autoencoder.state_dict())

    # The names that every published CLIP text model has, whatever the library calls its attributes today.
    clip = {k if k.startswith("text_model.") else "text_model." + k: v for k, v in model.clip.state_dict().items() if "position_ids" not in k}
    c = model.clip.config
    config(out, "text_encoder", {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **{k: getattr(c, k) for k in (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "projection_dim",
        "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout", "bos_token_id", "eos_token_id", "pad_token_id")},
        "torch_dtype": "bfloat16"})
    tensors(out, "text_encoder", clip)
    t5 = {k: v for k, v in model.t5.state_dict().items() if k != "encoder.embed_tokens.weight"}     # the same tensor as shared
    c = model.t5.config
    config(out, "text_encoder_2", {"architectures": ["T5EncoderModel"], "model_type": "t5", **{k: getattr(c, k) for k in (
        "vocab_size", "d_model", "d_kv", "num_heads", "d_ff", "num_layers", "dropout_rate", "layer_norm_epsilon", "feed_forward_proj",
        "relative_attention_num_buckets", "relative_attention_max_distance", "pad_token_id", "eos_token_id", "tie_word_embeddings")},
        "is_encoder_decoder": False, "use_cache": False, "torch_dtype": "bfloat16"})
    tensors(out, "text_encoder_2", t5)

    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(os.path.join(work, part), os.path.join(out, part), dirs_exist_ok=True)
    config(out, "tokenizer", {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": text.CLIP_LENGTH, "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "do_lower_case": True,
        "errors": "replace", "add_prefix_space": False}, "tokenizer_config.json")
    config(out, "tokenizer_2", {
        "tokenizer_class": "T5Tokenizer", "model_max_length": text.LENGTH, "eos_token": "</s>", "unk_token": "<unk>",
        "pad_token": "<pad>", "extra_ids": 0}, "tokenizer_config.json")


def judge(out, model, cs):
    """The classifier, float16, and its labels: the emoji and their English names, in the order of its outputs."""
    path = os.path.join(out, "classifier")
    os.makedirs(path, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, os.path.join(path, "classifier.safetensors"))
    with open(os.path.join(path, "labels.json"), "w", encoding="utf-8") as f:
        json.dump([{"emoji": c.emoji, "name": c.name} for c in cs], f, ensure_ascii=False, indent=0)
        f.write("\n")
