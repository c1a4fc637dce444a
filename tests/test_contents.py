"""What a photo holds besides the pixels of its first picture, and whether it is damaged."""

import io
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from dedup.errors import UnreadablePhoto
from dedup.images.containers import jpeg_end
from dedup.images.decode import decode, pixels_sha256
from dedup.types.photo import Exposure, Facts, facts_from_json

VIDEO = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + np.random.default_rng(0).bytes(5000)


def scene(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return a colourful picture with detail."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def facts(data: bytes) -> Facts:
    return decode(data, side=160).facts


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"])
def test_plain_picture_has_the_common_facts(kind: str) -> None:
    assert facts(saved(scene(), kind)) == Facts()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_frames_and_pages_are_counted_and_are_in_the_digest(kind: str) -> None:
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    alone, three, other = (
        saved(scene(), kind, **({"save_all": True, "append_images": more} if more else {}), **options)
        for more in ([], [scene(1), scene(2)], [scene(1), scene(3)])
    )
    assert [facts(data).frames for data in (alone, three, other)] == [1, 3, 3]
    assert len({pixels_sha256(data) for data in (alone, three, other)}) == 3


def test_animation_of_the_same_frames_is_the_same_in_another_container() -> None:
    frames = [scene(n) for n in range(3)]
    options = {"save_all": True, "append_images": frames[1:]}
    same = [
        saved(frames[0], "PNG", duration=100, **options),
        saved(frames[0], "PNG", duration=300, **options),
        saved(frames[0], "WEBP", lossless=True, **options),
        saved(frames[0], "TIFF", **options),
    ]
    assert len({pixels_sha256(data) for data in same}) == 1


def test_smaller_copy_of_a_page_is_no_page() -> None:
    data = bytearray(saved(scene(), "TIFF", save_all=True, append_images=[scene(0, (80, 60))]))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    assert facts(bytes(data)).frames == 2
    data[second + 2 : second + 14] = struct.pack("<HHII", 254, 4, 1, 1)  # the first tag: reduced resolution
    assert facts(bytes(data)).frames == 1


def test_further_pictures_are_counted_and_previews_are_not() -> None:
    full = saved(scene(), "MPO", save_all=True, append_images=[scene(1)])
    small = saved(scene(), "MPO", save_all=True, append_images=[scene(1, (160, 120))])
    heic = saved(scene(), "HEIF", save_all=True, append_images=[scene(1)])
    assert [facts(data).pictures for data in (full, small, heic)] == [1, 0, 1]
    other = saved(scene(), "MPO", save_all=True, append_images=[scene(2)])
    assert pixels_sha256(full) != pixels_sha256(other)


def test_video_of_a_motion_photo_is_found_wherever_it_lies() -> None:
    jpeg, heic, png = saved(scene(), "JPEG"), saved(scene(), "HEIF"), saved(scene(), "PNG")
    inside = heic + struct.pack(">I", len(VIDEO) + 8) + b"mpvd" + VIDEO
    found = {facts(data).video for data in (jpeg + VIDEO, jpeg + b"marks of the maker" + VIDEO, inside, png + VIDEO)}
    assert len(found) == 1
    assert found != {""}
    assert facts(jpeg + VIDEO + b"x").video not in found
    assert facts(jpeg + b"marks of the maker").video == ""
    assert len({pixels_sha256(jpeg + some) for some in (b"", VIDEO, VIDEO[:-1])}) == 3


@pytest.mark.parametrize("length", [0, 1, 65_530, 65_535, 65_536, 65_537, 200_000])
def test_end_of_a_jpeg_is_found_wherever_it_lies(length: int) -> None:
    scan = b"\xff\xd8\xff\xda\0\2"
    coded = np.random.default_rng(length).bytes(length).replace(b"\xff\xd9", b"\xff\0")
    assert jpeg_end(scan + coded + b"\xff\xd9" + VIDEO + b"\xff\xd9") == len(scan) + length + 2
    assert jpeg_end(scan + coded) == len(scan) + length
    assert jpeg_end(scan + coded + b"\xff") == len(scan) + length + 1


def test_gain_map_and_depth_map_are_no_further_pictures() -> None:
    def marked(words: bytes) -> bytes:
        data = saved(scene(), "MPO", save_all=True, append_images=[scene(0)])
        second = data.index(b"\xff\xd8", data.index(b"\xff\xd9"))
        block = b"\xff\xe1" + struct.pack(">H", len(words) + 2) + words
        return data[: second + 2] + block + data[second + 2 :]

    gain = facts(marked(b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'))
    depth = facts(marked(b"http://ns.adobe.com/xap/1.0/\0<x GDepth:Near=/>"))
    assert (gain.pictures, gain.gain_map, gain.depth_map) == (0, True, False)
    assert (depth.pictures, depth.gain_map, depth.depth_map) == (0, False, True)
    assert facts(marked(b"HDRGainMap")).gain_map
    assert facts(marked(b"DISPARITY")).depth_map


def test_transparency_counts_where_it_is_used() -> None:
    clear = scene().convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 60, 60))
    assert facts(saved(clear, "PNG")).alpha
    assert not facts(saved(scene().convert("RGBA"), "PNG")).alpha
    flat = Image.new("RGB", clear.size, (128, 128, 128))
    flat.paste(clear, mask=clear)
    assert pixels_sha256(saved(clear, "PNG")) != pixels_sha256(saved(flat, "PNG"))
    assert pixels_sha256(saved(scene().convert("RGBA"), "PNG")) == pixels_sha256(saved(scene(), "PNG"))


def deep_png() -> bytes:
    """Return a PNG of 16 bits in three channels, which Pillow does not write."""
    rows = b"".join(b"\0" + bytes(row.astype(">u2").tobytes()) for row in np.asarray(scene()).astype(np.uint16) * 257)
    parts = {b"IHDR": struct.pack(">IIBBBBB", 320, 240, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_bits_of_a_channel_are_those_in_the_file() -> None:
    grey = Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))
    assert facts(deep_png()).bits == 16
    assert [facts(saved(grey, kind)).bits for kind in ("PNG", "TIFF")] == [16, 16]
    assert [facts(saved(scene().convert("L"), kind)).bits for kind in ("PNG", "TIFF", "JPEG")] == [8, 8, 8]


def test_grey_is_seen_whatever_the_mode_and_a_speck_of_colour_is_none() -> None:
    grey = scene().convert("L")
    assert [facts(saved(grey.convert(mode), "JPEG")).grey for mode in ("L", "RGB")] == [True, True]
    tinted = grey.convert("RGB")
    tinted.paste((200, 40, 40), (0, 0, 60, 60))
    assert not facts(saved(tinted, "JPEG")).grey


def test_exposure_is_read_from_exif() -> None:
    exif = Image.Exif()
    exif[Base.Make] = "Canon"
    exif.get_ifd(IFD.Exif).update(
        {
            Base.ExposureTime: 0.002, Base.FNumber: 2.8, Base.ISOSpeedRatings: 100,
            Base.ExposureBiasValue: -2.0, Base.SubsecTimeOriginal: "07", Base.ExposureMode: 2,
            Base.BodySerialNumber: "123", Base.ImageUniqueID: "abc",
        }
    )  # fmt: skip
    expected = Exposure(0.002, -2.0, 2.8, 100, 0.07, True, "123", "abc")
    assert facts(saved(scene(), "JPEG", exif=exif)).exposure == expected
    assert facts(saved(scene(), "JPEG")).exposure == Exposure()


def test_editor_is_named_in_exif_or_xmp() -> None:
    exif = Image.Exif()
    exif[Base.Software] = "Adobe Photoshop 25.0"
    assert facts(saved(scene(), "JPEG", exif=exif)).edited
    assert facts(saved(scene(), "JPEG", xmp=b'<x xmp:CreatorTool="Snapseed 2.0"/>')).edited
    exif[Base.Software] = "Ver.1.02"
    assert not facts(saved(scene(), "JPEG", exif=exif)).edited


def test_facts_survive_json_and_the_common_case_is_short() -> None:
    some = Facts(frames=3, alpha=True, damaged="x", intact=0.5, exposure=Exposure(time=0.1, iso=100))
    assert Facts().to_json() == "{}"
    for one in (Facts(), some, replace(some, video="ab", exposure=Exposure())):
        assert facts_from_json(one.to_json()) == one


# --- damage


def detailed(size: tuple[int, int] = (640, 480)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)).resize(
        size
    )


@pytest.mark.parametrize("block", [bytes(4096), np.random.default_rng(2).bytes(4096)], ids=["zeros", "another file"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_jpeg_with_a_lost_block_is_a_damaged_photo(block: bytes, options: dict[str, Any]) -> None:
    data = saved(detailed(), "JPEG", quality=90, **options)
    at = len(data) * 3 // 4
    torn = facts(data[:at] + block + data[at + len(block) :])
    assert torn.damaged
    if block == bytes(4096):
        assert torn.damaged == "a part of the file is zeros"
        assert torn.intact == pytest.approx(0.74, abs=0.02)
    assert facts(data).damaged == ""
    assert facts(data).intact == 1.0


def test_zeros_at_the_end_are_damage_and_what_a_phone_adds_is_none() -> None:
    data = saved(detailed(), "JPEG", quality=90)
    assert facts(data[:-2000] + bytes(2000)).damaged
    assert facts(data + bytes(5000)).damaged == ""
    assert facts(data + b"SEFT" * 100).damaged == ""


@pytest.mark.parametrize(
    ("kind", "options"), [("HEIF", {"quality": 90}), ("WEBP", {"quality": 95}), ("AVIF", {"quality": 95})]
)
def test_zeros_in_coded_pixels_are_damage_or_unreadable(kind: str, options: dict[str, Any]) -> None:
    data = saved(detailed(), kind, **options)
    at = len(data) // 2
    with suppress(UnreadablePhoto):  # some versions of the decoders notice it
        assert facts(data[:at] + bytes(2048) + data[at + 2048 :]).damaged
    assert facts(data).damaged == ""


def test_lost_sectors_of_an_uncompressed_file_are_damage_and_black_pixels_are_none() -> None:
    for kind in ("BMP", "TIFF"):
        data = saved(detailed(), kind)
        assert facts(data[:102400] + bytes(4096) + data[106496:]).damaged == "a part of the file is zeros"
        black = detailed()
        black.paste((0, 0, 0), (0, 0, 640, 200))
        assert facts(saved(black, kind)).damaged == ""


def test_exposure_is_read_from_apex_values_too() -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif).update({Base.ShutterSpeedValue: 9.0, Base.ApertureValue: 3.0})
    exposure = facts(saved(scene(), "JPEG", exif=exif)).exposure
    assert exposure.time == pytest.approx(1 / 512)
    assert exposure.aperture == pytest.approx(2.828)
