import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from album import scene
from click.testing import Result
from PIL import Image

import dedup as library
from dedup import api
from dedup.errors import BadUsage, DedupError, UnreadablePhoto
from dedup.models.encoder import encode
from dedup.models.weights import Weights

Dedup = Callable[..., Result]


@pytest.fixture
def report(album: Path, tmp_path: Path) -> api.Report:
    return library.scan(album, db=tmp_path / "api.db")


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    found: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, dict(attrs)))  # type: ignore[method-assign]
    parser.feed(html)
    return found


def test_import_alone_loads_nothing() -> None:
    heavy = {"torch", "numpy", "sqlite3", "PIL", "click", "dedup.api"}
    code = f"import sys, dedup; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_promised_name_is_there_and_no_other() -> None:
    assert {name: getattr(library, name).__doc__ is not None for name in library.__all__ if name != "__version__"} == {
        name: True for name in library.__all__ if name != "__version__"
    }
    assert dir(library) == sorted(library.__all__)  # what a notebook completes
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        library.nonsense  # noqa: B018


def test_groups_are_those_of_the_command_line(dedup: Dedup, album: Path, report: api.Report) -> None:
    dedup("scan", album)
    rows = json.loads(dedup("export", "groups", "--format", "json").stdout)["groups"]
    told = [
        (group.number, str(file.path), getattr(file, "relation", ""), str(group.keep.path), file.sha256, file.bytes)
        for group in report.groups
        for file in (group.keep, *group.duplicates)
    ]
    columns = ("group", "path", "relation", "keeper", "sha256", "bytes")
    assert told == [tuple(row[column] for column in columns) for row in rows]
    assert (report.files, report.skipped) == (13, ())


def test_duplicate_says_why_and_what_was_done(report: api.Report) -> None:
    (mirrored,) = [d for g in report.groups for d in g.duplicates if d.path.name == "tower mirrored.png"]
    assert (mirrored.relation, mirrored.width, mirrored.format) == ("copy", 480, "PNG")
    assert mirrored.probability > 0.9
    assert "mirrored" in mirrored.change
    assert mirrored.reason == "kept: the other one is 480x640 instead of 960x1280"


def test_pairs_are_those_of_the_command_line_and_can_be_asked_for_again(
    dedup: Dedup, album: Path, report: api.Report
) -> None:
    dedup("scan", album)
    rows = json.loads(dedup("export", "pairs", "--format", "json").stdout)["pairs"]
    for _ in range(2):
        told = [
            (str(p.path_a), str(p.path_b), p.relation, p.probability, p.similarity, p.contained) for p in report.pairs
        ]
        assert told == [tuple(row.values()) for row in rows]


def test_skipped_files_are_named_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (tmp_path / "in" / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    bad, film = library.scan([tmp_path / "in"], db=tmp_path / "a.db").skipped
    assert (bad.path, bad.picture, film.path.name, film.picture) == (tmp_path / "in/bad.jpg", True, "film.mp4", False)
    assert bad.reason


def test_database_is_the_one_of_the_command_line(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    report = library.scan([str(album)])
    assert report.db == tmp_path / "test.db"  # DEDUP_DB
    assert "13 files, 12 photos" in dedup("status").stdout


def test_home_is_understood(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    report = library.scan("~/Photos", db="~/x/home.db", protect=["~/Photos/Trip [2019]"], exclude=["alone*"])
    assert (report.files, report.db) == (9, tmp_path / "x/home.db")
    assert {g.keep.path.parent.name for g in report.groups} == {"Photos", "Trip [2019]"}


def test_options_decide_as_on_the_command_line(album: Path, tmp_path: Path) -> None:
    told = []
    report = library.scan(
        album, db=tmp_path / "o.db", keep=["path"], min_probability=0.5, workers=1, device="cpu",
        progress=lambda stage, done, of: told.append((stage, done, of)),
    )  # fmt: skip
    assert "garden.tif" in {g.keep.path.name for g in report.groups} | {
        d.path.name for g in report.groups for d in g.duplicates
    }
    assert report._found.run.settings.keep == ("protected", "preferred", "contains", "original", "path")
    assert ("reading", 13, 13) in told


def test_report_is_a_sequence_of_groups_and_a_table(album: Path, tmp_path: Path) -> None:
    report = library.scan(album, db=tmp_path / "a.db")
    assert len(report) == 3
    assert list(report) == list(report.groups)
    table = report.to_pandas()
    assert (table["role"] == "keep").sum() == 3
    assert list(report.to_pandas("skipped").columns) == ["path", "reason"]
    with pytest.raises(BadUsage, match="no such table: 'all'"):
        report.to_pandas("all")


def test_find_returns_what_the_command_line_prints(album: Path, tmp_path: Path, dedup: Dedup) -> None:
    dedup("scan", album)
    table = list(csv.DictReader(dedup("find", album / "garden.png").stdout.splitlines()))
    found = library.find(album / "garden.png", db=os.environ["DEDUP_DB"])
    assert [(str(m.path), m.relation) for m in found] == [(row["path"], row["relation"]) for row in table]
    assert {m.relation for m in found} >= {"exact", "copy"}
    (tmp_path / "no.jpg").write_text("no photo")
    with pytest.raises(UnreadablePhoto, match=r"no.jpg: not a picture"):
        library.find([tmp_path / "no.jpg"], db=os.environ["DEDUP_DB"])


def test_apply_changes_nothing_unless_told_to_and_is_undone(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    db = tmp_path / "test.db"
    (album / "harbour (1).xmp").write_text("stars")
    (album / "Trip [2019]/harbour.xmp").write_text("stars")
    report = library.scan(album, db=db)
    before = {path: path.read_bytes() for path in album.rglob("*") if path.is_file()}
    planned = library.apply(db=db)
    duplicates = {d.path: (group.keep.path, d.relation, d.bytes) for group in report for d in group.duplicates}
    assert {r.path: (r.keeper, r.relation, r.bytes) for r in planned if r.relation} == duplicates
    assert [r.path.name for r in planned if not r.relation] == ["harbour (1).xmp"]
    assert {(r.done, r.message) for r in planned} == {(False, "")}
    assert {path: path.read_bytes() for path in before} == before
    (album / "garden.tif").write_bytes(b"changed")
    done = library.apply(db=db, to=tmp_path / "Away", dry_run=False)
    assert [r.path for r in done] == [r.path for r in planned]
    assert [(r.path.name, r.message) for r in done if not r.done] == [
        ("garden.tif", "skipped: changed after the scan; scan again")
    ]
    assert {r.path for r in done if r.done} == {path for path in before if not path.exists()}
    dedup("undo", "--db", db)
    assert {path: path.read_bytes() for path in before if path.name != "garden.tif"} == {
        path: data for path, data in before.items() if path.name != "garden.tif"
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"to": "delete"}, "needs the command line"),
        ({"to": "trsh"}, "none of trash, hardlink, reflink, delete"),
        ({"to": "{album}/Away"}, "inside a scanned folder"),
        ({"include": "all"}, "include takes"),
    ],
)
def test_apply_says_what_does_not_fit(album: Path, report: api.Report, words: dict[str, str], says: str) -> None:
    with pytest.raises(BadUsage, match=says):
        library.apply(db=report.db, dry_run=False, **{k: v.format(album=album) for k, v in words.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"include": "all"}, "include takes 'variant' and 'similar'"),
        ({"min_probability": 2}, r"min_probability must lie in \[0, 1\]"),
        ({"keep": ["colour"]}, "'colour' is none of them"),
        ({"device": "tpu"}, "not 'tpu'"),
        ({"workers": 0}, "at least 1, not 0"),
        ({"paths": ["nowhere"]}, "nowhere: no such file or folder"),
        ({"paths": []}, "at least one folder"),
        ({"min_probability": float("nan")}, r"min_probability must lie in \[0, 1\]"),
        ({"protect": ["nowhere"]}, "nowhere: no such folder; nothing would be protected"),
        ({"protect": Path("nowhere")}, "protect must be a list, not PosixPath"),
        ({"exclude": "*.tmp"}, r"exclude must be a list, not '\*.tmp'"),
        ({"keep": "pixels"}, "keep must be a list, not 'pixels'"),
        ({"prefer": "x*"}, "prefer must be a list"),
        ({"avoid": "x*"}, "avoid must be a list"),
    ],
)
def test_words_that_do_not_fit_are_said(album: Path, tmp_path: Path, words: dict[str, object], says: str) -> None:
    with pytest.raises(BadUsage, match=says):
        library.scan(**{"paths": album, "db": tmp_path / "w.db"} | words)  # type: ignore[arg-type]


def test_file_instead_of_a_folder_is_said(album: Path, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="a file, not a folder"):
        library.scan(album / "alone 10.jpg", db=tmp_path / "w.db")


def test_report_is_written_by_the_suffix(dedup: Dedup, report: api.Report, tmp_path: Path) -> None:
    report.write(tmp_path / "g.csv")
    report.write(tmp_path / "p.json", "pairs")
    assert (tmp_path / "g.csv").read_bytes() == dedup("export", "--db", report.db).stdout_bytes
    assert json.loads((tmp_path / "p.json").read_text())["pairs"]
    with pytest.raises(BadUsage, match="must end in"):
        report.write(tmp_path / "g.txt")
    with pytest.raises(BadUsage, match="no such table"):
        report.write(tmp_path / "g.csv", "nothing")


def test_notebook_shows_thumbnails_and_escapes_every_name(tmp_path: Path) -> None:
    root = tmp_path / '"><script>alert(1)<'
    root.mkdir()
    name = '"><img src=x onerror=alert(1)>&lt;b&gt;'
    scene(1).save(root / f"{name}.png")
    scene(1).save(root / f"{name}\n.bmp")
    outer = tags(library.scan(root, db=tmp_path / "h.db")._repr_html_())
    assert [tag for tag, _ in outer] == ["iframe"]
    frame = dict(outer[0][1])
    assert frame["sandbox"] == "allow-scripts"  # no origin: nothing of the notebook can be read or asked
    inner = tags(str(frame["srcdoc"]))
    images = [attributes for tag, attributes in inner if tag == "img"]
    assert len(images) == 2
    assert all(str(a["src"]).startswith("data:image/webp;base64,") and "onerror" not in a for a in images)
    assert [a.get("type") for tag, a in inner if tag == "script"] == ["application/json", None]  # data, and ours
    assert any("Content-Security-Policy" in str(a.get("http-equiv")) for tag, a in inner if tag == "meta")


def test_notebook_shows_some_of_many_groups(report: api.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "The first" not in report._repr_html_()
    monkeypatch.setattr(api, "_SHOWN", 2)
    html = report._repr_html_()
    assert html.startswith("<p>The first 2 of 3 groups; ")
    shown = tags(str(dict(tags(html)[1][1])["srcdoc"]))
    assert [a["data-number"] for tag, a in shown if tag == "article"] == ["1", "2"]


def test_report_and_comparison_print_without_pictures(report: api.Report, album: Path) -> None:
    assert "_found" not in repr(report)
    assert "_seen" not in repr(library.compare(album / "garden.png", album / "garden.tif"))


def test_comparison_says_what_the_command_line_says(dedup: Dedup, album: Path) -> None:
    one, other = album / "Trip [2019]" / "tower.jpg", album / "Trip [2019]" / "tower mirrored.png"
    found = library.compare(one, str(other))
    words = f"{found.relation}, probability of a copy {found.probability:.4f}, {found.change}"
    assert dedup("compare", one, other).stdout.startswith(words)
    assert (found.path_a, found.path_b) == (one, other)
    with Image.open(io.BytesIO(found._repr_png_())) as figure:
        assert (figure.format, figure.width > 600) == ("PNG", True)


def test_comparison_of_what_is_no_photo_is_said(album: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    with pytest.raises(UnreadablePhoto, match=r"bad\.jpg: "):
        library.compare(album / "garden.png", tmp_path / "bad.jpg")
    with pytest.raises(DedupError, match=r"gone\.jpg: no such file"):
        library.compare(album / "garden.png", tmp_path / "gone.jpg")


def test_encoder_is_the_one_that_scans_and_can_be_learned_through(weights: Weights) -> None:
    pixels = np.asarray(scene(1, (160, 160)))
    encoder = library.load_encoder()
    assert isinstance(encoder, torch.nn.Module)
    assert type(encoder) is library.Encoder
    batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().requires_grad_()
    vectors, maps = encoder(batch)
    assert (tuple(vectors.shape), tuple(maps.shape)) == ((1, 128), (1, 32, 10, 10))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(1), atol=1e-5)
    assert np.allclose(vectors[0].detach().numpy(), encode(weights.encoder, [pixels])[0][0], atol=2e-3)
    vectors[0, 0].backward()
    assert batch.grad is not None
    assert batch.grad.abs().sum() > 0


def test_script_without_a_guard_runs_once(album: Path, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import dedup, sys\n"
        "report = dedup.scan(sys.argv[1], db=sys.argv[2], workers=2)\n"
        "print(len(report.groups), len(report.skipped), dedup.compare(*sys.argv[3:]).relation)\n"
    )
    words = [script, album, tmp_path / "s.db", album / "garden.png", album / "garden.tif"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("3 0 identical\n", "")


def test_wrong_device_makes_no_database(album: Path, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="not 'tpu'"):
        library.scan(album, db=tmp_path / "none.db", device="tpu")  # type: ignore[arg-type]
    assert not (tmp_path / "none.db").exists()
