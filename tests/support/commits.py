"""Counts the transactions of a service that write to one table."""

from typing import Any

from sqlalchemy import event

from portico.kit.runtime.context import ServiceRuntime


class Commits:
    """The committed transactions that have written to `table`, from now on."""

    def __init__(self, context: ServiceRuntime, table: str) -> None:
        self.count = 0
        self._into = f" INTO {table} "
        engine = context.database.writer.sync_engine
        event.listen(engine, "before_cursor_execute", self._executed)
        event.listen(engine, "commit", self._committed)

    def _executed(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._into in statement:
            connection.info[self._into] = True

    def _committed(self, connection: Any) -> None:
        self.count += connection.info.pop(self._into, False)
