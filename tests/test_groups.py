from dataclasses import replace

import numpy as np

from dedup.grouping.groups import group, missing_pairs
from dedup.grouping.ranking import _RULES, best_files, best_photo, keep_reason
from dedup.types.pairs import Relation, Verdicts
from dedup.types.photo import File, Photo
from dedup.types.settings import KEEP, Settings

SETTINGS = Settings()


def photo(name: str, *, width: int = 100, size: int = 1000, files: int = 1, mtime: int = 0, **more: str) -> Photo:
    paths = [f"/photos/{name}" if n == 0 else f"/photos/copy {n} of {name}" for n in range(files)]
    return Photo(
        sha256=name.ljust(64, "0"),
        size=size,
        width=width,
        height=100,
        format="JPEG",
        taken_at=more.get("taken_at"),
        camera=more.get("camera"),
        gps=bool(more.get("gps")),
        screenshot=bool(more.get("screenshot")),
        files=tuple(File(path, size, mtime + n, 0, 1, n) for n, path in enumerate(paths)),
    )


def verdicts(*pairs: tuple[int, int, Relation]) -> Verdicts:
    left, right, relation = (np.array(column) for column in zip(*pairs, strict=True))
    copy = np.where(relation <= Relation.COPY, 0.95, 0.1).astype(np.float32)
    nothing = np.zeros(len(pairs), np.int64)
    return Verdicts(left, right, copy, copy, 1 - copy, relation.astype(np.int8), nothing, nothing)


def stars(photos: list[Photo], found: Verdicts, settings: Settings = SETTINGS) -> list[tuple[int, list[int]]]:
    return [(g.keeper, [d.photo for d in g.duplicates]) for g in group(photos, found, settings)]


COPY, SIMILAR, UNRELATED = Relation.COPY, Relation.SIMILAR, Relation.UNRELATED


def test_chain_is_not_one_group() -> None:
    photos = [photo("a", width=300), photo("b", width=200), photo("c", width=100)]
    found = verdicts((0, 1, COPY), (0, 2, UNRELATED), (1, 2, COPY))
    assert stars(photos, found) == [(0, [1])]


def test_photo_with_most_pixels_is_kept_and_says_so() -> None:
    photos = [photo("a", width=100), photo("b", width=200)]
    (only,) = group(photos, verdicts((0, 1, COPY)), SETTINGS)
    assert (only.keeper, only.duplicates[0].photo) == (1, 0)
    assert only.duplicates[0].reason == "200x100 over 100x100"


def test_every_criterion_decides_where_the_ones_before_it_are_equal() -> None:
    base = photo("x", size=500, mtime=50)
    better = {
        "200x100 over 100x100": photo("y", width=200, size=500, mtime=50),
        "has camera data": photo("y", size=100, mtime=90, camera="Canon"),
        "900 over 500 bytes": photo("y", size=900, mtime=90),
        "has a capture time": photo("y", size=500, mtime=90, taken_at="2019-01-01T00:00:00"),
        "older file": photo("yyy", size=500, mtime=10),
        "shorter path": photo("", size=500, mtime=50),
    }
    for reason, winner in better.items():
        assert keep_reason(winner, base, SETTINGS) == reason
        assert stars([base, winner], verdicts((0, 1, COPY))) == [(1, [0])]


def test_screenshot_is_kept_last_whoever_says_that_it_is_one() -> None:
    plain = photo("plain", size=10)
    told = photo("told", size=500, screenshot="yes")
    named = photo("Screenshot_2019", size=500)
    screen = replace(photo("x", size=500, width=1080), height=1920, format="PNG")
    for shot in (told, named, replace(plain, screenshot=True)):
        assert keep_reason(plain, shot, SETTINGS) in ("no screenshot", "same in every respect")
        assert best_photo(plain, SETTINGS) < best_photo(shot, SETTINGS)
    assert keep_reason(replace(screen, camera="Canon"), screen, SETTINGS) == "has camera data"
    assert keep_reason(replace(screen, format="JPEG", size=10), screen, SETTINGS) == "no screenshot"


def test_order_of_the_words_decides() -> None:
    old, big = photo("old", mtime=1), photo("big", width=200, mtime=2)
    assert keep_reason(big, old, SETTINGS) == "200x100 over 100x100"
    settings = Settings(keep=("oldest", "pixels"))
    (only,) = group([old, big], verdicts((0, 1, COPY)), settings)
    assert (only.keeper, only.duplicates[0].reason) == (0, "older file")
    assert set(KEEP) == set(_RULES)


def test_preferred_folder_is_kept_and_one_to_avoid_is_not() -> None:
    big, small = photo("b/Trip/big.jpg", width=200), photo("a/Album/small.jpg")
    for settings in (
        Settings(prefer=("Album",)),
        Settings(prefer=("/photos/a",)),
        Settings(avoid=("Trip",)),
        Settings(avoid=("*/Trip/*.jpg",)),
    ):
        (only,) = group([big, small], verdicts((0, 1, COPY)), settings)
        assert (only.keeper, only.duplicates[0].reason) == (1, "in a folder preferred over the other")
    assert stars([big, small], verdicts((0, 1, COPY)), Settings(prefer=("Al",))) == [(0, [1])]


def test_richer_metadata_says_what_it_has() -> None:
    more, less = photo("m", taken_at="2019-01-01T00:00:00", gps="yes"), photo("l")
    assert keep_reason(more, less, SETTINGS) == "has a capture time and a place"


def test_best_file_of_a_photo_follows_the_words() -> None:
    several = photo("a", files=3)
    assert best_files(several, SETTINGS)[0].path == "/photos/a"
    assert best_files(several, Settings(avoid=("a",)))[0].path == "/photos/copy 1 of a"


def test_protected_folder_is_kept_before_everything_else() -> None:
    photos = [photo("small.jpg", width=10), photo("big.jpg", width=1000)]
    settings = Settings(protect=("/photos/small.jpg",))
    (only,) = group(photos, verdicts((0, 1, COPY)), settings)
    assert (only.keeper, only.duplicates[0].reason) == (0, "in a protected folder")


def test_protected_folder_is_not_a_prefix_of_other_names() -> None:
    photos = [photo("small.jpg2", width=10), photo("big.jpg", width=1000)]
    assert stars(photos, verdicts((0, 1, COPY)), Settings(protect=("/photos/small.jpg",))) == [(1, [0])]


def test_similar_photos_are_grouped_only_if_asked_for() -> None:
    photos = [photo("a"), photo("b")]
    found = verdicts((0, 1, SIMILAR))
    assert stars(photos, found) == []
    (only,) = group(photos, found, Settings(include_similar=True))
    assert only.duplicates[0].relation == SIMILAR


def test_unsure_copy_is_no_match_and_only_similar_if_that_is_asked_for() -> None:
    photos = [photo("a"), photo("b")]
    found = verdicts((0, 1, COPY))
    sure, unsure = Settings(min_probability=0.9), Settings(min_probability=0.99)
    assert (stars(photos, found, sure), stars(photos, found, unsure)) == ([(0, [1])], [])
    (only,) = group(photos, found, Settings(min_probability=0.99, include_similar=True))
    assert only.duplicates[0].relation == SIMILAR


def test_no_photo_is_in_two_groups() -> None:
    photos = [photo(f"{i}", width=100 + i) for i in range(6)]
    found = verdicts((0, 5, COPY), (0, 4, COPY), (1, 4, COPY), (1, 2, COPY), (4, 5, UNRELATED))
    members = [i for keeper, star in stars(photos, found) for i in (keeper, *star)]
    assert sorted(members) == sorted(set(members))


def test_photo_that_several_files_hold_is_a_group() -> None:
    assert stars([photo("a", files=3), photo("b")], verdicts((0, 1, UNRELATED))) == [(0, [])]


def test_missing_pairs_are_those_of_the_keeper_with_the_rest_of_its_set() -> None:
    photos = [photo("a", width=300), photo("b", width=200), photo("c", width=100), photo("d", width=90)]
    found = verdicts((0, 1, COPY), (1, 2, COPY), (2, 3, COPY), (0, 3, UNRELATED))
    missing = missing_pairs(photos, found, SETTINGS)
    assert list(zip(missing.left.tolist(), missing.right.tolist(), strict=True)) == [(0, 2)]


def test_missing_pairs_come_to_an_end() -> None:
    photos = [photo(f"{i:02}", width=100 + i) for i in range(30)]
    pairs = {(i, i + 1): COPY for i in range(29)}  # one long chain; nobody else matches
    for _ in range(200):
        found = verdicts(*((a, b, r) for (a, b), r in sorted(pairs.items())))
        missing = missing_pairs(photos, found, SETTINGS)
        if not len(missing):
            break
        pairs |= dict.fromkeys(zip(missing.left.tolist(), missing.right.tolist(), strict=True), UNRELATED)
    assert not len(missing)
    assert stars(photos, found) == [(i, [i - 1]) for i in range(1, 30, 2)]


def test_no_photos_and_no_pairs_give_no_groups() -> None:
    none = np.empty(0, np.int64)
    empty = Verdicts(none, none, *(np.empty(0, np.float32) for _ in range(3)), np.empty(0, np.int8), none, none)
    assert group([], empty, SETTINGS) == []
    assert not len(missing_pairs([], empty, SETTINGS))
