"""The encoder in 8-bit integers, for processors that multiply them exactly: about 0.4 of the time of 32-bit floats.

The values of a tensor are centre + step * (integer - zero), with a centre and a step for each channel. They follow from
the weights, so that no photo is needed: what leaves a ReLU6 lies in [0, 6], and what a batch norm leaves unclipped
spreads about its bias by its weight. Between two layers without a ReLU6 in between, centres and steps are absorbed by
the weights of the next one. A kernel is rounded so that its sum holds (else a plain area would change its value), and
the first two layers, in which small weights count beside large ones, remain in floats.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from dedup.models.encoder import COARSE, FINE, ConvNorm, Encoder, InvertedResidual

_HIGHEST = 255  # of an unsigned integer
_MOST = 127  # of a weight, on either side of 0
_MIDDLE = 128  # the integer that stands for the centre of values of either sign
_SPREADS = 7.0  # standard deviations on either side of the centre that integers reach
_RELU = 6.0  # the most that leaves a ReLU6


@dataclass(frozen=True)
class _Levels:
    """What the integers of a tensor (B, C, H, W) stand for. centre, step: (C,)."""

    centre: Tensor
    step: Tensor
    zero: int

    def values(self, integers: Tensor) -> Tensor:
        return (integers.float() - self.zero) * self.step[:, None, None] + self.centre[:, None, None]


class _Convolution:
    """A convolution, without batch norm, of unsigned integers; its weights are signed ones."""

    def __init__(self, layer: ConvNorm, source: _Levels, target: _Levels | None) -> None:
        """layer: folded. A ReLU6 needs no step of its own: what is out of range of the target is clipped.

        target: None for floats.
        """
        conv = cast(nn.Conv2d, layer[0])
        weight, bias = conv.weight.detach(), cast(Tensor, conv.bias).detach()
        if conv.groups == 1:
            bias = bias + weight.sum((2, 3)) @ source.centre
            weight = weight * source.step[:, None, None]
        else:  # depthwise
            weight = weight * source.step[:, None, None, None]
        step = (weight.abs().amax((1, 2, 3)) / _MOST).clamp(min=1e-12)
        integers = _rounded(weight / step[:, None, None, None]).to(torch.int8)
        self._dtype, self._zero = torch.float32, 0
        if target is not None:
            self._dtype, self._zero = torch.uint8, target.zero
            step, bias = step / target.step, (bias - target.centre) / target.step
        self._shape: tuple[Any, ...] = list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups
        packed = torch.ops.onednn.qconv_prepack(integers, step, 1.0, source.zero, *self._shape, None)
        self._input = 1.0, source.zero, packed, step, torch.zeros(len(step), dtype=torch.int8)
        self._bias = bias

    def __call__(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Return the result; added to `shortcut`, whose memory it takes, if there is one."""
        op, output = torch.ops.onednn.qconv2d_pointwise, (1.0, self._zero, self._dtype)
        if shortcut is None:
            y: Tensor = op(x, *self._input, self._bias, *self._shape, *output, "none", [], "")
            return y
        added: tuple[Any, ...] = (1.0, self._zero, "sum", 1.0, "none", [], None)
        y = op.binary(x, *self._input, shortcut, self._bias, *self._shape, *output, *added)
        return y


class Int8Encoder(nn.Module):
    """Answers as the Encoder does; see there."""

    def __init__(self, encoder: Encoder) -> None:
        """encoder: folded."""
        super().__init__()
        self._encoder = encoder
        blocks = cast(list[InvertedResidual], list(encoder.blocks))
        levels = _levels_behind(blocks)
        self._filter = _scaled(cast(ConvNorm, blocks[0].layers[0]))
        self._blocks: list[tuple[list[_Convolution], bool]] = []
        for n, block in enumerate(blocks):
            layers = cast(list[ConvNorm], list(block.layers))[0 if n else 1 :]
            last = None if n + 1 == len(blocks) else levels[n]
            if last is not None and block.residual:
                last = replace(last, centre=last.centre - levels[n - 1].centre)  # which the shortcut brings
            between = [_clipped(len(layer.centre)) for layer in layers[:-1]]
            first = levels[n - 1] if n else _clipped(len(cast(ConvNorm, blocks[0].layers[0]).centre))
            ends = zip(layers, [first, *between], [*between, last], strict=True)
            self._blocks.append(([_Convolution(*end) for end in ends], block.residual))
        self._fine, self._coarse = levels[FINE], levels[COARSE]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = self._encoder.stem((pixels - 127.0) / 128.0)
        x = self._filter(x).clamp_(0, _HIGHEST + 0.5).to(torch.uint8)  # to() cuts the fraction off
        taps = {}
        for n, (layers, residual) in enumerate(self._blocks):
            shortcut = x if residual else None
            for layer in layers[:-1]:
                x = layer(x)
            x = layers[-1](x, shortcut)
            if n in (FINE, COARSE):
                taps[n] = x
        return self._encoder.described(x, self._fine.values(taps[FINE]), self._coarse.values(taps[COARSE]))


def _clipped(channels: int) -> _Levels:
    """Return what integers behind a ReLU6 stand for."""
    return _Levels(torch.zeros(channels), torch.full((channels,), _RELU / _HIGHEST), 0)


def _levels_behind(blocks: Sequence[InvertedResidual]) -> list[_Levels]:
    """Return what integers behind each block stand for. Blocks that are joined by shortcuts have the same steps."""
    centres: list[Tensor] = []
    variances: list[Tensor] = []
    for block in blocks:
        last = cast(ConvNorm, block.layers[-1])
        centre, variance = last.centre, last.spread.square()
        centres.append(centre + centres[-1] if block.residual else centre)
        variances.append(variance + variances[-1] if block.residual else variance)
    for n in range(len(blocks) - 1, 0, -1):
        if blocks[n].residual:
            variances[n - 1] = variances[n]
    return [
        _Levels(centre, variance.sqrt().clamp(min=1e-6) * (_SPREADS / _MOST), _MIDDLE)
        for centre, variance in zip(centres, variances, strict=True)
    ]


def _scaled(layer: ConvNorm) -> nn.Conv2d:
    """Return the convolution of a layer in floats, whose values are the integers behind the ReLU6 plus a half."""
    conv = copy.deepcopy(cast(nn.Conv2d, layer[0]))
    conv.weight = nn.Parameter(conv.weight.detach() * (_HIGHEST / _RELU))
    conv.bias = nn.Parameter(cast(Tensor, conv.bias).detach() * (_HIGHEST / _RELU) + 0.5)
    return conv


def _rounded(weight: Tensor) -> Tensor:
    """Return weights (O, I, H, W) rounded to whole numbers, the sum of each kernel to within a half."""
    exact = weight.flatten(2).flatten(0, 1)  # (O * I, H * W)
    whole = exact.round()
    for _ in range(exact.shape[1] // 2 if exact.shape[1] > 1 else 0):  # as many as rounding can be off by
        off = (exact - whole).sum(1)
        way = off.sign() * (off.abs() > 0.5)
        gain = ((exact - whole) * way[:, None]).masked_fill((whole + way[:, None]).abs() > _MOST, -1)
        whole.scatter_add_(1, gain.argmax(1, keepdim=True), way[:, None])
    return whole.reshape(weight.shape)


@cache
def available() -> bool:
    """Return whether this processor multiplies 8-bit integers exactly: older ones clip sums of two products."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False  # torch has such convolutions elsewhere, but slow ones
    try:
        layer = ConvNorm(64, 64, kernel=1).eval()
        layer.fold()
        cast(nn.Conv2d, layer[0]).weight.detach().fill_(_MOST)
        source = _Levels(torch.zeros(64), torch.ones(64), 0)
        most = 64 * _HIGHEST * _MOST
        x = torch.full((1, 64, 4, 4), _HIGHEST, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        exact = _Convolution(layer, source, None)(x) == most
        added = _Convolution(layer, source, replace(source, step=torch.full((64,), most / 100)))(x, x // 5)
        return bool(exact.all() and (added == 100 + _HIGHEST // 5).all())
    except (AttributeError, RuntimeError, TypeError):  # another version of torch, or one without oneDNN
        return False
