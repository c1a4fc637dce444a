"""Bytes of a picture file, and what a decoder said of them -> whether the picture data is damaged.

Decoders conceal errors: libjpeg fills up with grey and goes on. A file that can be decoded is a photo all the same, but
one that is damaged. A PNG has checksums, and one that fails cannot be decoded at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dedup.images.containers import jpeg_end, jpeg_segments

_SECTOR = 512  # bytes
_ZEROS = bytes(_SECTOR)  # no coder writes so many in a row; a disk that lost a block does
_RUN = re.compile(rb"\0{%d,}" % _SECTOR)
# Of the messages of libjpeg-turbo (jerror.h) those about the coded pixels; others are about metadata.
_JPEG_DATA = re.compile(
    "premature end|bad Huffman|extraneous bytes before marker 0xd|instead of RST|inconsistent progression|arith",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Damage:
    """reason: in words, "" if there is none.   intact: share of the picture from the top; 0 if that is not known."""

    reason: str
    intact: float


INTACT = Damage("", 1.0)


def jpeg_damage(data: bytes, message: str = "") -> Damage:
    """Return the damage of a JPEG. message: of its decoder, "" if that found nothing wrong."""
    scan = next((end for marker, _, end in jpeg_segments(data) if marker == 0xDA), len(data))
    zeros = _zeros_in(data, scan, jpeg_end(data), padding=0)
    found = _JPEG_DATA.search(message)
    if not found and (zeros is None or not _is_of_details(data, zeros)):
        return INTACT
    if zeros is not None:
        return Damage("a part of the file is zeros", (zeros - scan) / max(1, len(data) - scan))
    if "premature end of jpeg file" in message.lower():
        return Damage("the end of the picture data is missing", 0.0)
    return Damage("the picture data is corrupt", 0.0)


def _is_of_details(data: bytes, at: int) -> bool:
    """Return whether a place of a progressive JPEG lies in a scan without averages: these may be zeros in plain areas,
    coded details are not.
    """
    scan = data.rfind(b"\xff\xda", 0, at)
    start = scan + 5 + 2 * data[scan + 4]  # behind the components: where the spectral selection starts
    return scan > 0 and data[start] > 0


def damage_in(data: bytes, format: str) -> Damage:
    """Return the damage of a file of another format that its decoder would not report."""
    if format in ("TIFF", "BMP", "DIB", "PPM", "TGA", "JXL") or (format == "WEBP" and _has_lossless_part(data)):
        return _lost_sectors(data)
    padding = 0
    if format in ("HEIF", "AVIF"):
        start, end = _box(data, b"mdat")
        padding = 4096
    elif format == "WEBP":
        start, end = 12, len(data)
    elif format in ("GIF", "JPEG2000"):
        start, end, padding = 1024, len(data), len(data)
    else:
        return INTACT
    found = _zeros_in(data, start, end, padding=padding) is not None
    return Damage("a part of the file is zeros", 0.0) if found else INTACT


def _has_lossless_part(data: bytes) -> bool:
    """Return whether a WebP file has a lossless picture or alpha channel, whose codes of plain areas may be zeros."""
    return b"VP8L" in data or b"ALPH" in data


def _lost_sectors(data: bytes) -> Damage:
    """Return whether whole sectors are zeros in a file where plain pixels may be runs of zeros.

    These begin and end at a multiple of the size of a sector by chance only.
    """
    for run in _RUN.finditer(data):
        if run.start() % _SECTOR == 0 and run.end() % _SECTOR == 0 and run.end() < len(data):
            return Damage("a part of the file is zeros", 0.0)
    return INTACT


def _zeros_in(data: bytes, start: int, end: int, *, padding: int) -> int | None:
    """Return where a run of zeros begins between two places; one at the end, of at most so many bytes, is padding."""
    found = data.find(_ZEROS, start, end)
    if found < 0 or (end - found <= padding and not data[found:end].strip(b"\0")):
        return None
    return found


def _box(data: bytes, wanted: bytes) -> tuple[int, int]:
    """Return start and end of a box at the top level of a file of ISO boxes; (0, 0) if it is not there."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == wanted:
            return at + head, min(len(data), at + size if size else len(data))
        if size < 8:
            break
        at += size
    return 0, 0
