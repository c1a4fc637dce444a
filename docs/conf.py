"""Sphinx configuration for `scripts/docs`, which fails on a link or anchor without a target."""

import logging
import os
from typing import Any

os.environ["HOME"] = "/home/you"  # shown in the defaults of options
logging.getLogger("faiss").setLevel(logging.WARNING)

from dedup.version import __version__  # noqa: E402 - after HOME is set

project = "dedup"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
myst_heading_anchors = 3  # headings get the anchors that GitHub generates
highlight_language = "none"
smartquotes = False  # keeps -- in front of an option
html_theme = "furo"
html_title = f"dedup {__version__}"
html_copy_source = False


def setup(app: Any) -> None:
    def as_it_stands(app: Any, ctx: Any, lines: list[str]) -> None:
        lines[:] = [line.replace("*", r"\*") for line in lines]  # help texts are not markup

    app.connect("sphinx-click-process-description", as_it_stands)
    app.connect("sphinx-click-process-epilog", as_it_stands)
