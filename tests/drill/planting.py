"""Bugs that tests plant in a system under drill."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from portico.kit.runtime.context import ServiceRuntime


def changing(folder: Path, service: str, when: str) -> Callable[[ServiceRuntime], None]:
    """Return a bug: a trigger in a service's database that changes or deletes rows that the service writes."""

    def plant(context: ServiceRuntime) -> None:
        if context.name != service:
            return
        with sqlite3.connect(folder / f"{service}.db") as connection:
            connection.execute(f"CREATE TRIGGER IF NOT EXISTS planted AFTER {when}")
        connection.close()

    return plant
