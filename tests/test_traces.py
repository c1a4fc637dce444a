"""dedup/geometry/traces.py: which of two pictures was made from the other."""

import io
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps
from test_containment import photo
from test_decode import profile, wide_profile

from dedup.geometry.containment import compare
from dedup.geometry.traces import Decoded
from dedup.images.decode import decode_within, jpeg_steps
from dedup.types.pairs import HARMLESS, Loss

Edit = Callable[[Image.Image], Image.Image]

MIRRORED = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
TURNED = np.array([[0.0, 1, 0], [-1, 0, 1], [0, 0, 1]])  # by a quarter


def saved(image: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


def detailed(size: tuple[int, int]) -> Image.Image:
    """Return a picture with detail as fine as its pixels."""
    grain = np.random.default_rng(3).normal(0, 9, (size[1], size[0], 1))
    return Image.fromarray(np.clip(np.asarray(photo(5, size), np.float64) + grain, 0, 255).astype(np.uint8))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def demo(name: str, longest: int) -> Image.Image:
    """Return one of the photos of the demo album, with its longer side brought down to so many pixels."""
    image = opened(files("dedup.cli").joinpath("demo_photos", f"{name}.jpg").read_bytes())
    image.thumbnail((longest, longest))
    return image


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture of the same size that shows it small on a white ground."""
    page = Image.new("RGB", (2 * image.width, 2 * image.height), "white")
    page.paste(image, (image.width // 2, image.height // 2))
    return page.resize(image.size)


def noisy(image: Image.Image) -> Image.Image:
    grain = np.random.default_rng(1).normal(0, 14, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image, np.float64) + grain, 0, 255).round().astype(np.uint8))


def sepia_toned(image: Image.Image) -> Image.Image:
    """Return it grey, redder and less blue by a fixed amount, so that bright reds and dark blues are clipped."""
    grey = np.asarray(image, np.float64) @ [0.2126, 0.7152, 0.0722]
    return Image.fromarray(np.clip(np.stack([grey + 51, grey + 17, grey - 34], 2), 0, 255).round().astype(np.uint8))


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
def test_a_version_is_known_by_the_steps_of_its_original(edit: Edit, transform: np.ndarray, quality: int) -> None:
    original = saved(photo(5, (644, 484)), 85)
    version = saved(edit(Image.open(io.BytesIO(original))), quality)
    assert derived(original, version, transform) == [False, True]
    assert derived(version, original, np.linalg.inv(transform)) == [True, False]


@pytest.mark.parametrize(("name", "longest", "quality"), [("cat", 330, 85), ("galaxies", 428, 92), ("rocket", 330, 85)])
def test_a_photo_saved_again_with_its_own_steps_is_known_by_where_they_differ(
    name: str, longest: int, quality: int
) -> None:
    original = saved(demo(name, longest), quality)
    again = saved(opened(original), quality)
    assert derived(original, again, np.eye(3)) == [False, True]
    assert derived(again, original, np.eye(3)) == [True, False]


def test_files_saved_with_the_same_steps_are_not_told_apart() -> None:
    picture = photo()
    assert derived(saved(picture, 85), saved(picture, 85), np.eye(3)) == [False, False]


def test_the_original_of_a_brighter_version_is_not_contained_in_it() -> None:
    original = saved(photo(5, (644, 484)), 85)
    brighter = Image.open(io.BytesIO(original)).point([min(255, round(v * 1.15)) for v in range(256)] * 3)
    found = compare(decoded(original), decoded(saved(brighter, 95)), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.TONE) for loss in found] == [True, False]


def vignetted(image: Image.Image, strength: float = 0.7, reach: float = 2, ground: int = 0) -> Image.Image:
    """Return it with corners that go to a level, black or white; wholly from a strength of 1 on."""
    distance = np.asarray(Image.radial_gradient("L").resize(image.size), np.float64)[..., None] / 255
    mask = np.minimum(1, strength * distance**reach)
    return Image.fromarray((np.asarray(image, np.float64) * (1 - mask) + ground * mask).round().astype(np.uint8))


@pytest.mark.parametrize("quality", [65, 75])
def test_a_version_with_darker_corners_is_known_by_them_and_its_levels(quality: int) -> None:
    original = saved(photo(5, (644, 484)), 85)
    version = saved(vignetted(Image.open(io.BytesIO(original))), quality)
    for first, second in ((original, version), (version, original)):
        found = compare(decoded(first), decoded(second), np.eye(3))
        assert found is not None
        assert [bool(loss & Loss.TONE) for loss in found] == [first == original, first != original]


@pytest.mark.parametrize("ground", [0, 255])
@pytest.mark.parametrize("name", ["cat", "coffee", "astronaut"])
def test_a_filter_with_corners_that_are_black_or_white_changes_no_content(name: str, ground: int) -> None:
    original = saved(demo(name, 428), 93)
    picture = opened(original).point([round(20 + 0.85 * v) for v in range(256)] * 3)
    version = saved(vignetted(picture, 1.2, 0.9, ground), 90)
    found = compare(decoded(original), decoded(version), np.eye(3))
    assert found is not None
    assert found[1] & ~HARMLESS == 0
    assert found[0] & Loss.TONE


def test_a_picture_is_not_taken_for_a_version_of_one_with_darker_corners() -> None:
    picture = photo(5, (644, 484))
    found = compare(decoded(saved(picture, 60)), decoded(saved(vignetted(picture), 95)), np.eye(3))
    assert found is not None
    assert found[0] & Loss.TONE


def modulated(image: Image.Image, factor: float) -> Image.Image:
    """Return it with another lightness in HSL, as ImageMagick's -modulate changes it."""
    pixels = np.asarray(image, np.float64) / 255
    light = (pixels.max(2) + pixels.min(2)) / 2
    changed = np.clip(light * factor, 0, 1)
    spread = (1 - np.abs(2 * changed - 1)) / np.maximum(1 - np.abs(2 * light - 1), 1e-6)
    found = changed[..., None] + (pixels - light[..., None]) * spread[..., None]
    return Image.fromarray((np.clip(found, 0, 1) * 255).round().astype(np.uint8))


@pytest.mark.parametrize("factor", [0.6, 0.7, 0.85])
def test_a_version_of_another_lightness_is_known_by_its_levels(factor: float) -> None:
    original = saved(photo(5, (644, 484)), 90)
    version = saved(modulated(Image.open(io.BytesIO(original)), factor), 85)
    found = compare(decoded(original), decoded(version), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.TONE) for loss in found] == [True, False]
    assert not (found[0] | found[1]) & (Loss.CONTENT | Loss.RECOLOURED)


def test_a_mark_on_a_version_of_another_lightness_is_seen() -> None:
    original = saved(photo(5, (644, 484)), 90)
    marked = Image.open(io.BytesIO(original)).convert("RGB")
    ImageDraw.Draw(marked).text((200, 200), "2026", "white", ImageFont.load_default(40))
    found = compare(decoded(original), decoded(saved(modulated(marked, 0.7), 85)), np.eye(3))
    assert found is not None
    assert found[0] & found[1] & Loss.CONTENT


def test_clipped_colours_are_no_change_of_a_part_of_the_picture() -> None:
    original = saved(photo(5, (644, 484)), 90)
    table = [min(255, round(v * gain)) for gain in (1.5, 0.8, 0.8) for v in range(256)]
    version = saved(Image.open(io.BytesIO(original)).point(table), 80)
    found = compare(decoded(original), decoded(version), np.eye(3))
    assert found is not None
    assert not found[1] & (Loss.RECOLOURED | Loss.CONTENT | Loss.TONE)


@pytest.mark.parametrize("qualities", [(60, 95), (85, 95), (85, 90), (85, 85)])
@pytest.mark.parametrize(
    "edit",
    [
        lambda i: i.point([round(v * 0.75) for v in range(256)] * 3),
        lambda i: ImageEnhance.Color(i).enhance(1.8),
        lambda i: ImageEnhance.Contrast(i).enhance(0.6),
    ],
    ids=["darker", "more saturated", "less contrast"],
)
def test_neither_of_two_versions_of_an_unknown_original_contains_the_other(
    edit: Edit, qualities: tuple[int, int]
) -> None:
    picture = photo(5, (644, 484))
    found = compare(decoded(saved(picture, qualities[0])), decoded(saved(edit(picture), qualities[1])), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.TONE) for loss in found] == [True, True]


def test_a_finely_saved_picture_is_not_contained_in_a_darker_version_of_its_source() -> None:
    picture = photo(5, (644, 484))
    darker = picture.point([round(v * 0.75) for v in range(256)] * 3)
    found = compare(decoded(saved(picture, 95)), decoded(saved(darker, 85)), np.eye(3))
    assert found is not None
    assert found[0] & Loss.TONE


@pytest.mark.parametrize("way", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_an_enlargement_to_twice_the_size_is_known_by_the_steps_of_its_original(way: Image.Resampling) -> None:
    original = saved(photo(5, (644, 484)), 85)
    larger = Image.open(io.BytesIO(original)).resize((1288, 968), way)
    found = compare(decoded(original), decoded(saved(larger, 92)), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.DETAIL) for loss in found] == [True, False]
    assert found[1] & Loss.ENLARGED


@pytest.mark.parametrize("way", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("size", [(838, 630), (1288, 968)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_an_enlargement_is_known_by_its_interpolation(
    size: tuple[int, int], way: Image.Resampling, *, mirrored: bool
) -> None:
    original = saved(detailed((644, 484)), 93)
    larger = Image.open(io.BytesIO(original)).resize(size, way)
    larger, transform = (ImageOps.mirror(larger), MIRRORED) if mirrored else (larger, np.eye(3))
    found = compare(decoded(original), decoded(saved(larger, 90)), transform)
    assert found is not None
    assert [bool(loss & Loss.DETAIL) for loss in found] == [True, False]
    assert found[1] & Loss.ENLARGED


@pytest.mark.parametrize("name", ["astronaut", "cat", "coffee"])
@pytest.mark.parametrize("factor", [1.3, 1.7, 2.2])
def test_an_enlargement_of_a_photo_is_known_by_its_interpolation(name: str, factor: float) -> None:
    original = saved(demo(name, 300), 93)
    image = opened(original)
    size = round(factor * image.width), round(factor * image.height)
    found = compare(decoded(original), decoded(saved(image.resize(size, Image.Resampling.BICUBIC), 85)), np.eye(3))
    assert found is not None
    assert [bool(loss & Loss.DETAIL) for loss in found] == [True, False]
    assert found[1] & Loss.ENLARGED


def test_an_enlarged_part_is_known_by_its_interpolation() -> None:
    original = saved(detailed((644, 484)), 93)
    part = Image.open(io.BytesIO(original)).crop((101, 53, 421, 293)).resize((720, 540), Image.Resampling.BICUBIC)
    h = np.array([[644 / 320, 0, -101 / 320], [0, 484 / 240, -53 / 240], [0, 0, 1]])
    found = compare(decoded(original), decoded(saved(part, 80)), h)
    assert found is not None
    assert found[0] & Loss.DETAIL
    assert found[1] & Loss.ENLARGED


@pytest.mark.parametrize("factor", [1.2, 1.5, 2])
def test_a_detailed_picture_is_no_enlargement_of_its_small_copy(factor: float) -> None:
    original = saved(detailed((1288, 968)), 90)
    size = round(1288 / factor), round(968 / factor)
    small = saved(Image.open(io.BytesIO(original)).resize(size, Image.Resampling.LANCZOS), 93)
    found = compare(decoded(small), decoded(original), np.eye(3))
    assert found is not None
    assert not found[0] & Loss.DETAIL


@pytest.mark.parametrize("name", ["cat", "coffee"])
def test_a_photo_is_no_enlargement_of_its_squashed_copy(name: str) -> None:
    original = saved(demo(name, 428), 80)
    image = opened(original)
    squashed = image.resize((round(0.8 * image.width), image.height), Image.Resampling.LANCZOS)
    found = compare(decoded(saved(squashed, 95)), decoded(original), np.eye(3))
    assert found is not None
    assert not found[0] & Loss.DETAIL


@pytest.mark.parametrize("blur", [0, 1])
def test_a_photo_is_no_enlargement_of_its_small_copy_that_was_sharpened(blur: int) -> None:
    original = saved(photo(6, (644, 484)).filter(ImageFilter.GaussianBlur(blur)), 90)
    small = opened(original).resize((386, 290), Image.Resampling.BOX).filter(ImageFilter.UnsharpMask(1, 150, 0))
    found = compare(decoded(saved(small, 60)), decoded(original), np.eye(3))
    assert found is not None
    assert not found[0] & Loss.DETAIL


@pytest.mark.parametrize("name", ["cat", "rocket"])
def test_what_shrinking_smooths_is_no_noise_that_was_added(name: str) -> None:
    original = saved(noisy(demo(name, 428)), 90)
    image = opened(original)
    size = round(0.7 * image.width), round(0.7 * image.height)
    small = saved(image.resize(size, Image.Resampling.LANCZOS), 90)
    assert derived(original, small, np.eye(3)) == [False, False]


@pytest.mark.parametrize("name", ["astronaut", "cat", "coffee", "rocket"])
def test_noise_on_a_white_ground_is_a_version_and_no_change_of_content(name: str) -> None:
    original = saved(on_white(demo(name, 428)), 85)
    found = compare(decoded(original), decoded(saved(noisy(opened(original)), 90)), np.eye(3))
    assert found == (Loss.ENLARGED, Loss.ENLARGED | Loss.DERIVED)


def test_a_strongly_sharpened_photo_shows_nothing_else() -> None:
    original = saved(demo("rocket", 428), 90)
    sharper = opened(original).filter(ImageFilter.UnsharpMask(2.5, 200, 0))
    found = compare(decoded(original), decoded(saved(sharper, 90)), np.eye(3))
    assert found == (Loss.ENLARGED, Loss.ENLARGED | Loss.DERIVED)


@pytest.mark.parametrize("name", ["astronaut", "cat"])
def test_a_mix_of_channels_is_told_where_it_is_not_clipped(name: str) -> None:
    original = saved(on_white(demo(name, 428)), 85)
    found = compare(decoded(original), decoded(saved(sepia_toned(opened(original)), 85)), np.eye(3))
    assert found is not None
    assert found[1] == Loss.ENLARGED | Loss.DERIVED


def filtered(image: Image.Image) -> Image.Image:
    """Return it with a kinked curve for each channel."""
    curves = [(10, 40, 200, 240), (0, 60, 200, 255), (25, 70, 170, 205)]
    table = [round(float(v)) for curve in curves for v in np.interp(np.arange(256), [0, 85, 170, 255], curve)]
    return image.point(table)


@pytest.mark.parametrize("name", ["cat", "coffee", "rocket"])
def test_a_filter_with_a_kinked_curve_for_each_channel_makes_a_version(name: str) -> None:
    original = saved(demo(name, 428), 93)
    version = saved(filtered(opened(original)), 90)
    assert derived(original, version, np.eye(3)) == [False, True]


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
