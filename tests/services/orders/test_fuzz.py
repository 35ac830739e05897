from tests.services.orders.shop import Orders

from portico.testing.fuzzing import Fuzzing


class TestOrders:
    async def test_answers_whatever_it_is_asked_as_its_document_says(self, embedded: Orders) -> None:
        placed = [(await embedded.placed())["order_id"] for _ in range(3)]
        placed.append((await embedded.confirmed())["order_id"])
        bearers = [embedded.run.issuer.token(permissions=["*"], lasting=10_000_000), None]
        bearers.append(embedded.run.issuer.token("service:payments", permissions=["*"], lasting=10_000_000))

        assert await Fuzzing(embedded.run, bearers, known={"order_id": placed}).run() > 10
