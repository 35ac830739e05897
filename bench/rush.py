"""50,000 buyers for 500 seats of one show, through the gateway of the ticketing system, embedded and on PostgreSQL.

Run it with `python bench/rush.py`; it takes about ten minutes. `python bench/rush.py embedded` takes half of that;
`--buyers 3000` makes it shorter. The system runs in one process, as `portico up ticketing` does. Each buyer requests a
hold of one seat and pays if the hold is granted. Buyers share a few connections that are always busy, and a hundred
accounts: signing up is not measured. When all seats are sold, rounds of refused buyers and of signed-in GETs are
interleaved: compare the ratio. At the end the benchmark checks that exactly 500 tickets exist and that no response had
a status of 5xx.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import orjson
import psutil

from portico.gateway_client import HttpTransport
from portico.servers import PostgreSQLServer
from portico.testing.commands import Command, eventually, free_ports, is_healthy
from portico.ticketing_client import TicketingClient

BUYERS = 50_000
SEATS = 500
ACCOUNTS = 100
CONNECTIONS = 64
PAYERS = 64  # maximum number of concurrent payments
FIRST_PART = 5  # the first round has a fifth of the buyers, at least two for each seat; the seats sell out in it
ROUNDS = 8
BUYERS_FOR_EACH_GET = 10
SEATS_PER_ROW = 50
PARTS = ("gateway", "auth", "events", "inventory", "bookings", "search", "payments", "notifications")
STARTING = 180.0  # seconds
POLL = 2.0  # seconds
SETTLING = 3000.0  # seconds until all bookings are confirmed
WANTED = 0.5  # refusals for each signed-in GET
REFUSALS = frozenset({"not_enough_seats", "sold_out"})
ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
PASSWORD = "a long enough password"  # the accounts exist only during the run
SETTINGS = {
    "ADMIN_EMAIL": ADMIN["email"],
    "ADMIN_PASSWORD": ADMIN["password"],
    "RATE_LIMIT": "100000000/minute",
    "RATE_LIMIT_SIGN_IN": "100000000/minute",
    "RATE_LIMIT_TOKEN": "100000000/minute",
    "RATE_LIMIT_HOLDS": "100000000/minute",
    "MAX_CLIENT_SHARE": "1",
    "IDENTITY_PASSWORD_PASSES": "1",
    "IDENTITY_PASSWORD_MEMORY_KIB": "1024",
    "LOG_LEVEL": "warning",
}


@dataclass
class Results:
    """Results of one system.

    answers: number of responses by status, or by problem code if the request was refused.
    used: processor time (seconds) of the system, by measurement.
    rates: requests per second, by measurement.
    """

    answers: Counter[str] = field(default_factory=Counter)
    rates: dict[str, float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    tickets: int = 0


class Connection:
    """A connection that sends one request after the other. It costs less processor time than TicketingClient."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def request(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, bytes]:
        """Return the status and the body of the response."""
        content = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + content)
        received = await self._reader.readuntil(b"\r\n\r\n")
        length = int(received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(received[9:12]), await self._reader.readexactly(length)


class Rush:
    """Buyers of one show.

    Args:
        port: port of the gateway.
        tokens: tokens of the accounts, used in turn.
        show_id: the show.
    """

    def __init__(self, port: int, tokens: Sequence[str], show_id: int) -> None:
        self.answers: Counter[str] = Counter()
        self._port = port
        self._tokens = tokens
        self._paying = asyncio.Semaphore(PAYERS)
        self._show_id = show_id

    async def buy(self, buyers: int) -> float:
        """Let buyers request one seat each. Return the responses per second."""

        async def shop(connection: Connection, numbers: Iterator[int]) -> None:
            for number in numbers:
                await self._buy_one(connection, self._tokens[number % len(self._tokens)])

        async with asyncio.TaskGroup() as self._payments:
            return await self._run(shop, buyers)

    async def read(self, requests: int) -> float:
        """Let users read their account. Return the responses per second."""
        path = "/api/auth/me"

        async def read(connection: Connection, numbers: Iterator[int]) -> None:
            for number in numbers:
                status, content = await connection.request("GET", path, self._tokens[number % len(self._tokens)])
                if status != HTTPStatus.OK:
                    raise RuntimeError(f"GET {path}: {status} {content!r}")

        return await self._run(read, requests)

    async def _run(self, act: Any, number: int) -> float:
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(Connection(self._port)) for _ in range(CONNECTIONS)]
            numbers, began = iter(range(number)), time.perf_counter()
            await asyncio.gather(*(act(connection, numbers) for connection in connections))
            return number / (time.perf_counter() - began)

    async def _buy_one(self, connection: Connection, token: str) -> None:
        path = f"/api/inventory/{self._show_id}/holds"
        status, content = await connection.request("POST", path, token, {"quantity": 1})
        if status != HTTPStatus.CREATED:
            self._count_refusal("hold", status, content)
            return
        self.answers["held"] += 1
        draft = {"eventId": self._show_id, "holdId": orjson.loads(content)["holdId"], "paymentMethod": "pm_ok"}
        self._payments.create_task(self._pay(token, draft))

    async def _pay(self, token: str, draft: Mapping[str, Any]) -> None:
        async with self._paying, Connection(self._port) as connection:
            status, content = await connection.request("POST", "/api/bookings", token, draft)
        if status != HTTPStatus.CREATED:
            raise RuntimeError(f"the booking: {status} {content!r}")
        self.answers["booked"] += 1

    def _count_refusal(self, what: str, status: int, content: bytes) -> None:
        code = str(orjson.loads(content).get("code"))
        if code not in REFUSALS:
            raise RuntimeError(f"the {what}: {status} {content!r}")
        self.answers[code] += 1


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(SETTLING):
        while not await condition():  # noqa: ASYNC110  # the system has no event to wait for
            await asyncio.sleep(POLL)


async def open_sale(staff: TicketingClient) -> int:
    """Create a show; return its id once its seats exist."""
    show_id = await staff.create_show(
        {
            "eventName": "Rush",
            "eventDate": "2100-01-01T20:00:00Z",
            "venueName": "Arena",
            "totalSeats": SEATS,
            "sections": [{"name": "Stalls", "rows": SEATS // SEATS_PER_ROW, "seatsPerRow": SEATS_PER_ROW}],
            "price": 35,
            "status": "ON_SALE",
            "maxSeatsPerUser": SEATS,
        }
    )

    async def exist() -> bool:
        return (await staff.request("GET", f"/api/inventory/{show_id}")).status == HTTPStatus.OK

    await until(exist)
    return show_id


async def sign_up(anonymous: TicketingClient) -> list[str]:
    """Create the accounts. Return a token of each."""
    tokens = []
    for number in range(ACCOUNTS):
        client = await anonymous.register(f"buyer-{number}@example.com", PASSWORD, "Buyer")
        tokens.append(client.token)
    return tokens


async def settled(staff: TicketingClient, show_id: int) -> int:
    """Wait until every booking has a final status. Return the number of tickets. Raises RuntimeError if it is wrong."""

    async def is_sold() -> bool:
        return bool((await staff.get(f"/api/inventory/{show_id}"))["sold"] == SEATS)

    async def has_no_pending() -> bool:
        return not await staff.items(f"/api/bookings?eventId={show_id}&status=PENDING", "bookings")

    await until(is_sold)
    await until(has_no_pending)
    summary = await staff.get(f"/api/bookings/summary?eventId={show_id}")
    inventory = await staff.get(f"/api/inventory/{show_id}")
    if not summary["tickets"] == inventory["sold"] == SEATS:
        raise RuntimeError(f"{SEATS} seats: {summary}, {inventory}")
    return int(summary["tickets"])


async def measure(port: int, process: psutil.Process, buyers: int) -> Results:
    """Run the sale. Check that each seat has one ticket."""
    results = Results()
    async with HttpTransport(f"http://127.0.0.1:{port}") as transport:
        anonymous = TicketingClient(transport)
        staff = await anonymous.sign_in(**ADMIN)
        show_id = await open_sale(staff)
        rush = Rush(port, await sign_up(anonymous), show_id)
        first = first_of(buyers)
        results.rates["the sale"] = await rush.buy(first)
        await settled(staff, show_id)
        await compare(rush, process, results, (buyers - first) // ROUNDS)
        results.answers = rush.answers
        results.tickets = await settled(staff, show_id)
    return results


def first_of(buyers: int) -> int:
    """Return the number of buyers in the first round. The other rounds share the rest equally."""
    first = max(buyers // FIRST_PART, 2 * SEATS)
    return first + (buyers - first) % ROUNDS


async def compare(rush: Rush, process: psutil.Process, results: Results, buyers: int) -> None:
    """Interleave rounds of refused buyers and of GETs."""
    measures = {"refused": (rush.buy, buyers), "GET": (rush.read, buyers // BUYERS_FOR_EACH_GET)}
    seconds, used = dict.fromkeys(measures, 0.0), dict.fromkeys(measures, 0.0)
    for _ in range(ROUNDS):
        for what, (act, number) in measures.items():
            before = sum(process.cpu_times()[:2])
            seconds[what] += number / await act(number)
            used[what] += sum(process.cpu_times()[:2]) - before
    for what, (_, number) in measures.items():
        results.rates[what], results.used[what] = number * ROUNDS / seconds[what], used[what] / number / ROUNDS


def run(name: str, variables: Mapping[str, str], buyers: int) -> Results:
    """Start the system, and measure it."""
    with tempfile.TemporaryDirectory() as path:
        ports = dict(zip(PARTS, free_ports(len(PARTS)), strict=True))
        keys = {key: secrets.token_urlsafe(48) for key in ("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET")}
        options = [f"--port={part}={port}" for part, port in ports.items()]
        environ = {**SETTINGS, **keys, "DATA_DIR": f"{path}/data", **variables}
        with Command(Path(path), "up", "ticketing", *options, variables=environ) as command:
            try:
                gateway = f"http://127.0.0.1:{ports['gateway']}"
                eventually(lambda: is_healthy(gateway) or None, gateway, STARTING)
                return asyncio.run(measure(ports["gateway"], psutil.Process(command.process.pid), buyers))
            except BaseException:
                print(f"{name}:\n{command.err[-4000:]}", file=sys.stderr)
                raise
            finally:
                command.stop()


def report(name: str, results: Results, buyers: int) -> None:
    """Print the results. Raises RuntimeError if a buyer got no response."""
    refused = sum(results.answers[code] for code in REFUSALS)
    if results.answers["booked"] + refused != buyers:
        raise RuntimeError(f"{buyers} buyers: {results.answers}")
    ratio = results.rates["refused"] / results.rates["GET"]
    print(f"\n{name}: {buyers:,} buyers, {refused:,} refused, {results.tickets} tickets of {SEATS} seats, no 5xx")
    print(f"  the first {first_of(buyers):,} buyers: {results.rates['the sale']:.0f}/s")
    print("                                  /s   processor time, µs")
    for what, label in (("refused", "a refused hold"), ("GET", "a signed-in GET")):
        print(f"  {label:<24} {results.rates[what]:>9.0f}   {results.used[what] * 1e6:>9.0f}")
    print(f"  refusals for each GET: {ratio:.2f}; wanted: {WANTED:g}")


def main(places: Sequence[str], buyers: int) -> None:
    if "embedded" in places:
        report("embedded", run("embedded", {}, buyers), buyers)
    if "postgresql" in places:
        with PostgreSQLServer(durable=True, connections=200, database="portico") as server:
            report("on PostgreSQL", run("on PostgreSQL", {"DATABASE_URL": server.url()}, buyers), buyers)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("places", nargs="*", default=["embedded", "postgresql"])
    options.add_argument("--buyers", type=int, default=BUYERS)
    chosen = options.parse_args()
    main(chosen.places, chosen.buyers)
