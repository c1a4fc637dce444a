"""Pairs of photos as columns, from candidates to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag, auto

import numpy as np
from numpy.typing import NDArray

from dedup.types.arrays import Columns, Floats, Indices, Maps


class Relation(IntEnum):
    """How two photos are related, the closest first."""

    EXACT = 0  # same bytes
    IDENTICAL = 1  # other bytes, same decoded pixels
    COPY = 2  # one photograph in two versions; in a group: and the keeper shows everything that this one shows
    VARIANT = 3  # in a group: one photograph, but this one shows or is something that the keeper does not
    SIMILAR = 4  # another shot of the same scene
    UNRELATED = 5
    INCONCLUSIVE = 6  # too little in the pictures to know

    @property
    def word(self) -> str:
        return self.name.lower()


class Loss(IntFlag):
    """What would be lost of one picture if only the other one stayed. Without any, the other one contains it.

    Losses are one-sided: beside the whole picture nothing is lost of a crop, but beside the crop the whole one is
    CROPPED. One global tone curve and recompression are no losses. HARMLESS lists those that do not count.
    Databases hold these numbers, so none may change; 1 << 14 is not used.
    """

    # What the files hold and how they lie on each other: grouping/containment.py finds these.
    UNREAD = auto()  # it is not known what one of the files holds
    UNVERIFIED = auto()  # the files were not compared
    DAMAGED = auto()  # the other one is damaged, and this one is not, or less
    FRAMES = auto()  # frames of an animation, pages of a document
    PICTURES = auto()  # further pictures in the file
    VIDEO = auto()  # the video of a motion photo
    DEPTH = auto()  # a gain map or a depth map
    ALPHA = auto()  # transparency
    BITS = auto()  # more than 8 bits a channel
    COLOUR = auto()  # the other one is grey
    CROPPED = auto()  # the other one shows a part of it
    RESOLUTION = auto()  # the other one has fewer pixels where both show the same
    # What verification measures on the aligned pixels: these come in the columns of Verified.
    DETAIL = auto()  # the other one is a blurred enlargement
    ADDED = auto()  # a caption, a sticker or a mark lies on this one, and not on the other
    CONTENT = 1 << 15  # a part shows something else: other digits, a moved object, what covers it in the other one
    RECOLOURED = auto()  # a part has another colour
    BORDERS = auto()  # what lies outside the other one is no content: plain or blurred borders, bars, letterboxing
    SURROUNDED = auto()  # the other one shows it inside something else: a collage, a screen, a page with a caption
    ENLARGED = auto()  # it has more pixels than the other one, and no more detail
    DERIVED = auto()  # its colours or its sharpness follow from the other one, and not the other way round
    TONE = auto()  # the other one has another tone (brighter, warmer, grey), and was not known to be its source
    UNCOMPARED = auto()  # the pair was verified, but not compared at full resolution yet
    FOLLOWS = auto()  # it was likelier made from the other one than the other way round, but that is not sure
    PART_BLURRED = auto()  # a part of the other one is blurred or pixelated


# A picture of which only these are lost is contained in the other one.
HARMLESS = int(Loss.BORDERS | Loss.ENLARGED | Loss.DERIVED | Loss.FOLLOWS)


@dataclass(frozen=True)
class Gate:
    """A network of one hidden layer over a few figures of a pair: which pairs are worth the next, more expensive stage.

    inner: (F + 1, H), the last row the bias.   outer: (H + 1,), likewise.
    """

    inner: tuple[tuple[float, ...], ...]
    outer: tuple[float, ...]

    def chance(self, figures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability (P,) that the next stage finds a copy. figures: (P, F)."""
        inner, outer = np.array(self.inner), np.array(self.outer)
        hidden = np.maximum(figures @ inner[:-1] + inner[-1], 0)
        chance: NDArray[np.float64] = 1 / (1 + np.exp(-(hidden @ outer[:-1] + outer[-1])))
        return chance


@dataclass(frozen=True)
class Candidates(Columns):
    """P pairs to compare, as columns; left < right, no pair twice.

    left, right: (P,) int64, photo numbers.   similarity: (P,) float32, cosine in [-1, 1].
    """

    left: Indices
    right: Indices
    similarity: Floats

    def __len__(self) -> int:
        return len(self.left)

    def keys(self, photos: int) -> Indices:
        """Return (P,) int64, a number that identifies each pair among all pairs of so many photos."""
        return self.left * photos + self.right


@dataclass(frozen=True)
class Scores(Candidates):
    """Candidates with the pair head's probabilities.

    copy: (P,) float32 in [0, 1], the probability that both are one photograph.
    similar: (P,) float32 in [0, 1], the probability of another shot of the same scene.
    """

    copy: Floats
    similar: Floats


@dataclass(frozen=True)
class Verified(Scores):
    """Pairs that were verified, with the probabilities of the residual head.

    plain: (P,) bool, one of the pictures holds too little to be known by.
    transform: (P, 3, 3) float64, where the left picture lies in the right one, as a Homography.
    left_loss, right_loss: (P,) int64, what the aligned pixels say would be lost of the left picture beside the right
    one, and of the right beside the left, as flags of Loss; 0 where nothing would be. Whoever aligns the pictures sets
    only the flags that Loss lists under verification; grouping/containment.py adds those of crop, resolution and files,
    and leaves CROPPED out where BORDERS is set.
    """

    plain: NDArray[np.bool_]
    transform: NDArray[np.float64]
    left_loss: Indices
    right_loss: Indices


_NONE, _NO_SHARE = np.empty(0, np.int64), np.empty(0, np.float32)
NOTHING_FOUND = Candidates(_NONE, _NONE, _NO_SHARE)
NOTHING_SCORED = Scores(_NONE, _NONE, _NO_SHARE, _NO_SHARE, _NO_SHARE)
NOTHING_VERIFIED = Verified(
    _NONE, _NONE, _NO_SHARE, _NO_SHARE, _NO_SHARE, np.empty(0, bool), np.empty((0, 3, 3)), _NONE, _NONE
)


@dataclass(frozen=True)
class Verdicts(Scores):
    """Candidates with their relation decided.

    relation: (P,) int8, a Relation each; COPY says that both are one photograph, whichever contains the other, and
    VARIANT does not occur.   left_loss, right_loss: (P,) int64, all that would be lost of the left picture if only the
    right one stayed, and of the right if only the left stayed, as flags of Loss.   left_inside, right_inside: (P,)
    float32, the share of each picture that lies in the other, 1 if unknown. These four hold for relations up to COPY.
    """

    relation: NDArray[np.int8]
    left_loss: Indices
    right_loss: Indices
    left_inside: Floats
    right_inside: Floats

    @property
    def left_contained(self) -> NDArray[np.bool_]:
        """(P,), whether the right picture shows everything that the left one shows."""
        return np.asarray((self.relation <= Relation.COPY) & ((self.left_loss & ~HARMLESS) == 0))

    @property
    def right_contained(self) -> NDArray[np.bool_]:
        """(P,), whether the left picture shows everything that the right one shows."""
        return np.asarray((self.relation <= Relation.COPY) & ((self.right_loss & ~HARMLESS) == 0))


@dataclass(frozen=True)
class Explanation:
    """How much two photos differ at each place, and the weight of each place: (H, W) float32; the weights sum to 1."""

    difference: Floats
    weight: Floats


@dataclass(frozen=True)
class Comparison:
    """The verdict on two files, and what it rests on.

    change: what was done to the left photo to make the right one, in words; "" if nothing but size, colour or encoding.
    images: both, upright, (H, W, 3) uint8.   maps: (2, S, C) int8.   seen: of the pair head, by place of its maps.
    canvas: both pictures as they were aligned, (S, S, 3) uint8.   residual: of the residual head, on the canvas.
    contained: which of them shows all of the other, in words; "" if they are not one photograph.
    """

    relation: Relation
    probability: float
    similarity: float
    change: str
    images: list[NDArray[np.uint8]]
    maps: Maps
    seen: Explanation
    canvas: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None
    residual: Explanation | None
    contained: str = ""

    @property
    def words(self) -> str:
        parts = (self.relation.word, f"probability of a copy {self.probability:.4f}", self.change, self.contained)
        return ", ".join(part for part in parts if part)


PhotoPair = tuple[int, int]  # photo numbers: the keeper, and the other one
# pairs -> the explanations of their verdicts, or why there are none; see pipeline/explain.py
Explained = Callable[[Sequence[PhotoPair]], Iterator[Comparison | str]]


@dataclass(frozen=True, slots=True)
class Match:
    """A file of the last scan that matches a file of a query."""

    query: str
    path: str
    relation: Relation
    probability: float
    similarity: float
