"""What the second look learns from: pairs of edited pictures that the head takes for copies or nearly, aligned.

Pairs are drawn, judged by the head as a scan would, and kept if the head is not sure that they are unrelated.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from dedup.geometry import registration
from dedup.geometry.canvas import CANVAS
from dedup.grouping.relations import top_k_per_photo
from dedup.index import nearest, nearest_pairs
from dedup.models.encoder import BATCH, encode, one_thread, unit
from dedup.models.pair_head import COPY, SIMILAR, UNRELATED, pair_logits, transforms
from dedup.models.weights import Weights
from dedup.training.data import PLAIN, Corpus, squashed
from dedup.training.edits import another_shot, edited
from dedup.types.pairs import Candidates, Scores
from dedup.types.settings import Settings
from dedup.workers import in_threads

DRAWN = 16  # pairs judged at once
DOUBTFUL = 0.02  # probability of a copy from which the second look learns
_PART = 512  # pairs on their canvases at once


@dataclass(frozen=True)
class AlignedPairs:
    """P pairs on their canvases.

    first, second: (P, S, S, 3) uint8.   covered: (P, S, S) bool.   evidence: (P, EVIDENCE) float32, of the alignment.
    logits: (P, 3) float32 of the head.   similarity: (P,) float32.   classes: (P,) int64.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    covered: NDArray[np.bool_]
    evidence: NDArray[np.float32]
    logits: NDArray[np.float32]
    similarity: NDArray[np.float32]
    classes: NDArray[np.int64]

    def rows(self, rows: NDArray[np.int64] | slice) -> AlignedPairs:
        """Return the pairs of these rows."""
        return AlignedPairs(*(getattr(self, field.name)[rows] for field in fields(self)))


def joined(parts: list[AlignedPairs]) -> AlignedPairs:
    """Return all pairs in one."""
    return AlignedPairs(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(AlignedPairs))
    )


def turned(verified: AlignedPairs, rng: Generator) -> AlignedPairs:
    """Return the pairs with their canvases turned by a random quarter and perhaps mirrored, all alike."""
    quarters, flip = int(rng.integers(4)), -1 if rng.random() < 0.5 else 1
    first, second = (np.rot90(x, quarters, (1, 2))[:, :, ::flip] for x in (verified.first, verified.second))
    return replace(
        verified, first=first, second=second, covered=np.rot90(verified.covered, quarters, (1, 2))[:, :, ::flip]
    )


class Drawer:
    """Item n is what deserves a second look of DRAWN pairs of one split. Same seed and number, same pairs."""

    def __init__(
        self, corpus: Corpus, split: str, neighbours: dict[int, list[int]], weights: Weights, *, draws: int, seed: int
    ) -> None:
        self.corpus, self.weights, self.draws, self.seed, self.neighbours = corpus, weights, draws, seed, neighbours
        photos = corpus.of(split)
        self.photos = photos[np.array(corpus.pools)[photos] != PLAIN]
        of_scene = defaultdict(list)
        for i in self.photos:
            if corpus.scenes[i]:
                of_scene[corpus.scenes[i]].append(int(i))
        self.scenes = [shots for _, shots in sorted(of_scene.items()) if len(shots) > 1]

    def draw(self, rng: Generator) -> tuple[Image.Image, Image.Image, int]:
        """Return two edited pictures and how they are related."""
        kind = rng.choice(["copy", "scene", "change", "near"], p=[0.4, 0.2, 0.15, 0.25])
        i = int(rng.choice(self.photos))
        if kind == "scene" and self.scenes:
            sizes = np.array([len(s) for s in self.scenes]) ** 0.5
            shots = self.scenes[rng.choice(len(self.scenes), p=sizes / sizes.sum())]
            n = int(rng.integers(len(shots)))
            # in the order of their names shots follow each other: the next ones are the hardest
            step = int(rng.integers(1, 4)) if rng.random() < 0.5 else int(rng.integers(1, len(shots)))
            left, right, related = shots[n], shots[(n + step) % len(shots)], SIMILAR
            if left == right:
                right = shots[(n + 1) % len(shots)]
        elif kind == "near" and self.neighbours.get(i):
            left, right, related = i, int(rng.choice(self.neighbours[i])), UNRELATED
        else:
            left, right, related = i, i, COPY
        strong = rng.random() < (0.6 if related == COPY else 0.2)
        a = self.corpus.edited(left, rng, strong=False)
        if kind == "change":
            b, related = changed(self.corpus, right, rng, strong=strong), SIMILAR
        else:
            b = self.corpus.edited(right, rng, strong=strong)
        return (a, b, related) if rng.random() < 0.5 else (b, a, related)

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, number: int) -> AlignedPairs:
        rng = np.random.default_rng((self.seed, number))
        pairs = [self.draw(rng) for _ in range(DRAWN)]
        pairs = [(a, b, c) for a, b, c in pairs if min(_contrast(a), _contrast(b)) >= registration.FEATURELESS_CONTRAST]
        return judged(pairs, self.weights, keep=rng.random(len(pairs)) < 0.03)


def changed(corpus: Corpus, i: int, rng: Generator, *, strong: bool) -> Image.Image:
    """Return an edit of another shot of photo i that shows that it is another one."""
    image = corpus.image(i)
    for _ in range(8):  # edits may crop or blur the change away
        other, seed = another_shot(image, rng), int(rng.integers(2**32))
        one, two = (
            edited(shot, np.random.default_rng(seed), strong=strong, others=corpus.filler) for shot in (image, other)
        )
        if one.size == two.size:
            difference = ImageChops.difference(one.convert("L"), two.convert("L")).filter(ImageFilter.BoxBlur(1))
            if (np.asarray(difference) > 20).mean() > 0.005:
                break
    return two


def judged(
    pairs: list[tuple[Image.Image, Image.Image, int]], weights: Weights, *, keep: NDArray[np.bool_]
) -> AlignedPairs:
    """Return the pairs that the head thinks worth a second look, and those to `keep` anyway, aligned."""
    pictures = [squashed(image) for a, b, _ in pairs for image in (a, b)]
    vectors, maps = encode(weights.encoder, pictures)
    similarity = np.einsum("pd,pd->p", unit(vectors[0::2]), unit(vectors[1::2]))
    logits = pair_logits(weights.head, maps[0::2], maps[1::2], similarity)
    rows = np.flatnonzero((weights.calibration.probabilities(logits)[0] >= DOUBTFUL) | keep)
    guesses = transforms(weights.head, maps[0::2][rows], maps[1::2][rows])
    found = []
    for n, row in enumerate(rows):
        a, b = (registration.prepare(np.asarray(image)) for image in pairs[row][:2])
        found.append(registration.align(a, b, list(guesses[n])))
    return stacked(found, logits[rows], similarity[rows], np.array([pairs[row][2] for row in rows], np.int64))


def encoded(weights: Weights, pictures: Iterable[Image.Image]) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """Return vectors and maps of pictures, few of which are in memory at a time."""
    rest = map(squashed, pictures)
    parts = [encode(weights.encoder, some) for some in iter(lambda: list(islice(rest, 4 * BATCH)), [])]
    vectors, maps = zip(*parts, strict=True)
    return np.concatenate(vectors), np.concatenate(maps)


def neighbours_of(
    corpus: Corpus, split: str, weights: Weights, unsure: set[tuple[int, int]], *, k: int = 12
) -> dict[int, list[int]]:
    """Return the photos nearest to each photo of a split, but for those that may be the same photograph."""
    photos = corpus.of(split)
    photos = photos[np.array(corpus.pools)[photos] != PLAIN]
    vectors, _ = encoded(weights, (corpus.image(int(i)) for i in photos))
    near = defaultdict(list)
    flat = unit(vectors)
    for q, n in zip(*nearest(flat, flat, k=k), strict=True):
        i, j = int(photos[q]), int(photos[n])
        same_scene = corpus.scenes[i] and corpus.scenes[i] == corpus.scenes[j]
        if i != j and not same_scene and (min(i, j), max(i, j)) not in unsure:
            near[i].append(j)
    return dict(near)


def collection(corpus: Corpus, split: str, *, seed: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """Return the pictures of a collection such as people have, a fifth with four edited versions, and their photos.

    Plain pictures are not in it: nobody could tell their versions.
    """
    pictures, photos = [], []
    for n, i in enumerate(i for i in corpus.of(split).tolist() if corpus.pools[i] != PLAIN):
        rng, image = np.random.default_rng((seed, i)), corpus.image(i)
        versions = [corpus.edited(i, rng, strong=v % 2 == 1) for v in range(4)] if n % 5 == 0 else []
        kept = [image, *(version for version in versions if _contrast(version) >= registration.FEATURELESS_CONTRAST)]
        pictures += kept
        photos += [i] * len(kept)
    return pictures, np.array(photos)


def proposed(vectors: NDArray[np.float16], photos: NDArray[np.int64], unsure: set[tuple[int, int]]) -> Candidates:
    """Return the pairs of a collection that a scan proposes, but for those that may be the same photograph.

    vectors: (N, D).   photos: (N,), which photo each picture is a version of.
    """
    settings = Settings()
    found, _ = nearest_pairs(unit(vectors), k=settings.neighbours, min_similarity=settings.min_similarity)
    low, high = np.minimum(photos[found.left], photos[found.right]), np.maximum(photos[found.left], photos[found.right])
    return found.rows(np.array([(int(i), int(j)) not in unsure for i, j in zip(low, high, strict=True)]))


def looks_of(
    pictures: list[Image.Image],
    photos: NDArray[np.int64],
    corpus: Corpus,
    unsure: set[tuple[int, int]],
    weights: Weights,
    worth: Callable[[Scores], NDArray[np.bool_]],
) -> Iterator[AlignedPairs]:
    """Yield the pairs of a collection that a scan proposes and `worth` chooses, aligned, some at a time."""
    vectors, maps = encoded(weights, pictures)
    found = proposed(vectors, photos, unsure)
    logits = pair_logits(weights.head, maps[found.left], maps[found.right], found.similarity)
    copy, similar = weights.calibration.probabilities(logits)
    scores = Scores(found.left, found.right, found.similarity, copy, similar)
    rows = top_k_per_photo(scores, worth(scores))
    found, logits = found.rows(rows), logits[rows]
    guesses = transforms(weights.head, maps[found.left], maps[found.right])
    scenes = np.array(corpus.scenes)[photos]
    of_scene = (scenes[found.left] == scenes[found.right]) & (scenes[found.left] != "")
    classes = np.where(photos[found.left] == photos[found.right], COPY, np.where(of_scene, SIMILAR, UNRELATED))
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
    """Return aligned pairs as columns."""
    S = CANVAS
    return AlignedPairs(
        np.array([one.first for one in aligned], np.uint8).reshape(-1, S, S, 3),
        np.array([one.second for one in aligned], np.uint8).reshape(-1, S, S, 3),
        np.array([one.covered for one in aligned], bool).reshape(-1, S, S),
        np.array([one.evidence for one in aligned], np.float32).reshape(-1, registration.EVIDENCE),
        logits,
        similarity,
        classes,
    )


def _contrast(image: Image.Image) -> float:
    return float(np.asarray(image.convert("L"), np.float32).std())
