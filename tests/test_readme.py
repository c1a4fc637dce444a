import re
from pathlib import Path

from dedup.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_two_commands_stand_in_the_readme_and_ci_runs_them() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = [line.strip() for line in README.splitlines() if line.startswith("    scripts/")]
    assert commands == ["scripts/setup && .venv/bin/dedup scan ~/Photos", "scripts/setup test && scripts/check"]
    for command in commands:
        assert re.search(rf"^ +{re.escape(command)}$", ci, re.MULTILINE), command


def test_readme_fits_on_two_screens_and_begins_with_one_sentence_and_a_picture() -> None:
    lines = README.splitlines()
    assert len(lines) <= 101
    assert lines[2].count(".") == 1
    assert lines[4].startswith("![")


def test_layout_in_contributing_names_every_package_and_top_level_module() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"^      (\w+\.py|\w+/)  ", text, re.MULTILINE)
    package = ROOT / "dedup"
    modules = {p.name for p in package.glob("*.py") if not p.name.startswith("__")}
    packages = {f"{p.name}/" for p in package.iterdir() if p.is_dir() and not p.name.startswith("__")}
    assert sorted(named) == sorted(modules | packages)


def test_every_script_is_listed_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("## Scripts") : text.index("## Names")]
    listed = {
        name for names in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.+?)`", names)
    }
    assert listed == {p.name for p in (ROOT / "scripts").iterdir() if p.is_file()}


def test_every_command_is_in_the_table_of_commands() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    named = {
        name
        for row in re.findall(r"^\| (`dedup .*?) \|", page, re.MULTILINE)
        for name in re.findall(r"dedup (\w+)", row)
    }
    assert named == main.commands.keys()


def test_every_command_and_option_that_a_page_shows_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for line in re.findall(r"^(?:    |\$ )dedup (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            name, *words = re.split(r"[ ;|>]+", line.partition(" # ")[0])
            assert name in main.commands, (page.name, line)
            known = {opt for p in main.commands[name].params for opt in (*p.opts, *p.secondary_opts)}
            used = {word.partition("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
            assert used <= known, (page.name, line)


def test_tables_relations_and_rules_are_those_of_the_code() -> None:
    from dedup.actions.plan_file import COLUMNS
    from dedup.report.tables import MATCHES, TABLES
    from dedup.types.pairs import Relation
    from dedup.types.settings import KEEP, KEEP_WORDS

    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    stated = re.findall(r"^### (\w+)\n`([\w,]+)`$", page, re.MULTILINE)
    assert stated == [(name, ",".join(columns)) for name, (columns, _) in TABLES.items()]
    for columns in (MATCHES, COLUMNS, KEEP):
        assert f"\n`{','.join(columns)}`" in page
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    relations, rules = listed[: len(Relation)], listed[len(Relation) :]
    assert relations == [r.word for r in Relation]
    assert [word for word in rules if word in KEEP] == list(KEEP)
    assert sorted(rules) == sorted(KEEP_WORDS)
