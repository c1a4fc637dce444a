from collections.abc import Callable
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
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not (SHARED / "data").is_dir():
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="../shared/data is not here"))
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="torch sees no GPU here"))


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
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DEDUP_DB", str(tmp_path / "test.db"))

    def run(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(w) for w in words], prog_name="dedup", catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return run
