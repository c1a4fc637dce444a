"""What a person reads: help, the first seconds, the next command, completion."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from dedup.cli.main import main
from dedup.cli.scan import next_command
from dedup.languages.language import ENGLISH

Dedup = Callable[..., Result]


def in_terminal(command: str, **more: str) -> str:
    """Return what a command writes to a terminal without a display."""
    script = shutil.which("script")
    if script is None:
        pytest.skip("script(1) is not here to make a terminal")
    environment = os.environ | {"DISPLAY": "", "WAYLAND_DISPLAY": "", "COLUMNS": "120", **more}
    words = [script, "-qec", f"stty rows 24 cols 120; {command}", "/dev/null"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def python(code: str, *words: object) -> str:
    return shlex.join([sys.executable, "-c", code, *map(str, words)])


def test_every_help_says_what_changes_and_ends_with_examples_that_can_be_typed(dedup: Dedup) -> None:
    for name, command in main.commands.items():
        lines = dedup(name, "--help").stdout.splitlines()
        assert sum(line.startswith("  Changes on disk: ") for line in lines) == 1, name
        examples = lines[lines.index("  Examples:") + 1 :]
        assert examples, name
        for example in examples:
            words = shlex.split(example.partition(" > ")[0])
            assert words[:2] == ["dedup", name]
            command.make_context(name, words[2:], click.Context(main))  # raises what click would say


def test_help_of_scan_names_every_option_that_may_stand_more_than_once(dedup: Dedup) -> None:
    several = [max(p.opts, key=len) for p in main.commands["scan"].params if p.multiple]  # type: ignore[attr-defined]
    text = " ".join(dedup("scan", "--help").stdout.split())
    assert f"{', '.join(several[:-1])} and {several[-1]} can be repeated." in text


def test_list_of_commands_cuts_no_sentence(dedup: Dedup) -> None:
    _, commands = dedup("--help").stdout.split("Commands:\n")
    assert len(commands.splitlines()) == len(main.commands)
    assert all(line.endswith(".") and not line.endswith("..") for line in commands.splitlines())


def test_commands_that_say_they_change_nothing_change_nothing(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    def seen() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    dedup("scan", album)
    before = seen()
    harmless = {
        "find": [album / "garden.png"],
        "compare": [album / "garden.png", album / "garden.tif"],
        "status": [],
        "history": [],
        "config": ["show"],
        "completion": ["bash"],
        "help": [],
        "export": ["pairs"],
        "apply": [],
    }
    said = {name for name, c in main.commands.items() if "nothing" in str(c.epilog).partition("\n")[0]}
    assert said - harmless.keys() == {"schedule"}  # its list
    for name, words in harmless.items():
        dedup(name, *words)
        assert seen() == before, name


@pytest.mark.parametrize(
    ("figures", "words", "includes", "command"),
    [
        ({"groups": 3, "photos": 9, "skipped": 1}, ["out.HTML"], None, "dedup apply"),
        ({"groups": 3, "photos": 9, "skipped": 1}, ["out.csv"], None, "dedup export groups -o report.html"),
        ({"groups": 0, "photos": 9, "skipped": 1}, [], None, "dedup export skipped"),
        ({"groups": 0, "photos": 9, "skipped": 0}, [], None, "dedup scan --include similar 'a b' c"),
        ({"groups": 0, "photos": 9, "skipped": 0}, [], "similar", "dedup find IMAGE"),
        ({"groups": 0, "photos": 0, "skipped": 0}, [], None, "dedup scan FOLDER"),
    ],
)
def test_next_command_fits_what_was_found(
    figures: dict[str, Any], words: list[str], includes: str | None, command: str
) -> None:
    assert next_command(figures, ["a b", "c"], words, includes) == command


def test_scan_at_a_terminal_ends_with_the_next_command(album: Path, tmp_path: Path) -> None:
    db = tmp_path / "it's.db"
    command = shlex.join([sys.executable, "-m", "dedup", "scan", str(album), "--db", str(db)])
    *_, last = in_terminal(command).splitlines()
    assert last == f"Next: dedup export groups -o report.html --db {shlex.quote(str(db))}"
    *_, last = in_terminal(command, DISPLAY=":0").splitlines()
    assert last == f"Next: dedup review --db {shlex.quote(str(db))}"
    words = shlex.split(last)[2:]
    assert main.commands[words[0]].make_context(words[0], words[1:], click.Context(main)).params["db"] == str(db)
    *_, last = in_terminal(command.split(" --db ")[0], DEDUP_DB=str(db)).splitlines()
    assert last == "Next: dedup export groups -o report.html"


def test_relations_and_numbers_have_colours_at_a_terminal_alone(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    dedup("scan", album, "--db", db, "-q")

    def shown(command: str, **more: str) -> list[str]:
        words = [sys.executable, "-m", "dedup", command, *([album] if command == "scan" else []), "--db", db]
        return in_terminal(shlex.join(map(str, words)), **{"TERM": "xterm", "NO_COLOR": "", **more}).splitlines()

    assert any(line.startswith("\x1b[1m       13\x1b[0m photos") for line in shown("scan"))
    plan = shown("apply")
    assert plan[0].startswith("\x1b[32mkeep  \x1b[0m /")
    assert sum("\x1b[36mcopy\x1b[0m" in line and line.startswith("\x1b[35mremove\x1b[0m") for line in plan) == 4
    for quiet in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in "\n".join(shown("apply", **quiet))
    assert "\x1b" not in dedup("apply", "--db", db).stdout


def test_scan_says_what_it_does_and_longer_ones_that_it_is_safe_to_stop(album: Path, tmp_path: Path) -> None:
    code = """import sys
from dedup.cli.main import main
from dedup.cli import progress
progress._NOTE_S, progress._DRAW_S = float(sys.argv.pop(1)), 0
main()"""
    shown = in_terminal(python(code, 0, "scan", album, "--db", tmp_path / "a.db", "-o", tmp_path / "report.html"))
    stages = ["Listing files", "[2/4] Searching", "[3/4] Comparing", "[4/4] Verifying", "Grouping", "Writing "]
    places = [shown.index(stage) for stage in stages]
    assert places == sorted(places)
    assert shown.count("Ctrl-C stops the scan; the next one continues from there") == 1
    assert "Ctrl-C" not in in_terminal(python(code, 1000, "scan", album, "--db", tmp_path / "b.db"))
    assert "Listing" not in in_terminal(python(code, 0, "scan", "-q", album, "--db", tmp_path / "c.db"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "about 10 s"), (44, "about 40 s"), (58, "about 1 min"), (600, "about 10 min"), (9000, "about 2.5 h")],
)
def test_guessed_times_are_no_finer_than_a_guess(seconds: float, text: str) -> None:
    assert ENGLISH.roughly(seconds) == text


def default_signals() -> None:
    """A suite that is started in the background of a script, or below nohup, would pass on what that ignores."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


INTERRUPTED = """
import os, signal, sys
from dedup.cli.stopping import Stopped, stopping_on_signals
try:
    with stopping_on_signals():
        exec("os.kill(os.getpid(), signal.SIGINT)")
except Stopped as error:
    print(error)
    sys.exit(3)
"""


def test_code_that_is_interrupted_during_an_import_still_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    words = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment, preexec_fn=default_signals
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "Ctrl-C\n", "")


def in_the_background() -> None:
    """Ignore SIGINT, as a shell makes the commands that a script starts with &."""
    default_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("name", "by", "started"),
    [
        ("SIGINT", "Ctrl-C", default_signals),
        ("SIGTERM", "SIGTERM", default_signals),
        ("SIGHUP", "SIGHUP", default_signals),
        ("SIGTERM", "SIGTERM", in_the_background),
    ],
)
def test_signal_stops_a_scan_in_one_line_on_record_and_leaves_no_previews(
    album: Path, tmp_path: Path, name: str, by: str, started: Callable[[], None]
) -> None:
    words = [sys.executable, "-m", "dedup", "scan", str(album), "--db", str(tmp_path / "c.db"), "--json-log", "-"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=started) as scan:
        assert scan.stderr is not None
        assert '"started"' in scan.stderr.readline()
        scan.send_signal(getattr(signal, name))
        out, err = scan.communicate()
    assert not list(tmp_path.glob(".*.previews"))
    told, line = err.splitlines()
    assert (scan.returncode, out) == (3, "")
    assert '"event": "stopped"' in told
    assert line == f"stopped by {by}; what was read is stored, and the next scan continues from there"
    runs = [sys.executable, "-m", "dedup", "history", "--db", str(tmp_path / "c.db")]
    assert f"stopped by {by}" in subprocess.run(runs, capture_output=True, text=True, check=True).stdout


# completion


def completed(words: str, *, at: int) -> list[str]:
    environment = os.environ | {"_DEDUP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # coverage loads sqlite3
    line = [sys.executable, "-X", "importtime", "-m", "dedup"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    loaded = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
    assert "dedup.cli" in loaded
    assert not loaded & {"torch", "faiss", "PIL", "sqlite3", "jinja2"}
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "at", "found"),
    [
        ("dedup sc", 1, ["plain,scan", "plain,schedule"]),
        ("dedup scan --dev", 2, ["plain,--device"]),
        ("dedup scan --device ", 3, ["plain,auto", "plain,cpu", "plain,cuda"]),
        ("dedup scan --db ", 3, ["file,"]),
        ("dedup scan Pho", 2, ["file,Pho"]),
        ("dedup mark keep a", 3, ["file,a"]),
        ("dedup export sk", 2, ["plain,skipped"]),
        ("dedup apply --to ", 3, ["file,", "plain,trash", "plain,hardlink", "plain,reflink", "plain,delete"]),
        ("dedup apply --to ha", 3, ["file,ha", "plain,hardlink"]),
        ("dedup completion ", 2, ["plain,bash", "plain,zsh", "plain,fish"]),
    ],
)
def test_commands_options_choices_and_paths_are_completed(words: str, at: int, found: list[str]) -> None:
    assert completed(words, at=at) == found


def test_every_path_is_completed() -> None:
    free = {
        "URL",
        "[COMMAND]",
        "GLOB",
        "WORD,...",
        "ID",
        "TIME",
        "HH:MM",
        "ADDRESS",
        "HOST:PORT",
        "P",
        "N",
        "[COMMAND [WORD]...]",
    }
    for name, command in main.commands.items():
        for param in command.params:
            assert param.type.name != "text" or param.metavar in free, (name, param.name)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_one_that_the_shell_can_read(dedup: Dedup, shell: str, tmp_path: Path) -> None:
    text = dedup("completion", shell).stdout
    assert f"_DEDUP_COMPLETE={shell}_complete" in text
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    (tmp_path / "c").write_text(text)
    subprocess.run([program, "-n", tmp_path / "c"], check=True)


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("bash", 'source c; COMP_WORDS=(dedup sta); COMP_CWORD=1; _dedup_completion dedup; echo "${COMPREPLY[@]}"'),
        ("fish", "source c; complete -C 'dedup sta' | cut -f1"),
    ],
)
def test_shell_completes_a_command(dedup: Dedup, tmp_path: Path, shell: str, code: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    (tmp_path / "c").write_text(dedup("completion", shell).stdout)
    (tmp_path / "dedup").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dedup "$@"\n')
    (tmp_path / "dedup").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.getcwd()}
    words = [program, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "status\n"
