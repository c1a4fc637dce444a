"""CSV files: cells, rows, reading back."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from dedup.errors import BadUsage, DedupError
from dedup.report.text import printable
from dedup.types.message import Message

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CsvStyle:
    """How a CSV file is written. bom: begin it with a byte order mark, by which Excel knows UTF-8."""

    delimiter: str = ","
    bom: bool = False


PLAIN = CsvStyle()


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def read_csv(path: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns and rows of a CSV file written by dedup or a spreadsheet, with comma, semicolon or tab.

    Each row comes with its row number in a spreadsheet. Raises BadUsage.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            text = f.read()
        head = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=head.count)
        columns, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if text else [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadUsage(
            Message(
                "{path}: cannot be read as CSV ({error})", path=path, error=getattr(error, "strerror", None) or error
            )
        ) from error
    return columns, [(n, dict(zip(columns, map(value_of, row), strict=False))) for n, row in enumerate(rows, 2) if row]


def write_rows(output: str | None, columns: list[str], rows: Iterable[Row]) -> None:
    """Write rows to a CSV file, all of it or nothing, or to standard output. Raises DedupError if that fails."""
    with text_stream(output) as f:
        write_csv(f, columns, rows)


def write_csv(f: IO[str], columns: list[str], rows: Iterable[Row], style: CsvStyle = PLAIN) -> None:
    """Write a header and the rows, as RFC 4180 says but for the delimiter."""
    if style.bom:
        f.write("\ufeff")
    writer = csv.writer(f, lineterminator="\r\n", delimiter=style.delimiter)
    writer.writerow(columns)
    shown = printable if isinstance(f, Terminal) else str  # a name may hold a line break, or colours
    for row in rows:
        writer.writerow(shown(cell(row[column])) for column in columns)


def cell(value: Any) -> str:
    """Return the text of one CSV cell; value_of() is its inverse for text."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    text = escaped(str(value))
    return "'" + text if text.startswith(_FORMULA) and isinstance(value, str) else text


def escaped(text: str) -> str:
    """Return the text with bytes that are not UTF-8 (surrogate escapes) written as \\udcXX, which value_of() undoes."""
    return re.sub("[\udc80-\udcff]", lambda m: f"\\u{ord(m[0]):04x}", text.replace("\\u", "\\u005cu"))


def value_of(text: str) -> str:
    """Return the text that cell() wrote."""
    text = text.removeprefix("'")
    return re.sub(r"\\u(005c|dc[89a-f][0-9a-f])", lambda m: chr(int(m[1], 16)), text)


class Terminal(io.StringIO):
    """A terminal, to which control characters are written as escapes: a file name must not move its cursor."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str, /) -> int:
        lines = text.replace("\r\n", "\n").split("\n")
        return self._stream.write("\n".join(map(printable, lines)))


@contextmanager
def text_stream(output: str | None) -> Iterator[IO[str]]:
    """Give a UTF-8 text stream: standard output, or a file that gets its name only when it is complete.

    A terminal gets control characters as escapes; files and pipes get them as they are.
    """
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # regardless of the locale; CSV has its own line ends
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield Terminal(sys.stdout) if sys.stdout.isatty() else sys.stdout
        sys.stdout.flush()
        return
    with complete_file(output) as temporary, open(temporary, "x", encoding="utf-8", newline="") as f:
        yield f


@contextmanager
def complete_file(output: str) -> Iterator[str]:
    """Give the path of a new file beside the output, which takes its name once the block has written all of it.

    Raises DedupError if the output is not a regular file or cannot be written.
    """
    output = os.path.realpath(output)  # a link remains a link
    temporary = f"{output}.{os.getpid()}.part"
    try:
        if os.path.lexists(output) and not os.path.isfile(output):
            raise DedupError(Message("{path}: not a regular file; choose another name", path=output))
        try:
            with suppress(FileNotFoundError):  # left by a killed run; in a container process numbers repeat
                os.unlink(temporary)
            yield temporary
            with open(temporary, "r+b") as f:  # Windows syncs only what may be written
                os.fsync(f.fileno())
            os.replace(temporary, output)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise DedupError(
            Message(
                "{path}: cannot be written ({error}); choose another name", path=output, error=error.strerror or error
            )
        ) from error
