"""Bytes -> what kind of file they are, by content. Knows no pixels, no files and no suffixes."""

from __future__ import annotations

import re
import struct
from codecs import getincrementaldecoder

HEAD_BYTES = 4096  # that sniff() needs of a file

# (offset, bytes, word) of files that are clearly no pictures.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (4, b"moov", "QuickTime video"),
    (4, b"mdat", "QuickTime video"),
    (4, b"wide", "QuickTime video"),
    (4, b"pnot", "QuickTime video"),
    (8, b"AVI ", "AVI video"),
    (8, b"CDXA", "MPEG video"),
    (8, b"WAVE", "WAV audio"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska video"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
    (0, b"\x00\x00\x01\xb3", "MPEG video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media video"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"OggS", "Ogg audio or video"),
    (0, b"ID3", "MP3 audio"),
    (0, b"fLaC", "FLAC audio"),
    (0, b"MThd", "MIDI audio"),
    (0, b"#!AMR", "AMR audio"),
    (0, b"%!PS", "PostScript document"),
    (0, b"AT&TFORM", "DjVu document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office document or thumbnail database"),
    (0, b"PK\x03\x04", "ZIP archive"),
    (0, b"PK\x05\x06", "ZIP archive"),
    (0, b"Rar!\x1a\x07", "RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (0, b"\x1f\x8b\x08", "gzip archive"),
    (0, b"BZh", "bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (257, b"ustar", "tar archive"),
    (0, b"SQLite format 3\x00", "SQLite database"),
    (0, b"\x00\x00\x00\x01Bud1", "folder settings of macOS"),
    (0, b"bplist00", "property list"),
    (0, b"L\x00\x00\x00\x01\x14\x02\x00", "Windows shortcut"),
    (0, b"\x7fELF", "program"),
    (0, b"MZ", "program"),
    (0, b"\xcf\xfa\xed\xfe", "program"),
    (0, b"\xca\xfe\xba\xbe", "program"),
    (0, b"OTTO", "font"),
    (0, b"wOFF", "font"),
    (0, b"wOF2", "font"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5 data"),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile drawing"),
    (40, b" EMF", "Windows metafile drawing"),
    (0, b"gimp xcf", "GIMP drawing"),
)

_PACKETS = ((0, 188), (4, 192))  # first sync byte and length of a packet: MPEG transport stream, AVCHD

# Of a ftyp box: HEIF, AVIF, CR3, JPEG XL, JPEG 2000.
_PICTURE_BRANDS = frozenset(
    b"heic,heix,heim,heis,hevc,hevx,hevm,hevs,mif1,mif2,msf1,miaf,avif,avis,crx ,jxl ,jp2 ,jpx ".split(b",")
)

_RAW_MAGIC: tuple[tuple[int, bytes], ...] = (
    (0, b"FUJIFILMCCD-RAW"),  # RAF
    (8, b"CR\x02"),  # CR2
    (4, b"ftypcrx "),  # CR3
    (6, b"HEAPCCDR"),  # CRW
    (0, b"IIRO"),  # ORF, three spellings
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\x00"),  # RW2
    (0, b"FOVb"),  # X3F
    (0, b"\x00MRM"),  # MRW
    (8, b"IIIIRaw"),  # IIQ
)
_MAKE, _PHOTOMETRIC, _SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 271, 262, 254, 330, 50706
_SENSOR_DATA = {32803, 34892}  # PhotometricInterpretation: colour filter array, linear raw


def sniff(head: bytes) -> str | None:
    """Return what kind of file it is, in words, if its first HEAD_BYTES show that it is no picture; None otherwise."""
    if not head:
        return "empty file"
    if is_camera_raw(head) or is_jpeg_xl(head):
        return None
    for offset, magic, word in _SIGNATURES:
        if head.startswith(magic, offset):
            return word
    if head[4:8] == b"ftyp":
        return _container(head)
    if b"%PDF-" in head[:1024]:
        return "PDF document"
    if any(all(head[at : at + 1] == b"G" for at in range(first, first + 3 * step, step)) for first, step in _PACKETS):
        return "MPEG video"
    if head[0] == 0xFF and len(head) > 2 and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 not in (0x00, 0xF0):
        return "MP3 audio"
    return _text(head)


def _container(head: bytes) -> str | None:
    """Return what a file of ISO boxes is, by its major brand and its compatible brands; None for a picture."""
    brand = head[8:12]
    size = min(int.from_bytes(head[:4], "big"), len(head))
    claimed = {head[at : at + 4] for at in range(16, size - 3, 4)}
    if brand in _PICTURE_BRANDS or claimed & _PICTURE_BRANDS:
        return None
    if brand == b"qt  ":
        return "QuickTime video"
    return "MPEG-4 audio" if brand.startswith((b"M4A", b"M4B")) else "MPEG-4 video"


def _text(head: bytes) -> str | None:
    if re.match(rb"P(?:[0-7Ff]|yP|yRGBA|yCMYK)\s", head):
        return None  # PBM, PGM, PPM, PAM and PFM begin as text
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and len(head) > 3 and b"\x00" in head[2:4]:
        return "text"
    if re.search(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]", head) or not _is_utf8_or_nearly_ascii(head):
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1024].lower()
    if b"<svg" in start:
        return "SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "web page"
    return "XML" if start.startswith(b"<?xml") else "text"


def _is_utf8_or_nearly_ascii(head: bytes) -> bool:
    try:
        getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return sum(byte < 0x80 for byte in head) > 0.9 * len(head)  # a text in an older character set
    return True


def is_jpeg_xl(data: bytes) -> bool:
    return data.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"))


def is_camera_raw(data: bytes) -> bool:
    """Whether the bytes are sensor data of a camera; a TIFF is one if its first folder of tags says so."""
    if any(data.startswith(magic, offset) for offset, magic in _RAW_MAGIC):
        return True
    if not data.startswith((b"II*\x00", b"MM\x00*")):
        return False
    tags = _first_tags(data)
    preview_first = tags.get(_SUBFILE_TYPE) == 1 and _SUB_IFDS in tags and _MAKE in tags
    return _DNG_VERSION in tags or preview_first or tags.get(_PHOTOMETRIC) in _SENSOR_DATA


def _first_tags(data: bytes) -> dict[int, int]:
    """Return the tags of a TIFF's first folder with their values, which hold for single numbers only."""
    order = "<" if data.startswith(b"II") else ">"
    tags: dict[int, int] = {}
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            (tags[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    except struct.error:
        pass  # cut short: what was read so far is what there is
    return tags


def missing_bytes(data: bytes) -> int:
    """Return how many bytes a HEIF, AVIF or WebP file ends too early, by the lengths that it states itself.

    libheif decodes such a file as far as it goes without an error, and libwebp does not say what is wrong.
    """
    if data.startswith(b"RIFF"):
        return max(0, int.from_bytes(data[4:8], "little") + 8 - len(data))
    at = 0
    while data[4:8] == b"ftyp" and at + 16 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            break  # 0: to the end of the file
        at += size
        if at > len(data) and kind in (b"meta", b"mdat"):  # and not what a phone added behind the boxes
            return at - len(data)
    return 0


_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # neither a stuffed byte nor a restart
_SCAN, _PROGRESSIVE, _END = 0xDA, 0xC2, b"\xff\xd9"


def averages_alone(jpeg: bytes) -> bytes | None:
    """Return a progressive JPEG cut behind the scans that hold only the average of each block of 8 x 8 pixels; None if
    it is not progressive, or does not begin with such scans (ITU-T T.81, G.1).
    """
    at, wanted, seen = 2, 0, set[int]()
    try:
        while found := _JPEG_MARKER.search(jpeg, at):
            kind, at = found[1][0], found.end()
            length = int.from_bytes(jpeg[at : at + 2], "big")
            if kind == _PROGRESSIVE:
                wanted = jpeg[at + 7]  # components
            if kind == _SCAN:
                count = jpeg[at + 2]
                if not wanted or jpeg[at + 3 + 2 * count]:  # spectral selection does not start at the DC coefficient
                    return None
                seen.update(jpeg[at + 3 : at + 3 + 2 * count : 2])
                if len(seen) == wanted:
                    end = _JPEG_MARKER.search(jpeg, at + length)
                    return jpeg[: end.start()] + _END if end else None
            at += length
    except IndexError:  # cut short
        pass
    return None
