import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

import dedup
from dedup.errors import WeightsUnusable
from dedup.models.encoder import encode, unit
from dedup.models.pair_head import score_pairs
from dedup.models.weights import FILE, Weights, completed, load_weights, version, weights_spec
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


def test_card_is_as_training_writes_it() -> None:
    assert completed(CARD) == CARD


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


def test_weights_that_cannot_be_read_are_refused(package: Path) -> None:
    (package / FILE).unlink()
    (package / FILE).mkdir()
    with pytest.raises(WeightsUnusable, match=rf"^{FILE}, which holds the weights, cannot be read: is a directory$"):
        load_weights()


@pytest.mark.permissions
def test_card_that_cannot_be_read_is_refused(package: Path) -> None:
    (package / "dedup.json").chmod(0)
    with pytest.raises(WeightsUnusable, match=r"^dedup\.json, which .*, cannot be read: permission denied$"):
        weights_spec()


NO_CARDS = [b"", b"\0" * 4686, b'{"name": "lite0', b"[]", b"5", b"null", b"\xff\xfe{", b"[" * 100_000, b"{}"]


@pytest.mark.parametrize("n", range(len(NO_CARDS)))
def test_card_of_another_shape_is_refused_in_one_line(package: Path, n: int) -> None:
    (package / "dedup.json").write_bytes(NO_CARDS[n])
    for read in (weights_spec, load_weights):
        with pytest.raises(WeightsUnusable, match=r"^dedup\.json is damaged: it is no card of weights; [^\n]*$"):
            read()


@pytest.mark.parametrize("entry", ["sha256", "line", "geometric_gate", "calibration", "checksum"])
def test_card_without_an_entry_is_refused(package: Path, entry: str) -> None:
    (package / "dedup.json").write_text(json.dumps({k: v for k, v in CARD.items() if k != entry}))
    with pytest.raises(WeightsUnusable, match=r"^dedup\.json is damaged: [^\n]*; install dedup again$"):
        weights_spec()


def changed(card: dict[str, Any], entry: tuple[str, ...], change: Callable[[Any], Any]) -> dict[str, Any]:
    name, *deeper = entry
    value = changed(card[name], tuple(deeper), change) if deeper else change(card[name])
    return {**card, name: value}


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        (("calibration", "slope"), lambda x: x + 1e-12),
        (("second_calibration", "offset"), str),
        (("glance", "outer"), lambda x: x[::-1]),
        (("line", "inner"), lambda x: 5),
        (("golden", "copy"), lambda x: 0.5),
        (("photos",), lambda x: {}),
        (("name",), lambda x: "another"),
        (("sha256",), lambda x: None),
        (("checksum",), lambda x: 7),
    ],
    ids=["slope", "offset", "glance", "line", "golden", "photos", "name", "sha256", "checksum"],
)  # fmt: skip
def test_no_figure_of_the_card_can_be_changed_unnoticed(
    package: Path, entry: tuple[str, ...], change: Callable[[Any], Any]
) -> None:
    (package / "dedup.json").write_text(json.dumps(changed(CARD, entry, change)))
    for read in (weights_spec, load_weights):
        with pytest.raises(WeightsUnusable, match=r"^dedup\.json is damaged: its figures do not have its checksum"):
            read()


@pytest.mark.parametrize("part", ["a curve", "a gate", "tensors"])
def test_weights_of_another_version_are_refused_in_one_line(package: Path, part: str) -> None:
    card = {**CARD, "calibration": {"steepness": 1.0}} if part == "a curve" else CARD
    card = {**card, "line": 5} if part == "a gate" else card
    if part == "tensors":
        tensors = dict(sorted(load((package / FILE).read_bytes()).items())[1:])
        (package / FILE).write_bytes(save(tensors))
        card = {**card, "sha256": sha256(save(tensors)).hexdigest()}
    (package / "dedup.json").write_text(json.dumps(completed(card)))
    with pytest.raises(WeightsUnusable, match=r"^[^\n]*; install dedup again$"):
        load_weights()
