"""The Python API, for programs and notebooks: scan, find, compare, apply, and the encoder.

Options and words have the same meaning as on the command line, and both share one database.
"""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from dedup.actions import journal
from dedup.actions.apply import LINKS, Apply, destination
from dedup.actions.apply import apply as apply_steps
from dedup.actions.plan import make_plan
from dedup.errors import BadUsage, UnreadablePhoto
from dedup.files import user_dirs
from dedup.files.spellings import existing_folders
from dedup.files.stacks import Folders
from dedup.files.symlinks import link_targets
from dedup.files.walk import files_in, folder
from dedup.grouping.members import in_order
from dedup.grouping.ranking import keep_order
from dedup.models import weights
from dedup.models.encoder import Encoder as Encoder
from dedup.pipeline.collection import collection
from dedup.pipeline.context import Context
from dedup.pipeline.query import compare_two, find_matches
from dedup.pipeline.results import load_results, totals_of
from dedup.pipeline.scan import find_duplicates
from dedup.report import figure as drawing
from dedup.report import html, tables
from dedup.report.csv_file import Row
from dedup.store.store import Store
from dedup.types.pairs import Comparison as FoundComparison
from dedup.types.pairs import Relation as FoundRelation
from dedup.types.plan import Outcome, Plan, RemovalStep
from dedup.types.report import Report as FoundReport
from dedup.types.settings import KEEP, Settings
from dedup.workers import Runtime, worker_pool

if TYPE_CHECKING:
    from pandas import DataFrame

AnyPath = str | os.PathLike[str]
Relation = Literal["exact", "identical", "copy", "variant", "similar", "unrelated", "inconclusive"]

_GROUP = itemgetter("group")
_SHOWN = 20  # groups in a notebook; each adds its thumbnails to the notebook file
_HEIGHT = 560  # pixels, of the frame in a notebook


@dataclass(frozen=True, slots=True)
class Kept:
    """The file of a group that is kept."""

    path: Path  # absolute
    width: int  # pixels, upright
    height: int
    bytes: int
    format: str  # JPEG, PNG, HEIF, ...
    taken_at: str  # ISO 8601, local time of the camera; "" if unknown
    sha256: str  # 64 hex digits


@dataclass(frozen=True, slots=True)
class Duplicate(Kept):
    """A duplicate, with its relation to the keeper."""

    relation: Relation
    probability: float  # in [0, 1], that both show one photograph
    reason: str  # why the keeper is the one to keep
    change: str  # what was done to the keeper to make it, in words; "" if nothing is known


@dataclass(frozen=True, slots=True)
class Group:
    """One file to keep, and the files that were compared with it and match it."""

    number: int  # from 1, as in every report
    keep: Kept
    duplicates: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files that were compared.

    similarity: cosine of their vectors, in [-1, 1].   contained: which of them the other shows all of, left being a.
    """

    path_a: Path
    path_b: Path
    relation: Relation
    probability: float
    similarity: float
    contained: Literal["left", "right", "both", "no"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was skipped, and why. picture: it should have been a photo; others are videos, documents ...."""

    path: Path
    reason: str
    picture: bool


@dataclass(frozen=True)
class Report:
    """The result of a scan: a sequence of groups. A notebook shows it as a page with thumbnails of the current files.

    files: number of files found, including skipped ones.   seconds: duration of the scan.   db: the database.
    """

    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]
    files: int
    seconds: float
    db: Path
    _found: FoundReport = field(repr=False, compare=False)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def to_pandas(self, table: str = "groups") -> DataFrame:
        """Return groups, pairs, photos, folders, skipped or decisions as a pandas DataFrame, a row a file or pair.

        Raises BadUsage for another table, ModuleNotFoundError if pandas is not installed.
        """
        import pandas

        _demand(table in tables.TABLES, f"no such table: {table!r}; choose from {', '.join(tables.TABLES)}")
        columns, rows = tables.TABLES[table]
        return pandas.DataFrame(list(rows(self._found)), columns=columns)

    @property
    def pairs(self) -> Iterator[Pair]:
        """Yield every compared pair, unrelated ones included, by decreasing probability. There are many."""
        for row in tables.pair_rows(self._found):
            yield Pair(**(row | {"path_a": Path(row["path_a"]), "path_b": Path(row["path_b"])}))

    def write(self, path: AnyPath, table: str = "groups") -> None:
        """Write groups, pairs, photos, folders, skipped or decisions to a file.

        Its suffix is the format: .csv, .json, .html or .parquet.
        Raises BadUsage for another suffix or table, DedupError if the file cannot be written.
        """
        _demand(table in tables.TABLES, f"no such table: {table!r}; choose from {', '.join(tables.TABLES)}")
        name = _absolute(path)
        tables.write(self._found, table, tables.format_of(name), name)

    def _repr_html_(self) -> str:
        """Return the page of `dedup export --format html` in a frame, which isolates its style."""
        count = len(self.groups)
        found = self._found
        first = in_order(found.groups, found.photos.photos, found.run.settings)[:_SHOWN]
        page = "".join(html.page(replace(found, groups=first), None, workers=os.cpu_count() or 1))
        more = f"<p>The first {_SHOWN} of {count:,} groups; report.write('report.html') has all.</p>"
        frame = f'<iframe sandbox="allow-scripts" width="100%" height="{_HEIGHT}" srcdoc="{escape(page)}"></iframe>'
        return (more if count > _SHOWN else "") + frame


@dataclass(frozen=True, slots=True)
class Match:
    """A photo of the last scan that matches a queried file."""

    query: Path
    path: Path
    relation: Relation
    probability: float  # in [0, 1], that both show one photograph
    similarity: float  # cosine of their vectors, in [-1, 1]


@dataclass(frozen=True)
class Comparison:
    """The verdict on two files. A notebook shows the figure that explains it.

    change: what was done to the first file to make the second, in words.
    """

    path_a: Path
    path_b: Path
    relation: Relation
    probability: float
    similarity: float
    change: str
    _seen: FoundComparison = field(repr=False, compare=False)

    def figure(self) -> bytes:
        """Return the figure of `dedup compare --figure` as PNG."""
        png = io.BytesIO()
        drawing.draw(self._seen, self._seen.words).save(png, "PNG")
        return png.getvalue()

    _repr_png_ = figure


def scan(
    paths: AnyPath | Sequence[AnyPath],
    *,
    db: AnyPath | None = None,
    only: bool = False,
    exclude: Sequence[str] = (),
    follow_symlinks: bool = False,
    include: Literal["variant", "similar"] | Sequence[Literal["variant", "similar"]] = (),
    min_probability: float = 0.9,
    protect: Sequence[AnyPath] = (),
    reference: Sequence[AnyPath] = (),
    across: bool = False,
    within: bool = False,
    keep: Sequence[str] = KEEP,
    prefer: Sequence[str] = (),
    avoid: Sequence[str] = (),
    verify: bool = True,
    quick: bool = False,
    workers: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Find the near-duplicate photos under these folders. Changes no photo; results are cached in the database.

    The folders join those of earlier scans with this database; `only` leaves the earlier ones out. A folder of the
    collection that is missing or empty is warned of. The options are those of `dedup scan`. db: by default DEDUP_DB or
    the user's data directory; no config file is read.
    workers: decoding processes; by default one a core. progress: called with (stage, done, of) from time to time; an
    exception that it raises ends the scan, and the next scan continues from there.
    Raises BadUsage for a missing folder or an invalid option, StoreBusy if another run uses the database, StoreUnusable
    if the database cannot be used. All are DedupError, and str() is one line that says what to do.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    _demand(len(several) > 0, "name at least one folder")
    included = _included(include)
    _demand(0 <= min_probability <= 1, f"min_probability must lie in [0, 1], not {min_probability!r}")
    _demand(workers is None or workers > 0, f"workers must be at least 1, not {workers!r}")
    lists = {"exclude": exclude, "protect": protect, "reference": reference}
    for name, words in {**lists, "keep": keep, "prefer": prefer, "avoid": avoid}.items():
        _demand(not isinstance(words, str | os.PathLike), f"{name} must be a list, not {words!r}")
    settings = Settings(
        min_probability=min_probability,
        include_variant="variant" in included,
        include_similar="similar" in included,
        verify=verify,
        protect=existing_folders(map(_absolute, protect)),
        reference=existing_folders(map(_absolute, reference), to="reference"),
        folders="across" if across else "within" if within else "all",
        keep=keep_order(keep),
        prefer=tuple(prefer),
        avoid=tuple(avoid),
    )
    runtime = Runtime(workers or os.cpu_count() or 1, progress or _no_progress, time.time)
    _demand(not (across and within), "across or within, not both")
    _demand(verify or not quick, "quick needs verification: leave out verify=False")
    networks = weights.weights_spec(
        device=device, quick=quick
    )  # before the database is created: `device` may be invalid
    path = _absolute(db or os.environ.get("DEDUP_DB") or user_dirs.database())
    with Store(path, scanning=True) as store:
        named = [folder(_absolute(path)) for path in several]
        gathered = collection((*named, *settings.reference), store, only=only)
        for root, count in gathered.absent.items():
            warnings.warn(f"{root}: missing or empty, but the database has {count:,} photos of it", stacklevel=2)
        linked = link_targets(gathered.roots if follow_symlinks else (), exclude=exclude)
        for link in linked.unlisted:
            warnings.warn(f"{link}: leads to a folder that cannot be listed", stacklevel=2)
        found = find_duplicates(
            (*gathered.roots, *linked.roots),
            exclude=exclude,
            store=store,
            weights=networks,
            settings=settings,
            runtime=runtime,
        )
        store.roots.add(named)
    return _report(found, Path(path))


def find(
    images: AnyPath | Sequence[AnyPath],
    *,
    db: AnyPath | None = None,
    min_probability: float = 0.9,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> list[Match]:
    """Return the photos of the last scan that match these files, the likeliest first for each file.

    Raises UnreadablePhoto if a file is not a photo, BadUsage if it does not exist or an option is invalid,
    StoreUnusable if the database has no finished scan. All are DedupError.
    """
    several = [images] if isinstance(images, str | os.PathLike) else images
    _demand(0 <= min_probability <= 1, f"min_probability must lie in [0, 1], not {min_probability!r}")
    path = _absolute(db or os.environ.get("DEDUP_DB") or user_dirs.database())
    settings, spec = Settings(min_probability=min_probability), weights.weights_spec(device=device)
    runtime = Runtime(min(len(several), os.cpu_count() or 1), _no_progress, time.time)
    with Store(path) as store, Context(store, spec, settings, runtime).at_work() as context:
        found, skipped = find_matches([_absolute(image) for image in several], context)
    if skipped:
        raise UnreadablePhoto(f"{skipped[0].path}: {skipped[0].reason}")
    return [
        Match(Path(m.query), Path(m.path), cast(Relation, m.relation.word), m.probability, m.similarity) for m in found
    ]


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that apply() removes, or would remove.

    relation: to the keeper; empty for a companion, such as a sidecar, which goes with its photo. done: False if it was
    not removed.   message: what became of it.
    """

    path: Path
    keeper: Path
    relation: Relation | Literal[""]
    bytes: int
    done: bool
    message: str


def apply(
    *,
    to: AnyPath = "trash",
    dry_run: bool = True,
    include: Literal["variant", "similar"] | Sequence[Literal["variant", "similar"]] = (),
    merge_sidecars: bool = False,
    remove_empty: bool = False,
    db: AnyPath | None = None,
) -> list[Removal]:
    """Return what `dedup apply` would remove after the last scan; with dry_run=False, remove it.

    The options are those of `dedup apply`, with its checks and its journal: `dedup undo` restores everything. Deleting
    for good is left to the command line.
    Raises BadUsage for an invalid option, StoreUnusable if the database has no finished scan, StoreBusy if another run
    uses it or changes these folders. All are DedupError.
    """
    included = _included(include)
    _demand(os.fspath(to) != "delete", "deleting for good needs the command line: dedup apply --to delete")
    path = _absolute(db or os.environ.get("DEDUP_DB") or user_dirs.database())
    with Store(path, changing=True) as store:
        found = load_results(store)
        word = os.path.expanduser(to) if isinstance(to, str) else _absolute(to)
        place = destination(word, found.run.roots)
        wanted = [FoundRelation[word.upper()] for word in included]
        plan = make_plan(
            found, Folders(files_in), include=wanted, linking=place in LINKS, merge_sidecars=merge_sidecars
        )
        how = Apply.of(found, place, user_dirs.for_actions(), remove_empty=remove_empty)
        outcomes = {} if dry_run else _carried_out(plan, how, path)
    return [removal for step in plan.steps for removal in _removals(step, outcomes)]


def _carried_out(plan: Plan, how: Apply, db: str) -> dict[str, Outcome]:
    """Carry out a plan, with a journal; return the outcome for each path."""
    folder = journal.folder_of(db)
    with journal.Journal(journal.path_of(folder, journal.new_run(folder, time.time()))) as lines:
        return {outcome.path: outcome for outcome in apply_steps(plan.steps, how, journal=lines)}


def _removals(step: RemovalStep, outcomes: Mapping[str, Outcome]) -> Iterator[Removal]:
    """Yield the files of a step. A step that failed has an outcome for its photo alone."""
    photo = step.parts[0]
    assert photo.keeper_file is not None
    for part in step.parts:
        outcome = outcomes.get(part.file.path) or outcomes.get(photo.file.path)
        word = cast(Relation, step.relation.word) if part is photo else ""
        done, message = (outcome.done, outcome.message) if outcome else (False, "")
        yield Removal(Path(part.file.path), Path(photo.keeper_file.path), word, part.file.size, done, message)


def compare(path_a: AnyPath, path_b: AnyPath) -> Comparison:
    """Return the verdict on two files. Uses no database and stores nothing.

    Raises UnreadablePhoto if one of them is not a photo, BadUsage if one does not exist. Both are DedupError.
    """
    one, other = _absolute(path_a), _absolute(path_b)
    with worker_pool(Runtime(1, _no_progress, time.time)) as runtime:
        found = compare_two(one, other, weights=weights.load_weights(), runtime=runtime)
    word: Relation = found.relation.word  # type: ignore[assignment]
    return Comparison(Path(one), Path(other), word, found.probability, found.similarity, found.change, found)


def load_encoder(*, device: str = "cpu") -> Encoder:
    """Return the encoder with the shipped weights: a torch module in eval mode.

    Pixels (B, 3, 160, 160), float32 in [0, 255], sRGB, the upright photo squashed to a square -> vectors (B, 128) and
    maps (B, 32, 10, 10), float32 of unit L2 norm, each vector and each place of a map. The dot product of two vectors
    is the similarity of a pair. Raises WeightsUnusable if the package is damaged.
    """
    return weights.load_weights(device=device).encoder


def _report(found: FoundReport, db: Path) -> Report:
    groups = tuple(_group(number, list(rows)) for number, rows in groupby(tables.group_rows(found), _GROUP))
    skipped = tuple(Skipped(Path(s.path), s.reason, s.picture) for s in found.skipped)
    files = totals_of(found).files
    return Report(groups, skipped, files, found.run.ended_at - found.run.started_at, db, found)


def _group(number: int, rows: list[Row]) -> Group:
    """Return a group from its rows, the keeper's first."""

    def made(kind: Any, row: Row) -> Any:
        values = {f.name: row[f.name] for f in fields(kind)}
        return kind(**values | {"path": Path(row["path"])})

    return Group(number, made(Kept, rows[0]), tuple(made(Duplicate, row) for row in rows[1:]))


def _included(include: str | Sequence[str]) -> set[str]:
    included = {include} if isinstance(include, str) else set(include)
    _demand(included <= {"variant", "similar"}, f"include takes 'variant' and 'similar', not {include!r}")
    return included


def _demand(claim: bool, otherwise: str) -> None:
    if not claim:
        raise BadUsage(otherwise)


def _absolute(path: AnyPath) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


def _no_progress(stage: str, done: int, of: int) -> None:
    pass
