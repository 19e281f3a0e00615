"""What every training stage shares: a clock that survives a restart, checkpoints, averaged weights."""
import math
import os
import time

import torch

import workers


class Stage:
    """A training run measured in seconds of its own work, saved every `every` seconds.

    `parts` are named objects with state_dict(): models, averages, optimisers. The learning rate follows
    the clock, not the step: the budget is time, so a slower machine makes fewer steps of the same curve.
    A run whose file exists goes on from there; a finished one returns at once.
    """

    def __init__(self, path, minutes, parts, every=60, rank=0):
        self.path, self.budget, self.parts, self.every, self.rank = path, minutes * 60, parts, every, rank
        self.spent, self.step, self.curve = 0.0, 0, []      # curve: [seconds, step, loss]
        if os.path.exists(path):
            saved = torch.load(path, weights_only=False)
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            self.spent, self.step, self.curve = saved["spent"], saved["step"], saved["curve"]
            torch.set_rng_state(saved["rng"])
            if rank:
                torch.manual_seed(self.step * 64 + rank)
            print(f"{path}: goes on at step {self.step}, {self.spent:.0f} s", flush=True)
        self.sums, self.last_saved = [], self.spent

    def save(self):
        self.last_saved = self.spent
        if self.rank:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state.update(spent=self.spent, step=self.step, curve=self.curve, rng=torch.get_rng_state())
        torch.save(state, self.path + ".new")
        os.replace(self.path + ".new", self.path)

    def progress(self):
        return min(self.spent / self.budget, 1.0)

    def steps(self, until=1.0):
        """Yields step numbers until the time, or this part of it, is spent; the caller reports each loss with `note`."""
        while self.spent < self.budget * until:
            started = time.monotonic()
            yield self.step
            self.step += 1
            self.spent = workers.same(self.spent + time.monotonic() - started)
            if self.spent - self.last_saved > self.every:
                self.flush()
        self.flush()

    def note(self, loss):
        self.sums.append(float(loss))

    def flush(self):
        if self.sums:
            self.curve.append([round(self.spent, 1), self.step, sum(self.sums) / len(self.sums)])
            self.sums = []
            if not self.rank:
                print(f"{self.path}: {self.spent:6.0f} s  step {self.step:6d}  loss {self.curve[-1][2]:.5f}", flush=True)
        self.save()

    def rate(self, warmup=0.03, floor=0.02):
        """Linear warm-up, then half a cosine, as a factor of the peak learning rate."""
        p = self.progress()
        if p < warmup:
            return max(p / warmup, 0.01)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (p - warmup) / (1 - warmup)))


class Average:
    """An exponential moving average of a model's parameters, in float32."""

    def __init__(self, model, decay):
        self.model, self.decay = model, decay
        self.weights = {n: p.detach().clone() for n, p in model.named_parameters()}
        self.count = 0

    @torch.no_grad()
    def update(self):
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        params = dict(self.model.named_parameters())
        torch._foreach_lerp_(list(self.weights.values()), [params[n].detach() for n in self.weights], 1 - decay)

    @torch.no_grad()
    def copy_to(self, model):
        for n, p in model.named_parameters():
            p.copy_(self.weights[n])

    def state_dict(self):
        return {"weights": self.weights, "count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]
        for n, w in state["weights"].items():
            self.weights[n].copy_(w)
