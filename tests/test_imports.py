"""Which module may import which: values flow down the stages and never back."""

from architecture import DRAWING, arrows, drawing, imported, modules

ALLOWED: dict[str, set[str]] = {
    "version": set(),
    "__init__": {"api", "version"},
    "__main__": {"cli"},
    "types": set(),
    "errors": set(),
    "files": {"types", "errors"},
    "columns": {"types"},
    "formats": set(),
    "metadata": set(),
    "decode": {"types", "errors", "formats", "metadata"},
    "plane": {"types"},
    "align": {"types", "plane"},
    "objects": {"types", "errors", "files"},
    "proofs": set(),
    "read": {"types", "errors", "formats", "decode", "align", "units", "objects", "proofs"},
    "runners": set(),
    "encode": {"types"},
    "index": {"types"},
    "verify": {"types", "encode"},
    "confirm": {"types", "align"},
    "decide": {"types"},
    "change": {"types", "plane"},
    "figure": {"types"},
    "units": {"types", "errors"},
    "group": {"types", "columns", "errors", "units"},
    "weights": {"types", "confirm", "encode", "errors", "verify"},
    "disk": {"types", "errors"},
    "trash": set(),
    "journal": {"errors", "disk"},
    "actions": {"types", "errors", "disk", "trash", "journal"},
    "schedule": {"errors"},
    "store": {"types", "columns", "errors", "read"},
    "recall": {"types", "decide", "group", "store"},
    "describe": {"types", "encode", "proofs", "read", "runners", "store", "weights"},
    "matching": {
        *{"types", "align", "columns", "confirm", "decide", "encode", "group", "index", "read", "recall", "runners"},
        *{"store", "verify", "weights"},
    },
    "pipeline": {
        *{"describe", "files", "matching", "proofs", "recall", "runners", "store", "types", "version", "weights"},
    },
    "ask": {
        *{"types", "align", "change", "confirm", "decide", "encode", "errors", "files", "index", "read", "recall"},
        *{"matching", "runners", "store", "verify", "weights"},
    },
    "words": set(),
    "places": set(),
    "demo": {"errors"},
    "gallery": {"types", "change", "group", "plane", "words"},
    "why": {"confirm", "gallery", "read", "recall", "matching", "runners", "store", "types", "verify", "weights"},
    "page": {"figure", "gallery", "read", "recall", "runners", "types"},
    "report": {"columns", "errors", "gallery", "group", "page", "recall", "types"},
    "plan": {"errors", "group", "recall", "report", "types", "units"},
    "review.__init__": set(),
    "review.session": {"disk", "errors", "gallery", "group", "plan", "recall", "store", "types", "units"},
    "review.figures": {"figure", "read", "runners", "store", "weights", "why", "review.session"},
    "review.pictures": {"gallery", "read", "runners"},
    "review.work": {"actions", "errors", "journal", "plan", "recall", "review.session", "store", "types"},
    "review.guard": set(),
    "review.app": {
        *{"types", "errors", "actions", "gallery", "page", "plan", "words"},
        *{"review.figures", "review.guard", "review.pictures", "review.session", "review.work"},
    },
    "api": {
        *{"ask", "encode", "errors", "figure", "files", "group", "page", "pipeline", "places", "recall", "report"},
        *{"runners", "store", "types", "weights"},
    },
    "cluster.__init__": set(),
    "cluster.engine": {"errors", "runners"},
    "cluster.tables": {"types", "encode", "objects", "read"},
    "cluster.work": {
        *{"cluster.tables", "decide", "encode", "group", "index", "objects", "recall", "runners", "store"},
        *{"describe", "matching", "types", "verify", "version", "weights"},
    },
    "cluster.scan": {
        *{"cluster.tables", "cluster.work", "decide", "encode", "errors", "files", "index", "objects", "recall"},
        *{"matching", "runners", "store", "types", "version", "weights"},
    },
    "commands.__init__": set(),
    "commands.options": {"errors", "group", "places", "types"},
    "commands.progress": {"errors", "words"},
    "commands.show": {
        *{"ask", "commands.options", "errors", "figure", "recall", "report", "runners", "store", "types", "weights"},
        *{"why", "words"},
    },
    "commands.scan": {
        *{"cluster.engine", "cluster.scan", "commands.options", "commands.progress", "commands.show", "demo", "errors"},
        *{"files", "pipeline", "recall", "report", "runners", "store", "types", "weights", "words"},
    },
    "commands.act": {
        *{"actions", "commands.options", "errors", "journal", "places", "plan", "recall", "report", "store", "types"},
        *{"units", "words"},
    },
    "commands.review": {"commands.options", "errors", "places", "review.app"},
    "commands.setup": {"commands.options", "errors", "files", "schedule", "words"},
    "cli": {
        *{"commands.act", "commands.review", "commands.scan", "commands.setup", "commands.show", "errors", "version"},
        *{"words"},
    },
    "training.__init__": set(),
    "training.augment": set(),
    "training.losses": set(),
    "training.metrics": set(),
    "training.data": {"types", "errors", "decode", "encode", "index", "verify", "training.augment"},
    "training.looks": {
        *{"align", "decide", "encode", "index", "runners", "training.augment", "training.data", "types", "verify"},
        *{"weights"},
    },
}
HOMES = {  # each outside library has one home
    "faiss": {"index"},
    "sqlite3": {"store"},
    "click": {
        *{"cli", "commands.act", "commands.options", "commands.progress", "commands.review", "commands.scan"},
        *{"commands.setup", "commands.show"},
    },
    "platformdirs": {"places"},
    "tqdm": {"commands.progress"},
    "filelock": {"store"},
    "send2trash": {"trash"},
    "safetensors": {"weights"},
    "pillow_heif": {"decode"},
    "jinja2": {"page"},
    "pyarrow": {"objects", "cluster.tables"},
    "ray": {"cluster.engine"},
    "starlette": {"review.app", "review.guard"},
    "uvicorn": {"review.app"},
    "multiprocessing": {"runners"},
    "cv2": {"align"},
    "torch": {"encode", "verify", "confirm", "weights", "training.losses"},
    "PIL": {"decode", "metadata", "figure", "demo", "training.augment", "training.data", "training.looks"},
}


def test_every_module_imports_only_what_comes_before_it() -> None:
    found = arrows()
    assert found.keys() == ALLOWED.keys()
    assert {name: sorted(uses - ALLOWED[name]) for name, uses in found.items() if uses - ALLOWED[name]} == {}


def test_every_permission_is_used() -> None:
    unused = {name: sorted(ALLOWED[name] - uses) for name, uses in arrows().items() if ALLOWED[name] - uses}
    assert unused == {}


def test_there_is_no_circle() -> None:
    def reach(name: str, seen: tuple[str, ...]) -> None:
        assert name not in seen, f"circle: {' -> '.join((*seen, name))}"
        for other in ALLOWED[name]:
            reach(other, (*seen, name))

    for name in ALLOWED:
        reach(name, ())


def test_each_library_has_its_home() -> None:
    users: dict[str, set[str]] = {library: set() for library in HOMES}
    for name, path in modules().items():
        for library in {n.split(".")[0] for n in imported(path)} & HOMES.keys():
            users[library].add(name)
    assert users == HOMES


def test_the_drawing_shows_the_arrows_that_there_are() -> None:
    assert DRAWING.read_text(encoding="utf-8") == drawing(), "run scripts/architecture.py"
