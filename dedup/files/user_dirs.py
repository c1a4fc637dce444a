"""Where this platform wants data, settings and trash. platformdirs lives here."""

from __future__ import annotations

import os

from platformdirs import user_config_dir, user_data_dir


def database() -> str:
    """Return the path of the database, unless somebody names another."""
    return os.path.join(user_data_dir("dedup"), "dedup.db")


def config() -> str:
    """Return the path of the config file, unless somebody names another."""
    return os.path.join(user_config_dir("dedup"), "config.toml")


def trash() -> str:
    """Return the folder of the trash of the home file system, after the trash specification of freedesktop.org."""
    return os.path.join(user_data_dir(), "Trash")
