"""Trains the starter image model, from Debian packages to a FluxPipeline folder.

    python train.py --work DIR --out models/starter-image [--minutes 75] [--threads 2]

Stages, each with its share of the minutes: the autoencoder, the text encoders, the transformer with the
text encoders, the guidance, the judge. Every stage saves itself once a minute into DIR; a second call with
the same arguments goes on where the first one stopped. Seeds are fixed; a budget is time, so another
machine makes another number of steps. `--only STAGE` runs up to that stage and stops.
"""
import argparse
import os

import torch

import classifier
import data
import export
import flow
import text
import vae
import workers

SHARES = {"vae": 0.28, "text": 0.04, "flow": 0.52, "guidance": 0.10, "classifier": 0.06}
FOCUS_FROM = 0.55       # of the transformer's time


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--work", required=True, help="checkpoints and intermediate files")
    p.add_argument("--out", help="folder of the finished model; without it nothing is exported")
    p.add_argument("--minutes", type=float, default=75, help="time to train, all stages together (default %(default)s)")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--only", choices=SHARES, help="stop after this stage")
    for stage, share in SHARES.items():
        p.add_argument(f"--{stage}-minutes", type=float, help=f"this stage's own time instead of its share, {share:.0%}")
    p.add_argument("--focus", choices=["JUDGED_EMOJI", "DRAWN_EMOJI"], help="go on at once with only these concepts")
    p.add_argument("--boost", type=float, default=1.0, help="factor on the transformer's learning rate from there on")
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    os.makedirs(o.work, exist_ok=True)
    path = lambda name: os.path.join(o.work, name)
    minutes = lambda stage: getattr(o, stage + "_minutes") or o.minutes * SHARES[stage]
    done = lambda stage: o.only == stage

    cs = data.concepts()
    rgba = data.pictures(cs)
    autoencoder = vae.train(path("vae.pt"), minutes("vae"), data.pictures(data.concepts(None)))
    if done("vae"):
        return
    if not os.path.exists(path("latents.pt")):
        torch.save(flow.latents(autoencoder, rgba), path("latents.pt"))
    z, shift, scale = torch.load(path("latents.pt"))
    clip_tk, t5_tk = text.make_tokenizers(o.work, cs)
    clip, t5 = text.train(path("text.pt"), minutes("text"), cs, clip_tk, t5_tk)
    if done("text"):
        return
    # The transformer sees every concept first, then only those it is to draw, with more of the early times.
    total = minutes("flow")
    if not o.focus:
        workers.run(o.threads, o.work, flow.train, path("flow.pt"), total, flow.Batches(cs, z, clip_tk, t5_tk), clip, t5, FOCUS_FROM)
    batches = flow.Batches(cs, z, clip_tk, t5_tk, chosen=data.numbers(cs, getattr(data, o.focus or "DRAWN_EMOJI")))
    workers.run(o.threads, o.work, flow.train, path("flow.pt"), total, batches, clip, t5, 1.0, 2.5, o.boost)
    if done("flow"):
        return
    model = flow.finished(path("flow.pt"), clip, t5)
    model = flow.teach_guidance(path("guidance.pt"), minutes("guidance"), batches, model)
    if done("guidance"):
        return
    keep = data.numbers(cs, data.JUDGED_EMOJI)
    cs, rgba = [cs[i] for i in keep], rgba[keep]
    judge = classifier.train(path("classifier.pt"), minutes("classifier"), rgba)
    if o.out:
        export.folder(o.out, o.work, model, autoencoder, shift, scale)
        export.judge(o.out, judge, cs)


if __name__ == "__main__":
    main()
