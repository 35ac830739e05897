"""Identity used by other services, with the real service and the real client."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.contracts.identity import IdentityClient
from portico.kit.auth.introspection import IntrospectionVerifier
from portico.kit.auth.tokens import InvalidToken, TokenFormat
from portico.kit.auth.verification import KeyVerifier, TokenVerifier, VerificationUnavailable
from portico.kit.calls.channel import Unreachable
from portico.kit.calls.client import Calls
from portico.kit.calls.local import LocalChannel
from portico.services.identity import service
from portico.testing.channels import ScriptedChannel
from portico.testing.databases import Databases
from portico.testing.running_service import run_service

FORM = TokenFormat(SYSTEM.info.local_url, "catalog")


@dataclass(frozen=True)
class Neighbour:
    """A service that uses identity."""

    identity: Identity
    client: IdentityClient

    def by_keys(self) -> KeyVerifier:
        return KeyVerifier(self.client, FORM, self.identity.run.clock)

    def by_introspection(self) -> IntrospectionVerifier:
        return IntrospectionVerifier(self.client, FORM, self.identity.run.clock)


@pytest.fixture
async def neighbour(sqlite_databases: Databases) -> AsyncIterator[Neighbour]:
    async with run_service(service, sqlite_databases, variables=VARIABLES, system=SYSTEM) as run:
        identity = Identity(run)
        token = (await identity.as_service()).headers["authorization"].partition(" ")[2]
        yield Neighbour(identity, IdentityClient(Calls(run.channel, identity=token)))


async def reason_of(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(token)
    return caught.value.reason


class TestVerifierOfAnotherProcess:
    @pytest.mark.parametrize("way", ["by_keys", "by_introspection"])
    async def test_accepts_a_new_token(self, neighbour: Neighbour, way: str) -> None:
        ada = await neighbour.identity.new_person()
        verifier: TokenVerifier = getattr(neighbour, way)()

        principal = await verifier.verify(ada.access_token)

        assert (principal.subject, principal.permissions) == (ada.user_id, {"products:write"})
        assert (principal.roles, principal.kind) == (("customer",), "user")

    async def test_with_keys_rejects_a_signed_out_session(self, neighbour: Neighbour) -> None:
        ada, verifier = await neighbour.identity.new_person(), neighbour.by_keys()
        await verifier.verify(ada.access_token)

        await ada.post("/auth/logout")
        await verifier.poll_revocations()

        assert await reason_of(verifier, ada.access_token) == "revoked"

    async def test_with_keys_rejects_tokens_from_before_a_role_change(self, neighbour: Neighbour) -> None:
        ada, verifier = await neighbour.identity.new_person(), neighbour.by_keys()
        admin = await neighbour.identity.administrator()

        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": []})
        await verifier.poll_revocations()

        assert await reason_of(verifier, ada.access_token) == "revoked"
        fresh = await neighbour.identity.sign_in()
        assert (await verifier.verify(fresh.access_token)).permissions == frozenset()

    async def test_by_introspection_rejects_a_signed_out_session_within_a_second(self, neighbour: Neighbour) -> None:
        ada, verifier = await neighbour.identity.new_person(), neighbour.by_introspection()
        await verifier.verify(ada.access_token)
        await ada.post("/auth/logout")

        neighbour.identity.advance(1)

        assert await reason_of(verifier, ada.access_token) == "revoked"

    async def test_that_starts_late_knows_earlier_revocations(self, neighbour: Neighbour) -> None:
        ada = await neighbour.identity.new_person()
        await ada.post("/auth/logout")
        verifier = neighbour.by_keys()

        await verifier.poll_revocations()

        assert await reason_of(verifier, ada.access_token) == "revoked"


class TestATicket:
    async def test_is_redeemed_once_for_the_callers_token(self, neighbour: Neighbour) -> None:
        ada = await neighbour.identity.new_person()
        ticket = (await ada.post("/auth/tickets")).json()["ticket"]

        token = await neighbour.client.redeem_ticket(ticket)

        assert (await neighbour.by_keys().verify(token)).subject == ada.user_id
        with pytest.raises(InvalidToken):
            await neighbour.client.redeem_ticket(ticket)


class TestWithoutIdentity:
    async def test_polling_calls_probe_an_open_breaker(self) -> None:
        """Otherwise tokens revoked after identity has recovered would be accepted until the breaker closes."""
        channel = ScriptedChannel(Unreachable("identity", "refused"))
        client = IdentityClient(Calls(channel))

        for asking in (client.fetch_keys(), client.fetch_revocations(None), client.validate("x")):
            with pytest.raises(VerificationUnavailable):
                await asking

        assert [out.probe for out in channel.sent] == [True, True, False]

    async def test_verification_is_unavailable(self) -> None:
        client = IdentityClient(Calls(LocalChannel({})))

        for asking in (
            client.fetch_keys(),
            client.fetch_revocations(None),
            client.validate("x"),
            client.redeem_ticket("x"),
        ):
            with pytest.raises(VerificationUnavailable):
                await asking
