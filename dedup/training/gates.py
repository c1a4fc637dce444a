"""Scores and labels of pairs -> gates and calibration curves, fitted on pairs that no network learned from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dedup.models.pair_head import COPY, SIMILAR, UNRELATED, Calibration
from dedup.types.pairs import Gate

_HIDDEN, _STEPS = 8, 1500
_MOST_WRONG = 0.02  # of the labels of sure copies; more cannot be explained by wrong labels
_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
_BINS = ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1.01))


def copy_odds(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (P,), the log-odds of a copy against the rest, of logits (P, 3)."""
    odds: NDArray[np.float32] = logits[:, COPY] - np.logaddexp(logits[:, UNRELATED], logits[:, SIMILAR])
    return odds


def fitted_gate(figures: NDArray[np.float64], wanted: NDArray[np.bool_], *, seed: int) -> Gate:
    """Return the gate over figures (P, F) of pairs that tells which pairs (P,) are wanted."""
    mean, spread = figures.mean(0), figures.std(0)
    inputs, y = torch.from_numpy((figures - mean) / spread).float(), torch.from_numpy(wanted).float()
    torch.manual_seed(seed)
    inner, outer = torch.nn.Linear(figures.shape[1], _HIDDEN), torch.nn.Linear(_HIDDEN, 1)
    network = torch.nn.Sequential(inner, torch.nn.ReLU(), outer)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=1e-2)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(network(inputs)[:, 0], y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    # the gate takes figures as they come: the standardisation is folded into its first layer
    weight = inner.weight.detach().double().numpy().T / spread[:, None]  # (F, H)
    bias = inner.bias.detach().double().numpy() - mean @ weight
    last = [*outer.weight.detach()[0].tolist(), *outer.bias.tolist()]
    return Gate(tuple(tuple(row) for row in np.round([*weight, bias], 6).tolist()), tuple(round(v, 6) for v in last))


def keeping(gate: Gate, figures: NDArray[np.float64], *, share: float) -> Gate:
    """Return the gate with its bias set so that a `share` of pairs with these figures (P, F) passes at 0.5."""
    chance = float(np.quantile(gate.chance(figures), 1 - share))
    return replace(gate, outer=(*gate.outer[:-1], round(gate.outer[-1] - math.log(chance / (1 - chance)), 6)))


def fitted_curve(
    odds: NDArray[np.float32],
    copies: NDArray[np.bool_],
    wanted: int,
    *,
    weight: NDArray[np.float64] | None = None,
) -> Calibration:
    """Return the curve that turns log-odds (P,) into probabilities. wanted: the number of copies there are in all.

    weight: (P,), how much each pair counts; alike by default.

    Some photos that are labelled as different are not. A share of wrong labels among sure copies is fitted too;
    otherwise a few of them where the network is surest would lower every probability.
    """
    z, true = torch.from_numpy(odds).double(), torch.from_numpy(copies).double()
    counted = torch.from_numpy(np.ones(len(odds)) if weight is None else weight / weight.mean())
    print(f"calibration: {len(z)} candidates hold {int(true.sum())} of {wanted} copies", flush=True)
    curve = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([curve], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        believed = torch.sigmoid(curve[0] * z + curve[1]) * (1 - _MOST_WRONG * torch.sigmoid(curve[2]))
        loss = F.binary_cross_entropy(believed, true, weight=counted)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    slope, offset, wrong = curve.tolist()
    print(f"  {_MOST_WRONG / (1 + math.exp(-wrong)):.4f} of the sure labels are taken to be wrong", flush=True)
    _print_reliability(torch.sigmoid(slope * z + offset).detach().numpy(), copies, wanted)
    return Calibration(slope, offset)


def _print_reliability(probability: NDArray[np.float64], true: NDArray[np.bool_], wanted: int) -> None:
    for threshold in _THRESHOLDS:
        reported = true[probability >= threshold]
        if len(reported):
            precision, recall = reported.mean(), reported.sum() / max(wanted, 1)
            print(f"  at {threshold}: precision {precision:.4f}, recall {recall:.4f}", flush=True)
    for low, high in _BINS:
        inside = (probability >= low) & (probability < high)
        if inside.any():
            mean, share = probability[inside].mean(), true[inside].mean()
            print(f"  {int(inside.sum()):6d} pairs at {mean:.4f} on average, {share:.4f} of them copies", flush=True)
