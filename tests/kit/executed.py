"""Records the statements that an engine executes."""

import asyncio
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine


class Statements:
    """The statements that `engine` has executed since; `executed` is set once there are `count` of them."""

    def __init__(self, engine: AsyncEngine, *, count: int = 1) -> None:
        self.texts: list[str] = []
        self.executed = asyncio.Event()
        self._count = count
        event.listen(engine.sync_engine, "before_cursor_execute", self._on_execute)

    def _on_execute(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.texts.append(statement)
        if len(self.texts) >= self._count:
            self.executed.set()
