"""Store -> Report: what the last scan found, from the database alone. No network and no search is loaded here."""

from __future__ import annotations

from dedup.grouping import relations, selection
from dedup.grouping.duplicate_folders import duplicate_folders, photos_by_folder
from dedup.grouping.groups import group, missing_pairs
from dedup.grouping.members import duplicates, members, promised, reclaimed, root_of, variants
from dedup.pipeline.context import Context
from dedup.store.listing import Listing
from dedup.store.store import Store
from dedup.types.pairs import NOTHING_VERIFIED, Scores, Verified
from dedup.types.photo_table import among
from dedup.types.report import Compared, Photos, Report, Run, Totals
from dedup.types.settings import Settings


def load_results(store: Store) -> Report:
    """Return the report of the last finished scan. Raises StoreUnusable if there is none."""
    with store.last_listing() as found:
        last = store.runs.last()
        assert last is not None
        compared, _ = _stored(last, found.photos(), store)
        return report_of(last, compared, found, store)


def report_of(run: Run, compared: Compared, found: Listing, store: Store) -> Report:
    """Return the report of a scan of the listed files."""
    return Report(
        run, compared.photos, found.skipped(), compared.verdicts, compared.groups, store.decisions.load(),
        compared.verified, unverified=int(compared.unverified.sum()),
    )  # fmt: skip


def totals_of(report: Report) -> Totals:
    """Return the totals that a person or a script asks for first. Variants count as duplicates only if asked for."""
    photos, settings, decisions = report.photos.photos, report.run.settings, report.decisions
    removable = [file for one in report.groups for file in promised(one, photos, settings, decisions)]
    return Totals(
        files=photos.files + len(report.skipped),
        photos=photos.files,
        groups=len(report.groups),
        duplicates=sum(len(duplicates(one, photos, settings)) for one in report.groups),
        removable=len(removable),
        bytes=reclaimed(removable),
        skipped=sum(one.picture for one in report.skipped),
        other=sum(not one.picture for one in report.skipped),
        across=_across(report),
        variants=sum(len(variants(one, photos, settings)) for one in report.groups),
        folders=len(duplicate_folders(report, photos_by_folder(report))) if removable else 0,
        new_failures=report.new_failures,
        unverified=report.unverified,
    )


def _across(report: Report) -> int:
    """Return how many duplicates lie in another root than their keeper."""
    roots, photos, settings = report.run.roots, report.photos.photos, report.run.settings
    if len(roots) < 2:
        return 0
    count = 0
    for one in report.groups:
        home = root_of(members(one, photos, settings).keeper.path, roots)
        count += sum(root_of(f.path, roots) != home for f in duplicates(one, photos, settings))
    return count


def unchanged(found: Listing, context: Context) -> Compared | None:
    """Return what the last scan found, if these files have its contents and settings and nothing is left to compute."""
    store = context.store
    photos = found.photos()
    last = last_alike(photos.photos.contents(), context)
    if last is None:
        return None
    compared, pixels = _stored(last, photos, store)
    missing = missing_pairs(photos.photos, compared.verdicts, context.settings, store.decisions.load())
    return compared if is_complete(compared, pixels, context) and not len(missing) else None


def is_complete(compared: Compared, pixels: dict[int, bytes | None], context: Context) -> bool:
    """Return whether no file has to be opened again. A file that could not be read may be there the next time."""
    N, scores = len(compared.photos.ids), compared.scores
    least = selection.least_chance(N, thorough=context.settings.thorough)
    wanted = selection.selected_for_verification(scores, context.weights.gate, least=least)
    wanted |= selection.keeper_pairs(scores, compared.groups, N)
    unverified = wanted & ~among(scores.keys(N), compared.verified.keys(N)) & context.settings.verify
    return not (unverified | compared.unverified).any() and None not in pixels.values()


def last_alike(contents: bytes, context: Context) -> Run | None:
    """Return the last scan if it found these contents, with the same settings and weights."""
    last = context.store.runs.last()
    terms = (contents, context.weights.name, context.settings)
    return last if last and (last.contents, last.weights_name, last.settings) == terms else None


def stored_pixels(scores: Scores, photos: Photos, store: Store) -> dict[int, bytes | None]:
    """Return the SHA-256 of the pixels of the photos that relations.relate() needs; None where it is not stored."""
    wanted = relations.identical_candidates(photos.photos, scores)
    return dict(zip(wanted.tolist(), store.features.pixels(photos.ids[wanted]), strict=True))


def stored_verified(photos: Photos, store: Store, weights_name: str, settings: Settings) -> Verified:
    """Return the stored results of verification; none if the settings do without it."""
    name = judging_name(weights_name, settings)
    return store.pairs.verified(photos.ids, weights_name=name) if settings.verify else NOTHING_VERIFIED


def judging_name(weights_name: str, settings: Settings) -> str:
    """Return the name under which scores and results of verification are stored: other gates let other pairs pass."""
    return weights_name + ("-thorough" if settings.thorough else "")


def _stored(last: Run, photos: Photos, store: Store) -> tuple[Compared, dict[int, bytes | None]]:
    """Return what the last scan makes of its candidates, and the SHA-256 of pixels that are stored."""
    scores = store.pairs.candidates(photos.ids)
    verified = stored_verified(photos, store, last.weights_name, last.settings)
    pixels = stored_pixels(scores, photos, store)
    unverified = among(scores.keys(len(photos.ids)), store.pairs.unverified(photos.ids))
    verdicts = relations.relate(photos.photos, scores, verified, pixels, prior=last.prior)
    verdicts = relations.inconclusive(verdicts, unverified)
    groups = group(photos.photos, verdicts, last.settings, store.decisions.load())
    compared = Compared(photos, scores, verdicts, groups, verified, unverified, last.recall, last.prior, fresh=False)
    return compared, pixels
