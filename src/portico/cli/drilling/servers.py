"""The drill on real processes and real servers."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from portico.cli.drilling.processes import Part, gateway_of, running
from portico.cli.drilling.strikes import Strike, planned
from portico.cli.errors import CommandError
from portico.drill.quiescence import check, until_quiet
from portico.drill.report import Report
from portico.drill.setup import CUSTOMERS, PRODUCTS, DrillSettings, quick_settings, signed_in
from portico.drill.shop import Shop
from portico.drill.shopping import Customers
from portico.kit.calls.directory import Directory
from portico.kit.calls.http_channel import HttpChannel
from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.runtime.databases import open_database
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings, mask_url
from portico.servers import PostgreSQLServer, ProgramMissing, RabbitMQServer, RedisServer, Server, ServerFailed

Progress = Callable[[str], None]

DATABASE = "portico"
_AT_ONCE = 8  # orders: so that what is struck is struck while others are on their way
_PAUSE = 1.0  # seconds
_QUIET_WITHIN = 300.0  # seconds; a saga's step that died with its process is taken over once its lease has run out
_CUT = (
    f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"  # noqa: S608  # a word of this module
    f" WHERE datname = '{DATABASE}' AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True)
class OwnServers:
    """The servers of a drill.

    Args:
        postgresql: holds the databases; its connections are cut, and it is killed.
        redis: is killed.
        rabbitmq: is killed; what it confirmed outlives that.
    """

    postgresql: PostgreSQLServer
    redis: RedisServer
    rabbitmq: RabbitMQServer

    @property
    def variables(self) -> dict[str, str]:
        """What a system is told to use them."""
        return {
            "DATABASE_URL": self.postgresql.url(),
            "REDIS_URL": self.redis.url(),
            "RABBITMQ_URL": self.rabbitmq.url(),
            "PRIVATE_SERVERS": "true",
        }


@contextmanager
def own_servers() -> Iterator[OwnServers]:
    """Servers that run while the block does, in temporary folders.

    Raises:
        CommandError: a program is not installed, or a server does not start.
    """
    started: list[Server] = []
    try:
        started.append(postgresql := PostgreSQLServer(durable=True, database=DATABASE))
        started.append(redis := RedisServer(durable=True))
        started.append(rabbitmq := RabbitMQServer())
        with ThreadPoolExecutor(len(started)) as threads:
            list(threads.map(lambda server: server.start(), started))
        yield OwnServers(postgresql, redis, rabbitmq)
    except ProgramMissing as missing:
        raise CommandError(f"--on servers starts what is installed, and there is {missing}.") from missing
    except ServerFailed as error:
        raise CommandError(mask_url(str(error))) from error
    finally:
        with ThreadPoolExecutor(max(1, len(started))) as threads:
            list(threads.map(lambda server: server.stop(), started))


async def run_on_servers(
    system: System,
    name: str,
    drill: DrillSettings,
    servers: OwnServers,
    folder: Path,
    *,
    progress: Progress = lambda _: None,
) -> Report:
    """Drill `system` in processes of its own, on new `servers`, in an empty `folder`.

    Args:
        system: the shop.
        name: what finds it in another process.
        drill: what to do; its rate is the share of orders after which something goes wrong.
        servers: what it uses, which are killed too.
        folder: for its files and logs.
        progress: told what goes on.

    Raises:
        PartFailed: a part of the system does not start, or no more.
        ServerFailed: a server that was killed does not start again.
    """
    began = time.monotonic()
    report = Report(drill.seed, points=drill.orders)
    variables = _settings(servers, folder)
    async with running(system, name, variables, folder) as (moved, parts), _gateway_of(moved) as channel:
        customers = Customers(channel, drill.seed, await signed_in(channel, variables), at_once=_AT_ONCE)
        await customers.arrive(CUSTOMERS, PRODUCTS, drill.orders)
        strikes = planned(drill.seed, drill.faults, orders=drill.orders, rate=drill.rate, parts=list(parts))
        progress(f"{CUSTOMERS} customers, {PRODUCTS} products; {drill.orders} orders, {len(strikes)} faults to come")
        await Striking(parts, servers, report, progress).while_shopping(customers, drill.orders, strikes)
        progress(f"{len(customers.acknowledged)} orders placed; {report.injected.total()} faults; waiting for quiet")
        async with _looked_into(moved, variables) as (shop, broker):
            await until_quiet(shop, broker, report, within=_QUIET_WITHIN, alive=lambda: _all_alive(parts))
            await check(shop, customers, report)
    report.injected = Counter(dict(sorted(report.injected.items())))
    report.seconds = time.monotonic() - began
    return report


def _settings(servers: OwnServers, folder: Path) -> dict[str, str]:
    """What the processes are told; secrets are the same for all of them."""
    keys = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET")}
    return {**quick_settings(folder), **servers.variables, **keys, "LOG_LEVEL": "warning", "LOG_FORMAT": "text"}


async def _all_alive(parts: Mapping[str, Part]) -> None:
    for part in parts.values():
        await part.alive()


class Striking:
    """Does what a plan says to processes and servers.

    Args:
        parts: the processes, by name.
        servers: the servers.
        report: told what was done.
        progress: told as it is done.
    """

    def __init__(self, parts: Mapping[str, Part], servers: OwnServers, report: Report, progress: Progress) -> None:
        self._parts = parts
        each: tuple[Server, ...] = (servers.postgresql, servers.rabbitmq, servers.redis)
        self._servers = {server.name: server for server in each}
        self._postgresql = servers.postgresql
        self._turns = {name: asyncio.Lock() for name in self._servers}
        self._report = report
        self._progress = progress

    async def while_shopping(self, customers: Customers, orders: int, strikes: list[Strike]) -> None:
        """Have orders placed, and strike after those that the plan names; until all of both is done."""
        async with asyncio.TaskGroup() as group:

            def placed(number: int) -> None:
                for strike in strikes:
                    if strike.after == number:
                        group.create_task(self._strike(strike), name=str(strike))

            customers.placed = placed
            await customers.shop(orders)

    async def _strike(self, strike: Strike) -> None:
        match strike.kind:
            case "crash":
                await self._parts[strike.target].crash()
                self._report.crashes += 1
            case "slow":
                await self._parts[strike.target].pause(_PAUSE)
            case "database":
                async with self._turns[strike.target]:  # one that was killed has no connections yet
                    await asyncio.to_thread(self._postgresql.execute, _CUT)
            case _:
                async with self._turns[strike.target]:
                    await asyncio.to_thread(_kill_and_restart, self._servers[strike.target])
        self._report.injected[str(strike)] += 1
        self._progress(f"after order {strike.after}: {strike}")


def _kill_and_restart(server: Server) -> None:
    server.kill()
    server.restart()


@asynccontextmanager
async def _gateway_of(system: System) -> AsyncIterator[HttpChannel]:
    channel = HttpChannel(Directory({"gateway": gateway_of(system)}))
    try:
        yield channel
    finally:
        await channel.aclose()


@asynccontextmanager
async def _looked_into(system: System, variables: Mapping[str, str]) -> AsyncIterator[tuple[Shop, Broker]]:
    """The databases and the broker of a running system, from outside."""
    settings = Environment(variables).read(Settings)
    async with AsyncExitStack() as stack:
        databases = {
            placement.name: await stack.enter_async_context(open_database(placement, settings))
            for placement in system.placements
        }
        broker = await stack.enter_async_context(open_broker(settings, system.name))
        yield Shop(system, databases), broker
