import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from album import scene
from click.testing import Result
from PIL import Image

from dedup.cli.main import main
from dedup.report.text import printable
from dedup.version import installation

Dedup = Callable[..., Result]


def process(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    more = {"capture_output": True, "text": True, "check": False} | more
    return subprocess.run([sys.executable, *map(str, words)], **more)  # type: ignore[call-overload,no-any-return]


def error_of(result: Result) -> str:
    """Return the one line that went to stderr; nothing may have gone to stdout."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_help_loads_neither_torch_nor_faiss_nor_pillow() -> None:
    heavy = {"torch", "faiss", "PIL", "numpy", "sqlite3", "jinja2", "starlette", "uvicorn", "dedup.review"}
    code = f"import sys, dedup, dedup.cli.main; print(sorted({heavy} & set(sys.modules)))"
    assert process("-c", code).stdout.strip() == "[]"
    done = process("-X", "importtime", "-m", "dedup", "--help")
    assert done.returncode == 0
    assert "Find near-duplicate photos" in done.stdout
    assert "torch" not in done.stderr


def test_what_is_known_is_told_without_the_networks(album: Path, tmp_path: Path) -> None:
    db = ["--db", str(tmp_path / "a.db")]
    code = """if True:
        import sys, time
        from dedup.cli.main import main
        clock, time.time = time.time, lambda: clock() + 60  # the files are no longer too young
        try:
            main(sys.argv[1:])
        finally:
            print(sorted({"torch", "faiss", "PIL", "cv2"} & set(sys.modules)))"""
    for words, loaded in (
        (["scan", "--quiet", str(album)], "['PIL', 'cv2', 'faiss', 'torch']"),
        (["scan", "--quiet", str(album)], "[]"),
        (["export", "groups", "-o", str(tmp_path / "groups.csv")], "[]"),
        (["apply"], "[]"),
        (["scan", "--quiet", "--include", "similar", str(album)], "['PIL', 'cv2', 'faiss', 'torch']"),
    ):
        done = process("-c", code, *words, *db)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, loaded), done.stderr
    assert (tmp_path / "groups.csv").read_text().count(",keep,") == 3


def test_files_are_read_before_torch_is_loaded() -> None:
    code = "import sys, dedup.pipeline.extract; print(sorted({'torch', 'faiss'} & set(sys.modules)))"
    assert process("-c", code).stdout.strip() == "[]"


def test_reading_does_not_wait_for_torch(album: Path, tmp_path: Path) -> None:
    code = """if True:
        import sys
        from dedup.cli.main import main
        from dedup.pipeline import extract
        read = extract.read
        extract.read = lambda *about: print(sorted({"torch", "faiss"} & set(sys.modules))) or read(*about)
        main(sys.argv[1:])"""
    done = process("-c", code, "scan", "--quiet", str(album), "--db", str(tmp_path / "a.db"))
    assert (done.returncode, done.stdout.splitlines()) == (0, ["[]"]), done.stderr


def test_review_without_its_extra_says_what_to_install() -> None:
    done = process(
        "-c", "import sys; sys.modules['starlette'] = None; from dedup.cli.main import main; main(['review'])"
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"Error: dedup review needs starlette: {installation('review')}\n",
    )


def test_version_help_and_the_name_of_a_format_are_understood(dedup: Dedup) -> None:
    assert dedup("-V").stdout == dedup("--version").stdout
    assert dedup("help").stdout == dedup("--help").stdout
    assert dedup("help", "find").stdout == dedup("find", "--help").stdout
    assert error_of(dedup("help", "nix", code=2)) == "Error: no such command: nix; 'dedup help' lists them"
    assert "write: dedup export groups --format csv" in dedup("export", "csv", code=2).stderr


def test_every_command_and_option_has_help() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        for param in command.params:
            if param.param_type_name == "option":
                assert param.help, (name, param.name)  # type: ignore[attr-defined]


def test_scan_prints_what_a_person_reads_in_five_seconds(dedup: Dedup, album: Path) -> None:
    result = dedup("scan", album)
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"dedup scan {album}: 13 photos in ")
    assert "s; 12 new; 3 groups with 6 duplicates, " in line
    assert "; 0 new; " in dedup("scan", album).stdout


def test_scan_writes_groups_by_the_suffix(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-o", tmp_path / "g.csv", "--output", tmp_path / "g.json")
    assert (tmp_path / "g.csv").read_text().count(",keep,") == 3
    assert len(json.loads((tmp_path / "g.json").read_text())["groups"]) == 9
    assert dedup("export", "groups").stdout_bytes == (tmp_path / "g.csv").read_bytes()
    assert dedup("export", "--format", "json").stdout == (tmp_path / "g.json").read_text()
    dedup("export", "photos", "-o", tmp_path / "p.json")
    assert len(json.loads((tmp_path / "p.json").read_text())["photos"]) == 13


def test_skipped_files_end_with_exit_code_3_and_are_listed(dedup: Dedup, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (tmp_path / "in" / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    result = dedup("scan", tmp_path / "in", code=3)
    assert "1 skipped (dedup export skipped says why)" in result.stdout
    assert "1 other file (not an image)" in result.stdout
    assert dedup("export", "skipped").stdout.splitlines()[1].startswith(f"{tmp_path}/in/bad.jpg,")


def test_broken_file_fails_the_scan_that_finds_it_and_no_later_one(dedup: Dedup, tmp_path: Path) -> None:
    folder = tmp_path / "Photos"
    folder.mkdir()
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    dedup("scan", folder, code=3)
    dedup("scan", folder, code=0)  # the file is so young that it was read again
    os.utime(folder / "cut.jpg", (1_500_000_000, 1_500_000_000))
    dedup("scan", folder, code=0)
    dedup("scan", folder, "--strict", code=3)
    (folder / "another.jpg").write_bytes(b"\xff\xd8\xff")
    dedup("scan", folder, code=3)


def test_films_and_letters_alone_are_no_failure(dedup: Dedup, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    dedup("scan", tmp_path / "in")


def test_empty_folder_is_no_failure(dedup: Dedup, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert dedup("scan", tmp_path / "in").stdout == f"dedup scan {tmp_path}/in: no files found\n"
    assert dedup("export").stdout.splitlines() == [
        "group,role,path,relation,probability,keeper,width,height,bytes,format,taken_at,sha256,reason,lost"
    ]


def test_duplicates_found_can_be_an_exit_code(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "--fail-if-found", code=10)
    (tmp_path / "single").mkdir()
    shutil.copy(album / "alone 10.jpg", tmp_path / "single")
    dedup("scan", tmp_path / "single", "--only", "--fail-if-found")


def test_folder_that_is_not_there_is_one_line(dedup: Dedup, tmp_path: Path) -> None:
    assert "nowhere" in error_of(dedup("scan", tmp_path / "nowhere", code=2))


def test_file_instead_of_a_folder_is_one_line(dedup: Dedup, album: Path) -> None:
    assert "a file, not a folder" in error_of(dedup("scan", album / "alone 10.jpg", code=2))


def test_object_store_without_its_engine_is_one_line(dedup: Dedup) -> None:
    said = error_of(dedup("scan", "s3://bucket/photos", code=2))
    assert said.startswith("Error: s3://bucket/photos: an object store needs --engine ray and --work-dir")


def test_quick_scan_without_a_second_look_is_refused(dedup: Dedup, album: Path) -> None:
    assert "--quick works with neither" in error_of(dedup("scan", album, "--quick", "--no-verify", code=2))
    assert "3 groups" in dedup("scan", album, "--quick").stdout


def test_output_of_no_known_format_is_refused_before_any_work(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    assert "must end in .csv, .json" in error_of(dedup("scan", album, "-o", album / "alone 10.jpg", code=2))
    assert not (tmp_path / "test.db").exists()


def test_output_that_cannot_be_written_is_one_line(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    result = dedup("scan", album, "-q", "-o", tmp_path / "nowhere" / "g.csv", code=1)
    assert "cannot be written (No such file or directory)" in error_of(result)


def test_export_before_any_scan_is_one_line(dedup: Dedup) -> None:
    words = (["export"], ["status"], ["find", __file__], ["export", "skipped"], ["apply"], ["forget", "/x"])
    for command in (*words, ["mark", "keep", "/x"]):
        assert "no such database; run 'dedup scan FOLDER' first" in error_of(dedup(*command, code=1))
    assert "no such database" in error_of(dedup("undo", code=1))


def test_database_that_is_none_is_one_line(dedup: Dedup, album: Path) -> None:
    assert "not a dedup database" in error_of(dedup("scan", album, "--db", album / "alone 10.jpg", code=1))
    assert "not a dedup database" in error_of(dedup("status", "--db", album / "alone 10.jpg", code=1))
    scene(10).save(album / "again.jpg", quality=88)
    assert (album / "again.jpg").read_bytes() == (album / "alone 10.jpg").read_bytes()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB, where this user may mount one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = shutil.which("mount")
    words = [str(mount), "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this user may mount no file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_one_line_and_the_next_scan_goes_on(dedup: Dedup, album: Path, tiny_disk: Path) -> None:
    for n in range(100, 170):
        scene(n, (96, 72)).save(album / f"{n}.png")
    says = error_of(dedup("scan", album, "--db", tiny_disk / "a.db", code=1))
    assert "the disk is full; nothing that was stored before is lost" in says
    subprocess.run(["mount", "-o", "remount,size=20m", str(tiny_disk)], check=True)
    assert "83 photos" in dedup("scan", album, "--db", tiny_disk / "a.db").stdout


def test_two_scans_of_one_database_are_refused_with_exit_code_4(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    from dedup.store.store import Store

    with Store(str(tmp_path / "test.db"), scanning=True):
        assert "another run is using this database" in error_of(dedup("scan", album, code=4))
    dedup("scan", album)


@pytest.mark.parametrize("words", [["export", "pairs"], ["status"], ["config", "show"]])
def test_output_that_is_full_is_one_line(dedup: Dedup, album: Path, words: list[str]) -> None:
    dedup("scan", album)
    with open("/dev/full", "w") as full:
        done = process("-m", "dedup", *words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (
        1, "Error: standard output cannot be written (No space left on device)\n"
    )  # fmt: skip


def test_output_that_nobody_reads_is_no_error(dedup: Dedup, album: Path) -> None:
    words = [sys.executable, "-m", "dedup", "scan", str(album)]
    done = subprocess.run(["bash", "-c", '"$@" >&- 2>&-', "bash", *words], check=False)
    assert done.returncode == 0
    assert dedup("status").stdout.splitlines()[1].startswith("13 files")
    piped = 'set -o pipefail; "$@" | head -n 1'
    done = subprocess.run(
        ["bash", "-c", piped, "bash", *words[:3], "export", "pairs"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("path_a,path_b,relation,probability,similarity,contained\n", "")


def test_tables_are_utf8_and_words_are_escaped_in_a_locale_that_is_not(dedup: Dedup, tmp_path: Path) -> None:
    root = tmp_path / "日"
    root.mkdir()
    scene(1, (64, 48)).save(root / "本.png")
    latin = {"env": os.environ | {"PYTHONIOENCODING": "latin-1"}}
    assert r"/\u65e5: 1 photo in" in process("-m", "dedup", "scan", root, **latin).stdout
    done = subprocess.run([sys.executable, "-m", "dedup", "export", "photos"], capture_output=True, **latin)
    assert "/日/本.png," in done.stdout.decode("utf-8")
    found = subprocess.run(
        [sys.executable, "-m", "dedup", "find", root / "本.png"], capture_output=True, check=False, **latin
    )
    assert found.stdout.endswith(b"\r\n")
    assert "/日/本.png,exact" in found.stdout.decode("utf-8")


def test_json_log_is_one_object_a_line(dedup: Dedup, album: Path) -> None:
    result = dedup("scan", album, "--json-log", "-")
    assert result.stdout == ""
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["started", "finished"]
    assert {e["stage"] for e in events if e["event"] == "progress"} >= {"reading", "searching", "comparing"}
    last = events[-1]
    assert (last["files"], last["photos"], last["groups"], last["duplicates"], last["skipped"]) == (13, 13, 3, 6, 0)


def test_json_log_goes_to_a_file_that_is_rotated(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"x" * 999_990 + b"\n")
    dedup("scan", album, "--json-log", log)
    dedup("scan", tmp_path / "nowhere", "--json-log", log, code=2)
    assert (tmp_path / "log.jsonl.1").stat().st_size == 999_991
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["event"] for e in events if e["event"] != "progress"] == ["started", "finished", "started", "failed"]
    assert "no such file or folder" in events[-1]["error"]
    words = error_of(dedup("scan", album, "--json-log", tmp_path / "no/log", code=2))
    assert words.endswith("cannot be written (No such file or directory); choose another name")


def test_log_that_cannot_be_written_any_more_is_given_up(
    dedup: Dedup, album: Path, tiny_disk: Path, tmp_path: Path
) -> None:
    (tiny_disk / "full").write_bytes(bytes(300 * 1024))
    result = dedup("scan", album, "--json-log", tiny_disk / "log")
    assert result.stderr.count("the log can no longer be written") == 1
    assert "13 photos" in result.stdout


def test_time_that_is_up_stops_a_scan_and_the_next_goes_on(dedup: Dedup, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(300):
        scene(n, (48, 36)).save(tmp_path / "in" / f"{n}.png")
    result = dedup("scan", tmp_path / "in", "--max-time", "1s", "-o", tmp_path / "g.csv", code=3)
    assert "stopped after 1.0 s, as --max-time says" in error_of(result)
    assert not (tmp_path / "g.csv").exists()
    assert dedup("status").stdout.splitlines()[2:] == ["roots: none", "no finished scan"]
    assert "300 photos" in dedup("scan", tmp_path / "in", "--no-verify").stdout
    for wrong in ("1", "0s", "soon", "-3m"):
        assert "use 90s, 30m or 2h" in dedup("scan", tmp_path / "in", f"--max-time={wrong}", code=2).stderr


def test_runs_tell_what_was_new_what_failed_and_what_was_killed(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    from dedup.store.store import Store

    dedup("scan", album)
    with Store(str(tmp_path / "test.db"), scanning=True) as store:
        store.runs.start_attempt(["/killed\x1b"], started_at=0.0)
    dedup("scan", tmp_path / "nowhere", code=2)
    failed, killed, finished = dedup("history").stdout.splitlines()
    assert f"{tmp_path}/nowhere: failed: {tmp_path}/nowhere: no such file or folder" in failed
    assert "/killed\\x1b: did not end: killed, or still running" in killed
    assert finished.endswith(f"{album}: 13 photos, 12 new, 6 duplicates, 0 skipped")


def test_config_show_says_where_each_value_came_from_and_is_a_config_file(
    dedup: Dedup, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text('[scan]\nexclude = ["a*"]\nmax-time = "2h"\n[export]\nformat = "json"\n')
    monkeypatch.setenv("DEDUP_SCAN_AVOID", "old")
    words = ("scan", album, "--config", tmp_path / "c.toml", "--keep", "path,pixels")
    text = dedup("config", "show", *words).stdout
    said = {line.split(" = ")[0]: line.split("  # ")[-1] for line in text.splitlines() if " = " in line}
    assert said["exclude"] == said["max-time"] == "file"
    assert (said["avoid"], said["keep"], said["workers"]) == ("environment", "command line", "default")
    assert tomllib.loads(text)["scan"] | {"workers": 1} == {
        "output": [], "delimiter": ",", "bom": False,
        "min-probability": 0.9, "verify": True, "thorough": False, "exclude": ["a*"], "protect": [],
        "keep": "protected,preferred,contains,original,path,pixels", "include": [], "only": False,
        "expect-mounted": False, "strict": False, "follow-symlinks": False, "across": False, "within": False,
        "reference": [],
        "prefer": [], "avoid": ["old"], "quick": False, "workers": 1, "device": "auto", "fail-if-found": False,
            "engine": "local", "max-time": "7200s",
        "quiet": False,
        "db": str(tmp_path / "test.db"),
    }  # fmt: skip
    text = dedup("config", "show", "--config", tmp_path / "c.toml").stdout
    assert set(tomllib.loads(text)) == {name for name in main.commands if name not in ("config", "completion", "help")}
    assert tomllib.loads(text)["export"]["format"] == "json"
    (tmp_path / "all.toml").write_text(text)
    dedup("scan", album, "--config", tmp_path / "all.toml")


def test_config_show_of_a_command_that_is_none_is_one_line(dedup: Dedup) -> None:
    assert "scna: no such command; there are apply, compare" in error_of(dedup("config", "show", "scna", code=2))


def test_home_is_understood_where_no_shell_expands_it(
    dedup: Dedup, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.toml").write_text('db = "~/of file.db"\n[scan]\nprotect = ["~/Photos/Trip [2019]"]\n')
    dedup("scan", "~/Photos", "--config", tmp_path / "c.toml", f"--output={'~/g.csv'}")
    monkeypatch.delenv("DEDUP_DB")
    dedup("scan", "~/Photos", "--config", "~/c.toml", "--output=~/g.csv")
    assert (tmp_path / "of file.db").exists()
    assert f",keep,{album}/Trip [2019]/tower.jpg," in (tmp_path / "g.csv").read_text()


@pytest.mark.parametrize(
    "words",
    [["scan", ""], ["forget", ""], ["apply", "--to", ""], ["apply", ""], ["scan", "x", "--min-probability", "nan"]],
)
def test_empty_words_and_no_numbers_are_refused(dedup: Dedup, words: list[str]) -> None:
    assert "'' is not a path" in (said := dedup(*words, code=2).stderr) or "nan is not in the range" in said


def test_quiet_scan_says_nothing(dedup: Dedup, album: Path) -> None:
    assert dedup("scan", album, "--quiet").output == ""


def test_min_probability_include_exclude_and_protect_are_heard(dedup: Dedup, album: Path) -> None:
    dedup("scan", album, "--min-probability", 1, "--exclude", "garden*")
    assert {line.split(",")[3] for line in dedup("export").stdout.splitlines()[1:]} <= {"", "exact", "copy"}
    assert "garden" not in dedup("export", "photos").stdout
    dedup("scan", album, "--protect", album / "harbour small.jpg")
    assert f",keep,{album}/harbour small.jpg," in dedup("export").stdout
    missing = dedup("scan", album, "--protect", album / "Trap [2019]", code=2)
    assert "Trap [2019]: no such folder; nothing would be protected" in error_of(missing)
    assert "similar" not in dedup("export").stdout
    dedup("scan", album, "--include", "similar")


def test_options_come_from_command_line_then_environment_then_file(
    dedup: Dedup, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "dedup.toml"
    config.write_text(
        f'db = "{tmp_path}/from file.db"\n[scan]\nexclude = ["*.jpg"]\nmin-probability = 0.9\nquiet = true\n'
    )
    assert dedup("scan", album, "--config", config).output == ""
    assert ".jpg" not in dedup("export", "photos").stdout
    monkeypatch.setenv("DEDUP_SCAN_EXCLUDE", "*.png")
    dedup("scan", album, "--config", config)
    assert "alone 10.jpg" in dedup("export", "photos").stdout
    dedup("scan", album, "--config", config, "--exclude", "alone*")
    assert "garden.png" in dedup("export", "photos").stdout
    monkeypatch.delenv("DEDUP_DB")
    dedup("scan", album, "--config", config)
    assert (tmp_path / "from file.db").exists()
    monkeypatch.setenv("DEDUP_SCAN_PROTECT", f"{album}/Trip [2019]:{album}/garden.tif")
    shown = tomllib.loads(dedup("config", "show", "scan", "--config", config).stdout)
    assert shown["scan"]["protect"] == [f"{album}/Trip [2019]", f"{album}/garden.tif"]
    monkeypatch.setenv("DEDUP_CONFIG", str(config))
    assert "from file.db" in dedup("status").stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[scan]\nexlude = ['a']", "no such option: scan.exlude"),
        ("[scann]\nquiet = true", "no such option: scann.quiet"),
        ("min_probabilty = 1", "no such option: min-probabilty"),
        ("this is no toml", "not TOML"),
        ("[scan]\nworkers = 'many'", "scan.workers: 'many' is not a valid integer range"),
        ("[scan]\nexclude = 'a'", 'scan.exclude: expected a list, not "a"'),
        ("[scan]\nquiet = 'yes'", 'scan.quiet: expected true or false, not "yes"'),
        ("[scan]\nmax-time = 5", "scan.max-time: '5' is not a duration; use 90s, 30m or 2h"),
        ("[scan]\nkeep = 'colour'", "scan.keep: --keep takes words of"),
        ("[scan]\npath = ['/']", "no such option: scan.path"),
        ("min-probability = 2", "scan.min-probability: 2.0 is not in the range"),
        ("min-probability = nan", "scan.min-probability: nan is not in the range"),
        ("db = 5", "scan.db: 5 is not a path"),
        ("[scan]\noutput = ['']", "scan.output: '' is not a path"),
    ],
)
def test_config_file_that_is_wrong_is_one_line(dedup: Dedup, album: Path, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    assert says in error_of(dedup("scan", album, "--config", tmp_path / "c.toml", code=2))


def test_config_file_that_is_not_there_is_one_line(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    assert "cannot be read" in error_of(dedup("scan", album, "--config", tmp_path / "none.toml", code=2))


def test_words_of_keep_are_checked_and_decide(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    from dedup.types.settings import KEEP

    assert "'biggest' is none of them" in error_of(dedup("scan", album, "--keep", "pixels,biggest", code=2))
    assert ",".join(KEEP) in "".join(dedup("scan", "--help").stdout.split()).replace("-", "")
    Image.open(album / "garden.png").save(album / "garden saved again.png", compress_level=1)
    (tmp_path / "c.toml").write_text('[scan]\nkeep = "path, pixels"\n')
    dedup("scan", album, "-q", "--config", tmp_path / "c.toml", "-o", tmp_path / "g.json")
    rows = json.loads((tmp_path / "g.json").read_text())["groups"]
    assert "kept: shorter path" in {row["reason"] for row in rows}


def test_find_prints_csv(dedup: Dedup, album: Path) -> None:
    dedup("scan", album)
    lines = dedup("find", album / "harbour grey.webp").stdout.splitlines()
    assert lines[0] == "query,path,relation,probability,similarity"
    assert lines[1].startswith(f"{album}/harbour grey.webp,{album}/harbour grey.webp,exact,1,")
    assert len(lines) == 5


def test_find_says_what_it_cannot_read(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    result = dedup("find", tmp_path / "bad.jpg", code=3)
    assert result.stdout.count("\n") == 1
    assert result.stderr.startswith(f"{tmp_path}/bad.jpg: skipped: ")


def test_status_and_forget_tell_what_is_stored(dedup: Dedup, album: Path) -> None:
    dedup("scan", album)
    lines = dedup("status").stdout.splitlines()
    assert lines[1].startswith("13 files, 12 photos, ")
    assert lines[2] == f"roots: {album}"
    assert lines[3].startswith("last scan finished ")
    assert f"{album}: 13 files and 12 photos forgotten" in dedup("forget", album).stdout
    assert dedup("status").stdout.splitlines()[1].startswith("0 files, 0 photos, 0 pairs")
    assert len(list(album.rglob("*.*"))) == 13


def test_names_cannot_write_to_the_terminal(dedup: Dedup, tmp_path: Path) -> None:
    evil = tmp_path / "\x1b[31mred\nline"
    error = error_of(dedup("scan", evil, code=2))
    assert "\x1b" not in error
    assert r"\x1b[31mred\nline" in error
    assert printable("caf\udce9 é 📷") == r"caf\udce9 é 📷"


def test_scan_leaves_every_file_as_it_was(dedup: Dedup, album: Path) -> None:
    def seen() -> dict[str, tuple[bytes, int]]:
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in album.rglob("*.*") if p.is_file()}

    before = seen()
    dedup("scan", album)
    dedup("export", "pairs")
    assert seen() == before


def test_terminal_gets_a_bar_and_a_pipe_does_not(album: Path, tmp_path: Path) -> None:
    db = tmp_path / "bar.db"
    piped = process("-m", "dedup", "scan", album, "--db", db)
    assert piped.stderr == ""
    script = shutil.which("script")
    if script is None:
        pytest.skip("script(1) is not here to make a terminal")
    os.unlink(db)
    command = f"stty rows 24 cols 80; {sys.executable} -m dedup scan '{album}' --db '{db}'"
    seen = subprocess.run([script, "-qec", command, "/dev/null"], capture_output=True, text=True, check=True).stdout
    assert "[1/4] Reading" in seen
