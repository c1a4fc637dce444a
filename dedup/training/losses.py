"""Descriptors of two versions of each photo in a batch -> losses. Knows nothing about networks or photos."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(similarity: Tensor, *, temperature: float) -> Tensor:
    """Return the loss of telling one's own other version, on the diagonal of (B, B), from those of other photos.

    Both ways round. van den Oord et al. 2018, arXiv 1807.03748.
    """
    target = torch.arange(len(similarity), device=similarity.device)
    logits = similarity / temperature
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def entropy(vectors: Tensor, photos: Tensor) -> Tensor:
    """Return the mean -log distance to the nearest vector of another photo: small where vectors fill the sphere.

    vectors: (M, D) of unit norm; photos: (M,), which photo each belongs to. Pizzi et al. 2022, arXiv 2202.10261.
    """
    similarity = (vectors @ vectors.T).masked_fill(photos[:, None] == photos[None, :], -2.0)
    nearest = similarity.max(dim=1).values
    return -(2 - 2 * nearest).clamp(min=1e-6).sqrt().log().mean()


def place_similarity(left: Tensor, right: Tensor, *, sharpness: float = 20.0) -> Tensor:
    """Return (B, B): how well the places of each left map find their like in each right map, in [-1, 1].

    left: (B, S, C), right: (B, S', C), unit norm at each place. A soft maximum over the right places, the mean over
    the left ones: late interaction, Khattab and Zaharia 2020, arXiv 2004.12832.
    """
    similarity = torch.einsum("isc,jtc->ijst", left, right)  # (B, B, S, S')
    soft = torch.logsumexp(similarity * sharpness, dim=3) - torch.log(torch.tensor(float(right.shape[1])))
    return soft.mean(2) / sharpness
