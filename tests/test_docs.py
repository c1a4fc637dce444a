"""What the pages say is done as it stands.

Fenced blocks marked `console run` are executed, page by page, each page in a home of its own with the drawn album in
~/Photos. `$ ` begins a command; what follows is what it prints, with `...` for anything and `[3]` for an exit code
that is not 0. Blocks marked `diff run` are applied to a copy of the package first, `python run` is executed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path

import pytest
from album import make_album
from click.testing import CliRunner

from dedup.cli.main import main

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(console|diff|python) run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [p for p in (*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*.md"))) if BLOCK.search(p.read_text("utf-8"))]


def commands(block: str) -> list[tuple[str, str]]:
    """Return each command of a console block, with what it is said to print."""
    _, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    return [(command, said) for command, _, said in (part.partition("\n") for part in parts)]


class Reader:
    """Somebody who types what a page says, in a home of their own."""

    def __init__(self, home: Path, set_up: pytest.MonkeyPatch) -> None:
        self.home, self.patched = home, False
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "dedup").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dedup "$@"\n')
        (home / "bin" / "dedup").chmod(0o755)
        for name in [name for name in os.environ if name.startswith(("DEDUP_", "XDG_"))]:
            set_up.delenv(name)
        path = os.pathsep.join((str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]))
        mine = {"HOME": str(home), "DEDUP_DB": str(home / "dedup.db"), "PATH": path, "PYTHONPATH": str(ROOT)}
        for name, value in mine.items():
            set_up.setenv(name, value)
        set_up.chdir(home)
        self.set_up = set_up

    def typed(self, command: str) -> str:
        """Return what a command prints, and its exit code in brackets if it is not 0."""
        if self.patched or not command.startswith("dedup ") or re.search(r"[|&;<>$]", command):
            return self.run("bash", "-c", command)
        words = [os.path.expanduser(word) for word in shlex.split(command)[1:]]  # here: torch is loaded already
        done = CliRunner().invoke(main, words, prog_name="dedup", catch_exceptions=False)
        return done.output + (f"[{done.exit_code}]\n" if done.exit_code else "")

    def run(self, *words: str, stdin: str | None = None) -> str:
        done = subprocess.run(words, input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout + (f"[{done.returncode}]\n" if done.returncode else "")

    def read(self, kind: str, block: str) -> None:
        if kind == "console":
            for command, said in commands(block):
                got, how = self.typed(command), ELLIPSIS | NORMALIZE_WHITESPACE
                assert OutputChecker().check_output(said, got, how), f"$ {command}\n{got}\nbut the page says:\n{said}"
        elif kind == "python":
            got = self.run(sys.executable, "-c", block)
            assert not got.endswith("]\n"), got
        else:
            if not self.patched:
                shutil.copytree(ROOT / "dedup", self.home / "checkout" / "dedup")
                self.set_up.setenv("PYTHONPATH", str(self.home / "checkout"))
                self.patched = True
            got = self.run("git", "apply", "--unidiff-zero", "--directory=checkout", stdin=block)
            assert got == "", got


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_says_is_what_happens(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_album(tmp_path / "Photos")
    reader = Reader(tmp_path, monkeypatch)
    for kind, block in BLOCK.findall(page.read_text("utf-8")):
        reader.read(kind, block)


def test_an_example_that_does_something_else_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(tmp_path, monkeypatch)
    reader.read("console", "$ echo one two; exit 3\none ...\n[3]\n")
    for wrong in ("$ echo one\ntwo\n", "$ exit 3\n", "$ true\none\n"):
        with pytest.raises(AssertionError):
            reader.read("console", wrong)
