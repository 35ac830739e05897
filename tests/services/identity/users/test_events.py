from tests.services.identity.accounts import Identity

from portico.contracts.identity import SessionRevoked, UserCreated, UserDeleted, UserUpdated
from portico.kit.auth.tokens import UnverifiedToken
from portico.testing.issuer import FORM


async def revoked_sessions(identity: Identity) -> list[str]:
    """Return the sessions for which `session.revoked` was published."""
    return [event.session_id for event in await identity.run.published() if isinstance(event, SessionRevoked)]


class TestPublishedEvents:
    async def test_account_events_from_creation_to_deletion(self, identity: Identity) -> None:
        before = len(await identity.run.published())
        jane = await identity.new_person("jane@example.com")
        await jane.patch("/auth/me", json={"name": "Jane Doe"})
        admin = await identity.administrator()
        await admin.delete(f"/users/{jane.user_id}")

        published = (await identity.run.published())[before:]
        assert [type(event) for event in published] == [UserCreated, UserUpdated, SessionRevoked, UserDeleted]
        jane_is = {"user_id": jane.user_id, "email": "jane@example.com"}
        assert [event.model_dump() for event in published if not isinstance(event, SessionRevoked)] == [
            {**jane_is, "name": ""},
            {**jane_is, "name": "Jane Doe", "is_active": True},
            {"user_id": jane.user_id},
        ]

    async def test_rejected_registration_publishes_nothing(self, identity: Identity) -> None:
        await identity.new_person("jane@example.com")
        before = len(await identity.run.published())

        answer = await identity.anonymous.post(
            "/register", json={"email": "Jane@Example.com", "password": "another long password"}
        )

        assert answer.status_code == 409
        assert len(await identity.run.published()) == before

    async def test_new_roles_publish_user_updated(self, identity: Identity) -> None:
        jane = await identity.new_person("jane@example.com")
        admin = await identity.administrator()
        before = len(await identity.run.published())

        await admin.put(f"/users/{jane.user_id}/roles", json={"roles": ["auditor"]})
        await admin.put(f"/users/{jane.user_id}/roles", json={"roles": ["auditor"]})

        published = (await identity.run.published())[before:]
        jane_is = {"user_id": jane.user_id, "email": "jane@example.com", "name": "", "is_active": True}
        assert [(type(event), event.model_dump()) for event in published] == [(UserUpdated, jane_is)]

    async def test_deactivation_and_reactivation_publish_user_updated(self, identity: Identity) -> None:
        jane = await identity.new_person("jane@example.com")
        admin = await identity.administrator()
        for is_active in (False, True):
            await admin.patch(f"/users/{jane.user_id}", json={"is_active": is_active})

        published = [event for event in await identity.run.published() if isinstance(event, UserUpdated)]
        assert [event.is_active for event in published] == [False, True]

    async def test_every_end_of_a_session_publishes_session_revoked(self, embedded: Identity) -> None:
        jane = await embedded.new_person("jane@example.com")
        await embedded.sign_in("jane@example.com")
        third = await embedded.sign_in("jane@example.com")
        sessions = [each["session_id"] for each in (await jane.get("/auth/sessions")).json()]

        await third.post("/auth/logout")
        await jane.delete(f"/auth/sessions/{sessions[1]}")
        await embedded.form("/oauth/revoke", token=jane.refresh_token, client_id="x")
        await (await embedded.administrator()).patch(f"/users/{jane.user_id}", json={"is_active": False})

        assert await revoked_sessions(embedded) == sessions

    async def test_session_revoked_contains_the_last_token_expiry(self, embedded: Identity) -> None:
        jane = await embedded.new_person("jane@example.com")
        embedded.advance(60)
        later = (await embedded.anonymous.post("/auth/refresh", json={"refresh_token": jane.refresh_token})).json()
        await jane.post("/auth/logout")

        [ended] = [each for each in await embedded.run.published() if isinstance(each, SessionRevoked)]
        assert (
            ended.tokens_expire_at
            == FORM.claims_of(
                UnverifiedToken.parse(later["access_token"]).trusted_payload(), embedded.run.clock.now()
            ).expires_at
        )
