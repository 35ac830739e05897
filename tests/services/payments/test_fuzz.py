from tests.services.payments.support import charge

from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import RunningService


class TestPayments:
    async def test_every_response_matches_the_openapi_document(self, embedded: RunningService) -> None:
        created = [(await charge(embedded, method=method))["payment_id"] for method in ("pm_ok", "pm_declined")]
        lasting = 10_000_000.0
        bearers = [
            embedded.issuer.token("service:orders", lasting=lasting),
            embedded.issuer.token(permissions=["*"], lasting=lasting),
            None,
        ]

        known = {"payment_id": created, "provider": ["simulated"], "key": ["ord_1/charge", "one"]}
        assert await Fuzzing(embedded, bearers, known=known).run() > 7
