"""Events of before are read by code of today, and events of today by code of before: see docs/messaging.md."""

import pytest

from portico.kit.messaging.event import Event
from portico.kit.messaging.schemas import FrozenSchemas, event_classes
from portico.kit.runtime.system import System
from portico.kit.runtime.system_loader import find_system, shipped_systems

PACKAGE = "portico.contracts"


class TestEventSchemas:
    def test_no_change_breaks_a_reader(self) -> None:
        drift = FrozenSchemas.of(PACKAGE).drift(event_classes(PACKAGE))

        assert drift.broken == [], "declare another version beside the one that there is"

    def test_every_event_is_frozen_as_it_is(self) -> None:
        drift = FrozenSchemas.of(PACKAGE).drift(event_classes(PACKAGE))

        assert (drift.missing, drift.grown) == ([], []), "run `make generate`"


@pytest.mark.parametrize("system", [find_system(name) for name in shipped_systems()], ids=lambda system: system.name)
class TestServices:
    def test_tell_of_and_handle_events_of_the_contracts_only(self, system: System) -> None:
        known = set(event_classes(PACKAGE))
        used: set[type[Event]] = set()
        for service in system.services:
            used |= {*service.publishes, *(kind for consumer in service.consumers for kind in consumer.events)}

        assert used - known == set()

    def test_what_a_service_handles_another_one_tells_of(self, system: System) -> None:
        told = {kind for service in system.services for kind in service.publishes}
        handled = {kind for service in system.services for each in service.consumers for kind in each.events}

        assert handled - told == set()
