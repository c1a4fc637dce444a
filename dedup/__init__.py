"""Find the near-duplicate photos in a collection, and remove them without losing a picture.

    import dedup
    report = dedup.scan(["~/Photos"])
    for group in report.groups:
        print(group.keep.path, [duplicate.path for duplicate in group.duplicates])

Everything here comes from dedup.api, which is loaded on first use; the command line is dedup.cli.
"""

from typing import TYPE_CHECKING

from dedup.version import __version__

if TYPE_CHECKING:
    from dedup.api import (
        Comparison,
        Duplicate,
        Encoder,
        Group,
        Kept,
        Match,
        Pair,
        Removal,
        Report,
        Skipped,
        apply,
        compare,
        find,
        load_encoder,
        scan,
    )

__all__ = [
    "Comparison",
    "Duplicate",
    "Encoder",
    "Group",
    "Kept",
    "Match",
    "Pair",
    "Removal",
    "Report",
    "Skipped",
    "__version__",
    "apply",
    "compare",
    "find",
    "load_encoder",
    "scan",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'dedup' has no attribute '{name}'")
    from dedup import api

    return getattr(api, name)
