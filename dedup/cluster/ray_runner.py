"""run(fn, items) on the machines of a Ray cluster, like workers.run(). The only module that imports Ray.

A task whose process or machine dies is retried elsewhere; one that fails each time is a Failure, and the
others continue. Processes are reused, so that weights are loaded once in each.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from dedup.errors import BadUsage, DedupError
from dedup.workers import Failure

Item = TypeVar("Item")
Result = TypeVar("Result")

_ATTEMPTS = 3  # besides the first
_ANSWER_S = 10.0  # for a connection
_GO_ON = "what is done is kept: scan again to go on there"
_AHEAD = 2  # tasks submitted per processor, so that none waits
_ENVIRONMENT = {  # read when Ray is imported; values set by the user are kept
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage reports
    "RAY_worker_niceness": "0",  # reuse worker processes; the default of 15 s is too short on a busy machine
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # otherwise its native code writes to our stderr
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # otherwise retries are printed on our stdout
}


class _Gone(DedupError):
    """The cluster no longer answers."""


@contextmanager
def cluster(address: str | None, *, workers: int) -> Iterator[None]:
    """Connect to the cluster at this address ("auto": the one this machine is a node of); None: start one here.

    workers: of a cluster started here. Raises BadUsage without Ray, DedupError if no cluster answers.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise BadUsage("Ray is not installed: pip install 'dedup-photos[ray]'") from None
    if address is not None:
        _check(address)
    mine = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
    try:
        with _native_silence():
            ray.init(log_to_driver=False, logging_level="ERROR", **mine)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise DedupError(f"{address or 'Ray'}: {_refusal(error)}") from error
    gone = False
    try:
        yield
    except _Gone:
        gone = True
        raise
    finally:
        if not gone:  # otherwise Ray retries for a minute and then kills this process; it disconnects at exit
            ray.shutdown()


@contextmanager
def _native_silence() -> Iterator[None]:
    """Redirect stderr of this process, to which Ray writes while it connects."""
    if sys.__stderr__ is None:  # stderr was closed, and descriptor 2 may be another file
        yield
        return
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _refusal(error: BaseException) -> str:
    """Return one line that says why Ray did not connect."""
    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    if any("AuthenticationError" in f"{type(cause).__name__} {cause}" for cause in causes):
        return (
            "the token of this Ray cluster is missing or wrong: set RAY_AUTH_MODE=token,"
            " and have the token in RAY_AUTH_TOKEN or in ~/.ray/auth_token"
        )
    return f"no Ray cluster answers there ({_first_line(error)})"


def _check(address: str) -> None:
    """Raise DedupError if nothing answers at HOST:PORT; Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        except (OSError, OverflowError) as error:
            raise DedupError(f"{address}: no Ray cluster answers there ({error}); check --address") from error


def _check_still() -> None:
    """Raise DedupError if the cluster is gone; Ray itself would retry for a minute and then kill this process."""
    import ray

    try:
        _check(ray.get_runtime_context().gcs_address)
    except DedupError as error:
        raise _Gone(f"the Ray cluster is gone ({error.__cause__}); {_GO_ON}") from error


def run(
    fn: Callable[[Item], Result], items: Iterable[Item], *, device: str = "cpu"
) -> Iterator[tuple[Item, Result | Failure]]:
    """Yield (item, fn(item)) for every item, each once, in any order. fn and the items must be picklable.

    device: cuda gives each task a GPU. Exceptions of fn are retried too, and then become a Failure.
    """
    import ray
    from ray.exceptions import LocalRayletDiedError, RayError

    task = ray.remote(
        num_cpus=1, num_gpus=int(device == "cuda"), max_calls=0, max_retries=_ATTEMPTS, retry_exceptions=True
    )(_called)
    weights_spec, todo = ray.put(fn), iter(items)
    pending: dict[object, Item] = {}
    while True:
        _check_still()
        room = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(pending)
        pending |= {task.remote(weights_spec, item): item for item in islice(todo, max(0, room))}
        if not pending:
            return
        done, _ = ray.wait(list(pending), num_returns=1, timeout=_ANSWER_S)
        for answer in done:
            item = pending.pop(answer)
            try:
                yield item, ray.get(answer)
            except LocalRayletDiedError as error:
                raise _Gone(f"Ray has died on this machine; {_GO_ON}") from error
            except RayError as error:
                yield item, Failure(_cause(error))


def _called(fn: Callable[[Item], Result], item: Item) -> Result:
    vars(sys.modules["__main__"]).pop("__file__", None)  # otherwise each process that workers.py starts would load Ray
    return fn(item)


def _cause(error: Exception) -> str:
    """Return one line with the exception of fn, or how the process ended."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {_first_line(cause)}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")
