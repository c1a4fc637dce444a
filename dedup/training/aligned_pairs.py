"""What the residual head learns from: pairs of edited pictures that the pair head takes for copies or nearly, aligned.

Pairs are drawn, scored by the pair head as in a scan, and kept if it is not sure that they are unrelated.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from dedup.geometry import registration
from dedup.geometry.canvas import CANVAS
from dedup.geometry.homography import inverse
from dedup.grouping.selection import top_k_per_photo
from dedup.index import nearest_pairs
from dedup.models.encoder import BATCH, encode, one_thread, unit
from dedup.models.pair_head import COPY, SIMILAR, UNRELATED, pair_logits, transforms
from dedup.models.weights import Weights
from dedup.training.data import Corpus, Groups, squashed
from dedup.training.edits import Version, difference_mask, edited, unedited
from dedup.training.shots import another_shot
from dedup.types.arrays import Columns, Homography
from dedup.types.pairs import Candidates, Scores
from dedup.types.settings import Settings
from dedup.workers import in_threads

SomeColumns = TypeVar("SomeColumns", bound=Columns)

DRAWN = 16  # pairs scored at once
DOUBTFUL = 0.02  # probability of a copy above which pairs are kept
CHANGE_SIDE = 32  # cells on a side of a change map
_KEPT_ANYWAY = 0.03  # of the pairs below it
_MISTAKEN = 0.1  # probability from which unrelated photos are taken as they are
_MOST_OF_GROUP = 8  # pairs of one scene or of versions of one photo
_PART = 512  # pairs on their canvases at once
# Shares of what is drawn: edits of one photo; versions that others made; shots of one scene; edits of a photo and of a
# synthetic other shot of it; near neighbours.
_KINDS = {"copy": 0.36, "version": 0.06, "scene": 0.25, "change": 0.13, "near": 0.2}
_COVERS = 4  # a cell of which a quarter is changed counts as changed


@dataclass(frozen=True)
class AlignedPairs(Columns):
    """P pairs on their canvases.

    first, second: (P, S, S, 3) uint8.   covered: (P, S, S) bool.   evidence: (P, EVIDENCE) float32, of the alignment.
    logits: (P, 3) float32 of the pair head.   similarity: (P,) float32.   classes: (P,) int64.
    changed: (P, CHANGE_SIDE, CHANGE_SIDE) uint8, how far the content of each cell was changed, 255 is all of it.
    change_known: (P,) bool, whether `changed` is known.   kinds: (P,) str, the names of the edits of both, with spaces
    between them; "" if both are as they were found.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    covered: NDArray[np.bool_]
    evidence: NDArray[np.float32]
    logits: NDArray[np.float32]
    similarity: NDArray[np.float32]
    classes: NDArray[np.int64]
    changed: NDArray[np.uint8]
    change_known: NDArray[np.bool_]
    kinds: NDArray[np.str_]


def joined(parts: Sequence[SomeColumns]) -> SomeColumns:
    """Return all parts, of which there is at least one, in one."""
    return parts[0].followed_by(*parts[1:])


def turned(pairs: AlignedPairs, rng: Generator) -> AlignedPairs:
    """Return the pairs with their canvases turned by a random quarter and perhaps mirrored, all alike."""
    quarters, flip = int(rng.integers(4)), -1 if rng.random() < 0.5 else 1
    planes = {name: getattr(pairs, name) for name in ("first", "second", "covered", "changed")}
    return replace(pairs, **{name: np.rot90(x, quarters, (1, 2))[:, :, ::flip] for name, x in planes.items()})


@dataclass(frozen=True)
class NearPairs(Columns):
    """P pairs of unrelated photos that are near neighbours.

    left, right: (P,), numbers in the corpus.   copy: (P,) float32, probability of a copy by the pair head.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    copy: NDArray[np.float32]

    def of_each(self) -> dict[int, list[int]]:
        """Return the photos near each photo."""
        near = defaultdict(list)
        for i, j in zip(self.left.tolist(), self.right.tolist(), strict=True):
            near[i].append(j)
            near[j].append(i)
        return dict(near)


@dataclass(frozen=True)
class DrawnPair:
    """Two versions and how they are related.   change_known: whether their masks say all that differs in content."""

    left: Version
    right: Version
    related: int
    change_known: bool


class Drawer:
    """Item n: those of DRAWN pairs of one split that need verification. Same seed and number, same pairs.

    The first `draws` items are drawn at random; those after them are the pairs of groups, and the unrelated pairs that
    the pair head takes for copies, as they are.
    """

    def __init__(self, corpus: Corpus, split: str, near: NearPairs, weights: Weights, *, draws: int, seed: int) -> None:
        self.corpus, self.weights, self.draws, self.seed, self.neighbours = corpus, weights, draws, seed, near.of_each()
        self.photos = corpus.with_content(split)
        self.scenes = Groups([corpus.scenes[i] for i in self.photos])
        self.copies = Groups([corpus.copies[i] for i in self.photos])
        self.listed = [
            (*(int(self.photos[m]) for m in pair), related)
            for groups, related in ((self.scenes, SIMILAR), (self.copies, COPY))
            for pair in groups.pairs(most=_MOST_OF_GROUP)
        ]
        mistaken = near.rows(near.copy >= _MISTAKEN)
        self.listed += [(i, j, UNRELATED) for i, j in zip(mistaken.left.tolist(), mistaken.right.tolist(), strict=True)]

    def draw(self, rng: Generator) -> DrawnPair:
        """Return two edited pictures."""
        kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
        i = int(rng.choice(self.photos))
        if kind == "scene" and self.scenes:
            drawn = self._of_group(self.scenes, SIMILAR, rng)
        elif kind == "version" and self.copies:
            drawn = self._of_group(self.copies, COPY, rng)
        elif kind == "near" and self.neighbours.get(i):
            other = int(rng.choice(self.neighbours[i]))
            strong = rng.random() < 0.2
            versions = self.corpus.edited(i, rng, strong=False), self.corpus.edited(other, rng, strong=strong)
            drawn = DrawnPair(*versions, UNRELATED, False)
        elif kind == "change":
            strong = rng.random() < 0.2
            shot = changed(self.corpus, i, rng, strong=strong)
            drawn = DrawnPair(self.corpus.edited(i, rng, strong=False), shot, SIMILAR, True)
        else:
            strong = rng.random() < 0.6
            versions = self.corpus.edited(i, rng, strong=False), self.corpus.edited(i, rng, strong=strong)
            drawn = DrawnPair(*versions, COPY, True)
        return drawn if rng.random() < 0.5 else replace(drawn, left=drawn.right, right=drawn.left)

    def _of_group(self, groups: Groups, related: int, rng: Generator) -> DrawnPair:
        """Return two pictures of one group, half of the time as they are."""
        weak = 0 if rng.random() < 0.5 else None
        strong = weak is None and rng.random() < 0.2
        one, other = (int(self.photos[m]) for m in groups.draw(rng))
        versions = (
            self.corpus.edited(one, rng, strong=False, weak=weak),
            self.corpus.edited(other, rng, strong=strong, weak=weak),
        )
        return DrawnPair(*versions, related, False)

    def __len__(self) -> int:
        return self.draws + -(-len(self.listed) // DRAWN)

    def __getitem__(self, number: int) -> AlignedPairs:
        rng = np.random.default_rng((self.seed, number))
        if number < self.draws:
            pairs = [self.draw(rng) for _ in range(DRAWN)]
        else:
            listed = self.listed[(number - self.draws) * DRAWN :][:DRAWN]
            versions = [(unedited(self.corpus.image(i)), unedited(self.corpus.image(j)), c) for i, j, c in listed]
            pairs = [DrawnPair(*version, False) for version in versions]
        pairs = [p for p in pairs if not (_featureless(p.left.image) or _featureless(p.right.image))]
        return judged(pairs, self.weights, keep=rng.random(len(pairs)) < _KEPT_ANYWAY)


def changed(corpus: Corpus, i: int, rng: Generator, *, strong: bool) -> Version:
    """Return an edit of another shot of photo i that shows that it is another one."""
    image = corpus.image(i)
    for _ in range(8):  # edits may crop or blur the change away
        other, seed = another_shot(image, rng), int(rng.integers(2**32))
        start = Version(other, difference_mask(image, other, visible=24))
        one, version = (
            edited(shot, np.random.default_rng(seed), strong=strong, others=corpus.filler)
            for shot in (unedited(image), start)
        )
        if one.image.size == version.image.size:
            grey = (v.image.convert("L") for v in (one, version))
            difference = ImageChops.difference(*grey).filter(ImageFilter.BoxBlur(1))
            if (np.asarray(difference) > 20).mean() > 0.005:
                break
    return version


def judged(pairs: list[DrawnPair], weights: Weights, *, keep: NDArray[np.bool_]) -> AlignedPairs:
    """Return the pairs that the pair head does not take for unrelated, and those to `keep` anyway, aligned."""
    pictures = [squashed(version.image) for pair in pairs for version in (pair.left, pair.right)]
    vectors, maps = encode(weights.encoder, pictures)
    similarity = np.einsum("pd,pd->p", unit(vectors[0::2]), unit(vectors[1::2]))
    logits = pair_logits(weights.head, maps[0::2], maps[1::2], similarity)
    rows = np.flatnonzero((weights.calibration.probabilities(logits)[0] >= DOUBTFUL) | keep)
    guesses = transforms(weights.head, maps[0::2][rows], maps[1::2][rows])
    some = [pairs[row] for row in rows]
    found = []
    for n, pair in enumerate(some):
        a, b = (registration.prepare(np.asarray(version.image)) for version in (pair.left, pair.right))
        found.append(registration.align(a, b, list(guesses[n])))
    masks = [change_map(pair, aligned) for pair, aligned in zip(some, found, strict=True)]
    return replace(
        stacked(found, logits[rows], similarity[rows], np.array([pair.related for pair in some], np.int64)),
        changed=np.array(masks, np.uint8).reshape(-1, CHANGE_SIDE, CHANGE_SIDE),
        change_known=np.array([pair.change_known for pair in some], bool),
        kinds=np.array([" ".join((*pair.left.kinds, *pair.right.kinds)) for pair in some], str),
    )


def change_map(pair: DrawnPair, aligned: registration.Aligned) -> NDArray[np.uint8]:
    """Return (CHANGE_SIDE, CHANGE_SIDE), how far the content of each cell of the canvas was changed in either version.

    What does not lie in both pictures counts as unchanged.
    """
    first, other, there = pair.left.changed, pair.right.changed, aligned.transform
    if aligned.swapped:
        first, other, there = other, first, inverse(there)
    union = ImageChops.lighter(first.resize((CANVAS, CANVAS), Image.Resampling.BOX), _on_canvas(other, there))
    cells = (np.asarray(union, np.float32) * aligned.covered).reshape(
        CHANGE_SIDE, CANVAS // CHANGE_SIDE, CHANGE_SIDE, -1
    )
    return np.asarray(np.minimum(cells.mean((1, 3)) * _COVERS, 255), np.uint8)


def _on_canvas(mask: Image.Image, there: Homography) -> Image.Image:
    """Return a mask drawn on the canvas.   there: from the unit square of the canvas to that of the mask."""
    to_pixels = np.diag([mask.width, mask.height, 1.0]) @ there @ np.diag([1 / CANVAS, 1 / CANVAS, 1.0])
    coefficients = (to_pixels / to_pixels[2, 2]).ravel()[:8]
    return mask.transform((CANVAS, CANVAS), Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BILINEAR)


def encoded(weights: Weights, pictures: Iterable[Image.Image]) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """Return vectors and maps of pictures, few of which are in memory at a time."""
    rest = map(squashed, pictures)
    parts = [encode(weights.encoder, some) for some in iter(lambda: list(islice(rest, 4 * BATCH)), [])]
    vectors, maps = zip(*parts, strict=True)
    return np.concatenate(vectors), np.concatenate(maps)


def near_pairs(corpus: Corpus, split: str, weights: Weights, unsure: set[tuple[int, int]], *, k: int = 12) -> NearPairs:
    """Return the pairs of photos of a split of which one is among the k nearest to the other, if they are unrelated."""
    photos = corpus.with_content(split)
    vectors, maps = encoded(weights, (corpus.image(int(i)) for i in photos))
    found, _ = nearest_pairs(unit(vectors), k=k, min_similarity=Settings().min_similarity)
    logits = pair_logits(weights.head, maps[found.left], maps[found.right], found.similarity)
    left, right = photos[found.left], photos[found.right]
    sure = np.array([pair not in unsure for pair in zip(left.tolist(), right.tolist(), strict=True)], bool)
    pairs = NearPairs(left, right, weights.calibration.probabilities(logits)[0])
    return pairs.rows(sure & (corpus.classes(left, right) == UNRELATED))


def collection(corpus: Corpus, split: str, *, seed: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """Return the pictures of a collection like people's, and the photo (N,) that each is a version of.

    A fifth of the photos have four edited versions; those that others made versions of have these. Plain pictures are
    left out: their versions cannot be told apart.
    """
    pictures, photos = [], []
    for n, i in enumerate(corpus.with_content(split).tolist()):
        rng, image = np.random.default_rng((seed, i)), corpus.image(i)
        edit = n % 5 == 0 and not corpus.copies[i]
        versions = [corpus.edited(i, rng, strong=v % 2 == 1).image for v in range(4)] if edit else []
        kept = [image, *(version for version in versions if not _featureless(version))]
        pictures += kept
        photos += [i] * len(kept)
    return pictures, np.array(photos)


def proposed(
    vectors: NDArray[np.float16], photos: NDArray[np.int64], corpus: Corpus, unsure: set[tuple[int, int]]
) -> tuple[Candidates, NDArray[np.int64]]:
    """Return the pairs of a collection that a scan proposes and whose class is known, and their classes (P,).

    vectors: (N, D).   photos: (N,), which photo each picture is a version of.
    """
    settings = Settings()
    found, _ = nearest_pairs(unit(vectors), k=settings.neighbours, min_similarity=settings.min_similarity)
    i, j = photos[found.left], photos[found.right]
    classes = corpus.classes(i, j)
    low, high = np.minimum(i, j).tolist(), np.maximum(i, j).tolist()
    known = (classes >= 0) & np.array([pair not in unsure for pair in zip(low, high, strict=True)], bool)
    return found.rows(known), classes[known]


def aligned_of(
    pictures: list[Image.Image],
    photos: NDArray[np.int64],
    corpus: Corpus,
    unsure: set[tuple[int, int]],
    weights: Weights,
    needed: Callable[[Scores], NDArray[np.bool_]],
) -> Iterator[AlignedPairs]:
    """Yield the pairs of a collection that a scan proposes and `needed` selects, aligned, some at a time."""
    vectors, maps = encoded(weights, pictures)
    found, classes = proposed(vectors, photos, corpus, unsure)
    logits = pair_logits(weights.head, maps[found.left], maps[found.right], found.similarity)
    copy, similar = weights.calibration.probabilities(logits)
    scores = Scores(found.left, found.right, found.similarity, copy, similar)
    rows = top_k_per_photo(scores, needed(scores))
    found, logits, classes = found.rows(rows), logits[rows], classes[rows]
    guesses = transforms(weights.head, maps[found.left], maps[found.right])
    threads = os.cpu_count() or 1
    prepared = list(in_threads(registration.prepare, map(np.asarray, pictures), begin=one_thread, threads=threads))

    def aligned(pair: tuple[int, int, NDArray[np.float64]]) -> registration.Aligned:
        return registration.align(prepared[pair[0]], prepared[pair[1]], list(pair[2]))

    for start in range(0, len(found), _PART):
        part = slice(start, start + _PART)
        some = found.rows(part)
        pairs = zip(some.left.tolist(), some.right.tolist(), guesses[part], strict=True)
        laid = list(in_threads(aligned, pairs, begin=one_thread, threads=threads))
        yield stacked(laid, logits[part], some.similarity, classes[part])


def stacked(
    aligned: list[registration.Aligned],
    logits: NDArray[np.float32],
    similarity: NDArray[np.float32],
    classes: NDArray[np.int64],
) -> AlignedPairs:
    """Return aligned pairs as columns. What changed in their content is not known."""
    P, S = len(aligned), CANVAS
    return AlignedPairs(
        np.array([one.first for one in aligned], np.uint8).reshape(-1, S, S, 3),
        np.array([one.second for one in aligned], np.uint8).reshape(-1, S, S, 3),
        np.array([one.covered for one in aligned], bool).reshape(-1, S, S),
        np.array([one.evidence for one in aligned], np.float32).reshape(-1, registration.EVIDENCE),
        logits,
        similarity,
        classes,
        np.zeros((P, CHANGE_SIDE, CHANGE_SIDE), np.uint8),
        np.zeros(P, bool),
        np.zeros(P, str),
    )


def _featureless(image: Image.Image) -> bool:
    return float(np.asarray(image.convert("L"), np.float32).std()) < registration.FEATURELESS_CONTRAST
