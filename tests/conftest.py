import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from album import make_album
from click.testing import CliRunner, Result
from pillow_heif import register_heif_opener

from dedup.cli.main import main
from dedup.models.weights import Weights, WeightsSpec, weights_spec

SHIPPED = weights_spec()
register_heif_opener()  # tests write HEIC; the program registers it when it decodes its first picture
os.environ["LC_ALL"] = "C.UTF-8"  # the language of the tests
SHARED = Path(__file__).resolve().parents[2] / "shared"


def why_unchecked() -> str:
    """Return why the system lets these tests read and write what its permissions forbid, or ""."""
    if not hasattr(os, "geteuid"):
        return "this system has no permission bits"
    return "root may read and write everything" if os.geteuid() == 0 else ""


# Markers of pyproject.toml -> why tests with that marker cannot run here, or "".
EXTRAS = {"raw": "rawpy", "jxl": "pillow_jxl", "bench": "matplotlib", "cluster": "ray", "browser": "playwright"}
MISSING = {marker: "" if find_spec(module) else f"{module} is not installed" for marker, module in EXTRAS.items()} | {
    "shared": "" if (SHARED / "data").is_dir() else "../shared/data is not here",
    "gpu": "" if torch.cuda.is_available() else "torch sees no GPU here",
    "permissions": why_unchecked(),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, reason in MISSING.items():
            if reason and marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def shared() -> Path:
    return SHARED


@pytest.fixture(scope="session")
def weights() -> Weights:
    return SHIPPED.load()


@pytest.fixture
def shipped_weights() -> WeightsSpec:
    return SHIPPED


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return make_album(tmp_path / "Photos")


@pytest.fixture
def dedup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process, with a database of the test's own, and check its exit code."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DEDUP_DB", str(tmp_path / "test.db"))

    def run(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(w) for w in words], prog_name="dedup", catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return run
