"""The web application over one Review: routes, and the server. Nothing is changed by a GET."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable
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
from dedup.review.guard import Guard, local, of_network
from dedup.review.jobs import JobRunner, fingerprint
from dedup.review.pictures import SIZES, Pictures
from dedup.review.session import ORDERS, GroupFilter, Review, state_of
from dedup.types.pairs import Relation

_LISTED = 60  # groups sent at once to the list at the side
_KEPT = {"Cache-Control": "private, max-age=3600", "Content-Disposition": "inline"}
_PLANNED = 300  # lines of a plan that are shown
_RELATIONS = [r.word for r in Relation if r <= Relation.SIMILAR]


class Site:
    """The answers. Sync methods run in threads of their own."""

    def __init__(self, review: Review, pictures: Pictures, figures: Figures, work: JobRunner) -> None:
        self.review, self.pictures, self.figures, self.work = review, pictures, figures, work
        self.env = environment("dedup.review")
        self.env.globals |= {"fate": review.fate, "settled": review.settled, "won": review.won, "state_of": state_of}
        self.env.globals["sha256"] = review.sha256

    def routes(self) -> list[Route | Mount]:
        return [
            Route("/", self.home),
            Route("/groups", self.groups),
            Route("/group/{number:int}", self.group),
            Route("/photo/{sha256}/{size}", self.photo),
            Route("/why/{left}/{right}", self.why),
            Route("/figure/{left}/{right}/{number:int}", self.figure),
            Route("/bulk", self.bulk),
            Route("/plan", self.plan),
            Route("/job", self.job),
            Route("/decide", self.decide, methods=["POST"]),
            Route("/undecide", self.undecide, methods=["POST"]),
            Route("/accept", self.accept, methods=["POST"]),
            Route("/apply", self.apply, methods=["POST"]),
            Route("/undo", self.undo, methods=["POST"]),
            Route("/static/base.css", lambda request: Response(asset("base.css"), media_type="text/css")),
            Mount("/static", StaticFiles(packages=[("dedup.review", "static")])),
        ]

    def html(self, template: str, **values: Any) -> str:
        return self.env.get_template(template).render(**values)

    # What is looked at

    def home(self, request: Request) -> Response:
        self.review.refresh()
        wanted, query = wanted_of(request), request.query_params
        shown = self.review.wanted(wanted)
        number = int(query["group"]) if query.get("group", "").isdecimal() else 0
        first = next((c.number for c in shown if not self.review.settled(c)), shown[0].number if shown else 0)
        number = number if 1 <= number <= len(self.review.cards) else first
        values = {"wanted": wanted, "orders": ORDERS, "relations": _RELATIONS, "run": self.review.report.run}
        stage = self.stage(number, wanted) if number else self.html("nothing.html")
        html = self.html("review.html", **values, listed=self.listed(shown, 0), stage=stage, totals=self.totals())
        return HTMLResponse(html)

    def groups(self, request: Request) -> Response:
        start = request.query_params.get("start", "0")
        shown = self.review.wanted(wanted_of(request))
        return HTMLResponse(self.listed(shown, int(start) if start.isdecimal() else 0))

    def listed(self, shown: list[Card], start: int) -> str:
        some = shown[start : start + _LISTED]
        more = start + _LISTED if start + _LISTED < len(shown) else 0
        return self.html("list.html", cards=some, more=more, count=len(shown), start=start)

    def group(self, request: Request) -> Response:
        return HTMLResponse(self.stage(request.path_params["number"], wanted_of(request)))

    def stage(self, number: int, wanted: GroupFilter) -> str:
        card = self.review.card(number)
        before, after = self.review.beside(number, wanted)
        numbers = {shot.index: n for n, shot in enumerate(card.shots, 1)}
        values = {"card": card, "numbers": numbers, "table": table(card.shots)}
        return self.html("stage.html", before=before, after=after, **values)

    def totals(self) -> str:
        return self.html("totals.html", **self.review.totals())

    def photo(self, request: Request) -> Response:
        sha256, size = request.path_params["sha256"], request.path_params["size"]
        shot = self.review.shot(sha256)
        if shot is None or size not in SIZES:
            return PlainTextResponse("no such picture", 404)
        picture = self.pictures.get(shot, size)
        if isinstance(picture, str):
            return PlainTextResponse(picture, 404)
        kind = "image/webp" if size == "thumb" else "image/jpeg"
        return Response(picture, media_type=kind, headers=_KEPT)

    def why(self, request: Request) -> Response:
        left, right = request.path_params["left"], request.path_params["right"]
        rows = self.figures.get(left, right)
        if isinstance(rows, str):
            return HTMLResponse(self.html("why.html", rows=[], lacking=rows))
        numbers = count()
        addressed = [[(panel, f"figure/{left}/{right}/{next(numbers)}") for panel in row] for row in rows]
        return HTMLResponse(self.html("why.html", rows=addressed, lacking=""))

    def figure(self, request: Request) -> Response:
        left, right, number = (request.path_params[name] for name in ("left", "right", "number"))
        rows = self.figures.get(left, right)
        panels = [] if isinstance(rows, str) else list(chain.from_iterable(rows))
        if number >= len(panels):
            return PlainTextResponse("no such figure", 404)
        return Response(panels[number].data, media_type="image/webp", headers=_KEPT)

    # What is decided

    async def decide(self, request: Request) -> Response:
        asked = await words_of(request, "action", "sha256", "query")
        return await run_in_threadpool(self._decide, asked)

    def _decide(self, asked: dict[str, str]) -> Response:
        number = number_of(asked)
        return self.changed(number, self.review.decide(number, asked["action"], asked["sha256"]), asked)

    async def undecide(self, request: Request) -> Response:
        asked = await words_of(request, "query")
        return await run_in_threadpool(lambda: self.changed(*self.review.take_back(), asked))

    def changed(self, number: int, groups: list[int], asked: dict[str, str]) -> Response:
        """Return what looks different now: the group, the lines of the list, the totals."""
        lines = {n: self.html("line.html", card=self.review.card(n)) for n in groups}
        stage = self.stage(number, parsed(asked["query"]))
        return JSONResponse({"group": number, "stage": stage, "lines": lines, "totals": self.totals()})

    def bulk(self, request: Request) -> Response:
        cards = self._open(wanted_of(request))
        size = sum(map(self.review.won, cards))
        return HTMLResponse(self.html("bulk.html", cards=cards, bytes=size, wanted=wanted_of(request)))

    async def accept(self, request: Request) -> Response:
        asked = await words_of(request, "query", "count")
        return await run_in_threadpool(self._accept, asked)

    def _accept(self, asked: dict[str, str]) -> Response:
        cards = self._open(parsed(asked["query"]))
        if str(len(cards)) != asked["count"] or not cards:
            raise BadUsage("these are no longer the groups that you saw; look again")
        self.review.accept([card.number for card in cards])
        return JSONResponse({"count": len(cards), "totals": self.totals()})

    def _open(self, wanted: GroupFilter) -> list[Card]:
        return [card for card in self.review.wanted(wanted) if not self.review.settled(card)]

    # What is done

    def plan(self, request: Request) -> Response:
        everything = request.query_params.get("everything") == "yes"
        to = request.query_params.get("to", "trash")
        plan = self.review.plan(everything=everything, linking=to in LINKS)
        rows = list(plan_rows(plan))
        going = [row for row in rows if row["action"] == "remove"]
        values = {
            "everything": everything,
            "to": to,
            "seen": fingerprint(plan),
            "rows": rows[:_PLANNED],
            "going": len(going),
        }
        values |= {"hidden": len(rows[_PLANNED:]), "bytes": sum(r["bytes"] for r in going), "run": self.work.last_run()}
        return HTMLResponse(self.html("plan.html", **values))

    async def apply(self, request: Request) -> Response:
        asked = await words_of(request, "to", "everything", "seen")
        everything = asked["everything"] == "yes"
        return await run_in_threadpool(
            self._begun, lambda: self.work.apply(to=asked["to"], everything=everything, seen=asked["seen"])
        )

    async def undo(self, request: Request) -> Response:
        asked = await words_of(request, "run")
        return await run_in_threadpool(self._begun, lambda: self.work.undo(asked["run"]))

    def _begun(self, act: Callable[[], None]) -> Response:
        act()
        return JSONResponse({})

    def job(self, request: Request) -> Response:
        job = asdict(self.work.job)
        return JSONResponse(job | {"failed": [printable(line) for line in job["failed"]], "totals": self.totals()})


def wanted_of(request: Request) -> GroupFilter:
    return parsed(request.url.query)


def parsed(query: str) -> GroupFilter:
    """Return what a query string asks for; what makes no sense in it is passed over."""
    given = {key: values[-1] for key, values in parse_qs(query).items()}
    order, relation, status = given.get("order", ""), given.get("relation", ""), given.get("status", "")
    try:
        least = min(max(float(given.get("least", "0")), 0.0), 1.0)
    except ValueError:
        least = 0.0
    return GroupFilter(
        text=given.get("text", ""),
        relation=relation if relation in _RELATIONS else "",
        least=least if least == least else 0.0,
        status=status if status in ("open", "decided") else "",
        order=order if order in ORDERS else "path",
    )


async def words_of(request: Request, *names: str) -> dict[str, str]:
    """Return the words of a request's JSON object, those that it lacks empty. Raises BadUsage if it is none."""
    try:
        asked = json.loads(await request.body())
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise BadUsage("a JSON object was expected")
    return {name: str(asked.get(name, "")) for name in (*names, "group")}


def number_of(asked: dict[str, str]) -> int:
    if not asked["group"].isdecimal():
        raise BadUsage("which group?")
    return int(asked["group"])


def told(request: Request, error: Exception) -> Response:
    """Answer an error that dedup raised on purpose: one line."""
    return JSONResponse({"error": printable(str(error))}, 409)


def application(review: Review, pictures: Pictures, figures: Figures, work: JobRunner, **guarded: Any) -> Guard:
    """Return the whole application; guarded: what Guard takes."""
    site = Site(review, pictures, figures, work)
    return Guard(Starlette(routes=site.routes(), exception_handlers={DedupError: told}), **guarded)


def serve(
    db: str, *, host: str, port: int, password: str, home_trash: str, workers: int, opened: Callable[[str], None]
) -> None:
    """Serve the review of a database until Ctrl-C. opened is called with the address when it can be asked.

    port: 0 for any that is free. Raises BadUsage where nobody can listen there, StoreUnusable without a scan.
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
            raise BadUsage(f"{host}, port {port}: cannot be listened on ({error.strerror or error})") from error
        listener.listen(128)
        shown = f"[{host}]" if ":" in host else host
        path = "/" if password else f"/{token}/"
        app = application(
            review, pictures, figures, JobRunner(db, home_trash=home_trash),
            token=token, password=password, host_is_ours=of_network(names) if password else local,
        )  # fmt: skip
        opened(f"http://{shown}:{listener.getsockname()[1]}{path}")
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off",
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])
