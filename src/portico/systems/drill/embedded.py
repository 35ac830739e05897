"""The drill in one process, on the embedded backends: services crash, messages and calls go wrong, commits fail."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select

from portico.contracts.verifying import verifier_for, verifier_of
from portico.gateway import Gateway
from portico.kit.calls.client import Calls
from portico.kit.calls.local import LocalChannel
from portico.kit.clock import Clock
from portico.kit.environment import Environment
from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.messaging.brokers.opening import EMBEDDED_FILE
from portico.kit.running import Running, layout_of
from portico.kit.settings import Settings
from portico.kit.system import System
from portico.kit.testing.faults import ALL_FAULTS, FaultPlan, Lives
from portico.kit.testing.faults.plan import Kind
from portico.systems.drill.checks import ORDERS, Shop
from portico.systems.drill.report import Breach, Report
from portico.systems.drill.shopping import Customers, Visitor

Progress = Callable[[str], None]

_CUSTOMERS = 12
_PRODUCTS = 10
_QUIET_WITHIN = 180.0  # seconds
_LOOK = 0.2  # seconds between two looks whether all is quiet


@dataclass(frozen=True, slots=True)
class DrillSettings:
    """What a drill is to do.

    Args:
        orders: how many are placed.
        seed: of the faults and of what customers want.
        faults: what may go wrong.
        rate: the share of places at which something does.
    """

    orders: int = 1000
    seed: int = 7
    faults: tuple[Kind, ...] = ALL_FAULTS
    rate: float = 0.03


async def run_embedded(
    system: System,
    drill: DrillSettings,
    folder: Path,
    *,
    progress: Progress = lambda _: None,
    change: Callable[[Running], None] | None = None,
) -> Report:
    """Drill `system` in this process, in an empty `folder`.

    Args:
        system: the shop.
        drill: what to do.
        folder: for its files.
        progress: told what goes on.
        change: done to each service as it begins; a test plants its bugs so.
    """
    began = time.monotonic()
    report = Report(drill.seed)
    plan = FaultPlan(drill.seed, drill.faults, rate=drill.rate)
    plan.active = False
    async with _living(system, folder, plan, change) as (lives, visitor):
        customers = Customers(visitor.channel, drill.seed, visitor)
        await customers.arrive(_CUSTOMERS, _PRODUCTS, drill.orders)
        progress(
            f"{_CUSTOMERS} customers, {_PRODUCTS} products; {drill.orders} orders, faults {', '.join(drill.faults)}"
        )
        plan.active = True
        await customers.shop(drill.orders)
        plan.active = False
        progress(f"{len(customers.acknowledged)} orders placed; {plan.injected.total()} faults; waiting for quiet")
        await lives.settle()
        shop = Shop(system, {name: lives.running(name).database for name in lives.now})
        await _until_quiet(shop, lives, report)
        await shop.check(customers.acknowledged)
        report.breaches += [Breach("every request is answered as the page says", said) for said in customers.refused]
        await _tell(shop, report)
        report.crashes = lives.crashes
    report.points = plan.points.total()
    report.injected = Counter({f"{site}: {kind}": number for (site, kind), number in sorted(plan.injected.items())})
    report.seconds = time.monotonic() - began
    return report


async def _until_quiet(shop: Shop, lives: Lives, report: Report) -> None:
    until = time.monotonic() + _QUIET_WITHIN
    left: dict[str, int] = {}
    while time.monotonic() < until:
        await lives.settle()
        left = await shop.unsettled()
        for placement in shop.system.placements:
            if placement.service.consumers and (waiting := await lives.broker.waiting(placement.name)):
                left[f"messages to {placement.name}"] = waiting
        if not left:
            return
        await asyncio.sleep(_LOOK)
    said = ", ".join(f"{number} {what}" for what, number in left.items())
    report.breaches.append(Breach("all comes to rest", f"after {_QUIET_WITHIN:.0f} s there are still {said}"))


async def _tell(shop: Shop, report: Report) -> None:
    """Put what was found into the report; of the orders that broke a rule, the one with the shortest story."""
    report.breaches += shop.breaches
    report.checked = shop.checked
    for row in await shop.rows("orders", _statuses()):
        report.orders[row.status] = row.number
    stories = [await shop.story(each) for each in {breach.order_id for breach in shop.breaches} if each is not None]
    report.story = min(stories, key=len, default=[])


def _statuses() -> Select[Any]:
    return select(ORDERS.c.status, func.count().label("number")).group_by(ORDERS.c.status).order_by(ORDERS.c.status)


@asynccontextmanager
async def _living(
    system: System, folder: Path, plan: FaultPlan, change: Callable[[Running], None] | None
) -> AsyncIterator[tuple[Lives, Visitor]]:
    password = secrets.token_urlsafe(24)
    environment = Environment(_variables(folder, password))
    settings = environment.read(Settings)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker(folder / EMBEDDED_FILE))
        lives = Lives(system, environment, verifier_of=verifier_of, broker=broker, plan=plan, change=change)
        await stack.enter_async_context(lives)
        channel = lives.channel
        layout = layout_of(system)
        identity = lives.running("identity").identity
        gateway = Gateway(
            system,
            settings,
            verifier=verifier_for(
                system,
                settings,
                public=Calls(channel, layout=layout),
                own=Calls(channel, identity=identity, layout=layout),
                clock=Clock(),
            ),
            apps=lives.apps,
            addresses={},
        )
        await stack.enter_async_context(gateway)
        outside = LocalChannel({"gateway": gateway})
        stack.push_async_callback(outside.aclose)
        admin = Visitor(outside)
        reply = await admin.ask("POST", "/login", {"email": "admin@example.com", "password": password})
        yield lives, Visitor(outside, reply.body["access_token"])


def _variables(folder: Path, password: str) -> dict[str, str]:
    """What the environment says: nobody waits long for anything, and passwords are hashed fast."""
    return {
        "DATA_DIR": str(folder),
        "ADMIN_EMAIL": "admin@example.com",
        "ADMIN_PASSWORD": password,
        "PASSWORD_PASSES": "1",
        "PASSWORD_MEMORY_KIB": "64",
        "RATE_LIMIT": "1000000/minute",
        "RATE_LIMIT_SIGN_IN": "1000000/minute",
        "RELAY_LEASE": "0.5",
        "EVENT_RETRY_DELAY": "0.05",
        "EVENT_ATTEMPTS": "40",
        "MAIL_RETRY_DELAY": "0.1",
        "MAIL_RETRY_LIMIT": "1",
        "SIMULATED_SETTLEMENT": "0.3",
    }
