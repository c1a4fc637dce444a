"""What `import dedup` gives programs and notebooks: a scan, a comparison, the encoder. Paths and words come back.

Every word and option means what it means on the command line, and both share one database.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from dedup.errors import BadUsage
from dedup.files import user_dirs
from dedup.files.walk import folder, protected
from dedup.grouping.ranking import in_order, keep_order
from dedup.models import weights
from dedup.models.encoder import Encoder as Encoder
from dedup.pipeline.query import compare_two
from dedup.pipeline.results import totals_of
from dedup.pipeline.scan import find_duplicates
from dedup.report import figure as drawing
from dedup.report import html, tables
from dedup.report.csv_file import Row
from dedup.store.store import Store
from dedup.types.pairs import Comparison as FoundComparison
from dedup.types.report import Report as FoundReport
from dedup.types.settings import KEEP, Settings
from dedup.workers import Runtime, worker_pool

AnyPath = str | os.PathLike[str]
Relation = Literal["exact", "identical", "copy", "similar", "unrelated", "inconclusive"]

_GROUP = itemgetter("group")
_SHOWN = 20  # groups in a notebook: each brings its thumbnails into the file
_HEIGHT = 560  # pixels of the frame they are shown in


@dataclass(frozen=True, slots=True)
class Kept:
    """The file of a group that is worth keeping."""

    path: Path  # absolute
    width: int  # pixels, upright
    height: int
    bytes: int
    format: str  # JPEG, PNG, HEIF, ...
    taken_at: str  # ISO 8601, local time of the camera; "" if the file does not say
    sha256: str  # 64 hex digits


@dataclass(frozen=True, slots=True)
class Duplicate(Kept):
    """Another file of the group, and what it is to the one kept."""

    relation: Relation
    probability: float  # in [0, 1], that both are one photograph
    reason: str  # why the other one is kept
    change: str  # what was done to it, in words; "" where there is nothing to say


@dataclass(frozen=True, slots=True)
class Group:
    """One file to keep, and every file that was compared with it and matches it."""

    number: int  # from 1, as in every report
    keep: Kept
    duplicates: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files that were compared. similarity: cosine of their vectors, in [-1, 1]."""

    path_a: Path
    path_b: Path
    relation: Relation
    probability: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is no photo, and why. picture: it should have been one; others are films, letters and the like."""

    path: Path
    reason: str
    picture: bool


@dataclass(frozen=True)
class Report:
    """What a scan found. A notebook shows it as a page with thumbnails, read from the files at that moment.

    files: how many there are, those skipped among them.   seconds: that the scan took.   db: where it is remembered.
    """

    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]
    files: int
    seconds: float
    db: Path
    _found: FoundReport = field(repr=False, compare=False)

    @property
    def pairs(self) -> Iterator[Pair]:
        """Yield every pair that was compared, refused ones too, the surest first: many more than there are files."""
        for row in tables.pair_rows(self._found):
            yield Pair(**(row | {"path_a": Path(row["path_a"]), "path_b": Path(row["path_b"])}))

    def write(self, path: AnyPath, table: str = "groups") -> None:
        """Write groups, pairs, photos, skipped or decisions to a file, as its suffix .csv, .json or .html says.

        Raises BadUsage for another suffix or table, DedupError if the file cannot be written.
        """
        _demand(table in tables.TABLES, f"no such table: {table!r}; there are {', '.join(tables.TABLES)}")
        name = _absolute(path)
        tables.write(self._found, table, tables.format_of(name), name)

    def _repr_html_(self) -> str:
        """Return the page of `dedup export --format html` in a frame, so that neither touches the notebook's style."""
        count = len(self.groups)
        found = self._found
        first = in_order(found.groups, found.photos.photos, found.run.settings)[:_SHOWN]
        page = "".join(html.page(replace(found, groups=first), None, workers=os.cpu_count() or 1))
        more = f"<p>The first {_SHOWN} of {count:,} groups; report.write('report.html') has all.</p>"
        frame = f'<iframe sandbox="allow-scripts" width="100%" height="{_HEIGHT}" srcdoc="{escape(page)}"></iframe>'
        return (more if count > _SHOWN else "") + frame


@dataclass(frozen=True)
class Comparison:
    """The verdict on two files. A notebook shows the picture that explains it.

    change: what was done to the first to make the second, in words.
    """

    path_a: Path
    path_b: Path
    relation: Relation
    probability: float
    similarity: float
    change: str
    _seen: FoundComparison = field(repr=False, compare=False)

    def figure(self) -> bytes:
        """Return the picture of `dedup compare --figure`, as PNG."""
        png = io.BytesIO()
        drawing.draw(self._seen, self._seen.words).save(png, "PNG")
        return png.getvalue()

    _repr_png_ = figure


def scan(
    paths: AnyPath | Sequence[AnyPath],
    *,
    db: AnyPath | None = None,
    exclude: Sequence[str] = (),
    include: Literal["similar"] | None = None,
    min_probability: float = 0.9,
    protect: Sequence[AnyPath] = (),
    keep: Sequence[str] = KEEP,
    prefer: Sequence[str] = (),
    avoid: Sequence[str] = (),
    verify: bool = True,
    quick: bool = False,
    workers: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Return the near-duplicate photos under these folders. Changes no photo; what was seen is kept in the database.

    The options are those of `dedup scan`. db: default as there, DEDUP_DB or the user's data directory; a config file
    is not read. workers: processes that decode; default one a core. progress: told (stage, done, of) now and then; what
    it raises ends the scan, and the next one goes on there.
    Raises BadUsage for a folder that is not there and for words that do not fit, StoreBusy if another run holds the
    database, StoreUnusable if it cannot be used: all of them DedupError, with one line that says what to do.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    _demand(len(several) > 0, "which folders?")
    _demand(include in (None, "similar"), f"include is None or 'similar', not {include!r}")
    _demand(0 <= min_probability <= 1, f"min_probability lies in [0, 1], not at {min_probability!r}")
    _demand(workers is None or workers > 0, f"workers is one or more, not {workers!r}")
    for name, words in {"exclude": exclude, "protect": protect, "keep": keep, "prefer": prefer, "avoid": avoid}.items():
        _demand(not isinstance(words, str | os.PathLike), f"{name} is a list of words, not {words!r}")
    settings = Settings(
        min_probability=min_probability,
        include_similar=include == "similar",
        verify=verify,
        protect=protected(map(_absolute, protect)),
        keep=keep_order(keep),
        prefer=tuple(prefer),
        avoid=tuple(avoid),
    )
    runtime = Runtime(workers or os.cpu_count() or 1, progress or _told_nobody, time.time)
    _demand(verify or not quick, "quick needs verification: leave out verify=False")
    networks = weights.weights_spec(device=device, quick=quick)  # before there is a database: the word may be wrong
    path = _absolute(db or os.environ.get("DEDUP_DB") or user_dirs.database())
    with Store(path, scanning=True) as store:
        found = find_duplicates(
            [folder(_absolute(path)) for path in several], exclude=exclude, store=store,
            weights=networks, settings=settings, runtime=runtime,
        )  # fmt: skip
    return _report(found, Path(path))


def compare(path_a: AnyPath, path_b: AnyPath) -> Comparison:
    """Return the verdict on two files. Reads no database and keeps nothing.

    Raises UnreadablePhoto if one of them is no photo, BadUsage if it is not there: both are DedupError.
    """
    one, other = _absolute(path_a), _absolute(path_b)
    with worker_pool(Runtime(1, _told_nobody, time.time)) as runtime:
        found = compare_two(one, other, weights=weights.load_weights(), runtime=runtime)
    word: Relation = found.relation.word  # type: ignore[assignment]
    return Comparison(Path(one), Path(other), word, found.probability, found.similarity, found.change, found)


def load_encoder(*, device: str = "cpu") -> Encoder:
    """Return the network that describes a photo, with the weights that ship: a torch module, in eval mode.

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


def _demand(claim: bool, otherwise: str) -> None:
    if not claim:
        raise BadUsage(otherwise)


def _absolute(path: AnyPath) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


def _told_nobody(stage: str, done: int, of: int) -> None:
    pass
