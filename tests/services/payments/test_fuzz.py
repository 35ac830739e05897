from tests.services.payments.support import charge

from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import RunningService


class TestPayments:
    async def test_answers_whatever_it_is_asked_as_its_document_says(self, embedded: RunningService) -> None:
        made = [(await charge(embedded, method=method))["payment_id"] for method in ("pm_ok", "pm_declined")]
        lasting = 10_000_000.0
        bearers = [
            embedded.issuer.token("service:orders", lasting=lasting),
            embedded.issuer.token(permissions=["*"], lasting=lasting),
            None,
        ]

        known = {"payment_id": made, "provider": ["simulated"], "key": ["ord_1/charge", "one"]}
        assert await Fuzzing(embedded, bearers, known=known).run() > 7
