from collections.abc import Callable

import numpy as np
import pytest
from album import SHADES, plain, scene, smooth
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from dedup.geometry.canvas import CANVAS, PLANES, residuals
from dedup.geometry.edits import edit_between
from dedup.geometry.registration import (
    _ORIENTATIONS,
    EVIDENCE,
    Aligned,
    _agreement,
    _agreements_of_orientations,
    align,
    best_guess,
    prepare,
    sketch,
)

Edit = Callable[[Image.Image], Image.Image]


def aligned(one: Image.Image, other: Image.Image) -> Aligned:
    return align(prepare(np.asarray(one)), prepare(np.asarray(other)), [])


def framed(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, 60, (20, 20, 20))


def small_on_a_screen(image: Image.Image) -> Image.Image:
    screen = Image.new("RGB", (360, 640), (250, 250, 250))
    screen.paste(image.resize((320, 240)), (20, 180))
    ImageDraw.Draw(screen).rectangle((0, 0, 360, 30), (40, 90, 200))
    return screen


# edit, position of the middle of the picture in the other one (unit square), description
EDITS: dict[str, tuple[Edit, tuple[float, float], str]] = {
    "smaller": (lambda i: i.resize((200, 150)), (0.5, 0.5), ""),
    "squashed": (lambda i: i.resize((300, 400)), (0.5, 0.5), ""),
    "grey": (lambda i: i.convert("L").convert("RGB"), (0.5, 0.5), ""),
    "mirrored": (ImageOps.mirror, (0.5, 0.5), "mirrored"),
    "rotated right": (lambda i: i.rotate(-90, expand=True), (0.5, 0.5), "rotated 90° right"),
    "upside down": (lambda i: i.rotate(180), (0.5, 0.5), "rotated 180° "),
    "tilted": (lambda i: i.rotate(8, Image.Resampling.BICUBIC, fillcolor=(0, 0, 0)), (0.5, 0.5), "rotated 8° left"),
    "cropped": (
        lambda i: i.crop((160, 120, 640, 480)),
        (1 / 3, 1 / 3),
        "cropped to 25-100 % of the width, 25-100 % of",
    ),
    "framed": (framed, (0.5, 0.5), "placed inside a larger picture"),
    "screenshot": (small_on_a_screen, (0.5, 300 / 640), "placed inside a larger picture"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edit_is_undone_and_described(name: str) -> None:
    edit, middle, words = EDITS[name]
    image = scene(5)
    other = edit(image)
    found = aligned(image, other)
    x = found.transform @ np.array([0.5, 0.5, 1])
    np.testing.assert_allclose(x[:2] / x[2], middle, atol=0.02)
    difference = (found.first.astype(float) - found.second).mean(2)[found.covered]
    assert np.abs(difference).mean() < 12  # of 255, the colours matched
    assert edit_between(found.transform, image.size, other.size).words.startswith(words)
    if not words:
        assert edit_between(found.transform, image.size, other.size).words == ""


def test_residual_is_largest_where_the_picture_was_changed() -> None:
    image = scene(5)
    other = image.copy()
    other.paste(scene(6).crop((0, 0, 120, 120)), (400, 100))
    other = ImageOps.mirror(other.resize((320, 240)))
    found = aligned(other, image)  # the canvas is that of either
    left = np.abs(residuals(found.first, found.second, found.covered)[2])
    place = np.unravel_index(np.argmax(left), left.shape)
    x = (640 - 460 if not found.swapped else 460) / 640
    assert place[1] / CANVAS == pytest.approx(x, abs=0.12)
    assert place[0] / CANVAS == pytest.approx(160 / 480, abs=0.15)


def test_alignment_does_not_depend_on_the_order() -> None:
    one, other = scene(5), scene(5).crop((100, 50, 600, 400))
    forward, back = aligned(one, other), aligned(other, one)
    product = forward.transform @ back.transform
    np.testing.assert_allclose(product / product[2, 2], np.eye(3), atol=0.02)
    assert forward.swapped != back.swapped  # the canvas is the crop's both times


@pytest.mark.parametrize(
    "pair",
    [
        (scene(1), scene(2)),
        (plain((200, 30, 30)), scene(1)),
        (plain((0, 0, 0)), plain((255, 255, 255))),
        (scene(1), Image.new("RGB", (1, 1))),
        (scene(1).resize((500, 3)), scene(1).resize((3, 500))),
    ],
    ids=["unlike", "plain", "black and white", "one pixel", "slivers"],
)
def test_any_two_pictures_can_be_drawn_on_one_canvas(pair: tuple[Image.Image, Image.Image]) -> None:
    found = aligned(*pair)
    assert found.first.shape == found.second.shape == (CANVAS, CANVAS, 3)
    assert np.isfinite(found.evidence).all()
    assert found.evidence.shape == (EVIDENCE,)
    planes = residuals(found.first, found.second, found.covered)
    assert planes.shape == (PLANES, CANVAS, CANVAS)
    assert np.isfinite(planes).all()


def test_best_guess_of_an_edit_has_more_agreement_than_that_of_another_picture() -> None:
    image = sketch(np.asarray(scene(1)))
    other = best_guess(image, sketch(np.asarray(scene(2))), [])
    for edit, _, _ in EDITS.values():
        guess = best_guess(image, sketch(np.asarray(edit(scene(1)))), [])
        assert guess.agreement > other.agreement + 0.5


def test_guess_from_elsewhere_is_taken_where_it_fits_best() -> None:
    small = scene(1).resize((20, 15)).filter(ImageFilter.GaussianBlur(3))  # without local features
    canvas = Image.new("RGB", (60, 60), (90, 90, 90))
    canvas.paste(small, (5, 40))
    where = np.array([[20 / 60, 0, 5 / 60], [0, 15 / 60, 40 / 60], [0, 0, 1]])
    a, b = sketch(np.asarray(small)), sketch(np.asarray(canvas))
    assert (best_guess(a, b, [where]).transform == where).all()
    assert best_guess(a, b, [where]).agreement > best_guess(a, b, []).agreement


def test_orientations_compared_in_one_pass_agree_as_each_does_by_itself() -> None:
    image = scene(5)
    turned = ImageOps.mirror(image).rotate(90, expand=True)
    a, b = (sketch(np.asarray(picture)).coarse for picture in (image, turned))
    each = [_agreement(a, b, h) for h in _ORIENTATIONS]
    np.testing.assert_allclose(_agreements_of_orientations(a, b), each, atol=1e-3)
    assert max(each) > 0.9
    assert sorted(each)[-2] < 0.5


def test_featureless_picture_is_plain() -> None:
    assert aligned(scene(1), plain((9, 9, 9))).plain
    assert not aligned(scene(1), scene(2)).plain


@pytest.mark.parametrize("shade", SHADES)
def test_picture_as_smooth_as_a_gradient_is_plain(shade: str) -> None:
    assert sketch(np.asarray(smooth(shade))).contrast > 20
    assert aligned(scene(1), smooth(shade)).plain


def test_blurred_picture_is_not_plain() -> None:
    assert not aligned(scene(1), scene(1).filter(ImageFilter.GaussianBlur(10))).plain


def test_same_pair_gives_the_same_canvas() -> None:
    one, again = (aligned(scene(5), scene(5).rotate(5)) for _ in range(2))
    assert (one.second == again.second).all()
    assert (one.transform == again.transform).all()
