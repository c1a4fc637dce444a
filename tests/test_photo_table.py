import numpy as np
import pytest
from photos import columns_of

from dedup.types import photo_table
from dedup.types.photo import Facts, File, Photo
from dedup.types.photo_table import photo_columns, with_exact_duplicates


def file(path: str, n: int = 0) -> File:
    return File(path, 2**40 + n, -n, 2**62 + n, 5 + n, 6 + n)


PHOTOS = [
    Photo("00" * 32, 1, 2, 3, "JPEG", None, None, (file("/b"),)),
    Photo(
        "0f" * 32,
        2**40,
        40,
        30,
        "PNG",
        "2019-07-01T12:00:00",
        "Canon",
        (file("/a", 1), file("/c", 2)),
        True,
        5,
        facts=Facts(frames=9),
    ),
    Photo("ab" * 32, 7, 1, 1, "JPEG", "2019-07-01", "Käm\N{GRINNING FACE}", (file("/caf\udce9\n"),), False, None, True),
    Photo("ff" * 32, 9, 9, 9, "HEIF", None, "Canon", (file("/d"), file("/\udcff")), facts=None),
]


def test_photos_come_back_as_they_were() -> None:
    found, ids = columns_of(PHOTOS)
    assert list(found) == PHOTOS
    assert (len(found), found.files, ids.tolist()) == (4, 6, [10, 9, 8, 7])
    assert [found[i] for i in (-1, np.int64(2))] == [PHOTOS[3], PHOTOS[2]]
    assert found[1:3] == PHOTOS[1:3]
    assert found[1] == found[1]
    with pytest.raises(IndexError):
        found[4]


def test_as_many_as_there_are_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for rows in (1, 2, 3, 4):
        monkeypatch.setattr(photo_table, "_ROWS", rows)
        monkeypatch.setattr(photo_table, "_KEPT", 1)
        for count in range(5):
            assert list(columns_of(PHOTOS[:count])[0]) == PHOTOS[:count]


def test_files_of_other_photos_are_left_out() -> None:
    row = (3, b"x" * 32, 1, 2, 3, "PNG", None, None, 0, None, 0, "{}")
    files = [(number, path, 1, 2, 3, 4, 5) for number, path in ((2, b"/a"), (3, b"/b"), (4, b"/c"), (3, b"/d"))]
    found, _ = photo_columns([row], files)
    assert [f.path for f in found[0].files] == ["/b", "/d"]
    assert found.files == 2
    assert len(photo_columns([], files)[0]) == 0


def test_photos_that_several_files_hold_are_told_alike_of_lists_and_columns() -> None:
    assert with_exact_duplicates(PHOTOS) == with_exact_duplicates(columns_of(PHOTOS)[0]) == [1, 3]
    assert with_exact_duplicates([]) == with_exact_duplicates(columns_of([])[0]) == []


def test_contents_are_those_of_the_photos_whatever_their_files_are_called() -> None:
    renamed = [Photo(p.sha256, 1, 1, 1, "GIF", None, None, (file("/z"),)) for p in PHOTOS]
    digests = [columns_of(photos)[0].contents() for photos in (PHOTOS, renamed, PHOTOS[1:], [])]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_photo_takes_little_more_than_its_path_and_digest() -> None:
    path = b"/photos/holidays/2019/IMG_%06d.jpg"
    rows = ((n, n.to_bytes(32), 3_000_000, 4000, 3000, "JPEG", None, "Canon", 0, None, 0, "{}") for n in range(1000))
    found, _ = photo_columns(rows, ((n, path % n, 3_000_000, n, n, 1, n) for n in range(1000)))
    arrays = [value for value in vars(found).values() if isinstance(value, np.ndarray)]
    texts = sum(len(text.data) + text.ends.nbytes for text in (found.paths, found.taken_at))
    assert (sum(array.nbytes for array in arrays) + texts) / 1000 < 32 + len(path) + 160


def test_file_beside_a_raw_a_video_or_a_sidecar_is_accompanied() -> None:
    names = [
        "IMG_1.JPG",
        "IMG_1.NEF",
        "IMG_10.JPG",
        "IMG_2.HEIC",
        "IMG_2.MOV",
        "IMG_3.JPG",
        "IMG_3.JPG.xmp",
        "IMG_4.HEIC",
        "IMG_4.JPG",
        "IMG_40.HEIC",
        "IMG_4_HEVC.MOV",
        "x/IMG_1.JPG",
    ]
    pictures = [n for n, name in enumerate(names) if name.endswith(("JPG", "HEIC"))]
    rows = [(n, n.to_bytes(32), 1, 2, 3, "JPEG", None, None, 0, None, 0, "{}") for n in pictures]
    files = [(n if n in pictures else None, f"/{name}".encode(), 1, 2, 3, 4, 5) for n, name in enumerate(names)]
    found, _ = photo_columns(rows, sorted(files, key=lambda row: row[1]))
    accompanied = sorted(path for p in found for path in p.accompanied)
    assert accompanied == ["/IMG_1.JPG", "/IMG_2.HEIC", "/IMG_3.JPG", "/IMG_4.HEIC"]
