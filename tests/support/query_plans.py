"""How many rows PostgreSQL reads for the statements that a service executes."""

import json
from typing import Any

from sqlalchemy import event

from portico.kit.data.engine import Database


class QueryPlans:
    """Records the statements that a service executes, to ask PostgreSQL for their plans afterwards.

    They are plans for any values, as prepared statements have them after a few executions.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._executed: list[tuple[str, Any]] = []
        for engine in {database.reader.sync_engine, database.writer.sync_engine}:
            event.listen(engine, "before_cursor_execute", self._record)

    def _record(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        self._executed.append((statement, parameters))

    async def max_rows_read(self, table: str) -> int:
        """Return how many rows of a table the most expensive of the recorded queries reads, and forget them."""
        executed, self._executed = self._executed, []
        queries = [(text, values) for text, values in executed if text.startswith("SELECT") and table in text]
        assert queries, f"no query of {table} was executed"
        found = []
        async with self._database.writer.connect() as connection:
            await connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
            for number, (statement, values) in enumerate(queries):
                name = f"explained_{number}"
                await connection.exec_driver_sql(f"PREPARE {name} AS {statement}")
                call = f"{name} ({', '.join(map(_literal, values))})" if values else name
                plans = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {call}")
                plan = plans.scalar_one()
                [explained] = json.loads(plan) if isinstance(plan, str) else plan
                found.append(_rows_read(explained["Plan"], table))
            await connection.invalidate()  # with its setting and its prepared statements
        return max(found)


def _literal(value: Any) -> str:
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


def _rows_read(node: dict[str, Any], table: str) -> int:
    """Return the number of rows of a table that a node of a plan and those below it read."""
    below = sum(_rows_read(each, table) for each in node.get("Plans", ()))
    if node.get("Relation Name") != table:
        return below
    removed = sum(count for name, count in node.items() if name.startswith("Rows Removed by"))
    return below + int((node["Actual Rows"] + removed) * node["Actual Loops"])
