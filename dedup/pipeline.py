"""The whole method, in the order it runs:

files -> read and decode -> encode -> index -> verify -> confirm -> decide -> group -> report
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dedup import files, proofs
from dedup.read import decoders
from dedup.recall import Report, compared_before, report_of
from dedup.runners import Machine
from dedup.store import Run, Store
from dedup.types import Settings
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
    """Return the groups of near-duplicate photos under `roots`. Changes no file but the store.

    What the store knows already is not done again: files by their times, photos by content, pairs by both contents.
    Where all is known, neither the networks nor the search are even loaded.
    """
    started = machine.clock()
    store.begin(files.walk(roots, exclude=exclude), weights=weights.name, reader=decoders())
    unknown = store.unknown()
    found = None if unknown else compared_before(store, weights.name, weights.line, settings)
    if found is None:
        from dedup import stages

        with proofs.folder_of(store.path) as folder:
            machine = replace(machine, proofs=folder)
            # read and decode -> encode
            stages.describe(unknown, store, weights.load(), machine, started_ns=int(started * 1e9))
            # index -> verify -> confirm -> decide -> group
            found = stages.compare(store.photos(), store, weights.load(), settings, machine)
    done = Run(started, machine.clock(), tuple(roots), settings, weights.name, found.recall, store.contents())
    store.finish(done, found.verdicts if found.fresh else None, found.photos.ids)
    return report_of(done, found, store)
