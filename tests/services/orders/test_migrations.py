from tests.services.orders.shop import Orders

from portico.testing.migrations import differences, left_when_undone


class TestMigrations:
    async def test_make_the_tables_of_the_models(self, orders: Orders) -> None:
        assert await differences(orders.run) == []

    async def test_can_be_undone(self, orders: Orders) -> None:
        assert await left_when_undone(orders.run) == set()
