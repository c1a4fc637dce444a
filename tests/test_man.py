"""The man page that scripts/man.py makes of the help."""

import shutil
import subprocess
import sys
from pathlib import Path

import man
import pytest

from dedup.cli.main import main


def test_page_names_every_command_option_and_example() -> None:
    page = man.page().replace("\\-", "-").replace("\\:", "")
    for name, command in main.commands.items():
        assert f".SS dedup {name}\n" in page
        for param in command.params:
            assert param.param_type_name != "option" or max(param.opts, key=len) in page
        assert command.epilog
        for line in command.epilog.partition("Examples:\n")[2].splitlines():
            assert line in page


def test_page_is_the_same_whoever_writes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = subprocess.run([sys.executable, man.__file__, tmp_path], check=True, capture_output=True, text=True)
    first = (tmp_path / "dedup.1").read_text(encoding="utf-8")
    (tmp_path / "home-like").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home-like"))
    subprocess.run([sys.executable, man.__file__, tmp_path], check=True)
    assert (tmp_path / "dedup.1").read_text(encoding="utf-8") == first
    assert here.stdout == ""


def test_words_are_no_requests() -> None:
    assert man.roff(".so /etc/passwd\n'x\na\\fB -o") == "\\&.so /etc/passwd\n\\&'x\na\\efB \\-o"


def test_groff_has_nothing_to_complain_of(tmp_path: Path) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not here")
    (tmp_path / "dedup.1").write_text(man.page(), encoding="utf-8")
    done = subprocess.run([groff, "-man", "-Tutf8", "-ww", tmp_path / "dedup.1"], capture_output=True, check=True)
    assert done.stderr == b""
    assert b"dedup apply plan.csv --to ~/Away --yes" in done.stdout
