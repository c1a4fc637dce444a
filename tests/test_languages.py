"""Languages: numbers and times, which language is chosen, and that pages say all of their words in it."""

import ast
import gettext
import os
import pickle
import re
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import languages
import pytest
from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from click.testing import Result
from serving import serving

from dedup.cli.estimate import Estimate
from dedup.cli.progress import line_of
from dedup.languages.language import ENGLISH, Language, accepted, code_of, codes, first_known, load, of_environment
from dedup.report.html import environment
from dedup.types.message import Message, listed

Dedup = Callable[..., Result]

CODES = ("de", "es", "fr", "ja", "zh_CN")
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
    [
        *[("de_AT.UTF-8", "de"), ("ja_JP.eucJP", "ja"), ("sr_RS@latin", None)],
        *[("zh", "zh_CN"), ("zh-CN", "zh_CN"), ("zh-Hans-SG", "zh_CN"), ("zh_TW", None), ("zh-Hant", None)],
        *[("en_GB.UTF-8", "en"), ("en-US", "en"), ("C.UTF-8", "en"), ("POSIX", "en"), ("tlh", None), ("", None)],
    ],
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


def test_no_message_is_inside_of_another_string_where_it_would_not_be_found() -> None:
    for path in PACKAGE.rglob("*.py"):
        strings = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.JoinedStr)]
        calls = [n.func for string in strings for n in ast.walk(string) if isinstance(n, ast.Call) and n.args]
        assert not {ast.unparse(f).split(".")[-1] for f in calls} & (languages.KEYWORDS.keys() - {"say", "count"}), path
        assert not [f for f in calls if isinstance(f, ast.Name) and f.id in ("say", "count")], path


def entries(catalogue: Catalog) -> dict[object, Entry]:
    return {entry.id: entry for entry in catalogue if entry.id}


def forms(entry: Entry) -> list[str]:
    """Return the translations of an entry, one for each plural form."""
    return [*entry.string] if isinstance(entry.string, list | tuple) else [str(entry.string)]


def places(text: str) -> set[tuple[str, str | None]]:
    return {(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name}


def test_there_is_a_catalogue_for_each_language() -> None:
    assert codes() == tuple(sorted(("en", *CODES)))


@pytest.mark.parametrize("code", CODES)
def test_catalogue_translates_every_message_of_the_sources_and_no_other(code: str) -> None:
    found = entries(languages.read(languages.FOLDER / f"{code}.po"))
    assert found.keys() == entries(languages.template()).keys(), "run scripts/languages.py"
    assert [entry.id for entry in found.values() if entry.fuzzy or not languages.is_translated(entry)] == []


@pytest.mark.parametrize("code", CODES)
def test_translation_has_the_places_of_its_message(code: str) -> None:
    for entry in entries(languages.read(languages.FOLDER / f"{code}.po")).values():
        wanted = places(entry.id[-1] if isinstance(entry.id, list | tuple) else str(entry.id))
        assert [places(text) for text in forms(entry)] == [wanted] * len(forms(entry)), entry.id


@pytest.mark.parametrize("code", CODES)
def test_compiled_catalogue_is_that_of_the_text(code: str) -> None:
    for entry in entries(languages.read(languages.FOLDER / f"{code}.po")).values():
        one, *many = entry.id if isinstance(entry.id, list | tuple) else [entry.id]
        if not many:
            assert load(code).translated(str(one)) == entry.string, "run scripts/languages.py"
        else:
            said = {load(code).translated(one, many[0], n) for n in (0, 1, 2, 5, 1_000_000)}
            assert said <= {*forms(entry)}, "run scripts/languages.py"
            assert forms(entry)[0] in said


@pytest.mark.parametrize("code", CODES)
def test_catalogue_says_how_numbers_and_times_are_written(code: str) -> None:
    language = load(code)
    assert re.fullmatch(r"1(?P<mark>\D)234(?P=mark)567\D8", language.translated("1,234,567.8"))
    assert re.sub(r"\D", "", language.number(1234567.8, ",.1f")) == "12345678"
    assert {"2019", "07", "09", "12", "34", "56"} == set(re.findall(r"\d+", language.moment("2019-07-09T12:34:56")))


@pytest.mark.parametrize("code", CODES)
def test_totals_of_the_report_begin_with_their_figure_which_stands_above_the_words(code: str) -> None:
    figures = [("{n} group", "{n} groups"), ("{n} duplicate", "{n} duplicates"), ("{size} to reclaim", "")]
    for one, many in (*figures, ("{n} photo scanned", "{n} photos scanned")):
        assert load(code).translated(one, many, 2).startswith("{")


def test_numbers_of_a_language() -> None:
    assert load("de").bytes(1_234_567) == "1,2 MB"
    assert load("fr").bytes(1_234_567) == "1,2 Mo"
    assert load("de").percent(0.9999) == "über 99,9 %"
    assert load("ja").duration(7322) == "2 時間 2 分"
    assert load("de").ngettext("{n} group", "{n} groups", 1200) == "1.200 Gruppen"
    assert load("fr").ngettext("{n} group", "{n} groups", 0) == "0 groupe"


def test_browser_is_answered_in_the_first_language_that_there_is() -> None:
    assert accepted("fr-CH, fr;q=0.9, de;q=0.7").code == "fr"
    assert accepted("nl, de;q=0.3, en;q=0.8").code == "en"
    assert accepted("zh-TW, ja;q=0.5").code == "ja"


def texts(html: str) -> Iterator[str]:
    """Yield what a page shows: texts, and attributes that are read out; without names of files and commands."""
    html = re.sub(r"<(style|script|code|kbd)\b.*?</\1>", "", html, flags=re.DOTALL)
    shown = re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"', html) + re.findall(r">([^<]+)<", html)
    for text in map(unescape, shown):
        named = re.sub(r"(harbour|tower|garden)( \(1\)| small| grey| cropped| mirrored)?\.\w+", "", text)
        yield re.sub(r"\S*/Photos\S*", "", named)


def english(html: str, code: str) -> list[str]:
    """Return the texts of a page that hold words of an English message, if the language has others for it."""
    words = set()
    for entry in entries(languages.read(languages.FOLDER / f"{code}.po")).values():
        one, *many = entry.id if isinstance(entry.id, list | tuple) else [entry.id]
        words |= {text for text in (one, *many) if text not in forms(entry)}
    fixed = {part.strip(" .,:;()") for text in words for part in re.split(r"\{.*?\}", text)}
    alone = [re.escape(part) for part in fixed if re.search(r"[A-Za-z]{3}", part) and part != "over"]
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(alone, key=len, reverse=True))})\b")
    return [text for text in texts(html) if pattern.search(text)]


@pytest.mark.parametrize("code", ["de", "ja"])
def test_report_of_a_scan_has_no_english_words(code: str, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    options = ("--include", "similar", "--lang", code)
    said = dedup("scan", album, "-o", tmp_path / "report.html", "-o", tmp_path / "groups.csv", *options).stdout
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f'<html lang="{code}">' in html
    assert english(html, code) == []
    dedup("export", "-o", tmp_path / "english.html", "--lang", "en")
    assert len(english((tmp_path / "english.html").read_text(encoding="utf-8"), code)) > 100
    assert "; ".join(said.split("; ")[2:]) == {
        "de": "3 Gruppen, 6 Duplikate, {size} einsparbar\n",
        "ja": "3 グループ、6 件の重複、{size} 削減可能\n",
    }[code].format(size=re.search(r"[\d.,]+ [KM]B", said)[0])
    rows = (tmp_path / "groups.csv").read_text(encoding="utf-8")
    assert "group,role,path,relation" in rows
    assert ",copy," in rows
    assert "kept: " in rows


@pytest.mark.parametrize("code", ["de", "ja"])
def test_review_speaks_the_language_of_the_browser(code: str, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server:
        for path in ("", "groups", "group/2", "plan?everything=yes", "shown", "folders"):
            html = server.ask(path, Accept_Language=f"tlh, {code}-XX;q=0.5")[2].decode()
            assert english(html, code) == [], path
        status, failed = server.post("undo-decision", {"query": ""}, Accept_Language=code)
        assert (status, failed["error"]) == (409, load(code).gettext("there is no decision to undo"))
    with serving(tmp_path / "test.db", "--lang", "ja") as server:
        html = server.ask(Accept_Language=code)[2].decode()
        assert '<html lang="ja">' in html
        assert english(html, "ja") == []


def test_plan_and_status_are_said_in_the_language_of_the_environment(
    dedup: Dedup, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dedup("scan", album, "-q")
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    assert "6 fichiers à supprimer" in dedup("apply").stdout
    assert "dernière analyse terminée le" in dedup("status").stdout
    assert dedup("undo").stdout == "Rien à annuler.\n"
    assert dedup("undo", "--lang", "de").stdout == "Nichts rückgängig zu machen.\n"
    monkeypatch.setenv("DEDUP_LANG", "es")
    assert "Nada que deshacer." in dedup("undo").stdout


def test_outcomes_errors_and_progress_are_said_in_the_language(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    error = dedup("apply", "--lang", "de", code=1).stderr
    assert error.startswith(
        f"Fehler: {tmp_path}/test.db: keine solche Datenbank; führen Sie zuerst „dedup scan FOLDER“"
    )
    dedup("scan", album, "-q")
    assert dedup("mark", "not-duplicate", album / "garden.png", album / "alone 10.jpg", "--lang", "fr").stdout == (
        "1 décision enregistrée\n"
    )
    dedup("apply", "--yes", "--to", tmp_path / "Away")
    undone = dedup("undo", "--lang", "ja").stdout.splitlines()
    assert len(undone) == 6
    assert all(re.search(r": /.* から復元しました$", line) for line in undone), undone
    (album / "garden.png").write_bytes(b"other")
    failed = dedup("apply", "--yes", "--to", tmp_path / "Away", "--lang", "es", code=3).stderr.splitlines()
    keeper = f"el que se conserva, {album}/garden.png, cambió después del análisis; analice de nuevo"
    assert any(line.endswith(f": omitido: {keeper}") for line in failed), failed
    estimate = Estimate()
    estimate.update("reading", 128, 50_000, 0.0)
    assert line_of(estimate, load("de")) == "[1/4] Lesen 128/50.000"


def test_unknown_language_is_one_clear_line(dedup: Dedup) -> None:
    said = dedup("status", "--lang", "tlh", code=2).stderr
    assert "'tlh': there is no such language; there are de, en, es, fr, ja, zh_CN" in said


def test_help_loads_no_catalogue_and_nothing_that_is_slow() -> None:
    seen = (
        "import sys; from dedup.cli.main import main; main(['scan', '--help'], standalone_mode=False); "
        "from dedup.languages.language import load; "
        "print(load.cache_info().currsize, sys.modules.keys() & {'torch', 'numpy', 'jinja2', 'babel'})"
    )
    environment = os.environ | {"LC_ALL": "de_DE.UTF-8"}
    said = subprocess.run([sys.executable, "-c", seen], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "0 set()"
