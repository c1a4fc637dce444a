"""From the command line: plans, edited plans, marks, and the way back."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from album import scene
from click.testing import Result

Dedup = Callable[..., Result]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One picture three times (twice the same bytes, once with other metadata), and another."""
    folder = tmp_path / "Photos"
    folder.mkdir()
    scene(1, (64, 48)).save(folder / "IMG_1.png")
    scene(2, (64, 48)).save(folder / "other.png")
    shutil.copy(folder / "IMG_1.png", folder / "=copy\n.png")
    scene(1, (64, 48)).save(folder / "tiny bytes.png", compress_level=1)
    for n, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (1_500_000_000 + n, 1_500_000_000 + n))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_without_yes_nothing_changes_and_a_second_apply_finds_nothing(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    dedup("scan", photos, "-q")
    before = tree(photos)
    printed = dedup("apply").stdout
    assert "2 files to remove" in printed
    assert "\\n.png" in printed
    assert tree(photos) == before
    dedup("apply", "--to", tmp_path / "Away", "--yes")
    assert len(tree(photos)) == 2
    assert "0 files to remove" in dedup("apply", "--to", tmp_path / "Away", "--yes").stdout
    assert "already gone" in dedup("apply").stdout
    dedup("undo")
    assert tree(photos) == before
    assert dedup("undo").stdout == "Nothing to undo.\n"
    (run,) = (path.stem for path in tmp_path.glob("test.db.journal/*"))
    assert dedup("undo", "--run", "x", code=2).stderr == f"Error: x: no such run; there are: {run}\n"


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("trash", "--yes moves them to the trash."),
        ("./Away\n", "--yes moves them to {0}/Away\\n."),
        ("hardlink", "--yes makes each a hard link to its keeper."),
        ("reflink", "--yes makes each share the bytes of its keeper."),
        ("delete", "--yes --really-delete deletes them permanently."),
    ],
)
def test_plan_ends_with_where_the_files_would_go(
    dedup: Dedup, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, says: str
) -> None:
    dedup("scan", photos, "-q", "--keep", "path")
    monkeypatch.chdir(tmp_path)
    *_, last = dedup("apply", "--to", to).stdout.splitlines()
    assert last == f"Nothing was changed; {says.format(tmp_path)}"
    (photos / "=copy\n.png").unlink()
    (photos / "tiny bytes.png").unlink()
    dedup("scan", photos, "-q", "--keep", "path")
    assert dedup("apply", "--to", to).stdout == "0 files to remove, 0 bytes to reclaim\n"


def test_ctrl_c_says_what_was_done_and_how_it_is_undone(
    dedup: Dedup, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dedup("scan", photos, "-q")
    before, fsync = tree(photos), os.fsync
    away = str(tmp_path / "Away")

    def pressed(descriptor: int) -> None:
        fsync(descriptor)
        if len(tree(photos)) == 3:  # the first file is removed, and the second step begins
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "fsync", pressed)
    done = dedup("apply", "--to", away, "--yes", code=3)
    assert len(tree(photos)) == 3
    (run,) = (path.stem for path in tmp_path.glob("test.db.journal/*"))
    assert done.stderr == f"stopped by Ctrl-C; 'dedup undo --run {run}' undoes what was done until then\n"
    monkeypatch.undo()
    dedup("undo", "--db", tmp_path / "test.db")
    assert tree(photos) == before


def test_ctrl_c_in_the_middle_of_a_step_gives_the_file_its_name_back(
    dedup: Dedup, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dedup("scan", photos, "-q")
    before, mkdir = tree(photos), os.mkdir

    def pressed(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        if path == str(tmp_path / "Away"):  # the file has its temporary name by then
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "mkdir", pressed)
    done = dedup("apply", "--to", tmp_path / "Away", "--yes", code=3)
    assert done.stderr == "stopped by Ctrl-C; no file was changed\n"
    assert tree(photos) == before


def test_ctrl_c_before_the_first_step_says_that_nothing_was_changed(
    dedup: Dedup, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dedup("scan", photos, "-q")
    before = tree(photos)

    def pressed(path: object) -> None:
        signal.raise_signal(signal.SIGINT)

    for name in ("scandir", "lstat"):  # the folder is listed for the plan, or the first file is checked
        with monkeypatch.context() as patched:
            patched.setattr(os, name, pressed)
            done = dedup("apply", "--to", tmp_path / "Away", "--yes", code=3)
        assert done.stderr == "stopped by Ctrl-C; no file was changed\n", name
    assert tree(photos) == before
    assert dedup("undo").stdout == "Nothing to undo.\n"


def test_dry_run_is_the_default_and_no_misspelled_word_is_a_folder(dedup: Dedup, photos: Path) -> None:
    dedup("scan", photos, "-q")
    assert dedup("apply", "--dry-run").stdout == dedup("apply").stdout
    assert "not both" in dedup("apply", "--dry-run", "--yes", code=2).stderr
    says = "Error: --to trsh: none of trash, hardlink, reflink, delete; for a folder of that name write ./trsh\n"
    assert dedup("apply", "--to", "trsh", "--yes", code=2).stderr == says
    assert len(tree(photos)) == 4


def test_undo_passes_over_an_apply_that_touched_nothing(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q")
    before = tree(photos)
    plan = tmp_path / "plan.csv"
    dedup("apply", "-o", plan)
    rows = plan.read_bytes().decode().split("\r\n")
    first = tmp_path / "first.csv"
    gone = next(row for row in rows if row.startswith("remove") or ",remove," in row)
    first.write_bytes("\r\n".join(row for row in rows if row != gone).encode())
    done = dedup("apply", first, "--to", tmp_path / "Away", "--yes")
    assert "undoes it" in done.stdout
    after = tree(photos)
    assert len(after) == len(before) - 1
    for path in sorted(photos.iterdir()):
        path.write_bytes(path.read_bytes() + b"changed by someone else")
    left = dedup("apply", plan, "--to", tmp_path / "Away", "--yes", code=3)
    assert "changed after the scan" in left.stderr
    assert "undoes it" not in left.stdout
    assert "restored from" in dedup("undo").stdout
    assert tree(photos).keys() == before.keys()
    assert dedup("undo").stdout == "Nothing to undo.\n"


def test_plan_comes_back_from_a_spreadsheet(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q")
    plan = tmp_path / "plan.csv"
    dedup("apply", "-o", plan)
    head, *rows = plan.read_bytes().decode().split("\r\n")
    text = "\r\n".join([head, *reversed(rows)]).replace(",", ";")
    plan.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert "2 files to remove" in dedup("apply", plan, "--yes", "--to", tmp_path / "Away").stdout
    assert len(tree(photos)) == 2


def test_keeper_and_duplicate_may_change_places_and_rows_may_go(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q", "--prefer", "tiny*")
    keeper = next(line for line in dedup("apply").stdout.splitlines() if line.startswith("keep")).split("  (")[0][7:]
    plan = tmp_path / "plan.csv"
    (photos / "unseen.png").write_bytes((photos / "other.png").read_bytes())
    other = photos / "IMG_1.png"
    assert keeper != str(other)
    plan.write_text(f"action,path,keeper,relation\nremove,{keeper},{keeper},\nkeep,{other},{keeper},identical\n")
    dedup("apply", plan, "--yes", "--to", tmp_path / "Away")
    assert not Path(keeper).exists()
    assert len(tree(photos)) == 4


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("remove,{p}/other.png,{p}/IMG_1.png,exact", "row 2: {p}/other.png: refused: it matches no file that is kept"),
        ("remove,/etc/passwd,{p}/IMG_1.png,exact", "row 2: /etc/passwd: refused: not a photo of the last scan"),
        ("remove,/etc/passwd,{p}/IMG_1.png,", "row 2: /etc/passwd: refused: it belongs to no photo that is removed"),
        ("remove,{p}/../Photos/IMG_1.png,{p}/other.png,exact", "refused: not a photo of the last scan"),
        ("remove,{p}/IMG_1.png,{p}/tiny bytes.png,copy\nremove,{p}/tiny bytes.png,{p}/IMG_1.png,copy", "row 3"),
    ],
)
def test_row_that_no_verdict_stands_behind_is_refused(
    dedup: Dedup, photos: Path, tmp_path: Path, rows: str, says: str
) -> None:
    dedup("scan", photos, "-q")
    before = tree(photos)
    (tmp_path / "plan.csv").write_text("action,path,keeper,relation\n" + rows.format(p=photos) + "\n")
    result = dedup("apply", tmp_path / "plan.csv", "--yes", "--to", "delete", "--really-delete", code=3)
    assert says.format(p=photos) in result.stderr
    assert tree(photos) == before


def test_plan_whose_files_are_not_there_is_not_done(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q")
    dedup("apply", "-o", tmp_path / "plan.csv")
    photos.rename(tmp_path / "unplugged")
    for words in (["apply", tmp_path / "plan.csv"], ["apply", tmp_path / "plan.csv", "--yes"]):
        done = dedup(*words, code=3)
        assert done.stderr.count("gone since the scan, and its keeper too; is the disk mounted?") == 2


def test_quarantine_inside_the_scanned_folder_and_deletion_by_accident_are_refused(dedup: Dedup, photos: Path) -> None:
    dedup("scan", photos, "-q")
    for to in (photos / "Away", photos.parent, photos):
        assert "inside a scanned folder" in dedup("apply", "--yes", "--to", to, code=2).stderr
    assert "--really-delete" in dedup("apply", "--yes", "--to", "delete", code=2).stderr
    assert len(tree(photos)) == 4


def test_apply_and_undo_wait_for_no_scan(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    from dedup.store.store import Store

    dedup("scan", photos, "-q")
    with Store(str(tmp_path / "test.db"), scanning=True):
        for words in (("apply", "--yes"), ("undo",), ("mark", "keep", photos / "IMG_1.png")):
            dedup(*words, code=4)


def test_raw_and_film_without_a_twin_hold_their_photo_back(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    (photos / "sub").mkdir()
    shutil.move(photos / "=copy\n.png", photos / "sub/x.png")
    for name in ("x.CR2", "x.xmp"):
        (photos / "sub" / name).write_bytes(b"not a picture")
    dedup("scan", photos, "-q", "--avoid", "sub", code=3)
    assert "x.CR2 belongs to it and has no copy beside the keeper" in dedup("apply").stdout
    for name in ("CR2", "xmp"):
        for stem in ("IMG_1", "tiny bytes"):
            (photos / f"{stem}.{name}").write_bytes(b"not a picture")
    dedup("apply", "--yes", "--to", tmp_path / "Away")
    assert {"sub/x.png", "sub/x.CR2", "sub/x.xmp"} <= set(tree(tmp_path / "Away"))
    dedup("undo")
    assert (photos / "sub/x.xmp").exists()


def test_protected_folder_is_never_removed_from(dedup: Dedup, photos: Path) -> None:
    dedup("scan", photos, "-q", "--protect", photos)
    assert "0 files to remove" in dedup("apply").stdout


def test_marks_survive_renaming_and_forgetting_and_a_fourth_photo_is_compared(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    dedup("scan", photos, "-q")
    dedup("mark", "not-duplicate", photos / "IMG_1.png", photos / "tiny bytes.png")
    dedup("export", "decisions", "-o", tmp_path / "d.csv")
    (photos / "tiny bytes.png").rename(photos / "renamed.png")
    dedup("forget", photos)
    dedup("scan", photos, "-q")
    assert "renamed" not in dedup("export").stdout
    scene(1, (64, 48)).save(photos / "fourth.png", compress_level=3)
    dedup("scan", photos, "-q")
    assert "fourth" in dedup("export").stdout
    assert "1 decision cleared" in dedup("mark", "clear", photos / "renamed.png").stdout
    dedup("scan", photos, "-q")
    assert "renamed" in dedup("export").stdout
    dedup("mark", "--from", tmp_path / "d.csv")
    assert dedup("export", "decisions").stdout.count("not-duplicate") == 1
    (tmp_path / "d.csv").write_text((tmp_path / "d.csv").read_text().replace(",", ";"))
    assert dedup("mark", "--from", tmp_path / "d.csv").stdout == "1 decision recorded\n"
    (tmp_path / "d.csv").write_text("decision,sha256_a,sha256_b\nkeep,zz,\n")
    assert "row 2" in dedup("mark", "--from", tmp_path / "d.csv", code=2).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give not-duplicate, keep, clear"),
        (["keep", "a.jpg", "--from", "d.csv"], "give not-duplicate, keep, clear"),
        (["keep"], "no photos: name some"),
        (["keep", "--group", "9"], "there is no group 9; 'dedup export groups' has 1"),
        (["keep", "nowhere.jpg"], "nowhere.jpg: not a photo of the last scan"),
        (["not-duplicate", "IMG_1.png"], "name at least two different photos"),
        (["--from", "."], "cannot be read as CSV (Is a directory)"),
    ],
)
def test_wrong_words_of_mark_are_one_line(
    dedup: Dedup, photos: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    dedup("scan", photos, "-q")
    monkeypatch.chdir(photos)
    (line,) = dedup("mark", *words, code=2).stderr.splitlines()
    assert says in line


def test_table_that_is_damaged_is_one_line(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q")
    damaged = tmp_path / "d.csv"
    for data, says in (
        (b"", "not a plan: the column action is missing"),
        (b"\n\n", "not a plan: the column action is missing"),
        (b"\xff\xfe", "cannot be read as CSV ("),
        (b"action,path,keeper,relation\nremove," + b"x" * 200_000, "field larger than field limit"),
        (b"action,path,keeper,relation\n\n\nrename,x,y,z\n", "row 4: the action must be keep or remove"),
        (b"action,path,keeper,relation\nkeep,x\nkeep,x\n", "row 3: x is listed twice"),
    ):
        damaged.write_bytes(data)
        (line,) = dedup("apply", damaged, code=2).stderr.splitlines()
        assert says in line
    damaged.write_bytes(b"decision,sha256_a\nkeep," + b"x" * 200_000)
    assert "field larger than field limit" in dedup("mark", "--from", damaged, code=2).stderr


def test_photo_marked_to_be_kept_is_kept(dedup: Dedup, photos: Path) -> None:
    dedup("scan", photos, "-q")
    keepers = [p for p in ("IMG_1.png", "tiny bytes.png") if f",keep,{photos}/{p}," not in dedup("export").stdout]
    dedup("mark", "keep", photos / keepers[-1])
    assert "kept: chosen by you" in dedup("export", "--format", "json").stdout
    dedup("mark", "not-duplicate", "--group", 1)
    assert "tiny" not in dedup("export").stdout


def test_links_take_the_same_bytes_only_and_a_row_that_asks_for_more_is_refused(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    for stem in ("IMG_1", "=copy\n", "tiny bytes"):
        (photos / f"{stem}.xmp").write_bytes(stem.encode())
    dedup("scan", photos, "-q", "--keep", "path")
    before = tree(photos)
    dedup("apply", "--output", tmp_path / "plan.csv")
    refused = dedup("apply", tmp_path / "plan.csv", "--to", "hardlink", "--yes", code=3).stderr
    assert refused.count("not the same bytes as its keeper; a hardlink would lose its own") == 1
    dedup("undo")
    dedup("scan", photos, "-q", "--keep", "path")  # what was a link for a while is another file
    result = dedup("apply", "--to", "hardlink", "--yes")
    assert result.stderr == ""
    assert result.stdout.count("not the same bytes") == 1
    assert "1 duplicate skipped: not the same bytes, which a hardlink would lose\n1 file to remove" in result.stdout
    assert len({p.stat().st_ino for p in photos.glob("*.png")}) == 3
    assert tree(photos) == before


def test_sidecar_that_the_keeper_lacks_holds_its_photo_back_or_moves_to_the_keeper(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    (photos / "sub").mkdir()
    shutil.move(photos / "=copy\n.png", photos / "sub/x.png")
    (photos / "sub/x.png.xmp").write_bytes(b"five stars")
    (photos / "tiny bytes.xmp").write_bytes(b"three stars")
    dedup("scan", photos, "-q", "--avoid", "sub", "--avoid", "tiny*")
    before = tree(photos)
    plan = dedup("apply").stdout
    assert "x.png.xmp belongs to it and the keeper has none; --merge-sidecars moves it to the keeper" in plan
    assert "0 files to remove" in plan
    dedup("apply", "--merge-sidecars", "-o", tmp_path / "plan.csv")
    assert "x.png.xmp belongs to it" in dedup("apply", tmp_path / "plan.csv", "--yes", code=3).stderr
    assert tree(photos) == before
    done = dedup("apply", tmp_path / "plan.csv", "--merge-sidecars", "--to", "delete", "--really-delete", "--yes")
    assert "2 files to remove" in done.stdout
    assert sorted(tree(photos)) == ["IMG_1.png", "IMG_1.png.xmp", "IMG_1.xmp", "other.png"]
    assert tree(photos)["IMG_1.png.xmp"] == b"five stars"
    assert tree(photos)["IMG_1.xmp"] == b"three stars"
    dedup("undo", code=3)  # deleted photos do not come back; the sidecars do
    assert {"sub/x.png.xmp", "tiny bytes.xmp"} <= tree(photos).keys()


def test_sidecar_moves_with_its_photo_and_comes_back(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    (photos / "tiny bytes.xmp").write_bytes(b"three stars")
    dedup("scan", photos, "-q", "--avoid", "tiny*")
    before = tree(photos)
    dedup("apply", "--merge-sidecars", "--to", tmp_path / "Away", "--yes")
    assert len(tree(photos)) == 3
    assert b"three stars" in tree(photos).values()
    dedup("undo")
    assert tree(photos) == before
    assert not (tmp_path / "Away").exists()  # undo removes the folders that apply made


def test_photo_marked_to_be_kept_after_the_plan_was_written_is_kept(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q", "--avoid", "tiny*")
    dedup("apply", "-o", tmp_path / "plan.csv")
    dedup("mark", "keep", photos / "tiny bytes.png")
    done = dedup("apply", tmp_path / "plan.csv", "--to", tmp_path / "Away", "--yes", code=3)
    assert "tiny bytes.png: refused: marked to be kept; 'dedup mark clear' removes the mark" in done.stderr
    assert len(tree(photos)) == 3  # the exact copy of the keeper is removed: its content stays
    dedup("undo")
    dedup("mark", "not-duplicate", photos / "tiny bytes.png", photos / "IMG_1.png")
    dedup("mark", "clear", photos / "other.png")
    done = dedup("apply", tmp_path / "plan.csv", "--to", tmp_path / "Away", "--yes", code=3)
    assert "tiny bytes.png: refused: it matches no file that is kept" in done.stderr


def test_plan_is_checked_against_the_last_scan_and_its_protection(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q", "--avoid", "tiny*")
    dedup("apply", "-o", tmp_path / "plan.csv")
    dedup("scan", photos, "-q", "--protect", photos)
    done = dedup("apply", tmp_path / "plan.csv", "--yes", "--to", tmp_path / "Away", code=3)
    assert done.stderr.count("refused: in a protected folder") == 2
    dedup("scan", photos, "-q", "--exclude", "tiny*")
    done = dedup("apply", tmp_path / "plan.csv", "--yes", "--to", tmp_path / "Away", code=3)
    assert "tiny bytes.png: refused: not a photo of the last scan" in done.stderr
    assert len(tree(photos)) == 3


def test_hard_link_of_the_keeper_is_not_promised(dedup: Dedup, photos: Path) -> None:
    for name in ("=copy\n.png", "tiny bytes.png"):
        (photos / name).unlink()
    os.link(photos / "IMG_1.png", photos / "linked.png")
    dedup("scan", photos, "-q")
    printed = dedup("apply").stdout
    assert "a hard link of its keeper; nothing to reclaim" in printed
    assert printed.endswith("0 files to remove, 0 bytes to reclaim\n")


def test_hard_links_and_protected_copies_are_not_promised_and_fail_no_scan(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    for name in ("=copy\n.png", "tiny bytes.png"):
        (photos / name).unlink()
    os.link(photos / "IMG_1.png", photos / "linked.png")
    done = dedup("scan", photos, "--fail-if-found")
    assert "1 group with 1 duplicate, 0 bytes to reclaim" in done.stdout
    page = tmp_path / "report.html"
    dedup("export", "-o", page)
    assert '<b class="number">0 bytes</b> to reclaim' in page.read_text()
    (photos / "archive").mkdir()
    shutil.copy(photos / "IMG_1.png", photos / "archive/copy.png")
    assert "0 bytes to reclaim" not in dedup("scan", photos, "--fail-if-found", code=10).stdout
    dedup("scan", photos, "--fail-if-found", "--protect", photos)


def test_undo_needs_the_journal_alone(dedup: Dedup, photos: Path, tmp_path: Path) -> None:
    dedup("scan", photos, "-q")
    before = tree(photos)
    dedup("apply", "--to", tmp_path / "Away", "--yes")
    (tmp_path / "test.db").write_bytes(b"damaged" * 999)
    dedup("undo")
    assert tree(photos) == before
    for path in tmp_path.glob("test.db*"):
        if path.is_file():
            path.unlink()
    assert dedup("undo").stdout == "Nothing to undo.\n"
    assert "no such database" in dedup("undo", "--db", tmp_path / "other.db", code=1).stderr


def test_link_to_a_database_evades_neither_its_lock_nor_its_journals(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    from dedup.store.lock import StoreLock

    dedup("scan", photos, "-q")
    before = tree(photos)
    (tmp_path / "linked.db").symlink_to(tmp_path / "test.db")
    with StoreLock(str(tmp_path / "test.db")):
        assert "another run" in dedup("undo", "--db", tmp_path / "linked.db", code=4).stderr
        assert "another run" in dedup("apply", "--yes", "--db", tmp_path / "linked.db", code=4).stderr
    dedup("apply", "--yes", "--to", tmp_path / "Away")
    dedup("undo", "--db", tmp_path / "linked.db")
    assert tree(photos) == before


def test_folders_that_become_empty_are_removed_on_request_and_made_again(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    deep = photos / "2019/05/copies"
    deep.mkdir(parents=True)
    (photos / "empty before").mkdir()
    shutil.move(photos / "=copy\n.png", deep / "x.png")
    deep.chmod(0o750)
    dedup("scan", photos, "-q", "--avoid", "copies", "--avoid", "tiny*")
    before = tree(photos)
    dedup("apply", "--to", tmp_path / "Away", "--yes")
    assert deep.is_dir()
    dedup("undo")
    dedup("scan", photos, "-q", "--avoid", "copies", "--avoid", "tiny*")
    done = dedup("apply", "--to", tmp_path / "Away", "--yes", "--remove-empty")
    assert done.stdout.count("removed: empty") == 3
    assert not (photos / "2019").exists()
    assert (photos / "empty before").is_dir()
    dedup("undo")
    assert tree(photos) == before
    assert deep.stat().st_mode & 0o777 == 0o750


def test_duplicate_behind_a_symbolic_link_is_found_on_request_and_its_real_file_moves(
    dedup: Dedup, photos: Path, tmp_path: Path
) -> None:
    usb = tmp_path / "usb"
    usb.mkdir()
    shutil.move(photos / "=copy\n.png", usb / "copy.png")
    (photos / "link").symlink_to(usb)
    (usb / "back").symlink_to(photos)
    dedup("scan", photos, "-q")
    assert "usb/copy.png" not in dedup("export").stdout
    dedup("scan", photos, "-q", "--follow-symlinks", "--avoid", "usb")
    assert "usb/copy.png" in dedup("export").stdout
    dedup("apply", "--to", tmp_path / "Away", "--yes")
    assert not (usb / "copy.png").exists()
    dedup("undo")
    assert (usb / "copy.png").exists()
    assert (photos / "link").is_symlink()
