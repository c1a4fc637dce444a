import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import dedup
from dedup.errors import WeightsUnusable
from dedup.models.encoder import encode, unit
from dedup.models.pair_head import score_pairs
from dedup.models.weights import FILE, Weights, load_weights, version
from dedup.training.data import golden_pictures
from dedup.types.pairs import Candidates

CARD = json.loads(resources.files("dedup").joinpath("weights", "dedup.json").read_bytes())


def test_networks_reproduce_the_golden_values_of_their_card(weights: Weights) -> None:
    vectors, maps = encode(weights.encoder, list(golden_pictures()))
    similarity = unit(vectors).prod(0).sum(keepdims=True)
    pair = Candidates(np.array([0]), np.array([1]), similarity)
    scores = score_pairs(pair, lambda rows: maps[rows], weights.head, weights.calibration)
    golden = CARD["golden"]
    np.testing.assert_allclose(vectors[0, :8], golden["vector"], atol=2e-3)
    np.testing.assert_allclose(maps[0, 44, :8], golden["map"], atol=2)
    assert scores.similarity.item() == pytest.approx(golden["similarity"], abs=5e-3)
    assert scores.copy.item() == pytest.approx(golden["copy"], abs=0.02)
    assert scores.similar.item() == pytest.approx(golden["similar"], abs=0.02)


def test_name_changes_with_anything_that_verdicts_depend_on(weights: Weights) -> None:
    assert weights.name == CARD["name"]
    assert weights.name.endswith(version(CARD))
    assert version({**CARD, "line": {**CARD["line"], "outer": [0.0]}}) != version(CARD)


def test_weights_are_small_enough_to_ship() -> None:
    assert CARD["bytes"] <= 12_000_000
    assert len(resources.files("dedup").joinpath("weights", FILE).read_bytes()) == CARD["bytes"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of the weights stand for the installed ones."""
    source = Path(dedup.__file__).parent / "weights"
    shutil.copytree(source, tmp_path / "weights")
    monkeypatch.setattr(resources, "files", lambda name: tmp_path)
    return tmp_path / "weights"


def test_damaged_weights_are_refused(package: Path) -> None:
    data = bytearray((package / FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (package / FILE).write_bytes(data)
    with pytest.raises(WeightsUnusable, match="SHA-256 is not that of its card"):
        load_weights()


def test_missing_weights_are_refused(package: Path) -> None:
    (package / FILE).unlink()
    with pytest.raises(WeightsUnusable, match="missing from the package"):
        load_weights()
