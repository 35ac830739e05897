"""The order of the tests, and the deadline after which no slow test begins.

Quick tests run first, so that an error shows early. What runs on MariaDB counts as slow: it repeats what SQLite and
PostgreSQL show, for a fifth of the time. `SLOW_TESTS_DEADLINE` (minutes) keeps a slow machine within its
time: once the run is older than that, slow tests that have not begun are skipped, and the run reports how many.
"""

import faulthandler
import gc
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

pytest_plugins = ["portico.testing.fixtures"]

STARTED = "PORTICO_TESTS_STARTED"
"""Environment variable with the time at which the run began (Unix time, seconds). Worker processes inherit it."""

hypothesis.settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("untimed")


MEMORY = "/dev/shm"  # noqa: S108  # the folder of Linux whose files are in memory
NEEDED_MEMORY = 4 << 30
"""Free bytes in memory that the temporary files of a run may take."""


def pytest_configure() -> None:
    os.environ.setdefault(STARTED, str(time.time()))
    if _has_memory_for_files():
        # The databases of tests are created and deleted by the thousand, which a file system on a disk does slowly.
        os.environ.setdefault("TMPDIR", MEMORY)
        tempfile.tempdir = None  # read the variable again


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests last. A worker runs the quick tests of a file together, and its slow tests together."""
    for item in items:
        if _is_on_mariadb(item):
            item.add_marker(pytest.mark.slow)
    items.sort(key=_is_slow)
    for item in items:
        file = item.path.relative_to(item.config.rootpath)
        item.add_marker(pytest.mark.xdist_group(f"{file}{' slow' if _is_slow(item) else ''}"))


def pytest_collection_finish() -> None:
    """Collect garbage less often: the tests and the imported modules, which stay, make each collection expensive."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = float(os.environ.get("SLOW_TESTS_DEADLINE", "inf"))
    if _is_slow(item) and time.time() - float(os.environ[STARTED]) > minutes * 60:
        pytest.skip(f"slow, and the run is older than SLOW_TESTS_DEADLINE={minutes:g} minutes")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Limit the time of the teardown of a failed test as well: pytest's limit ends with the failure."""
    if seconds := float(item.config.getini("faulthandler_timeout")):
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)


@pytest.fixture(autouse=True)
def _restore_log_configuration() -> Iterator[None]:
    """Restore the configuration of logs after a test that configures them as a process of Portico does."""
    before, loggers = structlog.get_config(), _states_of_loggers()
    yield
    structlog.configure(**before)
    for name, logger in _loggers().items():
        logger.level, logger.propagate, logger.disabled = loggers.get(name, (logging.NOTSET, True, False))
    logging.root.manager._clear_cache()  # of the levels that loggers have inherited


def _has_memory_for_files() -> bool:
    """Return whether MEMORY can hold temporary files, of which tests execute some."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= NEEDED_MEMORY and not found.f_flag & os.ST_NOEXEC


def _states_of_loggers() -> dict[str, tuple[int, bool, bool]]:
    return {name: (each.level, each.propagate, each.disabled) for name, each in _loggers().items()}


def _loggers() -> dict[str, logging.Logger]:
    known = {name: each for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    return {"root": logging.root, **known}


def _is_on_mariadb(item: pytest.Item) -> bool:
    return "mariadb" in item.name.partition("[")[2]


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None
