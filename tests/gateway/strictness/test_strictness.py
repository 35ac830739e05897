"""The table of raw requests, against each server that a client can reach."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs
from tests.gateway.strictness.behind_nginx import differences, differences_without_a_gateway
from tests.gateway.strictness.client import Answer, Exchange, play
from tests.gateway.strictness.rows import Fate, Outcome, Row, Step
from tests.gateway.strictness.table import GROUPS
from tests.gateway.strictness.targets import Arrived, Target, behind, directly_behind, targets

from portico.testing.databases import SQLiteDatabases

ROWS = [row for rows in GROUPS.values() for row in rows]
BEHIND_NGINX = dict(differences())
DIRECTLY_BEHIND_NGINX = dict(differences_without_a_gateway())
AT_ONCE = 40
OK = 200
ERROR = 400
UPGRADE_REQUIRED = 426
MEDIA_TYPE = b"application/problem+json"
NO_ROUTE = {"a WebSocket at a route without WebSockets", "a WebSocket at an unknown route"}
"""Rows whose WebSocket no route of the service takes; the framework refuses them."""
CLOSED_LATER = {
    "an answer before a body that does not come",
    "an answer before a chunked body that breaks",
    "an answer before an expected body that the service does not read",
}
"""Rows that show only after the answer that the connection must be closed."""


@dataclass
class PlayedRow:
    """A row that was played against a target.

    Attributes:
        exchange: What the client saw.
        reached: The whole requests that reached the service.
        arrived: The requests that reached the service, also incomplete ones.
    """

    exchange: Exchange
    reached: tuple[str, ...]
    arrived: list[Arrived]

    @property
    def outcome(self) -> tuple[object, ...]:
        """Return what client and service saw, and what went wrong in reading the answers."""
        return (
            tuple(answer.status for answer in self.exchange.answers),
            self.exchange.fate,
            self.reached,
            tuple(answer.status for answer in self.exchange.next_answers),
            self.exchange.fault,
        )

    @property
    def fields(self) -> set[bytes]:
        """Return the names of all fields that reached the service."""
        return {name for request in self.arrived for name, _ in request.headers}


@dataclass
class PlayedTable:
    """All rows by name, as they were played against a target."""

    target: str
    rows: Mapping[str, PlayedRow]
    errors: list[str]

    def right(self, row: Row) -> Outcome:
        """Return what is right for a row at this target."""
        match self.target:
            case "service":
                return row.service or row.outcome
            case "split" | "fast_split":
                return row.split or row.outcome
            case "nginx":
                return BEHIND_NGINX.get(row.name, row.outcome)
            case "direct":
                return DIRECTLY_BEHIND_NGINX.get(row.name) or BEHIND_NGINX.get(row.name) or row.service or row.outcome
            case _:
                return row.outcome

    @property
    def is_own(self) -> bool:
        """Whether the server that the client reaches is Portico's."""
        return self.target not in {"nginx", "direct"}


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, Target]]:
    """Start every server once."""
    async with targets(SQLiteDatabases(tmp_path_factory.mktemp("strictness"))) as found:
        yield found


@pytest.fixture(
    scope="module",
    params=[
        "service",
        "joined",
        "fast",
        pytest.param("split", marks=pytest.mark.slow),
        pytest.param("fast_split", marks=pytest.mark.slow),
        pytest.param("nginx", marks=pytest.mark.slow),
        pytest.param("direct", marks=pytest.mark.slow),
    ],
)
async def table(servers: Mapping[str, Target], request: pytest.FixtureRequest) -> PlayedTable:
    """Play every row against one target, many at the same time."""
    name: str = request.param
    match name:
        case "nginx":
            target = behind(request.getfixturevalue("nginx_server"), servers["proxied"])
        case "direct":
            target = directly_behind(request.getfixturevalue("nginx_server"), servers["service"])
        case _:
            target = servers[name]
    played = PlayedTable(name, {}, [])
    with logged_errors() as played.errors:
        played.rows = await play_all(played, target)
    return played


async def play_all(table: PlayedTable, target: Target) -> dict[str, PlayedRow]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, row: Row) -> PlayedRow:
        async with places:
            exchange = await play(
                row,
                number,
                target.hurried if row.is_slow or not table.right(row).answers else target.address,
                expected=max(len(table.right(row).answers), 1),
                arrived=target.recorder.events[number] if table.is_own else None,
            )
        return PlayedRow(exchange, target.recorder.reached(number), target.recorder.arrived[number])

    every = await asyncio.gather(*(one(number, row) for number, row in enumerate(ROWS)))
    return {row.name: played for row, played in zip(ROWS, every, strict=True)}


@contextmanager
def logged_errors() -> Iterator[list[str]]:
    """Collect what is logged as an error, by uvicorn and asyncio too."""
    errors: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(record.getMessage())

    collector = Collector(logging.ERROR)
    logging.getLogger().addHandler(collector)
    try:
        with capture_logs() as events:
            yield errors
        errors.extend(str(event) for event in events if event["log_level"] in {"error", "critical"})
    finally:
        logging.getLogger().removeHandler(collector)


def test_the_table_has_each_name_once() -> None:
    names = [row.name for row in ROWS]

    assert sorted(names) == sorted(set(names))
    assert set(BEHIND_NGINX) <= set(names)


@pytest.mark.parametrize("group", GROUPS)
async def test_each_request_has_its_outcome(table: PlayedTable, group: str) -> None:
    wanted = {row.name: table.right(row) for row in GROUPS[group]}

    assert {name: table.rows[name].outcome for name in wanted} == {
        name: (outcome.answers, outcome.fate, outcome.reached, outcome.next_answers, "")
        for name, outcome in wanted.items()
    }


async def test_what_is_refused_is_a_problem(table: PlayedTable) -> None:
    others = {name for name, row in table.rows.items() if not all(map(is_problem, row.exchange.answers))}

    assert not table.is_own or others <= NO_ROUTE  # NGINX has pages of its own


async def test_the_last_answer_says_whether_the_connection_closes(table: PlayedTable) -> None:
    wrong = {
        row.name
        for row in ROWS
        if Step.HALF_CLOSE not in row.sent
        and (exchange := table.rows[row.name].exchange).fate is not Fate.SWITCHED
        and says_close(exchange) is not (exchange.fate is Fate.CLOSED)
    }

    assert not table.is_own or wrong <= CLOSED_LATER  # NGINX decides to close some connections after its answer


async def test_another_websocket_version_is_answered_with_the_one_that_is_spoken(table: PlayedTable) -> None:
    answers = [
        answer for row in table.rows.values() for answer in row.exchange.answers if answer.status == UPGRADE_REQUIRED
    ]

    assert {answer.get(b"sec-websocket-version") for answer in answers} == {b"13"}
    assert {answer.get(b"upgrade") for answer in answers} == {b"websocket"}


async def test_trailers_do_not_become_header_fields(table: PlayedTable) -> None:
    found = {row.name: table.rows[row.name].fields & set(row.hidden) for row in ROWS if row.hidden}

    assert found == {name: set() for name in found}


async def test_fields_of_one_hop_are_not_forwarded(table: PlayedTable) -> None:
    found = {row.name: table.rows[row.name].fields & set(row.dropped) for row in ROWS if row.dropped}
    named_by_connection = {b"x-secret", b"x-other"} if not table.is_own else set()  # NGINX forwards those
    forwarded = {name: fields - named_by_connection for name, fields in found.items()}

    assert table.target == "service" or forwarded == {name: set() for name in found}


async def test_values_have_no_white_space_around_them(table: PlayedTable) -> None:
    for row in ROWS:
        for field in row.seen.items():
            assert field in table.rows[row.name].arrived[0].headers, row.name


async def test_nothing_that_a_client_sends_is_logged_as_an_error(table: PlayedTable) -> None:
    assert table.errors == []


def is_problem(answer: Answer) -> bool:
    return answer.status < ERROR or answer.get(b"content-type") == MEDIA_TYPE


def says_close(exchange: Exchange) -> bool:
    """Return whether the last final answer has the connection option `close`; an exchange without one says it."""
    finals = [answer for answer in exchange.answers if answer.status >= OK]
    return not finals or b"close" in (finals[-1].get(b"connection") or b"")
