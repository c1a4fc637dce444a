"""SIGTERM, SIGHUP and Ctrl-C end a command in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WORDS = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; str() is its name.

    Python itself exits as if killed by SIGINT, whatever became of the exception, if a KeyboardInterrupt proper passed
    code that was given to exec() as a string, which many modules do while they are imported.
    """


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise Stopped on SIGINT, SIGTERM and SIGHUP until the end of the block.

    A signal that was ignored when this process was started stays ignored, as nohup wants it.
    """
    before = {}
    for number in (getattr(signal, name) for name in _WORDS if hasattr(signal, name)):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(_WORDS[signal.Signals(number).name])
