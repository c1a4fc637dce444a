"""Scheduled scans: write, list and remove a systemd user timer, a crontab line, a launchd agent, or a Windows task.

A scheduled run has no terminal and almost no environment, so its command uses absolute paths throughout.
"""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from xml.sax.saxutils import escape

from dedup.errors import BadUsage, DedupError
from dedup.files import user_dirs

KINDS = ("systemd", "cron", "launchd", "schtasks")
_NAME = re.compile(r"dedup-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Job:
    """A command that runs every day or every Sunday. words: the absolute path of the program, and its arguments."""

    name: str
    about: str
    words: tuple[str, ...]
    hour: int
    minute: int
    weekly: bool


def name_of(paths: Sequence[str], db: str) -> str:
    """Return the name of the job that scans these folders into this database."""
    return f"dedup-{sha256(b'/'.join(map(os.fsencode, (*sorted(paths), db)))).hexdigest()[:8]}"


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def available() -> str:
    """Return the first of KINDS that this system has. Raises BadUsage if it has none."""
    if sys.platform == "darwin":
        return "launchd"
    if sys.platform == "win32":
        return "schtasks"
    if shutil.which("systemctl") and _run(["systemctl", "--user", "show-environment"]).returncode == 0:
        return "systemd"
    if shutil.which("crontab"):
        return "cron"
    raise BadUsage("this system has neither systemd user timers nor crontab; see docs/schedule.md for alternatives")


def folder_of(kind: str) -> str:
    """Return the folder of this user's units, agents or tasks."""
    if kind == "schtasks":  # Windows keeps its own copy
        return os.path.join(os.path.dirname(user_dirs.database()), "tasks")
    if kind == "launchd":
        return os.path.expanduser("~/Library/LaunchAgents")
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "systemd", "user")


def install(job: Job, kind: str) -> str:
    """Write a job, replacing one of the same name, and start it; return what was written. Raises DedupError."""
    if kind == "cron":
        lines = _cron(job)
        _set_crontab([*_others(_crontab(), job.name), *lines])
        return "\n".join(lines)
    files, folder = _files(job, kind), folder_of(kind)
    try:
        os.makedirs(folder, exist_ok=True)
        for name, text in files.items():
            with open(os.path.join(folder, name), "w", encoding=_encoding(kind)) as f:
                f.write(text)
    except OSError as error:
        raise DedupError(f"{folder}: cannot be written ({error.strerror}); choose another with --backend") from error
    try:
        if kind == "systemd":
            _done(["systemctl", "--user", "daemon-reload"])
            _done(["systemctl", "--user", "enable", "--now", f"{job.name}.timer"])
        elif kind == "launchd":
            _done(["launchctl", "load", "-w", os.path.join(folder, f"{job.name}.plist")])
        else:
            _done(["schtasks", "/Create", "/F", "/TN", job.name, "/XML", os.path.join(folder, f"{job.name}.xml")])
    except DedupError:
        for name in files:
            os.unlink(os.path.join(folder, name))
        raise
    return "\n".join(f"# {os.path.join(folder, name)}\n{text}" for name, text in files.items())


def listed(kind: str) -> dict[str, str]:
    """Return the description of each job, by name."""
    if kind == "cron":
        marks = [line.removeprefix("# ").split(": ", 1) for line in _crontab() if line.startswith("# dedup-")]
        return {name: about for name, about in marks if is_name(name)}
    found = {}
    suffix = {"systemd": ".timer", "launchd": ".plist", "schtasks": ".xml"}[kind]
    folder = folder_of(kind)
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        name = file.removesuffix(suffix)
        if is_name(name) and name != file:
            with open(os.path.join(folder, file), encoding=_encoding(kind)) as f:
                about = re.search(r"^(?:Description=|<!-- )(.*?)(?: -->)?$", f.read(), re.MULTILINE)
            found[name] = about[1].replace("%%", "%") if about else ""
    return found


def remove(name: str, kind: str) -> None:
    """Remove a job. Raises BadUsage if there is none with this name."""
    if name not in listed(kind):
        raise BadUsage(f"{name}: no such job; see 'dedup schedule list'")
    folder = folder_of(kind)
    if kind == "cron":
        _set_crontab(_others(_crontab(), name))
        return
    if kind == "systemd":
        _done(["systemctl", "--user", "disable", "--now", f"{name}.timer"])
    elif kind == "launchd":
        _done(["launchctl", "unload", "-w", os.path.join(folder, f"{name}.plist")])
    else:
        _done(["schtasks", "/Delete", "/F", "/TN", name])
    for suffix in (".timer", ".service", ".plist", ".xml"):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name + suffix))


def _files(job: Job, kind: str) -> dict[str, str]:
    """Return the files of a job, by name."""
    if kind == "systemd":
        return _systemd(job)
    return {f"{job.name}.plist": _launchd(job)} if kind == "launchd" else {f"{job.name}.xml": _task(job)}


def _systemd(job: Job) -> dict[str, str]:
    """Return the service and timer units, by file name."""
    about = job.about.replace("%", "%%")
    day = "Sun *-*-*" if job.weekly else "*-*-*"
    service = f"""[Unit]
Description={about}

[Service]
Type=oneshot
Nice=19
IOSchedulingClass=idle
SuccessExitStatus=3 10
ExecStart={" ".join(map(_systemd_word, job.words))}
"""
    timer = f"""[Unit]
Description={about}

[Timer]
OnCalendar={day} {job.hour:02}:{job.minute:02}:00
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{job.name}.service": service, f"{job.name}.timer": timer}


def _systemd_word(word: str) -> str:
    """Return a word as systemd.service(5) quotes it."""
    escapes = {"\\": "\\\\", '"': '\\"', "$": "$$", "%": "%%"}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else _hex(c)) for c in word) + '"'


def _hex(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _cron(job: Job) -> list[str]:
    """Return the comment that identifies the job, and its crontab line. Raises BadUsage."""
    if any("\n" in word or "\r" in word for word in job.words):
        raise BadUsage("a crontab cannot hold a path with a line break; choose --backend systemd, or another folder")
    low = [path for path in (shutil.which("nice"), shutil.which("ionice")) if path]
    first = [w for path in low for w in (path, *(("-c", "3") if path.endswith("ionice") else ("-n", "19")))]
    line = " ".join(map(shlex.quote, [*first, *job.words])).replace("%", "\\%")
    return [f"# {job.name}: {job.about}", f"{job.minute} {job.hour} * * {0 if job.weekly else '*'} {line}"]


def _launchd(job: Job) -> str:
    """Return the property list, with a comment that describes the job. Raises BadUsage."""
    _check_for_xml(job.words)
    when = {"Hour": job.hour, "Minute": job.minute, **({"Weekday": 0} if job.weekly else {})}
    text = plistlib.dumps(
        {
            "Label": job.name,
            "ProgramArguments": list(job.words),
            "StartCalendarInterval": when,
            "Nice": 19,
            "LowPriorityIO": True,
            "ProcessType": "Background",
            "StandardOutPath": os.path.expanduser(f"~/Library/Logs/{job.name}.log"),
            "StandardErrorPath": os.path.expanduser(f"~/Library/Logs/{job.name}.log"),
        }
    ).decode()
    return f"{text}{_comment(job)}\n"


def _task(job: Job) -> str:
    """Return a task of the Windows Task Scheduler, version 1.2, with a comment that describes it. Raises BadUsage."""
    _check_for_xml(job.words)
    sundays = "<ScheduleByWeek><WeeksInterval>1</WeeksInterval><DaysOfWeek><Sunday/></DaysOfWeek></ScheduleByWeek>"
    days = "<ScheduleByDay><DaysInterval>1</DaysInterval></ScheduleByDay>"
    return f"""<?xml version="1.0" encoding="UTF-16"?>
{_comment(job)}
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>{escape(job.about)}</Description></RegistrationInfo>
  <Triggers>
    <CalendarTrigger>
      <StartBoundary>2020-01-05T{job.hour:02}:{job.minute:02}:00</StartBoundary>
      {sundays if job.weekly else days}
    </CalendarTrigger>
  </Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>9</Priority>
  </Settings>
  <Actions>
    <Exec>
      <Command>{escape(job.words[0])}</Command>
      <Arguments>{escape(subprocess.list2cmdline(job.words[1:]))}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


def _check_for_xml(words: Sequence[str]) -> None:
    """Raise BadUsage if XML cannot hold a word."""
    if any(re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", word) for word in words):
        raise BadUsage("XML cannot hold a path with control characters or bytes that are not UTF-8")


def _comment(job: Job) -> str:
    """Return an XML comment that describes a job."""
    return f"<!-- {re.sub('-(?=-|$)', '- ', job.about)} -->"


def _encoding(kind: str) -> str:
    return "utf-16" if kind == "schtasks" else "utf-8"


def _crontab() -> list[str]:
    """Return the lines of this user's crontab. Raises DedupError if it cannot be read: writing would lose it."""
    found = _run(["crontab", "-l"])
    if found.returncode and b"no crontab" not in found.stderr:
        raise DedupError(f"crontab -l: {os.fsdecode(found.stderr).strip() or found.returncode}; nothing was changed")
    return os.fsdecode(found.stdout).split("\n")[:-1] if found.returncode == 0 else []


def _others(lines: Sequence[str], name: str) -> list[str]:
    """Return the lines of a crontab without those of a job."""
    marks = {n for n, line in enumerate(lines) if line.startswith(f"# {name}: ")}
    return [line for n, line in enumerate(lines) if n not in marks and n - 1 not in marks]


def _set_crontab(lines: Sequence[str]) -> None:
    _done(["crontab", "-"], text="".join(f"{line}\n" for line in lines))


def _done(words: list[str], text: str = "") -> None:
    """Run a program. Raises DedupError with its error output."""
    done = _run(words, text)
    if done.returncode:
        raise DedupError(f"{' '.join(words)}: {os.fsdecode(done.stderr).strip() or f'exit code {done.returncode}'}")


def _run(words: list[str], text: str = "") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(words, input=os.fsencode(text), capture_output=True, check=False)
    except OSError as error:
        raise DedupError(f"{words[0]}: cannot be run ({error.strerror}); choose another with --backend") from error
