"""Run a function over many items in worker processes that may crash.

Photos come from strangers, and the native codecs that open them can crash or hang. A crash or a timeout costs
only the item that caused it and one process: its result is then a Failure with the reason.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import Queue
from threading import Lock
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # items sent to a worker ahead of its answers, so that it never waits
_LIMIT_S = 120.0  # for one item
_STARTING = Lock()  # the environment that a new process inherits is shared by all threads
_THREADS = (  # environment variables by which native libraries learn how many threads to use
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


Progress = Callable[[str, int, int], None]  # stage, done, of


@dataclass(frozen=True)
class Runtime:
    """The resources of a run. Nothing here changes the result."""

    workers: int  # number of decoding processes, and of threads that run the networks
    progress: Progress
    clock: Callable[[], float]  # seconds since the epoch
    preview_folder: str | None = None  # the folder of images/preview_cache.py
    pool: Pool | None = None  # processes that are already running

    def run(
        self, fn: Callable[[Item], Result], items: Iterable[Item], *, limit_s: float = _LIMIT_S
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yield the results of run(), using the processes of the pool if there is one."""
        if self.pool is None:
            return run(fn, items, workers=self.workers, limit_s=limit_s)
        return self.pool.run(fn, items, limit_s=limit_s)


@contextmanager
def worker_pool(runtime: Runtime) -> Iterator[Runtime]:
    """Give the runtime a pool of processes until the end of the block; starting one takes 0.25 s."""
    with Pool(runtime.workers) as pool:
        yield replace(runtime, pool=pool)


@dataclass(frozen=True, slots=True)
class Failure:
    """There is no result: the worker died or was stopped."""

    reason: str


@dataclass
class _Worker(Generic[Item]):
    process: BaseProcess
    connection: Connection
    waiting: deque[Item]
    since: float  # the earliest time at which the first waiting item was started


def run(
    fn: Callable[[Item], Result], items: Iterable[Item], *, workers: int, limit_s: float = _LIMIT_S
) -> Iterator[tuple[Item, Result | Failure]]:
    """Yield (item, fn(item)) for every item, each once, in any order.

    fn and the items must be picklable. What fn raises is a bug and is raised here.
    """
    with Pool(workers) as pool:
        yield from pool.run(fn, items, limit_s=limit_s)


class Pool:
    """Processes that are reused by successive calls of run(). Not thread-safe."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._idle: list[_Worker[Any]] = []
        self._closed = False

    def run(
        self, fn: Callable[[Item], Result], items: Iterable[Item], *, limit_s: float = _LIMIT_S
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yield what run() does."""
        todo = iter(items)
        again: deque[Item] = deque()  # sent to a worker that died before it reached them
        pool: list[_Worker[Item]] = []
        try:
            while True:
                _hand_out(fn, pool, self._idle, again, todo, workers=self._workers)
                busy = {w.connection: w for w in pool if w.waiting}
                if not busy:
                    return
                ready = wait(list(busy), timeout=_until_overdue(busy.values(), limit_s))
                for connection in ready:
                    assert isinstance(connection, Connection)
                    yield _answer(busy[connection], pool, again)
                if not ready:
                    yield from _overdue(pool, again, limit_s=limit_s)
        finally:
            for worker in pool:
                if worker.waiting or self._closed:  # its results are no longer needed
                    _stop(worker)
                else:
                    self._idle.append(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._closed = True
        while self._idle:
            _stop(self._idle.pop())


def in_threads(
    fn: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    begin: Callable[[], None],
    threads: int,
) -> Iterator[Result]:
    """Yield fn(item) in the order of the items, while the next items are awaited.

    For functions that release the GIL. begin: called once by each thread. At most threads + 1 items are
    in progress. Exceptions of fn or of the items are raised here.
    """
    with ThreadPoolExecutor(threads, initializer=begin) as pool:
        under_way: deque[Future[Result]] = deque()
        for item in items:
            under_way.append(pool.submit(fn, item))
            if len(under_way) > threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


class Helpers(Generic[Item, Result]):
    """Processes that handle one item at a time; call() can be used from any thread."""

    def __init__(self, fn: Callable[[Item], Result], *, workers: int, limit_s: float = _LIMIT_S) -> None:
        self._fn, self._limit_s = fn, limit_s
        self._free: Queue[_Worker[Item] | None] = Queue()
        for _ in range(workers):
            self._free.put(None)  # started on first use
        self._workers = workers

    def call(self, item: Item) -> Result | Failure:
        """Return fn(item). What fn raises is a bug and is raised here."""
        worker = self._free.get()
        try:
            worker = worker or _start(self._fn)
            return self._ask(worker, item)
        finally:
            self._free.put(worker if worker and worker.process.is_alive() else None)

    def _ask(self, worker: _Worker[Item], item: Item) -> Result | Failure:
        reason = f"not done after {self._limit_s:.0f} s"
        try:
            worker.connection.send((self._fn, item))
            if worker.connection.poll(self._limit_s):
                answer, error = worker.connection.recv()
                if error is not None:
                    raise error
                result: Result = answer
                return result
        except (EOFError, BrokenPipeError, ConnectionResetError):
            worker.process.join()
            reason = _cause(worker.process.exitcode)
        worker.process.kill()
        _stop(worker)
        return Failure(reason)

    def close(self) -> None:
        """Wait for pending results and stop the processes."""
        for _ in range(self._workers):
            worker = self._free.get()
            if worker:
                _stop(worker)


def _hand_out(
    fn: Callable[[Item], Result],
    pool: list[_Worker[Item]],
    idle: list[_Worker[Item]],
    again: deque[Item],
    todo: Iterator[Item],
    *,
    workers: int,
) -> None:
    """Send each worker its next items, using idle workers or starting new ones."""
    for depth in range(1, _AHEAD + 1):
        for n in range(workers):
            if n < len(pool) and len(pool[n].waiting) >= depth:
                continue
            item = again.popleft() if again else next(todo, None)
            if item is None:
                return
            if n >= len(pool):
                pool.append(idle.pop() if idle else _start(fn))
                n = len(pool) - 1
            worker = pool[n]
            if not worker.waiting:
                worker.since = time.monotonic()
            worker.waiting.append(item)
            with suppress(BrokenPipeError, ConnectionResetError):  # it died, which the next read will show
                worker.connection.send((fn, item))


def _answer(worker: _Worker[Item], pool: list[_Worker[Item]], again: deque[Item]) -> tuple[Item, Result | Failure]:
    try:
        result, error = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return _bury(worker, pool, again, _cause(worker.process.exitcode))
    if error is not None:
        raise error
    worker.since = time.monotonic()
    return worker.waiting.popleft(), result


def _overdue(
    pool: list[_Worker[Item]], again: deque[Item], *, limit_s: float
) -> Iterator[tuple[Item, Result | Failure]]:
    now = time.monotonic()
    for worker in [w for w in pool if w.waiting and now - w.since >= limit_s]:
        worker.process.kill()
        yield _bury(worker, pool, again, f"not done after {limit_s:.0f} s")


def _until_overdue(busy: Iterable[_Worker[Item]], limit_s: float) -> float:
    return max(0.0, min(w.since for w in busy) + limit_s - time.monotonic())


def _bury(
    worker: _Worker[Item], pool: list[_Worker[Item]], again: deque[Item], reason: str
) -> tuple[Item, Result | Failure]:
    """Return the failure of the worker's current item; its other items return to the queue."""
    pool.remove(worker)
    item = worker.waiting.popleft()
    again.extend(worker.waiting)
    worker.waiting.clear()
    _stop(worker)
    return item, Failure(reason)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"the decoder crashed ({signal.Signals(-exitcode).name})"
    return f"the decoder ended with code {exitcode}"


def _start(fn: Callable[[Item], Result]) -> _Worker[Item]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks held by torch's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    with _STARTING, _one_thread_each(), _without_main(fn):
        process.start()
    theirs.close()
    return _Worker(process, ours, deque(), time.monotonic())


@contextmanager
def _without_main(fn: Callable[..., object]) -> Iterator[None]:
    """Keep a new process from running this process's main module again, unless fn is defined there.

    Otherwise a script that starts a scan at its top level would start it again in every worker.
    """
    main = sys.modules["__main__"]
    if getattr(fn, "__module__", "") != "__main__":
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit linear algebra libraries in a new process to one thread; the processes provide the parallelism.

    The libraries read these variables when they are loaded; more threads than cores only wait for each other.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _stop(worker: _Worker[Item]) -> None:
    worker.connection.close()
    worker.process.join(timeout=0.5)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _work(connection: Connection) -> None:
    """Answer calls until the other end closes the pipe. Output of native libraries is discarded."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too and closes the pipe
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (for the life of the process)
    while True:
        try:
            fn, item = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[object, BaseException | None] = fn(item), None
        except Exception as error:
            answer = None, error  # a bug, which is raised again in the parent
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return
