from tests.services.catalog.goods import add

from portico.kit.testing.fuzzing import Fuzzing
from portico.kit.testing.running import RunningService


class TestCatalog:
    async def test_answers_whatever_it_is_asked_as_its_document_says(self, embedded: RunningService) -> None:
        products = [(await add(embedded))["product_id"] for _ in range(3)]
        bearers = [embedded.issuer.token(permissions=["*"], lasting=10_000_000), None]

        assert await Fuzzing(embedded, bearers, known={"product_id": products}).run() > 5
