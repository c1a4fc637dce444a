"""The whole method, in the order it runs:

files -> read and decode -> encode -> index -> verify -> confirm -> decide -> group -> report
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from dedup.files.walk import Listing, walk
from dedup.images import preview_cache
from dedup.pipeline.results import all_seen, compared_before, kept_pixels, report_of, totals_of
from dedup.store.store import Store
from dedup.types.report import Compared, Report, Run, Totals
from dedup.types.settings import Settings
from dedup.version import decoders

if TYPE_CHECKING:  # what starts processes is not asked for where nothing is new
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
    started = runtime.clock()
    listing = walk(roots, exclude=exclude)
    terms = _terms(listing, roots, weights, settings)
    store.begin(listing, weights=weights.name, reader=decoders())
    del listing  # a tenth of a kilobyte a file
    return _find(terms, roots, started, store, weights, settings, runtime)


def count_duplicates(
    roots: Sequence[str],
    *,
    exclude: Sequence[str],
    store: Store,
    weights: WeightsSpec,
    settings: Settings,
    runtime: Runtime,
) -> tuple[Run, Totals]:
    """Return what find_duplicates() would find, counted; where nothing changed, as the last scan wrote it down."""
    started = runtime.clock()
    listing = walk(roots, exclude=exclude)
    terms = _terms(listing, roots, weights, settings)
    known = store.rerun(terms, started_at=started, ended_at=runtime.clock())
    if known:
        return known
    store.begin(listing, weights=weights.name, reader=decoders())
    del listing
    report = _find(terms, roots, started, store, weights, settings, runtime)
    return report.run, totals_of(report)


def _find(
    terms: bytes,
    roots: Sequence[str],
    started: float,
    store: Store,
    weights: WeightsSpec,
    settings: Settings,
    runtime: Runtime,
) -> Report:
    """Return what find_duplicates() does, of files that are listed in the store.

    What the store knows already is not done again: files by their times, photos by content, pairs by both contents.
    Where all is known, neither the networks nor the search are even loaded.
    """
    unknown = store.unknown()
    before = None if unknown else compared_before(store, weights.name, weights.gate, settings)
    if before:
        found = before
    else:
        from dedup.pipeline.extract import describe_files
        from dedup.workers import worker_pool

        with (
            preview_cache.folder_of(store.path) as folder,
            worker_pool(replace(runtime, preview_folder=folder)) as runtime,
        ):
            # read and decode -> encode
            describe_files(unknown, store, weights, runtime, started_ns=int(started * 1e9))
            del unknown  # as much memory as a listing

            from dedup.pipeline.match import compare

            # index -> verify -> confirm -> decide -> group
            found = compare(store, weights.load(), settings, runtime)
    contents = found.photos.photos.contents()
    done = Run(started, runtime.clock(), tuple(roots), settings, weights.name, found.recall, contents)
    store.finish(done, found.verdicts if found.fresh else None, found.photos.ids)
    report = report_of(done, found, store)
    if before or _is_settled(found, store, weights, settings):
        store.remember(terms, totals_of(report))
    return report


def _is_settled(found: Compared, store: Store, weights: WeightsSpec, settings: Settings) -> bool:
    """Return whether the next scan of these files would open none; one that is too young may change unseen."""
    if store.unknown():
        return False
    return all_seen(found, kept_pixels(found.scores, found.photos, store), weights.gate, settings)


def _terms(listing: Listing, roots: Sequence[str], weights: WeightsSpec, settings: Settings) -> bytes:
    """Return 32 bytes that stand for all that decides what a scan finds, besides what is stored."""
    terms = json.dumps([roots, asdict(settings), weights.name, decoders()])
    return sha256(listing.digest() + terms.encode()).digest()
