"""run(fn, items), as runners.run() does it, on the machines of a Ray cluster. The only module that imports Ray.

A task that dies with its process or its machine is done again elsewhere; one that dies each time is a Failure, and the
others go on. Processes stay: what a function keeps (the weights) is loaded once in each.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from dedup.errors import BadUsage, DedupError
from dedup.runners import Failure

Item = TypeVar("Item")
Result = TypeVar("Result")

_ATTEMPTS = 3  # besides the first
_ANSWER_S = 10.0  # for a connection
_AHEAD = 2  # tasks handed out for each processor, so that none waits


@contextmanager
def cluster(address: str | None, *, workers: int) -> Iterator[None]:
    """Be connected to the cluster at this address ("auto": where this machine is a node); None: one of our own here.

    workers: of a cluster of our own. Raises BadUsage without Ray, DedupError if no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is loaded: nothing is reported to anybody
    os.environ.setdefault("RAY_worker_niceness", "0")  # as the processes of runners.py; on a busy machine 15 is never
    try:
        import ray
    except ImportError:
        raise BadUsage("Ray is not installed: pip install 'dedup[ray]'") from None
    if address is not None:
        _check(address)
    mine = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **mine)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DedupError(f"{address}: no Ray cluster answers there ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Raise DedupError if nothing answers at a HOST:PORT: Ray would ask again for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        except (OSError, OverflowError) as error:
            raise DedupError(f"{address}: no Ray cluster answers there ({error}); check --address") from error


def run(
    fn: Callable[[Item], Result], items: Iterable[Item], *, device: str = "cpu"
) -> Iterator[tuple[Item, Result | Failure]]:
    """Yield (item, fn(item)) for every item, each once, in any order. fn and the items must be picklable.

    device: cuda gives each task a GPU. What fn raises is tried again as well, and then a Failure.
    """
    import ray
    from ray.exceptions import RayError

    task = ray.remote(
        num_cpus=1, num_gpus=int(device == "cuda"), max_calls=0, max_retries=_ATTEMPTS, retry_exceptions=True
    )(_called)
    shipped, todo, pending = ray.put(fn), iter(items), {}
    while True:
        for item in todo:
            pending[task.remote(shipped, item)] = item
            if len(pending) >= _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))):
                break
        if not pending:
            return
        done, _ = ray.wait(list(pending), num_returns=1)
        for answer in done:
            item = pending.pop(answer)
            try:
                yield item, ray.get(answer)
            except RayError as error:
                yield item, Failure(_cause(error))


def _called(fn: Callable[[Item], Result], item: Item) -> Result:
    vars(sys.modules["__main__"]).pop("__file__", None)  # or each process that runners.py starts would load Ray
    return fn(item)


def _cause(error: Exception) -> str:
    """Return what went wrong in one line: what fn raised, or how the process came to its end."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"
