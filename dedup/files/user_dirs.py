"""The folders of this platform for data, settings and trash, by platformdirs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from platformdirs import user_config_dir, user_data_dir, user_state_dir


def database() -> str:
    """Return the default path of the database."""
    return os.path.join(user_data_dir("dedup"), "dedup.db")


def config() -> str:
    """Return the default path of the config file."""
    return os.path.join(user_config_dir("dedup"), "config.toml")


def trash() -> str:
    """Return the trash of the home file system: that of macOS, or by the freedesktop.org Trash specification 1.0."""
    return os.path.expanduser("~/.Trash") if sys.platform == "darwin" else os.path.join(user_data_dir(), "Trash")


@dataclass(frozen=True, slots=True)
class ActionDirs:
    """The folders of a user that apply and undo need.   trash: of the home file system, as trash() returns it."""

    trash: str
    locks: str


def for_actions() -> ActionDirs:
    """Return the trash, and the folder for locks on the folders that apply and undo change."""
    return ActionDirs(trash(), os.path.join(user_state_dir("dedup"), "locks"))
