"""Report -> one HTML page with thumbnails, in pieces. The only module that imports Jinja2, with autoescape on.

The page is self-contained: style, script and pictures are embedded. Its Content-Security-Policy allows nothing else to
run or load, in case a file name is ever not escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from hashlib import sha256
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dedup.grouping.duplicate_folders import duplicate_folders, photos_by_folder
from dedup.grouping.members import duplicates
from dedup.images.read import View, read_view
from dedup.languages.language import ENGLISH, Language
from dedup.report import figure
from dedup.report.cards import ORDERS, RELATIONS, Card, Shot, cards, file_uri
from dedup.report.text import printable
from dedup.types.message import Message
from dedup.types.pairs import Comparison, Explained, PhotoPair, Relation
from dedup.types.report import Report
from dedup.workers import Failure, run

# (up to so many pictures on the page, pixels of a thumbnail)
_SIDES = ((200, 480), (1_000, 256), (5_000, 176), (0, 128))
_FIGURES = 100  # at most, for the pairs with the lowest probability: about 17 KB each

Figure = tuple[list[list[tuple[figure.PanelImage, str]]], str]  # rows of panels with their URLs, or the reason for none


def environment(package: str, language: Language) -> Environment:
    """Return a template environment for a package, which says its words in a language.

    The templates of this package are available too. Whatever the catalogue holds is escaped, as values are.
    """
    env = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("dedup.report")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )  # fmt: skip
    env.install_gettext_callables(*sayings(language), newstyle=False)  # type: ignore[attr-defined]
    env.filters |= {
        "bytes": language.bytes,
        "file_uri": file_uri,
        "minute": language.minute,
        "moment": language.moment,
        "number": language.number,
        "percent": language.percent,
        "printable": printable,
        "say": language.say,
        "code": lambda value: Markup("<code>{}</code>").format(value),
        "path": lambda value: Markup('<span class="path">{}</span>').format(value),
        "key": lambda value: Markup("<kbd>{}</kbd>").format(value),
        "italic": lambda value: Markup("<i>{}</i>").format(value),
        "share": language.share,
        "strong": lambda value: Markup('<b class="number">{}</b>').format(value),
    }
    env.globals |= {
        "language": language,
        "orders": ORDERS,
        "pattern": language.translated,  # for scripts, which fill in the places
        "relation_names": RELATIONS,
    }
    return env


def sayings(language: Language) -> tuple[Callable[..., Markup], Callable[..., Markup]]:
    """Return gettext and ngettext for templates: sentences with their places filled in, escaped but for Markup."""

    def filled(text: str, values: dict[str, object]) -> Markup:
        said = {name: language.say(v) if isinstance(v, Message) else v for name, v in values.items()}
        return escape(text).format(**said)

    def say(msgid: str, /, **values: object) -> Markup:
        return filled(language.translated(msgid), values)

    def say_many(one: str, many: str, count: int, /, **values: object) -> Markup:
        return filled(language.translated(one, many, count), {"n": language.number(count)} | values)

    return say, say_many


def page(report: Report, explained: Explained | None, *, workers: int, language: Language = ENGLISH) -> Iterator[str]:
    """Yield the page. Pictures are read from the files now; for a missing or changed file the page says so.

    explained: gives the comparison behind each verdict; without it the page has no figures.
    """
    photos, settings = report.photos.photos, report.run.settings
    shown = list(cards(report.groups, photos, settings, report.verified, report.decisions))
    style, script = asset("base.css") + asset("report.css"), asset("report.js")
    pictures = thumbnails(shown, workers=workers)
    doubtful = least_certain(shown, _FIGURES if explained else 0)
    pairs = sum(len(card.shots) - 1 for card in shown)
    yield from (
        environment("dedup.report", language)
        .get_template("report.html")
        .generate(
            folders=duplicate_folders(report, photos_by_folder(report)),
            cards=zip(shown, pictures, figures(shown, doubtful, explained), strict=True),
            explained=len(doubtful),
            pairs=pairs,
            count=len(shown),
            duplicates=sum(len(duplicates(one, photos, settings)) for one in report.groups),
            bytes=sum(card.bytes for card in shown),
            files=sum(len(p.files) for p in photos),
            least=language.number(settings.min_probability, "g"),
            relations=sorted({card.relation for card in shown}),
            skipped=[s for s in report.skipped if s.picture],
            decisions=report.decisions,
            run=report.run,
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def asset(name: str) -> str:
    """Return a file of templates/ as text."""
    return (files("dedup.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


def thumbnails(shown: list[Card], *, workers: int) -> Iterator[list[tuple[str, str]]]:
    """Yield one list per card, with (data: URL, "") or ("", reason) for each shot; smaller if there are many.

    Holds only the pictures that workers have decoded ahead of the page.
    """
    count = sum(len(card.shots) for card in shown)
    side = next(side for most, side in _SIDES if count <= most or not most)
    views = (View(s.file.path, s.photo.sha256, side, "WEBP") for card in shown for s in card.shots)
    done: dict[str, tuple[str, str]] = {}
    answers = run(read_view, views, workers=workers)
    for card in shown:
        while any(s.photo.sha256 not in done for s in card.shots):
            view, answer = next(answers)
            done[view.sha256] = _embedded(answer)
        yield [done.pop(s.photo.sha256) for s in card.shots]


def least_certain(shown: list[Card], most: int) -> set[PhotoPair]:
    """Return the pairs of keeper and duplicate with the lowest probability; identical ones need no figure."""
    pairs = [s for card in shown for s in card.shots[1:] if s.relation is not Relation.IDENTICAL]
    return {pair_of(s) for s in sorted(pairs, key=lambda s: s.probability)[:most]}


def pair_of(shot: Shot) -> PhotoPair:
    return shot.keeper, shot.index


def figures(
    shown: list[Card], chosen: set[PhotoPair], explained: Explained | None
) -> Iterator[list[tuple[Shot, Figure]]]:
    """Yield one list per card, with the figures of its pairs that are in `chosen`."""
    by_card = [[s for s in card.shots[1:] if pair_of(s) in chosen] for card in shown]
    answers = explained([pair_of(s) for shots in by_card for s in shots]) if explained else iter(())
    for shots in by_card:
        yield [(s, _figure(next(answers))) for s in shots]


def _figure(answer: Comparison | str) -> Figure:
    if isinstance(answer, str):
        return [], answer
    return [[(panel, _data_url(panel.data)) for panel in row] for row in figure.panel_images(answer)], ""


def _data_url(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode()


def _embedded(answer: bytes | str | Failure) -> tuple[str, str]:
    if isinstance(answer, bytes):
        return _data_url(answer), ""
    return "", answer.reason if isinstance(answer, Failure) else answer
