"""Folders whose photos all have a kept copy elsewhere."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from album import scene
from click.testing import Result
from serving import serving

Dedup = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Photos, and a backup of them: the same files, a smaller copy in a folder below, and a text."""
    trip, backup = tmp_path / "home/Photos/Trip", tmp_path / "home/Backup/2019"
    trip.mkdir(parents=True)
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        scene(seed, (640, 480)).save(trip / name, quality=92)
        os.utime(trip / name, (1_500_000_000, 1_500_000_000))
    shutil.copytree(trip, backup, copy_function=shutil.copyfile)
    (backup / "small").mkdir()
    scene(0, (320, 240)).save(backup / "small/a.jpg", quality=80)
    (backup.parent / "notes.txt").write_text("mine")
    return tmp_path / "home"


def rows(dedup: Dedup, home: Path) -> list[str]:
    return [line.replace(f"{home}/", "") for line in dedup("export", "folders").stdout.splitlines()[1:]]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.jpg"))


def test_outermost_folder_is_listed_with_where_its_photos_are_kept(dedup: Dedup, home: Path) -> None:
    said = dedup("scan", home).stdout
    assert "; 1 folder with no photo but duplicates (dedup export folders);" in said
    assert rows(dedup, home) == [f"Backup,3,{size(home / 'Backup')},1,Photos/Trip"]


def test_photo_that_is_only_there_leaves_the_folders_below_it(dedup: Dedup, home: Path) -> None:
    scene(9, (640, 480)).save(home / "Backup/only here.jpg")
    dedup("scan", home, "-q")
    assert rows(dedup, home) == [f"Backup/2019,3,{size(home / 'Backup/2019')},0,Photos/Trip"]


@pytest.mark.parametrize(
    "words",
    [
        ["--protect", "{home}/Photos", "--protect", "{home}/Backup/2019/small"],
        ["--reference", "{home}/Backup"],
        ["--prefer", "*/Backup/2019/b.jpg"],
    ],
    ids=["protected", "reference", "keeper"],
)
def test_folder_with_a_photo_that_stays_is_not_listed(dedup: Dedup, home: Path, words: list[str]) -> None:
    dedup("scan", home, "-q", *(word.format(home=home) for word in words))
    assert not any(row.startswith("Backup,") for row in rows(dedup, home))


def test_hard_link_and_variant_are_no_copies_to_be_rid_of(dedup: Dedup, home: Path) -> None:
    shutil.rmtree(home / "Backup")
    for name in ("links", "variants"):
        (home / name).mkdir()
    os.link(home / "Photos/Trip/a.jpg", home / "links/a.jpg")
    picture = scene(1, (640, 480))
    picture.save(home / "variants/b.jpg", quality=92)
    picture.crop((0, 0, 440, 480)).save(home / "Photos/Trip/b.jpg", quality=92)  # is kept, and shows less
    dedup("scan", home, "-q", "--prefer", "*/Photos/*")
    assert "variant" in dedup("export").stdout
    assert rows(dedup, home) == []


def test_root_may_be_such_a_folder_and_no_folder_above_the_roots_is(dedup: Dedup, home: Path) -> None:
    dedup("scan", home / "Backup", home / "Photos", "-q")
    assert [row.split(",")[0] for row in rows(dedup, home)] == ["Backup"]
    os.rename(home / "Photos", home.parent / "Photos")
    dedup("forget", home / "Photos")
    dedup("scan", home / "Backup", home.parent / "Photos", "-q")
    assert [row.split(",")[0] for row in rows(dedup, home)] == ["Backup"]


def test_kept_photo_is_heard(dedup: Dedup, home: Path) -> None:
    dedup("scan", home, "-q")
    dedup("mark", "keep", home / "Backup/2019/small/a.jpg")
    assert not any(row.startswith("Backup,") for row in rows(dedup, home))


def test_report_begins_with_them(dedup: Dedup, home: Path) -> None:
    dedup("scan", home, "-q", "-o", home.parent / "report.html")
    page = (home.parent / "report.html").read_text()
    before, found, after = page.partition("1 folder with no photo but duplicates</h2>")
    assert found
    assert "<article" not in before
    assert f">{home / 'Backup'}</b>" in after
    assert f'kept copies are in <span class="path">{home / "Photos/Trip"}</span> · 1 other file<' in after


def test_review_accepts_all_groups_of_a_folder_at_once_and_takes_it_back(
    dedup: Dedup, home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("starlette")
    from dedup.errors import BadUsage
    from dedup.review.session import Review, folder_fingerprint

    dedup("scan", home, "-q")
    review = Review(str(tmp_path / "test.db"))
    ((folder, open_),) = review.folders()
    assert (folder.path, folder.others, open_) == (str(home / "Backup"), 1, 2)
    with pytest.raises(BadUsage, match="has changed since it was shown"):
        review.accept_folder("another")
    assert review.totals()["decided"] == 0
    assert review.accept_folder(folder_fingerprint(folder)) == 2
    assert review.folders() == [(folder, 0)]
    assert {Path(part.file.path) for step in review.plan(everything=False).steps for part in step.parts} == {
        *home.glob("Backup/**/*.jpg")
    }
    review.undo()
    assert review.folders() == [(folder, 2)]
    review.decide(1, "keep-all")
    assert [f.path for f, _ in review.folders()] != [str(home / "Backup")]


def test_page_of_the_review_shows_them_and_refuses_one_that_changed(dedup: Dedup, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    dedup("scan", home, "-q")
    with serving(tmp_path / "test.db") as server:
        page = server.ask()[2].decode()
        assert page.index("1 folder with no photo but duplicates") < page.index('<ol id="list">')
        (shown,) = (part.split('"')[0] for part in page.split('data-folder="')[1:])
        assert server.post("accept-folder", {"shown": "0" * 64})[0] == 409
        assert server.post("accept-folder", {"shown": shown})[1]["said"] == "2 accepted; press U to undo"
        assert server.post("accept-folder", {"shown": shown})[0] == 409  # nothing is open any more
        assert b"data-folder" not in server.ask("folders")[2]
