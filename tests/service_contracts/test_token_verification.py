"""Token verification with the real identity: effects of its events on verifiers of other processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.contracts.token_settings import TokenSettings
from portico.contracts.token_verification import verifier_for
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import TokenVerifier
from portico.kit.calls.client import Calls
from portico.kit.messaging.broadcast import Broadcasts
from portico.kit.messaging.relay import Relay
from portico.kit.settings import SettingsError, read_settings
from portico.services.identity import service
from portico.testing.brokers import ScriptedBroker
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


@pytest.fixture
async def identity(sqlite_databases: Databases) -> AsyncIterator[Identity]:
    async with run_service(service, sqlite_databases, variables=VARIABLES, system=SYSTEM, background=False) as run:
        yield Identity(run)


def verifier_beside(identity: Identity, broadcasts: Broadcasts, *, verification: str) -> TokenVerifier:
    """Return the verifier of another process that uses the real identity."""
    settings = read_settings(TokenSettings, environ={"TOKEN_VERIFICATION": verification}, dotenv_file=None).value
    calls = Calls(identity.run.channel)
    return verifier_for(SYSTEM, settings, public=calls, own=calls, broadcasts=broadcasts, clock=identity.run.clock)


@asynccontextmanager
async def heard(broadcasts: Broadcasts) -> AsyncIterator[ScriptedBroker]:
    """Run the broadcasts of a process that subscribes only to revoked sessions."""
    broker = ScriptedBroker()
    task = asyncio.create_task(broadcasts.run(broker))
    await broker.until_listened_to(["session.revoked"])
    yield broker
    task.cancel()


class TestIssuer:
    def issuer(self, **variables: str) -> str:
        settings = read_settings(TokenSettings, environ=variables, dotenv_file=None).value
        return settings.issuer_of(SYSTEM.info)

    def test_is_the_gateways_address_on_this_machine_by_default(self) -> None:
        assert self.issuer() == "http://localhost:1"

    @pytest.mark.parametrize("name", ["PUBLIC_URL", "ISSUER"])
    def test_is_the_public_address(self, name: str) -> None:
        assert self.issuer(**{name: "https://API.shop.example/"}) == "https://api.shop.example"

    @pytest.mark.parametrize(
        "text", ["portico", "ftp://a.example", "https://a.example/x", "https://a.example?x", "https://"]
    )
    def test_is_an_address_without_a_path(self, text: str) -> None:
        with pytest.raises(SettingsError, match=r"https://api\.shop\.example"):
            self.issuer(PUBLIC_URL=text)


class TestKeyVerifier:
    async def test_rejects_the_tokens_of_a_session_after_its_revocation_event(self, identity: Identity) -> None:
        broadcasts = Broadcasts()
        verifier = verifier_beside(identity, broadcasts, verification="keys")
        ada, bob = await identity.new_person(), await identity.new_person("bob@example.com")
        for each in (ada, bob):
            await verifier.verify(each.access_token)

        await ada.post("/auth/logout")
        async with heard(broadcasts) as broker:
            await Relay(identity.run.context, broker).drain()

        with pytest.raises(InvalidToken) as refused:
            await verifier.verify(ada.access_token)
        assert refused.value.reason == "revoked"
        await verifier.verify(bob.access_token)


class TestIntrospectionVerifier:
    async def test_subscribes_to_no_events(self, identity: Identity) -> None:
        broadcasts = Broadcasts()
        verifier_beside(identity, broadcasts, verification="ask")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await broadcasts.wait_for_subscription()
