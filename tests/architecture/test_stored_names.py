"""Names that are stored in databases.

Changing one orphans stored rows: inbox entries, failed events, sagas and leases. Add names; never change one.
"""

from tests.services.shipped import shipped_services

from portico.kit.runtime.kit_jobs import KIT_JOBS

SERVICES = shipped_services().values()

CONSUMERS = {
    "bookings": ["save-show", "forget-show", "save-holder", "forget-holder"],
    "events": ["apply-exhaustion"],
    "notifications": [
        *("save-recipient", "forget-recipient", "queue-order-mail", "queue-account-mail"),
        *(
            "save-show",
            "forget-show",
            "queue-booking-mail",
            "queue-holder-mail",
            "queue-offer-mail",
            "queue-transfer-mail",
        ),
    ],
    "search": ["index-show"],
    "seating": ["apply-show", "end-admission-of-buyer"],
}

JOBS = {
    "bookings": ["rotate-ticket-keys", "delete-old-transfers"],
    "catalog": ["expire-reservations"],
    "events": ["finish-planned-changes"],
    "identity": ["rotate-signing-keys", "delete-expired-credentials"],
    "notifications": ["delete-old-notifications"],
    "payments": ["settle-open-payments", "delete-old-webhooks", "run-simulated-provider"],
}

KIT_JOB_NAMES = ["delete-old-idempotency-keys", "delete-old-events", "delete-handled-events", "delete-ended-sagas"]

SAGAS = {
    "bookings": {
        "make-booking": ["claim-hold", "check-show", "take-payment", "sell-places"],
        "release-unclaimed-hold": ["release-hold"],
        "cancel-tickets": ["return-places", "refund-tickets"],
        "cancel-show": ["cancel-bookings"],
        "announce-new-date": ["announce-to-bookings"],
    },
    "orders": {
        "place-order": ["reserve-stock", "take-payment", "confirm-stock"],
        "cancel-order": ["refund-payment", "release-stock"],
        "ship-order": ["ship-stock"],
        "return-order": ["refund-payment", "return-stock"],
    },
}


class TestStoredNames:
    def test_of_consumers_are_frozen(self) -> None:
        names = {service.name: [each.name for each in service.consumers] for service in SERVICES}

        assert {service: found for service, found in names.items() if found} == CONSUMERS

    def test_of_jobs_are_frozen(self) -> None:
        names = {service.name: [each.name for each in service.jobs] for service in SERVICES}

        assert {service: found for service, found in names.items() if found} == JOBS
        assert [each.name for each in KIT_JOBS] == KIT_JOB_NAMES

    def test_of_sagas_and_their_steps_are_frozen(self) -> None:
        names = {
            service.name: {saga.name: [step.name for step in saga.steps] for saga in service.sagas}
            for service in SERVICES
        }

        assert {service: found for service, found in names.items() if found} == SAGAS
