#!/usr/bin/env python3
"""Bring the catalogues of dedup/languages up to date: `python scripts/languages.py [CODE...]`.

Collects the messages of the package, merges them into each NAME.po, and compiles it to NAME.mo. A CODE begins the
catalogue of another language. Needs Babel (extra `test`).
"""

from __future__ import annotations

import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

PACKAGE = Path(__file__).resolve().parents[1] / "dedup"
FOLDER = PACKAGE / "languages"
KEYWORDS: dict[str, tuple[int, ...] | None] = {  # functions -> which of their arguments are messages; None: the first
    "_": None,
    "gettext": None,
    "ngettext": (1, 2),
    "count": (1, 2),
    "say": None,
    "pattern": None,
    "Message": None,
}
_HEADER = re.compile(r'"[A-Z][A-Za-z-]+: .*\\n"$')
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]


def template() -> Catalog:
    """Return a catalogue of all messages of the package, without translations."""
    found = Catalog()
    for _, _, message, comments, context in extract_from_dir(
        PACKAGE, METHODS, keywords=KEYWORDS, comment_tags=["Translators:"], strip_comment_tags=True
    ):
        found.add(message, auto_comments=comments, context=context)
    return found


def is_translated(message: Message) -> bool:
    """Return whether a message has a translation in all of its forms."""
    return all(message.string) if isinstance(message.string, list | tuple) else bool(message.string)


def read(path: Path) -> Catalog:
    with path.open("rb") as f:
        return read_po(f, locale=path.stem, abort_invalid=True)


def merged(path: Path, found: Catalog) -> Catalog:
    """Return the catalogue of a file with the messages that there are now; those that are new have no translation."""
    catalogue = read(path) if path.exists() else Catalog(path.stem)
    catalogue.header_comment = "# The catalogue of dedup. CONTRIBUTING.md says how to edit it."
    catalogue.update(found, no_fuzzy_matching=True, update_header_comment=False)
    catalogue.obsolete.clear()
    for message in catalogue:
        message.flags -= {"python-format", "fuzzy"}  # % stands for itself
    return catalogue


def po_text(catalogue: Catalog) -> bytes:
    """Return a catalogue as a .po file, without places in the source and dates, which would change all the time."""
    kept = ("Language:", "Plural-Forms", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")
    out = io.BytesIO()
    write_po(out, catalogue, width=118, no_location=True, omit_header=False, sort_output=True)
    lines = out.getvalue().decode().splitlines(keepends=True)
    return "".join(x for x in lines if not _HEADER.match(x) or x.startswith(kept, 1)).encode()


def mo_bytes(catalogue: Catalog) -> bytes:
    """Return a catalogue as a .mo file."""
    out = io.BytesIO()
    catalogue.creation_date = catalogue.revision_date = datetime(2000, 1, 1, tzinfo=UTC)  # the same from the same
    write_mo(out, catalogue)
    return out.getvalue()


def main(codes: list[str]) -> None:
    found = template()
    for path in sorted({*FOLDER.glob("*.po"), *(FOLDER / f"{code}.po" for code in codes)}):
        catalogue = merged(path, found)
        path.write_bytes(po_text(catalogue))
        path.with_suffix(".mo").write_bytes(mo_bytes(read(path)))
        missing = sum(not is_translated(message) for message in catalogue if message.id)
        print(f"{path.name}: {len(catalogue):,} messages, {missing:,} without a translation")


if __name__ == "__main__":
    main(sys.argv[1:])
