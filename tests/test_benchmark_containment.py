"""scripts/benchmark_containment.py."""

import sys
from pathlib import Path

import benchmark_containment
import pytest
from album import scene


def test_small_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for n in range(8):
        scene(n, (480, 360)).save(tmp_path / "photos" / f"{n}.jpg", quality=95)
    words = [str(tmp_path / "photos"), "--edits", "mirrored,caption", "--pairs", "4", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["benchmark_containment.py", *words])
    benchmark_containment.main()
    said = capsys.readouterr().out
    assert "| caption | 2 |" in said
    assert said.endswith("right: 100.0%\n")
    assert (tmp_path / "out" / "wrong.csv").read_text() == ""


def test_an_unknown_edit_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [str(tmp_path), "--edits", "melted", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["benchmark_containment.py", *words])
    with pytest.raises(SystemExit, match="no such edit: melted"):
        benchmark_containment.main()
