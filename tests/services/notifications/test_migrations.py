from tests.services.notifications.letters import Letters

from portico.testing.migrations import differences, left_when_undone


class TestMigrations:
    async def test_make_the_tables_of_the_models(self, letters: Letters) -> None:
        assert await differences(letters.run) == []

    async def test_can_be_undone(self, letters: Letters) -> None:
        assert await left_when_undone(letters.run) == set()
