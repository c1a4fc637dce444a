"""Photos as JPEG or WebP for the browser, by SHA-256: decoded in other processes, the latest ones cached."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock

from dedup.images.read import View, read_view
from dedup.report.cards import Shot
from dedup.workers import Failure, Helpers

SIZES = {"thumb": (192, "WEBP"), "screen": (1600, "JPEG"), "full": (8000, "JPEG")}
_CACHE_SIZE = 96 << 20  # bytes


class Pictures:
    """A context manager. get() may be called from any thread."""

    def __init__(self, *, workers: int) -> None:
        self._helpers = Helpers(read_view, workers=workers)
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock, self._cached_bytes = Lock(), 0

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *about: object) -> None:
        self._helpers.close()

    def get(self, shot: Shot, size: str) -> bytes | str:
        """Return the picture, or in words why there is none. It is read from the first file that still holds it."""
        reason = ""
        side, format = SIZES[size]
        if size == "full" and shot.photo.format in ("JPEG", "MPO"):
            side = 0  # the file itself: browsers apply its orientation and colour profile
        for file in (shot.file, *shot.copies):
            try:
                now = os.stat(file.path)
            except OSError:
                reason = reason or "gone since the scan"
                continue
            key = (file.path, now.st_mtime_ns, now.st_size, size)
            answer = self._cached(key) or self._helpers.call(View(file.path, shot.photo.sha256, side, format))
            if isinstance(answer, bytes):
                self._add_to_cache(key, answer)
                return answer
            reason = answer.reason if isinstance(answer, Failure) else answer
        return reason

    def _cached(self, key: tuple[object, ...]) -> bytes | None:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _add_to_cache(self, key: tuple[object, ...], picture: bytes) -> None:
        with self._lock:
            self._cached_bytes += len(picture) - len(self._cache.pop(key, b""))
            self._cache[key] = picture
            while self._cached_bytes > _CACHE_SIZE:
                self._cached_bytes -= len(self._cache.popitem(last=False)[1])
