"""The encoder in 8-bit integers beside the one in floats, which is the reference."""

import platform
from collections.abc import Callable

import numpy as np
import pytest
import torch
from album import scene
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from dedup.models import int8
from dedup.models.encoder import BATCH, Encoder, encode
from dedup.models.int8 import Int8Encoder
from dedup.models.weights import Weights, load_weights
from dedup.types.arrays import SIDE

exact = pytest.mark.skipif(not int8.available(), reason="this processor does not multiply 8-bit integers exactly")


def pictures() -> list[NDArray[np.uint8]]:
    """Return scenes, faint and inverted and grey ones, a page of lines, plain pictures and noise."""
    scenes = [scene(n).resize((SIDE, SIDE)) for n in range(6)]
    page = Image.fromarray(np.where(np.arange(SIDE)[:, None] % 9 < 2, np.uint8(20), np.uint8(250)).repeat(SIDE, 1))
    some = [
        *scenes,
        *(image.point(lambda v: 100 + v // 8) for image in scenes[:2]),
        ImageOps.invert(scenes[2]),
        scenes[3].convert("L"),
        page,
        *(Image.new("RGB", (SIDE, SIDE), colour) for colour in ("black", "white", "orange")),
    ]
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return [*(np.asarray(image.convert("RGB")) for image in some), noise]


def described(encoder: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(np.stack(pictures())).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        return encoder(x)


@exact
def test_descriptors_are_those_of_the_reference_within_the_stated_tolerance(weights: Weights) -> None:
    assert isinstance(weights.fast_encoder, Int8Encoder)
    (vectors, maps), (expected, cells) = described(weights.fast_encoder), described(weights.encoder)
    cosines, agreement = (vectors * expected).sum(1), (maps * cells).sum(1)
    assert cosines.min() > 0.98
    assert cosines.median() > 0.99
    assert agreement.quantile(0.01) > 0.98
    assert agreement.median() > 0.99


@exact
def test_descriptor_does_not_depend_on_the_batch(weights: Weights) -> None:
    some = pictures()
    vectors, maps = encode(weights.fast_encoder, some * 2)
    for n in (0, 5, len(some) - 1):
        alone = encode(weights.fast_encoder, [some[n]])
        for v, m in ((vectors[n], maps[n]), (vectors[len(some) + n], maps[len(some) + n])):
            assert (alone[0][0] == v).all()
            assert (alone[1][0] == m).all()
    assert len(some) % BATCH


def test_rounded_kernels_keep_their_sums() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).uniform(-127, 127, (40, 3, 5, 5)).astype(np.float32))
    weight[0, 0] = 127.0
    weight[0, 1] = 0.4
    whole = int8._rounded(weight)
    assert (whole == whole.round()).all()
    assert whole.abs().max() <= 127
    assert ((whole - weight).sum((2, 3)).abs() <= 0.501).all()
    assert (whole - weight).abs().max() <= 1.5
    assert (int8._rounded(weight[:, :, :1, :1]) == weight[:, :, :1, :1].round()).all()


@pytest.mark.parametrize("missing", ["processor", "operators", "exactness"])
def test_floats_are_used_where_integers_are_slow_missing_or_clipped(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = int8.available.__wrapped__
    if missing == "processor":
        monkeypatch.setattr(platform, "machine", lambda: "arm64")
    elif missing == "operators":
        monkeypatch.setattr(torch.ops, "onednn", nn)  # has no such operators
    else:  # as a processor answers that clips sums of two products
        clipped = torch.full((1, 64, 4, 4), 64 / 2 * 32767)
        monkeypatch.setattr(int8._Convolution, "__call__", lambda self, x, shortcut=None: clipped)
    monkeypatch.setattr(int8, "available", available)
    assert not available()
    weights = load_weights()
    assert isinstance(weights.fast_encoder, Encoder)
    assert weights.fast_encoder is weights.encoder
