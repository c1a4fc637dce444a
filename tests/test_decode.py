"""Bytes to pictures: every format, every turn, and every way to be broken."""

from __future__ import annotations

import io
import random
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from photos import camera_jpeg
from PIL import Image, ImageCms, TiffImagePlugin

from dedup.errors import MissingExtra, NotAPicture, UnreadablePhoto
from dedup.images.decode import decode, decode_for_verification, decode_within, pixels_sha256, read_preview, render
from dedup.images.opening import MAX_PIXELS
from dedup.images.signatures import averages_alone

SHARED = Path(__file__).parents[2] / "shared" / "data" / "formats"
SIDE = 32


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Return a smooth picture whose four corners differ."""
    y, x = np.mgrid[0:height, 0:width]
    bands = (x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 100 // (width + height))
    return Image.fromarray(np.stack(bands, axis=-1).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(data: bytes, *, side: int = SIDE) -> NDArray[np.int64]:
    return decode(data, side=side).pixels.astype(np.int64)


def colour(data: bytes) -> list[int]:
    """Return the colour in the middle."""
    middle: list[int] = pixels(data)[SIDE // 2, SIDE // 2].tolist()
    return middle


def exif(orientation: int = 1, /, **texts: str) -> Image.Exif:
    made = Image.Exif()
    made[274] = orientation
    for tag, number in (("make", 271), ("model", 272), ("changed", 306)):
        if tag in texts:
            made[number] = texts[tag]
    for tag, number in (("original", 36867), ("digitized", 36868)):
        if tag in texts:
            made.get_ifd(0x8769)[number] = texts[tag]
    return made


def lying(orientation: int) -> Image.Image:
    """Return the scene as a camera stores it that then asks for this orientation."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose
    return scene().transpose(Image.Transpose(undo[orientation])) if orientation > 1 else scene()


# --- what comes out


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        *(("JPEG", {"quality": 95}, 4), ("JPEG", {"quality": 95, "progressive": True}, 4), ("PNG", {}, 0)),
        *(("WEBP", {"lossless": True}, 0), ("TIFF", {}, 0), ("TIFF", {"compression": "tiff_lzw"}, 0), ("BMP", {}, 0)),
        *(("DIB", {}, 0), ("JPEG2000", {}, 0), ("PPM", {}, 0), ("TGA", {}, 0), ("PCX", {}, 0), ("SGI", {}, 0)),
        *(
            ("DDS", {}, 0),
            ("QOI", {}, 0),
            ("ICO", {"sizes": [(96, 64)]}, 0),
            ("AVIF", {"quality": 95}, 6),
            ("HEIF", {"quality": 95}, 6),
        ),
    ],
)
def test_format_is_read_by_content(kind: str, options: dict[str, Any], tolerance: int) -> None:
    picture = decode(saved(scene(), kind, **options), side=SIDE)
    assert (picture.width, picture.height, picture.format) == (96, 64, kind)
    assert (picture.pixels.shape, str(picture.pixels.dtype)) == ((SIDE, SIDE, 3), "uint8")
    assert picture.pixels.flags.writeable  # torch warns about the other ones
    assert np.abs(picture.pixels.astype(int) - pixels(saved(scene(), "PNG"))).max() <= tolerance


def test_squash_averages_every_pixel() -> None:
    stripes = Image.fromarray(np.tile(np.array([[0, 255]], dtype=np.uint8), (64, 160)))
    assert np.abs(pixels(saved(stripes, "PNG")) - 127).max() <= 6  # taking single pixels would give 0 or 255


def test_reduced_jpeg_looks_like_the_full_one() -> None:
    photo = saved(scene(1600, 1200), "JPEG", quality=95)
    lossless = saved(Image.open(io.BytesIO(photo)), "PNG")
    difference = np.abs(pixels(photo, side=160) - pixels(lossless, side=160))
    assert (decode(photo, side=160).width, decode(photo, side=160).height) == (1600, 1200)
    assert difference.mean() < 1
    assert difference.max() <= 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_eight_orientations_decode_to_one_picture(kind: str) -> None:
    upright = pixels(saved(scene(), "PNG"))
    for turn in range(1, 9):
        options = {} if kind in ("PNG", "TIFF") else {"quality": 95}
        picture = decode(saved(lying(turn), kind, exif=exif(turn).tobytes(), **options), side=SIDE)
        assert (turn, picture.width, picture.height) == (turn, 96, 64)
        assert (turn, np.abs(picture.pixels - upright).max() <= 8) == (turn, True)


def test_nonsense_orientation_is_upright() -> None:
    for turn in (0, 9, 65535):
        picture = decode(saved(scene(), "PNG", exif=exif(turn)), side=SIDE)
        assert (picture.width, picture.height) == (96, 64)
        assert np.array_equal(picture.pixels, pixels(saved(scene(), "PNG")))


def test_thumbnail_inside_heif_is_not_taken_for_the_picture() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    assert np.array_equal(pixels(saved(noise, "HEIF", thumbnails=[64])), pixels(saved(noise, "HEIF")))


def test_first_frame_counts() -> None:
    red, blue = Image.new("RGB", (50, 50), "red"), Image.new("RGB", (50, 50), "blue")
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        assert colour(saved(red, kind, save_all=True, append_images=[blue])) == pytest.approx([255, 0, 0], abs=3)
    two = saved(red, "MPO", save_all=True, append_images=[blue])
    assert decode(two, side=SIDE).format == "MPO"
    assert colour(two) == pytest.approx([255, 0, 0], abs=3)


def grey_as(mode: str, dtype: str, value: float) -> bytes:
    return saved(Image.fromarray(np.full((40, 40), value, dtype=dtype)).convert(mode), "TIFF")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Image.fromarray(np.full((40, 40), 0x80FF, "<u2")), "PNG"), [128] * 3),
        (saved(Image.fromarray(np.full((40, 40), 0x80FF, "<u2")), "TIFF"), [128] * 3),
        (saved(Image.fromarray(np.full((40, 40), 0x80FF, ">u2")), "TIFF"), [128] * 3),
        (b"P5 40 40 65535\n" + b"\x80\xff" * 1600, [128] * 3),  # mode I
        (b"P5 40 40 65535\n" + b"\x00\x80" * 1600, [0] * 3),  # dark, and not stretched
        (grey_as("F", "f4", 0.5), [127] * 3),
        (grey_as("F", "f4", 128), [128] * 3),
        (grey_as("F", "f4", 128 * 256), [128] * 3),
        (grey_as("F", "f4", float("nan")), [0] * 3),
        (saved(Image.new("1", (40, 40), 1), "PNG"), [255] * 3),
        (saved(Image.new("L", (40, 40), 77), "PNG"), [77] * 3),
        (saved(Image.new("P", (40, 40), 0), "PNG"), [0] * 3),
        (saved(Image.new("CMYK", (40, 40), (255, 0, 0, 0)), "TIFF"), [0, 255, 255]),
        (saved(Image.new("YCbCr", (40, 40), (128, 128, 128)), "TIFF"), [128] * 3),
        (saved(Image.new("LAB", (40, 40), (255, 128, 128)), "TIFF"), [255] * 3),
        (saved(Image.new("RGBA", (40, 40), (200, 0, 0, 255)), "PNG"), [200, 0, 0]),
        (saved(Image.new("RGBA", (40, 40), (200, 0, 0, 0)), "PNG"), [128] * 3),
        (saved(Image.new("LA", (40, 40), (0, 0)), "PNG"), [128] * 3),
        (saved(Image.new("RGB", (40, 40), (9, 8, 7)), "PNG", transparency=(9, 8, 7)), [128] * 3),
        (saved(Image.new("L", (40, 40), 9), "PNG", transparency=9), [128] * 3),
        (saved(Image.new("P", (40, 40), 0), "PNG", transparency=0), [128] * 3),
        (saved(Image.new("P", (40, 40), 3), "GIF", transparency=3), [128] * 3),
    ],
)
def test_every_mode_becomes_eight_bit_srgb(data: bytes, expected: list[int]) -> None:
    assert colour(data) == pytest.approx(expected, abs=1)


def test_wide_integers_keep_their_contrast() -> None:
    ramp = np.linspace(0, 2_000_000, 1600).reshape(40, 40).astype(np.int32)
    assert np.ptp(pixels(saved(Image.fromarray(ramp), "TIFF"))) > 240


def test_transparent_pixels_do_not_bleed() -> None:
    board = np.zeros((64, 64, 4), dtype=np.uint8)
    board[::2] = (255, 255, 255, 255)  # the rows between are transparent black
    assert np.abs(pixels(saved(Image.fromarray(board), "PNG"))[4:-4] - 191).max() <= 6  # white and ground, no black


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def wide_profile() -> bytes:
    """Return the sRGB profile with red and green columns swapped: a colour space that is surely not sRGB."""
    data = bytearray(profile("sRGB"))
    data = bytearray(bytes(data).replace(b"rXYZ", b"_XYZ").replace(b"gXYZ", b"rXYZ").replace(b"_XYZ", b"gXYZ"))
    return bytes(data)


def test_colour_profile_is_applied() -> None:
    red = Image.new("RGB", (40, 40), (255, 0, 0))
    for kind in ("PNG", "TIFF", "JPEG"):
        assert colour(saved(red, kind, icc_profile=wide_profile())) == pytest.approx([0, 255, 0], abs=3)
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 128))
    assert colour(saved(clear, "PNG", icc_profile=wide_profile())) == pytest.approx([64, 192, 64], abs=3)


def rounded_profile() -> bytes:
    """Return the sRGB profile with its red moved a little, as another maker's rounding might."""
    data = bytearray(profile("sRGB"))
    (at,) = struct.unpack_from(">I", data, data.index(b"rXYZ") + 4)
    (red,) = struct.unpack_from(">i", data, at + 8)
    struct.pack_into(">i", data, at + 8, red + 25)
    return bytes(data)


def test_srgb_or_broken_or_foreign_profile_changes_nothing() -> None:
    for image, block in [
        (scene(), profile("sRGB")),
        (scene(), rounded_profile()),
        (scene(), b"rubbish"),
        (scene(), wide_profile()[:300]),
        (scene().convert("L"), wide_profile()),  # of another mode
        (scene().convert("RGBA"), profile("sRGB")),
    ]:
        plain, marked = saved(image, "PNG"), saved(image, "PNG", icc_profile=block)
        assert np.array_equal(pixels(plain), pixels(marked))
        assert pixels_sha256(plain) == pixels_sha256(marked)


def test_size_limit_is_300_megapixels_and_declared_size_counts() -> None:
    def claims(width: int, height: int) -> bytes:
        header = bytearray(saved(Image.new("L", (1, 1)), "BMP"))
        struct.pack_into("<ii", header, 18, width, height)
        return bytes(header)

    with pytest.raises(UnreadablePhoto, match=r"^20000 x 20000 = 400 megapixels, more than the limit of 300$"):
        decode(claims(20_000, 20_000), side=SIDE)
    with pytest.raises(UnreadablePhoto, match=r"^6000000 megapixels, more than the limit of 300$"):
        decode(claims(3_000_000, 2_000_000), side=SIDE)
    with pytest.raises(UnreadablePhoto, match="cut short"):  # let through: a picture of 280 megapixels
        decode(claims(20_000, 14_000), side=SIDE)
    assert MAX_PIXELS == 300_000_000


# --- metadata


def test_time_and_camera_come_from_exif() -> None:
    full = exif(make="Canon", model="Canon EOS 5D", original="2019:07:01 12:00:00", changed="2021:01:01 00:00:00")
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF"):
        picture = decode(saved(scene(), kind, exif=full.tobytes()), side=SIDE)
        assert (picture.taken_at, picture.camera) == ("2019-07-01T12:00:00", "Canon EOS 5D")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271], tags[34665] = "Leica", {36867: "2019:07:01 12:00:00"}
    plain = saved(scene(), "TIFF", tiffinfo=tags)
    packed = saved(scene(), "TIFF", exif=exif(make="Leica", changed="2019:07:01 12:00:00"), compression="tiff_lzw")
    for data in (plain, packed):
        picture = decode(data, side=SIDE)
        assert (picture.taken_at, picture.camera) == ("2019-07-01T12:00:00", "Leica")


@pytest.mark.parametrize(
    ("texts", "taken_at"),
    [
        ({}, None),
        ({"digitized": "2018:01:02 03:04:05", "changed": "2021:01:01 00:00:00"}, "2018-01-02T03:04:05"),
        ({"changed": "2021:01:01 00:00:00"}, "2021-01-01T00:00:00"),
        ({"original": "0000:00:00 00:00:00", "changed": "2021:01:01 00:00:00"}, "2021-01-01T00:00:00"),
        ({"original": "    :  :     :  :  "}, None),
        ({"original": "2019:13:41 12:00:00"}, None),
        ({"original": "2019-07-01T12:00:00"}, "2019-07-01T12:00:00"),
    ],
)
def test_time_is_iso_or_absent(texts: dict[str, str], taken_at: str | None) -> None:
    assert decode(saved(scene(), "JPEG", exif=exif(**texts)), side=SIDE).taken_at == taken_at


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D70", "NIKON D70"),
        ("Apple", "iPhone 8", "Apple iPhone 8"),
        ("Canon\x00\x00junk", "EOS\x07\n 5D ", "Canon EOS 5D"),
        ("Leica", "", "Leica"),
        ("", "X100", "X100"),
        ("   ", "\x00", None),
        ("A" * 90, "B" * 90, "A" * 90 + " " + "B" * 9),
    ],
)
def test_camera_is_one_clean_short_line(make: str, model: str, camera: str | None) -> None:
    assert decode(saved(scene(), "JPEG", exif=exif(make=make, model=model)), side=SIDE).camera == camera


def test_broken_exif_costs_only_the_metadata() -> None:
    whole = exif(6, make="Canon", original="2019:07:01 12:00:00").tobytes()
    for block in (whole[:20], b"Exif\x00\x00rubbish", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", whole[:40]):
        picture = decode(saved(scene(), "JPEG", exif=block), side=SIDE)
        assert (sorted((picture.width, picture.height)), picture.taken_at) == ([64, 96], None)


# --- digest of the pixels


def test_digest_is_of_pixels_and_not_of_the_container_or_metadata() -> None:
    whole = exif(make="Canon", original="2019:07:01 12:00:00")
    same = [
        *(saved(scene(), kind) for kind in ("PNG", "TIFF", "BMP", "TGA", "PPM", "QOI", "SGI")),
        *(saved(scene(), "PNG", compress_level=0, exif=whole, icc_profile=profile("sRGB")),),
        saved(scene().convert("RGBA"), "PNG"),
        *(saved(lying(turn), "PNG", exif=exif(turn)) for turn in range(1, 9)),
        *(saved(lying(turn), "TIFF", exif=exif(turn)) for turn in range(1, 9)),
    ]
    assert len({pixels_sha256(data) for data in same}) == 1


def test_sixteen_bit_grey_digests_alike_in_every_container() -> None:
    wide = Image.fromarray((np.arange(4096, dtype=np.uint16) * 16).reshape(64, 64))
    narrow = Image.fromarray((np.arange(4096) * 16 >> 8).astype(np.uint8).reshape(64, 64))
    same = [saved(wide, "PNG"), saved(wide, "TIFF"), saved(narrow, "PNG"), saved(narrow.convert("RGB"), "BMP")]
    assert len({pixels_sha256(data) for data in same}) == 1


def test_digest_tells_shapes_and_single_pixels_apart() -> None:
    other = scene()
    other.putpixel((50, 30), (1, 2, 3))
    images = [Image.new("RGB", (10, 20)), Image.new("RGB", (20, 10)), Image.new("RGB", (1, 200)), scene(), other]
    assert len({pixels_sha256(saved(image, "PNG")) for image in images}) == 5


def test_strips_do_not_change_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [saved(lying(turn), "PNG", exif=exif(turn)) for turn in range(1, 9)]
    files.append(saved(scene().convert("RGBA"), "PNG"))
    whole = [pixels_sha256(data) for data in files]
    monkeypatch.setattr("dedup.images.colour._STRIP_PIXELS", 7 * 96)  # does not divide 64
    assert [pixels_sha256(data) for data in files] == whole


# --- what cannot be read


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA"]
)
def test_cut_short_is_unreadable(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8))
    whole = saved(noise, kind)
    for part in (0.3, 0.6, 0.95):
        for read in (lambda data: decode(data, side=SIDE), pixels_sha256):
            with pytest.raises(UnreadablePhoto, match=r"cut short|damaged"):
                read(whole[: int(len(whole) * part)])


def test_missing_bytes_are_counted() -> None:
    for kind in ("HEIF", "AVIF", "WEBP"):
        whole = saved(scene(), kind)
        with pytest.raises(UnreadablePhoto, match=f"^cut short: 10 of {len(whole)} bytes are missing$"):
            decode(whole[:-10], side=SIDE)
        assert decode(whole + b"what a phone puts behind", side=SIDE).format == kind


def test_unknown_bytes_are_not_a_picture() -> None:
    for data in (b"hello\n", b"\0\0\0\x18ftypisom", b"\x00" * 5000, bytes(range(256)) * 9):
        with pytest.raises(NotAPicture, match=r"^no picture format that can be read$"):
            decode(data, side=SIDE)


def test_postscript_is_never_run() -> None:
    for head in (b"", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, 900) + b"\0" * 18):  # with a preview in front
        with pytest.raises(NotAPicture, match=r"^no picture format"):
            decode(head + saved(scene(), "EPS"), side=SIDE)


def test_damaged_copies_raise_nothing_else_and_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(0)
    made = exif(6, make="Canon", original="2019:07:01 12:00:00").tobytes()
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF", "AVIF", "ICO", "TGA", "PSD"):
        whole = saved(scene(), kind, exif=made) if kind != "PSD" else b"8BPS\0\1" + bytes(40)
        for _ in range(40):
            data = bytearray(whole)
            for _ in range(chance.choice((1, 3, 20))):
                data[chance.randrange(min(len(data), chance.choice((64, 600, len(data)))))] = chance.randrange(256)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                one_line_or_picture(bytes(data))
    assert capfd.readouterr().out == ""


def one_line_or_picture(data: bytes) -> bool:
    """Return whether the data could be read; fail on anything that is neither a picture nor a reason."""
    reason, picture = "", None
    try:
        picture = decode(data, side=160)
    except UnreadablePhoto as error:
        reason = str(error)
    if picture is None:
        assert reason.isprintable()
        assert 5 < len(reason) < 300
        return False
    assert (picture.pixels.shape, str(picture.pixels.dtype)) == ((160, 160, 3), "uint8")
    assert min(picture.width, picture.height) > 0
    return True


def test_warnings_of_the_caller_are_left_alone() -> None:
    before = list(warnings.filters)
    with pytest.raises(UnreadablePhoto):
        decode(b"\x00" * 100, side=SIDE)
    assert list(warnings.filters) == before


# --- optional packages


def mosaic(image: Image.Image | None = None, *, orientation: int = 1, preview: bytes = b"") -> bytes:
    """Return a picture of 400 x 300 pixels, or the scene, as an uncompressed DNG, one colour of RGGB in each place.

    preview: gets the first directory.
    """
    rgb = np.asarray(image or scene(400, 300)).astype("<u2") * 257
    raw = rgb[..., 1].copy()
    raw[0::2, 0::2], raw[1::2, 1::2] = rgb[0::2, 0::2, 0], rgb[1::2, 1::2, 2]
    one, none = (1, 1), (0, 1)
    camera: Tags = {
        **{271: ("s", [b"Test\0"]), 272: ("s", [b"Camera 1\0"]), 274: ("H", [orientation])},
        **{306: ("s", [b"2020:02:03 04:05:06\0"]), 50706: ("B", [1, 4, 0, 0]), 50707: ("B", [1, 1, 0, 0])},
        **{50708: ("s", [b"Test Camera 1\0"]), 50778: ("H", [21]), 50728: ("II", [one, one, one])},
        50721: ("ii", [one, none, none, none, one, none, none, none, one]),
    }
    sensor: Tags = {
        **{254: ("I", [0]), 256: ("I", [400]), 257: ("I", [300]), 258: ("H", [16]), 259: ("H", [1])},
        **{262: ("H", [32803]), 273: ("I", [4096]), 277: ("H", [1]), 278: ("I", [300]), 279: ("I", [raw.nbytes])},
        **{33421: ("H", [2, 2]), 33422: ("B", [0, 1, 1, 2]), 50714: ("H", [0]), 50717: ("I", [65535])},
    }
    if not preview:
        return (b"II*\0\x08\0\0\0" + directory(camera | sensor, at=8)).ljust(4096, b"\0") + raw.tobytes()
    width, height = Image.open(io.BytesIO(preview)).size
    first: Tags = {
        **{254: ("I", [1]), 256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8, 8, 8]), 259: ("H", [7])},
        **{262: ("H", [6]), 273: ("I", [4096 + raw.nbytes]), 277: ("H", [3]), 278: ("I", [height])},
        **{279: ("I", [len(preview)]), 330: ("I", [2048])},
    }
    head = (b"II*\0\x08\0\0\0" + directory(camera | first, at=8)).ljust(2048, b"\0") + directory(sensor, at=2048)
    return head.ljust(4096, b"\0") + raw.tobytes() + preview


Tags = dict[int, tuple[str, list[Any]]]


def directory(tags: Tags, *, at: int) -> bytes:
    """Return a little-endian directory of TIFF tags that will lie at this offset, long values behind it."""
    kinds = {"B": 1, "s": 2, "H": 3, "I": 4, "II": 5, "ii": 10}
    head, behind = struct.pack("<H", len(tags)), b""
    for tag, (kind, values) in sorted(tags.items()):
        block = values[0] if kind == "s" else b"".join(struct.pack(f"<{kind}", *np.atleast_1d(v)) for v in values)
        count = len(block) if kind == "s" else len(values)
        place = block.ljust(4, b"\0") if len(block) <= 4 else struct.pack("<I", at + 6 + 12 * len(tags) + len(behind))
        head += struct.pack("<HHI", tag, kinds[kind], count) + place
        behind += block if len(block) > 4 else b""
    return head + b"\0" * 4 + behind


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, data, words in [
        ("rawpy", mosaic(), r"^camera RAW: pip install 'dedup-photos\[raw\]'$"),
        ("pillow_jxl", b"\xff\x0a" + bytes(50), r"^JPEG XL: pip install 'dedup-photos\[jxl\]'$"),
    ]:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=words):
            decode(data, side=SIDE)


@pytest.mark.raw
def test_camera_raw_is_developed_upright() -> None:
    import rawpy

    for turn, size in [(1, (400, 300)), (3, (400, 300)), (6, (300, 400)), (8, (300, 400))]:
        picture = decode(mosaic(orientation=turn), side=SIDE)
        assert (picture.width, picture.height, picture.format) == (*size, "RAW")
        assert (picture.taken_at, picture.camera) == ("2020-02-03T04:05:06", "Test Camera 1")
        corner = {1: (31, 31), 3: (0, 0), 6: (31, 0), 8: (0, 31)}[turn]  # where red and green are brightest
        assert picture.pixels[corner].tolist()[:2] == pytest.approx([255, 255], abs=12)
        with rawpy.imread(io.BytesIO(mosaic(orientation=turn))) as raw:
            developed = Image.fromarray(raw.postprocess(use_camera_wb=True))
        assert developed.size == size
        assert pixels_sha256(mosaic(orientation=turn)) == pixels_sha256(saved(developed, "PNG"))
    with pytest.raises(UnreadablePhoto, match="camera RAW"):
        decode(mosaic()[:900], side=SIDE)


@pytest.mark.raw
def test_preview_of_camera_raw_is_used_if_large_enough_and_turned_once() -> None:
    unturned = Image.Exif()
    unturned[271] = "EXIF, but no word of the orientation"
    for size, used in [((200, 150), True), ((40, 30), True), ((39, 29), False)]:
        blue = Image.new("RGB", size, (0, 0, 255))
        blue.paste((255, 255, 0), (0, 0, size[0] // 2, size[1] // 2))  # upper left, as the sensor lies
        for own in (exif(6), unturned, None):
            preview = saved(blue, "JPEG", quality=95, **({"exif": own} if own else {}))
            assert preview[2:4] == b"\xff\xe0"  # JFIF, which cameras leave out; LibRaw looks for EXIF right here
            picture = decode(mosaic(orientation=6, preview=preview[:2] + preview[20:]), side=30)
            assert (picture.width, picture.height, picture.camera) == (300, 400, "Test Camera 1")
            assert (picture.pixels[4, 4, 2] > 200) == used
            assert picture.pixels[4, 25, 2] < 60  # yellow, upper right; dark in the scene too


@pytest.mark.jxl
def test_jpeg_xl_is_read() -> None:
    import pillow_jxl  # registers what saves the files of this test

    assert pillow_jxl
    picture = decode(saved(scene(), "JXL", lossless=True), side=SIDE)
    assert (picture.width, picture.height, picture.format) == (96, 64, "JXL")
    assert np.array_equal(picture.pixels, decode(saved(scene(), "PNG"), side=SIDE).pixels)
    turned = decode(saved(scene(), "JXL", exif=exif(6).tobytes()), side=SIDE)
    assert (turned.width, turned.height) == (96, 64)  # the codestream says how it lies, EXIF does not count


# --- the files of ../shared


@pytest.fixture
def formats() -> Path:
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data/formats")
    return SHARED


@pytest.mark.shared
def test_every_shared_file_is_a_picture_or_has_a_reason(formats: Path) -> None:
    files = sorted(path for path in formats.rglob("*") if path.is_file())
    readable = [path for path in files if one_line_or_picture(path.read_bytes())]
    assert len(files) - len(readable) <= 112  # of 963: broken on purpose, or in need of a codec that no wheel has


@pytest.mark.shared
@pytest.mark.parametrize("name", ["landscape", "portrait"])
def test_shared_orientations_decode_to_one_picture(formats: Path, name: str) -> None:
    pictures = [decode((formats / f"exif/{name}_{turn}.jpg").read_bytes(), side=160) for turn in range(1, 9)]
    assert len({(one.width, one.height) for one in pictures}) == 1
    for one in pictures:
        assert np.abs(one.pixels.astype(int) - pictures[0].pixels).mean() < 4  # each has its number painted in


@pytest.mark.shared
def test_panorama_of_200_megapixels_is_read(formats: Path) -> None:
    picture = decode((formats / "heif/heif_special__200MP.heic").read_bytes(), side=160)
    assert (picture.width, picture.height) == (12240, 16320)


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["heif__{}_8__128x128.heif", "heif__{}_8__29x100.heif"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_shared_heif_looks_like_its_png(formats: Path, kind: str, mode: str) -> None:
    heif = formats / "heif" / kind.format(mode)
    png = heif.with_name(f"non_{heif.stem}.png")
    assert np.abs(pixels(heif.read_bytes()) - pixels(png.read_bytes())).mean() < 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_rendered_picture_is_upright_and_no_larger_than_asked(turn: int) -> None:
    image = scene(96, 64)
    exif = Image.Exif()
    exif[0x0112] = turn
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    shown = Image.open(io.BytesIO(render(buffer.getvalue(), side=48, format="WEBP")))
    assert (shown.format, shown.size) == ("WEBP", (48, 32) if turn < 5 else (32, 48))
    assert not shown.getexif()
    expected = Image.fromarray(decode(buffer.getvalue(), side=16).pixels)
    found = shown.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(found, np.int16) - np.asarray(expected, np.int16)).mean() < 8


def test_rendered_picture_is_never_larger_than_the_picture_and_of_bad_bytes_says_why() -> None:
    buffer = io.BytesIO()
    scene(96, 64).convert("RGBA").save(buffer, "PNG")
    assert Image.open(io.BytesIO(render(buffer.getvalue(), side=1000, format="JPEG"))).size == (96, 64)
    with pytest.raises(UnreadablePhoto):
        render(buffer.getvalue()[:200], side=48, format="JPEG")


@pytest.mark.parametrize(
    ("kind", "width", "height", "expensive"),
    [("PNG", 1600, 1000, True), ("HEIF", 1600, 1000, True), ("JPEG", 4000, 3000, True), ("JPEG", 1600, 1000, False)],
)
def test_verification_sees_the_same_with_a_preview(kind: str, width: int, height: int, expensive: bool) -> None:
    data = saved(scene(width, height), kind)
    preview = decode(data, side=160, preview_side=512).preview
    assert (preview is not None) == expensive
    without = decode_for_verification(data, longest=512)
    assert max(without.shape) in (500, 512)
    if preview is not None:
        assert np.array_equal(read_preview(preview), without)
        assert np.abs(without.astype(int) - decode_within(data, longest=512)).mean() < 2
    assert decode(data, side=160).preview is None


def test_small_view_of_a_jpeg_is_decoded_at_a_fraction_of_its_size() -> None:
    assert decode_within(saved(scene(1000, 750), "JPEG"), longest=512).shape == (375, 500, 3)  # a half, not all of it


def letterboxed(image: Image.Image) -> Image.Image:
    box = Image.new("RGB", (160, 120))
    small = image.resize((160, round(160 * image.height / image.width)))
    box.paste(small, (0, (120 - small.height) // 2))
    return box


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("size", [(2000, 1500), (2400, 1600)], ids=["4:3", "3:2 with bars"])
def test_thumbnail_of_a_camera_stands_for_the_picture(size: tuple[int, int], turn: int) -> None:
    image = scene(*size)
    data = camera_jpeg(image, letterboxed(image), turn=turn)
    full, quick = decode(data, side=160), decode(data, side=160, quick=True)
    assert (quick.width, quick.height) == (full.width, full.height) == (size if turn == 1 else size[::-1])
    assert not np.array_equal(full.pixels, quick.pixels)  # it was not decoded
    assert np.abs(full.pixels.astype(int) - quick.pixels).mean() < 4


@pytest.mark.parametrize("turn", [1, 6])
def test_thumbnail_in_a_heic_stands_for_the_picture(turn: int) -> None:
    data = saved(scene(1648, 1236), "HEIF", quality=80, thumbnails=[320], exif=exif(turn).tobytes())
    full, quick = decode(data, side=160), decode(data, side=160, quick=True, preview_side=512)
    assert (quick.width, quick.height) == (full.width, full.height) == ((1648, 1236) if turn == 1 else (1236, 1648))
    assert quick.preview is None  # 320 pixels are too few for verification
    assert not np.array_equal(full.pixels, quick.pixels)  # it was not decoded
    assert np.abs(full.pixels.astype(int) - quick.pixels).mean() < 4


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_beginning_of_a_progressive_jpeg_stands_for_the_picture(mode: str, turn: int) -> None:
    image = scene(2000, 1500).convert(mode)
    data = saved(image, "JPEG", quality=90, progressive=True, exif=exif(turn).tobytes(), restart_marker_rows=1)
    full, quick = decode(data, side=160), decode(data, side=160, quick=True, preview_side=512)
    assert (quick.width, quick.height) == (full.width, full.height) == ((2000, 1500) if turn == 1 else (1500, 2000))
    assert not np.array_equal(full.pixels, quick.pixels)  # it was not decoded
    assert np.abs(full.pixels.astype(int) - quick.pixels).mean() < 4
    assert quick.preview is None


@pytest.mark.parametrize("why", ["small picture", "one pass", "cut short", "cut in the first pass", "damaged"])
def test_progressive_jpeg_is_decoded_where_its_beginning_will_not_do(why: str) -> None:
    size = (1200, 800) if why == "small picture" else (2000, 1500)
    data = saved(scene(*size), "JPEG", quality=90, progressive=why != "one pass")
    first = averages_alone(data)
    assert (first is None) == (why == "one pass")
    if why == "damaged":
        start = data.index(b"\xff\xda")
        data = data[: start + 2] + b"\0\0" + data[start + 4 :]
    elif why.startswith("cut"):
        data = data[: len(data) // 2 if why == "cut short" else len(first or b"") // 2]
    if size[0] > 1200 and why != "one pass":
        with pytest.raises(UnreadablePhoto):
            decode(data, side=160, quick=True)
        return
    assert np.array_equal(decode(data, side=160, quick=True).pixels, decode(data, side=160).pixels)


def test_only_a_progressive_jpeg_begins_with_averages_and_no_byte_of_it_may_miss() -> None:
    data = saved(scene(200, 150), "JPEG", progressive=True)
    first = averages_alone(data)
    assert first is not None
    assert data.startswith(first[:-2])
    assert [averages_alone(data[:n]) for n in range(len(first) - 1)] == [None] * (len(first) - 1)
    assert averages_alone(b"") is averages_alone(saved(scene(200, 150), "PNG")) is None


@pytest.mark.parametrize("why", ["tiny", "small picture", "none", "cut short"])
def test_heic_is_decoded_where_its_thumbnail_will_not_do(why: str) -> None:
    size = (1200, 800) if why == "small picture" else (1648, 1236)
    data = saved(scene(*size), "HEIF", quality=80, thumbnails={"tiny": [150], "none": []}.get(why, [320]))
    if why == "cut short":
        with pytest.raises(UnreadablePhoto, match="cut short"):
            decode(data[:-1000], side=160, quick=True)
        return
    assert np.array_equal(decode(data, side=160, quick=True).pixels, decode(data, side=160).pixels)


@pytest.mark.parametrize("why", ["cropped since", "damaged", "tiny", "small picture", "none", "cut short"])
def test_picture_is_decoded_where_its_thumbnail_will_not_do(why: str) -> None:
    image = scene(2400, 1600)
    data = camera_jpeg(image, letterboxed(image))
    if why == "cropped since":  # the thumbnail is of what was there before
        data = camera_jpeg(image.crop((0, 0, 1600, 1600)), letterboxed(image))
    elif why == "damaged":
        start = data.index(b"\xff\xd8", 2)
        data = data[: start + 40] + bytes(200) + data[start + 240 :]
    elif why == "tiny":
        data = camera_jpeg(image, image.resize((90, 60)))
    elif why == "small picture":
        data = camera_jpeg(image.resize((1200, 800)), letterboxed(image))
    elif why == "none":
        data = saved(image, "JPEG")
    else:
        with pytest.raises(UnreadablePhoto, match="cut short"):
            decode(data[: len(data) // 2], side=160, quick=True)
        return
    assert np.array_equal(decode(data, side=160, quick=True).pixels, decode(data, side=160).pixels)
