import numpy as np
from album import scene
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from dedup.geometry.canvas import CANVAS
from dedup.geometry.parallax import PARALLAX, parallax_figures

EVERYWHERE = np.ones((CANVAS, CANVAS), bool)
MEDIAN, FURTHEST, GAIN, MOVED, LOST, WORST_BLOCK = 0, 2, 3, 4, 5, 6  # places in the figures


def picture(seed: int) -> NDArray[np.uint8]:
    return np.asarray(scene(seed).resize((CANVAS, CANVAS)))


def figures(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    return parallax_figures(one, other, EVERYWHERE)


def blurred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))


def with_a_part_moved(one: NDArray[np.uint8]) -> NDArray[np.uint8]:
    moved = one.copy()
    moved[60:200, 60:200] = one[60:200, 55:195]
    return moved


def test_part_that_moved_is_told_from_an_edit() -> None:
    one = picture(1)
    edited, other = figures(one, blurred(one)), figures(one, with_a_part_moved(one))
    assert other[FURTHEST] > edited[FURTHEST] + 0.5
    assert other[MOVED] > edited[MOVED] + 0.3
    assert other[GAIN] > edited[GAIN] + 0.1


def test_picture_that_is_moved_as_a_whole_has_no_parallax() -> None:
    one = np.asarray(scene(1).resize((CANVAS + 5, CANVAS)))
    whole, part = figures(one[:, 5:], one[:, :-5]), figures(one[:, 5:], with_a_part_moved(one[:, 5:]))
    assert whole[:GAIN].max() < part[:GAIN].min() - 0.3


def test_part_that_was_replaced_does_not_correlate_however_it_is_moved() -> None:
    one = picture(1)
    other = one.copy()
    other[32:80, 32:80] = picture(2)[100:148, 100:148]
    assert figures(one, other)[WORST_BLOCK] < figures(one, blurred(one))[WORST_BLOCK] - 0.5
    assert figures(one, other)[LOST] > figures(one, blurred(one))[LOST] + 0.02
    assert figures(one, picture(2))[MEDIAN] > figures(one, blurred(one))[MEDIAN] + 0.5


def test_figures_of_what_is_hardly_covered_or_empty_are_finite() -> None:
    one, nothing = picture(1), np.zeros((CANVAS, CANVAS, 3), np.uint8)
    covered = np.zeros((CANVAS, CANVAS), bool)
    for a, b, where in ((one, one, covered), (nothing, nothing, EVERYWHERE), (one, nothing, EVERYWHERE)):
        found = parallax_figures(a, b, where)
        assert found.shape == (PARALLAX,)
        assert np.isfinite(found).all()


def test_what_lies_outside_of_the_shared_part_counts_nothing() -> None:
    one, covered = picture(1), EVERYWHERE.copy()
    covered[:, 128:] = False
    other = one.copy()
    other[:, 128:] = picture(2)[:, 128:]
    assert (parallax_figures(one, other, covered) == parallax_figures(one, one, covered)).all()
