"""What kind of file some bytes are."""

from __future__ import annotations

import io
import sqlite3
import struct
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from dedup.images.signatures import is_camera_raw, is_jpeg_xl, sniff


def box(brand: bytes, *compatible: bytes) -> bytes:
    return struct.pack(">I", 16 + 4 * len(compatible)) + b"ftyp" + brand + b"\0" * 4 + b"".join(compatible) + b"\0" * 9


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"", "empty file"),
        (b"hello", "text"),
        ("Grüße, 你好\r\n".encode(), "text"),
        ("Stra\xdfe nach K\xf6ln, kurz vor dem Ziel".encode("latin-1"), "text"),
        ("ä".encode() * 2048 + b"\xc3", "text"),  # the last character is cut
        ("hello".encode("utf-16"), "text"),
        (b"P.S. see you", "text"),
        (b"Python is fun", "text"),
        (b'<?xml version="1.0"?>\n<x:xmpmeta/>', "XML"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg/>', "SVG drawing"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG drawing"),
        (b"<!DOCTYPE html><p>", "web page"),
        (box(b"isom", b"isom", b"avc1"), "MPEG-4 video"),
        (box(b"mp42"), "MPEG-4 video"),
        (box(b"M4A "), "MPEG-4 audio"),
        (box(b"qt  "), "QuickTime video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "QuickTime video"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV audio"),
        (b"\x1a\x45\xdf\xa3\0", "Matroska video"),
        (b"\0\0\x01\xba\0", "MPEG video"),
        ((b"G" + bytes(187)) * 4, "MPEG video"),
        ((bytes(4) + b"G" + bytes(187)) * 4, "MPEG video"),
        (b"ID3\x03\0", "MP3 audio"),
        (b"\xff\xfb\x90\x64\0\0", "MP3 audio"),
        (b"%PDF-1.7\n\xff\xff\0", "PDF document"),
        (b"\0junk before%PDF-1.4", "PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "Office document or thumbnail database"),
        (bytes(257) + b"ustar\0", "tar archive"),
        (b"MZ\x90\0", "program"),
    ],
)
def test_plain_other_content_is_named(head: bytes, word: str) -> None:
    assert sniff(head) == word


def test_zip_and_sqlite_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("a.jpg", b"x")
    with closing(sqlite3.connect(tmp_path / "d")) as database:
        database.execute("CREATE TABLE t (x)")
    assert [sniff((tmp_path / name).read_bytes()) for name in "zd"] == ["ZIP archive", "SQLite database"]


@pytest.mark.parametrize(
    "kind",
    [
        *("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "AVIF", "HEIF", "JPEG2000", "ICO", "ICNS", "PPM"),
        *("TGA", "PCX", "SGI", "DDS", "QOI", "MSP", "MPO"),
    ],
)
def test_no_picture_is_taken_for_something_else(kind: str) -> None:
    register_heif_opener()
    for shade in (0, 71, 128, 255):  # 71 is G, the sync byte of MPEG
        out = io.BytesIO()
        Image.new("1" if kind == "MSP" else "RGB", (256, 256), shade if kind == "MSP" else (shade,) * 3).save(out, kind)
        assert sniff(out.getvalue()[:4096]) is None


@pytest.mark.parametrize(
    "head",
    [
        *(b"P%d 2 2 1\n1 0 1 0\n" % number for number in range(1, 7)),
        b"P7\nWIDTH 1\n",
        *(box(brand) for brand in (b"heic", b"heix", b"mif1", b"avif", b"avis", b"crx ", b"hevc")),
        box(b"MSNV", b"isom", b"mif1"),  # an odd name, but it claims to be HEIF too
        b"\xff\x0a" + bytes(20),
        b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
        bytes(4096),
        b"FUJIFILMCCD-RAW 0201" + bytes(80),
    ],
)
def test_picture_or_unknown_is_none(head: bytes) -> None:
    assert sniff(head) is None


def tiff(order: str, **tags: int) -> bytes:
    numbers = {"subfile": 254, "photometric": 262, "make": 271, "sub": 330, "dng": 50706}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, value in tags.items():
        head += struct.pack(f"{order}HHII", numbers[tag], 4, 1, value)
    return head + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_is_camera_raw_by_its_tags_only(order: str) -> None:
    assert is_camera_raw(tiff(order, dng=1))
    assert is_camera_raw(tiff(order, subfile=1, make=9, sub=9))  # NEF, ARW, SRW
    assert is_camera_raw(tiff(order, photometric=32803))  # PEF
    assert not is_camera_raw(tiff(order, photometric=2, make=9))  # a camera's own TIFF
    assert not is_camera_raw(tiff(order, subfile=0, make=9, sub=9))
    assert not is_camera_raw(tiff(order, subfile=1, sub=9))
    assert not is_camera_raw(tiff(order, dng=1)[:12])


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"II*\0\x10\0\0\0CR\x02\0",
            b"\0\0\0\x18ftypcrx \0",
            b"FUJIFILMCCD-RAW ",
            b"IIRO\x08",
            b"IIRS\x08",
            b"MMOR\0",
        ),
        *(b"IIU\0\x18", b"FOVb\0", b"\0MRM\0", b"II\x1a\0\0\0HEAPCCDR", b"II*\0\x08\0\0\0IIIIRaw\0"),
    ],
)
def test_camera_raw_has_a_magic_number(head: bytes) -> None:
    assert is_camera_raw(head)
    assert sniff(head) is None


def test_jpeg_xl_is_known_bare_and_boxed() -> None:
    assert is_jpeg_xl(b"\xff\x0a\x00")
    assert is_jpeg_xl(b"\0\0\0\x0cJXL \r\n\x87\n")
    assert not is_jpeg_xl(b"\xff\xd8\xff")
