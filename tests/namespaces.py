"""Run code where folders can be mounted: in a mount namespace of its own, as root or in a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


def namespace_command() -> list[str]:
    """Return the words in front of a command that let it mount. Skips the test where the system does not allow it.

    What it starts, as the server of a FUSE file system, ends with it.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare on this system")
    words = [unshare, "--mount", "--pid", "--fork", "--kill-child", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no mount namespace")
    return words


def run_mounted(mounts: str, code: str, folder: Path) -> str:
    """Return what Python code prints in a folder after these shell commands have mounted what it needs.

    Skips the test if they fail.
    """
    words = [*namespace_command(), "sh", "-c", '(eval "$0") 2>&1 || exit 99; exec "$@"', mounts]
    about = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    done = subprocess.run(
        [*words, sys.executable, "-c", code], cwd=folder, env=about, capture_output=True, text=True, check=False
    )
    if done.returncode == 99:
        pytest.skip(f"this system cannot mount: {done.stdout.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout
