"""Pictures made to take all memory or time: each is read or refused within what a photo may cost."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dedup.images.read import Task, read_photo
from dedup.types.photo import File, Reading, Rejected
from dedup.workers import Failure, run

resource = pytest.importorskip("resource")  # not on Windows

MOST_MB = 1000  # of a whole worker


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes((3 * width + 1) * min(height, 64)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def flat_tiff(mode: str, side: int) -> bytes:
    """A TIFF of next to no bytes whose every strip is the same, compressed."""
    sample = {"F": 32, "RGBA": 8, "L": 8}[mode]
    channels = 4 if mode == "RGBA" else 1
    strip = zlib.compress(bytes(side * channels * sample // 8))
    head = 8 + 2 + 14 * 12 + 4
    tags = [
        *((256, 4, 1, side), (257, 4, 1, side), (259, 3, 1, 8), (262, 3, 1, 2 if channels == 4 else 1)),
        *((277, 3, 1, channels), (278, 4, 1, 1), (284, 3, 1, 1)),
        *((338, 3, 1, 2), (339, 3, 1, 3 if mode == "F" else 1), (258, 3, 1, sample)),
        *((273, 4, side, head), (279, 4, side, head + 4 * side)),
    ]
    if channels == 4:
        tags = [(258, 3, 4, head + 8 * side) if t[0] == 258 else t for t in tags]
        tags = [(339, 3, 4, head + 8 * side + 8) if t[0] == 339 else t for t in tags]
    else:
        tags = [t for t in tags if t[0] != 338]
    start = head + 8 * side + 16
    out = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    for tag in sorted(tags):
        out += struct.pack("<HHI", *tag[:3]) + (
            struct.pack("<HH", tag[3], 0) if tag[1:3] == (3, 1) else struct.pack("<I", tag[3])
        )
    out = (out + b"\0" * 4).ljust(head, b"\0")
    out += struct.pack("<I", start) * side + struct.pack("<I", len(strip)) * side
    return out + struct.pack("<8H", 8, 8, 8, 8, 1, 1, 1, 1) + strip


def jpeg_with(*segments: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG")
    data = buffer.getvalue()
    return data[:2] + b"".join(s[:2] + struct.pack(">H", len(s)) + s[2:] for s in segments) + data[2:]


def tiff_chain(count: int, *, loop: bool) -> bytes:
    """A TIFF whose directories name one another, each of one pixel."""
    out = bytearray(b"II*\0\x08\0\0\0")
    for n in range(count):
        at = len(out)
        size = 2 + 9 * 12 + 4
        tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        out += struct.pack("<I", (8 if loop else 0) if n == count - 1 else at + size)
    return bytes(out)


def gif(frames: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (16, 16)).save(buffer, "GIF")
    data = buffer.getvalue()
    at = data.index(b",")
    return data[:at] + data[at:-1] * frames + b";"


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG that says 65,535 x 65,535": lambda: png(65535, 65535),
    "PNG of a gigabyte of text": lambda: png(64, 64, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 30)))),
    "PNG of 256 MB of colour profile": lambda: png(64, 64, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28)))),
    "JPEG that says 65,535 x 65,535": lambda: jpeg_with().replace(struct.pack(">HH", 64, 64), b"\xff\xff\xff\xff"),
    "JPEG of 2,000 comments": lambda: jpeg_with(*[b"\xff\xfe" + bytes(65000)] * 2000),
    "EXIF of 5,000 tags that point at each other": lambda: jpeg_with(
        b"\xff\xe1Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + struct.pack("<HHII", 0x8769, 4, 1, 8) * 5000
    ),
    "TIFF of 50,000 directories": lambda: tiff_chain(50_000, loop=False),
    "TIFF of directories in a circle": lambda: tiff_chain(3, loop=True),
    "GIF of 10,000 frames": lambda: gif(10_000),
    "TIFF of 17,000 x 17,000 floats": lambda: flat_tiff("F", 17_000),
    "TIFF of 14,000 x 14,000 floats": lambda: flat_tiff("F", 14_000),
    "TIFF of 14,000 x 14,000 transparent pixels": lambda: flat_tiff("RGBA", 14_000),
    "GIF that says 65,535 x 65,535": lambda: gif(1).replace(struct.pack("<HH", 16, 16), b"\xff\xff\xff\xff"),
}


def read_and_measure(path: str) -> tuple[bool, str, int]:
    """Return whether the file was read, why not, and the most memory that this worker ever had, in MB."""
    result = read_photo(Task(File(path, 0, 0, 0, 0, 0), 160))
    assert isinstance(result, Reading | Rejected)
    words = "" if isinstance(result, Reading) else result.skipped.reason
    return not words, words, most_memory() // 1024


def most_memory() -> int:
    """Return the most that this program ever held, in KiB; getrusage would count what its parent held before it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_read_or_refused_at_the_price_of_a_photo(tmp_path: Path, name: str) -> None:
    (tmp_path / "bomb").write_bytes(BOMBS[name]())
    ((_, result),) = run(read_and_measure, [str(tmp_path / "bomb")], workers=1)
    assert not isinstance(result, Failure)
    read, words, megabytes = result
    assert read or words
    assert megabytes < MOST_MB
    assert "65,535" not in name or not read
    assert "17,000" not in name or "take 1.2 GB to decode, more than the limit of 0.9" in words
    assert "14,000" not in name or read
