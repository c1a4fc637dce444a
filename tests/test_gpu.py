import csv
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from dedup.cli.main import main
from dedup.geometry.canvas import CANVAS, PLANES
from dedup.geometry.registration import EVIDENCE
from dedup.models.encoder import BATCH, CHANNELS, GRID, Encoder
from dedup.models.pair_head import PairHead
from dedup.models.residual_head import ResidualHead
from dedup.types.arrays import SIDE


def test_networks_make_no_tensor_of_their_own_on_another_device() -> None:
    """Tensors on the device meta have no values, and torch refuses to mix them with those of another device."""
    with torch.inference_mode():
        encoder, head, second = (network.eval().to("meta") for network in (Encoder(), PairHead(), ResidualHead()))
        with torch.device("meta"):
            pixels, cosine = torch.empty(BATCH, 3, SIDE, SIDE), torch.empty(BATCH)
            left, right = torch.empty(BATCH, GRID * GRID, CHANNELS), torch.empty(BATCH, GRID * GRID, CHANNELS)
            planes, covered = torch.empty(BATCH, PLANES, CANVAS, CANVAS), torch.empty(BATCH, CANVAS, CANVAS)
            evidence = torch.empty(BATCH, EVIDENCE)
        vectors, maps = encoder(pixels)
        found = head.align(left, right)
        logits = head(left, right, cosine)
        twice = second(planes, covered, evidence, logits, cosine)
        weight = head.places(left, found)[1]
    for made in (vectors, maps, found.affine, found.summary, weight, logits, twice):
        assert made.device.type == "meta"


@pytest.mark.gpu
def test_scan_on_a_gpu_finds_the_groups_that_one_without_finds(album: Path, tmp_path: Path) -> None:
    groups = []
    for device in ("cpu", "cuda"):
        db = tmp_path / f"{device}.db"
        scanned = CliRunner().invoke(main, ["scan", "-q", str(album), "--device", device, "--db", str(db)])
        assert scanned.exit_code == 0, scanned.output
        exported = CliRunner().invoke(main, ["export", "groups", "--db", str(db)])
        groups.append({(row["group"], row["path"]) for row in csv.DictReader(exported.output.splitlines())})
    assert groups[0] == groups[1]
    assert len(groups[0]) > 2
