import re
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from dedup.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_two_commands_stand_in_the_readme_and_ci_runs_them() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    blocks = [line.strip() for line in README.splitlines() if line.startswith("    pip install")]
    assert blocks == [
        "pip install -c constraints.txt . && dedup scan ~/Photos",
        "pip install -c constraints.txt '.[test]' && pytest",
    ]
    for install in (
        "pip install -q -c constraints.txt .\n",
        "pip install -q -c constraints.txt '.[test]'\n",
        " pytest\n",
    ):
        assert install in ci
    assert 'dedup scan "$HOME/Photos"' in ci


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


def test_every_command_and_option_is_named() -> None:
    for name, command in main.commands.items():
        assert f"dedup {name} " in README, name
        for param in command.params:
            if param.param_type_name == "option":
                assert max(param.opts, key=len) in README, (name, param.name)


def test_every_name_of_an_option_in_the_readme_exists() -> None:
    known = {opt for command in main.commands.values() for p in command.params for opt in (*p.opts, *p.secondary_opts)}
    assert set(re.findall(r"--[a-z][a-z-]+", README)) <= known


def test_example_of_a_config_file_is_accepted(dedup: Callable[..., Result], album: Path, tmp_path: Path) -> None:
    lines = README.splitlines()
    start = lines.index('    db = "/var/lib/dedup/photos.db"')
    text = "\n".join(line.strip() for line in lines[start : start + 4])
    (tmp_path / "originals").mkdir()
    text = text.replace("/var/lib/dedup", str(tmp_path)).replace("/photos", str(tmp_path))
    (tmp_path / "c.toml").write_text(text)
    dedup("scan", album, "--config", tmp_path / "c.toml")


def test_tables_relations_and_rules_are_those_of_the_code() -> None:
    from dedup.actions.plan_file import COLUMNS
    from dedup.report.tables import MATCHES, TABLES
    from dedup.types.pairs import Relation
    from dedup.types.settings import KEEP

    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    stated = re.findall(r"^### (\w+)\n`([\w,]+)`$", page, re.MULTILINE)
    assert stated == [(name, ",".join(columns)) for name, (columns, _) in TABLES.items()]
    for columns in (MATCHES, COLUMNS, KEEP):
        assert f"\n`{','.join(columns)}`" in page
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [*(r.word for r in Relation), *KEEP]
