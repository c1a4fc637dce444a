"""Why two photos are said to be duplicates, as a browser shows it: by both SHA-256, the latest figures remembered."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from dedup.models.weights import weights_spec
from dedup.pipeline.pairs import read_seen
from dedup.report.figure import Shown, shown
from dedup.review.session import Review
from dedup.store.store import Store
from dedup.workers import Helpers

_REMEMBERED = 200  # figures, about 20 KB each

Rows = list[list[Shown]]


class Figures:
    """A context manager. get() may be called from any thread; one figure is made at a time."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._helpers = Helpers(read_seen, workers=1)
        self._kept: OrderedDict[tuple[str, str], Rows] = OrderedDict()
        self._lock = Lock()

    def __enter__(self) -> Figures:
        return self

    def __exit__(self, *about: object) -> None:
        self._helpers.close()

    def get(self, left: str, right: str) -> Rows | str:
        """Return the figure of a photo to keep and one that matches it, or why there is none."""
        with self._lock:
            found = self._kept.pop((left, right), None) or self._made(left, right)
            if not isinstance(found, str):
                self._kept[left, right] = found
                while len(self._kept) > _REMEMBERED:
                    self._kept.popitem(last=False)
            return found

    def _made(self, left: str, right: str) -> Rows | str:
        report, couple = self._review.couple(left, right)
        if couple is None:
            return "these two are not in one group"
        from dedup.pipeline.explain import to_read, told  # and torch

        seen = self._helpers.call(to_read(report, couple))
        with Store(self._review.db) as store:
            comparison = told(couple, seen, report, store, weights_spec().load())
        return comparison if isinstance(comparison, str) else shown(comparison)
