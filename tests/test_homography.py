import numpy as np
import pytest

from dedup.geometry.homography import coverage, inverse, map_points
from dedup.types.arrays import Homography

CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def affine(xx: float, xy: float, x0: float, yx: float, yy: float, y0: float) -> Homography:
    return np.array([[xx, xy, x0], [yx, yy, y0], [0, 0, 1]], float)


RIGHT_HALF = affine(2, 0, -1, 0, 1, 0)  # the right half of the picture fills the other one
SMALL = affine(0.5, 0, 0.25, 0, 0.5, 0.25)  # the whole picture in the middle of the other one
QUARTER_TURN = affine(0, -1, 1, 1, 0, 0)
MIRROR = affine(-1, 0, 1, 0, 1, 0)
KEYSTONE = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], float)  # points further down are further away


@pytest.mark.parametrize("h", [RIGHT_HALF, SMALL, QUARTER_TURN, MIRROR, KEYSTONE, KEYSTONE @ SMALL])
def test_inverse_is_that_of_linear_algebra_and_undoes_the_transformation(h: Homography) -> None:
    np.testing.assert_allclose(inverse(h), np.linalg.inv(h), atol=1e-12)
    np.testing.assert_allclose(map_points(inverse(h), map_points(h, CORNERS)), CORNERS, atol=1e-12)


def test_points_are_mapped_by_hand() -> None:
    points = np.array([[0.25, 0.5], [0.75, 0.5]])
    assert map_points(RIGHT_HALF, points).tolist() == [[-0.5, 0.5], [0.5, 0.5]]
    assert map_points(MIRROR, points).tolist() == [[0.75, 0.5], [0.25, 0.5]]
    assert map_points(QUARTER_TURN, points).tolist() == [[0.5, 0.25], [0.5, 0.75]]
    np.testing.assert_allclose(map_points(KEYSTONE, points), [[1 / 6, 1 / 3], [0.5, 1 / 3]])


def test_a_factor_changes_nothing() -> None:
    np.testing.assert_allclose(map_points(7 * KEYSTONE, CORNERS), map_points(KEYSTONE, CORNERS))
    assert coverage(7 * SMALL) == coverage(SMALL)


def test_points_at_and_beyond_the_horizon_are_nan() -> None:
    horizon = np.array([[1, 0, 0], [0, 1, 0], [0, -2, 1]], float)  # the line y = 0.5 goes to infinity
    mapped = map_points(horizon, np.array([[0.5, 0.25], [0.5, 0.5], [0.5, 0.75]]))
    assert mapped[0].tolist() == [1.0, 0.5]
    assert np.isnan(mapped[1:]).all()
    assert coverage(horizon) == pytest.approx(np.mean([x <= 1 - 2 * y and 3 * y <= 1 for x, y in grid()]))


def grid() -> list[tuple[float, float]]:
    centres = (np.arange(32) + 0.5) / 32
    return [(x, y) for y in centres for x in centres]


@pytest.mark.parametrize(
    ("h", "share", "share_back"),
    [(RIGHT_HALF, 0.5, 1), (SMALL, 1, 0.25), (QUARTER_TURN, 1, 1), (MIRROR, 1, 1), (affine(1, 0, 2, 0, 1, 0), 0, 0)],
    ids=["half", "small", "quarter turn", "mirror", "apart"],
)
def test_coverage_is_the_share_of_the_picture_that_lies_inside_the_other(
    h: Homography, share: float, share_back: float
) -> None:
    assert coverage(h) == share
    assert coverage(inverse(h)) == share_back
