import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dedup.errors import StoreBusy, StoreUnusable
from dedup.store.store import _MIGRATIONS, Store
from dedup.types.groups import NOTHING_DECIDED, Decisions
from dedup.types.pairs import Candidates, Loss, Scores, Verified
from dedup.types.photo import Exposure, Facts, File, Picture, Reading, Rejected, Skipped
from dedup.types.report import Run, Totals
from dedup.types.settings import Settings

NOW = 2_000_000_000 * 10**9
OLD = 1_000_000_000 * 10**9
TERMS = {"weights": "w", "reader": "r"}


def file(name: str, *, inode: int = 1, mtime_ns: int = OLD, size: int = 10) -> File:
    return File(f"/photos/{name}", size, mtime_ns, OLD, 1, inode)


def reading(content: str, *, known: bool = False) -> Reading:
    picture = Picture(np.zeros((1, 1, 3), np.uint8), 40, 30, "JPEG", "2019-07-01T12:00:00", "Canon")
    return Reading(content.encode().ljust(32, b"0"), 10, None if known else picture)


def add(store: Store, *found: tuple[File, Reading | Rejected]) -> None:
    n = sum(isinstance(r, Reading) and r.picture is not None for _, r in found)
    vectors = np.arange(n * 4, dtype=np.float16).reshape(n, 4)
    store.add([([f], r) for f, r in found], vectors, vectors.astype(np.int8), started_ns=NOW)


NOTHING = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def finish(store: Store, candidates: Candidates | None = NOTHING) -> None:
    photos = store.photos()
    run = Run(
        1.0,
        2.0,
        ("/photos",),
        Settings(protect=("/p",), keep=("oldest", "path"), prefer=("a",)),
        "w",
        1.0,
        photos.photos.contents(),
    )
    store.finish(run, candidates, photos.ids)


def three_photos(store: Store) -> np.ndarray:
    """Put three photos into the store; return their numbers in the order of their contents."""
    files = [file(n, inode=i) for i, n in enumerate("abc")]
    store.begin(files, **TERMS)
    add(store, *((f, reading(c)) for f, c in zip(files, "zyx", strict=True)))
    return store.photos().ids


def names(files: Sequence[list[File]]) -> list[list[str]]:
    return [[f.path.removeprefix("/photos/") for f in links] for links in files]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "test.db")


def test_unchanged_file_is_not_opened_again(path: str) -> None:
    with Store(path, scanning=True) as store:
        store.begin([file("a", inode=1), file("b", inode=2)], **TERMS)
        assert names(store.unknown()) == [["a"], ["b"]]
        add(store, (file("a", inode=1), reading("x")))
        assert names(store.unknown()) == [["b"]]
    with Store(path, scanning=True) as store:
        store.begin([file("a", inode=1), file("b", inode=2)], **TERMS)
        assert names(store.unknown()) == [["b"]]


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
        store.begin([file("a")], **TERMS)
        add(store, (file("a"), reading("x")))
        store.begin([changed], **TERMS)
        assert names(store.unknown()) == [["a"]]


def test_file_younger_than_the_scan_is_not_remembered_by_its_times(path: str) -> None:
    young = file("a", mtime_ns=NOW - 2 * 10**9)
    with Store(path, scanning=True) as store:
        store.begin([young], **TERMS)
        add(store, (young, reading("x")))
        assert names(store.unknown()) == [["a"]]
        assert len(store.photos().photos) == 1


def test_other_weights_and_other_decoders_open_files_again(path: str) -> None:
    bad = Rejected(Skipped("/photos/b", "cut short"), lasting=True)
    with Store(path, scanning=True) as store:
        files = [file("a", inode=1), file("b", inode=2)]
        store.begin(files, **TERMS)
        add(store, (files[0], reading("x")), (files[1], bad))
        assert names(store.unknown()) == []
        store.begin(files, weights="w", reader="newer")
        assert names(store.unknown()) == [["b"]]
        store.begin(files, weights="newer", reader="r")
        assert names(store.unknown()) == [["a"]]


def test_hard_links_are_one_inode_to_open(path: str) -> None:
    with Store(path, scanning=True) as store:
        store.begin([file("b", inode=7), file("a", inode=7), file("c", inode=8)], **TERMS)
        assert names(store.unknown()) == [["a", "b"], ["c"]]


def test_photo_has_every_file_that_holds_it_and_photos_are_in_order_of_content(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file(n, inode=i) for i, n in enumerate("cab")]
        store.begin(files, **TERMS)
        add(store, (files[0], reading("z")), (files[1], reading("y")), (files[2], reading("z", known=True)))
        photos = store.photos()
        assert [[f.path for f in p.files] for p in photos.photos] == [["/photos/a"], ["/photos/b", "/photos/c"]]
        assert photos.photos[0].camera == "Canon"
        assert store.vectors(photos.ids).tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
        assert store.maps(photos.ids).tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
        assert store.contents()[0].tolist() == photos.ids.tolist()


def test_contents_are_those_of_the_photos_found(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file(n, inode=i) for i, n in enumerate("cab")]
        store.begin(files, **TERMS)
        add(store, (files[0], reading("z")), (files[1], reading("y")), (files[2], reading("x")))
        for found in (files, files[1:], []):
            store.begin(found, **TERMS)
            ids, contents = store.contents()
            assert ids.tolist() == store.photos().ids.tolist()
            assert len(ids) == len(found)
            assert contents == store.photos().photos.contents()


def test_digests_of_a_size_are_those_that_need_no_decoding(path: str) -> None:
    with Store(path, scanning=True) as store:
        store.begin([file("a")], **TERMS)
        add(store, (file("a"), reading("x")))
        assert store.digests_of_size(10) == [reading("x").sha256]
        assert store.digests_of_size(11) == []
        store.begin([file("a")], weights="newer", reader="r")
        assert store.digests_of_size(10) == []


def test_names_that_are_not_utf8_come_back(path: str) -> None:
    odd = file("caf\udce9\n'\"")
    with Store(path, scanning=True) as store:
        store.begin([odd, Skipped("/photos/\udcff", "permission denied")], **TERMS)
        add(store, (odd, reading("x")))
        assert store.photos().photos[0].files == (odd,)
        assert store.skipped() == [Skipped("/photos/\udcff", "permission denied")]


def test_lasting_refusal_is_remembered_and_a_passing_one_is_tried_again(path: str) -> None:
    lasting = Rejected(Skipped("/photos/a", "cut short"), lasting=True)
    passing = Rejected(Skipped("/photos/b", "Permission denied"), lasting=False)
    files = [file("a", inode=1), file("b", inode=2)]
    with Store(path, scanning=True) as store:
        store.begin(files, **TERMS)
        add(store, (files[0], lasting), (files[1], passing))
        assert store.skipped() == [lasting.skipped, passing.skipped]
        finish(store)
        store.begin(files, **TERMS)
        assert names(store.unknown()) == [["b"]]
        store.recollect()
        assert store.skipped() == [lasting.skipped, passing.skipped]


def test_last_run_is_recollected_without_what_it_did_not_find(path: str) -> None:
    with Store(path, scanning=True) as store:
        store.begin([file("a", inode=1), file("b", inode=2)], **TERMS)
        add(store, (file("a", inode=1), reading("x")), (file("b", inode=2), reading("y")))
        finish(store)
        store.begin([file("b", inode=2)], **TERMS)
        finish(store)
    with Store(path) as store:
        store.recollect()
        assert [p.files[0].path for p in store.photos().photos] == ["/photos/b"]
        last = store.last_run()
        assert last is not None
        assert (last.roots, last.settings) == (
            ("/photos",),
            Settings(protect=("/p",), keep=("oldest", "path"), prefer=("a",)),
        )


def test_unknown_keep_rule_in_the_last_run_is_damage(path: str) -> None:
    with Store(path, scanning=True) as store:
        store.begin([file("a")], **TERMS)
        finish(store)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE run SET settings = replace(settings, 'oldest', 'o2dest')")
    db.close()
    with Store(path) as store, pytest.raises(StoreUnusable, match="damaged"):
        store.last_run()


def test_figures_that_cannot_be_read_are_damage(path: str) -> None:
    with Store(path, scanning=True) as store:
        three_photos(store)
        finish(store)
        store.remember(b"terms", Totals(3, 3, 0, 0, 0, 0, 0))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE total SET figures = replace(figures, 'files', 'filed')")
    db.close()
    with Store(path, scanning=True) as store, pytest.raises(StoreUnusable, match="damaged"):
        store.rerun(b"terms", started_at=1.0, ended_at=2.0)


def test_database_of_the_first_version_is_brought_up_and_its_photos_are_read_again_for_their_facts(path: str) -> None:
    db = sqlite3.connect(path)
    for statement in _MIGRATIONS[0]:
        db.execute(statement)
    db.execute("PRAGMA user_version = 1")
    x = b"x".ljust(32, b"0")
    db.execute("INSERT INTO photo VALUES (1, ?, 10, 40, 30, 'JPEG', NULL, NULL, NULL)", (x,))
    db.execute("INSERT INTO descriptor VALUES (1, 'w', x'00', x'00')")
    db.execute("INSERT INTO file VALUES (?, 1, 1, 10, ?, ?, 1, 1, NULL, NULL, 'r', NULL)", (b"/photos/a", OLD, OLD))
    db.commit()
    db.close()
    with Store(path, scanning=True) as store:
        store.begin([file("a")], **TERMS)
        assert names(store.unknown()) == [["a"]]
        assert store.digests_of_size(10) == []
        (only,) = store.photos().photos
        assert (only.gps, only.rating, only.screenshot, only.facts) == (False, None, False, None)


def test_what_a_photo_says_of_itself_comes_back(path: str) -> None:
    read = reading("x")
    assert read.picture is not None
    facts = Facts(frames=6, video="ab", exposure=Exposure(1 / 500, -2.0, iso=100))
    said = replace(read.picture, gps=True, rating=4, screenshot=True, facts=facts)
    with Store(path, scanning=True) as store:
        store.begin([file("a")], **TERMS)
        add(store, (file("a"), replace(read, picture=said)))
        (only,) = store.photos().photos
        assert (only.gps, only.rating, only.screenshot, only.facts) == (True, 4, True, facts)
        assert names(store.unknown()) == []


def test_scores_come_back_for_the_photos_asked_for_in_order(path: str) -> None:
    with Store(path, scanning=True) as store:
        ids = three_photos(store)
        numbers, share = np.array([0, 1]), np.float32([0.25, 0.1])
        store.add_scores(Scores(numbers, np.array([1, 2]), share, share, share), ids, weights="w", prefiltered=True)
        got = store.scores(ids, weights="w", prefiltered=False)
        assert (got.left.tolist(), got.right.tolist()) == ([0, 1], [1, 2])
        assert (got.copy == share).all()
        assert store.scores(ids[1:], weights="w", prefiltered=False).left.tolist() == [0]
        assert len(store.scores(ids, weights="newer", prefiltered=False)) == 0
        finish(store, Candidates(np.array([1]), np.array([2]), share[1:]))
        assert store.candidates(ids).left.tolist() == [1]
        finish(store, None)
        assert store.candidates(ids).left.tolist() == [1]


def test_candidates_are_those_of_the_last_run_whatever_was_marked_before(path: str) -> None:
    with Store(path, scanning=True) as store:
        ids = three_photos(store)
        left, right, share = np.array([0, 0, 1]), np.array([1, 2, 2]), np.float32([0.25, 0.1, 0.5])
        pairs = Scores(left, right, share, share, share)
        store.add_scores(pairs, ids, weights="w", prefiltered=True)
        assert store.scored(ids, weights="w", prefiltered=True).tolist() == pairs.keys(3).tolist()
        for rows in ([0, 1], [1, 2], [0, 1, 2], [], [2], [0]):
            finish(store, pairs.rows(np.array(rows, np.int64)))
            assert store.candidates(ids).keys(3).tolist() == pairs.keys(3)[rows].tolist()
            assert store.candidates(ids[1:]).keys(2).tolist() == ([1] if 2 in rows else [])


def test_forget_removes_a_folder_but_not_its_namesakes(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file("a/1", inode=1), file("ab", inode=2), file("a", inode=3)]
        store.begin(files, **TERMS)
        add(store, *((f, reading(c)) for f, c in zip(files, "xyz", strict=True)))
        assert store.forget("/photos/a") == (2, 2)
        assert store.counts()["photo"] == store.counts()["descriptor"] == 1


def test_nothing_is_kept_of_a_change_that_fails(path: str) -> None:
    with Store(path, scanning=True) as store:
        store.begin([file("a")], **TERMS)
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            store.add(
                [([file("a")], reading("x"))], np.zeros((1, 4), np.float16), np.zeros((0, 4), np.int8), started_ns=NOW
            )
        assert store.counts()["photo"] == 0
        add(store, (file("a"), reading("x")))


def test_second_scan_of_one_database_is_refused(path: str) -> None:
    with Store(path, scanning=True), pytest.raises(StoreBusy, match=r"another run is using this database"):
        Store(path, scanning=True)
    with Store(path, scanning=True), Store(path) as reader:
        assert reader.last_run() is None


def test_database_where_nobody_may_write_is_refused() -> None:
    with pytest.raises(StoreUnusable, match="cannot be written"):
        Store("/proc/dedup.db", scanning=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"not a database at all, but long enough to be one" * 20, "not a dedup database"), (b"", "no such")],
)
def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.db"
    if content:
        path.write_bytes(content)
    with pytest.raises(StoreUnusable, match=says):
        Store(str(path))
    if content:
        with pytest.raises(StoreUnusable, match=says):
            Store(str(path), scanning=True)
        assert path.read_bytes() == content


def test_database_of_another_program_is_refused(path: str) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE bookmarks (url)")
    db.close()
    with pytest.raises(StoreUnusable, match="another program"):
        Store(path, scanning=True)


def test_database_of_a_newer_version_is_refused(path: str) -> None:
    Store(path, scanning=True).__exit__(None, None, None)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnusable, match="newer version"):
        Store(path)


def read_all(path: str, files: list[File]) -> None:
    with Store(path, scanning=True) as store:
        store.begin(files, **TERMS)
        store.unknown()
        store.photos()


def test_damaged_database_says_so(path: str) -> None:
    with Store(path, scanning=True) as store:
        files = [file(f"{n:04}" * 20, inode=n) for n in range(500)]
        store.begin(files, **TERMS)
        add(store, *((f, reading(str(n))) for n, f in enumerate(files)))
    data = bytearray(Path(path).read_bytes())
    data[4096:-4096] = bytes(len(data) - 8192)
    Path(path).write_bytes(data)
    with pytest.raises(StoreUnusable, match="damaged"):
        read_all(path, files)


def test_looks_come_back_for_the_photos_asked_for_in_order(path: str) -> None:
    with Store(path, scanning=True) as store:
        ids = three_photos(store)
        share = np.float32([0.25, 0.1])
        transform = np.arange(18.0).reshape(2, 3, 3) / 7
        pairs = (np.array([1, 0]), np.array([2, 2]))
        losses = np.array([Loss.CROPPED, Loss.ADDED | Loss.DETAIL], np.int64), np.array([0, Loss.COVERED], np.int64)
        plain = np.array([True, False])
        store.add_verified(Verified(*pairs, share, share, share, plain, transform, *losses), ids, weights="w")
        got = store.verified(ids, weights="w")
        assert (got.left.tolist(), got.right.tolist()) == ([0, 1], [2, 2])
        assert (got.copy == share[::-1]).all()
        assert (got.transform == transform[::-1]).all()
        assert got.plain.tolist() == [False, True]
        assert got.left_loss.tolist() == losses[0][::-1].tolist()
        assert got.right_loss.tolist() == losses[1][::-1].tolist()
        assert store.verified(ids[1:], weights="w").left.tolist() == [0]
        assert len(store.verified(ids, weights="newer")) == 0
        assert store.verified(ids[:1], weights="w").transform.shape == (0, 3, 3)


def test_figures_stand_until_something_changes_that_they_depend_on(path: str) -> None:
    one, share = np.array([0]), np.float32([0.5])
    scores = Scores(one, one + 1, share, share, share)
    none = np.zeros(1, np.int64)
    verified = Verified(*(one, one + 1, share, share, share), np.array([False]), np.zeros((1, 3, 3)), none, none)
    kept = Decisions(kept=frozenset(["ab" * 32]))
    terms, totals = b"terms", Totals(3, 3, 0, 0, 0, 0, 0)

    def stand(store: Store) -> bool:
        known = store.rerun(terms, started_at=5.0, ended_at=6.0)
        assert known is None or known == (store.last_run(), totals)
        return known is not None

    with Store(path, scanning=True) as store:
        ids = three_photos(store)
        finish(store)
        store.remember(terms, totals)
        number = store.begun(["/photos"], started_at=4.0)
        store.ended(number, "finished", {}, ended_at=6.0)
        store.recollect()
        assert stand(store)
        assert store.rerun(b"others", started_at=5.0, ended_at=6.0) is None
        for change in (
            lambda: store.decide(kept),
            lambda: store.undecide(kept.kept),  # type: ignore[arg-type]
            lambda: store.add_scores(scores, ids, weights="w", prefiltered=True),
            lambda: store.add_verified(verified, ids, weights="w"),
            lambda: store.add_pixels(int(ids[0]), b"0" * 32),
            lambda: add(store, (file("b", inode=1), reading("y", known=True))),
            lambda: finish(store),
            lambda: store.forget("/photos/a"),
        ):
            assert stand(store)
            change()
            assert not stand(store)
            store.remember(terms, totals)


def test_decisions_take_the_place_of_others_in_one_step(path: str) -> None:
    a, b, c = (digit * 64 for digit in "abc")
    with Store(path, scanning=True) as store:
        store.decide(Decisions(frozenset([(a, b), (a, c)]), frozenset([a])))
        store.decide(Decisions(kept=frozenset([b])), instead=Decisions(frozenset([(a, b)]), frozenset([a, c])))
        assert store.decisions() == Decisions(frozenset([(a, c)]), frozenset([b]))
        store.decide(NOTHING_DECIDED, instead=store.decisions())
        assert store.decisions() == NOTHING_DECIDED


def test_neighbours_come_back_on_the_same_terms_and_a_lost_one_is_noticed(path: str) -> None:
    terms = {"weights": "w", "k": 2, "least": 0.2}
    with Store(path, scanning=True) as store:
        ids = three_photos(store)
        near = np.int32([[1, -1], [0, 2], [1, -1]])
        store.keep_neighbours(near, ids, **terms, recall=0.5)
        got, fresh, recall = store.neighbours(ids, **terms)
        assert (got.tolist(), fresh.tolist(), recall) == (near.tolist(), [], 0.5)
        got, fresh, _ = store.neighbours(ids[[0, 1]], **terms)  # the third is gone
        assert (got.tolist(), fresh.tolist()) == ([[1, -1], [0, -1]], [1])
        assert store.neighbours(ids, **{**terms, "weights": "newer"})[1].tolist() == [0, 1, 2]


def test_what_grouping_asked_about_is_no_answer_to_a_search(path: str) -> None:
    with Store(path, scanning=True) as store:
        ids = three_photos(store)
        share = np.float32([0.25])
        for right, prefiltered in ((1, True), (2, False)):
            pair = Scores(np.array([0]), np.array([right]), share, share, share)
            store.add_scores(pair, ids, weights="w", prefiltered=prefiltered)
        assert store.scores(ids, weights="w", prefiltered=True).right.tolist() == [1]
        assert store.scores(ids, weights="w", prefiltered=False).right.tolist() == [1, 2]
