from tests.services.identity.people import Identity

from portico.contracts.identity import UserCreated, UserDeleted, UserUpdated


class TestWhatIdentityTellsOf:
    async def test_an_account_is_told_of_from_its_opening_to_its_deletion(self, identity: Identity) -> None:
        before = len(await identity.run.published())
        jane = await identity.new_person("jane@example.com")
        await jane.patch("/auth/me", json={"name": "Jane Doe"})
        admin = await identity.administrator()
        await admin.delete(f"/users/{jane.user_id}")

        told = (await identity.run.published())[before:]
        assert [type(event) for event in told] == [UserCreated, UserUpdated, UserDeleted]
        jane_is = {"user_id": jane.user_id, "email": "jane@example.com"}
        assert [event.model_dump() for event in told] == [
            {**jane_is, "name": ""},
            {**jane_is, "name": "Jane Doe", "is_active": True},
            {"user_id": jane.user_id},
        ]

    async def test_a_refused_registration_tells_nothing(self, identity: Identity) -> None:
        await identity.new_person("jane@example.com")
        before = len(await identity.run.published())

        answer = await identity.anonymous.post(
            "/register", json={"email": "Jane@Example.com", "password": "another long password"}
        )

        assert answer.status_code == 409
        assert len(await identity.run.published()) == before
