import multiprocessing.spawn
import os
import platform
import signal
import stat
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dedup.errors import DedupError
from dedup.workers import (
    Failure,
    Helpers,
    Pool,
    Runtime,
    in_threads,
    keep_freed_memory,
    return_freed_memory,
    run,
    worker_pool,
)


def square(n: int) -> int:
    return n * n


def square_unless_seven(n: int) -> int:
    if n == 7:
        os.kill(os.getpid(), signal.SIGSEGV)
    if n == 8:
        os._exit(5)
    return n * n


def hang_at_three(n: int) -> int:
    if n == 3:
        time.sleep(60)
    return n * n


def noisy(n: int) -> int:
    os.write(1, b"libtiff says hello\n")
    os.write(2, b"libtiff complains\n")
    print("so does a plug-in")
    return n


def resident_after_freeing(_: int) -> tuple[float, float]:
    """Return the resident memory in MB after 40 MB were freed, and after they were returned."""
    keep_freed_memory(largest=1 << 25, at_most=1 << 30)
    blocks = [b"x" * (1 << 20) for _ in range(40)]
    blocks.clear()
    kept = resident()
    return_freed_memory()
    return kept, resident()


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def broken(n: int) -> int:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_item_comes_back_once(workers: int) -> None:
    assert sorted(run(square, range(50), workers=workers)) == [(n, n * n) for n in range(50)]


def test_crash_costs_one_item_and_says_which_signal() -> None:
    results = dict(run(square_unless_seven, range(30), workers=2))
    assert results.pop(7) == Failure("the decoder crashed (SIGSEGV)", crashed=True)
    assert results.pop(8) == Failure("the decoder ended with code 5", crashed=True)
    assert results == {n: n * n for n in range(30) if n not in (7, 8)}


def killed_at_four(n: int) -> int:
    if n == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_worker_killed_from_outside_is_no_crash_of_the_item() -> None:
    results = dict(run(killed_at_four, range(8), workers=2))
    assert results.pop(4) == Failure("the decoder was stopped (SIGKILL)", crashed=False)
    assert results == {n: n for n in range(8) if n != 4}


def half_an_answer_at_five(n: int) -> int:
    """At five, write the beginning of an answer to the pipe and die."""
    if n == 5:
        for number in range(3, 64):
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(number).st_mode) or stat.S_ISFIFO(os.fstat(number).st_mode):
                    os.write(number, struct.pack("!i", 1000) + b"only a part")
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_worker_killed_while_it_sends_costs_one_item() -> None:
    results = dict(run(half_an_answer_at_five, range(10), workers=1))
    assert results.pop(5) == Failure("the decoder was stopped (SIGKILL)")
    assert results == {n: n for n in range(10) if n != 5}


def test_signals_to_the_whole_group_do_not_end_a_worker() -> None:
    assert dict(run(signalled, ["SIGTERM", "SIGHUP", "SIGINT"], workers=1)) == {
        "SIGTERM": True, "SIGHUP": True, "SIGINT": True
    }  # fmt: skip


def signalled(name: str) -> bool:
    os.kill(os.getpid(), getattr(signal, name))
    return True


def test_workers_that_cannot_be_started_end_the_run_and_blame_no_item() -> None:
    assert list(run(square, [2], workers=1)) == [(2, 4)]  # also starts the process that tracks resources
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.spawn, "_python_exe", b"/nonexistent/python")
        with pytest.raises(DedupError, match="worker processes cannot be started"):
            list(run(square, range(3), workers=2))


def test_hang_costs_one_item() -> None:
    results = dict(run(hang_at_three, range(12), workers=2, limit_s=2))
    assert results.pop(3) == Failure("not done after 2 s")
    assert results == {n: n * n for n in range(12) if n != 3}


def test_what_native_code_prints_is_not_seen(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(run(noisy, range(5), workers=1))) == 5
    assert capfd.readouterr() == ("", "")


def threads_here(name: str) -> str | None:
    return os.environ.get(name)


def test_workers_use_one_thread_each_and_this_process_as_many_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    assert dict(run(threads_here, names, workers=1)) == dict.fromkeys(names, "1")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def process_of(n: int) -> int:
    return os.getpid()


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_stay_from_one_run_to_the_next_and_end_with_the_pool() -> None:
    with worker_pool(Runtime(2, lambda stage, done, of: None, time.time)) as runtime:
        first = {who for _, who in runtime.run(process_of, range(30))}
        assert dict(runtime.run(square, range(30))) == {n: n * n for n in range(30)}
        assert {who for _, who in runtime.run(process_of, range(30))} == first
        assert os.getpid() not in first
    assert not any(map(alive, first))


def test_pool_survives_a_crash_and_a_run_that_was_given_up() -> None:
    with Pool(2) as pool:
        results = dict(pool.run(square_unless_seven, range(30)))
        assert results.pop(7) == Failure("the decoder crashed (SIGSEGV)", crashed=True)
        given_up = pool.run(square, range(1000))
        next(given_up)
        given_up.close()  # type: ignore[attr-defined]
        answers = dict(pool.run(threads_here, ["OMP_NUM_THREADS"] * 3))
        assert answers == {"OMP_NUM_THREADS": "1"}  # and not the squares that were under way
        late = pool.run(process_of, range(1000))
        _, who = next(late)
    late.close()  # type: ignore[attr-defined]
    assert isinstance(who, int)
    assert not alive(who)


def test_bug_in_the_function_is_raised() -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(run(broken, [1], workers=1))


def test_nothing_to_do_starts_no_process() -> None:
    assert list(run(square, [], workers=4)) == []


def test_items_are_taken_as_there_is_room_for_them() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield n

    results = run(square, items(), workers=2)
    next(results)
    assert taken < 20
    results.close()  # type: ignore[attr-defined]


def test_helper_that_crashes_or_hangs_costs_one_answer() -> None:
    crashing: Helpers[int, int] = Helpers(square_unless_seven, workers=1)
    answers = [crashing.call(n) for n in (3, 7, 8, 4)]
    crashing.close()
    assert answers == [
        9,
        Failure("the decoder crashed (SIGSEGV)", crashed=True),
        Failure("the decoder ended with code 5", crashed=True),
        16,
    ]
    hanging: Helpers[int, int] = Helpers(hang_at_three, workers=1, limit_s=3)
    answers = [hanging.call(n) for n in (2, 3, 4)]
    hanging.close()
    assert answers == [4, Failure("not done after 3 s"), 16]


def test_threads_answer_in_order_and_wait_for_what_comes_while_they_work() -> None:
    asked: list[int] = []
    begun: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for n in range(20):
            asked.append(n)
            if n == 1:
                second.set()  # the first item must not be done before the second one is asked for
            yield n

    def square(n: int) -> int:
        assert second.wait(20)
        return n * n

    answers = []
    for answer in in_threads(square, items(), begin=lambda: begun.append(1), threads=2):
        answers.append(answer)
        assert len(asked) <= len(answers) + 2  # no more is read ahead than can be worked on
    assert answers == [n * n for n in range(20)]
    assert len(begun) == 2


def test_a_thread_begins_before_the_first_item_is_there() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 2 if begun.wait(20) else 1

    assert list(in_threads(square, items(), begin=begun.set, threads=2)) == [4]


def test_what_a_thread_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda n: 1 // n, [1, 0, 1], begin=lambda: None, threads=2))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_freed_memory_that_is_kept_can_be_returned() -> None:
    kept, left = next(run(resident_after_freeing, [0], workers=1))[1]
    assert kept > left + 20
