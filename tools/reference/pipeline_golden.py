#!/usr/bin/env python3
"""Makes whole tiny pipelines in diffusers' folder format under tests/golden/pipelines, and the pictures that diffusers draws with
them from given noise.

    pip install torch diffusers transformers tokenizers safetensors sentencepiece
    tools/reference/pipeline_golden.py

Each folder loads with DiffusionPipeline.from_pretrained(). golden.safetensors holds for every case the initial noise
[n, c, h, w], the final picture [height, width, 3] in 0..1, and for image to image the input picture.
"""
import json
import pathlib
import shutil

import torch
from PIL import Image
from diffusers import (AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EDMDPMSolverMultistepScheduler,
                       EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline,
                       FluxTransformer2DModel, StableDiffusionXLImg2ImgPipeline,
                       StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline,
                       UNet2DConditionModel)
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedTokenizerFast,
                          T5Config, T5EncoderModel)

from image_golden import randn, randomise

OUT = pathlib.Path("tests/golden/pipelines")
WORDS = ["a red apple on a blue background", "a photo of an astronaut riding a horse on mars, highly detailed",
         "cat face and umbrella, watercolour", "an old house by the sea at night, 4k", "blurry, low quality"]
PROMPT, NEGATIVE = WORDS[1], WORDS[4]


def clip_tokenizer(path, pad):
    """A CLIP tokenizer trained on a handful of words, in vocab.json and merges.txt form."""
    tok = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tok.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=180, end_of_word_suffix="</w>", show_progress=False,
                                  special_tokens=["!", "<|startoftext|>", "<|endoftext|>"])
    tok.train_from_iterator(WORDS * 4, trainer)
    path.mkdir(parents=True, exist_ok=True)
    tok.model.save(str(path))
    (path / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 20, "bos_token": "<|startoftext|>",
         "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}))
    return CLIPTokenizer.from_pretrained(str(path))


def t5_tokenizer(path, length=24):
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tok.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
                                      show_progress=False)
    tok.train_from_iterator(WORDS * 4, trainer)
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
                                   model_max_length=length)
    fast.save_pretrained(str(path))
    return fast


def clip(tokenizer, hidden, projection, seed):
    config = CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=3, num_attention_heads=2,
                            intermediate_size=2 * hidden, max_position_embeddings=20, projection_dim=projection or hidden,
                            hidden_act="gelu" if projection else "quick_gelu", bos_token_id=tokenizer.bos_token_id,
                            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return randomise((CLIPTextModelWithProjection if projection else CLIPTextModel)(config), seed)


def vae(latent, flux, **extra):
    return randomise(AutoencoderKL(block_out_channels=[8, 16], latent_channels=latent, norm_num_groups=4, layers_per_block=1,
                                   down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
                                   scaling_factor=0.3611 if flux else 0.13025, shift_factor=0.1159 if flux else None,
                                   use_quant_conv=not flux, use_post_quant_conv=not flux, sample_size=32, **extra), 21, 0.1)


def right_half(h, w):
    """A mask of whole latent cells: what it covers is painted anew."""
    mask = Image.new("L", (w, h), 0)
    mask.paste(255, (w // 2, 0, w, h))
    return mask


def flux(path, guidance):
    shutil.rmtree(path, ignore_errors=True)
    words, words2 = clip_tokenizer(path / "tokenizer", "<|endoftext|>"), t5_tokenizer(path / "tokenizer_2")
    t5 = randomise(T5EncoderModel(T5Config(vocab_size=len(words2), d_model=32, d_kv=8, d_ff=36, num_layers=2, num_heads=3,
                                           feed_forward_proj="gated-gelu", tie_word_embeddings=False)), 22, 0.2)
    transformer = randomise(FluxTransformer2DModel(patch_size=1, in_channels=16, num_layers=1, num_single_layers=2,
                                                   attention_head_dim=8, num_attention_heads=2, joint_attention_dim=32,
                                                   pooled_projection_dim=24, guidance_embeds=guidance,
                                                   axes_dims_rope=[2, 2, 4]), 23)
    scheduler = (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0) if guidance
                 else FlowMatchEulerDiscreteScheduler(shift=1.0))
    pipe = FluxPipeline(scheduler=scheduler, vae=vae(4, True), text_encoder=clip(words, 24, 0, 24), tokenizer=words,
                        text_encoder_2=t5, tokenizer_2=words2, transformer=transformer)
    pipe.save_pretrained(str(path))
    pipe.set_progress_bar_config(disable=True)
    length = 24
    golden, h, w = {}, 24, 32
    noise = randn(31, 2, 4, h // 2, w // 2)
    steps = 5 if guidance else 3
    for i in range(2):
        packed = FluxPipeline._pack_latents(noise[i : i + 1], 1, 4, h // 2, w // 2)
        picture = pipe(PROMPT, height=h, width=w, num_inference_steps=steps, guidance_scale=3.5, latents=packed,
                       max_sequence_length=length, output_type="np").images[0]
        golden[f"text{i}"] = torch.tensor(picture)
    golden["noise"] = noise
    if guidance:
        start = (randn(33, h, w, 3) * 60 + 128).clamp(0, 255).to(torch.uint8)
        img = FluxImg2ImgPipeline(**pipe.components)
        img.set_progress_bar_config(disable=True)
        picture = img(PROMPT, image=Image.fromarray(start.numpy()), strength=0.6, height=h, width=w, num_inference_steps=5,
                      guidance_scale=3.5, generator=torch.Generator().manual_seed(77), max_sequence_length=length,
                      output_type="np").images[0]
        golden["init"], golden["img2img"] = start, torch.tensor(picture)
        img = FluxInpaintPipeline(**pipe.components)
        img.set_progress_bar_config(disable=True)
        for name, strength in (("inpaint", 0.6), ("inpaint_whole", 1.0)):
            picture = img(PROMPT, image=Image.fromarray(start.numpy()), mask_image=right_half(h, w), strength=strength, height=h,
                          width=w, num_inference_steps=5, guidance_scale=3.5, generator=torch.Generator().manual_seed(79),
                          max_sequence_length=length, output_type="np").images[0]
            golden[name] = torch.tensor(picture)
        seeded = pipe(PROMPT, height=h, width=w, num_inference_steps=steps, guidance_scale=3.5,
                      generator=torch.Generator().manual_seed(4242), max_sequence_length=length, output_type="np").images[0]
        golden["seed4242"] = torch.tensor(seeded)
    save_file({k: v.contiguous() for k, v in golden.items()}, str(path / "golden.safetensors"))


def sdxl(path, edm):
    shutil.rmtree(path, ignore_errors=True)
    words, words2 = clip_tokenizer(path / "tokenizer", "<|endoftext|>"), clip_tokenizer(path / "tokenizer_2", "!")
    one, two = clip(words, 16, 0, 25), clip(words2, 24, 10, 26)
    unet = randomise(UNet2DConditionModel(sample_size=16, in_channels=4, out_channels=4, block_out_channels=[4, 8],
                                          layers_per_block=1, down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
                                          up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
                                          transformer_layers_per_block=[1, 2], attention_head_dim=[1, 2],
                                          cross_attention_dim=40, norm_num_groups=2, addition_embed_type="text_time",
                                          addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 10,
                                          use_linear_projection=True), 27)
    vp = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading")
    if edm:
        scheduler = EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
        decoder = vae(4, False, latents_mean=[-1.6574, 1.886, -1.383, 2.5155], latents_std=[8.4927, 5.9022, 6.5498, 5.2299])
        decoder.register_to_config(scaling_factor=0.5)
    else:
        scheduler, decoder = EulerDiscreteScheduler(**vp), vae(4, False)
    pipe = StableDiffusionXLPipeline(vae=decoder, text_encoder=one, text_encoder_2=two, tokenizer=words, tokenizer_2=words2,
                                     unet=unet, scheduler=scheduler, force_zeros_for_empty_prompt=True,
                                     add_watermarker=False)
    pipe.save_pretrained(str(path))
    pipe.set_progress_bar_config(disable=True)
    golden, h, w = {}, 24, 40
    noise = randn(32, 1, 4, h // 2, w // 2)
    size = dict(height=h, width=w, num_inference_steps=6, output_type="np")
    golden["noise"] = noise
    golden["plain"] = torch.tensor(pipe(PROMPT, guidance_scale=5.0, latents=noise.clone(), **size).images[0])
    golden["negative"] = torch.tensor(pipe(PROMPT, negative_prompt=NEGATIVE, guidance_scale=5.0, latents=noise.clone(),
                                           **size).images[0])
    golden["unguided"] = torch.tensor(pipe(PROMPT, guidance_scale=1.0, latents=noise.clone(), **size).images[0])
    start = (randn(34, h, w, 3) * 60 + 128).clamp(0, 255).to(torch.uint8)
    img = StableDiffusionXLImg2ImgPipeline(**pipe.components, add_watermarker=False)
    img.set_progress_bar_config(disable=True)
    picture = img(PROMPT, image=Image.fromarray(start.numpy()), strength=0.6, num_inference_steps=6, guidance_scale=5.0,
                  generator=torch.Generator().manual_seed(78), output_type="np").images[0]
    golden["init"], golden["img2img"] = start, torch.tensor(picture)
    if not edm:
        golden["skip"] = torch.tensor(pipe(PROMPT, guidance_scale=5.0, latents=noise.clone(), clip_skip=1, **size).images[0])
        golden["skip_negative"] = torch.tensor(pipe(PROMPT, negative_prompt=NEGATIVE, guidance_scale=5.0, clip_skip=1,
                                                    latents=noise.clone(), **size).images[0])
        for name, cls, extra in (("dpmpp_2m", DPMSolverMultistepScheduler, {}),
                                 ("dpmpp_2m_karras", DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
                                 ("ddim", DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False})):
            pipe.scheduler = cls(**vp, **extra)
            golden[name] = torch.tensor(pipe(PROMPT, guidance_scale=5.0, latents=noise.clone(), **size).images[0])
        pipe.scheduler = scheduler
        img = StableDiffusionXLInpaintPipeline(**pipe.components, add_watermarker=False)
        img.set_progress_bar_config(disable=True)
        for name, strength in (("inpaint", 0.6), ("inpaint_whole", 1.0)):
            picture = img(PROMPT, image=Image.fromarray(start.numpy()), mask_image=right_half(h, w), strength=strength, height=h,
                          width=w, num_inference_steps=6, guidance_scale=5.0, generator=torch.Generator().manual_seed(79),
                          output_type="np").images[0]
            golden[name] = torch.tensor(picture)
    save_file({k: v.contiguous() for k, v in golden.items()}, str(path / "golden.safetensors"))


def japanese(path, base):
    """Japanese SDXL's form: one text encoder with a SentencePiece tokenizer; where the second one's output would go are zeros."""
    shutil.rmtree(path, ignore_errors=True)
    words = t5_tokenizer(path / "tokenizer", 20)
    config = json.loads((path / "tokenizer/tokenizer_config.json").read_text())
    (path / "tokenizer/tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "T5Tokenizer"}, indent=2))
    encoder = clip(words, 16, 16, 28)
    encoder.save_pretrained(str(path / "text_encoder"))
    for part in ("unet", "vae", "scheduler"):
        (path / part).symlink_to(f"../{base.name}/{part}")
    (path / "model_index.json").write_text(json.dumps({
        "_class_name": ["pipeline_japanese_stable_diffusion_xl", "JapaneseStableDiffusionXLPipeline"],
        "force_zeros_for_empty_prompt": True, "null_encoder": ["modeling_clipnull", "CLIPNullTextModel"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "T5Tokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]}, indent=2) + "\n")
    pipe = StableDiffusionXLPipeline(vae=AutoencoderKL.from_pretrained(path / "vae"),
                                     unet=UNet2DConditionModel.from_pretrained(path / "unet"),
                                     scheduler=EulerDiscreteScheduler.from_pretrained(path / "scheduler"), text_encoder=None,
                                     text_encoder_2=None, tokenizer=None, tokenizer_2=None, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)

    def context(text):
        ids = words(text, padding="max_length", max_length=20, truncation=True, return_tensors="pt").input_ids
        hidden = encoder(ids, output_hidden_states=True).hidden_states[-2]
        return torch.cat([hidden, torch.zeros(1, 20, 24)], -1).detach()

    golden, h, w = {}, 24, 40
    golden["noise"] = randn(32, 1, 4, h // 2, w // 2)
    for name, negative in (("plain", None), ("negative", NEGATIVE)):
        positive, zeros = context(PROMPT), torch.zeros(1, 10)
        against = context(negative) if negative else torch.zeros_like(positive)
        golden[name] = torch.tensor(pipe(prompt_embeds=positive, negative_prompt_embeds=against, pooled_prompt_embeds=zeros,
                                         negative_pooled_prompt_embeds=zeros, guidance_scale=5.0, height=h, width=w,
                                         num_inference_steps=6, latents=golden["noise"].clone(), output_type="np").images[0])
    save_file({k: v.contiguous() for k, v in golden.items()}, str(path / "golden.safetensors"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    flux(OUT / "flux_dev", True)
    flux(OUT / "flux_schnell", False)
    sdxl(OUT / "sdxl", False)
    sdxl(OUT / "playground", True)
    japanese(OUT / "japanese", OUT / "sdxl")
