"""The sdist, and the wheel that is built from it: what they hold. `.ci/run` installs that wheel and scans with it."""

import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from dedup.version import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist and, built from it, the wheel. Without isolation, which would ask the network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Iterator[ZipFile]:
    (path,) = dist.glob("*.whl")
    assert path.stat().st_size < 20_000_000
    with ZipFile(path) as archive:
        yield archive


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: ZipFile) -> None:
    held = {name for name in wheel.namelist() if name.startswith("dedup/")}
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "dedup").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert held == there
    assert "dedup/py.typed" in held
    assert {name.split("/")[0] for name in wheel.namelist()} == {"dedup", f"dedup_photos-{__version__}.dist-info"}


@pytest.mark.slow
def test_metadata_is_complete(wheel: ZipFile) -> None:
    about: Message = Parser().parsestr(wheel.read(f"dedup_photos-{__version__}.dist-info/METADATA").decode())
    assert (about["Name"], about["Version"], about["License-Expression"]) == ("dedup-photos", __version__, "MIT")
    assert about.get_all("License-File") == ["LICENSE", "dedup/cli/demo_photos/README.md", "dedup/weights/README.md"]
    assert about["Requires-Python"] == ">=3.11"
    assert about["Description-Content-Type"] == "text/markdown"
    needed = {r for r in about.get_all("Requires-Dist", []) if "extra ==" not in r}
    assert needed == set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    )
    known = {"Typing :: Typed", *(f"Programming Language :: Python :: 3.{n}" for n in (11, 12, 13))}
    assert known <= set(about.get_all("Classifier", []))


@pytest.mark.slow
def test_sdist_holds_what_the_tests_and_the_pages_need(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held >= {"constraints.txt", "tests/album.py", "docs/index.md", "scripts/train.py", "CHANGELOG.md", "LICENSE"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_fits_the_schema_of_workflows(path: Path) -> None:
    words = ("-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert "ok -- validation done" in run(sys.executable, *words, cwd=ROOT)


def test_failure_on_any_system_fails_the_workflow() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "os: [macos-latest, windows-latest]" in text
    assert "continue-on-error" not in text


def texts() -> list[Path]:
    """Return the text files of the repository, without data."""
    folders = [ROOT / name for name in ("dedup", "docs", "scripts", "tests", ".ci", ".github")]
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file() and "data" not in p.parts]
    binary = {".mo", ".pyc", ".jpg", ".png", ".safetensors"}
    return sorted(
        p
        for p in (*files, *ROOT.glob("*.*"), ROOT / "Dockerfile")
        if p.is_file() and p.suffix not in binary and not p.name.startswith(".coverage")
    )


def test_no_text_tells_people_to_install_the_other_project_called_dedup() -> None:
    assert len(texts()) > 100
    wrong = re.compile(r"\bdedup\\?\[[a-z]|pip install (?:-\S+ )*'?dedup(?!-photos)\b")
    found = [f"{p.name}: {m[0]}" for p in texts() for m in wrong.finditer(p.read_text(encoding="utf-8"))]
    assert found == []


def test_every_extra_that_a_text_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.compile(r"(?:dedup-photos|'\.|/src)\\?\[([a-z][a-z,-]*)\\?\]")
    found = {extra for p in texts() for m in named.finditer(p.read_text(encoding="utf-8")) for extra in m[1].split(",")}
    assert {"raw", "jxl", "review", "ray"} <= found <= extras.keys()
