"""run(fn, items): calls a function on each item in worker processes, and yields the results.

Photos are untrusted files, and the native codecs that open them can crash or hang. A crash or a timeout costs one item
and one process, never the run: the result of the item is then a Failure that says what happened.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import Queue
from threading import Lock
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

from dedup.errors import DedupError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # items sent to a worker before it answers, so that it never waits
_LIMIT_S = 120.0  # for one item
_DYING_S = 5.0  # for a process whose end of the pipe is closed
_STARTING = Lock()  # starting a process changes the environment, which all threads share
_START_ATTEMPTS = 3  # in a row; then worker processes cannot be started here
_START_PAUSE_S = 0.5  # between them
_START_LIMIT_S = 120.0  # for one worker, on a busy machine
_READY = "ready"  # the first message of a worker
# Signals sent by a person, by another program or by the kernel when memory is short; no file causes them.
_FROM_OUTSIDE = {"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGXCPU", "SIGPWR"}
_THREADS = (  # environment variables by which native libraries learn how many threads to use
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


Progress = Callable[[str, int, int], None]  # stage, done, of


@dataclass(frozen=True)
class Runtime:
    """The resources of a scan; nothing here changes the result."""

    workers: int  # processes that decode, and threads that run the networks
    progress: Progress
    clock: Callable[[], float]  # seconds since the epoch
    preview_folder: str | None = None  # the folder of images/preview_cache.py
    pool: Pool | None = None  # processes that are running already

    def run(
        self, fn: Callable[[Item], Result], items: Iterable[Item], *, limit_s: float = _LIMIT_S
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yield the results of run(), in the processes of the pool if there is one."""
        if self.pool is None:
            return run(fn, items, workers=self.workers, limit_s=limit_s)
        return self.pool.run(fn, items, limit_s=limit_s)

    def run_again(
        self, fn: Callable[[Item], Result], items: Sequence[Item], *, limit_s: float = _LIMIT_S
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yield the results of run() in new processes, for items that failed in one of the others."""
        return run(fn, items, workers=min(self.workers, max(1, len(items))), limit_s=limit_s)


@contextmanager
def worker_pool(runtime: Runtime) -> Iterator[Runtime]:
    """Give the runtime with processes that run until the end of the block: starting one takes a quarter of a second."""
    with Pool(runtime.workers) as pool:
        yield replace(runtime, pool=pool)


@dataclass(frozen=True, slots=True)
class Failure:
    """No result: the worker died or had to be stopped.

    crashed: the item itself seems to be the cause, as the worker crashed. False: it ran out of time, or something else
    killed the worker (a person, or the kernel when memory is short).
    """

    reason: str
    crashed: bool = False


@dataclass
class _Worker(Generic[Item]):
    process: BaseProcess
    connection: Connection
    waiting: deque[Item]
    since: float  # when the first waiting item was started, at the earliest
    ready: bool = False  # the process has started


class _Died(Exception):
    """The worker died before it answered, or in the middle of its answer."""


def run(
    fn: Callable[[Item], Result], items: Iterable[Item], *, workers: int, limit_s: float = _LIMIT_S
) -> Iterator[tuple[Item, Result | Failure]]:
    """Yield (item, fn(item)) for every item, each once, in any order.

    fn and the items must be picklable. An exception in fn is a bug and is raised here. Raises DedupError if no worker
    process can be started.
    """
    with Pool(workers) as pool:
        yield from pool.run(fn, items, limit_s=limit_s)


class Pool:
    """Worker processes that keep running from one run() to the next. For one thread."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._idle: list[_Worker[Any]] = []
        self._closed = False

    def run(
        self, fn: Callable[[Item], Result], items: Iterable[Item], *, limit_s: float = _LIMIT_S
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yield the results of run()."""
        todo = iter(items)
        again: deque[Item] = deque()  # sent to a worker that died before it started them
        pool: list[_Worker[Item]] = []
        failed_starts = 0
        try:
            while True:
                failed_starts += _hand_out(fn, pool, self._idle, again, todo, workers=self._workers)
                busy = {w.connection: w for w in pool if w.waiting}
                if not busy and not again:
                    return
                ready = wait(list(busy), timeout=_until_overdue(busy.values(), limit_s))
                for connection in ready:
                    assert isinstance(connection, Connection)
                    worker = busy[connection]
                    started = worker.ready
                    answer = _answer(worker, pool, again)
                    if answer is not None:
                        yield answer
                    elif worker.ready and not started:
                        failed_starts = 0
                    else:
                        failed_starts += 1
                if not ready:
                    for worker in _overdue(pool, limit_s):
                        worker.process.kill()
                        if worker.ready:
                            yield _bury(worker, pool, again, _overdue_after(limit_s))
                        else:
                            _discard(worker, pool, again)
                            failed_starts += 1
                if failed_starts >= _START_ATTEMPTS and not any(w.ready for w in pool):
                    raise DedupError("worker processes cannot be started; free some memory, or use fewer workers")
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
    """Yield fn(item) in the order of the items; further items are taken while threads work on the first ones.

    For functions that do their work in native code. begin: called once by each thread, by the first one before there is
    an item. At most threads + 1 items are under way. Exceptions of fn or of the items are raised here.
    """
    with ThreadPoolExecutor(threads, initializer=begin) as pool:
        under_way: deque[Future[Result]] = deque()
        pool.submit(int)  # starts a thread
        for item in items:
            under_way.append(pool.submit(fn, item))
            if len(under_way) > threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


class Helpers(Generic[Item, Result]):
    """Worker processes that answer one item at a time; call() may be called from any thread."""

    def __init__(self, fn: Callable[[Item], Result], *, workers: int, limit_s: float = _LIMIT_S) -> None:
        self._fn, self._limit_s = fn, limit_s
        self._free: Queue[_Worker[Item] | None] = Queue()
        for _ in range(workers):
            self._free.put(None)  # started when it is first needed
        self._workers = workers

    def call(self, item: Item) -> Result | Failure:
        """Return fn(item). An exception in fn is a bug and is raised here."""
        worker = self._free.get()
        try:
            worker = worker or _start(self._fn)
            return self._ask(worker, item)
        finally:
            self._free.put(worker if worker and worker.process.is_alive() else None)

    def _ask(self, worker: _Worker[Item], item: Item) -> Result | Failure:
        failure = _overdue_after(self._limit_s)
        try:
            with suppress(OSError):  # it died; reading from it says so next
                worker.connection.send((self._fn, item))
            while worker.connection.poll(self._limit_s if worker.ready else max(self._limit_s, _START_LIMIT_S)):
                message = _receive(worker)
                if message is not None:
                    answer, error = message
                    if error is not None:
                        raise error
                    result: Result = answer
                    return result
        except _Died:
            failure = _death_of(worker)
        worker.process.kill()
        _stop(worker)
        return failure

    def close(self) -> None:
        """Wait for the answers under way, and end the processes."""
        for _ in range(self._workers):
            worker = self._free.get()
            if worker:
                _stop(worker)


def keep_freed_memory(*, largest: int, at_most: int) -> None:
    """Tell glibc to keep up to `at_most` bytes of freed memory, in blocks smaller than `largest`.

    The next photo or batch takes it again at once, and page faults cost more time than it does. Larger blocks are
    still returned to the system. See mallopt(3); other C libraries need no such setting.
    """
    mallopt = _allocator("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, largest)
        mallopt(_M_TRIM_THRESHOLD, at_most)


def return_freed_memory() -> None:
    """Return to the system what keep_freed_memory() kept so far. See malloc_trim(3)."""
    malloc_trim = _allocator("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _allocator(function: str) -> Callable[..., int] | None:
    """Return a function of glibc's allocator; None with another C library."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None


def _hand_out(
    fn: Callable[[Item], Result],
    pool: list[_Worker[Item]],
    idle: list[_Worker[Item]],
    again: deque[Item],
    todo: Iterator[Item],
    *,
    workers: int,
) -> int:
    """Give each worker its next items, taking idle workers or starting new ones while there are items for them.

    Return how many workers could not be started.
    """
    for depth in range(1, _AHEAD + 1):
        for n in range(workers):
            if n < len(pool) and len(pool[n].waiting) >= depth:
                continue
            item = again.popleft() if again else next(todo, None)
            if item is None:
                return 0
            if n >= len(pool):
                try:
                    pool.append(idle.pop() if idle else _start(fn))
                except OSError:  # too many processes, or no memory: the others go on
                    again.appendleft(item)
                    time.sleep(0 if pool else _START_PAUSE_S)
                    return 1
                n = len(pool) - 1
            worker = pool[n]
            if not worker.waiting:
                worker.since = time.monotonic()
            worker.waiting.append(item)
            with suppress(OSError):  # it died; reading from it says so next
                worker.connection.send((fn, item))
    return 0


def _receive(worker: _Worker[Any]) -> tuple[Any, BaseException | None] | None:
    """Return the next answer and the error that fn raised; None if the message says that the worker has started."""
    try:
        message: tuple[Any, BaseException | None] | str = worker.connection.recv()
    except (EOFError, OSError) as error:  # OSError: the message ends in the middle
        raise _Died from error
    if isinstance(message, str):
        worker.ready = True
        return None
    return message


def _answer(
    worker: _Worker[Item], pool: list[_Worker[Item]], again: deque[Item]
) -> tuple[Item, Result | Failure] | None:
    """Return the next result; None if the worker has started, or has died while it started."""
    try:
        message = _receive(worker)
    except _Died:
        if worker.ready:
            return _bury(worker, pool, again, _death_of(worker))
        _discard(worker, pool, again)
        return None
    worker.since = time.monotonic()
    if message is None:
        return None
    result, error = message
    if error is not None:
        raise error
    return worker.waiting.popleft(), result


def _overdue(pool: Iterable[_Worker[Item]], limit_s: float) -> list[_Worker[Item]]:
    now = time.monotonic()
    return [worker for worker in pool if worker.waiting and now >= _deadline(worker, limit_s)]


def _deadline(worker: _Worker[Any], limit_s: float) -> float:
    """Return when the worker must have answered; the time that it takes to start is not counted as an item's."""
    return worker.since + (limit_s if worker.ready else max(limit_s, _START_LIMIT_S))


def _overdue_after(limit_s: float) -> Failure:
    return Failure(f"not done after {limit_s:.0f} s")


def _until_overdue(busy: Iterable[_Worker[Item]], limit_s: float) -> float:
    return max(0.0, min((_deadline(w, limit_s) for w in busy), default=0.0) - time.monotonic())


def _bury(
    worker: _Worker[Item], pool: list[_Worker[Item]], again: deque[Item], failure: Failure
) -> tuple[Item, Result | Failure]:
    """Return the failure of the item that the worker was working on; its other items go back to the queue."""
    item = worker.waiting.popleft()
    _discard(worker, pool, again)
    return item, failure


def _discard(worker: _Worker[Item], pool: list[_Worker[Item]], again: deque[Item]) -> None:
    """Remove a worker from the pool; its items go back to the queue."""
    pool.remove(worker)
    again.extend(worker.waiting)
    worker.waiting.clear()
    _stop(worker)


def _death_of(worker: _Worker[Any]) -> Failure:
    """Return why a worker died."""
    worker.process.join(timeout=_DYING_S)
    code = worker.process.exitcode
    if code is None or code >= 0:
        return Failure(f"the decoder ended with code {code}", crashed=code is not None)
    try:
        name = signal.Signals(-code).name
    except ValueError:  # real-time signals have no names
        name = f"signal {-code}"
    if name in _FROM_OUTSIDE:
        return Failure(f"the decoder was stopped ({name})")
    return Failure(f"the decoder crashed ({name})", crashed=True)


def _start(fn: Callable[[Item], Result]) -> _Worker[Item]:
    """Return a new worker. Raises OSError if the system starts no process."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    try:
        with _STARTING, _one_thread_each(), _without_main(fn):
            process.start()
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Worker(process, ours, deque(), time.monotonic())


@contextmanager
def _without_main(fn: Callable[..., object]) -> Iterator[None]:
    """Keep a new process from running this program's main module again, unless fn is defined there.

    A script without a main guard would otherwise start a scan in every worker.
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
    """Make linear-algebra libraries in a new process use one thread: the processes are the parallelism.

    They read the environment when they are loaded; more threads than cores only wait for each other.
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
    """Answer each (function, item) until the other end closes. Output of native libraries is discarded."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # sent to all processes at once; the parent handles it and ends us
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (for the life of the process)
    keep_freed_memory(largest=1 << 25, at_most=1 << 26)
    with suppress(OSError):  # the parent is gone
        connection.send(_READY)
    while True:
        try:
            fn, item = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[object, BaseException | None] = fn(item), None
        except Exception as error:
            answer = None, error  # a bug: raised in the parent
        try:
            connection.send(answer)
        except OSError:
            return
