import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from photos import columns_of

from dedup.errors import BadUsage, DedupError
from dedup.report.csv_file import cell, read_csv, value_of
from dedup.report.tables import format_of, group_rows, pair_rows, photo_rows, skipped_rows, write
from dedup.types.groups import Duplicate, Group
from dedup.types.pairs import Loss, Relation, Verdicts
from dedup.types.photo import Facts, File, Photo, Skipped
from dedup.types.report import Photos, Report, Run
from dedup.types.settings import Settings


def photo(digest: str, *paths: str, width: int = 10) -> Photo:
    files = sorted((File(path, 100, n, 0, 1, n) for n, path in enumerate(paths)), key=lambda f: f.path)
    return Photo(digest * 64, 100, width, 20, "JPEG", "2019-07-01T12:00:00", None, tuple(files))


@pytest.fixture
def report() -> Report:
    """Photo 0 has two files; photo 1 is kept over it; photo 2 is alone."""
    photos = [
        photo("a", "/p/z small.jpg", "/p/small again.jpg"),
        photo("b", "/p/big.jpg", width=30),
        photo("c", "/p/c"),
    ]
    verdicts = Verdicts(
        np.array([0, 0]),
        np.array([1, 2]),
        np.float32([0.75, 0.3]),
        np.float32([0.998712345, 0.001]),
        np.float32([0, 0]),
        np.int8([Relation.COPY, Relation.UNRELATED]),
        np.array([0, 0]),
        np.array([Loss.CROPPED, 0]),
        np.float32([1, 1]),
        np.float32([0.4, 1]),
    )
    duplicate = Duplicate(0, Relation.COPY, 0.9987, 0.75, "the other one is cropped to 40%")
    run = Run(0, 1, ("/p",), Settings(), "w", 1.0, b"", 0.7)
    skipped = [Skipped("/p/broken.jpg", "cut short"), Skipped("/p/film.mp4", "not a picture (MPEG-4 video)", False)]
    return Report(run, Photos(*columns_of(photos)), skipped, verdicts, [Group(1, (duplicate,))])


def table(report: Report, name: str, format: str, path: Path) -> str:
    write(report, name, format, str(path))
    return path.read_bytes().decode()


def test_groups_csv_is_as_promised(report: Report, tmp_path: Path) -> None:
    line = "30,20,100,JPEG,2019-07-01T12:00:00," + "b" * 64
    small = "10,20,100,JPEG,2019-07-01T12:00:00," + "a" * 64
    why = "kept: the other one is cropped to 40%,"
    assert table(report, "groups", "csv", tmp_path / "g.csv") == (
        "group,role,path,relation,probability,keeper,width,height,bytes,format,taken_at,sha256,reason,lost\r\n"
        f"1,keep,/p/big.jpg,,,/p/big.jpg,{line},,\r\n"
        f"1,duplicate,/p/z small.jpg,copy,0.9987,/p/big.jpg,{small},{why}\r\n"
        f"1,duplicate,/p/small again.jpg,copy,0.9987,/p/big.jpg,{small},{why}\r\n"
    )


def test_variant_says_what_would_be_lost_with_it(report: Report) -> None:
    (only,) = report.groups[0].duplicates
    variant = replace(only, relation=Relation.VARIANT, lost="without the video")
    row = list(group_rows(replace(report, groups=[Group(1, (variant,))])))[1]
    assert (row["relation"], row["lost"]) == ("variant", "the kept one is without the video")


def test_pair_says_which_of_both_is_contained_whatever_the_order_of_the_paths(report: Report) -> None:
    photos = report.photos.photos
    assert [row["contained"] for row in pair_rows(report)] == ["both", "right", "no"]
    # the same pair, whose first path is that of the left photo now
    renamed = Photos(*columns_of([photo("a", "/p/a.jpg"), photos[1], photos[2]]))
    assert [row["contained"] for row in pair_rows(replace(report, photos=renamed))] == ["left", "no"]
    both = replace(report.verdicts, right_loss=np.array([0, 0]))
    assert [row["contained"] for row in pair_rows(replace(report, verdicts=both))] == ["both", "both", "no"]


def test_photos_csv_has_the_facts(report: Report) -> None:
    some = [
        replace(photo("a", "/p/a"), facts=Facts(frames=6, video="ab", damaged="the picture data is corrupt")),
        replace(photo("b", "/p/b"), facts=None),
    ]
    known, unknown = photo_rows(replace(report, photos=Photos(*columns_of(some))))
    assert (known["frames"], known["video"], known["damaged"]) == (6, True, "the picture data is corrupt")
    assert (unknown["frames"], unknown["video"], unknown["damaged"]) == ("", "", "")


def test_pairs_csv_holds_refused_pairs_too_the_surest_first(report: Report, tmp_path: Path) -> None:
    assert table(report, "pairs", "csv", tmp_path / "p.csv").splitlines() == [
        "path_a,path_b,relation,probability,similarity,contained",
        "/p/small again.jpg,/p/z small.jpg,exact,1,1,both",
        "/p/big.jpg,/p/small again.jpg,copy,0.998712361,0.75,right",
        "/p/c,/p/small again.jpg,unrelated,0.00100000005,0.300000012,no",
    ]


def test_photos_and_skipped_csv_hold_every_file_once(report: Report) -> None:
    photos, skipped = [r["path"] for r in photo_rows(report)], [r["path"] for r in skipped_rows(report)]
    assert photos == ["/p/big.jpg", "/p/c", "/p/small again.jpg", "/p/z small.jpg"]
    assert skipped == ["/p/broken.jpg", "/p/film.mp4"]


def test_json_says_the_same_and_on_what_terms(report: Report, tmp_path: Path) -> None:
    said = json.loads(table(report, "groups", "json", tmp_path / "g.json"))
    assert (said["weights"], said["recall"], said["prior"]) == ("w", 1.0, 0.7)
    assert said["settings"]["min_probability"] == 0.9
    assert said["groups"] == list(group_rows(report))
    assert said["groups"][1]["reason"] == "kept: the other one is cropped to 40%"
    assert json.loads(table(report, "pairs", "json", tmp_path / "p.json"))["pairs"] == list(pair_rows(report))


ODD = [
    *("=cmd|' /C calc'!A0", "+1", "-1", "@x", "'quoted", "''", "\t=1"),
    *(
        "plain",
        'a "quoted" name',
        "two\nlines",
        "comma, here",
        "📷",
        "caf\udce9",
        r"\udce9",
        r"\u005cudce9",
        "\\",
        r"a\u",
    ),
]


@pytest.mark.parametrize("text", ODD)
def test_any_text_comes_back_from_a_cell(text: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([cell(text)])
    buffer.getvalue().encode("utf-8")  # no lone surrogates
    (row,) = csv.reader(io.StringIO(buffer.getvalue()))
    assert value_of(row[0]) == text


@pytest.mark.parametrize("text", [t for t in ODD if t[0] in "=+-@\t"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")


def test_number_is_not_taken_for_a_formula() -> None:
    assert cell(-0.25) == "-0.25"


def test_names_that_are_not_utf8_reach_csv_and_json_in_one_form(report: Report, tmp_path: Path) -> None:
    odd = replace(report, skipped=[Skipped("/p/caf\udce9", "cut short")])
    assert table(odd, "skipped", "csv", tmp_path / "s.csv").splitlines()[1] == r"/p/caf\udce9,cut short"
    assert r'"/p/caf\udce9"' in table(odd, "skipped", "json", tmp_path / "s.json")


def test_output_file_is_whole_or_not_there(report: Report, tmp_path: Path) -> None:
    output = tmp_path / "g.csv"
    output.write_text("from yesterday")
    broken = replace(report, groups=[Group(99, ())])
    with pytest.raises(IndexError):
        write(broken, "groups", "csv", str(output))
    assert output.read_text() == "from yesterday"
    assert os.listdir(tmp_path) == ["g.csv"]


def test_output_that_cannot_be_written_is_one_line(report: Report, tmp_path: Path) -> None:
    with pytest.raises(DedupError, match=r"g\.csv: cannot be written \(No such file or directory\)"):
        write(report, "groups", "csv", str(tmp_path / "nowhere" / "g.csv"))


def test_only_groups_are_a_page(report: Report, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="html shows groups"):
        write(report, "pairs", "html", str(tmp_path / "p.html"))


def test_suffix_decides_the_format() -> None:
    assert (format_of("a.csv"), format_of("A.JSON")) == ("csv", "json")
    with pytest.raises(BadUsage, match=r"must end in \.csv, \.json, \.html"):
        format_of("photo.jpg")


def test_csv_has_the_delimiter_and_byte_order_mark_asked_for_and_reads_back(
    dedup: Callable[..., Result], album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-o", tmp_path / "scan.csv", "--delimiter", ";", "--bom")
    dedup("export", "-o", tmp_path / "tab.csv", "--delimiter", "tab")
    dedup("export", "-o", tmp_path / "plain.csv")
    expected = read_csv(str(tmp_path / "plain.csv"))
    assert len(expected[1]) == 9
    for name, head in (("scan.csv", b"\xef\xbb\xbfgroup;role;path"), ("tab.csv", b"group\trole\tpath")):
        assert (tmp_path / name).read_bytes().startswith(head)
        assert read_csv(str(tmp_path / name)) == expected
    assert "cannot separate columns" in dedup("export", "--delimiter", "ab", code=2).stderr


def test_parquet_holds_the_rows_of_the_csv(dedup: Callable[..., Result], album: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    odd = os.fsencode(album) + b"/caf\xe9.png"
    shutil.copy(album / "garden.png", odd)
    dedup("scan", album, "-o", tmp_path / "groups.parquet")
    dedup("export", "-o", tmp_path / "groups.csv")
    rows = parquet.read_table(tmp_path / "groups.parquet").to_pylist()
    columns, expected = read_csv(str(tmp_path / "groups.csv"))
    assert list(rows[0]) == columns
    assert [value_of(row["path"]) for row in rows] == [row["path"] for _, row in expected]
    assert [row["width"] for row in rows] == [int(row["width"]) for _, row in expected]
    assert "name a file" in dedup("export", "pairs", "--format", "parquet", code=2).stderr
    (tmp_path / "folder.parquet").mkdir()
    assert "not a regular file" in dedup("export", "-o", tmp_path / "folder.parquet", code=1).stderr
    assert not list(tmp_path.glob("*.part"))
