from tests.services.catalog.stock.shelves import changed, held, stocked

from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import RunningService


class TestCatalog:
    async def test_answers_whatever_it_is_asked_as_its_document_says(self, embedded: RunningService) -> None:
        products = [await stocked(embedded, 3) for _ in range(3)]
        reservations = [await held(embedded, {products[0]: 1}) for _ in range(3)]
        await changed(embedded, reservations[1], "confirm")
        await changed(embedded, reservations[2], "confirm", "ship")
        known = {"product_id": products, "reservation_id": reservations}
        token = embedded.issuer.token
        bearers = [
            token(permissions=["*"], lasting=10_000_000),
            token("service:orders", permissions=["*"], lasting=10_000_000),
            None,
        ]

        assert await Fuzzing(embedded, bearers, known=known).run() > 14
