"""Languages: numbers and times, which language is chosen, and that pages say all of their words in it."""

import gettext
import pickle
import re
from pathlib import Path

import pytest

from dedup.languages.language import ENGLISH, Language, accepted, code_of, codes, first_known, load, of_environment
from dedup.report.html import environment
from dedup.types.message import Message, listed

PACKAGE = Path(__file__).parents[1] / "dedup"
TEMPLATES = sorted(PACKAGE.glob("*/templates/*.html"))
SCRIPTS = [*PACKAGE.glob("*/static/*.js"), *PACKAGE.glob("*/templates/*.js")]


class Catalogue(gettext.NullTranslations):
    """A catalogue of a test's own. What it does not have is in angle brackets."""

    def __init__(self, **messages: str) -> None:
        super().__init__()
        self.messages = messages

    def gettext(self, message: str) -> str:
        form = re.fullmatch(r"\{number\} ?\S+|%Y.*|[\d,.]+", message)  # of a number, a size or a time
        return self.messages.get(message, message if form else f"<{message}>")

    def ngettext(self, one: str, many: str, count: int) -> str:
        return f"<{many}>"


CONTINENTAL = Language("xx", Catalogue(**{"1,234,567.8": "1.234.567,8", "{number}%": "{number} %"}))


def test_message_is_its_english_text_and_can_be_said_in_another_language() -> None:
    said = Message("cropped to {share:.0%}", share=0.4)
    assert said == "cropped to 40%"
    assert f"{said}" == "cropped to 40%"
    assert CONTINENTAL.say(said) == "<cropped to 40 %>"
    assert CONTINENTAL.say("cropped to 40%") == "cropped to 40%"


def test_message_in_a_message_is_said_too() -> None:
    both = listed([Message("grey"), Message("{kept:,} over {other:,} bytes", kept=1200, other=34)])
    assert both == "grey, 1,200 over 34 bytes"
    assert CONTINENTAL.say(both) == "<<grey>, <1.200 over 34 bytes>>"
    assert listed([]) == ""


def test_message_survives_the_way_from_another_process() -> None:
    said = pickle.loads(pickle.dumps(Message("the kept one is {lost}", lost=Message("grey"))))
    assert CONTINENTAL.say(said) == "<the kept one is <grey>>"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (3.2e12, "3.2 TB"), (4.5e15, "4,500.0 TB")],
)
def test_bytes_for_people(size: float, text: str) -> None:
    assert ENGLISH.bytes(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.84, "0.8 s"), (61, "1 min 1 s"), (7322, "2 h 2 min")])
def test_times_for_people(seconds: float, text: str) -> None:
    assert ENGLISH.duration(seconds) == text


def test_percentage_is_never_rounded_up_to_100() -> None:
    shown = [ENGLISH.percent(p) for p in (0.912, 0.9994, 0.99951, 1.0)]
    assert shown == ["91.2%", "99.9%", "over 99.9%", "over 99.9%"]


def test_numbers_are_written_as_the_catalogue_writes_them() -> None:
    assert CONTINENTAL.number(1234567.8, ",.1f") == "1.234.567,8"
    assert CONTINENTAL.number(0.1234, ".1%") == "12,3 %"
    assert CONTINENTAL.bytes(1500) == "1,5 KB"
    assert [ENGLISH.share(p) for p in (0.95, 0.999)] == ["95%", "99.9%"]


def test_time_that_is_none_is_shown_as_it_is() -> None:
    assert ENGLISH.moment("2019-07-01T12:00:01") == "2019-07-01 12:00:01"
    assert ENGLISH.moment("last summer") == "last summer"


@pytest.mark.parametrize(
    ("name", "code"),
    [("en_GB.UTF-8", "en"), ("en-US", "en"), ("C.UTF-8", "en"), ("POSIX", "en"), ("tlh", None), ("", None)],
)
def test_language_of_a_locale(name: str, code: str | None) -> None:
    assert code_of(name) == code


def test_environment_is_read_in_the_order_of_posix() -> None:
    assert of_environment({"LANG": "tlh", "LC_ALL": ""}).code == "en"
    assert of_environment({}).code == "en"
    assert first_known(["tlh", "en-US"]) is load("en")


def test_template_escapes_translations_and_values() -> None:
    wicked = Language("xx", Catalogue(**{"hello {name}": "<b>{name}</b>", "{number}%": "{number}%"}))
    page = environment("dedup.report", wicked).from_string(
        """{{ _("hello {name}", name="<i>") }} {{ _("{a}", a="x" | strong) }}"""
    )
    assert page.render() == '&lt;b&gt;&lt;i&gt;&lt;/b&gt; &lt;<b class="number">x</b>&gt;'


def test_template_says_messages_that_it_is_given() -> None:
    page = environment("dedup.report", CONTINENTAL).from_string("""{{ _("No figure: {reason}", reason=why) }}""")
    assert page.render(why=Message("not enough memory")) == "&lt;No figure: &lt;not enough memory&gt;&gt;"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_words_outside_of_messages(path: Path) -> None:
    html = path.read_text(encoding="utf-8")
    assert "{% trans" not in html  # it would not escape the translation
    html = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", "", html, flags=re.DOTALL)
    shown = re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"', html)
    shown.append(re.sub(r"<h1>dedup</h1>|<kbd>[^<]*</kbd>|<[^>]*>", "", html))
    assert [text for text in shown if re.search(r"[A-Za-z]{2}", text)] == []


def test_scripts_use_the_words_that_the_pages_give_them() -> None:
    """Their own strings are names: none has two words."""
    for path in SCRIPTS:
        code = re.sub(r"^\s*//.*|\s// .*", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        strings = re.findall(r'"((?:[^"\\\n])*)"', code)
        wordy = [s for s in strings if re.search(r"[A-Za-z]{2,} [a-z]{2,}", s) and not re.search(r"[\[\]().:]", s)]
        assert set(wordy) <= {"use strict", "visible error"}
    used = {word for path in SCRIPTS for word in re.findall(r"(?<!/)\bwords\.(\w+)", path.read_text(encoding="utf-8"))}
    given = {
        word for path in TEMPLATES for word in re.findall(r'"([\w-]+)": pattern\(', path.read_text(encoding="utf-8"))
    }
    actions = {"accept", "keep", "keep-all", "not-duplicate", "clear", "undo"}  # which the page looks up by name
    assert used | actions == given


def test_english_needs_no_catalogue() -> None:
    assert "en" in codes()
    assert ENGLISH.gettext("{n} files", n=3) == "3 files"
    assert accepted("").code == "en"
    assert accepted("tlh, en;q=0.5, xx;q=0").code == "en"
