"""Pixels -> a global vector and a spatial map for each photo. Knows nothing about files, indexes or pairs.

This is the Siamese branch: both photos of a pair pass through it separately, so each photo is encoded once. The vector
is what the index searches; the map, a unit vector for each cell of a 10 x 10 grid, is what the pair head compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dedup.types.arrays import SIDE, Maps, Vectors

DIMS = 128  # D of the global vector
CHANNELS = 32  # C of the spatial map
GRID = 10  # H and W of the spatial map
BATCH = 16  # photos in a forward pass; always exactly this many, see encode()
MAP_SCALE = 127.0  # the int8 value that stands for a component of 1.0

# kernel, stride, expansion, channels, repeats: EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946)
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
FINE, COARSE = 4, 10  # blocks that the map is made from: stride 8 with 40 channels, stride 16 with 112


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and optionally ReLU6; padded like TensorFlow's SAME, as the checkpoint expects.

    centre, spread: (C,), mean and standard deviation that the norm gives its channels; known when it is folded.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        total = kernel - stride  # SAME padding of inputs whose side is a multiple of the stride
        layers: list[nn.Module] = []
        if stride > 1:
            layers.append(nn.ZeroPad2d((total // 2, total - total // 2, total // 2, total - total // 2)))
        padding = 0 if stride > 1 else kernel // 2
        layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False))
        layers.append(nn.BatchNorm2d(outputs, eps=1e-3))
        if relu:
            layers.append(nn.ReLU6())
        super().__init__(*layers)

    def fold(self) -> None:
        """Replace convolution and norm by one equivalent convolution, in place; for inference only.

        Of a depthwise convolution, asymmetric padding becomes symmetric with a kernel whose first row and column are 0.
        The result is bit for bit the same, without a padded copy of the input.
        """
        pads, conv, norm, *rest = [None, *self] if isinstance(self[0], nn.Conv2d) else list(self)
        assert isinstance(norm, nn.BatchNorm2d)
        self.centre, self.spread = norm.bias.detach(), norm.weight.detach().abs()
        folded = fuse_conv_bn_eval(cast(nn.Conv2d, conv), norm)
        if pads is not None and folded.groups > 1:
            kernel = cast(tuple[int, int], folded.kernel_size)[0]
            folded.weight = nn.Parameter(F.pad(folded.weight.detach(), (1, 0, 1, 0)))
            folded.kernel_size, folded.padding = (kernel + 1, kernel + 1), (kernel // 2, kernel // 2)
            pads = None
        super().__init__(*([pads] if pads else []), folded, *(nn.ReLU6(inplace=True) for _ in rest))


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; (B, C, H, W) -> (B, C', H', W'). Sandler et al. 2018, arXiv 1801.04381."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers = [ConvNorm(inputs, wide, kernel=1)] if expansion > 1 else []
        layers.append(ConvNorm(wide, wide, kernel=kernel, stride=stride, groups=wide))
        layers.append(ConvNorm(wide, outputs, kernel=1, relu=False))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class GeM(nn.Module):
    """Generalised-mean pooling, (B, C, H, W) -> (B, C); inputs below 0 count as 0. Radenovic 2018, arXiv 1711.02512."""

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.power).mean((2, 3)).pow(1 / self.power)


class Encoder(nn.Module):
    """Pixels (B, 3, SIDE, SIDE) in [0, 255] -> vectors (B, DIMS) and maps (B, CHANNELS, GRID, GRID).

    Vectors have unit L2 norm, and so has each cell of a map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, kernel=3, stride=2)
        blocks, inputs = [], 32
        for kernel, stride, expansion, outputs, repeats in _STAGES:
            for i in range(repeats):
                blocks.append(
                    InvertedResidual(
                        inputs, outputs, kernel=kernel, stride=stride if i == 0 else 1, expansion=expansion
                    )
                )
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.pool = GeM()
        self.project = nn.Linear(320, DIMS)
        self.local = nn.Conv2d(40 + 112, CHANNELS, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem((pixels - 127.0) / 128.0)  # the normalisation of the checkpoint
        taps = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in (FINE, COARSE):
                taps[i] = x
        return self.described(x, taps[FINE], taps[COARSE])

    def described(self, last: Tensor, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors and maps from what leaves the last block, block FINE and block COARSE."""
        vectors = F.normalize(self.project(self.pool(last)), dim=1)
        local = torch.cat([F.avg_pool2d(fine, 2), coarse], dim=1)  # (B, 40 + 112, GRID, GRID)
        return vectors, F.normalize(self.local(local), dim=1)

    def fold(self) -> Encoder:
        """Fold every batch norm into its convolution, in place; for inference only."""
        self.eval()
        for module in list(self.modules()):
            if isinstance(module, ConvNorm):
                module.fold()
        return self


@torch.inference_mode()
def encode(
    encoder: Callable[[Tensor], tuple[Tensor, Tensor]], pixels: Sequence[NDArray[np.uint8]], *, device: str = "cpu"
) -> tuple[NDArray[np.float16], Maps]:
    """Return vectors (B, DIMS) float16 and maps (B, GRID * GRID, CHANNELS) int8 of B pictures (SIDE, SIDE, 3).

    The network always runs on exactly BATCH pictures, padded with blanks: torch chooses kernels by shape, and a photo
    must get the same descriptor whatever else is in its batch.
    """
    vectors = np.empty((len(pixels), DIMS), np.float16)
    maps = np.empty((len(pixels), GRID * GRID, CHANNELS), np.int8)
    for start in range(0, len(pixels), BATCH):
        some = pixels[start : start + BATCH]
        batch = np.zeros((BATCH, SIDE, SIDE, 3), np.uint8)
        batch[: len(some)] = some
        x = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels last in memory
        v, m = encoder(x)
        vectors[start : start + len(some)] = v[: len(some)].cpu().numpy()
        quantised = (m[: len(some)].flatten(2).transpose(1, 2) * MAP_SCALE).round()  # (B, C, H, W) -> (B, S, C)
        maps[start : start + len(some)] = quantised.cpu().numpy()
    return vectors, maps


def one_thread() -> None:
    """Restrict torch to one thread for calls from this thread: several callers then share the cores better."""
    torch.set_num_threads(1)


def unit(vectors: NDArray[np.float16]) -> Vectors:
    """Return vectors (N, D) as float32, normalised again: half precision keeps unit norm only approximately."""
    wide: Vectors = vectors.astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide
