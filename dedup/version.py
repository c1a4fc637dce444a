"""The version of dedup and of the libraries that decode photos."""

import sys
from contextlib import suppress
from pathlib import Path

__version__ = "0.1.0"


def installation(extra: str) -> str:
    """Return the command that installs an extra: from the checkout that this package is in, or from the index."""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").exists():
        return f"{sys.executable} -m pip install -e '{checkout}[{extra}]'"
    return f"pip install 'dedup-photos[{extra}]'"


def decoders() -> str:
    """Return the names and versions of the decoders. Files that other versions rejected are tried again."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and not needed for the version

    found = [f"dedup {__version__}"]
    for package in ("pillow", "pillow-heif", "rawpy", "pillow-jxl-plugin"):
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)
