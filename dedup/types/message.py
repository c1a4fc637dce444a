"""Sentences that can be said in another language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Self


class Message(str):
    """A sentence in English, filled in, that keeps what `dedup.languages` needs to say it in another language.

    msgid: the sentence with named {places}, as the catalogues have it.   values: what fills them; a Message too is
    said in the other language. As text it is the English sentence, in tables, logs and comparisons.
    """

    msgid: str
    values: Mapping[str, object]

    def __new__(cls, msgid: str, /, **values: object) -> Self:
        text = super().__new__(cls, msgid.format(**values))
        text.msgid, text.values = msgid, values
        return text

    def __reduce__(self) -> tuple[object, ...]:
        return _message, (self.msgid, self.values)


def _message(msgid: str, values: Mapping[str, object]) -> Message:
    return Message(msgid, **values)


def sentence_of(error: Exception) -> str:
    """Return what an error says, as a Message if it is one."""
    text = error.args[0] if error.args else ""
    return text if isinstance(text, Message) else str(error)


def listed(messages: Sequence[str]) -> str:
    """Return messages as one, with commas between them; "" if there are none."""
    return reduce(lambda first, rest: Message("{first}, {rest}", first=first, rest=rest), messages) if messages else ""
