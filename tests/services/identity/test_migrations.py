from tests.services.identity.accounts import Identity

from portico.testing.migrations import differences, left_when_undone


class TestMigrations:
    async def test_create_the_tables_of_the_models(self, identity: Identity) -> None:
        assert await differences(identity.run) == []

    async def test_can_be_reverted(self, identity: Identity) -> None:
        assert await left_when_undone(identity.run) == set()
