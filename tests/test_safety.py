"""Any sequence of scans, marks, applies, undos and changes by others leaves a version of every photograph."""

import csv
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from album import scene
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from PIL import Image

from dedup.cli.main import main
from dedup.report.csv_file import value_of

pytestmark = pytest.mark.slow

Tree = dict[str, bytes]
VERSIONS: dict[str, Callable[[Path, Path], object]] = {
    "same bytes": shutil.copyfile,
    "half the size": lambda source, target: _saved(source, target, 0.5, 90),
    "recompressed": lambda source, target: _saved(source, target, 1.0, 50),
}
PLACES = st.sampled_from(["", "a", "b [x]", "a/\n"])
ACTING = "/dedup/actions/"
ANY = st.integers(0, 10**6)


def _saved(source: Path, target: Path, scale: float, quality: int) -> None:
    with Image.open(source) as image:
        size = (max(48, int(image.width * scale)), max(36, int(image.height * scale)))
        image.convert("RGB").resize(size).save(target, "JPEG", quality=quality)


class Photographs(RuleBasedStateMachine):
    """`shows` says which photograph some bytes show, for all bytes that ever lay in the folder."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="dedup-safety-"))
        self.photos = self.home / "Photos"
        self.shows: dict[bytes, int] = {}
        self.made = 0

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    def dedup(self, *words: object, codes: tuple[int, ...] = (0, 3)) -> None:
        done = CliRunner().invoke(main, [*map(str, words), "--db", str(self.home / "x.db")], catch_exceptions=False)
        assert done.exit_code in codes, done.output

    def tree(self) -> Tree:
        return {str(p): p.read_bytes() for p in sorted(self.photos.rglob("*")) if p.is_file()}

    def shown(self, tree: Tree) -> set[int]:
        return {self.shows[sha256(data).digest()] for data in tree.values()}

    def one(self, n: int) -> Path | None:
        files = list(self.tree())
        return Path(files[n % len(files)]) if files else None

    def name(self, place: str) -> Path:
        self.made += 1
        folder = self.photos / place
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.made}.jpg"

    def remember(self, path: Path, photograph: int) -> None:
        self.shows.setdefault(sha256(path.read_bytes()).digest(), photograph)

    @initialize()
    def start(self) -> None:
        for n in range(3):
            path = self.name("a" if n else "")
            scene(n + 1, (320, 240)).save(path, quality=92)
            self.remember(path, n)
            VERSIONS["recompressed"](path, second := self.name("b [x]"))
            self.remember(second, n)
        self.scan()

    @rule(n=ANY, kind=st.sampled_from(sorted(VERSIONS)), place=PLACES)
    def add_a_version(self, n: int, kind: str, place: str) -> None:
        if source := self.one(n):
            photograph = self.shows[sha256(source.read_bytes()).digest()]
            VERSIONS[kind](source, target := self.name(place))
            self.remember(target, photograph)

    @rule(n=ANY, place=PLACES)
    def rename(self, n: int, place: str) -> None:
        if path := self.one(n):
            path.rename(self.name(place))

    @rule(n=ANY)
    def lose_by_others(self, n: int) -> None:
        if path := self.one(n):
            path.unlink()

    @rule(n=ANY)
    def overwrite_by_others(self, n: int) -> None:
        if path := self.one(n):
            self.made += 1
            path.unlink()
            scene(100 + self.made, (200, 150)).save(path, "JPEG")
            self.remember(path, 100 + self.made)

    @rule()
    def scan(self) -> None:
        self.dedup("scan", self.photos, "--quiet", "--workers", 1)

    @rule(n=ANY, m=ANY)
    def mark(self, n: int, m: int) -> None:
        one, other = self.one(n), self.one(m)
        if one and other:
            self.dedup("mark", "not-duplicate", one, other, codes=(0, 2))

    @rule(to=st.sampled_from(["folder", "hardlink", "delete"]), at_once=st.booleans())
    def apply(self, to: str, at_once: bool) -> None:
        before, plan = self.tree(), self.home / "plan.csv"
        self.dedup("apply", "--output", plan)
        assert self.tree() == before
        place = str(self.home / "Away") if to == "folder" else to
        words = ["apply", *([] if at_once else [plan]), "--to", place, "--yes", "--really-delete"]
        self.dedup(*words)
        after = self.tree()
        with plan.open(encoding="utf-8", newline="") as f:
            named = {value_of(row["path"]) for row in csv.DictReader(f) if row["action"] == "remove"}
        assert self.shown(after) == self.shown(before)
        assert after.items() <= before.items()
        assert before.keys() - after.keys() <= named
        self.dedup(*words)
        assert self.tree() == after
        if to == "folder" and before != after:
            self.dedup("undo")
            assert self.tree() == before

    @rule(words=st.sampled_from(["folder", "hardlink", "delete", "undo"]), n=ANY, after=st.integers(1, 200))
    def crash_in_the_middle(self, words: str, n: int, after: int) -> None:
        """Another process does it, and is killed at some line of ours."""
        self.add_a_version(n, "same bytes", "a")  # so that there is something to do
        self.scan()
        before, runs = self.tree(), self.home / "x.db.journal"
        others = set(runs.glob("*"))
        to = str(self.home / "Away") if words == "folder" else words
        apply = ["apply", "--to", to, "--yes", "--really-delete"]
        self.killed(["undo"] if words == "undo" else apply, after)
        assert self.shown(before) <= self.shown({n: d for n, d in self.tree().items() if ".part" not in n})
        if words == "undo":
            self.dedup("undo")
            assert before.items() <= self.tree().items()
        for run in set(runs.glob("*")) - others if words in ("folder", "hardlink") else ():
            self.dedup("undo", "--run", run.stem)
            assert self.tree() == before

    def killed(self, words: list[str], after: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child starts and needs none
            child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            left = after

            def count(frame: FrameType, event: str, arg: object) -> Any:
                nonlocal left
                ours = ACTING in frame.f_code.co_filename
                left -= ours and event == "line"
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                return count

            sys.settrace(count)
            main([*words, "--db", str(self.home / "x.db")], standalone_mode=False)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    @rule()
    def undo(self) -> None:
        before = self.tree()
        self.dedup("undo")
        assert before.items() <= self.tree().items()


def test_no_sequence_of_events_costs_a_photograph() -> None:
    assert os.environ.get("DEDUP_DB") is None
    Photographs.TestCase.settings = settings(
        max_examples=int(os.environ.get("DEDUP_EXAMPLES", "12")),
        stateful_step_count=10,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    Photographs.TestCase("runTest").runTest()
