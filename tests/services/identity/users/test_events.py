from tests.services.identity.accounts import Identity

from portico.contracts.identity import SessionRevoked, UserCreated, UserDeleted, UserUpdated
from portico.kit.auth.tokens import UnverifiedToken
from portico.testing.issuer import FORM


async def told_of_sessions(identity: Identity) -> list[str]:
    """Of which ended sessions identity told."""
    return [event.session_id for event in await identity.run.published() if isinstance(event, SessionRevoked)]


class TestWhatIdentityTellsOf:
    async def test_an_account_is_told_of_from_its_opening_to_its_deletion(self, identity: Identity) -> None:
        before = len(await identity.run.published())
        jane = await identity.new_person("jane@example.com")
        await jane.patch("/auth/me", json={"name": "Jane Doe"})
        admin = await identity.administrator()
        await admin.delete(f"/users/{jane.user_id}")

        told = (await identity.run.published())[before:]
        assert [type(event) for event in told] == [UserCreated, UserUpdated, SessionRevoked, UserDeleted]
        jane_is = {"user_id": jane.user_id, "email": "jane@example.com"}
        assert [event.model_dump() for event in told if not isinstance(event, SessionRevoked)] == [
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

    async def test_other_roles_are_a_change_of_the_account(self, identity: Identity) -> None:
        jane = await identity.new_person("jane@example.com")
        admin = await identity.administrator()
        before = len(await identity.run.published())

        await admin.put(f"/users/{jane.user_id}/roles", json={"roles": ["auditor"]})
        await admin.put(f"/users/{jane.user_id}/roles", json={"roles": ["auditor"]})

        told = (await identity.run.published())[before:]
        jane_is = {"user_id": jane.user_id, "email": "jane@example.com", "name": "", "is_active": True}
        assert [(type(event), event.model_dump()) for event in told] == [(UserUpdated, jane_is)]

    async def test_deactivation_and_its_end_are_changes_of_the_account(self, identity: Identity) -> None:
        jane = await identity.new_person("jane@example.com")
        admin = await identity.administrator()
        for is_active in (False, True):
            await admin.patch(f"/users/{jane.user_id}", json={"is_active": is_active})

        told = [event for event in await identity.run.published() if isinstance(event, UserUpdated)]
        assert [event.is_active for event in told] == [False, True]

    async def test_a_session_is_told_of_however_it_ends(self, embedded: Identity) -> None:
        jane = await embedded.new_person("jane@example.com")
        await embedded.sign_in("jane@example.com")
        third = await embedded.sign_in("jane@example.com")
        sessions = [each["session_id"] for each in (await jane.get("/auth/sessions")).json()]

        await third.post("/auth/logout")
        await jane.delete(f"/auth/sessions/{sessions[1]}")
        await embedded.form("/oauth/revoke", token=jane.refresh_token, client_id="x")
        await (await embedded.administrator()).patch(f"/users/{jane.user_id}", json={"is_active": False})

        assert await told_of_sessions(embedded) == sessions

    async def test_a_session_s_end_says_until_when_its_tokens_are_to_be_refused(self, embedded: Identity) -> None:
        jane = await embedded.new_person("jane@example.com")
        embedded.advance(60)
        later = (await embedded.anonymous.post("/auth/refresh", json={"refresh_token": jane.refresh_token})).json()
        await jane.post("/auth/logout")

        [ended] = [each for each in await embedded.run.published() if isinstance(each, SessionRevoked)]
        assert (
            ended.tokens_expire_at
            == FORM.claims_of(
                UnverifiedToken.parse(later["access_token"]).believed(), embedded.run.clock.now()
            ).expires_at
        )
