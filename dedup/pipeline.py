"""The whole method, in the order it runs:

files -> read and decode -> encode -> index -> verify -> confirm -> decide -> group -> report
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from dedup import files, proofs
from dedup.recall import Compared, Report, all_seen, compared_before, kept_pixels, report_of, totals_of
from dedup.store import Run, Store
from dedup.types import Settings, Totals
from dedup.version import decoders

if TYPE_CHECKING:  # what starts processes is not asked for where nothing is new
    from dedup.runners import Machine
    from dedup.weights import Shipped


def find_duplicates(
    roots: Sequence[str],
    *,
    exclude: Sequence[str],
    store: Store,
    weights: Shipped,
    settings: Settings,
    machine: Machine,
) -> Report:
    """Return the groups of near-duplicate photos under `roots`. Changes no file but the store."""
    started = machine.clock()
    listing = files.walk(roots, exclude=exclude)
    terms = _terms(listing, roots, weights, settings)
    store.begin(listing, weights=weights.name, reader=decoders())
    del listing  # a tenth of a kilobyte a file
    return _find(terms, roots, started, store, weights, settings, machine)


def count_duplicates(
    roots: Sequence[str],
    *,
    exclude: Sequence[str],
    store: Store,
    weights: Shipped,
    settings: Settings,
    machine: Machine,
) -> tuple[Run, Totals]:
    """Return what find_duplicates() would find, counted; where nothing changed, as the last scan wrote it down."""
    started = machine.clock()
    listing = files.walk(roots, exclude=exclude)
    terms = _terms(listing, roots, weights, settings)
    known = store.rerun(terms, started_at=started, ended_at=machine.clock())
    if known:
        return known
    store.begin(listing, weights=weights.name, reader=decoders())
    del listing
    report = _find(terms, roots, started, store, weights, settings, machine)
    return report.run, totals_of(report)


def _find(
    terms: bytes,
    roots: Sequence[str],
    started: float,
    store: Store,
    weights: Shipped,
    settings: Settings,
    machine: Machine,
) -> Report:
    """Return what find_duplicates() does, of files that are listed in the store.

    What the store knows already is not done again: files by their times, photos by content, pairs by both contents.
    Where all is known, neither the networks nor the search are even loaded.
    """
    unknown = store.unknown()
    before = None if unknown else compared_before(store, weights.name, weights.line, settings)
    if before:
        found = before
    else:
        from dedup.describe import describe_files
        from dedup.runners import staying

        with proofs.folder_of(store.path) as folder, staying(replace(machine, proofs=folder)) as machine:
            # read and decode -> encode
            describe_files(unknown, store, weights, machine, started_ns=int(started * 1e9))
            del unknown  # as much memory as a listing

            from dedup.matching import compare

            # index -> verify -> confirm -> decide -> group
            found = compare(store, weights.load(), settings, machine)
    contents = found.photos.photos.contents()
    done = Run(started, machine.clock(), tuple(roots), settings, weights.name, found.recall, contents)
    store.finish(done, found.verdicts if found.fresh else None, found.photos.ids)
    report = report_of(done, found, store)
    if before or _is_settled(found, store, weights, settings):
        store.remember(terms, totals_of(report))
    return report


def _is_settled(found: Compared, store: Store, weights: Shipped, settings: Settings) -> bool:
    """Return whether the next scan of these files would open none; one that is too young may change unseen."""
    if store.unknown():
        return False
    return all_seen(found, kept_pixels(found.scores, found.photos, store), weights.line, settings)


def _terms(listing: files.Listing, roots: Sequence[str], weights: Shipped, settings: Settings) -> bytes:
    """Return 32 bytes that stand for all that decides what a scan finds, besides what is stored."""
    terms = json.dumps([roots, asdict(settings), weights.name, decoders()])
    return sha256(listing.digest() + terms.encode()).digest()
