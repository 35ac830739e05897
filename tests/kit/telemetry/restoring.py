import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from portico.kit.telemetry.logs import Logs


@contextmanager
def logs_restored() -> Iterator[None]:
    """At the end logs go where they went: what one test configures would silence, or divert, those of all after it."""
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
    """What is broken on purpose is not logged: tracebacks by the hundred would take longer than a drill."""
    with logs_restored():
        logs = Logs.configure(level="critical", style="json")
        yield
        logs.close()
