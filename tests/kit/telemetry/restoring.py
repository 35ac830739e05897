import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from portico.kit.telemetry.logs import Logs


@contextmanager
def logs_restored() -> Iterator[None]:
    """Restore the log configuration at the end, so that it does not affect later tests."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        logging.captureWarnings(capture=False)
        structlog.configure(**before)


@contextmanager
def silence() -> Iterator[None]:
    """Disable logging during tests that cause many errors, because formatting tracebacks is slow."""
    with logs_restored():
        logs = Logs.configure(level="critical", style="json")
        yield
        logs.close()
