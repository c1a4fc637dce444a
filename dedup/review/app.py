"""The web application over one Review: the routes. A GET changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import chain, count
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dedup.actions.apply import LINKS
from dedup.actions.plan_file import plan_rows
from dedup.errors import BadUsage, DedupError
from dedup.languages.language import Language, accepted
from dedup.report.cards import ORDERS, RELATIONS, Card, table
from dedup.report.csv_file import Row
from dedup.report.html import asset, environment
from dedup.report.text import printable
from dedup.review.figures import Figures
from dedup.review.guard import Guard, has_control_characters
from dedup.review.jobs import Job, JobRunner, fingerprint
from dedup.review.overlays import Overlays
from dedup.review.pictures import SIZES, Pictures
from dedup.review.session import GroupFilter, Review, folder_fingerprint, state_of
from dedup.types.message import Message, sentence_of
from dedup.types.pairs import Relation

_PAGE = 60  # groups that the list at the side loads at once
_CACHED = {"Cache-Control": "private, max-age=3600", "Content-Disposition": "inline"}
_PLAN_ROWS = 300  # rows of a plan that are shown
_BODY_SECONDS = 30  # for a client to send the body of a request
_GROUP_CHANGED = Message("this group has changed since it was shown; nothing was decided. Check it again")
_GROUPS_CHANGED = Message("the groups have changed since they were shown; nothing was decided. Check them again")
_RELATIONS = {relation.word: name for relation, name in RELATIONS.items()}


class Pages:
    """The pages and their parts in one language."""

    def __init__(self, review: Review, language: Language) -> None:
        self.review, self.language = review, language
        self.env = environment("dedup.review", language)
        self.env.globals |= {
            "fate": review.fate,
            "fingerprint": review.fingerprint,
            "folder_fingerprint": folder_fingerprint,
            "is_decided": review.is_decided,
            "reclaimable": review.reclaimable,
            "removed_files": review.removed_files,
            "sha256": review.sha256,
            "state_of": state_of,
            "short_folder": review.short_folder,
        }

    def html(self, template: str, **values: Any) -> str:
        return self.env.get_template(template).render(**values)

    def group_list(self, listed: list[Card], start: int) -> str:
        more = start + _PAGE if start + _PAGE < len(listed) else 0
        return self.html("list.html", cards=listed[start : start + _PAGE], more=more, count=len(listed), start=start)

    def stage(self, number: int, chosen: GroupFilter) -> str:
        card = self.review.card(number)
        before, after = self.review.neighbours(number, chosen)
        positions = {shot.index: n for n, shot in enumerate(card.shots, 1)}
        values = {"card": card, "positions": positions, "table": table(card.shots, self.language)}
        return self.html("stage.html", before=before, after=after, **values)

    def totals(self) -> str:
        return self.html("totals.html", **self.review.totals())

    def folder_list(self) -> str:
        return self.html("folders.html", folders=self.review.folders())

    def accepted(self, count: int) -> str:
        """Return what is said after so many groups were accepted at once."""
        return self.language.ngettext("{n} accepted; press U to undo", "{n} accepted; press U to undo", count)

    def job_words(self, job: Job) -> str:
        """Return in one line how far a job is."""
        if job.error:
            return self.language.say(job.error)
        apply = job.what == "apply"
        say, counts = self.language.gettext, {"done": job.done, "total": job.total}
        line = say("{done:,} of {total:,} done", **counts) if apply else say("{done:,} of {total:,} undone", **counts)
        skipped = self.language.ngettext("{n} skipped:", "{n} skipped:", len(job.failed)) if job.failed else ""
        return ", ".join(filter(None, (line + (" …" if job.running else ""), skipped)))


class Site:
    """The routes. Starlette runs the synchronous ones in threads."""

    def __init__(
        self,
        review: Review,
        pictures: Pictures,
        figures: Figures,
        overlays: Overlays,
        jobs: JobRunner,
        language: Language | None,
    ) -> None:
        self.review, self.pictures, self.figures, self.overlays, self.jobs = review, pictures, figures, overlays, jobs
        self.language = language
        self._pages: dict[str, Pages] = {}

    def pages(self, request: Request) -> Pages:
        """Return the pages in the language of this server or, if it has none, of the browser."""
        language = language_for(self.language, request)
        if language.code not in self._pages:
            self._pages[language.code] = Pages(self.review, language)
        return self._pages[language.code]

    def routes(self) -> list[Route | Mount]:
        return [
            Route("/", self.home),
            Route("/groups", self.groups),
            Route("/folders", self.folders),
            Route("/group/{number}", self.group),
            Route("/photo/{sha256}/{size}", self.photo),
            Route("/aligned/{first}/{second}", self.aligned),
            Route("/aligned/{first}/{second}/{layer}", self.layer),
            Route("/explanation/{left}/{right}", self.explanation),
            Route("/figure/{left}/{right}/{number}", self.figure),
            Route("/shown", self.shown),
            Route("/plan", self.plan),
            Route("/job", self.job),
            Route("/decide", self.decide, methods=["POST"]),
            Route("/undo-decision", self.undo_decision, methods=["POST"]),
            Route("/accept", self.accept, methods=["POST"]),
            Route("/accept-folder", self.accept_folder, methods=["POST"]),
            Route("/apply", self.apply, methods=["POST"]),
            Route("/undo", self.undo, methods=["POST"]),
            Route("/static/base.css", lambda request: Response(asset("base.css"), media_type="text/css")),
            Mount("/static", StaticFiles(packages=[("dedup.review", "static")])),
        ]

    # Showing

    def home(self, request: Request) -> Response:
        self.review.refresh()
        pages, chosen, query = self.pages(request), filter_of(request), request.query_params
        listed = self.review.listed(chosen)
        number = small_number(query.get("group", "")) or 0
        first = next((c.number for c in listed if not self.review.is_decided(c)), listed[0].number if listed else 0)
        number = number if listed and 1 <= number <= len(self.review.cards) else first
        nothing = pages.html("nothing.html", chosen=chosen if self.review.cards else GroupFilter())
        stage = pages.stage(number, chosen) if number else nothing
        html = pages.html(
            "review.html",
            chosen=chosen,
            relations=_RELATIONS,
            group_list=pages.group_list(listed, 0),
            stage=stage,
            nothing=pages.html("nothing.html", chosen=GroupFilter(text="any")),
            totals=pages.totals(),
            folders=pages.folder_list(),
        )
        return HTMLResponse(html)

    def folders(self, request: Request) -> Response:
        return HTMLResponse(self.pages(request).folder_list())

    def groups(self, request: Request) -> Response:
        start = small_number(request.query_params.get("start", "")) or 0
        return HTMLResponse(self.pages(request).group_list(self.review.listed(filter_of(request)), start))

    def group(self, request: Request) -> Response:
        number = required_number(request.path_params["number"])
        return HTMLResponse(self.pages(request).stage(number, filter_of(request)))

    def photo(self, request: Request) -> Response:
        sha256, size = request.path_params["sha256"], request.path_params["size"]
        shot = self.review.shot(sha256)
        if shot is None or size not in SIZES:
            return PlainTextResponse("there is no such picture", 404)
        picture = self.pictures.get(shot, size)
        if isinstance(picture, str):
            return PlainTextResponse(self.pages(request).language.say(picture), 404)
        media_type = "image/webp" if size == "thumb" else "image/jpeg"
        return Response(picture, media_type=media_type, headers=_CACHED)

    def aligned(self, request: Request) -> Response:
        pair = request.path_params["first"], request.path_params["second"]
        layers = self.overlays.get(*pair)
        shots = [self.review.shot(sha256) for sha256 in pair]
        missing = layers if isinstance(layers, str) else ""
        html = self.pages(request).html("aligned.html", layers=layers, missing=missing, pair=pair, shots=shots)
        return HTMLResponse(html)

    def layer(self, request: Request) -> Response:
        layers = self.overlays.get(request.path_params["first"], request.path_params["second"])
        jpeg = None if isinstance(layers, str) else layers.jpegs.get(request.path_params["layer"])
        if jpeg is None:
            return PlainTextResponse("there is no such picture", 404)
        return Response(jpeg, media_type="image/jpeg", headers=_CACHED)

    def explanation(self, request: Request) -> Response:
        left, right = request.path_params["left"], request.path_params["right"]
        rows = self.figures.get(left, right)
        if isinstance(rows, str):
            return HTMLResponse(self.pages(request).html("explanation.html", rows=[], missing=rows))
        numbers = count()
        addressed = [[(panel, f"figure/{left}/{right}/{next(numbers)}") for panel in row] for row in rows]
        return HTMLResponse(self.pages(request).html("explanation.html", rows=addressed, missing=""))

    def figure(self, request: Request) -> Response:
        left, right = request.path_params["left"], request.path_params["right"]
        number = required_number(request.path_params["number"])
        rows = self.figures.get(left, right)
        panels = [] if isinstance(rows, str) else list(chain.from_iterable(rows))
        if number >= len(panels):
            return PlainTextResponse("there is no such figure", 404)
        return Response(panels[number].data, media_type="image/webp", headers=_CACHED)

    # Deciding

    async def decide(self, request: Request) -> Response:
        fields = await fields_of(request, "group", "action", "sha256", "shown", "query")
        return await run_in_threadpool(self._decide, fields, self.pages(request))

    def _decide(self, fields: dict[str, str], pages: Pages) -> Response:
        number = required_number(fields["group"])
        with self.review.lock:
            if fields["shown"] != self.review.fingerprint([self.review.card(number)]):
                raise BadUsage(_GROUP_CHANGED)
            changed = self.review.decide(number, fields["action"], fields["sha256"])
        return self.changed(number, changed, fields, pages)

    async def undo_decision(self, request: Request) -> Response:
        fields = await fields_of(request, "query")
        pages = self.pages(request)
        return await run_in_threadpool(lambda: self.changed(*self.review.undo(), fields, pages))

    def changed(self, number: int, groups: Iterable[int], fields: dict[str, str], pages: Pages) -> Response:
        """Return what looks different now: the group, its lines in the list, and the totals."""
        lines = {n: pages.html("line.html", card=self.review.card(n)) for n in groups}
        stage = pages.stage(number, parse_filter(fields["query"]))
        return JSONResponse({"group": number, "stage": stage, "lines": lines, "totals": pages.totals()})

    def shown(self, request: Request) -> Response:
        chosen = filter_of(request)
        cards = self._open(chosen)
        size = sum(map(self.review.reclaimable, cards))
        shown = self.review.fingerprint(cards)
        values = {"cards": cards, "bytes": size, "chosen": chosen, "fingerprint": shown, "relations": _RELATIONS}
        return HTMLResponse(self.pages(request).html("accept.html", **values))

    async def accept(self, request: Request) -> Response:
        fields = await fields_of(request, "query", "shown")
        return await run_in_threadpool(self._accept, fields, self.pages(request))

    def _accept(self, fields: dict[str, str], pages: Pages) -> Response:
        with self.review.lock:
            cards = self._open(parse_filter(fields["query"]))
            if not cards or fields["shown"] != self.review.fingerprint(cards):
                raise BadUsage(_GROUPS_CHANGED)
            self.review.accept([card.number for card in cards])
        return JSONResponse({"said": pages.accepted(len(cards)), "totals": pages.totals()})

    async def accept_folder(self, request: Request) -> Response:
        fields, pages = await fields_of(request, "shown"), self.pages(request)
        count = await run_in_threadpool(self.review.accept_folder, fields["shown"])
        return JSONResponse({"said": pages.accepted(count), "totals": pages.totals()})

    def _open(self, chosen: GroupFilter) -> list[Card]:
        listed = [card for card in self.review.listed(chosen) if not self.review.is_decided(card)]
        return [self.review.card(card.number) for card in listed]

    # Applying

    def plan(self, request: Request) -> Response:
        everything = request.query_params.get("everything") == "yes"
        to = request.query_params.get("to", "trash")
        plan = self.review.plan(everything=everything, linking=to in LINKS)
        rows = list(plan_rows(plan))
        removed = [row for row in rows if row["action"] == "remove"]
        html = self.pages(request).html(
            "plan.html",
            everything=everything,
            to=to,
            fingerprint=fingerprint(plan),
            rows=rows[:_PLAN_ROWS],
            hidden=len(rows[_PLAN_ROWS:]),
            removed=len(removed),
            bytes=sum(row["bytes"] for row in removed),
            run=self.jobs.last_run(),
            reason=reason_of,
        )
        return HTMLResponse(html)

    async def apply(self, request: Request) -> Response:
        fields = await fields_of(request, "to", "everything", "shown")
        everything = fields["everything"] == "yes"
        return await run_in_threadpool(
            self._start,
            lambda: self.jobs.apply(to=fields["to"], everything=everything, shown=fields["shown"]),
        )

    async def undo(self, request: Request) -> Response:
        fields = await fields_of(request, "run")
        return await run_in_threadpool(self._start, lambda: self.jobs.undo(fields["run"]))

    def _start(self, start: Callable[[], None]) -> Response:
        start()
        return JSONResponse({})

    def job(self, request: Request) -> Response:
        job, pages = self.jobs.job, self.pages(request)
        failed = [printable(pages.language.say(line)) for line in job.failed]
        said = {"said": printable(pages.job_words(job)), "failed": failed, "totals": pages.totals()}
        return JSONResponse(asdict(job) | said)


def reason_of(row: Row) -> Message:
    """Return why a row of a plan keeps or removes its file, as a page shows it."""
    reason: Message = row["reason"]
    keeper = os.path.basename(str(row["keeper"]))
    why = {"keeper": keeper, "reason": reason.values.get("reason", reason)}
    return {
        Relation.EXACT.word: Message("exact copy of {keeper}", keeper=keeper),
        Relation.IDENTICAL.word: Message("identical to {keeper}, which is kept: {reason}", **why),
        Relation.COPY.word: Message("copy of {keeper}, which is kept: {reason}", **why),
        Relation.VARIANT.word: Message("variant of {keeper}, which is kept: {reason}", **why),
        Relation.SIMILAR.word: Message("similar to {keeper}, which is kept: {reason}", **why),
    }.get(row["relation"], reason)  # what is kept has no relation, nor have companions


def filter_of(request: Request) -> GroupFilter:
    return parse_filter(request.url.query)


def parse_filter(query: str) -> GroupFilter:
    """Return the filter in a query string; invalid values are ignored."""
    given = {key: values[-1] for key, values in parse_qs(query).items()}
    order, relation, status = given.get("order", ""), given.get("relation", ""), given.get("status", "")
    try:
        least = min(max(float(given.get("least", "0")), 0.0), 1.0)
    except ValueError:
        least = 0.0
    return GroupFilter(
        text=given.get("text", ""),
        relation=relation if relation in _RELATIONS else "",
        least=least if least == least else 0.0,  # not NaN
        status=status if status in ("open", "decided") else "",
        order=order if order in ORDERS else "path",
    )


async def fields_of(request: Request, *names: str) -> dict[str, str]:
    """Return fields of a request's JSON object as text, empty where absent. Answers 400 to anything else."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            given = json.loads(await request.body())
    except TimeoutError:
        raise HTTPException(408, "the request took too long") from None
    except ClientDisconnect:  # nobody is there to read the answer
        raise HTTPException(400, "the request is incomplete") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "a JSON object was expected") from None
    if not isinstance(given, dict):
        raise HTTPException(400, "a JSON object was expected")
    return {name: text_field(name, given.get(name, "")) for name in names}


def text_field(name: str, value: object) -> str:
    if type(value) is int:  # not bool
        value = str(value)
    if not isinstance(value, str) or has_control_characters(value) or not _is_unicode(value):
        raise HTTPException(400, f"{name}: text was expected")
    return value


def _is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode the text: JSON can hold halves of surrogate pairs."""
    return not re.search("[\ud800-\udfff]", text)


def small_number(text: str) -> int | None:
    """Return a number of up to nine digits, None for any other text."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def required_number(text: str) -> int:
    number = small_number(text)
    if number is None:
        raise HTTPException(400, "a number was expected")
    return number


def language_for(chosen: Language | None, request: Request) -> Language:
    """Return the language of a server or, if none was chosen for it, the one that the browser asks for."""
    return chosen or accepted(request.headers.get("accept-language", ""))


def http_error_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def application(
    review: Review,
    pictures: Pictures,
    figures: Figures,
    overlays: Overlays,
    jobs: JobRunner,
    *,
    language: Language | None = None,
    **guard: Any,
) -> Guard:
    """Return the whole application. language: None for the browser's.   guard: the keyword arguments of Guard."""
    site = Site(review, pictures, figures, overlays, jobs, language)

    def error_response(request: Request, error: Exception) -> Response:
        """Answer an error that dedup raised on purpose, as one line."""
        assert isinstance(error, DedupError)
        said = language_for(language, request).say(sentence_of(error))
        return JSONResponse({"error": printable(said)}, 409)

    handlers = {DedupError: error_response, HTTPException: http_error_response}
    return Guard(Starlette(routes=site.routes(), exception_handlers=handlers), **guard)
