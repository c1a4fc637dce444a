"""dedup/geometry/fine.py: a homography that is nearly right is refined, whatever the tones of both pictures."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from test_traces import demo

from dedup.geometry.fine import refine

NEAR = np.float32([[0, 0], [428, 0], [0, 320], [428, 320]]) + np.float32([[2, -1], [1, 2], [-2, 1], [1, -2]])


def vignetted(image: Image.Image, strength: float, ground: int = 0) -> Image.Image:
    """Return it with corners that go to a level."""
    distance = np.asarray(Image.radial_gradient("L").resize(image.size), np.float64)[..., None] / 255
    mask = np.minimum(1, strength * distance**1.5)
    return Image.fromarray((np.asarray(image, np.float64) * (1 - mask) + ground * mask).round().astype(np.uint8))


def filtered(image: Image.Image) -> Image.Image:
    """Return it with other curves for each channel and black corners."""
    curves = [(10, 40, 200, 240), (0, 60, 200, 255), (25, 70, 170, 205)]
    table = [round(float(v)) for curve in curves for v in np.interp(np.arange(256), [0, 85, 170, 255], curve)]
    return vignetted(image.point(table), 1.3)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda i: i,
    "vignette to black": lambda i: vignetted(i, 1.3),
    "vignette to white": lambda i: vignetted(i, 0.9, 255),
    "filter": filtered,
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
