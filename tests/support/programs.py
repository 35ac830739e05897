"""Programs that some tests run. A test whose program is missing is skipped, and the end of the run lists it."""

import os
import shutil
from pathlib import Path

import pytest

NODE = Path(__file__).parents[1] / "node"
"""The folder of the Node.js packages that tests use."""


def program(name: str, *, package: str) -> str:
    """Return the path of a program that `make servers` installs; skip the test if it is missing.

    `REQUIRE_SERVERS=all` makes that an error.
    """
    if found := shutil.which(name):
        return found
    reason = f"{name}: not on this machine; `make servers` installs it, and so does the package {package}"
    if "all" in os.environ.get("REQUIRE_SERVERS", "").lower().split(","):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def node_file(path: str) -> Path:
    """Return a file of an installed Node.js package; skip the test if `make node` has not installed it."""
    found = NODE / "node_modules" / path
    if shutil.which("node") is None or not found.exists():
        pytest.skip(f"{path.partition('/')[0]}: not installed; `make node` installs it and needs Node.js")
    return found
