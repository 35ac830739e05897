"""The scenario of each system that has a drill."""

from portico.drill.commerce import CommerceScenario
from portico.drill.scenario import Scenario
from portico.drill.setup import DrillSettings
from portico.drill.ticketing import TicketingScenario
from portico.kit.runtime.system import System

SCENARIOS: dict[str, type[Scenario]] = {"commerce": CommerceScenario, "ticketing": TicketingScenario}
"""By name of the system."""


def scenario_of(system: System, drill: DrillSettings, *, concurrency: int | None = None) -> Scenario:
    """Return a new scenario for a system. Raises KeyError if there is none."""
    return SCENARIOS[system.name](drill, concurrency)
