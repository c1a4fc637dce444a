"""Pairs of photos -> what the networks say of them: prefilter, pair head, geometric gate, alignment, residual head.

The one judge of the local scan, of queries and of cluster tasks. It knows no store: maps are asked for by photo
number, files are read by workers, and whoever calls it stores what it yields.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dedup.geometry.registration import Aligned, NotAligned
from dedup.grouping import selection
from dedup.models import encoder, pair_head, residual_head
from dedup.models.weights import Weights
from dedup.pipeline.pairs import Pair, PairBatch, read_aligned, read_losses
from dedup.types.arrays import Floats, Indices, Maps
from dedup.types.pairs import Candidates, Loss, Scores, Verified
from dedup.types.photo import Photo
from dedup.workers import Failure, Runtime, in_threads

MapsOf = Callable[[Indices], Maps]  # photo numbers (M,) -> their maps (M, S, C)

_IN_MEMORY = 32 * pair_head.BATCH  # pairs whose maps are in memory at once
_ALIGN_BATCH = 24  # pairs aligned by one worker at a time, and yielded together
_ALIGN_LIMIT_S = 600.0  # for so many
_COMPARE_LIMIT_S = 120.0  # a pair at full resolution
NOT_ALIGNED_COPY = 0.04  # highest probability of a copy for a pair that the geometric gate rejects

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Batch:
    """The results of some pairs.

    tried: how many there were; those not in `verified` could not be verified. aligned: the pictures of each row of
    `verified`.
    """

    tried: int
    verified: Verified
    aligned: list[Aligned | NotAligned]


def score(pairs: Candidates, maps: MapsOf, weights: Weights) -> Scores:
    """Return the scores of the pair head, in the order of the pairs."""
    return pair_head.score_pairs(pairs, maps, weights.head, weights.calibration, device=weights.device)


def score_related(
    pairs: Candidates, maps: MapsOf, weights: Weights, *, collection: int, thorough: bool = False
) -> Scores:
    """Return the scores of those pairs that are not clearly unrelated: by the prefilter, and by half of the pair head.

    collection: the number of photos among which the pairs were found.   thorough: do without the latter.
    """
    return pair_head.score_pairs(
        pairs, maps, weights.head, weights.calibration, prefilter=weights.prefilter,
        least=selection.least_related_odds(collection, thorough=thorough), device=weights.device,
    )  # fmt: skip


def verify(
    scores: Scores,
    photos: Sequence[Photo],
    maps: MapsOf,
    weights: Weights,
    runtime: Runtime,
    *,
    collection: int,
    thorough: bool = False,
    quick: bool = False,
) -> Iterator[Batch]:
    """Yield the results of the pairs whose files could be read, batch by batch.

    A pair that fails is tried once more, alone and in a new process: a crash costs all pairs that a worker was given.
    collection: the number of photos that were compared.   thorough: do without the geometric gate.   quick: have it
    judge by thumbnails first.

    The photo with the smaller SHA-256 is drawn onto the other, whichever of them is the left one: the result is the
    same in a scan, where that is always the left one, and in a query.
    """
    logits = np.zeros((len(scores), 3), np.float32)
    flipped = np.zeros(len(scores), bool)
    gate = None if thorough else weights.geometric_gate
    least = selection.least_chance(collection, small=selection.LEAST_GEOMETRIC_CHANCE)

    def tasks() -> Iterator[PairBatch]:
        order = depth_first_order(scores)
        for start in range(0, len(order), _IN_MEMORY):
            rows = order[start : start + _IN_MEMORY]
            some = scores.rows(rows)
            digests = ((photos[i].sha256 for i in side.tolist()) for side in (some.left, some.right))
            flip = np.array([a > b for a, b in zip(*digests, strict=True)], bool)
            first, second = np.where(flip, some.right, some.left), np.where(flip, some.left, some.right)
            one, other = maps(first), maps(second)
            flipped[rows] = flip
            logits[rows] = pair_head.pair_logits(weights.head, one, other, some.similarity, device=weights.device)
            guesses = pair_head.transforms(weights.head, one, other, device=weights.device)
            figures = selection.figures(some.copy, some.similar, some.similarity)
            columns = zip(rows.tolist(), first.tolist(), second.tolist(), guesses, figures.tolist(), strict=True)
            pairs = [
                Pair(row, photos[a].source, photos[b].source, tuple(guess), tuple(known), runtime.preview_folder)
                for row, a, b, guess, known in columns
            ]
            parts = [
                PairBatch(tuple(pairs[n : n + _ALIGN_BATCH]), gate, least, quick)
                for n in range(0, len(pairs), _ALIGN_BATCH)
            ]
            yield from deal_round_robin(parts, runtime.workers)

    def judged(answer: tuple[PairBatch, list[Aligned | NotAligned | None] | Failure]) -> tuple[Batch, list[Pair]]:
        task, result = answer[0].pairs, answer[1]
        found = [None] * len(task) if isinstance(result, Failure) else result
        read = [(pair.number, pictures) for pair, pictures in zip(task, found, strict=True) if pictures is not None]
        rows, aligned = np.array([row for row, _ in read], np.int64), [pictures for _, pictures in read]
        verified = _flipped(judge_aligned(aligned, scores.rows(rows), logits[rows], weights), flipped[rows])
        failed = [pair for pair, pictures in zip(task, found, strict=True) if pictures is None]
        return Batch(len(task), verified, aligned), failed

    again: list[PairBatch] = []
    answers = runtime.run(read_aligned, tasks(), limit_s=_ALIGN_LIMIT_S)
    for batch, failed in in_threads(judged, answers, begin=encoder.one_thread, threads=1):
        again += [PairBatch((pair,), gate, least, quick) for pair in failed]
        yield replace(batch, tried=batch.tried - len(failed))
    answers = runtime.run_again(read_aligned, again, limit_s=_ALIGN_LIMIT_S)
    for batch, _ in in_threads(judged, answers, begin=encoder.one_thread, threads=1):
        yield batch


def _flipped(verified: Verified, back: NDArray[np.bool_]) -> Verified:
    """Return the results with left and right exchanged in these rows (P,) of all that has a direction."""
    transform = verified.transform.copy()
    transform[back] = np.linalg.inv(transform[back])
    left, right = verified.left_loss, verified.right_loss
    losses = {"left_loss": np.where(back, right, left), "right_loss": np.where(back, left, right)}
    return replace(verified, transform=transform, **losses)


def judge_aligned(pairs: Sequence[Aligned | NotAligned], scores: Scores, logits: Floats, weights: Weights) -> Verified:
    """Return the results of P pairs that were read, given the pair head's scores and logits (P, 3).

    The residual head judges those that are aligned. Those that the geometric gate rejected have a probability of a copy
    of at most NOT_ALIGNED_COPY, and are as similar as the pair head says.
    """
    laid = [(row, one) for row, one in enumerate(pairs) if isinstance(one, Aligned)]
    rows, aligned = np.array([row for row, _ in laid], np.int64), [one for _, one in laid]
    judged = residual_head.residual_logits(
        weights.residual_head, aligned, logits[rows], scores.similarity[rows], device=weights.device
    )
    copy, similar = np.minimum(scores.copy, np.float32(NOT_ALIGNED_COPY)), scores.similar.copy()
    copy[rows], similar[rows] = weights.residual_calibration.probabilities(judged)
    plain = np.zeros(len(pairs), bool)
    plain[rows] = [one.plain for one in aligned]
    transform = np.array([one.transform for one in pairs], np.float64).reshape(-1, 3, 3)
    loss = np.full(len(pairs), int(Loss.UNCOMPARED), np.int64)
    return Verified(scores.left, scores.right, scores.similarity, copy, similar, plain, transform, loss, loss)


def compare(pairs: Verified, photos: Sequence[Photo], runtime: Runtime) -> Verified:
    """Return verified pairs with what a comparison at full resolution finds to be lost of each picture.

    A pair whose files cannot be read counts as not verified.
    """
    columns = zip(pairs.left.tolist(), pairs.right.tolist(), pairs.transform, strict=True)
    tasks = [Pair(n, photos[a].source, photos[b].source, (h,)) for n, (a, b, h) in enumerate(columns)]
    losses = np.full((len(tasks), 2), int(Loss.UNVERIFIED), np.int64)
    for done, (pair, result) in enumerate(runtime.run(read_losses, tasks, limit_s=_COMPARE_LIMIT_S), 1):
        if isinstance(result, tuple):
            losses[pair.number] = result
        runtime.progress("comparing pixels", done, len(tasks))
    return replace(pairs, left_loss=losses[:, 0], right_loss=losses[:, 1])


def depth_first_order(scores: Scores) -> Indices:
    """Return the rows of pairs in an order in which the pairs of one photo are near each other (depth first)."""
    beside: dict[int, list[int]] = defaultdict(list)
    likeliest = np.argsort(scores.copy, kind="stable")  # last: what is pushed last is visited first
    for a, b in zip(scores.left[likeliest].tolist(), scores.right[likeliest].tolist(), strict=True):
        beside[a].append(b)
        beside[b].append(a)
    place: dict[int, int] = {}
    stack = sorted(beside, reverse=True)
    while stack:
        photo = stack.pop()
        if photo not in place:
            place[photo] = len(place)
            stack.extend(beside[photo])
    left, right = (np.array([place[i] for i in side.tolist()], np.int64) for side in (scores.left, scores.right))
    return np.lexsort((np.maximum(left, right), np.minimum(left, right)))


def deal_round_robin(tasks: Sequence[Thing], workers: int) -> list[Thing]:
    """Return the tasks in an order that, dealt out in turn, gives each worker neighbours, which share pictures."""
    share = -(-len(tasks) // workers)
    return [tasks[n] for row in range(share) for n in range(row, len(tasks), share)]
