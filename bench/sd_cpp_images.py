"""stable-diffusion.cpp through its Python binding: seconds of a step and of a VAE decode as JSON lines.

    sd_cpp_images.py FOLDER SIDE STEPS THREADS

FOLDER: of sd_xl_base.safetensors, or of FLUX as single files. Without T5: FLUX gets its 256 text tokens as zeros. Its progress
callback ends a step; what follows the last one is the decoder.
"""
import json
import pathlib
import sys
import time

from stable_diffusion_cpp import StableDiffusion

folder = pathlib.Path(sys.argv[1])
side, steps, threads = (int(x) for x in sys.argv[2:5])
options = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}  # of StableDiffusion(), to try others
if (folder / "flux1-dev.safetensors").exists():
    where = {"diffusion_model_path": str(folder / "flux1-dev.safetensors"), "vae_path": str(folder / "ae.safetensors"),
             "clip_l_path": str(folder / "clip_l.safetensors")}
else:
    where = {"model_path": str(folder / "sd_xl_base.safetensors")}
model = StableDiffusion(**where, n_threads=threads, verbose=False, **options)
ends = []
model.generate_image(prompt="a red bicycle by the sea", width=side, height=side, cfg_scale=1.0, sample_steps=steps,
                     sample_method="euler", progress_callback=lambda step, n, seconds: ends.append(time.perf_counter()))
done = time.perf_counter()
took = [b - a for a, b in zip(ends, ends[1:])]
print(json.dumps({"test": "step", "seconds": round(min(took), 3)}))
print(json.dumps({"test": "decode", "seconds": round(done - ends[-1], 3)}))
