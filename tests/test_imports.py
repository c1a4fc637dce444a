"""Which package and module may import which: values flow down the stages and never back."""

import re
from graphlib import TopologicalSorter

from architecture import DRAWING, arrows, drawing, imported, modules

# The packages from the ground up. A module may import from lines above its own, and from its own package.
LAYERS = (
    "errors version",
    "types",
    "languages workers",
    "files geometry index store",
    "images models grouping",
    "pipeline report",
    "actions cluster training",
    "api",
    "review",
    "cli",
)
# What a line allows and nobody should do: pairs of packages on lines of their own would not show it.
FORBIDDEN = {
    "store": {"files", "index", "geometry"},  # a database knows no folders
    "grouping": {"images", "models", "store", "index"},  # pure: verdicts in, groups out
    "training": {"store", "pipeline", "report", "actions", "cluster"},  # learns from files alone
    "actions": {"models", "images", "index", "cluster"},  # acts on what a report says
    "report": {"models", "store", "index"},
}
HOMES = {  # each outside library has one home
    "faiss": {"index"},
    "sqlite3": {"store"},
    "click": {"cli"},
    "platformdirs": {"files.user_dirs"},
    "tqdm": {"cli.progress"},
    "filelock": {"actions.locks", "store"},
    "send2trash": {"actions.trash"},
    "safetensors": {"models.weights"},
    "pillow_heif": {"images.opening"},
    "simplejpeg": {"images.opening"},
    "jinja2": {"report.html"},
    "pyarrow": {"files.object_store", "cluster.tables", "report.parquet_file"},
    "ray": {"cluster.ray_runner"},
    "starlette": {"review.app", "review.guard"},
    "uvicorn": {"review.server"},
    "multiprocessing": {"workers"},
    "cv2": {"geometry"},
    "torch": {"models", "training.fitting", "training.gates", "training.losses"},
    "PIL": {"images", "geometry.enlargement", "report.figure", "cli.demo_album", "training"},
}
LINE = {package: n for n, line in enumerate(LAYERS) for package in line.split()}


def package_of(module: str) -> str:
    return module.split(".")[0]


def test_every_package_has_its_line() -> None:
    assert {package_of(name) for name in modules()} == LINE.keys() | {"__init__", "__main__"}


def test_no_import_goes_up() -> None:
    upward = [
        f"{name} -> {other}"
        for name, uses in arrows().items()
        for other in uses
        if package_of(name) in LINE
        and package_of(other) != package_of(name)
        and (
            LINE[package_of(other)] >= LINE[package_of(name)]
            or package_of(other) in FORBIDDEN.get(package_of(name), ())
        )
    ]
    assert upward == []


def test_modules_have_no_circle() -> None:
    found = arrows()

    def reach(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"circle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in found[name]:
                reach(other, (*path, name))
            done.add(name)

    done: set[str] = set()
    for name in found:
        reach(name, ())


def test_each_library_has_its_home() -> None:
    users: dict[str, set[str]] = {library: set() for library in HOMES}
    for name, path in modules().items():
        for library in {n.split(".")[0] for n in imported(path)} & HOMES.keys():
            users[library].add(package_of(name) if package_of(name) in HOMES[library] else name)
    assert users == HOMES


def test_only_three_modules_load_when_the_package_is_imported() -> None:
    assert arrows()["__init__"] == {"api", "version"}
    assert arrows()["__main__"] == {"cli.main"}


def test_the_drawing_shows_the_arrows_that_there_are() -> None:
    assert DRAWING.read_text(encoding="utf-8") == drawing(), "run scripts/architecture.py"


def test_scripts_of_the_review_have_no_circle() -> None:
    folder = modules()["review.app"].parent / "static"
    imports = re.compile(r'^import .* from "\./(.+)";$', re.MULTILINE)
    uses = {p.name: set(imports.findall(p.read_text(encoding="utf-8"))) for p in folder.glob("*.js")}
    assert uses["review.js"] >= {"dialogs.js", "server.js", "status.js"}
    TopologicalSorter(uses).prepare()  # raises CycleError with the circle
