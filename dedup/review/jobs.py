"""Apply and undo in a thread, with the plan and actions of the command line, and their progress."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock, Thread

from dedup.actions import journal
from dedup.actions.apply import LINKS, Apply, apply
from dedup.actions.plan import quarantine
from dedup.actions.undo import undo
from dedup.errors import BadUsage, DedupError
from dedup.files.user_dirs import ActionDirs
from dedup.pipeline.results import load_results
from dedup.review.session import planned
from dedup.store.store import Store
from dedup.types.message import Message, sentence_of
from dedup.types.plan import Outcome, Plan

REVIEW_DESTINATIONS = ("trash", "hardlink", "reflink")  # deletion cannot be undone and needs the command line


@dataclass
class Job:
    """The job that runs now, or ran last."""

    what: str = ""  # apply or undo
    run: str = ""
    total: int = 0  # files
    done: int = 0
    running: bool = False
    error: str = ""
    failed: list[str] = field(default_factory=list)  # one line for each file that was skipped


PLAN_CHANGED = Message("the plan has changed since it was shown; nothing was done. Check the plan again")


def fingerprint(plan: Plan) -> str:
    """Return a digest of a plan: apply carries out the plan that was shown, or nothing."""
    return sha256(repr(plan).encode("utf-8", "surrogateescape")).hexdigest()


class JobRunner:
    """Runs one job at a time. When the server ends, it waits for a job in progress."""

    def __init__(self, db: str, *, dirs: ActionDirs) -> None:
        self.db, self.dirs, self.folder = db, dirs, journal.folder_of(db)
        self.job = Job()
        self._lock = Lock()

    def last_run(self) -> str | None:
        """Return the latest apply that was not undone."""
        return journal.last_run(self.folder)

    def apply(self, *, to: str, everything: bool, shown: str) -> None:
        """Start to carry out the plan whose fingerprint was shown. Raises BadUsage if a job is running."""
        if to not in REVIEW_DESTINATIONS and not os.path.isabs(to):
            raise BadUsage(Message("give the full path of the folder, starting with /"))
        self._start("apply", self._apply(to, everything, shown))

    def undo(self, run: str) -> None:
        """Start to undo an apply. Raises BadUsage if there is no such run, or if a job is running."""
        journal.read(self.folder, run)
        self._start("undo", self._undo(run))

    def _start(self, what: str, outcomes: Iterator[Outcome]) -> None:
        with self._lock:
            if self.job.running:
                raise BadUsage(Message("another job is running; wait until it is done"))
            self.job = Job(what, running=True)
            Thread(target=self._follow, args=(self.job, outcomes)).start()

    def _follow(self, job: Job, outcomes: Iterator[Outcome]) -> None:
        try:
            for outcome in outcomes:
                job.done += 1
                if not outcome.done:
                    job.failed.append(outcome.line)
        except DedupError as error:
            job.error = sentence_of(error)
        except Exception as error:  # a bug: show it on the page and in the terminal
            job.error = Message("stopped by a bug in dedup: {error}", error=repr(error))
            raise
        finally:
            job.running = False

    def _apply(self, to: str, everything: bool, shown: str) -> Iterator[Outcome]:
        job = self.job
        with Store(self.db, changing=True) as store:
            report = load_results(store)
            destination = to if to in REVIEW_DESTINATIONS else quarantine(to, report.run.roots)
            plan = planned(report, everything=everything, linking=to in LINKS)
            if fingerprint(plan) != shown:
                raise BadUsage(PLAN_CHANGED)
            job.run, job.total = journal.new_run(self.folder, time.time()), sum(len(s.parts) for s in plan.steps)
            with journal.Journal(journal.path_of(self.folder, job.run)) as lines:
                yield from apply(plan.steps, Apply.of(report, destination, self.dirs), journal=lines)

    def _undo(self, run: str) -> Iterator[Outcome]:
        job = self.job
        with Store(self.db, changing=True):
            entries = journal.read(self.folder, run)
            job.run, job.total = run, len(journal.started(entries))
            with journal.Journal(journal.path_of(self.folder, run)) as lines:
                yield from undo(entries, journal=lines, dirs=self.dirs)
