"""The values that pass between stages. Plain data: no I/O, no torch, no SQL.

Terms, one each:
  file        a path as stat() saw it
  photo       one sequence of bytes that decodes to a picture, however many files hold it
  descriptor  what the encoder keeps of a photo: a global vector and a spatial map
  candidate   two photos whose vectors are near each other
  score       what the pairwise head says of a candidate
  verdict     a candidate whose relation is decided
  match       a verdict sure enough to be reported, and of a relation that is asked for
  group       one photo to keep (the keeper) and those that match it (the duplicates)

Symbols in shape comments, everywhere in this package:
  N photos   D dimensions of a vector   K neighbours asked for   P pairs
  B batch    C, H, W  channels, height, width   S places of a map (H * W)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

SIDE = 160  # pixels; every photo is squashed to SIDE x SIDE for the encoder

Vectors = NDArray[np.float32]
Maps = NDArray[np.int8]
Indices = NDArray[np.int64]
Neighbours = NDArray[np.int32]  # (N, K), the photos nearest to each, the nearest first; -1 where there are fewer
Homography = NDArray[np.float64]  # (3, 3), from the unit square of one picture to that of another
Floats = NDArray[np.float32]


class Relation(IntEnum):
    """How two photos are related, the closest first."""

    EXACT = 0  # same bytes
    IDENTICAL = 1  # other bytes, same decoded pixels
    COPY = 2  # one photograph in two versions
    SIMILAR = 3  # another shot of the same scene
    UNRELATED = 4
    UNDECIDED = 5  # too little in the pictures to know

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class File:
    """A file as stat() saw it, before anyone opened it.

    The path is absolute, with undecodable bytes as surrogate escapes (os.fsdecode).
    """

    path: str
    size: int  # bytes
    mtime_ns: int  # nanoseconds since the epoch
    ctime_ns: int  # moves even when somebody puts the mtime back
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file left out, and why. Every file found ends in one Photo or one Skipped."""

    path: str
    reason: str
    picture: bool = True  # False: plainly something else (a video, a text); not a failure


@dataclass(frozen=True, slots=True)
class Picture:
    """What decoding one photo gives.

    pixels: (side, side, 3) uint8, sRGB, upright, squashed to a square.
    width, height: of the upright picture in the file, in pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str  # Pillow's word: JPEG, PNG, HEIF, ...
    taken_at: str | None  # ISO 8601, local time of the camera
    camera: str | None  # make and model
    gps: bool = False  # says where it was taken
    rating: int | None = None  # 1 to 5 stars
    screenshot: bool = False  # says that it is one
    proof: bytes | None = None  # a JPEG of some 500 pixels, of a picture that is dear to decode


@dataclass(frozen=True, slots=True)
class Photo:
    """One sequence of bytes that decodes to a picture, and every file that holds it."""

    sha256: str  # of the bytes, 64 hex digits
    size: int  # bytes
    width: int  # pixels, upright
    height: int
    format: str
    taken_at: str | None
    camera: str | None
    files: tuple[File, ...]  # one or more, in the order of their paths; two or more are exact copies
    gps: bool = False
    rating: int | None = None
    screenshot: bool = False


@dataclass(frozen=True)
class Line:
    """A network of one hidden layer over a few figures of a pair: which pairs are worth the next, dearer question.

    inner: (F + 1, H), the last row the bias.   outer: (H + 1,), likewise.
    """

    inner: tuple[tuple[float, ...], ...]
    outer: tuple[float, ...]

    def chance(self, figures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (P,) in [0, 1], how likely it is that the next question finds a copy, by figures (P, F)."""
        inner, outer = np.array(self.inner), np.array(self.outer)
        hidden = np.maximum(figures @ inner[:-1] + inner[-1], 0)
        chance: NDArray[np.float64] = 1 / (1 + np.exp(-(hidden @ outer[:-1] + outer[-1])))
        return chance


@dataclass(frozen=True)
class Candidates:
    """P pairs worth a look, as columns; left < right, no pair twice.

    left, right: (P,) int64, photo numbers.   similarity: (P,) float32, cosine in [-1, 1].
    """

    left: Indices
    right: Indices
    similarity: Floats

    def __len__(self) -> int:
        return len(self.left)

    def rows(self, rows: NDArray[np.generic] | slice) -> Self:
        """Return the pairs of these rows, given as numbers, a mask or a slice."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def followed_by(self, *parts: Self) -> Self:
        """Return these pairs and those of the parts, one after the other."""
        every = (self, *parts)
        columns = {f.name: np.concatenate([getattr(part, f.name) for part in every]) for f in fields(self)}
        return replace(self, **columns)

    def keys(self, photos: int) -> Indices:
        """Return (P,) int64, a number for each pair that no other pair of so many photos has."""
        return self.left * photos + self.right


@dataclass(frozen=True)
class Scores(Candidates):
    """What the pairwise head says of candidates.

    copy: (P,) float32 in [0, 1], the probability that both are one photograph.
    similar: (P,) float32 in [0, 1], the probability of another shot of the same scene.
    """

    copy: Floats
    similar: Floats


@dataclass(frozen=True)
class Looks(Scores):
    """What the second look says of pairs that deserved one.

    plain: (P,) bool, one of the pictures holds too little to be known by.
    transform: (P, 3, 3) float64, where the left picture lies in the right one, as a Homography.
    """

    plain: NDArray[np.bool_]
    transform: NDArray[np.float64]


_NONE, _NO_SHARE = np.empty(0, np.int64), np.empty(0, np.float32)
NOTHING_FOUND = Candidates(_NONE, _NONE, _NO_SHARE)
NOTHING_SCORED = Scores(_NONE, _NONE, _NO_SHARE, _NO_SHARE, _NO_SHARE)
NOTHING_SEEN = Looks(_NONE, _NONE, _NO_SHARE, _NO_SHARE, _NO_SHARE, np.empty(0, bool), np.empty((0, 3, 3)))


@dataclass(frozen=True)
class Verdicts(Scores):
    """Candidates with their relation decided.

    relation: (P,) int8, a Relation each.
    """

    relation: NDArray[np.int8]


@dataclass(frozen=True)
class Explanation:
    """How much two photos differ at each place, and how much each place counted: (H, W) float32, weights together 1."""

    difference: Floats
    weight: Floats


@dataclass(frozen=True)
class Comparison:
    """The verdict on two files, and what it rests on.

    change: what was done to the left photo to make the right one, in words; "" if nothing but size, colour or encoding.
    images: both, upright, (H, W, 3) uint8.   maps: (2, S, C) int8.   seen: what the head saw, by place of its maps.
    canvas: both pictures on the canvas of the second look, (S, S, 3) uint8.   seen_twice: what that saw.
    """

    relation: Relation
    probability: float
    similarity: float
    change: str
    images: list[NDArray[np.uint8]]
    maps: Maps
    seen: Explanation
    canvas: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None
    seen_twice: Explanation | None

    @property
    def words(self) -> str:
        said = (self.relation.word, f"probability of a copy {self.probability:.4f}", self.change)
        return ", ".join(word for word in said if word)


Couple = tuple[int, int]  # photo numbers: who is kept, and the other
Explained = Callable[[Sequence[Couple]], Iterator[Comparison | str]]  # pairs -> what their verdicts rest on; see why.py


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One photo of a group besides the keeper. All figures are those of the pair (keeper, duplicate)."""

    photo: int
    relation: Relation
    probability: float  # that both are one photograph
    similarity: float  # cosine
    reason: str  # why the other one is kept


@dataclass(frozen=True, slots=True)
class Group:
    """One photo to keep, and the photos that match it.

    A star, not a connected component: each duplicate was compared with the keeper itself,
    because an action may remove the duplicate and leave only the keeper.
    """

    keeper: int
    duplicates: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a scan found, counted."""

    files: int
    photos: int  # files that are one
    groups: int
    duplicates: int  # files of groups besides those to keep
    bytes: int  # of the duplicates
    skipped: int  # files that should have been photos
    other: int  # files that are plainly something else


@dataclass(frozen=True, slots=True)
class Match:
    """A file of the last scan that matches a file somebody asked about."""

    query: str
    path: str
    relation: Relation
    probability: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the user decided of photos, by their SHA-256, so that it outlives any name.

    apart: pairs that are no duplicates, the smaller digest first. kept: photos that are to be kept.
    """

    apart: frozenset[tuple[str, str]] = frozenset()
    kept: frozenset[str] = frozenset()


NOTHING_DECIDED = Decisions()


@dataclass(frozen=True, slots=True)
class Part:
    """One file that a step takes away, and the file that stays in its place."""

    file: File
    sha256: str  # empty where no scan has read it: a sidecar, a film
    spare: File | None  # None for a sidecar, which goes with its photo
    spare_sha256: str


@dataclass(frozen=True, slots=True)
class Step:
    """One photo that a plan takes away, with the files that belong to it."""

    parts: tuple[Part, ...]  # the photo first
    root: str  # the scanned folder it lies in
    relation: Relation
    probability: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stay:
    """One file that a plan leaves where it is, and why."""

    path: str
    keeper: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...]
    stays: tuple[Stay, ...]


# What decides who is kept, the first word first; group.py knows each of them.
KEEP = ("protected", "preferred", "pixels", "original", "bytes", "metadata", "oldest", "path")


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the result, besides the photos and the weights. Written into every report."""

    neighbours: int = 40  # K: candidates a photo
    min_similarity: float = 0.2  # cosine below which a pair is no candidate
    min_probability: float = 0.9  # of a copy, for it to be reported: 18 in 1,000 were wrong where it was fitted
    include_similar: bool = False  # report other shots of a scene too
    confirm: bool = True  # look at the files again before a pair is called a copy
    protect: tuple[str, ...] = ()  # absolute folders whose photos are kept first and never removed
    keep: tuple[str, ...] = KEEP  # what decides who is kept
    prefer: tuple[str, ...] = ()  # globs of files and folders to keep rather than others
    avoid: tuple[str, ...] = ()  # globs of files and folders to keep only if there is nothing else
