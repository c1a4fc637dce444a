"""Store -> Report: what the last scan found, from the database alone. No network and no search is loaded here."""

from __future__ import annotations

import numpy as np

from dedup.grouping import relations
from dedup.grouping.groups import group, missing_pairs
from dedup.store.store import Store
from dedup.types.pairs import NOTHING_VERIFIED, Gate, Scores, Verified
from dedup.types.photo import Photo
from dedup.types.report import Compared, Photos, Report, Run, Totals
from dedup.types.settings import Settings


def last_report(store: Store) -> Report:
    """Return the report of the last finished scan. Raises StoreUnusable if there is none."""
    store.recollect()
    last = store.last_run()
    assert last is not None
    found, _ = remembered(last, store.photos(), store)
    return report_of(last, found, store)


def report_of(run: Run, found: Compared, store: Store) -> Report:
    """Return the report of a scan, given what comparing gave."""
    return Report(run, found.photos, store.skipped(), found.verdicts, found.groups, store.decisions(), found.verified)


def totals_of(report: Report) -> Totals:
    """Return how much there is of what a person or a script asks for first."""
    photos = report.photos.photos
    duplicates = [(len(photos[g.keeper].files) - 1, g.keeper) for g in report.groups]
    duplicates += [(len(photos[d.photo].files), d.photo) for g in report.groups for d in g.duplicates]
    return Totals(
        files=photos.files + len(report.skipped),
        photos=photos.files,
        groups=len(report.groups),
        duplicates=sum(n for n, _ in duplicates),
        bytes=sum(n * photos[i].size for n, i in duplicates),
        skipped=sum(one.picture for one in report.skipped),
        other=sum(not one.picture for one in report.skipped),
    )


def compared_before(store: Store, weights: str, gate: Gate, settings: Settings) -> Compared | None:
    """Return what the last scan made of the photos found now; None if a part of it has to be computed first."""
    photos = store.photos()
    last = last_alike(photos.photos.contents(), store, weights, settings)
    if last is None:
        return None
    found, pixels = remembered(last, photos, store)
    missing = missing_pairs(photos.photos, found.verdicts, settings, store.decisions())
    return found if all_seen(found, pixels, gate, settings) and not len(missing) else None


def all_seen(found: Compared, pixels: dict[int, bytes | None], gate: Gate, settings: Settings) -> bool:
    """Return whether no file has to be looked at again; one that could not be had may be there the next time."""
    N, scores = len(found.photos.ids), found.scores
    wanted = (
        relations.selected_for_verification(scores, gate) | relations.keeper_pairs(scores, found.groups, N)
    ) & settings.verify
    unseen = wanted & ~np.isin(scores.keys(N), found.verified.keys(N))
    return not unseen.any() and None not in pixels.values()


def remembered(last: Run, photos: Photos, store: Store) -> tuple[Compared, dict[int, bytes | None]]:
    """Return what the last scan makes of its candidates, and the pixels that are known."""
    scores, verified = store.candidates(photos.ids), known_verified(photos, store, last.weights, last.settings)
    pixels = kept_pixels(scores, photos, store)
    verdicts = relations.relate(photos.photos, scores, verified, pixels)
    groups = group(photos.photos, verdicts, last.settings, store.decisions())
    return Compared(photos, scores, verdicts, groups, verified, last.recall, fresh=False), pixels


def last_alike(contents: bytes, store: Store, weights: str, settings: Settings) -> Run | None:
    """Return the last scan if it found these contents on the same terms."""
    last = store.last_run()
    same = last and (last.contents, last.weights, last.settings) == (contents, weights, settings)
    return last if same else None


def kept_pixels(scores: Scores, photos: Photos, store: Store) -> dict[int, bytes | None]:
    """Return what the store knows of the pixels that relations.py asks for."""
    wanted = relations.identical_candidates(photos.photos, scores)
    return dict(zip(wanted.tolist(), store.pixels(photos.ids[wanted]), strict=True))


def known_verified(photos: Photos, store: Store, weights: str, settings: Settings) -> Verified:
    """Return what second looks said of pairs of these photos; nothing where they are not wanted."""
    return store.verified(photos.ids, weights=weights) if settings.verify else NOTHING_VERIFIED


def file_of(photo: Photo) -> tuple[str, str]:
    """Return the path of the first file of a photo, and the SHA-256 that it should have."""
    return photo.files[0].path, photo.sha256
