"""Array types that pass between stages, and the picture sizes that several stages share."""

from __future__ import annotations

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
