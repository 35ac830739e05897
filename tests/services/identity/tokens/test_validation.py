import pytest
from tests.services.identity.accounts import Identity

from portico.kit.auth.keys import SigningKey
from portico.kit.auth.tokens import TokenFormat, UnverifiedToken
from portico.services.identity.tokens.key_ring import KeyRing


class TestValidateToken:
    async def test_returns_the_claims(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await identity.anonymous.post("/validate-token", json={"token": ada.access_token})

        assert answer.json() == {
            "valid": True,
            "user_id": ada.user_id,
            "email": "ada@example.com",
            "roles": ["customer"],
            "permissions": ["products:write"],
            "expires_at": "2026-01-05T10:00:00Z",
        }

    async def test_reads_the_token_from_the_header(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        assert (await ada.post("/validate-token")).json()["valid"]

    async def test_body_takes_precedence_over_the_header(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        assert (await ada.post("/validate-token", json={"token": "x"})).json() == {
            "valid": False,
            "reason": "malformed",
        }

    @pytest.mark.parametrize("header", [None, "Basic abc", "Bearer ", "nonsense"])
    async def test_missing_token_is_malformed(self, embedded: Identity, header: str | None) -> None:
        headers = {"authorization": header} if header else {}

        answer = await embedded.anonymous.post("/validate-token", headers=headers)

        assert answer.json() == {"valid": False, "reason": "malformed"}


class TestInvalidToken:
    async def test_expired_token(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        embedded.advance(3605)

        assert await embedded.reason(ada.access_token) == "expired"

    async def test_malformed_token(self, embedded: Identity) -> None:
        for token in ("", "nonsense", "a.b.c", "x" * 10_000):
            assert await embedded.reason(token) == "malformed"

    async def test_bad_signature(self, embedded: Identity) -> None:
        ada = await embedded.new_person()
        kid = UnverifiedToken.parse(ada.access_token).kid
        form = TokenFormat("http://localhost:1", "catalog")
        ring = embedded.run.context.resource(KeyRing)
        true_key = await ring.signing_key()
        claims = form.claims_of(
            UnverifiedToken.parse(ada.access_token).verify(true_key.verifying), embedded.run.clock.now()
        )
        other = SigningKey.generate("EdDSA")

        assert kid == true_key.kid
        assert await embedded.reason(form.sign(claims, other)) == "bad_signature"
        assert await embedded.reason(form.sign(claims, SigningKey(kid, "EdDSA", other.key))) == "bad_signature"

    async def test_inactive_user(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()

        await admin.patch(f"/users/{ada.user_id}", json={"is_active": False})

        assert await identity.reason(ada.access_token) == "user_inactive"

    async def test_revoked_token(self, identity: Identity) -> None:
        ada = await identity.new_person()

        await ada.post("/auth/logout")

        assert await identity.reason(ada.access_token) == "revoked"
