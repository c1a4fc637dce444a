"""The version, and those of what decodes for it, where everything may ask for them."""

from contextlib import suppress

__version__ = "0.1.0"


def decoders() -> str:
    """Return the names and versions of what decodes; what others refused may be read by these."""
    from importlib.metadata import PackageNotFoundError, version  # the version alone is asked for more often

    found = [f"dedup {__version__}"]
    for package in ("pillow", "pillow-heif", "rawpy", "pillow-jxl-plugin"):
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)
