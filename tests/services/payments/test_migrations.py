from portico.testing.migrations import differences, left_when_undone
from portico.testing.running_service import RunningService


class TestMigrations:
    async def test_create_the_tables_of_the_models(self, payments: RunningService) -> None:
        assert await differences(payments) == []

    async def test_can_be_downgraded(self, payments: RunningService) -> None:
        assert await left_when_undone(payments) == set()
