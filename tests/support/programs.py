"""Programs that some tests run. A test whose program is missing is skipped, and the end of the run lists it."""

import os
import shutil

import pytest


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
