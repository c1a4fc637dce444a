"""dedup/geometry/fine.py: a homography that is nearly right is refined, whatever the tones of both pictures."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from test_traces import demo, filtered, vignetted

from dedup.geometry.fine import refine

NEAR = np.float32([[0, 0], [428, 0], [0, 320], [428, 320]]) + np.float32([[2, -1], [1, 2], [-2, 1], [1, -2]])


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda i: i,
    "vignette to black": lambda i: vignetted(i, 1.3, 1.5),
    "vignette to white": lambda i: vignetted(i, 0.9, 1.5, 255),
    "filter": lambda i: vignetted(filtered(i), 1.3, 1.5),
}


def error_of(frame: Image.Image, other: Image.Image, h: np.ndarray) -> float:
    """Return by how many pixels a refined homography errs at the corners; the true one is the identity."""
    found = refine(np.asarray(frame), np.asarray(other), h)
    assert found is not None
    corners = np.float32([[[0, 0], [428, 0], [0, 320], [428, 320]]])
    return float(np.abs(cv2.perspectiveTransform(corners, found) - corners).max())


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", ["cat", "coffee", "astronaut"])
def test_a_map_that_errs_by_pixels_is_refined(name: str, edit: str) -> None:
    original = ImageOps.fit(demo(name, 640), (428, 320))
    version = EDITS[edit](original)
    near = cv2.getPerspectiveTransform(np.float32([[0, 0], [428, 0], [0, 320], [428, 320]]), NEAR)
    for pair in ((original, version), (version, original)):
        assert error_of(*pair, near) < 0.5
        assert error_of(*pair, np.eye(3)) < 0.2  # what is right stays so
