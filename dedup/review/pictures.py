"""Photos as a browser shows them: by SHA-256, read from their files in other processes, the latest ones remembered."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock

from dedup.images.read import View, read_view
from dedup.report.cards import Shot
from dedup.workers import Failure, Helpers

SIZES = {"thumb": (192, "WEBP"), "screen": (1600, "JPEG"), "full": (8000, "JPEG")}
_REMEMBERED = 96 << 20  # bytes


class Pictures:
    """A context manager. get() may be called from any thread."""

    def __init__(self, *, workers: int) -> None:
        self._helpers = Helpers(read_view, workers=workers)
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock, self._held = Lock(), 0

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *about: object) -> None:
        self._helpers.close()

    def get(self, shot: Shot, size: str) -> bytes | str:
        """Return the picture as JPEG or WebP, or why there is none. The first file that still holds it is shown."""
        reason = ""
        side, format = SIZES[size]
        if size == "full" and shot.photo.format in ("JPEG", "MPO"):
            side = 0  # as it is: the browser turns it and knows its colours
        for file in (shot.file, *shot.copies):
            try:
                now = os.stat(file.path)
            except OSError:
                reason = reason or "gone since the scan"
                continue
            key = (file.path, now.st_mtime_ns, now.st_size, size)
            answer = self._remembered(key) or self._helpers.call(View(file.path, shot.photo.sha256, side, format))
            if isinstance(answer, bytes):
                self._remember(key, answer)
                return answer
            reason = answer.reason if isinstance(answer, Failure) else answer
        return reason

    def _remembered(self, key: tuple[object, ...]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _remember(self, key: tuple[object, ...], picture: bytes) -> None:
        with self._lock:
            self._held += len(picture) - len(self._kept.pop(key, b""))
            self._kept[key] = picture
            while self._held > _REMEMBERED:
                self._held -= len(self._kept.popitem(last=False)[1])
