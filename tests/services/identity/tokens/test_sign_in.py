import asyncio

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from tests.services.identity.accounts import ADMIN, PASSWORD, SYSTEM, VARIABLES, Identity

from portico.services.identity import service
from portico.services.identity.tokens.device_tokens import DeviceTokens
from portico.services.identity.users.models import User
from portico.testing.clock import START
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, run_service

WRONG = "wrong horse battery"


def device_cookie(answer: Answer) -> dict[str, str]:
    """Return the header by which a browser sends the device token back."""
    assert answer.status_code == 200, answer.content
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


class TestSignIn:
    async def test_returns_tokens_and_the_user(self, identity: Identity) -> None:
        user_id = await identity.register(name="Ada")

        answer = await identity.try_to_sign_in()

        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        given = answer.json()
        assert given["token_type"] == "bearer"
        assert given["expires_in"] == 3600
        assert given["user"]["user_id"] == user_id
        assert given["user"]["roles"] == ["customer"]
        assert (await identity.person(given).get("/auth/me")).json() == given["user"]

    async def test_accepts_a_form_and_a_username(self, embedded: Identity) -> None:
        await embedded.register()

        for path in ("/login", "/auth/login"):
            for name in ("email", "username"):
                answer = await embedded.form(path, **{name: "ada@example.com", "password": PASSWORD})
                assert answer.status_code == 200

    async def test_accepts_any_spelling_of_the_email_address(self, embedded: Identity) -> None:
        await embedded.register()

        assert (await embedded.try_to_sign_in("ADA@EXAMPLE.com ")).status_code == 200

    async def test_requires_one_name_and_a_password(self, embedded: Identity) -> None:
        for body in ({"password": "x"}, {"email": "a@b.c"}, {"email": "a@b.c", "username": "a@b.c", "password": "x"}):
            assert (await embedded.anonymous.post("/login", json=body)).status_code == 422

    async def test_response_is_not_stored_for_an_idempotency_key(self, embedded: Identity) -> None:
        await embedded.register()
        body = {"email": "ada@example.com", "password": PASSWORD}

        answers = [
            await embedded.anonymous.post("/login", json=body, headers={"idempotency-key": "k"}) for _ in range(2)
        ]

        assert answers[0].json()["refresh_token"] != answers[1].json()["refresh_token"]


class TestFailedSignIn:
    async def test_is_the_same_for_an_unknown_address_and_a_wrong_password(self, identity: Identity) -> None:
        await identity.register()
        same_id = {"x-request-id": "same"}

        unknown = await identity.try_to_sign_in("bob@example.com", WRONG, same_id)
        wrong = await identity.try_to_sign_in("ada@example.com", WRONG, same_id)
        no_address = await identity.try_to_sign_in("nonsense", WRONG, same_id)

        assert unknown.status_code == 401
        assert unknown.json()["detail"].startswith("Incorrect email or password")
        assert unknown.content == wrong.content == no_address.content
        assert dict(unknown.headers) == dict(wrong.headers) == dict(no_address.headers)

    async def test_is_the_same_for_a_deactivated_account(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        await admin.patch(f"/users/{ada.user_id}", json={"is_active": False})

        assert (await identity.try_to_sign_in()).json()["code"] == "sign_in_refused"

    async def test_is_written_to_the_audit_log(self, identity: Identity) -> None:
        user_id = await identity.register()
        await identity.try_to_sign_in(password=WRONG)
        await identity.try_to_sign_in("bob@example.com")

        entries = await identity.audited("sign_in.failed")

        assert [entry["user_id"] for entry in entries] == [user_id, None]
        assert all(entry["address"] == "127.0.0.1" for entry in entries)


class TestLockout:
    async def test_ten_failures_lock_the_account_for_15_minutes(self, identity: Identity) -> None:
        await identity.register()

        statuses = [(await identity.try_to_sign_in(password=WRONG)).status_code for _ in range(10)]
        locked = await identity.try_to_sign_in()

        assert statuses == [401] * 10
        assert (locked.status_code, locked.json()["code"]) == (429, "sign_in_locked")
        assert locked.headers["retry-after"] == "900"
        identity.advance(899)
        assert (await identity.try_to_sign_in()).status_code == 429
        identity.advance(1)
        assert (await identity.try_to_sign_in()).status_code == 200
        assert len(await identity.audited("sign_in.locked")) == 1

    async def test_unknown_account_is_locked_in_the_same_way(self, embedded: Identity) -> None:
        for _ in range(10):
            await embedded.try_to_sign_in("bob@example.com")

        assert (await embedded.try_to_sign_in("bob@example.com")).status_code == 429

    async def test_all_spellings_of_an_address_count_together(self, embedded: Identity) -> None:
        await embedded.register()
        for number in range(10):
            await embedded.try_to_sign_in("ADA@example.com" if number % 2 else "ada@example.com", WRONG)

        assert (await embedded.try_to_sign_in()).status_code == 429

    async def test_successful_sign_in_resets_the_count(self, identity: Identity) -> None:
        await identity.register()
        for _ in range(9):
            await identity.try_to_sign_in(password=WRONG)
        await identity.sign_in()

        assert (await identity.try_to_sign_in(password=WRONG)).status_code == 401
        assert (await identity.try_to_sign_in()).status_code == 200

    async def test_concurrent_guesses_cannot_exceed_the_limit(self, identity: Identity) -> None:
        await identity.register()

        answers = await asyncio.gather(*(identity.try_to_sign_in(password=WRONG) for _ in range(18)))

        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(401), statuses.count(429)) == (10, 8)
        assert (await identity.try_to_sign_in()).status_code == 429

    async def test_other_accounts_are_not_locked(self, embedded: Identity) -> None:
        await embedded.register()
        for _ in range(10):
            await embedded.try_to_sign_in(password=WRONG)

        assert (await embedded.try_to_sign_in(ADMIN)).status_code == 200


class TestKnownDevice:
    """A device that an account signed in from before is not locked by failures elsewhere."""

    async def test_signs_in_while_the_account_is_locked(self, identity: Identity) -> None:
        await identity.register()
        cookie = device_cookie(await identity.try_to_sign_in())
        for _ in range(10):
            await identity.try_to_sign_in(password=WRONG)

        assert (await identity.try_to_sign_in()).status_code == 429
        assert (await identity.try_to_sign_in(headers=cookie)).status_code == 200
        assert (await identity.try_to_sign_in()).status_code == 429

    async def test_is_locked_by_its_own_failures(self, identity: Identity) -> None:
        await identity.register()
        cookie = device_cookie(await identity.try_to_sign_in())
        statuses = [(await identity.try_to_sign_in(password=WRONG, headers=cookie)).status_code for _ in range(10)]
        assert statuses == [401] * 10
        assert (await identity.try_to_sign_in()).status_code == 200

        for _ in range(10):
            await identity.try_to_sign_in(password=WRONG, headers=cookie)

        assert (await identity.try_to_sign_in(headers=cookie)).status_code == 429

    async def test_is_known_for_its_own_account_only(self, embedded: Identity) -> None:
        await embedded.register()
        await embedded.register("eve@example.com")
        cookie = device_cookie(await embedded.try_to_sign_in("eve@example.com"))
        for _ in range(10):
            await embedded.try_to_sign_in(password=WRONG, headers=cookie)

        assert (await embedded.try_to_sign_in(headers=cookie)).status_code == 429

    async def test_is_not_locked_by_failures_from_its_address(self, embedded: Identity) -> None:
        await embedded.register()
        cookie = device_cookie(await embedded.try_to_sign_in())
        for number in range(50):
            await embedded.try_to_sign_in(f"user{number}@example.com", WRONG)

        assert (await embedded.try_to_sign_in()).status_code == 429
        assert (await embedded.try_to_sign_in(headers=cookie)).status_code == 200

    async def test_is_forgotten_after_180_days(self, embedded: Identity) -> None:
        await embedded.register()
        cookie = device_cookie(await embedded.try_to_sign_in())
        embedded.advance(180 * 86_400)
        for _ in range(10):
            await embedded.try_to_sign_in(password=WRONG)

        assert (await embedded.try_to_sign_in(headers=cookie)).status_code == 429

    @pytest.mark.parametrize(("public_url", "secure"), [("http://localhost", ""), ("https://shop.example", "; Secure")])
    async def test_cookie_is_hidden_from_scripts_and_sent_over_https_where_there_is_https(
        self, sqlite_databases: Databases, public_url: str, secure: str
    ) -> None:
        variables = VARIABLES | {"PUBLIC_URL": public_url}
        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM) as run:
            answer = await Identity(run).try_to_sign_in(ADMIN)

        assert answer.headers["set-cookie"].endswith(f"; HttpOnly; Max-Age=15552000; Path=/; SameSite=strict{secure}")

    @given(st.text(), st.text())
    def test_no_other_text_is_a_device_token(self, token: str, account: str) -> None:
        tokens = DeviceTokens("the secret key")

        assert tokens.find_device(token, account, START) is None
        assert tokens.find_device(tokens.issue(account, START), account, START) is not None
        assert tokens.find_device(tokens.issue(account + "x", START), account, START) is None


class TestAddressLockout:
    async def test_fifty_failures_lock_the_address_for_all_accounts(self, embedded: Identity) -> None:
        await embedded.register()
        origin = {"x-forwarded-for": "203.0.113.9"}
        for number in range(50):
            await embedded.try_to_sign_in(f"user{number}@example.com", WRONG, origin)

        assert (await embedded.try_to_sign_in(headers=origin)).status_code == 429
        assert (await embedded.try_to_sign_in(headers={"x-forwarded-for": "203.0.113.10"})).status_code == 200


class TestOutdatedHash:
    async def test_is_replaced_at_sign_in(self, identity: Identity) -> None:
        user_id = await identity.register()
        old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        async with identity.run.context.transaction() as work:
            await work.execute(update(User).where(User.user_id == user_id).values(password_hash=old))

        await identity.sign_in()

        async with identity.run.context.reader() as reader:
            known = await reader.one(select(User.password_hash).where(User.user_id == user_id))
        assert known is not None
        assert known.startswith("$argon2id$")
        await identity.sign_in()
