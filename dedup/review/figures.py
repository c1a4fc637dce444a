"""Explanations of pairs for the browser, by the SHA-256 of both photos; the latest figures are cached."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from dedup.models.weights import weights_spec
from dedup.pipeline.pairs import read_images
from dedup.report.figure import PanelImage, panel_images
from dedup.review.session import Review
from dedup.store.store import Store
from dedup.types.message import Message
from dedup.workers import Helpers

_CACHED = 200  # figures, about 20 KB each

Rows = list[list[PanelImage]]


class Figures:
    """A context manager. get() may be called from any thread; figures are made one at a time."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._helpers = Helpers(read_images, workers=1)
        self._cache: OrderedDict[tuple[str, str], Rows] = OrderedDict()
        self._lock = Lock()

    def __enter__(self) -> Figures:
        return self

    def __exit__(self, *about: object) -> None:
        self._helpers.close()

    def get(self, left: str, right: str) -> Rows | str:
        """Return the figure for a keeper and a photo that matches it, or in words why there is none."""
        with self._lock:
            found = self._cache.pop((left, right), None) or self._make(left, right)
            if not isinstance(found, str):
                self._cache[left, right] = found
                while len(self._cache) > _CACHED:
                    self._cache.popitem(last=False)
            return found

    def _make(self, left: str, right: str) -> Rows | str:
        report, pair = self._review.pair(left, right)
        if pair is None:
            return Message("these two photos are not in one group")
        from dedup.pipeline.explain import explain_pair, to_read  # loads torch

        seen = self._helpers.call(to_read(report, pair))
        with Store(self._review.db) as store:
            comparison = explain_pair(pair, seen, report, store, weights_spec().load())
        return comparison if isinstance(comparison, str) else panel_images(comparison)
