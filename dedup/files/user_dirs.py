"""The folders of this platform for data, settings and trash, by platformdirs."""

from __future__ import annotations

import os

from platformdirs import user_config_dir, user_data_dir


def database() -> str:
    """Return the default path of the database."""
    return os.path.join(user_data_dir("dedup"), "dedup.db")


def config() -> str:
    """Return the default path of the config file."""
    return os.path.join(user_config_dir("dedup"), "config.toml")


def trash() -> str:
    """Return the trash of the home file system, by the freedesktop.org Trash specification 1.0."""
    return os.path.join(user_data_dir(), "Trash")
