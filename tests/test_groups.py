from dataclasses import replace

import numpy as np
import pytest

from dedup.errors import BadUsage
from dedup.grouping.groups import group, missing_pairs
from dedup.grouping.members import members
from dedup.grouping.ranking import _RULES, best_files, best_photo, keep_order, keep_reason
from dedup.types.groups import Decisions
from dedup.types.pairs import Loss, Relation, Verdicts
from dedup.types.photo import Exposure, Facts, File, Photo
from dedup.types.settings import KEEP, KEEP_WORDS, Settings

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
    nothing, whole = np.zeros(len(pairs), np.int64), np.ones(len(pairs), np.float32)
    return Verdicts(left, right, copy, copy, 1 - copy, relation.astype(np.int8), nothing, nothing, whole, whole)


def contains(found: Verdicts, *losses: tuple[int, int]) -> Verdicts:
    """Return verdicts with what would be lost of the left and of the right photo of each pair."""
    left, right = np.array(losses, np.int64).T
    return replace(found, left_loss=left, right_loss=right)


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
        "has a capture time": photo("y", size=100, mtime=90, taken_at="2019-01-01T00:00:00"),
        "has a place": photo("y", size=100, mtime=90, gps="yes"),
        "JPEG rather than GIF": photo("y", size=100, mtime=90),
        "900 over 500 bytes": photo("y", size=900, mtime=90),
        "older file": photo("yyy", size=500, mtime=10),
        "shorter path": photo("", size=500, mtime=50),
    }
    for reason, winner in better.items():
        worse = replace(base, format="GIF") if "GIF" in reason else base
        assert keep_reason(winner, worse, SETTINGS) == reason
        assert stars([worse, winner], verdicts((0, 1, COPY))) == [(1, [0])]


def test_screenshot_is_kept_last_whoever_says_that_it_is_one() -> None:
    plain = photo("plain", size=10)
    told = photo("told", size=500, screenshot="yes")
    named = photo("Screenshot_2019", size=500)
    screen = replace(photo("x", size=500, width=1080), height=1920, format="PNG")
    for shot in (told, named, replace(plain, screenshot=True)):
        assert keep_reason(plain, shot, SETTINGS) in ("no screenshot", "same in every respect")
        assert best_photo(plain, SETTINGS) < best_photo(shot, SETTINGS)
    assert keep_reason(replace(screen, camera="Canon"), screen, SETTINGS) == "no screenshot"
    assert keep_reason(replace(screen, format="JPEG", size=10), screen, SETTINGS) == "no screenshot"


def test_order_of_the_words_decides() -> None:
    old, big = photo("old", mtime=1), photo("big", width=200, mtime=2)
    assert keep_reason(big, old, SETTINGS) == "200x100 over 100x100"
    settings = Settings(keep=("oldest", "pixels"))
    (only,) = group([old, big], verdicts((0, 1, COPY)), settings)
    assert (only.keeper, only.duplicates[0].reason) == (0, "older file")
    assert set(KEEP_WORDS) == set(_RULES)


def test_words_that_always_come_first_are_put_before_the_others() -> None:
    assert keep_order(["oldest", "path"]) == ("protected", "preferred", "contains", "original", "oldest", "path")
    assert keep_order(["edited"]) == ("protected", "preferred", "edited", "contains", "original")
    assert keep_order(["preferred", "protected", "pixels", "contains"]) == (
        *("preferred", "protected", "original", "pixels", "contains"),
    )
    assert keep_order(KEEP) == KEEP
    for words in ([], ["pixels", "pixels"], ["size"]):
        with pytest.raises(BadUsage, match="keep takes words of"):
            keep_order(words)


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
    metadata_first = Settings(keep=("metadata",))
    assert keep_reason(more, less, metadata_first) == "has a capture time and a place"


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
    empty = Verdicts(
        none,
        none,
        *(np.empty(0, np.float32) for _ in range(3)),
        np.empty(0, np.int8),
        none,
        none,
        *[np.empty(0, np.float32)] * 2,
    )
    assert group([], empty, SETTINGS) == []
    assert not len(missing_pairs([], empty, SETTINGS))


# --- which photo contains the others


def relations_of(photos: list[Photo], found: Verdicts, settings: Settings = SETTINGS) -> dict[int, tuple[str, str]]:
    """Return the relation of each duplicate of the only group and what would be lost, by photo; the keeper is -1."""
    (only,) = group(photos, found, settings)
    return {-1: (str(only.keeper), "")} | {d.photo: (d.relation.word, d.lost) for d in only.duplicates}


def test_photo_that_contains_the_others_is_kept_whatever_its_size_and_its_metadata() -> None:
    rich = photo("a", width=400, size=9000, camera="Canon", taken_at="2019-01-01T00:00:00")
    photos = [rich, photo("b"), photo("c")]
    found = verdicts((0, 1, COPY), (1, 2, COPY))
    found = contains(found, (0, Loss.CROPPED), (Loss.FRAMES, 0))
    assert relations_of(photos[:2], found.rows(slice(0, 1))) == {-1: ("1", ""), 0: ("copy", "")}
    crop = int(Loss.CROPPED)
    all_pairs = contains(verdicts((0, 1, COPY), (0, 2, COPY), (1, 2, COPY)), (0, crop), (0, crop), (0, crop))
    assert stars(photos, all_pairs) == [(2, [1, 0])]  # nothing is lost of the left one of each pair


def test_unverified_pairs_say_nothing_about_who_contains_whom() -> None:
    unknown = int(Loss.UNVERIFIED)
    found = contains(verdicts((0, 1, COPY), (0, 2, COPY)), (unknown, unknown), (0, 0))
    (only,) = group([photo("a", width=200), photo("b"), photo("c")], found, SETTINGS)
    assert [(d.photo, d.relation.word, d.lost) for d in only.duplicates] == [
        (1, "variant", "not verified"),
        (2, "copy", ""),
    ]


def test_reason_says_what_the_other_one_lacks() -> None:
    found = replace(
        contains(verdicts((0, 1, COPY)), (int(Loss.CROPPED | Loss.COLOUR), 0)), left_inside=np.float32([0.4])
    )
    (only,) = group([photo("a"), photo("b")], found, SETTINGS)
    assert (only.keeper, only.duplicates[0].reason) == (0, "the other one is grey, cropped to 40%")


def test_photo_that_the_keeper_does_not_contain_is_a_variant_and_says_what_would_be_lost() -> None:
    found = contains(verdicts((0, 1, COPY)), (int(Loss.CROPPED), int(Loss.VIDEO)))
    assert relations_of([photo("a", width=200), photo("b")], found) == {
        -1: ("0", ""),
        1: ("variant", "without the video"),
    }
    unsure = group([photo("a", width=200), photo("b")], found, Settings(min_probability=0.99, include_similar=True))
    assert unsure[0].duplicates[0].relation is SIMILAR


def test_identical_pixels_with_a_video_are_a_variant_of_those_without() -> None:
    found = contains(verdicts((0, 1, Relation.IDENTICAL)), (0, int(Loss.VIDEO)))
    photos = [photo("a"), photo("b")]
    assert relations_of(photos, found) == {-1: ("1", ""), 0: ("identical", "")}
    kept = Decisions(kept=frozenset([photos[0].sha256]))
    (only,) = group(photos, found, SETTINGS, kept)
    assert (only.keeper, only.duplicates[0].relation) == (0, Relation.VARIANT)


def test_version_without_borders_is_kept_where_both_show_the_same() -> None:
    bordered = photo("a", width=400, size=9000)
    found = contains(verdicts((0, 1, COPY)), (int(Loss.BORDERS), 0))
    (only,) = group([bordered, photo("b")], found, SETTINGS)
    assert (only.keeper, only.duplicates[0].relation, only.duplicates[0].reason) == (1, COPY, "has no borders")


def test_original_is_kept_before_the_file_that_was_made_of_it() -> None:
    jpeg, png = photo("j", size=100), replace(photo("p", size=900), format="PNG")
    (only,) = group([jpeg, png], verdicts((0, 1, Relation.IDENTICAL)), SETTINGS)
    assert (only.keeper, only.duplicates[0].reason) == (0, "JPEG, of which the PNG was made")
    assert stars([jpeg, png], verdicts((0, 1, COPY))) == [(1, [0])]  # other pixels: the JPEG was made of the PNG
    heic = replace(photo("h", size=50), format="HEIF")
    assert stars([heic, jpeg], verdicts((0, 1, COPY))) == [(0, [1])]


def test_a_lossless_file_of_the_original_is_judged_by_the_traces_of_the_original() -> None:
    photos = [photo("o", size=100), replace(photo("p", size=900), format="PNG"), photo("v", size=500)]
    derived, tone = int(Loss.DERIVED), int(Loss.TONE)
    found = contains(
        verdicts((0, 1, Relation.IDENTICAL), (0, 2, COPY), (1, 2, COPY)), (0, 0), (tone, derived), (derived, tone)
    )
    assert stars(photos, found) == [(0, [1, 2])]


def test_a_photo_that_was_likelier_made_from_another_one_is_not_kept() -> None:
    photos = [photo("a", size=900), photo("b", size=100)]
    found = contains(verdicts((0, 1, COPY)), (int(Loss.FOLLOWS), 0))
    assert stars(photos, found) == [(1, [0])]
    sure = contains(
        verdicts((0, 1, COPY), (0, 2, COPY), (1, 2, COPY)), (0, int(Loss.DERIVED)), (int(Loss.FOLLOWS), 0), (0, 0)
    )
    assert stars([*photos, photo("c", size=50)], sure)[0][0] == 2


def test_of_equal_pixels_the_smaller_file_is_kept_and_of_others_the_less_compressed_one() -> None:
    photos = [photo("a", size=100), photo("b", size=900)]
    assert stars(photos, verdicts((0, 1, Relation.IDENTICAL))) == [(0, [1])]
    assert stars(photos, verdicts((0, 1, COPY))) == [(1, [0])]


def test_evidence_of_an_original_comes_before_pixels() -> None:
    large = photo("large", width=120)
    named = replace(large, files=(File("/photos/IMG-20200101-WA0003.jpg", 1, 0, 0, 1, 9),))
    exposed = replace(photo("y", camera="Canon"), facts=Facts(exposure=Exposure(time=0.01)))
    for winner, loser in (
        (photo("x"), named),
        (replace(photo("x"), accompanied=frozenset(["/photos/x"])), large),
        (exposed, replace(large, camera="Canon")),
        (photo("x"), replace(large, facts=Facts(edited=True))),
        (photo("x", taken_at="2019-01-01T00:00:00"), replace(large, taken_at="2019-01-01T00:00:09")),
    ):
        assert stars([winner, loser], verdicts((0, 1, COPY))) == [(0, [1])]


def test_edited_version_is_kept_if_that_is_asked_for_and_it_is_not_smaller() -> None:
    source, edit = photo("s", camera="Canon"), replace(photo("e", camera="Canon"), facts=Facts(edited=True))
    found = contains(verdicts((0, 1, COPY)), (int(Loss.RECOLOURED), int(Loss.RECOLOURED)))
    edited = Settings(keep=keep_order(["edited", *KEEP]))
    assert stars([source, edit], found) == [(0, [1])]
    assert stars([source, edit], found, edited) == [(1, [0])]
    assert stars([source, replace(edit, width=50)], found, edited) == [(0, [1])]


def test_file_beside_its_raw_is_kept_of_those_with_the_same_bytes() -> None:
    several = replace(photo("a", files=2), accompanied=frozenset(["/photos/copy 1 of a"]))
    assert best_files(several, SETTINGS)[0].path == "/photos/copy 1 of a"


def test_photo_without_a_file_that_counts_is_free_for_another_keeper() -> None:
    """Across folders: a is kept in A, so r in A is no duplicate of it, and is one of s in B."""
    a, r, s = photo("a", width=300), photo("r", width=200), photo("s", width=100)
    settings = Settings(folders="across", roots=("/A", "/B"))

    def at(one: Photo, *paths: str) -> Photo:
        return replace(one, files=tuple(replace(one.files[0], path=path) for path in paths))

    photos = [at(a, "/A/a", "/B/long name"), at(r, "/A/r"), at(s, "/B/s")]
    found = group(photos, verdicts((0, 1, COPY), (0, 2, UNRELATED), (1, 2, COPY)), settings)
    assert [(g.keeper, [d.photo for d in g.duplicates]) for g in found] == [(0, []), (1, [2])]
    assert members(found[0], photos, settings).copies == photos[0].files[1:]
