"""dedup/geometry/traces.py: which of two pictures was made from the other."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from test_containment import photo
from test_decode import profile, wide_profile

from dedup.geometry.containment import compare
from dedup.geometry.traces import Decoded
from dedup.images.decode import decode_within, jpeg_steps
from dedup.types.pairs import Loss

MIRRORED = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
TURNED = np.array([[0.0, 1, 0], [-1, 0, 1], [0, 0, 1]])  # by a quarter


def saved(image: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


def decoded(data: bytes) -> Decoded:
    return Decoded(decode_within(data, longest=3000), jpeg_steps(data, 3000))


def derived(first: bytes, second: bytes, transform: np.ndarray) -> list[bool]:
    found = compare(decoded(first), decoded(second), transform)
    assert found is not None
    return [bool(loss & Loss.DERIVED) for loss in found]


@pytest.mark.parametrize("quality", [70, 85, 95])
@pytest.mark.parametrize(
    ("edit", "transform"),
    [
        (lambda i: i, np.eye(3)),
        (ImageOps.mirror, MIRRORED),
        (lambda i: i.transpose(Image.Transpose.ROTATE_90), TURNED),
        (lambda i: i.point([min(255, round(v * 1.25)) for v in range(256)] * 3), np.eye(3)),
        (lambda i: i.point([round(v * 0.8) for v in range(256)] * 3), np.eye(3)),
        (lambda i: i.point([round(255 * (v / 255) ** 1.3) for v in range(256)] * 3), np.eye(3)),
    ],
    ids=["saved again", "mirrored", "turned", "brighter", "darker", "gamma"],
)
def test_a_version_is_known_by_the_steps_of_its_original(edit: object, transform: np.ndarray, quality: int) -> None:
    original = saved(photo(5, (644, 484)), 85)
    version = saved(edit(Image.open(io.BytesIO(original))), quality)  # type: ignore[operator]
    assert derived(original, version, transform) == [False, True]
    assert derived(version, original, np.linalg.inv(transform)) == [True, False]


def test_files_saved_with_the_same_steps_are_not_told_apart() -> None:
    picture = photo()
    assert derived(saved(picture, 85), saved(picture, 85), np.eye(3)) == [False, False]


def test_the_original_of_a_brighter_version_is_not_contained_in_it() -> None:
    original = saved(photo(5, (644, 484)), 85)
    brighter = Image.open(io.BytesIO(original)).point([min(255, round(v * 1.15)) for v in range(256)] * 3)
    found = compare(decoded(original), decoded(saved(brighter, 95)), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.TONE) for loss in found] == [True, False]


@pytest.mark.parametrize("qualities", [(85, 95), (95, 85), (85, 85)])
def test_neither_of_two_versions_of_an_unknown_original_contains_the_other(qualities: tuple[int, int]) -> None:
    picture = photo(5, (644, 484))
    darker = picture.point([round(v * 0.75) for v in range(256)] * 3)
    found = compare(decoded(saved(picture, qualities[0])), decoded(saved(darker, qualities[1])), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.TONE) for loss in found] == [True, True]


@pytest.mark.parametrize("way", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_an_enlargement_to_twice_the_size_is_known_by_the_steps_of_its_original(way: Image.Resampling) -> None:
    original = saved(photo(5, (644, 484)), 85)
    larger = Image.open(io.BytesIO(original)).resize((1288, 968), way)
    found = compare(decoded(original), decoded(saved(larger, 92)), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.DETAIL) for loss in found] == [True, False]
    assert found[1] & Loss.ENLARGED


@pytest.mark.parametrize("qualities", [(92, 92), (92, 75), (75, 92)])
def test_a_soft_picture_is_no_enlargement_of_its_small_copy(qualities: tuple[int, int]) -> None:
    soft = saved(photo(5, (1288, 968)).filter(ImageFilter.GaussianBlur(2)), qualities[0])
    small = saved(Image.open(io.BytesIO(soft)).resize((644, 484), Image.Resampling.LANCZOS), qualities[1])
    found = compare(decoded(small), decoded(soft), np.eye(3))
    assert found is not None
    assert not found[0] & Loss.DETAIL


def test_steps_are_those_of_pixels_that_are_as_in_the_file() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    photo().save(turned, "JPEG", quality=80, exif=exif)
    steps = jpeg_steps(saved(photo(), 80), 3000)
    assert steps is not None
    assert steps[0, 0] == 6
    assert steps[0, 1] < steps[0, 7]
    assert jpeg_steps(turned.getvalue(), 3000) is None
    assert jpeg_steps(saved(photo(), 80), 600) is None
    inks = io.BytesIO()
    photo().convert("CMYK").save(inks, "JPEG", quality=80)
    assert jpeg_steps(inks.getvalue(), 3000) is None
    wide = io.BytesIO()
    photo().save(wide, "JPEG", quality=80, icc_profile=wide_profile())
    assert jpeg_steps(wide.getvalue(), 3000) is None
    srgb = io.BytesIO()
    photo().save(srgb, "JPEG", quality=80, icc_profile=profile("sRGB"))
    assert jpeg_steps(srgb.getvalue(), 3000) is not None
    assert jpeg_steps(b"no picture", 3000) is None
