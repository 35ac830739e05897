"""What the tests of the rows of ticketing share: whole systems for a file, and checks of responses."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.box_office import RunningBoxOffice, run_box_office

from portico.gateway_client import Response, next_link
from portico.kit import Clock
from portico.servers import RabbitMQServer, RedisServer
from portico.systems.ticketing import ticketing
from portico.testing.databases import ServerDatabases
from portico.ticketing_client import TicketingClient

SECRETS = ("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET")
BACKENDS = (
    "embedded",
    pytest.param("mariadb", marks=pytest.mark.slow),
    pytest.param("servers", marks=pytest.mark.slow),
)


@asynccontextmanager
async def office_on(
    request: pytest.FixtureRequest, folder: Path, *, clock: Clock | None = None, **variables: str
) -> AsyncIterator[RunningBoxOffice]:
    """Run the system on the backend that is the parameter of the fixture. `clock` is its source of the time."""
    values = {"DATA_DIR": str(folder), **variables}
    if request.param == "embedded":
        async with run_box_office(values, clock=clock) as office:
            yield office
        return
    server = request.getfixturevalue(f"{'mariadb' if request.param == 'mariadb' else 'postgresql'}_server")
    databases = ServerDatabases(server, prefix=f"r{secrets.token_hex(3)}_")
    values |= {"DATABASE_URL": databases.per_service()}
    values |= {name: secrets.token_urlsafe(48) for name in SECRETS}
    for placement in ticketing.placements:
        await databases.create_migrated(placement)
    if request.param == "servers":
        rabbitmq: RabbitMQServer = request.getfixturevalue("rabbitmq_server")
        redis: RedisServer = request.getfixturevalue("redis_server")
        redis.flush()
        values |= {"RABBITMQ_URL": rabbitmq.url(), "REDIS_URL": redis.url()}
    try:
        async with run_box_office(values, clock=clock) as office:
            yield office
    finally:
        databases.drop()


def refused(response: Response, status: int, code: str, **members: Any) -> dict[str, Any]:
    """Check that a response is this problem (RFC 9457) with these members; return it."""
    response.expect(status, code=code, **members)
    problem: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance", "requestId"} <= set(problem), problem
    return problem


async def refuses_bodies(
    client: TicketingClient, path: str, drafts: Sequence[Mapping[str, Any]], *, method: str = "POST"
) -> None:
    """Check that each body is 422."""
    answers = [await client.request(method, path, each) for each in drafts]
    assert [each.status for each in answers] == [422] * len(drafts), [each.text(300) for each in answers]


async def walked(client: TicketingClient, path: str, name: str, *, size: int = 1) -> list[dict[str, Any]]:
    """Walk a list by `Link` `next`, check every page, and return all items."""
    found: list[dict[str, Any]] = []
    following: str | None = f"{path}{'&' if '?' in path else '?'}size={size}"
    number, total = 0, -1
    while following is not None:
        response = (await client.request("GET", following)).expect(200)
        body = response.json()
        total = body["page"]["totalElements"]
        pages = -(-total // size)
        assert body["page"] == {"number": number, "size": size, "totalElements": total, "totalPages": pages}
        found += body[name]
        following, number = next_link(response.headers["link"]), number + 1
    assert len(found) == total
    return found


async def is_paged(client: TicketingClient, path: str, name: str) -> None:
    """Check the size of pages, a page past the end, and that a list has nothing but its items and its page."""
    joint = "&" if "?" in path else "?"
    whole = (await client.request("GET", path)).expect(200).json()
    assert whole.keys() == {name, "page"}
    assert whole["page"].keys() == {"number", "size", "totalElements", "totalPages"}
    assert (whole["page"]["number"], whole["page"]["size"]) == (0, 20)
    total = whole["page"]["totalElements"]
    past = (await client.request("GET", f"{path}{joint}page=1000&size=3")).expect(200)
    assert past.json()[name] == []
    assert past.json()["page"] == {"number": 1000, "size": 3, "totalElements": total, "totalPages": -(-total // 3)}
    assert next_link(past.headers["link"]) is None
    for wrong in ("size=0", "size=101", "size=x", "page=-1", "limit=5"):
        answer = await client.request("GET", f"{path}{joint}{wrong}")
        assert answer.status == 422, (wrong, answer.text(200))
