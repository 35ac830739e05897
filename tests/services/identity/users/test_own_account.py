import pytest
from tests.services.identity.accounts import PASSWORD, Identity

NEW = "a whole new password"


class TestOwnAccount:
    async def test_requires_a_token(self, embedded: Identity) -> None:
        answer = await embedded.anonymous.get("/auth/me")

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"

    async def test_can_be_changed(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await ada.patch("/auth/me", json={"first_name": "Ada", "last_name": "Lovelace", "phone": "+44 1"})

        assert answer.status_code == 200
        assert (answer.json()["name"], answer.json()["phone"]) == ("Ada Lovelace", "+44 1")
        assert (await ada.get("/auth/me")).json() == answer.json()

    async def test_stale_if_match_is_rejected(self, identity: Identity) -> None:
        ada = await identity.new_person()
        seen = (await ada.get("/auth/me")).headers["etag"]

        first = await ada.patch("/auth/me", json={"name": "Ada"}, headers={"if-match": seen})
        second = await ada.patch("/auth/me", json={"name": "Eda"}, headers={"if-match": seen})

        assert (first.status_code, second.status_code) == (200, 412)
        assert (await ada.get("/auth/me", headers={"if-none-match": first.headers["etag"]})).status_code == 304

    @pytest.mark.parametrize("change", [{"is_active": False}, {"roles": ["administrator"]}, {"email": "b@example.com"}])
    async def test_caller_cannot_change_activity_roles_or_email(
        self, embedded: Identity, change: dict[str, object]
    ) -> None:
        assert (await (await embedded.new_person()).patch("/auth/me", json=change)).status_code == 422


class TestChangePassword:
    async def test_replaces_the_password_and_ends_other_sessions(self, identity: Identity) -> None:
        ada = await identity.new_person()
        other = await identity.sign_in()

        answer = await ada.post("/auth/me/password", json={"current_password": PASSWORD, "new_password": NEW})

        assert answer.status_code == 204
        assert (await ada.get("/auth/me")).status_code == 200
        assert (await other.get("/auth/me")).status_code == 401
        assert (await identity.try_to_sign_in()).status_code == 401
        assert (await identity.try_to_sign_in(password=NEW)).status_code == 200

    async def test_requires_the_current_password(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await ada.post("/auth/me/password", json={"current_password": "guess", "new_password": NEW})

        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_password")
        assert (await identity.try_to_sign_in()).status_code == 200

    async def test_is_possible_while_failures_of_others_lock_the_account(self, identity: Identity) -> None:
        ada = await identity.new_person()
        for _ in range(10):
            await identity.try_to_sign_in(password="not her password")
        assert (await identity.try_to_sign_in()).status_code == 429

        answer = await ada.post("/auth/me/password", json={"current_password": PASSWORD, "new_password": NEW})

        assert answer.status_code == 204

    async def test_wrong_passwords_lock_it_for_this_session(self, identity: Identity) -> None:
        ada = await identity.new_person()
        for _ in range(10):
            await ada.post("/auth/me/password", json={"current_password": "guess", "new_password": NEW})

        answer = await ada.post("/auth/me/password", json={"current_password": PASSWORD, "new_password": NEW})

        assert answer.status_code == 429
        other = await identity.sign_in()
        answer = await other.post("/auth/me/password", json={"current_password": PASSWORD, "new_password": NEW})
        assert answer.status_code == 204

    async def test_common_password_is_rejected(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        answer = await ada.post("/auth/me/password", json={"current_password": PASSWORD, "new_password": "sunshine"})

        assert (answer.status_code, answer.json()["code"]) == (422, "password_guessable")

    async def test_short_password_is_rejected(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        answer = await ada.post("/auth/me/password", json={"current_password": PASSWORD, "new_password": "short"})

        assert answer.status_code == 422
