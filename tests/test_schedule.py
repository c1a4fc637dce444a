"""Scans at set times. crontab, systemctl and schtasks are programs of the test's own that keep their input."""

import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.dom import minidom
from xml.etree import ElementTree

import pytest
from album import scene
from click.testing import Result

from dedup.cli import scheduler
from dedup.errors import BadUsage

Dedup = Callable[..., Result]

CRONTAB = """#!/bin/sh
if [ "$1" = "-l" ]; then
    if [ -f "$HOME/broken" ]; then echo "cannot open the spool" >&2; exit 1; fi
    if [ -f "$HOME/table" ]; then cat "$HOME/table"; else echo "no crontab for you" >&2; exit 1; fi
else cat > "$HOME/table"; fi
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$HOME/systemctl.log"
test ! -f "$HOME/broken"
"""
SCHTASKS = SYSTEMCTL.replace("systemctl", "schtasks")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    for name, text in (("crontab", CRONTAB), ("systemctl", SYSTEMCTL), ("schtasks", SCHTASKS)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'Pho$HOME "to\'s" 100%'
    folder.mkdir()
    scene(1, (64, 48)).save(folder / "a.png")
    return folder


def test_line_of_the_crontab_runs_with_no_environment_and_at_low_priority(
    dedup: Dedup, home: Path, photos: Path, tmp_path: Path
) -> None:
    (home / "table").write_text("MAILTO=me\n5 4 * * * other # dedup-\n")
    (home / "c.toml").write_text('[scan]\nquiet = false\njson-log = "' + str(home / "log") + '"\n')
    printed = dedup(
        "schedule", "install", photos, "--at", "4:07", "--backend", "cron", "--config", home / "c.toml"
    ).stdout
    *before, about, line = (home / "table").read_text().splitlines()
    assert before == ["MAILTO=me", "5 4 * * * other # dedup-"]
    assert printed.splitlines() == [about, line]
    minute, hour, day, month, weekday, command = line.split(" ", 5)
    assert (minute, hour, day, month, weekday) == ("7", "4", "*", "*", "*")
    assert "%" not in command.replace("\\%", "")
    command = command.replace("\\%", "%")  # as cron does
    clean = ["env", "-i", f"HOME={home}", f"PYTHONPATH={Path(scheduler.__file__).parents[2]}", "/bin/sh", "-c"]
    done = subprocess.run(
        [*clean, command], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", check=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"dedup scan {photos}: 1 photo in ")
    assert (home / "log").read_text().count("\n") > 1
    nice = subprocess.run(
        [*clean, command.split(sys.executable)[0] + "nice"], capture_output=True, text=True, check=True
    )
    assert nice.stdout == "19\n"


def test_job_is_listed_replaced_and_removed_and_other_lines_stay(dedup: Dedup, home: Path, photos: Path) -> None:
    (home / "table").write_text("5 4 * * * other\n")
    cron = ("--backend", "cron")
    dedup("schedule", "install", photos, *cron)
    dedup("schedule", "install", photos, "--weekly", *cron)
    name, about = dedup("schedule", "list", *cron).stdout.rstrip("\n").split("  ", 1)
    assert about == f"Sundays at 03:00: dedup scan {photos}"
    assert (home / "table").read_text().count("\n") == 3
    dedup("schedule", "install", home / "bin", *cron)
    dedup("schedule", "remove", photos, *cron)
    assert name not in dedup("schedule", "list", *cron).stdout
    (other,) = dedup("schedule", "list", *cron).stdout.splitlines()
    dedup("schedule", "remove", other.split()[0], *cron)
    assert (home / "table").read_text() == "5 4 * * * other\n"
    assert "no such job" in dedup("schedule", "remove", photos, *cron, code=2).stderr


def test_crontab_that_cannot_be_read_is_not_overwritten(dedup: Dedup, home: Path, photos: Path) -> None:
    (home / "table").write_text("5 4 * * * other\n")
    (home / "broken").touch()
    assert (
        "cannot open the spool; nothing was changed"
        in dedup("schedule", "install", photos, "--backend", "cron", code=1).stderr
    )
    assert (home / "table").read_text() == "5 4 * * * other\n"


def test_units_are_what_systemd_reads(dedup: Dedup, home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp = home / "XDG_CONFIG_HOME" / "systemd" / "user"
    printed = dedup("schedule", "install", photos, "--weekly", "--at", "23:59").stdout
    service, timer = sorted(folder.iterdir())
    assert service.read_text() in printed
    assert "OnCalendar=Sun *-*-* 23:59:00\n" in timer.read_text()
    log = (home / "systemctl.log").read_text().splitlines()
    assert log == ["--user show-environment", "--user daemon-reload", f"--user enable --now {timer.name}"]
    assert dedup("schedule", "list").stdout == f"{timer.stem}  Sundays at 23:59: dedup scan {photos}\n"
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', service.read_text().split("ExecStart=")[1])
    assert words[-1] == str(photos).replace('"', '\\"').replace("$", "$$").replace("%", "%%")
    assert "Nice=19\nIOSchedulingClass=idle\n" in service.read_text()
    if shutil.which("systemd-analyze"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
        done = subprocess.run(["systemd-analyze", "verify", "--user", service, timer], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    dedup("schedule", "remove", timer.stem)
    assert list(tmp.iterdir()) == []


def test_units_that_systemd_refuses_are_taken_away_again(dedup: Dedup, home: Path, photos: Path) -> None:
    (home / "broken").touch()
    assert "daemon-reload" in dedup("schedule", "install", photos, "--backend", "systemd", code=1).stderr
    assert list((home / "XDG_CONFIG_HOME" / "systemd" / "user").iterdir()) == []


def test_names_cannot_add_a_line(dedup: Dedup, home: Path) -> None:
    evil = home / "a\nExecStartPre=rm\n* * * * * rm\n\udce9-->"
    evil.mkdir()
    assert "line break" in dedup("schedule", "install", evil, "--backend", "cron", code=2).stderr
    assert not (home / "table").exists()
    dedup("schedule", "install", evil, "--backend", "systemd")
    service = next((home / "XDG_CONFIG_HOME" / "systemd" / "user").glob("*.service")).read_text()
    assert [line.split("=")[0] for line in service.splitlines() if "=" in line] == [
        "Description", "Type", "Nice", "IOSchedulingClass", "SuccessExitStatus", "ExecStart"
    ]  # fmt: skip
    assert service.endswith('/a\\x0aExecStartPre=rm\\x0a* * * * * rm\\x0a\\xe9-->"\n')


def test_agent_is_a_property_list() -> None:
    job = scheduler.Job("dedup-00000000", "daily", ("/usr/bin/python3", "<&>"), 3, 5, False)
    text = scheduler._launchd(job)
    values = plistlib.loads(text.encode())
    assert values["ProgramArguments"] == ["/usr/bin/python3", "<&>"]
    assert values["StartCalendarInterval"] == {"Hour": 3, "Minute": 5}
    assert "/usr/bin/python3" in shlex.join(values["ProgramArguments"])


def test_agent_of_any_name_is_well_formed_or_refused() -> None:
    for about in ("a--b", "a---b", "ends with -", "--", "-->"):
        text = scheduler._launchd(scheduler.Job("dedup-00000000", about, ("/bin/true",), 3, 5, False))
        minidom.parseString(text)
        assert "<!-- " in text
    for path in ("/a\x01b", "/caf\udce9"):
        for made in (scheduler._launchd, scheduler._task):
            with pytest.raises(BadUsage, match="XML cannot hold"):
                made(scheduler.Job("dedup-00000000", "daily", ("/bin/true", path), 3, 5, False))


@pytest.mark.parametrize("weekly", [False, True])
def test_task_of_windows_is_well_formed_and_has_what_was_asked_for(
    dedup: Dedup, home: Path, photos: Path, weekly: bool
) -> None:
    often = ["--weekly"] if weekly else []
    dedup("schedule", "install", photos, "--at", "4:05", *often, "--backend", "schtasks")
    (file,) = home.rglob("tasks/*.xml")
    assert file.read_bytes()[:4] == b"\xff\xfe<\0"
    task = ElementTree.parse(file).getroot()
    space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    said = {e.tag.removeprefix(space): e.text for e in task.iter() if e.text and e.text.strip()}
    assert said["StartBoundary"] == "2020-01-05T04:05:00"
    assert ("WeeksInterval" in said, "DaysInterval" in said) == (weekly, not weekly)
    assert said["Command"] == sys.executable
    assert str(said["Arguments"]).endswith(f"-- {subprocess.list2cmdline([str(photos)])}")
    when = "Sundays" if weekly else "daily"
    assert said["Description"] == f"{when} at 04:05: dedup scan {photos}"
    assert dedup("schedule", "list", "--backend", "schtasks").stdout == f"{file.stem}  {said['Description']}\n"
    dedup("schedule", "remove", photos, "--backend", "schtasks")
    assert not file.exists()
    log = (home / "schtasks.log").read_text().splitlines()
    assert log == [f"/Create /F /TN {file.stem} /XML {file}", f"/Delete /F /TN {file.stem}"]


def test_what_is_not_there_or_cannot_be_written_is_one_line(
    dedup: Dedup, home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "XDG_CONFIG_HOME").write_text("a file")
    (line,) = dedup("schedule", "install", photos, "--backend", "systemd", code=1).stderr.splitlines()
    assert line.endswith("cannot be written (Not a directory); choose another with --backend")
    monkeypatch.setenv("PATH", str(home))
    (line,) = dedup("schedule", "list", "--backend", "cron", code=1).stderr.splitlines()
    assert line == "Error: crontab: cannot be run (No such file or directory); choose another with --backend"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["install"], "which folders?"),
        (["install", "/nowhere"], "/nowhere: no such folder"),
        (["install", "/", "--at", "25:00"], "write HH:MM"),
        (["install", "/", "--daily", "--weekly"], "not both"),
    ],
)
def test_wrong_words_are_one_line(dedup: Dedup, home: Path, words: list[str], says: str) -> None:
    (line,) = dedup("schedule", *words, code=2).stderr.splitlines()
    assert says in line
