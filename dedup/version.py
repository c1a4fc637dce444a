"""The version of dedup and of the libraries that decode photos."""

from contextlib import suppress

__version__ = "0.1.0"


def decoders() -> str:
    """Return the names and versions of the decoders. Files that other versions rejected are tried again."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and not needed for the version

    found = [f"dedup {__version__}"]
    for package in ("pillow", "pillow-heif", "rawpy", "pillow-jxl-plugin"):
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)
