"""Cards: what the report and the review show of a group."""

from dataclasses import replace

import numpy as np
import pytest

from dedup.geometry.edits import describe_edits
from dedup.languages.language import ENGLISH
from dedup.report.cards import cards, changes, table
from dedup.types.groups import Decisions, Duplicate, Group
from dedup.types.pairs import NOTHING_VERIFIED, Relation, Verified
from dedup.types.photo import File, Photo
from dedup.types.settings import Settings


def photo(digest: str, *paths: str, width: int = 1200, height: int = 800, size: int = 1000) -> Photo:
    files = tuple(File(path, size, n * 10**9, 0, 1, 10 * ord(digest) + n) for n, path in enumerate(paths))
    return Photo(digest * 64, size, width, height, "JPEG", "2019-07-01T12:00:00", "Lumen X2", files)


KEPT = photo("a", "/p/kept.jpg", "/p/other/same.jpg")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (photo("b", "/b", width=600, height=400), ("50% of the width and height",)),
        (photo("b", "/b", width=800, height=1200), ("rotated 90°",)),
        (photo("b", "/b", width=400, height=600), ("rotated 90°, 50% of the size",)),
        (photo("b", "/b", width=1000), ("other proportions: cropped, framed or stretched",)),
        (photo("b", "/b", width=601, height=400), ("50% of the width and height",)),
        (photo("b", "/b", size=250), ("75% fewer bytes",)),
        (photo("b", "/b", size=2500), ("2.5 times the bytes",)),
        (photo("b", "/b", size=1001), ("same size and format",)),
        (replace(photo("b", "/b"), format="PNG"), ("PNG instead of JPEG",)),
        (replace(photo("b", "/b"), camera=None, taken_at=None), ("no capture time", "no camera name")),
        (replace(photo("b", "/b"), rating=4, gps=True), ("has a location", "has a rating")),
        (replace(photo("b", "/b"), taken_at="2019-07-01T12:00:01"), ("other capture time",)),
    ],
)
def test_differences_are_in_words(other: Photo, words: tuple[str, ...]) -> None:
    assert changes(KEPT, other, Relation.COPY) == words


def test_card_holds_every_file_and_the_bytes_of_the_duplicates() -> None:
    small = photo("b", "/a/small.jpg", width=600, height=400, size=300)
    group = Group(0, (Duplicate(1, Relation.COPY, 0.97, 0.8, "1200x800 over 600x400"),))
    (card,) = cards([group], [KEPT, small], Settings())
    assert card.paths == ["/p/kept.jpg", "/p/other/same.jpg", "/a/small.jpg"]
    assert (card.bytes, card.relation, card.probability) == (1300, Relation.COPY, 0.97)


def test_card_promises_no_bytes_of_hard_links_and_protected_files() -> None:
    kept, small = photo("a", "/p/linked.jpg", "/safe/a.jpg", "/safe/b.jpg"), photo("b", "/b/1.jpg", "/b/2.jpg")
    linked = (replace(kept.files[0], inode=kept.files[1].inode), *kept.files[1:])
    twice = tuple(replace(f, inode=77) for f in small.files)
    photos = [replace(kept, files=linked), replace(small, files=twice)]
    group = Group(0, (Duplicate(1, Relation.COPY, 0.97, 0.8, ""),))
    (card,) = cards([group], photos, Settings(protect=("/safe",)))
    assert card.bytes == small.size
    (card,) = cards([group], photos, Settings(protect=("/safe",)), decisions=Decisions(kept=frozenset([small.sha256])))
    assert card.bytes == 0


@pytest.mark.parametrize(("keeper", "duplicate"), [(0, 1), (1, 0)])
def test_edit_is_described_from_keeper_to_duplicate(keeper: int, duplicate: int) -> None:
    photos = [photo("a", "/a.jpg"), photo("b", "/b.jpg")]
    inside = np.array([[0.5, 0, 0.25], [0, 0.5, 0.25], [0, 0, 1]])  # where the smaller part lies in the whole
    there = inside if duplicate == 0 else np.linalg.inv(inside)  # from photo 0 to photo 1
    share = np.ones(1, np.float32)
    none = np.zeros(1, np.int64)
    verified = Verified(np.array([0]), np.array([1]), share, share, share, np.zeros(1, bool), there[None], none, none)
    words = "cropped to 25-75 % of the width, 25-75 % of the height"
    assert describe_edits(photos, verified)(keeper, duplicate) == words
    assert describe_edits(photos, verified)(duplicate, keeper) == "placed inside a larger picture"
    assert describe_edits(photos, NOTHING_VERIFIED)(keeper, duplicate) == ""


def test_table_marks_better_values_only_where_they_differ() -> None:
    small = replace(photo("b", "/a/small\n.jpg", width=600, height=400), camera=None)
    group = Group(0, (Duplicate(1, Relation.COPY, 0.97, 0.8, ""),))
    (card,) = cards([group], [KEPT, small], Settings())
    rows = {row.title: row for row in table(card.shots, ENGLISH)}
    assert rows["Pixels"].best == {0}
    assert rows["Camera"].best == {0}
    assert rows["Bytes"].best == frozenset()
    assert rows["Name"].values == ("kept.jpg", "small\\n.jpg")


def test_values_that_read_the_same_have_no_better_one() -> None:
    other = replace(photo("b", "/p/kept.jpg", size=1004), width=1201, height=800)
    group = Group(0, (Duplicate(1, Relation.COPY, 0.97, 0.8, ""),))
    (card,) = cards([group], [KEPT, other], Settings())
    rows = {row.title: row for row in table(card.shots, ENGLISH)}
    assert rows["Bytes"].values == ("1.0 KB", "1.0 KB")
    assert rows["Bytes"].best == rows["Modified"].best == frozenset()
    assert rows["Pixels"].best == {1}
