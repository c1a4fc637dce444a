import os
import sqlite3
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dedup.errors import StoreBusy, StoreUnusable
from dedup.store.listing import ScanListing
from dedup.store.schema import MIGRATIONS
from dedup.store.store import Store
from dedup.types.groups import NOTHING_DECIDED, Decisions
from dedup.types.pairs import Candidates, Loss, Scores, Verified
from dedup.types.photo import Exposure, Facts, File, Picture, Reading, Rejected, Skipped
from dedup.types.report import Run, Totals
from dedup.types.settings import Settings

NOW = 2_000_000_000 * 10**9
OLD = 1_000_000_000 * 10**9
TERMS = {"weights_name": "w", "reader": "r"}


def file(name: str, *, inode: int = 1, mtime_ns: int = OLD, size: int = 10) -> File:
    return File(f"/photos/{name}", size, mtime_ns, OLD, 1, inode)


def reading(content: str, *, known: bool = False) -> Reading:
    picture = Picture(np.zeros((1, 1, 3), np.uint8), 40, 30, "JPEG", "2019-07-01T12:00:00", "Canon")
    return Reading(content.encode().ljust(32, b"0"), 10, None if known else picture)


def add(found: ScanListing, *read: tuple[File, Reading | Rejected]) -> None:
    n = sum(isinstance(r, Reading) and r.picture is not None for _, r in read)
    vectors = np.arange(n * 4, dtype=np.float16).reshape(n, 4)
    found.add([([f], r) for f, r in read], vectors, vectors.astype(np.int8), started_ns=NOW)


NOTHING = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def finish(store: Store, found: ScanListing, candidates: Candidates | None = NOTHING) -> None:
    photos = found.photos()
    run = Run(
        1.0,
        2.0,
        ("/photos",),
        Settings(protect=("/p",), keep=("oldest", "path"), prefer=("a",)),
        "w",
        1.0,
        photos.photos.contents(),
        0.25,
    )
    store.runs.add(run, found, candidates, photos.ids)


def three_photos(store: Store) -> tuple[ScanListing, np.ndarray]:
    """Put three photos into the store; return their listing, and their numbers in the order of their contents."""
    files = [file(n, inode=i) for i, n in enumerate("abc")]
    found = store.listing(files, **TERMS)
    add(found, *((f, reading(c)) for f, c in zip(files, "zyx", strict=True)))
    return found, found.photos().ids


def names(files: Sequence[list[File]]) -> list[list[str]]:
    return [[f.path.removeprefix("/photos/") for f in links] for links in files]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "test.db")


def test_unchanged_file_is_not_opened_again(path: str) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing([file("a", inode=1), file("b", inode=2)], **TERMS)
        assert names(found.unknown()) == [["a"], ["b"]]
        add(found, (file("a", inode=1), reading("x")))
        assert names(found.unknown()) == [["b"]]
    with Store(path, scanning=True) as store:
        found = store.listing([file("a", inode=1), file("b", inode=2)], **TERMS)
        assert names(found.unknown()) == [["b"]]


@pytest.mark.parametrize(
    "changed",
    [
        File("/photos/a", 11, OLD, OLD, 1, 1),
        File("/photos/a", 10, OLD + 1, OLD, 1, 1),
        File("/photos/a", 10, OLD, OLD + 1, 1, 1),
        File("/photos/a", 10, OLD, OLD, 2, 1),
        File("/photos/a", 10, OLD, OLD, 1, 2),
    ],
    ids=["size", "mtime", "ctime", "device", "inode"],
)
def test_file_that_changed_in_any_way_is_opened_again(path: str, changed: File) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing([file("a")], **TERMS)
        add(found, (file("a"), reading("x")))
        found = store.listing([changed], **TERMS)
        assert names(found.unknown()) == [["a"]]


def test_recently_modified_file_is_opened_again_by_the_next_scan(path: str) -> None:
    young = file("a", mtime_ns=NOW - 2 * 10**9)
    with Store(path, scanning=True) as store:
        found = store.listing([young], **TERMS)
        add(found, (young, reading("x")))
        assert names(found.unknown()) == [["a"]]
        assert len(found.photos().photos) == 1


def test_other_weights_and_other_decoders_open_files_again(path: str) -> None:
    bad = Rejected(Skipped("/photos/b", "cut short"), lasting=True)
    with Store(path, scanning=True) as store:
        files = [file("a", inode=1), file("b", inode=2)]
        found = store.listing(files, **TERMS)
        add(found, (files[0], reading("x")), (files[1], bad))
        assert names(found.unknown()) == []
        found = store.listing(files, weights_name="w", reader="newer")
        assert names(found.unknown()) == [["b"]]
        found = store.listing(files, weights_name="newer", reader="r")
        assert names(found.unknown()) == [["a"]]


def test_hard_links_are_one_inode_to_open(path: str) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing([file("b", inode=7), file("a", inode=7), file("c", inode=8)], **TERMS)
        assert names(found.unknown()) == [["a", "b"], ["c"]]


def test_photo_has_every_file_that_holds_it_and_photos_are_in_order_of_content(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file(n, inode=i) for i, n in enumerate("cab")]
        found = store.listing(files, **TERMS)
        add(found, (files[0], reading("z")), (files[1], reading("y")), (files[2], reading("z", known=True)))
        photos = found.photos()
        assert [[f.path for f in p.files] for p in photos.photos] == [["/photos/a"], ["/photos/b", "/photos/c"]]
        assert photos.photos[0].camera == "Canon"
        assert store.features.vectors(photos.ids).tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
        assert store.features.maps(photos.ids).tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
        assert found.contents()[0].tolist() == photos.ids.tolist()


def test_two_listings_can_be_open_at_once(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file(n, inode=i) for i, n in enumerate("ab")]
        with store.listing(files, **TERMS) as both, store.listing(files[1:], **TERMS) as second:
            add(both, (files[0], reading("x")), (files[1], reading("y")))
            assert names(second.unknown()) == []
            assert [len(found.photos().photos) for found in (both, second)] == [2, 1]


def test_contents_are_those_of_the_photos_found(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file(n, inode=i) for i, n in enumerate("cab")]
        found = store.listing(files, **TERMS)
        add(found, (files[0], reading("z")), (files[1], reading("y")), (files[2], reading("x")))
        for some in (files, files[1:], []):
            found = store.listing(some, **TERMS)
            ids, contents = found.contents()
            assert ids.tolist() == found.photos().ids.tolist()
            assert len(ids) == len(some)
            assert contents == found.photos().photos.contents()


def test_digests_of_a_size_are_those_that_need_no_decoding(path: str) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing([file("a")], **TERMS)
        add(found, (file("a"), reading("x")))
        assert found.digests_of_size(10) == [reading("x").sha256]
        assert found.digests_of_size(11) == []
        found = store.listing([file("a")], weights_name="newer", reader="r")
        assert found.digests_of_size(10) == []


def test_names_that_are_not_utf8_come_back(path: str) -> None:
    odd = file("caf\udce9\n'\"")
    with Store(path, scanning=True) as store:
        found = store.listing([odd, Skipped("/photos/\udcff", "permission denied")], **TERMS)
        add(found, (odd, reading("x")))
        assert found.photos().photos[0].files == (odd,)
        assert found.skipped() == [Skipped("/photos/\udcff", "permission denied")]


def test_lasting_rejection_is_stored_and_a_passing_one_is_tried_again(path: str) -> None:
    lasting = Rejected(Skipped("/photos/a", "cut short"), lasting=True)
    passing = Rejected(Skipped("/photos/b", "Permission denied"), lasting=False)
    files = [file("a", inode=1), file("b", inode=2)]
    with Store(path, scanning=True) as store:
        found = store.listing(files, **TERMS)
        add(found, (files[0], lasting), (files[1], passing))
        assert found.skipped() == [lasting.skipped, passing.skipped]
        finish(store, found)
        found = store.listing(files, **TERMS)
        assert names(found.unknown()) == [["b"]]
        found = store.last_listing()
        assert found.skipped() == [lasting.skipped, passing.skipped]


def test_last_listing_has_the_files_of_the_last_scan_only(path: str) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing([file("a", inode=1), file("b", inode=2)], **TERMS)
        add(found, (file("a", inode=1), reading("x")), (file("b", inode=2), reading("y")))
        finish(store, found)
        found = store.listing([file("b", inode=2)], **TERMS)
        finish(store, found)
    with Store(path) as store:
        found = store.last_listing()
        assert [p.files[0].path for p in found.photos().photos] == ["/photos/b"]
        last = store.runs.last()
        assert last is not None
        assert (last.roots, last.settings, last.prior) == (
            ("/photos",),
            Settings(protect=("/p",), keep=("oldest", "path"), prefer=("a",)),
            0.25,
        )


def test_intact_database_with_an_unknown_rule_is_not_called_damaged(path: str) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing([file("a")], **TERMS)
        finish(store, found)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE run SET settings = replace(settings, 'oldest', 'o2dest')")
    db.close()
    with Store(path) as store, pytest.raises(StoreUnusable, match="holds something that dedup did not write"):
        store.runs.last()


def test_intact_database_with_unreadable_totals_is_not_called_damaged(path: str) -> None:
    with Store(path, scanning=True) as store:
        found, _ = three_photos(store)
        finish(store, found)
        store.runs.save_totals(b"terms", Totals(3, 3, 0, 0, 0, 0, 0, 0, 0, 0))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE total SET figures = replace(figures, 'files', 'filed')")
    db.close()
    with (
        Store(path, scanning=True) as store,
        pytest.raises(StoreUnusable, match="holds something that dedup did not write"),
    ):
        store.runs.repeat(b"terms", started_at=1.0, ended_at=2.0)


def test_database_of_the_first_version_is_brought_up_and_its_photos_are_read_again_for_their_facts(path: str) -> None:
    db = sqlite3.connect(path)
    for statement in MIGRATIONS[0]:
        db.execute(statement)
    db.execute("PRAGMA user_version = 1")
    x = b"x".ljust(32, b"0")
    db.execute("INSERT INTO photo VALUES (1, ?, 10, 40, 30, 'JPEG', NULL, NULL, NULL)", (x,))
    db.execute("INSERT INTO descriptor VALUES (1, 'w', x'00', x'00')")
    db.execute("INSERT INTO file VALUES (?, 1, 1, 10, ?, ?, 1, 1, NULL, NULL, 'r', NULL)", (b"/photos/a", OLD, OLD))
    db.commit()
    db.close()
    with Store(path, scanning=True) as store:
        found = store.listing([file("a")], **TERMS)
        assert names(found.unknown()) == [["a"]]
        assert found.digests_of_size(10) == []
        (only,) = found.photos().photos
        assert (only.gps, only.rating, only.screenshot, only.facts) == (False, None, False, None)


def test_metadata_of_a_photo_comes_back(path: str) -> None:
    read = reading("x")
    assert read.picture is not None
    facts = Facts(frames=6, video="ab", exposure=Exposure(1 / 500, -2.0, iso=100))
    said = replace(read.picture, gps=True, rating=4, screenshot=True, facts=facts)
    with Store(path, scanning=True) as store:
        found = store.listing([file("a")], **TERMS)
        add(found, (file("a"), replace(read, picture=said)))
        (only,) = found.photos().photos
        assert (only.gps, only.rating, only.screenshot, only.facts) == (True, 4, True, facts)
        assert names(found.unknown()) == []


def test_scores_come_back_for_the_given_photos_in_order(path: str) -> None:
    with Store(path, scanning=True) as store:
        found, ids = three_photos(store)
        numbers, share = np.array([0, 1]), np.float32([0.25, 0.1])
        store.pairs.add_scores(
            Scores(numbers, np.array([1, 2]), share, share, share), ids, weights_name="w", prefiltered=True
        )
        got = store.pairs.scores(ids, weights_name="w", prefiltered=False)
        assert (got.left.tolist(), got.right.tolist()) == ([0, 1], [1, 2])
        assert (got.copy == share).all()
        assert store.pairs.scores(ids[1:], weights_name="w", prefiltered=False).left.tolist() == [0]
        assert len(store.pairs.scores(ids, weights_name="newer", prefiltered=False)) == 0
        finish(store, found, Candidates(np.array([1]), np.array([2]), share[1:]))
        assert store.pairs.candidates(ids).left.tolist() == [1]
        finish(store, found, None)
        assert store.pairs.candidates(ids).left.tolist() == [1]


def test_candidates_are_those_of_the_last_run_only(path: str) -> None:
    with Store(path, scanning=True) as store:
        found, ids = three_photos(store)
        left, right, share = np.array([0, 0, 1]), np.array([1, 2, 2]), np.float32([0.25, 0.1, 0.5])
        pairs = Scores(left, right, share, share, share)
        store.pairs.add_scores(pairs, ids, weights_name="w", prefiltered=True)
        assert store.pairs.scored(ids, weights_name="w", prefiltered=True).tolist() == pairs.keys(3).tolist()
        for rows in ([0, 1], [1, 2], [0, 1, 2], [], [2], [0]):
            finish(store, found, pairs.rows(np.array(rows, np.int64)))
            assert store.pairs.candidates(ids).keys(3).tolist() == pairs.keys(3)[rows].tolist()
            assert store.pairs.candidates(ids[1:]).keys(2).tolist() == ([1] if 2 in rows else [])


def test_forget_removes_a_folder_but_not_its_namesakes(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file("a/1", inode=1), file("ab", inode=2), file("a", inode=3)]
        found = store.listing(files, **TERMS)
        add(found, *((f, reading(c)) for f, c in zip(files, "xyz", strict=True)))
        assert store.forget("/photos/a") == (2, 2)
        assert store.counts()["photo"] == store.counts()["descriptor"] == 1


def test_nothing_is_kept_of_a_change_that_fails(path: str) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing([file("a")], **TERMS)
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            found.add(
                [([file("a")], reading("x"))], np.zeros((1, 4), np.float16), np.zeros((0, 4), np.int8), started_ns=NOW
            )
        assert store.counts()["photo"] == 0
        add(found, (file("a"), reading("x")))


def test_second_scan_of_one_database_is_refused(path: str) -> None:
    with Store(path, scanning=True), pytest.raises(StoreBusy, match=r"another run is using this database"):
        Store(path, scanning=True)
    with Store(path, scanning=True), Store(path) as reader:
        assert reader.runs.last() is None


def test_database_in_a_read_only_place_is_refused() -> None:
    with pytest.raises(StoreUnusable, match="cannot be written"):
        Store("/proc/dedup.db", scanning=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"not a database at all, but long enough to be one" * 20, "not a dedup database"), (b"", "no such")],
)
def test_file_that_is_not_a_database_is_refused_and_not_changed(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.db"
    if content:
        path.write_bytes(content)
    with pytest.raises(StoreUnusable, match=says):
        Store(str(path))
    if content:
        with pytest.raises(StoreUnusable, match=says):
            Store(str(path), scanning=True)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE bookmarks (url)"],
        ["CREATE TABLE bookmarks (url)", "PRAGMA user_version = 3"],
        ["CREATE TABLE photo (id)", "CREATE TABLE file (id)", "PRAGMA user_version = 1"],
        ["PRAGMA application_id = 252006674"],
        ["PRAGMA journal_mode = WAL", "CREATE TABLE bookmarks (url)", "PRAGMA user_version = 3"],
    ],
    ids=["tables", "a version like ours", "some tables like ours", "its application id", "WAL"],
)
@pytest.mark.parametrize("how", [{"scanning": True}, {"changing": True}, {}], ids=["scan", "change", "read"])
def test_database_of_another_program_is_named_as_such_and_not_touched(
    tmp_path: Path, statements: list[str], how: dict[str, bool]
) -> None:
    path = tmp_path / "places.sqlite"
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.close()
    before, times = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(StoreUnusable, match="a database of another program"):
        Store(str(path), **how)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, times)
    assert list(tmp_path.iterdir()) == [path]


def test_lock_holds_for_every_link_to_the_database(path: str, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    with Store(path, scanning=True):
        for other in (tmp_path / "link.db", tmp_path / "folder" / "test.db"):
            with pytest.raises(StoreBusy):
                Store(str(other), changing=True)


def test_database_and_its_folders_are_for_their_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(str(tmp_path / "a" / "b" / "test.db"), scanning=True) as store:
            three_photos(store)
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a").rglob("*")}
    finally:
        os.umask(before)
    assert modes == {
        "b": 0o700, "test.db": 0o600, "test.db.lock": 0o600, "test.db-wal": 0o600, "test.db-shm": 0o600
    }  # fmt: skip
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_database_of_a_newer_version_is_refused(path: str) -> None:
    Store(path, scanning=True).__exit__(None, None, None)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnusable, match="newer version"):
        Store(path)


def read_all(path: str, files: list[File]) -> None:
    with Store(path, scanning=True) as store:
        found = store.listing(files, **TERMS)
        found.unknown()
        found.photos()


def test_damaged_database_says_so(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file(f"{n:04}" * 20, inode=n) for n in range(500)]
        found = store.listing(files, **TERMS)
        add(found, *((f, reading(str(n))) for n, f in enumerate(files)))
    data = bytearray(Path(path).read_bytes())
    data[4096:-4096] = bytes(len(data) - 8192)
    Path(path).write_bytes(data)
    with pytest.raises(StoreUnusable, match="damaged"):
        read_all(path, files)


def test_results_of_verification_come_back_for_the_given_photos_in_order(path: str) -> None:
    with Store(path, scanning=True) as store:
        _, ids = three_photos(store)
        share = np.float32([0.25, 0.1])
        transform = np.arange(18.0).reshape(2, 3, 3) / 7
        pairs = (np.array([1, 0]), np.array([2, 2]))
        losses = np.array([Loss.CROPPED, Loss.ADDED | Loss.DETAIL], np.int64), np.array([0, Loss.CONTENT], np.int64)
        plain = np.array([True, False])
        store.pairs.add_verified(
            Verified(*pairs, share, share, share, plain, transform, *losses), ids, weights_name="w"
        )
        got = store.pairs.verified(ids, weights_name="w")
        assert (got.left.tolist(), got.right.tolist()) == ([0, 1], [2, 2])
        assert (got.copy == share[::-1]).all()
        assert (got.transform == transform[::-1]).all()
        assert got.plain.tolist() == [False, True]
        assert got.left_loss.tolist() == losses[0][::-1].tolist()
        assert got.right_loss.tolist() == losses[1][::-1].tolist()
        assert store.pairs.verified(ids[1:], weights_name="w").left.tolist() == [0]
        assert len(store.pairs.verified(ids, weights_name="newer")) == 0
        assert store.pairs.verified(ids[:1], weights_name="w").transform.shape == (0, 3, 3)


def test_pairs_of_an_older_version_are_compared_at_full_resolution_again(path: str) -> None:
    ids, share = np.array([1, 2]), np.float32([0.9])
    with Store(path, scanning=True) as store:
        add(store.listing([file("a"), file("b")], **TERMS), (file("a"), reading("x")), (file("b"), reading("y")))
        nothing, one = np.zeros(1, np.int64), np.array([0])
        verified = Verified(one, one + 1, share, share, share, np.array([False]), np.eye(3)[None], nothing, nothing)
        store.pairs.add_verified(verified, ids, weights_name="w")
    older = next(n for n, some in enumerate(MIGRATIONS) if any("SET left_loss" in statement for statement in some))
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {older}")
    db.close()
    with Store(path, scanning=True) as store:
        got = store.pairs.verified(ids, weights_name="w")
        assert got.left_loss.tolist() == got.right_loss.tolist() == [Loss.UNCOMPARED]


def test_losses_have_the_numbers_that_databases_hold() -> None:
    found = Loss.UNREAD, Loss.ADDED, Loss.CONTENT, Loss.UNCOMPARED, Loss.PART_BLURRED
    assert found == (1 << 0, 1 << 13, 1 << 15, 1 << 22, 1 << 24)


def test_totals_are_kept_until_something_changes_that_they_depend_on(path: str) -> None:
    one, share = np.array([0]), np.float32([0.5])
    scores = Scores(one, one + 1, share, share, share)
    none = np.zeros(1, np.int64)
    verified = Verified(*(one, one + 1, share, share, share), np.array([False]), np.zeros((1, 3, 3)), none, none)
    kept = Decisions(kept=frozenset(["ab" * 32]))
    terms, totals = b"terms", Totals(3, 3, 0, 0, 0, 0, 0, 0, 0, 0)

    def stand(store: Store) -> bool:
        known = store.runs.repeat(terms, started_at=5.0, ended_at=6.0)
        assert known is None or known == (store.runs.last(), totals)
        return known is not None

    with Store(path, scanning=True) as store:
        found, ids = three_photos(store)
        finish(store, found)
        store.runs.save_totals(terms, totals)
        number = store.runs.start_attempt(["/photos"], started_at=4.0)
        store.runs.end_attempt(number, "finished", {}, ended_at=6.0)
        with store.last_listing() as last:
            assert len(last.photos().photos) == 3
        assert stand(store)
        assert store.runs.repeat(b"others", started_at=5.0, ended_at=6.0) is None
        for change in (
            lambda: store.decisions.add(kept),
            lambda: store.decisions.clear(kept.kept),  # type: ignore[arg-type]
            lambda: store.pairs.add_scores(scores, ids, weights_name="w", prefiltered=True),
            lambda: store.pairs.add_verified(verified, ids, weights_name="w"),
            lambda: store.features.add_pixels(int(ids[0]), b"0" * 32),
            lambda: add(found, (file("b", inode=1), reading("y", known=True))),
            lambda: finish(store, found),
            lambda: store.forget("/photos/a"),
        ):
            assert stand(store)
            change()
            assert not stand(store)
            store.runs.save_totals(terms, totals)


def test_decisions_replace_others_in_one_step(path: str) -> None:
    a, b, c = (digit * 64 for digit in "abc")
    with Store(path, scanning=True) as store:
        store.decisions.add(Decisions(frozenset([(a, b), (a, c)]), frozenset([a])))
        store.decisions.add(Decisions(kept=frozenset([b])), instead=Decisions(frozenset([(a, b)]), frozenset([a, c])))
        assert store.decisions.load() == Decisions(frozenset([(a, c)]), frozenset([b]))
        store.decisions.add(NOTHING_DECIDED, instead=store.decisions.load())
        assert store.decisions.load() == NOTHING_DECIDED


def test_neighbours_come_back_for_the_same_settings_and_a_lost_one_is_noticed(path: str) -> None:
    terms = {"weights_name": "w", "k": 2, "min_similarity": 0.2}
    with Store(path, scanning=True) as store:
        _, ids = three_photos(store)
        near = np.int32([[1, -1], [0, 2], [1, -1]])
        store.pairs.replace_neighbours(near, ids, **terms, recall=0.5)
        got, fresh, recall = store.pairs.neighbours(ids, **terms)
        assert (got.tolist(), fresh.tolist(), recall) == (near.tolist(), [], 0.5)
        got, fresh, _ = store.pairs.neighbours(ids[[0, 1]], **terms)  # the third is gone
        assert (got.tolist(), fresh.tolist()) == ([[1, -1], [0, -1]], [1])
        assert store.pairs.neighbours(ids, **{**terms, "weights_name": "newer"})[1].tolist() == [0, 1, 2]


def test_pairs_that_grouping_asked_for_are_not_results_of_the_search(path: str) -> None:
    with Store(path, scanning=True) as store:
        _, ids = three_photos(store)
        share = np.float32([0.25])
        for right, prefiltered in ((1, True), (2, False)):
            pair = Scores(np.array([0]), np.array([right]), share, share, share)
            store.pairs.add_scores(pair, ids, weights_name="w", prefiltered=prefiltered)
        assert store.pairs.scores(ids, weights_name="w", prefiltered=True).right.tolist() == [1]
        assert store.pairs.scores(ids, weights_name="w", prefiltered=False).right.tolist() == [1, 2]
