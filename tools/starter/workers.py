"""Data parallel training in single-threaded processes.

On a machine that others use too, two threads inside every operation wait for each other thousands of
times a second; two processes of one thread meet once a step. Every process holds the whole model, starts
from the same seed, draws its own batches, and applies the same averaged gradient.
"""
import os

import torch
import torch.distributed as dist


def run(n, work, function, *args):
    """function(rank, *args) in n processes; returns when all have ended."""
    store = os.path.join(work, "store")
    if os.path.exists(store):
        os.remove(store)
    torch.multiprocessing.spawn(_start, (n, store, function, args), nprocs=n)


def _start(rank, n, store, function, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=n)
    function(rank, *args)
    dist.destroy_process_group()


def average_gradients(parameters):
    """The mean of every process's gradients, in one message."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for g, part in zip(grads, flat.split([g.numel() for g in grads])):
        g.copy_(part.view_as(g))


def same(number):
    """Rank 0's number, everywhere: the clocks of the processes differ by a little."""
    if not dist.is_initialized():
        return number
    t = torch.tensor([number], dtype=torch.float64)
    dist.broadcast(t, 0)
    return t.item()
