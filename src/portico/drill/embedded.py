"""The drill in one process, on the embedded backends. Services crash; commits, messages and calls fail."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from portico.contracts.token_settings import TokenSettings
from portico.contracts.token_verification import verifier_for, verifier_of
from portico.drill.faults import FaultPlan, RestartingServices
from portico.drill.quiescence import wait_until_quiet
from portico.drill.report import Report
from portico.drill.scenarios import scenario_of
from portico.drill.setup import DrillSettings, OnDone, Progress, system_settings
from portico.gateway import Gateway
from portico.kit.calls.client import Calls
from portico.kit.calls.local import LocalChannel
from portico.kit.foundation.clock import Clock
from portico.kit.messaging.broadcast import Broadcasts
from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.messaging.brokers.factory import EMBEDDED_FILE
from portico.kit.runtime.context import ServiceRuntime, layout_of
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings

_QUIET_WITHIN = 180.0  # seconds without progress


async def run_embedded(
    system: System,
    drill: DrillSettings,
    folder: Path,
    *,
    progress: Progress = lambda _: None,
    on_done: OnDone = lambda _: None,
    change: Callable[[ServiceRuntime], None] | None = None,
) -> Report:
    """Drill `system` in this process, in an empty `folder`.

    Args:
        system: a system that has a drill.
        drill: what to do.
        folder: for its files.
        progress: called with messages about the progress.
        on_done: called with the number of acknowledged actions after each.
        change: applied to each service when it starts, so that a test can plant a bug.
    """
    started_at = time.monotonic()
    report = Report(drill.seed)
    plan = FaultPlan(drill.seed, drill.faults, rate=drill.rate, sites=drill.sites)
    plan.active = False
    scenario = scenario_of(system, drill)
    scenario.on_done = on_done
    settings = {**system_settings(folder), **scenario.settings}
    async with _run_system(system, folder, settings, plan, change) as (services, channel):
        progress(f"{await scenario.set_up(channel, settings)}, faults {', '.join(drill.faults)}")
        plan.active = True
        await scenario.act()
        plan.active = False
        progress(f"{scenario.done} {scenario.actions} done; {plan.injected.total()} faults; waiting for quiet")
        await services.wait_for_restarts()
        databases = scenario.open(system, {name: services.context(name).database for name in services.instances})
        await wait_until_quiet(
            databases, services.broker, report, within=_QUIET_WITHIN, alive=services.wait_for_restarts
        )
        await scenario.conclude(databases, report)
        report.crashes = services.crashes
    report.points = plan.points.total()
    report.injected = Counter({f"{site}: {kind}": number for (site, kind), number in sorted(plan.injected.items())})
    report.seconds = time.monotonic() - started_at
    return report


@asynccontextmanager
async def _run_system(
    system: System,
    folder: Path,
    variables: Mapping[str, str],
    plan: FaultPlan,
    change: Callable[[ServiceRuntime], None] | None,
) -> AsyncIterator[tuple[RestartingServices, LocalChannel]]:
    """Run the services and the gateway; the value is the services, and the way to the gateway."""
    environment = Environment(variables)
    settings = environment.read(Settings)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker(folder / EMBEDDED_FILE))
        services = RestartingServices(
            system, environment, verifier_of=verifier_of, broker=broker, plan=plan, change=change
        )
        await stack.enter_async_context(services)
        channel = services.channel
        layout = layout_of(system)
        identity = services.context(system.placement("identity").name).identity
        broadcasts = Broadcasts()
        stack.callback(asyncio.create_task(broadcasts.run(broker), name="broadcasts").cancel)
        gateway = Gateway(
            system,
            settings,
            verifier=verifier_for(
                system,
                environment.read(TokenSettings),
                public=Calls(channel, layout=layout),
                own=Calls(channel, identity=identity, layout=layout),
                broadcasts=broadcasts,
                clock=Clock(),
            ),
            apps=services.apps,
            addresses={},
        )
        await stack.enter_async_context(gateway)
        outside = LocalChannel({"gateway": gateway})
        stack.push_async_callback(outside.aclose)
        yield services, outside
