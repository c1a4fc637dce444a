import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from album import make_album, plain, scene
from click.testing import Result

from dedup.files.walk import Folder, Listing
from dedup.grouping import selection
from dedup.images import preview_cache
from dedup.images.read import Task, read_photo
from dedup.models.weights import WeightsSpec, weights_spec
from dedup.pipeline import extract, judge, match
from dedup.pipeline import scan as pipeline_scan
from dedup.pipeline.context import Context
from dedup.pipeline.pairs import PairBatch
from dedup.pipeline.query import find_matches
from dedup.pipeline.results import load_results, totals_of
from dedup.pipeline.scan import count_duplicates, find_duplicates
from dedup.report import tables
from dedup.store.store import Store
from dedup.types.pairs import Relation, Scores
from dedup.types.report import Report, Totals
from dedup.types.settings import Settings
from dedup.workers import Runtime

DEFAULT = Settings()


def later() -> float:
    """Return a time at which the files of a test are no longer too young to be known by their times."""
    return time.time() + 60


class Scan:
    """Runs scans of one folder over one database, and counts the work."""

    def __init__(self, shipped_weights: WeightsSpec, db: Path) -> None:
        self.weights, self.db, self.read = shipped_weights, str(db), 0

    def __call__(
        self, *roots: Path, settings: Settings = DEFAULT, workers: int = 1, exclude: tuple[str, ...] = ()
    ) -> Report:
        self.steps: dict[str, int] = {}

        def progress(stage: str, done: int, of: int) -> None:
            self.steps[stage] = done

        with Store(self.db, scanning=True) as store:
            return find_duplicates(
                [str(r) for r in roots],
                exclude=exclude,
                store=store,
                weights=self.weights,
                settings=settings,
                runtime=Runtime(workers, progress, clock=later),
            )


@pytest.fixture
def scan(shipped_weights: WeightsSpec, tmp_path: Path) -> Scan:
    return Scan(shipped_weights, tmp_path / "scan.db")


def groups(result: Report, root: Path) -> dict[str, dict[str, str]]:
    """Return {keeper: {duplicate: relation}} by names relative to the root."""
    found: dict[str, dict[str, str]] = {}
    for row in tables.group_rows(result):
        star = found.setdefault(os.path.relpath(row["keeper"], root), {})
        if row["role"] == "duplicate":
            star[os.path.relpath(row["path"], root)] = row["relation"]
    return found


ANSWER = {
    "Trip [2019]/harbour.jpg": {
        "harbour (1).jpg": "exact",
        "harbour small.jpg": "copy",
        "harbour grey.webp": "copy",
    },
    "Trip [2019]/tower.jpg": {"Trip [2019]/tower cropped.jpg": "copy", "Trip [2019]/tower mirrored.png": "copy"},
    "garden.tif": {"garden.png": "identical"},
}


def csv_of(result: Report, path: Path) -> bytes:
    for table in tables.TABLES:
        tables.write(result, table, "csv", str(path / f"{table}.csv"))
    return b"".join((path / f"{table}.csv").read_bytes() for table in tables.TABLES)


def test_album_gives_the_known_answer(scan: Scan, album: Path) -> None:
    found = groups(scan(album), album)
    flipped = {"garden.png": {"garden.tif": "identical"}}  # which of the two is larger is the codec's business
    assert found in (ANSWER, {k: v for k, v in ANSWER.items() if "garden" not in k} | flipped)


def test_second_scan_reads_and_compares_nothing(scan: Scan, album: Path, tmp_path: Path) -> None:
    first = csv_of(scan(album), tmp_path)
    assert scan.steps["reading"] == 13
    second = csv_of(scan(album), tmp_path)
    assert not {"reading", "comparing", "comparing pixels"} & scan.steps.keys()
    assert first == second


def test_moved_file_costs_a_hash(scan: Scan, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(album)
    (album / "elsewhere").mkdir()
    (album / "alone 10.jpg").rename(album / "elsewhere" / "renamed.jpg")
    encoded: list[int] = []
    real = match.encoder.encode

    def counted(encoder: object, pixels: list[np.ndarray], **more: str) -> object:
        encoded.append(len(pixels))
        return real(encoder, pixels, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(match.encoder, "encode", counted)
    result = scan(album)
    assert (scan.steps["reading"], sum(encoded)) == (1, 0)
    assert "elsewhere/renamed.jpg" in {os.path.relpath(r["path"], album) for r in tables.photo_rows(result)}


def test_one_new_photo_is_compared_and_nothing_else_is_done_again(scan: Scan, album: Path, tmp_path: Path) -> None:
    scan(album)
    scene(2).resize((300, 400)).save(album / "new.jpg")
    grown = scan(album)
    assert scan.steps["reading"] == 1
    fresh = Scan(scan.weights, tmp_path / "fresh.db")(album)
    assert csv_of(grown, tmp_path) == csv_of(fresh, tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_number_of_workers_do_not_change_a_byte(
    shipped_weights: WeightsSpec, album: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = csv_of(Scan(shipped_weights, tmp_path / "plain.db")(album), tmp_path)
    real = pipeline_scan.walk

    def shuffled(roots: list[str], *, exclude: tuple[str, ...] = ()) -> object:
        alone = [
            Folder(os.path.dirname(f.path), os.path.basename(f.path), array("q", astuple(f)[1:]))
            for f in real(roots, exclude=exclude)
        ]
        random.Random(workers).shuffle(alone)
        return Listing(tuple(alone))

    monkeypatch.setattr(pipeline_scan, "walk", shuffled)
    assert csv_of(Scan(shipped_weights, tmp_path / "shuffled.db")(album, workers=workers), tmp_path) == expected


def test_every_file_is_a_photo_or_skipped(scan: Scan, album: Path) -> None:
    (album / "cut.jpg").write_bytes((album / "alone 10.jpg").read_bytes()[:5000])
    (album / "notes.txt").write_text("no picture\n" * 20)
    os.mkfifo(album / "pipe")
    result = scan(album)
    photos = [r["path"] for r in tables.photo_rows(result)]
    skipped = {os.path.basename(s.path): (s.reason, s.picture) for s in result.skipped}
    assert skipped == {
        "cut.jpg": ("cut short: the picture data ends too early", True),
        "notes.txt": ("not a picture (text)", False),
        "pipe": ("not a regular file", False),
    }
    assert len(photos) + len(skipped) == sum(len(names) for _, _, names in os.walk(album))


def test_odd_names_reach_the_report(scan: Scan, tmp_path: Path) -> None:
    root = tmp_path / "odd [x]"
    root.mkdir()
    names = ['say "cheese"\n.jpg', "=1+1.jpg", "📷.jpg", os.fsdecode(b"caf\xe9.jpg"), "a,b;c.jpg", "x" * 200 + ".jpg"]
    for n, name in enumerate(names):
        scene(n).save(root / "tmp.jpg")
        (root / "tmp.jpg").rename(root / name)
    result = scan(root)
    assert {os.path.basename(r["path"]) for r in tables.photo_rows(result)} == set(names)
    csv_of(result, tmp_path)


def test_identical_plain_pictures_are_one_group_and_others_are_not(scan: Scan, tmp_path: Path) -> None:
    root = tmp_path / "plain"
    root.mkdir()
    plain((255, 255, 255)).save(root / "white.png")
    plain((255, 255, 255)).save(root / "white.bmp")
    plain((0, 0, 255)).save(root / "blue.png")
    plain((0, 0, 0), (10, 20)).save(root / "black high.png")
    plain((0, 0, 0), (20, 10)).save(root / "black wide.png")
    found = groups(scan(root), root)
    assert found == {"white.png": {"white.bmp": "identical"}}


def test_more_copies_than_neighbours_are_one_group(scan: Scan, tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    image = scene(7)
    for n in range(12):
        image.resize((640 - 20 * n, 480 - 15 * n)).save(root / f"{n:02}.jpg", quality=80)
    found = groups(scan(root, settings=Settings(neighbours=5)), root)
    assert {k: len(v) for k, v in found.items()} == {"00.jpg": 11}


def test_hard_links_are_read_once_and_both_reported(scan: Scan, tmp_path: Path) -> None:
    root = tmp_path / "links"
    root.mkdir()
    scene(1).save(root / "a.jpg")
    os.link(root / "a.jpg", root / "b.jpg")
    result = scan(root)
    assert scan.steps["reading"] == 1
    assert groups(result, root) == {"a.jpg": {"b.jpg": "exact"}}


def test_excluded_files_are_not_found(scan: Scan, album: Path) -> None:
    result = scan(album, exclude=("Trip*", "*.png"))
    assert {os.path.relpath(r["path"], album) for r in tables.photo_rows(result)} == {
        *("alone 10.jpg", "alone 11.jpg", "alone 12.jpg", "alone 13.jpg", "garden.tif"),
        *("harbour (1).jpg", "harbour grey.webp", "harbour small.jpg"),
    }


def test_report_of_the_last_scan_is_the_report_of_the_scan(scan: Scan, album: Path, tmp_path: Path) -> None:
    expected = csv_of(scan(album), tmp_path)
    with Store(scan.db) as store:
        assert csv_of(load_results(store), tmp_path) == expected


def test_settings_of_another_scan_are_used_at_once(scan: Scan, album: Path) -> None:
    scan(album)
    protected = scan(album, settings=Settings(protect=(str(album / "harbour small.jpg"),)))
    assert "harbour small.jpg" in groups(protected, album)
    assert "comparing" not in scan.steps


def test_thorough_scan_judges_pairs_that_another_scan_left_out(
    scan: Scan, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_SMALL", 0.001)  # photos: the album is a large collection
    few, thorough = scan(album), scan(album, settings=replace(DEFAULT, thorough=True))
    alone = Scan(scan.weights, tmp_path / "thorough.db")(album, settings=replace(DEFAULT, thorough=True))
    assert len(few.verdicts) < len(thorough.verdicts) == len(alone.verdicts)
    assert thorough.verdicts.copy.tolist() == alone.verdicts.copy.tolist()
    again = scan(album)
    assert again.verdicts.copy.tolist() == few.verdicts.copy.tolist()


def test_find_tells_which_photos_match(scan: Scan, album: Path, tmp_path: Path) -> None:
    scan(album)
    scene(2).resize((300, 400)).save(tmp_path / "query.png")
    shutil.copyfile(album / "alone 10.jpg", tmp_path / "same.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with Store(scan.db) as store:
        matches, skipped = find_matches(
            [str(tmp_path / n) for n in ("query.png", "same.jpg", "bad.jpg")],
            Context(store, scan.weights, Settings(), Runtime(1, lambda stage, done, of: None, clock=later)),
        )
    found = [(Path(m.query).name, Path(m.path).name, m.relation) for m in matches]
    assert sorted(found) == [
        ("query.png", "tower cropped.jpg", Relation.COPY),
        ("query.png", "tower mirrored.png", Relation.COPY),
        ("query.png", "tower.jpg", Relation.COPY),
        ("same.jpg", "alone 10.jpg", Relation.EXACT),
    ]
    assert [Path(s.path).name for s in skipped] == ["bad.jpg"]


@pytest.mark.slow
def test_killed_scan_resumes_and_ends_with_the_same_report(
    shipped_weights: WeightsSpec, tmp_path: Path, dedup: Callable[..., Result]
) -> None:
    root = make_album(tmp_path / "Photos")
    for n in range(100, 220):
        scene(n, (1600, 1200)).save(root / f"{n}.jpg")
    once = Settings(verify=False)  # a kill in the middle of a second look is for test_hostile.py
    expected = csv_of(Scan(shipped_weights, tmp_path / "fresh.db")(root, settings=once), tmp_path)
    db = tmp_path / "killed.db"
    command = [sys.executable, "-m", "dedup", "scan", str(root), "--db", str(db), "--workers", "1", "--no-verify"]
    stored = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(2400):
            time.sleep(0.05)
            if process.poll() is not None:
                break
            if db.exists():
                with Store(str(db)) as store:
                    if store.counts()["photo"] > stored:
                        break
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Store(str(db)) as store:
            stored = store.counts()["photo"]
    assert stored > 0
    resumed = Scan(shipped_weights, db)
    assert csv_of(resumed(root, settings=once), tmp_path) == expected
    assert resumed.steps.get("reading", 0) < 133


def test_picture_larger_than_the_network_sees_is_described_from_a_reduced_decode(scan: Scan, tmp_path: Path) -> None:
    root = tmp_path / "big"
    root.mkdir()
    scene(1, (4000, 3000)).save(root / "big.jpg", quality=80)
    scene(1, (400, 300)).save(root / "small.png")
    assert groups(scan(root), root) == {"big.jpg": {"small.png": "copy"}}


def test_likely_copies_are_looked_at_twice_and_only_once_ever(scan: Scan, album: Path) -> None:
    first = scan(album)
    verified = first.verified
    assert len(verified) >= 5
    assert scan.steps["verifying"] == len(verified)
    (album / "harbour small.jpg").rename(album / "harbour tiny.jpg")
    again = scan(album)
    assert "verifying" not in scan.steps
    assert len(again.verified) == len(verified)


def test_without_the_second_look_the_head_decides(scan: Scan, album: Path) -> None:
    twice, once = scan(album), scan(album, settings=Settings(verify=False))
    assert not (twice.verdicts.copy == once.verdicts.copy).all()
    assert len(once.verified) == 0  # what an earlier scan saw is not in this report either
    fresh = Scan(scan.weights, album.parent / "once.db")
    assert (fresh(album, settings=Settings(verify=False)).verdicts.copy == once.verdicts.copy).all()
    assert "verifying" not in fresh.steps


def test_photo_that_vanishes_before_verification_is_in_no_group_and_counted(scan: Scan, album: Path) -> None:
    def removing(stage: str, done: int, of: int) -> None:
        if stage == "comparing":
            (album / "harbour small.jpg").unlink(missing_ok=True)

    with Store(scan.db, scanning=True) as store:
        runtime = Runtime(1, removing, clock=later)
        result = find_duplicates(
            [str(album)], exclude=(), store=store, weights=scan.weights, settings=Settings(), runtime=runtime
        )
        assert load_results(store).unverified == result.unverified > 0
    assert "harbour small.jpg" not in {os.path.basename(row["path"]) for row in tables.group_rows(result)}


class Killing(Runtime):
    """Has the worker killed that aligns one of these files, the first times that it does."""

    def run(self, fn: Any, items: Any, *, limit_s: float = 120.0) -> Any:
        return super().run(dying_once if fn is judge.read_aligned else fn, items, limit_s=limit_s)


class KillingAlways(Killing):
    def run_again(self, fn: Any, items: Any, *, limit_s: float = 120.0) -> Any:
        return super().run_again(dying if fn is judge.read_aligned else fn, items, limit_s=limit_s)


def dying_once(batch: PairBatch) -> object:
    return dying(batch)


def dying(batch: PairBatch) -> object:
    if any("harbour small" in path for pair in batch.pairs for path, _ in (pair.left, pair.right)):
        os.kill(os.getpid(), signal.SIGKILL)
    return judge.read_aligned(batch)


def test_pair_whose_worker_dies_once_is_verified_by_another(scan: Scan, album: Path) -> None:
    expected = groups(scan(album), album)
    with Store(str(album.parent / "killed.db"), scanning=True) as store:
        runtime = Killing(1, lambda stage, done, of: None, clock=later)
        result = find_duplicates(
            [str(album)], exclude=(), store=store, weights=scan.weights, settings=Settings(), runtime=runtime
        )
    assert (groups(result, album), result.unverified) == (expected, 0)


def test_pair_whose_worker_dies_each_time_is_in_no_group_until_it_is_verified(scan: Scan, album: Path) -> None:
    with Store(scan.db, scanning=True) as store:
        runtime = KillingAlways(1, lambda stage, done, of: None, clock=later)
        result = find_duplicates(
            [str(album)], exclude=(), store=store, weights=scan.weights, settings=Settings(), runtime=runtime
        )
        assert totals_of(result).unverified == result.unverified > 0
    found = groups(result, album)
    assert "harbour small.jpg" not in {name for keeper, star in found.items() for name in (keeper, *star)}
    assert "harbour grey.webp" in found["Trip [2019]/harbour.jpg"]  # the others were verified
    again = scan(album)
    assert again.unverified == 0
    assert groups(again, album)["Trip [2019]/harbour.jpg"]["harbour small.jpg"] == "copy"


def crashing(task: Task) -> object:
    if task.file.path.endswith("alone 10.jpg"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return read_photo(task)


def killed(task: Task) -> object:
    if task.file.path.endswith("alone 10.jpg"):
        os.kill(os.getpid(), signal.SIGKILL)
    return read_photo(task)


@pytest.mark.parametrize(("read", "lasting"), [(crashing, True), (killed, False)])
def test_only_what_the_bytes_cause_twice_is_remembered(
    scan: Scan, album: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Task], object], lasting: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(extract, "read_photo", read)
        assert [os.path.basename(s.path) for s in scan(album).skipped] == ["alone 10.jpg"]
    assert len(scan(album).skipped) == lasting
    assert ("reading" in scan.steps) == (not lasting)


class CrashingOnce(Runtime):
    def run(self, fn: Any, items: Any, *, limit_s: float = 120.0) -> Any:
        return super().run(crashing if fn is read_photo else fn, items, limit_s=limit_s)


def test_file_that_is_read_at_the_second_try_is_a_photo(scan: Scan, album: Path) -> None:
    with Store(scan.db, scanning=True) as store:
        result = find_duplicates(
            [str(album)], exclude=(), store=store, weights=scan.weights, settings=Settings(),
            runtime=CrashingOnce(1, lambda stage, done, of: None, clock=later),
        )  # fmt: skip
    assert (result.skipped, result.photos.photos.files) == ([], 13)


def test_pairs_are_looked_at_with_their_kin(shipped_weights: WeightsSpec) -> None:
    left, right = np.array([0, 1, 0, 5, 2]), np.array([3, 4, 1, 9, 8])
    share = np.float32([0.9, 0.1, 0.9, 0.9, 0.9])
    assert judge.depth_first_order(Scores(left, right, share, share, share)).tolist() == [2, 0, 1, 4, 3]


def test_report_says_what_was_done_to_a_photo(scan: Scan, album: Path) -> None:
    changes = {os.path.basename(r["path"]): r["change"] for r in tables.group_rows(scan(album))}
    assert changes["tower mirrored.png"] == "mirrored"
    assert changes["tower cropped.jpg"].startswith("cropped to 10-90 % of the width, 1")
    assert changes["tower.jpg"] == changes["harbour small.jpg"] == ""


def test_tasks_dealt_out_in_turn_leave_each_worker_with_neighbours() -> None:
    tasks = [(n,) for n in range(7)]
    dealt = judge.deal_round_robin(tasks, 2)
    assert sorted(dealt) == tasks
    assert dealt[0::2] == tasks[:4]
    assert dealt[1::2] == tasks[4:]


def test_report_is_the_same_with_previews_and_without(scan: Scan, tmp_path: Path) -> None:
    photos = tmp_path / "large"
    photos.mkdir()
    large = scene(5).resize((1600, 1200))
    large.save(photos / "a.png")
    large.crop((100, 50, 1600, 1100)).save(photos / "crop.png")
    large.convert("L").save(photos / "grey.png")
    with_previews = scan(photos)
    assert scan.steps["verifying"] >= 2
    assert sorted(os.listdir(tmp_path)) == ["large", "scan.db", "scan.db.lock"]
    (tmp_path / ".bare.db.previews").write_text("no folder can be made here")
    without = Scan(scan.weights, tmp_path / "bare.db")(photos)
    assert csv_of(with_previews, tmp_path) == csv_of(without, tmp_path)
    assert (with_previews.verdicts.copy == without.verdicts.copy).all()


def remount(db: str) -> None:
    """Have the database know the files by other numbers, as if their file system gave new ones when it was mounted."""
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE file SET device = device + 1, inode = inode + 1000")


def test_files_that_only_have_other_numbers_after_a_remount_are_not_read(
    scan: Scan, album: Path, tmp_path: Path
) -> None:
    first = csv_of(scan(album), tmp_path)
    remount(scan.db)
    assert csv_of(scan(album), tmp_path) == first
    assert scan.steps == {"checking": 13}
    scan(album)
    assert scan.steps == {}  # the new numbers are stored


@pytest.mark.parametrize("at", [0, 0.5, 0.999999])
def test_file_with_other_bytes_after_a_remount_is_read_though_its_size_and_times_are_equal(
    scan: Scan, album: Path, at: float
) -> None:
    scan(album)
    file = album / "garden.tif"
    data, seen = bytearray(file.read_bytes()), file.stat()
    data[int(at * len(data))] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    remount(scan.db)
    with closing(sqlite3.connect(scan.db)) as connection, connection:
        changed = (file.stat().st_ctime_ns, os.fsencode(file))
        connection.execute("UPDATE file SET ctime_ns = ? WHERE path = ?", changed)
    scan(album)
    assert scan.steps["reading"] == 1


def test_previews_are_for_their_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with preview_cache.folder_of(str(tmp_path / "scan.db")) as folder:
            assert folder is not None
            assert preview_cache.write(folder, "a" * 64, b"preview") == 7
            (file,) = Path(folder).iterdir()
            assert (Path(folder).stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    finally:
        os.umask(before)


class Count:
    """Counts the duplicates of one folder over one database, and tells whether it had to look for them."""

    def __init__(self, weights: WeightsSpec, root: Path, db: Path) -> None:
        self.weights, self.root, self.db = weights, root, str(db)

    def __call__(
        self,
        *more: Path,
        settings: Settings = DEFAULT,
        weights: WeightsSpec | None = None,
        clock: Callable[[], float] = later,
        progress: Callable[[str, int, int], None] = lambda stage, done, of: None,
    ) -> tuple[bool, Totals]:
        with Store(self.db, scanning=True) as store:
            runs = store.count("run")
            run, totals = count_duplicates(
                [str(root) for root in (self.root, *more)],
                exclude=(),
                store=store,
                weights=weights or self.weights,
                settings=settings,
                runtime=Runtime(1, progress, clock),
            )
            assert store.runs.last() == run
            return store.count("run") > runs, totals


@pytest.fixture
def count(shipped_weights: WeightsSpec, tmp_path: Path) -> Count:
    """Two versions of a picture, another one, one that is broken, a letter; counted once."""
    root = tmp_path / "few"
    (root / "sub").mkdir(parents=True)
    scene(1).save(root / "a.png")
    scene(1).save(root / "a.bmp")
    shutil.copy(root / "a.png", root / "sub" / "again.png")
    scene(2).save(root / "b.png")
    (root / "cut.png").write_bytes((root / "b.png").read_bytes()[:5000])
    (root / "notes.txt").write_text("no picture\n" * 20)
    count = Count(shipped_weights, root, tmp_path / "count.db")
    size = sum((root / name).stat().st_size for name in ("a.png", "sub/again.png"))
    new, totals = count()
    assert (new, asdict(totals) | {"bytes": 0}) == (
        True,
        {
            "files": 6,
            "photos": 4,
            "groups": 1,
            "duplicates": 2,
            "removable": 2,
            "bytes": 0,
            "skipped": 1,
            "other": 1,
            "across": 0,
            "new_failures": 1,
            "unverified": 0,
            "variants": 0,
            "folders": 1,
        },
    )
    assert totals.bytes in (size, size // 2 + (root / "a.bmp").stat().st_size)
    return count


def test_nothing_is_looked_for_again_where_nothing_changed(count: Count, tmp_path: Path) -> None:
    before = count()
    assert not before[0]
    assert count() == before
    report_now = Scan(count.weights, Path(count.db))(count.root)
    assert totals_of(report_now) == before[1]
    assert count() == before  # after find_duplicates() as well
    with Store(count.db) as store:
        assert totals_of(load_results(store)) == before[1]
    assert count() == before  # and after somebody looked at the report


def test_scan_that_found_nothing_new_is_the_last_scan_all_the_same(count: Count, tmp_path: Path) -> None:
    moment = later() + 1000
    assert not count(clock=lambda: moment)[0]
    with Store(count.db) as store:
        last = store.runs.last()
        assert last is not None
        assert (last.started_at, last.ended_at, store.count("run")) == (moment, moment, 1)
        assert len(load_results(store).groups) == 1


def new_bytes_with_the_time_put_back(file: Path) -> None:
    seen, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def test_whatever_changed_is_looked_at(count: Count) -> None:
    root = count.root
    changes: list[tuple[Callable[[], object], tuple[int, int, int]]] = [
        (lambda: os.utime(root / "a.png", ns=(0, 0)), (4, 1, 2)),
        (lambda: new_bytes_with_the_time_put_back(root / "a.png"), (4, 1, 2)),
        (lambda: (root / "a.png").rename(root / "c.png"), (4, 1, 2)),
        (lambda: (root / "sub").rename(root / "other"), (4, 1, 2)),
        (lambda: os.mkfifo(root / "pipe"), (4, 1, 2)),
        (lambda: (root / "other" / "again.png").unlink(), (3, 1, 1)),
        (lambda: shutil.copy(root / "b.png", root / "d.png"), (4, 2, 2)),
        (lambda: Scan(count.weights, Path(count.db))(root / "other"), (4, 2, 2)),
    ]
    for n, (change, expected) in enumerate(changes):
        assert not count()[0], n
        change()
        new, totals = count()
        assert (new, totals.photos, totals.groups, totals.duplicates) == (True, *expected), n


def test_other_terms_are_other_scans(count: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not count()[0]
    for settings in (
        Settings(keep=("bytes",)),
        Settings(protect=(str(count.root / "sub"),)),
        Settings(include_similar=True),
        Settings(prefer=("sub",)),
        Settings(min_probability=0.5),
        Settings(verify=False),
    ):
        assert count(settings=settings)[0]
        assert not count(settings=settings)[0]
    assert count()[0]
    assert count(count.root / "sub")[0]  # the same files under other roots
    assert count()[0]
    assert count(weights=replace(count.weights, name="other"))[0]
    assert count()[0]
    monkeypatch.setattr("dedup.version.__version__", "other")
    assert count()[0]


def test_file_that_was_too_young_is_opened_again(count: Count) -> None:
    scene(3).save(count.root / "young.png")
    assert count(clock=time.time)[0]
    assert count()[0]  # it is not known by its times
    assert not count()[0]


def test_file_that_could_not_be_looked_at_again_is_tried_the_next_time(count: Count) -> None:
    (count.root / "new").mkdir()
    scene(1).resize((320, 240)).save(count.root / "new" / "small.jpg")

    def hidden(stage: str, done: int, of: int) -> None:
        if stage == "comparing" and (count.root / "new").exists():
            (count.root / "new").rename(count.root.parent / "away")

    assert count(progress=hidden)[0]
    (count.root.parent / "away").rename(count.root / "new")  # the file is as it was, by all that stat() says
    looked: set[str] = set()
    new, totals = count(progress=lambda stage, done, of: looked.add(stage))
    assert (new, totals.duplicates, "verifying" in looked) == (True, 3, True)
    assert count() == (False, totals)


def test_quick_scan_keeps_what_it_made_of_thumbnails_apart(scan: Scan, album: Path, tmp_path: Path) -> None:
    full = scan(album)
    quick = Scan(weights_spec(quick=True), tmp_path / "scan.db")
    found = quick(album)
    assert quick.steps["reading"] > 0  # nothing that the full scan knew
    assert found.run.weights_name != full.run.weights_name
    assert groups(found, album) == groups(full, album)  # drawn pictures have no thumbnails
    assert scan(album).run.weights_name == full.run.weights_name
    assert scan.steps["reading"] > 0
