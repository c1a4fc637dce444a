"""The whole method, in the order it runs: list, read, encode, search, score, verify, relate, group.

What the store knows is not done again: files are known by their times, photos by content, pairs by both contents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from dedup.files.spellings import as_scanned, spelled_globs
from dedup.files.walk import walk
from dedup.grouping import relations, selection
from dedup.grouping.groups import group, missing_pairs
from dedup.grouping.prior import estimated_prior
from dedup.pipeline import results
from dedup.pipeline.context import Context
from dedup.store.listing import ScanListing
from dedup.store.store import Store
from dedup.types.pairs import Scores
from dedup.types.photo_table import Links, among
from dedup.types.report import Compared, Photos, Report, Run, Totals
from dedup.types.settings import Settings
from dedup.version import decoders
from dedup.workers import return_freed_memory

if TYPE_CHECKING:
    from dedup.models.weights import WeightsSpec
    from dedup.workers import Runtime


def find_duplicates(
    roots: Sequence[str],
    *,
    exclude: Sequence[str],
    store: Store,
    weights: WeightsSpec,
    settings: Settings,
    runtime: Runtime,
) -> Report:
    """Return the groups of near-duplicate photos under `roots`. Changes no file but the store."""
    context, started = Context(store, weights, as_scanned(settings, roots), runtime), runtime.clock()
    files = walk(roots, exclude=spelled_globs(exclude, roots))  # list
    terms = _terms(files.digest(), roots, context)
    with store.listing(files, weights_name=weights.name, reader=decoders()) as found:
        del files  # 100 bytes a file
        return _report(found, context, roots, started, terms)


def count_duplicates(
    roots: Sequence[str],
    *,
    exclude: Sequence[str],
    store: Store,
    weights: WeightsSpec,
    settings: Settings,
    runtime: Runtime,
) -> tuple[Run, Totals]:
    """Return the totals of find_duplicates(); taken from the last scan if nothing changed."""
    context, started = Context(store, weights, as_scanned(settings, roots), runtime), runtime.clock()
    files = walk(roots, exclude=spelled_globs(exclude, roots))  # list
    terms = _terms(files.digest(), roots, context)
    known = store.runs.repeat(terms, started_at=started, ended_at=runtime.clock())
    if known:
        return known
    with store.listing(files, weights_name=weights.name, reader=decoders()) as found:
        del files
        report = _report(found, context, roots, started, terms)
    return report.run, results.totals_of(report)


def _report(found: ScanListing, context: Context, roots: Sequence[str], started: float, terms: bytes) -> Report:
    """Return the report of a scan of the listed files, after it is stored."""
    renumbered = found.renumbered()
    if renumbered:
        from dedup.pipeline import extract  # starts processes

        extract.recognise(renumbered, found, context)
    store, unknown = context.store, found.unknown()
    unchanged = None if unknown else results.unchanged(found, context)
    compared = unchanged or _compared(found, unknown, context, started_ns=int(started * 1e9))
    del unknown
    photos = compared.photos
    run = Run(
        started, context.runtime.clock(), tuple(roots), context.settings, context.weights.name, compared.recall,
        photos.photos.contents(), compared.prior,
    )  # fmt: skip
    failures = found.new_failures()
    unverified = compared.scores.rows(compared.unverified)
    candidates = compared.verdicts if compared.fresh else None
    store.runs.add(run, found, candidates, photos.ids, unverified=unverified)
    report = replace(results.report_of(run, compared, found, store), new_failures=failures)
    if unchanged or _is_settled(found, compared, context):
        store.runs.save_totals(terms, replace(results.totals_of(report), new_failures=0))
    return report


def _compared(found: ScanListing, unknown: Links, context: Context, *, started_ns: int) -> Compared:
    """Return the groups of the listed files, of which the unknown ones are read."""
    from dedup.pipeline import extract

    with context.at_work() as context:
        readings = extract.read(unknown, found, context)  # read
        extract.encode(readings, found, context, started_ns=started_ns, count=len(unknown))  # encode
        del readings, unknown  # as much memory as the files
        ids, contents = found.contents()
        last = results.last_alike(contents, context)
        if last is not None:
            photos = found.photos()
            scores = context.store.pairs.candidates(photos.ids)
            compared = verify_and_group(scores, photos, context, recall=last.recall, prior=last.prior)
            if len(compared.scores) == len(scores):
                return replace(compared, fresh=False)
        from dedup.pipeline import match  # torch and faiss take a second to load: a thread did so during reading

        # photos are loaded after the search: its vectors and neighbours take as much memory as they do
        scores, recall = match.score(match.search(ids, context), context)  # search, score
        return verify_and_group(scores, found.photos(), context, recall=recall)


def verify_and_group(
    scores: Scores,
    photos: Photos,
    context: Context,
    *,
    recall: float,
    prior: float | None = None,
    collection: int | None = None,
) -> Compared:
    """Return the groups that scored pairs make, after verification; pairs that grouping needs besides are scored too.

    Verification begins with the pairs that selection.py selects, and goes on until every pair of a keeper and its
    duplicate was verified and compared at full resolution. Pairs that could not be verified are in no group. recall: of
    the search that proposed the pairs. prior: of the collection; None to estimate it from the selected pairs.
    collection: how many photos are scanned, if these are only a part of them.
    """
    from dedup.pipeline import match

    return_freed_memory()  # of the pair head: from here on it is the workers that need memory
    settings, decisions, N = context.settings, context.store.decisions.load(), len(photos.ids)
    tried_keys = np.empty(0, np.int64)
    while True:
        pixels, keys = match.known_pixels(scores, photos, context), scores.keys(N)
        least = selection.least_chance(collection or N, thorough=settings.thorough)
        wanted = selection.selected_for_verification(scores, context.weights.gate, least=least)
        tried = among(keys, tried_keys)
        while True:
            verified = match.verify(scores.rows(wanted & ~tried), photos, context, collection=collection or N)  # verify
            tried |= wanted
            if prior is None:
                selected = among(verified.keys(N), np.sort(keys[wanted])) & ~verified.plain
                unlikely = selection.count_unlikely(scores, context.weights.gate, wanted, photos=collection or N)
                prior = estimated_prior(verified.copy[selected], unlikely)
            unverified = tried & ~among(keys, verified.keys(N)) & settings.verify
            verdicts = relations.relate(photos.photos, scores, verified, pixels, prior=prior)  # relate
            verdicts = relations.inconclusive(verdicts, unverified)
            groups = group(photos.photos, verdicts, settings, decisions)  # group
            wanted = selection.keeper_pairs(scores, groups, N)
            if not settings.verify:
                break
            if not (wanted & ~tried).any() and not match.compare(scores.rows(wanted), verified, photos, context):
                break
        missing = missing_pairs(photos.photos, verdicts, settings, decisions)
        if not len(missing):
            return Compared(photos, scores, verdicts, groups, verified, unverified, recall, prior, fresh=True)
        tried_keys = np.sort(keys[tried])
        scores = match.with_missing(scores, missing, photos, context)


def _is_settled(found: ScanListing, compared: Compared, context: Context) -> bool:
    """Return whether a rescan would open no file.

    Recently modified files do not count as known: they may change without a new timestamp.
    """
    if found.unknown():
        return False
    pixels = results.stored_pixels(compared.scores, compared.photos, context.store)
    return results.is_complete(compared, pixels, context)


def _terms(files: bytes, roots: Sequence[str], context: Context) -> bytes:
    """Return 32 bytes that stand for all that decides what a scan finds, besides what is stored."""
    totals = [field.name for field in fields(Totals)]  # others are stored by another version
    terms = json.dumps([roots, asdict(context.settings), context.weights.name, decoders(), totals])
    return sha256(files + terms.encode()).digest()
