"""Old and new code read each other's events: see docs/messaging.md."""

import pytest

from portico.kit.messaging.event import Event
from portico.kit.messaging.schemas import FrozenSchemas, event_classes
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.kit.runtime.system import System
from portico.kit.runtime.system_loader import find_system

PACKAGE = "portico.contracts"


class TestEventSchemas:
    def test_changes_are_backward_compatible(self) -> None:
        drift = FrozenSchemas.of(PACKAGE).drift(event_classes(PACKAGE))

        assert drift.broken == [], "declare another version beside the one that there is"

    def test_every_event_matches_its_frozen_schema(self) -> None:
        drift = FrozenSchemas.of(PACKAGE).drift(event_classes(PACKAGE))

        assert (drift.missing, drift.grown) == ([], []), "run `make generate`"


def published_anywhere() -> set[type[Event]]:
    """Return the events that services of the shipped systems publish."""
    systems = [find_system(name) for name in shipped_systems()]
    return {kind for system in systems for service in system.services for kind in service.publishes}


@pytest.mark.parametrize("system", [find_system(name) for name in shipped_systems()], ids=lambda system: system.name)
class TestServices:
    def test_publish_and_consume_contract_events_only(self, system: System) -> None:
        known = set(event_classes(PACKAGE))
        used: set[type[Event]] = set()
        for service in system.services:
            used |= {*service.publishes, *(kind for consumer in service.consumers for kind in consumer.events)}

        assert used - known == set()

    def test_each_consumed_event_is_published_by_a_service_of_this_or_another_system(self, system: System) -> None:
        handled = {kind for service in system.services for each in service.consumers for kind in each.events}

        assert handled - published_anywhere() == set()
