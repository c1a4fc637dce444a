"""Apply and undo in a thread, by the same plan and actions as on the command line, and how far they are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock, Thread

from dedup.actions import journal
from dedup.actions.apply import LINKS, apply
from dedup.actions.plan import quarantine
from dedup.actions.undo import undo
from dedup.errors import BadUsage, DedupError
from dedup.pipeline.results import last_report
from dedup.review.session import planned
from dedup.store.store import Store
from dedup.types.plan import Outcome, Plan

REVIEW_DESTINATIONS = ("trash", "hardlink", "reflink")  # without delete, which cannot be undone


@dataclass
class Job:
    """What runs or ran last."""

    what: str = ""  # apply or undo
    run: str = ""
    of: int = 0
    done: int = 0
    running: bool = False
    error: str = ""
    failed: list[str] = field(default_factory=list)  # one line for each file that was skipped


def fingerprint(plan: Plan) -> str:
    """Return what stands for a plan: what a person has seen is what is done, or nothing is."""
    return sha256(repr(plan).encode("utf-8", "surrogateescape")).hexdigest()


class JobRunner:
    """One job at a time. A thread that is under way is waited for when the server ends."""

    def __init__(self, db: str, *, home_trash: str) -> None:
        self.db, self.home_trash, self.folder = db, home_trash, journal.folder_of(db)
        self.job = Job()
        self._lock = Lock()

    def last_run(self) -> str | None:
        """Return the newest apply that was not taken back."""
        return journal.last_run(self.folder)

    def apply(self, *, to: str, everything: bool, seen: str) -> None:
        """Begin to do what the plan of this fingerprint says. Raises BadUsage if a job is running."""
        if to not in REVIEW_DESTINATIONS and not os.path.isabs(to):
            raise BadUsage("name the whole path of the folder, from / on")
        self._start("apply", self._apply(to, everything, seen))

    def undo(self, run: str) -> None:
        """Begin to take an apply back. Raises BadUsage if there is no such run, or if a job is running."""
        journal.read(self.folder, run)
        self._start("undo", self._undo(run))

    def _start(self, what: str, outcomes: Iterator[Outcome]) -> None:
        with self._lock:
            if self.job.running:
                raise BadUsage("wait for what is being done")
            self.job = Job(what, running=True)
            Thread(target=self._follow, args=(self.job, outcomes)).start()

    def _follow(self, job: Job, outcomes: Iterator[Outcome]) -> None:
        try:
            for outcome in outcomes:
                job.done += 1
                if not outcome.done:
                    job.failed.append(outcome.line)
        except DedupError as error:
            job.error = str(error)
        except Exception as error:  # a bug: it must be seen on the page, and in the terminal
            job.error = f"stopped by a mistake in dedup: {error!r}"
            raise
        finally:
            job.running = False

    def _apply(self, to: str, everything: bool, seen: str) -> Iterator[Outcome]:
        job = self.job
        with Store(self.db, changing=True) as store:
            report = last_report(store)
            place = to if to in REVIEW_DESTINATIONS else quarantine(to, report.run.roots)
            plan = planned(report, everything=everything, linking=to in LINKS)
            if fingerprint(plan) != seen:
                raise BadUsage("something has changed since you looked; nothing was done. Look at the plan again")
            job.run, job.of = journal.new_run(self.folder, time.time()), sum(len(s.parts) for s in plan.steps)
            with journal.Journal(journal.path_of(self.folder, job.run)) as lines:
                yield from apply(
                    plan.steps, to=place, journal=lines, scanned_ns=int(report.run.started_at * 1e9),
                    protect=report.run.settings.protect,
                )  # fmt: skip

    def _undo(self, run: str) -> Iterator[Outcome]:
        job = self.job
        with Store(self.db, changing=True):
            entries = journal.read(self.folder, run)
            job.run, job.of = run, len(journal.started(entries))
            with journal.Journal(journal.path_of(self.folder, run)) as lines:
                yield from undo(entries, journal=lines, home_trash=self.home_trash)
