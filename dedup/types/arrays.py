"""Array types that pass between stages, and the picture sizes that several stages share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

VERIFICATION_SIDE = 512  # pixels, the longer side of the pictures that verification compares

SIDE = 160  # pixels; every photo is squashed to SIDE x SIDE for the encoder

Vectors = NDArray[np.float32]
Maps = NDArray[np.int8]
Indices = NDArray[np.int64]
Neighbours = NDArray[np.int32]  # (N, K), the nearest photos of each photo, nearest first; -1 where there are fewer
Homography = NDArray[np.float64]  # (3, 3), from the unit square of one picture to that of another
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Columns:
    """A dataclass of N things whose fields are columns (N, ...)."""

    def rows(self, rows: NDArray[np.generic] | slice) -> Self:
        """Return these rows, given as numbers, a mask or a slice."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def followed_by(self, *parts: Self) -> Self:
        """Return these rows and those of the parts, one after the other."""
        every = (self, *parts)
        columns = {f.name: np.concatenate([getattr(part, f.name) for part in every]) for f in fields(self)}
        return replace(self, **columns)
