"""The web application over one Review: routes and server. A GET changes nothing."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import chain, count
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dedup.actions.apply import LINKS
from dedup.actions.plan_file import plan_rows
from dedup.errors import BadUsage, DedupError
from dedup.report.cards import Card, table
from dedup.report.html import asset, environment
from dedup.report.text import printable
from dedup.review.figures import Figures
from dedup.review.guard import Guard, local_host, network_host
from dedup.review.jobs import JobRunner, fingerprint
from dedup.review.pictures import SIZES, Pictures
from dedup.review.session import ORDERS, GroupFilter, Review, state_of
from dedup.types.pairs import Relation

_PAGE = 60  # groups that the list at the side loads at once
_CACHED = {"Cache-Control": "private, max-age=3600", "Content-Disposition": "inline"}
_PLAN_ROWS = 300  # rows of a plan that are shown
_RELATIONS = [r.word for r in Relation if r <= Relation.SIMILAR]


class Site:
    """The routes. Starlette runs the synchronous ones in threads."""

    def __init__(self, review: Review, pictures: Pictures, figures: Figures, jobs: JobRunner) -> None:
        self.review, self.pictures, self.figures, self.jobs = review, pictures, figures, jobs
        self.env = environment("dedup.review")
        self.env.globals |= {
            "fate": review.fate,
            "is_decided": review.is_decided,
            "reclaimable": review.reclaimable,
            "sha256": review.sha256,
            "state_of": state_of,
        }

    def routes(self) -> list[Route | Mount]:
        return [
            Route("/", self.home),
            Route("/groups", self.groups),
            Route("/group/{number:int}", self.group),
            Route("/photo/{sha256}/{size}", self.photo),
            Route("/explanation/{left}/{right}", self.explanation),
            Route("/figure/{left}/{right}/{number:int}", self.figure),
            Route("/shown", self.shown),
            Route("/plan", self.plan),
            Route("/job", self.job),
            Route("/decide", self.decide, methods=["POST"]),
            Route("/undo-decision", self.undo_decision, methods=["POST"]),
            Route("/accept", self.accept, methods=["POST"]),
            Route("/apply", self.apply, methods=["POST"]),
            Route("/undo", self.undo, methods=["POST"]),
            Route("/static/base.css", lambda request: Response(asset("base.css"), media_type="text/css")),
            Mount("/static", StaticFiles(packages=[("dedup.review", "static")])),
        ]

    def html(self, template: str, **values: Any) -> str:
        return self.env.get_template(template).render(**values)

    # Showing

    def home(self, request: Request) -> Response:
        self.review.refresh()
        chosen, query = filter_of(request), request.query_params
        listed = self.review.listed(chosen)
        number = int(query["group"]) if query.get("group", "").isdecimal() else 0
        first = next((c.number for c in listed if not self.review.is_decided(c)), listed[0].number if listed else 0)
        number = number if 1 <= number <= len(self.review.cards) else first
        stage = self.stage(number, chosen) if number else self.html("nothing.html")
        html = self.html(
            "review.html",
            chosen=chosen,
            orders=ORDERS,
            relations=_RELATIONS,
            group_list=self.group_list(listed, 0),
            stage=stage,
            totals=self.totals(),
        )
        return HTMLResponse(html)

    def groups(self, request: Request) -> Response:
        start = request.query_params.get("start", "0")
        listed = self.review.listed(filter_of(request))
        return HTMLResponse(self.group_list(listed, int(start) if start.isdecimal() else 0))

    def group_list(self, listed: list[Card], start: int) -> str:
        more = start + _PAGE if start + _PAGE < len(listed) else 0
        return self.html("list.html", cards=listed[start : start + _PAGE], more=more, count=len(listed), start=start)

    def group(self, request: Request) -> Response:
        return HTMLResponse(self.stage(request.path_params["number"], filter_of(request)))

    def stage(self, number: int, chosen: GroupFilter) -> str:
        card = self.review.card(number)
        before, after = self.review.neighbours(number, chosen)
        positions = {shot.index: n for n, shot in enumerate(card.shots, 1)}
        values = {"card": card, "positions": positions, "table": table(card.shots)}
        return self.html("stage.html", before=before, after=after, **values)

    def totals(self) -> str:
        return self.html("totals.html", **self.review.totals())

    def photo(self, request: Request) -> Response:
        sha256, size = request.path_params["sha256"], request.path_params["size"]
        shot = self.review.shot(sha256)
        if shot is None or size not in SIZES:
            return PlainTextResponse("there is no such picture", 404)
        picture = self.pictures.get(shot, size)
        if isinstance(picture, str):
            return PlainTextResponse(picture, 404)
        media_type = "image/webp" if size == "thumb" else "image/jpeg"
        return Response(picture, media_type=media_type, headers=_CACHED)

    def explanation(self, request: Request) -> Response:
        left, right = request.path_params["left"], request.path_params["right"]
        rows = self.figures.get(left, right)
        if isinstance(rows, str):
            return HTMLResponse(self.html("explanation.html", rows=[], missing=rows))
        numbers = count()
        addressed = [[(panel, f"figure/{left}/{right}/{next(numbers)}") for panel in row] for row in rows]
        return HTMLResponse(self.html("explanation.html", rows=addressed, missing=""))

    def figure(self, request: Request) -> Response:
        left, right, number = (request.path_params[name] for name in ("left", "right", "number"))
        rows = self.figures.get(left, right)
        panels = [] if isinstance(rows, str) else list(chain.from_iterable(rows))
        if number >= len(panels):
            return PlainTextResponse("there is no such figure", 404)
        return Response(panels[number].data, media_type="image/webp", headers=_CACHED)

    # Deciding

    async def decide(self, request: Request) -> Response:
        fields = await fields_of(request, "action", "sha256", "query")
        return await run_in_threadpool(self._decide, fields)

    def _decide(self, fields: dict[str, str]) -> Response:
        number = group_number(fields)
        return self.changed(number, self.review.decide(number, fields["action"], fields["sha256"]), fields)

    async def undo_decision(self, request: Request) -> Response:
        fields = await fields_of(request, "query")
        return await run_in_threadpool(lambda: self.changed(*self.review.undo(), fields))

    def changed(self, number: int, groups: Iterable[int], fields: dict[str, str]) -> Response:
        """Return what looks different now: the group, its lines in the list, and the totals."""
        lines = {n: self.html("line.html", card=self.review.card(n)) for n in groups}
        stage = self.stage(number, parse_filter(fields["query"]))
        return JSONResponse({"group": number, "stage": stage, "lines": lines, "totals": self.totals()})

    def shown(self, request: Request) -> Response:
        chosen = filter_of(request)
        cards = self._open(chosen)
        size = sum(map(self.review.reclaimable, cards))
        return HTMLResponse(self.html("accept.html", cards=cards, bytes=size, chosen=chosen))

    async def accept(self, request: Request) -> Response:
        fields = await fields_of(request, "query", "count")
        return await run_in_threadpool(self._accept, fields)

    def _accept(self, fields: dict[str, str]) -> Response:
        cards = self._open(parse_filter(fields["query"]))
        if str(len(cards)) != fields["count"] or not cards:
            raise BadUsage("these are no longer the groups that were shown; check again")
        self.review.accept([card.number for card in cards])
        return JSONResponse({"count": len(cards), "totals": self.totals()})

    def _open(self, chosen: GroupFilter) -> list[Card]:
        return [card for card in self.review.listed(chosen) if not self.review.is_decided(card)]

    # Applying

    def plan(self, request: Request) -> Response:
        everything = request.query_params.get("everything") == "yes"
        to = request.query_params.get("to", "trash")
        plan = self.review.plan(everything=everything, linking=to in LINKS)
        rows = list(plan_rows(plan))
        removed = [row for row in rows if row["action"] == "remove"]
        html = self.html(
            "plan.html",
            everything=everything,
            to=to,
            fingerprint=fingerprint(plan),
            rows=rows[:_PLAN_ROWS],
            hidden=len(rows[_PLAN_ROWS:]),
            removed=len(removed),
            bytes=sum(row["bytes"] for row in removed),
            run=self.jobs.last_run(),
        )
        return HTMLResponse(html)

    async def apply(self, request: Request) -> Response:
        fields = await fields_of(request, "to", "everything", "fingerprint")
        everything = fields["everything"] == "yes"
        return await run_in_threadpool(
            self._start,
            lambda: self.jobs.apply(to=fields["to"], everything=everything, shown=fields["fingerprint"]),
        )

    async def undo(self, request: Request) -> Response:
        fields = await fields_of(request, "run")
        return await run_in_threadpool(self._start, lambda: self.jobs.undo(fields["run"]))

    def _start(self, start: Callable[[], None]) -> Response:
        start()
        return JSONResponse({})

    def job(self, request: Request) -> Response:
        job = asdict(self.jobs.job)
        return JSONResponse(job | {"failed": [printable(line) for line in job["failed"]], "totals": self.totals()})


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
    """Return fields of a request's JSON object as text, empty where absent. Raises BadUsage if it is not an object."""
    try:
        given = json.loads(await request.body())
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise BadUsage("a JSON object was expected")
    return {name: str(given.get(name, "")) for name in (*names, "group")}


def group_number(fields: dict[str, str]) -> int:
    if not fields["group"].isdecimal():
        raise BadUsage("the number of a group is missing")
    return int(fields["group"])


def error_response(request: Request, error: Exception) -> Response:
    """Answer an error that dedup raised on purpose, as one line."""
    return JSONResponse({"error": printable(str(error))}, 409)


def application(review: Review, pictures: Pictures, figures: Figures, jobs: JobRunner, **guard: Any) -> Guard:
    """Return the whole application. guard: the keyword arguments of Guard."""
    site = Site(review, pictures, figures, jobs)
    return Guard(Starlette(routes=site.routes(), exception_handlers={DedupError: error_response}), **guard)


def serve(
    db: str, *, host: str, port: int, password: str, home_trash: str, workers: int, opened: Callable[[str], None]
) -> None:
    """Serve the review of a database until Ctrl-C. opened is called with the address once the server listens.

    port: 0 for any free one. Raises BadUsage if the address cannot be used, StoreUnusable if there is no scan.
    """
    token = secrets.token_urlsafe(24)
    names = frozenset((socket.gethostname().lower(), f"{socket.gethostname()}.local".lower(), host.lower()))
    review = Review(db)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener, Pictures(workers=workers) as pictures, Figures(review) as figures:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise BadUsage(f"{host}, port {port}: cannot listen there ({error.strerror or error})") from error
        listener.listen(128)
        name = f"[{host}]" if ":" in host else host
        path = "/" if password else f"/{token}/"
        app = application(
            review, pictures, figures, JobRunner(db, home_trash=home_trash),
            token=token, password=password, host_allowed=network_host(names) if password else local_host,
        )  # fmt: skip
        opened(f"http://{name}:{listener.getsockname()[1]}{path}")
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off",
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])
