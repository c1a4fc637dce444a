"""dedup/geometry/lattice.py: two pictures whose pixels coincide."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from test_containment import photo

from dedup.geometry.lattice import Lattice, lattice_of
from dedup.types.arrays import Homography


def mirrored_and_cut(image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image).crop((13, 7, 600, 455))


def turned(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


@pytest.mark.parametrize(
    ("edit", "there"),
    [
        (lambda i: i, [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (mirrored_and_cut, [[-1.0, 0, 626], [0, 1, -7], [0, 0, 1]]),
        (turned, [[0.0, 1, 0], [-1, 0, 639], [0, 0, 1]]),
    ],
    ids=["the same", "mirrored and cut", "turned"],
)
@pytest.mark.parametrize("error", [(0.0, 0.0), (0.8, -0.7)])
def test_a_map_by_whole_pixels_is_found_from_one_that_errs(edit: object, there: list, error: tuple) -> None:
    frame = photo()
    other = np.asarray(edit(frame))  # type: ignore[operator]
    h: Homography = np.array(there)
    h[:2, 2] += error
    lattice = lattice_of(np.asarray(frame), other, h)
    assert lattice is not None
    np.testing.assert_array_equal(lattice.homography, there)
    np.testing.assert_array_equal((lattice.homography @ lattice.inverse.homography), np.eye(3))
    box = lattice.shared(np.asarray(frame).shape, other.shape)
    left, top, right, bottom = box
    np.testing.assert_array_equal(np.asarray(frame)[top:bottom, left:right], lattice.taken(other, box))


def test_a_shift_by_half_a_pixel_a_small_turn_and_another_scale_are_no_lattice() -> None:
    frame = np.asarray(photo())
    for h in (
        [[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]],
        [[1.0, 0.05, 0], [-0.05, 1, 0], [0, 0, 1]],
        [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]],
    ):
        inverse = np.linalg.inv(h)
        other = Image.fromarray(frame).transform(
            (640, 480), Image.Transform.AFFINE, tuple(inverse[:2].ravel()), Image.Resampling.BICUBIC
        )
        assert lattice_of(frame, np.asarray(other), np.array(h)) is None


def test_pictures_that_share_little_or_are_plain_have_no_lattice() -> None:
    frame, plain = np.asarray(photo()), np.full((480, 640, 3), 99, np.uint8)
    assert lattice_of(frame, frame, Lattice(np.eye(2, dtype=np.int64), np.array([630, 0])).homography) is None
    assert lattice_of(plain, plain, np.eye(3)) is None


def test_a_lattice_keeps_the_grid_of_blocks_where_whole_blocks_coincide() -> None:
    mirror, same = np.diag([-1, 1]), np.eye(2, dtype=np.int64)
    assert Lattice(same, np.array([16, -8])).keeps_grid(8)
    assert not Lattice(same, np.array([4, 0])).keeps_grid(8)
    assert Lattice(mirror, np.array([639, 0])).keeps_grid(8)  # 640 pixels are whole blocks from either side
    assert not Lattice(mirror, np.array([643, 0])).keeps_grid(8)
