import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from album import scene

from dedup.files.walk import walk
from dedup.images import preview_cache
from dedup.images.read import Task, View, read_photo, read_pixels, read_view
from dedup.pipeline.pairs import Pair, PairBatch, read_aligned
from dedup.types.photo import File, Reading, Rejected, Skipped
from dedup.version import decoders


def task(path: Path, *known: bytes) -> Task:
    (file,) = walk([str(path)])
    assert isinstance(file, File)
    return Task(file, 64, known)


def test_what_is_hashed_is_what_is_decoded(tmp_path: Path) -> None:
    scene(1).save(tmp_path / "a.jpg")
    result = read_photo(task(tmp_path / "a.jpg"))
    assert isinstance(result, Reading)
    assert result.sha256 == sha256((tmp_path / "a.jpg").read_bytes()).digest()
    assert result.size == (tmp_path / "a.jpg").stat().st_size
    assert result.picture is not None
    assert (result.picture.width, result.picture.height) == (640, 480)


def test_known_photo_is_hashed_and_not_decoded(tmp_path: Path) -> None:
    scene(1).save(tmp_path / "a.jpg")
    digest = sha256((tmp_path / "a.jpg").read_bytes()).digest()
    found = read_photo(task(tmp_path / "a.jpg", digest))
    assert isinstance(found, Reading)
    assert (found.sha256, found.size, found.picture) == (digest, (tmp_path / "a.jpg").stat().st_size, None)


@pytest.mark.parametrize(
    ("name", "content", "reason", "picture"),
    [
        ("cut.jpg", None, "cut short: the picture data ends too early", True),
        ("empty.JPG", b"", "not a picture (empty file)", True),
        ("empty.txt", b"", "not a picture (empty file)", False),
        ("letter.jpg", b"Dear Sir,\nno picture here.\n" * 9, "not a picture (text)", True),
        ("notes.txt", b"Dear Sir,\nno picture here.\n" * 9, "not a picture (text)", False),
        ("film.mp4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99), "not a picture (MPEG-4 video)", False),
        ("mystery.dat", bytes(range(256)) * 9, "no picture format that can be read", False),
    ],
)
def test_file_that_is_no_photo_says_why(
    tmp_path: Path, name: str, content: bytes | None, reason: str, picture: bool
) -> None:
    path = tmp_path / name
    if content is None:
        scene(1).save(path)
        content = path.read_bytes()[:9000]
    path.write_bytes(content)
    assert read_photo(task(path)) == Rejected(Skipped(str(path), reason, picture), lasting=True)


def test_film_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "film.mov"
    with path.open("wb") as f:
        f.write(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
        f.truncate(1 << 40)  # a terabyte with nothing in it
    result = read_photo(task(path))
    assert isinstance(result, Rejected)
    assert result.skipped.reason == "not a picture (QuickTime video)"


def test_file_that_vanished_is_tried_again_next_time(tmp_path: Path) -> None:
    scene(1).save(tmp_path / "a.jpg")
    gone = task(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").unlink()
    path = str(tmp_path / "a.jpg")
    assert read_photo(gone) == Rejected(Skipped(path, "No such file or directory"), lasting=False)


def test_file_that_became_a_pipe_does_not_hang(tmp_path: Path) -> None:
    scene(1).save(tmp_path / "a.jpg")
    swapped = task(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").unlink()
    os.mkfifo(tmp_path / "a.jpg")
    assert isinstance(read_photo(swapped), Rejected)


def test_pixels_are_those_of_the_bytes_that_were_scanned(tmp_path: Path) -> None:
    scene(1).save(tmp_path / "a.png")
    scene(1).save(tmp_path / "a.bmp")
    png, bmp = tmp_path / "a.png", tmp_path / "a.bmp"
    digests = [sha256(p.read_bytes()).hexdigest() for p in (png, bmp)]
    assert read_pixels((str(png), digests[0])) == read_pixels((str(bmp), digests[1])) is not None
    assert read_pixels((str(png), digests[1])) is None
    assert read_pixels((str(tmp_path / "gone.png"), digests[0])) is None


def test_decoders_are_named_with_their_versions() -> None:
    assert "pillow " in decoders()
    assert "pillow-heif " in decoders()


def test_view_is_of_the_bytes_that_were_scanned_or_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    scene(1, (64, 48)).save(path)
    view = View(str(path), sha256(path.read_bytes()).hexdigest(), 32, "WEBP")
    small = read_view(view)
    assert isinstance(small, bytes)
    assert small[8:12] == b"WEBP"
    assert read_view(View(view.path, view.sha256, 0, "JPEG")) == path.read_bytes()
    scene(2, (64, 48)).save(path)
    assert read_view(view) == "changed after the scan"
    path.unlink()
    assert read_view(view) == "gone since the scan"
    os.mkfifo(path)
    assert isinstance(read_view(view), str)


def test_photo_that_is_expensive_to_decode_is_not_decoded_again_for_verification(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    scene(1).resize((1600, 1200)).save(path)
    with preview_cache.folder_of(str(tmp_path / "a.db")) as folder:
        assert folder is not None
        result = read_photo(replace(task(path), preview_folder=folder))
        assert isinstance(result, Reading)
        assert result.picture is not None
        assert result.picture.preview is None  # it is on disk, and not sent along
        assert result.preview_bytes == os.path.getsize(os.path.join(folder, result.sha256.hex() + ".jpg"))
        file = (str(path), result.sha256.hex())
        path.unlink()
        (aligned,) = read_aligned(PairBatch((Pair(0, file, file, (), (), folder),), None))
        assert aligned is not None
    assert os.listdir(tmp_path) == []
    assert read_aligned(PairBatch((Pair(0, ("elsewhere", file[1]), file, ()),), None)) == [None]


def test_previews_of_a_scan_that_was_killed_are_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".a.db.previews" / ("0" * 64 + ".jpg")
    left.parent.mkdir()
    left.write_bytes(b"old")
    with preview_cache.folder_of(str(tmp_path / "a.db")) as folder:
        assert os.listdir(str(folder)) == []
    assert os.listdir(tmp_path) == []


def test_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".a.db.previews").mkdir()
    (tmp_path / ".a.db.previews" / "holiday.jpg").write_bytes(b"mine")
    with preview_cache.folder_of(str(tmp_path / "a.db")) as folder:
        assert folder is None
    assert (tmp_path / ".a.db.previews" / "holiday.jpg").read_bytes() == b"mine"


def test_preview_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / ".a.db.previews").write_text("a file where the folder would be")
    with preview_cache.folder_of(str(tmp_path / "a.db")) as folder:
        assert folder is None
    assert preview_cache.write(str(tmp_path / "no such folder"), "0" * 64, b"preview") == 0
    assert preview_cache.read(str(tmp_path / "no such folder"), "0" * 64) is None
