"""Loss and batches -> a fitted network. Knows nothing about photos or pairs."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Network = TypeVar("Network", bound=torch.nn.Module)
_SAVED_EVERY = 100  # steps
_EXAMINED_EVERY = 400  # steps


class Log:
    """A CSV that grows a line a step, and every twentieth line on the terminal: the curves of a run."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, 0

    def write(self, **figures: float) -> None:
        """Add a line; the first one of a new file is preceded by the names of the figures."""
        with self.path.open("a", newline="", encoding="utf-8") as f:
            rows = csv.writer(f)
            if f.tell() == 0:
                rows.writerow(figures)
            rows.writerow(f"{v:.5g}" for v in figures.values())
        if self.lines % 20 == 0:
            print("  ".join(f"{k} {v:.4g}" for k, v in figures.items()), flush=True)
        self.lines += 1


def schedule(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Set the learning rates: warm-up for a twentieth of the steps, then down to zero along a cosine."""
    done = step / steps
    factor = min(1.0, done * 20 + 1e-3) * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def descend(loss: torch.Tensor, network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Take one step down the gradient, clipped to a norm of 1."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


def save_state(path: Path, **state: object) -> None:
    """Write a checkpoint; a stop in between leaves the one before."""
    unfinished = path.with_suffix(".new")
    torch.save(state, unfinished)
    unfinished.replace(path)


def fit(
    network: Network,
    batches: Callable[[range], Iterable[tuple[torch.Tensor, ...]]],
    loss_of: Callable[[Network, tuple[torch.Tensor, ...]], torch.Tensor],
    examine: Callable[[Network], dict[str, float]],
    state: Path,
    *,
    steps: int,
    peak: float,
    memory: float,
    device: str,
) -> Network:
    """Return the network after so many steps, continued from the checkpoint `state` if there is one.

    batches: steps -> their batches, each of which depends on its step alone.   examine: figures on pairs held apart.
    What is returned is the running mean of the weights, of which each step leaves the share `memory`: it judges better
    than the weights of any one step. The curve is written beside the checkpoint.
    """
    network = network.to(device)
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(memory))  # type: ignore[no-untyped-call]
    averaged = cast(Network, mean.module)
    optimiser = torch.optim.AdamW([{"params": list(network.parameters()), "peak": peak}], weight_decay=1e-2)
    first = 0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        mean.load_state_dict(saved["mean"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    log, started = Log(state.with_suffix(".csv")), time.monotonic()
    for step, batch in enumerate(batches(range(first, steps)), first):
        schedule(optimiser, step, steps)
        loss = loss_of(network, tuple(x.to(device) for x in batch))
        descend(loss, network, optimiser)
        mean.update_parameters(network)
        log.write(step=step, seconds=time.monotonic() - started, loss=loss.item())
        last = step + 1 == steps
        if (step + 1) % _EXAMINED_EVERY == 0 or last:
            figures = examine(averaged)
            print(f"step {step + 1}  " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()), flush=True)
        if (step + 1) % _SAVED_EVERY == 0 or last:
            weights, running = network.state_dict(), mean.state_dict()
            save_state(state, step=step + 1, network=weights, mean=running, optimiser=optimiser.state_dict())
    network.load_state_dict(averaged.state_dict())
    return network.cpu().eval()
