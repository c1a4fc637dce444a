"""scripts/reproduce_seed.py: the networks that the project grew from."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from album import scene
from reproduce_seed import (
    ROWS,
    SIDE,
    Answer,
    Pairs,
    Siamese,
    accuracy,
    count_parameters,
    draw_pairs,
    main,
    modified,
    our_head,
    read_photos,
    train,
)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.stack([np.asarray(scene(n, (SIDE, SIDE))) for n in range(80)])


def test_networks_have_exactly_the_published_number_of_parameters() -> None:
    counts = [(row.name[:3], count_parameters(row.make())) for row in ROWS]
    question = ("(a)", 3_482_849)
    assert counts == [question, question, ("(b)", 194), ("(c)", 194), ("(d)", 170), ("(e)", 194)]
    assert [row.parameters for row in ROWS] == [count_parameters(row.make()) for row in ROWS]


def test_shapes_are_those_of_the_answer() -> None:
    left, right = torch.rand(2, 2, 3, SIDE, SIDE)
    for network, width, grid in ((Answer(torch.tanh, grid=5), 31, 5), (Answer(torch.tanh, grid=1), 31, 1)):
        places, cells = network.difference(left, right)
        assert (places.shape, cells.shape) == ((2, 30, width), (2, grid, grid))
    assert Siamese(torch.tanh, grid=5).difference(left, right)[0].shape == (2, 30, 30)


def test_siamese_network_does_not_care_which_photo_is_left() -> None:
    left, right = torch.rand(2, 4, 3, SIDE, SIDE)
    network = Siamese(torch.tanh, grid=5)
    torch.testing.assert_close(network(left, right), network(right, left))


def test_half_of_the_pairs_are_copies_and_no_other_pair_is_of_one_photo() -> None:
    plain = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(SIDE, 1).repeat(SIDE, 2).repeat(3, 3)
    for seed in range(5):
        pairs = draw_pairs(plain, np.random.default_rng(seed))
        left, right = pairs.left[:, 0, 0, 0], pairs.right[:, 0, 0, 0]
        assert ((left == right) == (pairs.same == 1)).all()
        assert pairs.same.sum() == 20
        assert sorted(left) == list(range(40))
    assert (draw_pairs(plain, np.random.default_rng(4)).right == pairs.right).all()


def test_copy_is_turned_and_scaled_by_no_more_than_it_says() -> None:
    dots = np.zeros((SIDE, SIDE, 3), np.uint8)
    dots[62:66, 94:98] = 255  # 32 to the right of the centre
    angles, scales = [], []
    for seed in range(200):
        y, x = (
            axis.mean() - (SIDE - 1) / 2 for axis in np.nonzero(modified(dots, np.random.default_rng(seed))[..., 0])
        )
        angles.append(np.degrees(np.arctan2(y, x)))
        scales.append(np.hypot(x, y) / 32)
    assert 8 < np.abs(angles).max() < 11
    assert 0.88 < min(scales) < 0.92
    assert 1.08 < max(scales) < 1.12


@pytest.mark.slow
def test_small_network_learns_to_tell_photos_it_has_not_seen(photos: np.ndarray) -> None:
    torch.manual_seed(0)
    network = train(Siamese(torch.tanh, grid=5), photos[20:], np.random.default_rng(0), passes=40, rate=0.02)
    assert accuracy(network, draw_pairs(photos[:20], np.random.default_rng(1))) >= 0.85


def test_accuracy_is_the_share_of_pairs_called_rightly(photos: np.ndarray) -> None:
    class Yes(torch.nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(left))

    pairs = draw_pairs(photos, np.random.default_rng(0))
    assert accuracy(Yes(), Pairs(pairs.left[:40], pairs.right[:40], pairs.same[:40])) == pairs.same[:40].mean()


def test_our_head_tells_them(photos: np.ndarray) -> None:
    parameters, right = our_head(draw_pairs(photos, np.random.default_rng(0)))
    assert parameters > 3_000_000
    assert right >= 0.95


def test_what_is_no_picture_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(3):
        scene(n, (60, 40)).save(tmp_path / f"{n}.png")
    (tmp_path / "letter\n.txt").write_text("no picture")
    assert read_photos(tmp_path, count=10, rng=np.random.default_rng(0)).shape == (3, SIDE, SIDE, 3)
    assert read_photos(tmp_path, count=2, rng=np.random.default_rng(0)).shape == (2, SIDE, SIDE, 3)
    assert "letter\\n.txt" in capsys.readouterr().err


@pytest.mark.bench
def test_script_writes_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(24):
        scene(n, (160, 120)).save(tmp_path / f"{n}.jpg")
    words = ["reproduce_seed.py", str(tmp_path), "--output", str(tmp_path / "out"), "--passes", "1"]
    monkeypatch.setattr(sys, "argv", words)
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:8]] == ["3,482,849"] * 2 + ["194", "194", "170", "194"]
    assert len(lines) == 9
    assert (tmp_path / "out" / "seed.md").read_text().splitlines() == lines
    assert (tmp_path / "out" / "seed.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.bench
def test_too_few_photos_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce_seed.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "0 photos are too few; 20 are the least" in capsys.readouterr().err
