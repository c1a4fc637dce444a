"""Aligned pairs -> logits: the residual head, which examines pairs where the descriptors are not decisive.

It sees both pictures on one canvas (geometry/registration.py) at a higher resolution than the pair head, and what still
differs after alignment and colour matching: a smile, a moved hand, a digit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dedup.geometry.canvas import CANVAS, PLANES, Canvas, residuals
from dedup.geometry.registration import EVIDENCE, Aligned
from dedup.types.arrays import Floats
from dedup.types.pairs import Explanation

BATCH = 4  # pairs in a forward pass; always exactly this many, see encoder.encode()
_WIDTHS = (12, 24, 40)


class ResidualHead(nn.Module):
    """Residual planes of aligned pairs and the logits of the pair head -> logits (P, 3): unrelated, similar, copy."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three = _WIDTHS
        self.edges = nn.Conv2d(PLANES, one, 3, 2, 1)
        self.parts = nn.Conv2d(one, two, 3, 2, 1)
        self.things = nn.Conv2d(two, three, 3, 2, 1)
        self.around = nn.Conv2d(three, three, 3, 1, 1)
        self.weigh = nn.Conv2d(three, 2, 1)
        self.gather = nn.Linear(4 * three + EVIDENCE + 4, 64)
        self.decide = nn.Linear(64, 3)

    def forward(self, planes: Tensor, covered: Tensor, evidence: Tensor, logits: Tensor, cosine: Tensor) -> Tensor:
        """Return logits (P, 3).

        planes: (P, PLANES, S, S). covered: (P, S, S). evidence: (P, EVIDENCE). logits: (P, 3). cosine: (P,).
        """
        return self.judge(self.pooled(planes, covered), evidence, logits, cosine)

    def pooled(self, planes: Tensor, covered: Tensor) -> Tensor:
        """Return (P, 4 * C), what the convolutions see: two weighted sums, the mean and the maximum over the cells."""
        x, inside, weight = self.places(planes, covered)
        weighted = torch.einsum("pcs,pks->pkc", x, weight).flatten(1)
        return torch.cat([weighted, (x * inside).sum(2) / (inside.sum(2) + 1e-3), (x * inside).amax(2)], dim=1)

    def judge(self, pooled: Tensor, evidence: Tensor, logits: Tensor, cosine: Tensor) -> Tensor:
        """Return logits (P, 3) of what pooled() returns and the other inputs of forward()."""
        before = logits.clamp(-12, 12) / 4
        gathered = F.relu(self.gather(torch.cat([pooled, evidence, before, cosine[:, None]], dim=1)))
        decided: Tensor = self.decide(gathered)
        return decided

    def places(self, planes: Tensor, covered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (P, C, S'), the covered share of each cell (P, 1, S'), and two weights of each (P, 2, S')."""
        x = F.relu(self.things(F.relu(self.parts(F.relu(self.edges(planes))))))
        x = x + F.relu(self.around(x))
        inside = F.adaptive_avg_pool2d(covered[:, None].float(), (x.shape[2], x.shape[3])).flatten(2)
        weight = (self.weigh(x).flatten(2) + (inside + 1e-4).log()).softmax(2)
        return x.flatten(2), inside, weight


@torch.inference_mode()
def residual_logits(
    net: ResidualHead, aligned: Sequence[Aligned], logits: Floats, cosine: Floats, *, device: str = "cpu"
) -> Floats:
    """Return logits (P, 3) of P aligned pairs. logits: (P, 3), of the pair head. cosine: (P,)."""
    out = np.empty((len(aligned), 3), np.float32)
    planes = np.zeros((BATCH, PLANES, CANVAS, CANVAS), np.float32)
    covered, evidence = np.zeros((BATCH, CANVAS, CANVAS), bool), np.zeros((BATCH, EVIDENCE), np.float32)
    before, similarity = np.zeros((BATCH, 3), np.float32), np.zeros(BATCH, np.float32)
    for start in range(0, len(aligned), BATCH):
        n = min(BATCH, len(aligned) - start)
        for row, pair in enumerate(aligned[start : start + n]):
            planes[row] = residuals(pair.first, pair.second, pair.covered)
            covered[row], evidence[row] = pair.covered, pair.evidence
        before[:n], similarity[:n] = logits[start : start + n], cosine[start : start + n]
        inputs = (torch.from_numpy(x).to(device) for x in (planes, covered, evidence, before, similarity))
        out[start : start + n] = net(*inputs)[:n].cpu().numpy()
    return out


@torch.inference_mode()
def explain(net: ResidualHead, aligned: Canvas) -> Explanation:
    """Return how much two pictures differ in grey and colour at each pixel of their canvas, 0 where not both are."""
    planes = torch.from_numpy(residuals(aligned.first, aligned.second, aligned.covered))[None]
    weight = net.places(planes, torch.from_numpy(aligned.covered)[None])[2].mean(1)
    side = round(weight.shape[1] ** 0.5)
    full = F.interpolate(weight.reshape(1, 1, side, side), size=(CANVAS, CANVAS), mode="bilinear")[0, 0]
    difference = (planes[0, 2].abs() / 4 + planes[0, 3:5].abs().amax(0) / 4) * planes[0, 5]
    return Explanation(difference.numpy(), (full / full.sum()).numpy())
