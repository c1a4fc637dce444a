"""Messages, numbers and times -> text in one language, by the catalogues of this folder. English needs none.

How a language writes numbers, percentages, sizes and times is in its catalogue too, as the translation of a sample or
a pattern, so that a language is one file.
"""

from __future__ import annotations

import gettext
import os
import string
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from dedup.types.message import Message

_FOLDER = Path(__file__).parent
_SCRIPTS = {"zh_hans": "zh_cn", "zh_sg": "zh_cn"}  # other names of a language's catalogue, in small letters


@dataclass(frozen=True)
class Language:
    """One language.   code: as the name of its catalogue, de or zh_CN."""

    code: str
    _catalogue: gettext.NullTranslations = field(default_factory=gettext.NullTranslations, repr=False, compare=False)

    @property
    def tag(self) -> str:
        """Return the language tag (BCP 47), de or zh-CN."""
        return self.code.replace("_", "-")

    def gettext(self, msgid: str, /, **values: object) -> str:
        """Return a sentence in this language, with its {places} filled in."""
        return self._filled(self.translated(msgid), values)

    def ngettext(self, one: str, many: str, count: int, /, **values: object) -> str:
        """Return a sentence in this language in the form that fits a count, which is {n} unless `values` has it."""
        return self._filled(self.translated(one, many, count), {"n": self.number(count)} | values)

    def say(self, text: str) -> str:
        """Return a Message in this language; any other text as it is."""
        return self.gettext(text.msgid, **text.values) if isinstance(text, Message) else text

    def translated(self, one: str, many: str = "", count: int = 1) -> str:
        """Return what the catalogue has for a sentence, with its {places}. many, count: for one that counts."""
        return self._catalogue.ngettext(one, many, count) if many else self._catalogue.gettext(one)

    def _filled(self, text: str, values: Mapping[str, object]) -> str:
        return _Filler(self).vformat(text, (), values)

    def number(self, value: float, spec: str = ",") -> str:
        """Return a number in the way of this language. spec: as in format(); a % at its end makes it a percentage."""
        thousands, decimal = self._marks()
        text = format(value, spec).removesuffix("%").translate({ord(","): thousands, ord("."): decimal})
        return self._catalogue.gettext("{number}%").format(number=text) if spec.endswith("%") else text

    def _marks(self) -> tuple[str, str]:
        # Translators: write this number as your language does, by digits.
        sample = self._catalogue.gettext("1,234,567.8")
        return sample[1], sample[-2]

    def percent(self, probability: float) -> str:
        """Return a probability as a percentage that never rounds up to 100%."""
        if probability < 0.9995:
            return self.number(probability, ".1%")
        return self.gettext("over {percent}", percent=self.number(0.999, ".1%"))

    def share(self, value: float) -> str:
        """Return a fraction as a percentage with as many digits as it takes."""
        return self._catalogue.gettext("{number}%").format(number=self.number(100 * value, "g"))

    def bytes(self, size: float) -> str:
        units = (
            self._catalogue.gettext("{number} bytes"),
            self._catalogue.gettext("{number} KB"),
            self._catalogue.gettext("{number} MB"),
            self._catalogue.gettext("{number} GB"),
            self._catalogue.gettext("{number} TB"),
        )
        power = 0
        while size >= 1000 and power < len(units) - 1:
            size, power = size / 1000, power + 1
        return units[power].format(number=self.number(size, ",.1f" if power else ",.0f"))

    def duration(self, seconds: float) -> str:
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return self.gettext("{hours} h {minutes} min", hours=hours, minutes=minutes)
        if minutes:
            return self.gettext("{minutes} min {seconds} s", minutes=minutes, seconds=rest)
        return self.gettext("{seconds} s", seconds=self.number(seconds, ".1f"))

    def roughly(self, seconds: float) -> str:
        """Return an estimated time, rounded as coarsely as an estimate deserves."""
        if seconds < 55:
            return self.gettext("about {number} s", number=max(1, round(seconds / 10)) * 10)
        if seconds < 5400:
            return self.gettext("about {number} min", number=round(seconds / 60))
        return self.gettext("about {number} h", number=self.number(seconds / 3600, ".1f"))

    def minute(self, seconds: float) -> str:
        """Return the local time of a POSIX time, to the minute."""
        return time.strftime(self._catalogue.gettext("%Y-%m-%d %H:%M"), time.localtime(seconds))

    def moment(self, iso: str) -> str:
        """Return a time that is given in ISO 8601, to the second; as it is if it is none."""
        try:
            return datetime.fromisoformat(iso).strftime(self._catalogue.gettext("%Y-%m-%d %H:%M:%S"))
        except ValueError:
            return iso.replace("T", " ")


class _Filler(string.Formatter):
    """Fills the places of a sentence: messages and numbers in its language, and other values as they are."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Message):
            return self._language.say(value)
        if format_spec and isinstance(value, int | float):
            return self._language.number(value, format_spec)
        return str(format(value, format_spec))


ENGLISH = Language("en")


@cache
def codes() -> tuple[str, ...]:
    """Return the codes of the languages that there are."""
    return tuple(sorted({ENGLISH.code, *(name[:-3] for name in os.listdir(_FOLDER) if name.endswith(".mo"))}))


@cache
def load(code: str) -> Language:
    """Return a language of codes()."""
    if code == ENGLISH.code:
        return ENGLISH
    with open(_FOLDER / f"{code}.mo", "rb") as catalogue:
        return Language(code, gettext.GNUTranslations(catalogue))


def code_of(name: str) -> str | None:
    """Return the code of the language that a locale or a language tag names, as de_AT.UTF-8 or zh-Hans; None if there
    is none. C and POSIX are English.
    """
    name = name.split(".")[0].split("@")[0].replace("-", "_").lower()
    if name in ("c", "posix"):
        return ENGLISH.code
    known = {code.lower(): code for code in codes()}
    parts = name.split("_")
    wider = ["_".join(parts[:n]) for n in range(len(parts), 0, -1)]  # zh_hans_cn, zh_hans, zh
    found = [known.get(_SCRIPTS.get(each, each)) for each in wider]
    regional = [code for small, code in known.items() if small.startswith(f"{name}_")]  # zh is zh_CN
    return next(filter(None, [*found, *regional]), None)


def first_known(names: Iterable[str]) -> Language:
    """Return the first language of these that there is, English if there is none."""
    return load(next(filter(None, map(code_of, names)), ENGLISH.code))


def of_environment(environment: Mapping[str, str]) -> Language:
    """Return the language of the messages of a program, by the variables that POSIX names for it."""
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return first_known([next(filter(None, names), "C")])


def accepted(header: str) -> Language:
    """Return the language that an Accept-Language header prefers (RFC 9110)."""
    weighted = []
    for part in header.split(",")[:50]:
        tag, _, parameter = part.partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            weight = 0.0
        weighted.append((weight, tag.strip()))
    ranked = sorted((one for one in weighted if one[0] > 0), key=lambda one: -one[0])
    return first_known(tag for _, tag in ranked)
