# ruff: noqa: RUF001  look-alike letters are what is tested
import asyncio

import pytest
from tests.services.identity.accounts import PASSWORD, Identity


class TestRegister:
    async def test_creates_an_account(self, identity: Identity) -> None:
        answer = await identity.anonymous.post(
            "/register", json={"email": "Ada@Example.com", "password": PASSWORD, "name": "Ada"}
        )

        assert answer.status_code == 201
        user = answer.json()
        assert answer.headers["location"] == f"/users/{user['user_id']}"
        assert user == {
            "user_id": user["user_id"],
            "email": "Ada@example.com",
            "email_verified": False,
            "name": "Ada",
            "first_name": None,
            "last_name": None,
            "phone": None,
            "roles": ["customer"],
            "is_active": True,
            "created_at": "2026-01-05T09:00:00Z",
        }

    async def test_is_also_available_below_auth(self, embedded: Identity) -> None:
        answer = await embedded.anonymous.post("/auth/register", json={"email": "a@example.com", "password": PASSWORD})

        assert answer.status_code == 201

    async def test_joins_the_name_from_its_parts(self, embedded: Identity) -> None:
        draft = {"email": "a@example.com", "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace"}

        assert (await embedded.anonymous.post("/register", json=draft)).json()["name"] == "Ada Lovelace"

    @pytest.mark.parametrize("email", ["ada@example.com", "ADA@EXAMPLE.COM", "ａda@example.com"])
    async def test_taken_email_is_rejected(self, identity: Identity, email: str) -> None:
        await identity.register("ada@example.com")

        answer = await identity.anonymous.post("/register", json={"email": email, "password": PASSWORD})

        assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")
        assert answer.json()["detail"].startswith("Email already registered")

    async def test_common_password_is_rejected(self, embedded: Identity) -> None:
        answer = await embedded.anonymous.post("/register", json={"email": "a@example.com", "password": "Iloveyou"})

        assert (answer.status_code, answer.json()["code"]) == (422, "password_guessable")
        assert answer.json()["errors"][0]["location"] == ["body", "password"]

    async def test_concurrent_registrations_of_one_address_create_one_account(self, identity: Identity) -> None:
        draft = {"email": "ada@example.com", "password": PASSWORD}

        answers = await asyncio.gather(*(identity.anonymous.post("/register", json=draft) for _ in range(5)))

        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]

    async def test_repeated_idempotency_key_returns_the_first_response(self, identity: Identity) -> None:
        draft, key = {"email": "ada@example.com", "password": PASSWORD}, {"idempotency-key": "k"}

        first = await identity.anonymous.post("/register", json=draft, headers=key)
        again = await identity.anonymous.post("/register", json=draft, headers=key)

        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()

    @pytest.mark.parametrize(
        "draft",
        [
            {"email": "ada@example.com"},
            {"password": PASSWORD},
            {"email": "ada@example.com", "password": "short"},
            {"email": "ada@example.com", "password": "x" * 200},
            {"email": "ada", "password": PASSWORD},
            {"email": "аda@example.com", "password": PASSWORD},
            {"email": 5, "password": PASSWORD},
            {"email": "ada@example.com", "password": PASSWORD, "is_admin": True},
            {"email": "ada@example.com", "password": PASSWORD, "phone": "call me"},
        ],
    )
    async def test_invalid_body_is_rejected(self, embedded: Identity, draft: dict[str, object]) -> None:
        assert (await embedded.anonymous.post("/register", json=draft)).status_code == 422

    async def test_error_does_not_contain_the_password(self, embedded: Identity) -> None:
        answer = await embedded.anonymous.post("/register", json={"email": "ada", "password": "my-secret-words"})

        assert b"my-secret-words" not in answer.content
