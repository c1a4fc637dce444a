"""dedup/geometry/containment.py: what would be lost of each of two pictures beside the other one."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from album import scene
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from dedup.geometry.changes import find_changes
from dedup.geometry.containment import compare
from dedup.geometry.tone import luma, unchanged
from dedup.geometry.traces import Decoded
from dedup.types.pairs import HARMLESS, Loss

SAME = np.eye(3)
MIRRORED = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
Edit = Callable[[Image.Image], Image.Image]


def grain(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> np.ndarray:
    """Return texture (H, W, 1) of unit deviation."""
    found = cv2.GaussianBlur(rng.standard_normal((size[1], size[0], 1), np.float32), (0, 0), sigma)
    return np.asarray(found / found.std())[..., None]


def photo(seed: int = 5, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Return a picture with shapes, and with texture of several sizes that is stronger to the right."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(scene(seed, size), np.float32)
    strength = np.square(np.linspace(0, 1.6, size[0], dtype=np.float32))[None, :, None]
    for sigma in (1, 2, 6):
        pixels += 12 * grain(rng, size, sigma) * strength
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def lost(original: Image.Image, version: Image.Image, transform: np.ndarray = SAME) -> tuple[Loss, Loss]:
    found = compare(Decoded(np.asarray(original), None), Decoded(np.asarray(version), None), transform)
    assert found is not None
    return found


def changes(one: Image.Image, other: Image.Image) -> list[float]:
    """Return how strongly the content of the second differs from the first, and the other way round."""
    planes, everywhere = [np.asarray(one), np.asarray(other)], np.ones((one.height, one.width), bool)
    return [
        find_changes(target, source, luma(source), unchanged(), everywhere).content
        for target, source in (planes, planes[::-1])
    ]


def inside(loss: Loss) -> bool:
    return not loss & ~HARMLESS


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def sepia(image: Image.Image) -> Image.Image:
    matrix = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)
    return image.convert("RGB", matrix)


def strongly_sharpened(image: Image.Image) -> Image.Image:
    """Return it with the finest detail amplified most."""
    return image.filter(ImageFilter.UnsharpMask(0.7, 250, 0))


def captioned(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((60, 400), "see you there", "white", ImageFont.load_default(40))
    return image


def watermarked(image: Image.Image) -> Image.Image:
    return Image.blend(image, captioned(image), 0.4)


def blanked(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).rectangle((200, 150, 300, 230), "black")
    return image


def pixelated(image: Image.Image) -> Image.Image:
    image, box = image.copy(), (200, 120, 360, 260)
    part = image.crop(box)
    image.paste(part.resize((8, 7), Image.Resampling.BOX).resize(part.size, Image.Resampling.NEAREST), box)
    return image


def moved(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.paste(image.crop((100, 100, 220, 220)), (240, 180))
    return image


def recoloured(image: Image.Image) -> Image.Image:
    image, box = image.copy(), (150, 100, 400, 330)
    hsv = np.array(image.crop(box).convert("HSV"))
    hsv[..., 0] += 90
    hsv[..., 1] = 180
    image.paste(Image.fromarray(hsv, "HSV").convert("RGB"), box)
    return image


VERSIONS: dict[str, Edit] = {
    "saved again": lambda i: jpeg(i, 90),
    "saved at a low quality": lambda i: jpeg(i, 25),
    "half the size": half,
    "darker": lambda i: i.point([round(255 * (v / 255) ** 1.6) for v in range(256)] * 3),
    "grey": lambda i: ImageOps.grayscale(i).convert("RGB"),
    "sepia": sepia,
    "blurred": lambda i: i.filter(ImageFilter.GaussianBlur(2)),
}
CHANGES: dict[str, Edit] = {
    "caption": captioned,
    "watermark": watermarked,
    "blanked part": blanked,
    "pixelated part": pixelated,
    "moved thing": moved,
    "other colour of a part": recoloured,
}


@pytest.mark.parametrize("name", VERSIONS)
def test_a_version_is_contained_in_its_original(name: str) -> None:
    original = jpeg(photo(), 92)
    unknown = Loss.TONE if name in ("darker", "sepia") else Loss(0)  # without the files nothing says which was first
    assert inside(lost(original, jpeg(VERSIONS[name](original), 85))[1] & ~unknown)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_content_is_lost_of_either_picture(name: str) -> None:
    original = jpeg(photo(), 92)
    changed = CHANGES[name](original)
    for version in (jpeg(changed, 85), jpeg(changed, 40), jpeg(half(changed), 85)):
        losses = lost(original, version)
        assert [bool(loss & (Loss.CONTENT | Loss.RECOLOURED)) for loss in losses] == [True, True]


def soft(size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Return a picture with soft texture everywhere, as of fur or skin."""
    pixels = np.asarray(scene(5, size), np.float32) + 4 * grain(np.random.default_rng(3), size, 2)
    return jpeg(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), 92)


def smeared(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    image = image.copy()
    image.paste(image.crop(box).filter(ImageFilter.GaussianBlur(8)), box)
    return image


@pytest.mark.parametrize(("size", "box"), [((640, 480), (480, 60, 570, 150)), ((1280, 960), (200, 120, 290, 210))])
def test_blurred_part_is_lost_of_the_picture_that_shows_it_and_not_of_the_other(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    original = soft(size)
    for quality in (95, 75):
        mine, its = lost(original, jpeg(smeared(original, box), quality))
        assert mine & Loss.PART_BLURRED
        assert inside(its)  # nor is it another content
    assert lost(original, jpeg(half(smeared(original, box)), 90))[0] & Loss.PART_BLURRED


@pytest.mark.parametrize("angle", [3, 12])
def test_edge_of_what_both_show_is_no_blurred_part(angle: float) -> None:
    original = jpeg(photo(5), 92)
    turned = original.rotate(angle, Image.Resampling.BICUBIC)
    centre, size = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]), np.diag([640.0, 480, 1])
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    there = centre @ np.linalg.inv(size) @ turn @ size @ np.linalg.inv(centre)
    mine, its = lost(original, jpeg(turned, 85), there)
    assert not (mine | its) & Loss.PART_BLURRED


def test_pixelated_part_with_little_contrast_is_lost() -> None:
    original = soft()
    assert lost(original, jpeg(pixelated(original), 95))[0] & Loss.PART_BLURRED


@pytest.mark.parametrize("quality", [85, 50, 20])
def test_saving_at_a_low_quality_blurs_no_part(quality: int) -> None:
    original = soft()
    mine, its = lost(original, jpeg(original, quality))
    assert not (mine | its) & Loss.PART_BLURRED
    assert inside(its)


@pytest.mark.parametrize("quality", [90, 30])
def test_one_other_digit_is_a_change_of_content(quality: int) -> None:
    pages = []
    for number in ("Ticket 4711-08", "Ticket 4711-03"):
        page = Image.new("RGB", (900, 1400), "white")
        ImageDraw.Draw(page).text((80, 300), "Row 7, seat 12", "black", ImageFont.load_default(36))
        ImageDraw.Draw(page).text((80, 900), number, "black", ImageFont.load_default(24))
        page.paste(photo(3, (800, 200)), (50, 40))
        pages.append(jpeg(page, quality))
    assert all(loss & Loss.CONTENT for loss in lost(pages[0], pages[1]))


@pytest.mark.parametrize("width", [64, 130, 260])
def test_a_box_that_hides_much_of_a_textured_picture_is_a_change_of_content(width: int) -> None:
    original = jpeg(photo(5, (1280, 480)).crop((700, 0, 1280, 480)), 93)
    hidden = original.copy()
    ImageDraw.Draw(hidden).rectangle((180, 40, 180 + width, 440), (20, 20, 20))
    assert min(changes(original, jpeg(hidden, 85))) > 100


def test_thin_letters_on_a_sky_are_a_change_of_content() -> None:
    noise = np.random.default_rng(2).normal(0, 1.5, (163, 412, 3))
    sky = np.clip(np.array([40, 110, 140]) + np.linspace(0, 25, 412)[None, :, None] + noise, 0, 255).astype(np.uint8)
    sky[60:110, 90:330] = np.asarray(photo(3, (1000, 50)).crop((700, 0, 940, 50)))
    original = jpeg(Image.fromarray(sky), 93)
    marked = original.copy()
    for x, y in ((10, 5), (150, 12), (330, 30), (20, 120), (200, 125), (320, 80), (170, 70)):
        ImageDraw.Draw(marked).text((x, y), "(c) 2019", (170, 150, 220), ImageFont.load_default(14))
    assert min(changes(original, jpeg(Image.blend(original, marked, 0.7), 80))) > 100
    assert max(changes(original, jpeg(original, 80))) < 2


def test_the_comparison_does_not_depend_on_the_order() -> None:
    original = jpeg(photo(), 92)
    version = jpeg(half(captioned(original)), 85)
    assert lost(original, version) == lost(version, original)[::-1]


def test_a_mirrored_copy_is_contained_and_contains() -> None:
    original = jpeg(photo(), 92)
    losses = lost(original, jpeg(ImageOps.mirror(original), 90), MIRRORED)
    assert [inside(loss) for loss in losses] == [True, True]


def test_an_alignment_that_errs_by_a_hundredth_is_refined() -> None:
    original = jpeg(photo(), 92)
    off = np.array([[1.008, 0.002, 0.006], [-0.002, 0.995, -0.006], [0, 0, 1]])
    assert [inside(loss) for loss in lost(original, jpeg(original, 60), off)] == [True, True]


def test_grey_loses_colour_and_colour_loses_nothing_beside_grey() -> None:
    original = jpeg(photo(), 92)
    mine, its = lost(original, VERSIONS["grey"](original))
    assert (bool(mine & Loss.COLOUR), bool(its & Loss.COLOUR)) == (True, False)


def test_a_blurred_picture_lacks_detail_and_a_sharpened_one_does_not_have_more() -> None:
    original = jpeg(photo(), 92)
    assert lost(original, VERSIONS["blurred"](original))[0] & Loss.DETAIL
    for sharpened in (original.filter(ImageFilter.UnsharpMask(2, 150, 0)), jpeg(strongly_sharpened(original), 92)):
        mine, its = lost(original, sharpened)
        assert not (mine | its) & Loss.DETAIL
        assert its & Loss.DERIVED
        assert not mine & Loss.DERIVED


def noisy(image: Image.Image, deviation: float) -> Image.Image:
    pixels = np.asarray(image) + np.random.default_rng(3).normal(0, deviation, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def test_coloured_noise_gives_a_grey_picture_no_colour_and_makes_it_a_version() -> None:
    grey = jpeg(ImageOps.grayscale(photo()).convert("RGB"), 92)
    mine, its = lost(grey, noisy(grey, 25))
    assert inside(its)
    assert its & Loss.DERIVED
    assert not mine & Loss.DERIVED


def test_weak_noise_makes_a_version_too() -> None:
    original = jpeg(photo(), 92)
    mine, its = lost(original, noisy(original, 4))
    assert its & Loss.DERIVED
    assert not mine & Loss.DERIVED


def test_a_grey_picture_with_a_tint_is_contained_in_it() -> None:
    grey = jpeg(ImageOps.grayscale(photo()).convert("RGB"), 92)
    red, green, blue = grey.split()
    strong = Image.merge("RGB", (red.point(lambda v: min(255, round(1.35 * v))), green, blue.point(lambda v: v // 2)))
    assert not lost(grey, strong)[1] & Loss.COLOUR


def test_what_was_clipped_away_tells_the_version() -> None:
    original = jpeg(ImageOps.grayscale(photo()).point([80 + v // 2 for v in range(256)]).convert("RGB"), 92)
    bright = jpeg(original.point([min(255, v + 110) for v in range(256)] * 3), 92)
    mine, its = lost(original, bright)
    assert mine & Loss.TONE
    assert its & Loss.DERIVED
    assert not mine & Loss.DERIVED


def test_of_a_tone_that_nothing_tells_neither_version_contains_the_other() -> None:
    original = jpeg(photo(), 92)
    darker = original.point([round(0.7 * v) + 60 for v in range(256)] * 3)
    mine, its = lost(original, darker)
    assert mine & its & Loss.TONE
    assert not (mine | its) & Loss.DERIVED


def test_an_enlargement_has_more_pixels_and_no_more_detail() -> None:
    original = jpeg(photo(), 92)
    small = original.resize((213, 160), Image.Resampling.LANCZOS)
    enlarged = jpeg(small.resize((960, 720), Image.Resampling.BICUBIC), 85)
    mine, its = lost(original, enlarged)
    assert mine & Loss.DETAIL
    assert its & Loss.ENLARGED
    assert inside(its)


@pytest.mark.parametrize("factor", [1.3, 1.5, 2.2])
def test_a_picture_is_no_enlargement_of_its_lossless_small_copy(factor: float) -> None:
    original = jpeg(photo(5, (round(640 * factor), round(480 * factor))), 92)
    _, its = lost(original, original.resize((640, 480), Image.Resampling.LANCZOS))
    assert not its & Loss.DETAIL


def test_a_short_word_in_a_plain_bar_is_content() -> None:
    original = jpeg(photo(), 92)
    page = Image.new("RGB", (640, 600), (214, 0, 160))
    page.paste(original, (0, 120))
    h = np.array([[1, 0, 0], [0, 480 / 600, 120 / 600], [0, 0, 1]])
    assert inside(lost(original, jpeg(page, 85), h)[1])
    ImageDraw.Draw(page).text((20, 30), "it", "black", ImageFont.load_default(50))
    assert not inside(lost(original, jpeg(page, 85), h)[1])


def test_a_strong_blur_is_no_change_of_content() -> None:
    original = jpeg(photo(), 92)
    for radius in (1.5, 2.0, 3.5, 5.0):
        version = jpeg(original.filter(ImageFilter.GaussianBlur(radius)), 85)
        assert inside(lost(original, version)[1])


def test_a_blur_of_a_part_is_one() -> None:
    original = jpeg(photo(), 92)
    version, box = original.copy(), (200, 100, 460, 340)
    version.paste(original.crop(box).filter(ImageFilter.GaussianBlur(8)), box)
    assert not inside(lost(original, version)[0])


def test_clipped_light_is_explained_by_the_picture_that_has_it() -> None:
    original = jpeg(photo(), 92)
    version = original.point([min(255, max(0, round((v - 128) * 1.7 + 128))) for v in range(256)] * 3)
    assert inside(lost(original, jpeg(version, 90))[1] & ~Loss.TONE)


def test_borders_are_no_content() -> None:
    original = jpeg(photo(), 92)
    framed = jpeg(ImageOps.expand(original, (80, 60), "white"), 90)
    h = np.array([[640 / 800, 0, 80 / 800], [0, 480 / 600, 60 / 600], [0, 0, 1]])
    mine, its = lost(original, framed, h)
    assert inside(mine)
    assert inside(its)
    assert its & Loss.BORDERS


@pytest.mark.parametrize("colour", [(180, 40, 90), (20, 90, 60), (240, 235, 220)])
def test_a_thin_border_that_was_made_small_and_saved_coarsely_is_no_content(colour: tuple[int, int, int]) -> None:
    original = jpeg(photo(), 92)
    framed = ImageOps.expand(original, 24, colour)
    small = jpeg(framed.resize((150, 115), Image.Resampling.LANCZOS), 78)
    mine, its = lost(original, small, np.array([[640 / 688, 0, 24 / 688], [0, 480 / 528, 24 / 528], [0, 0, 1]]))
    assert its & Loss.BORDERS
    assert not (mine | its) & (Loss.CROPPED | Loss.ADDED | Loss.SURROUNDED)


def test_a_photo_on_a_blurred_copy_of_itself_is_not_contained_in_that() -> None:
    original = jpeg(photo(), 92)
    square = original.resize((640, 640)).filter(ImageFilter.GaussianBlur(40))
    square.paste(original, (0, 80))
    mine, its = lost(original, jpeg(square, 92), np.array([[1, 0, 0], [0, 0.75, 0.125], [0, 0, 1]]))
    assert mine & Loss.SURROUNDED or its & Loss.BORDERS


def test_a_crop_is_contained_in_the_whole_picture_which_is_wider() -> None:
    original = jpeg(photo(), 92)
    part = jpeg(original.crop((100, 60, 500, 400)), 90)
    h = np.linalg.inv(np.array([[400 / 640, 0, 100 / 640], [0, 340 / 480, 60 / 480], [0, 0, 1]]))
    mine, its = lost(original, part, h)
    assert inside(its)
    assert mine & Loss.CROPPED
    assert not its & Loss.SURROUNDED


@pytest.mark.parametrize("factor", [1, 0.5])
def test_a_crop_that_cuts_off_little_is_not_taken_for_the_whole_picture(factor: float) -> None:
    original = jpeg(photo(), 92)
    part = original.crop((0, 0, 630, 472))
    part = jpeg(part.resize((round(630 * factor), round(472 * factor)), Image.Resampling.LANCZOS), 90)
    mine, its = lost(original, part, np.array([[640 / 630, 0, 0], [0, 480 / 472, 0], [0, 0, 1]]))
    assert mine & (Loss.CROPPED | Loss.ADDED)
    assert not its & (Loss.CROPPED | Loss.ADDED)


def test_a_crop_beside_a_smooth_sky_was_cropped_and_not_set_into_something() -> None:
    pixels = np.asarray(photo(), np.float32)
    sky = np.linspace([90, 130, 200], [180, 200, 230], 300)[:, None].repeat(640, axis=1)
    whole = jpeg(Image.fromarray(np.vstack([sky, pixels]).astype(np.uint8)), 92)
    part = jpeg(whole.crop((0, 300, 640, 780)), 90)
    mine, its = lost(whole, part, np.linalg.inv(np.array([[1, 0, 0], [0, 480 / 780, 300 / 780], [0, 0, 1]])))
    assert mine & (Loss.CROPPED | Loss.ADDED | Loss.BORDERS)
    assert not its & (Loss.CONTENT | Loss.CROPPED)


def test_a_photo_in_a_collage_is_not_contained_in_it_nor_the_other_way_round() -> None:
    original = jpeg(photo(), 92)
    sheet = Image.new("RGB", (1280, 480))
    sheet.paste(original, (0, 0))
    sheet.paste(photo(9), (640, 0))
    mine, its = lost(original, jpeg(sheet, 90), np.array([[0.5, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert mine & Loss.SURROUNDED
    assert its & Loss.ADDED


def test_plain_pictures_are_compared() -> None:
    plain = Image.new("RGB", (320, 240), (90, 90, 90))
    assert [inside(loss) for loss in lost(plain, plain)] == [True, True]


def test_pictures_that_share_next_to_nothing_are_not_compared() -> None:
    apart = np.array([[1.0, 0, 5], [0, 1, 5], [0, 0, 1]])
    image = Decoded(np.asarray(photo()), None)
    assert compare(image, image, apart) is None
