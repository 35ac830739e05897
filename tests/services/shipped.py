"""The services of the shipped systems, for tests that every service must pass."""

from portico.kit.runtime.service import Service
from portico.kit.runtime.system_loader import find_system, shipped_systems


def shipped_services() -> dict[str, Service]:
    """Return each service of the shipped systems by its own name."""
    systems = [find_system(name) for name in shipped_systems()]
    services = {each.service.name: each.service for system in systems for each in system.placements}
    return dict(sorted(services.items()))
