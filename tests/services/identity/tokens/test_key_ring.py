import pytest
from sqlalchemy import select
from structlog.testing import capture_logs
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.kit.auth.tokens import UnverifiedToken
from portico.services.identity import service
from portico.services.identity.errors import KeyDecryptionFailed, SharedSecretInUse
from portico.services.identity.jobs import rotate_signing_keys
from portico.services.identity.tokens.key_ring import KeyRing
from portico.services.identity.tokens.models import StoredKey
from portico.testing.clock import ManualClock
from portico.testing.databases import Databases
from portico.testing.running_service import run_service

LEAD = 15 * 60
DAY = 86_400
SECRET = {"SECRET_KEY": "a secret key of more than enough letters"}


async def kids(identity: Identity) -> list[str]:
    answer = await identity.anonymous.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    return [key["kid"] for key in answer.json()["keys"]]


def kid_of(token: str) -> str:
    return UnverifiedToken.parse(token).kid


async def rotate(identity: Identity, **options: bool) -> str:
    stored = await identity.run.context.resource(KeyRing).rotate(**options)
    identity.advance(1)
    return stored.kid


class TestKeySet:
    async def test_contains_public_keys_only(self, identity: Identity) -> None:
        answer = await identity.anonymous.get("/.well-known/jwks.json")

        (key,) = answer.json()["keys"]
        assert key.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
        assert "max-age" in answer.headers["cache-control"]

    @pytest.mark.parametrize(("algorithm", "kind"), [("ES256", "EC"), ("RS256", "RSA")])
    async def test_uses_the_configured_algorithm(self, sqlite_databases: Databases, algorithm: str, kind: str) -> None:
        variables = {**VARIABLES, "JWT_ALGORITHM": algorithm}
        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM) as run:
            identity = Identity(run)
            ada = await identity.new_person()

            (key,) = (await run.anonymous.get("/.well-known/jwks.json")).json()["keys"]

            assert (key["kty"], key["alg"]) == (kind, algorithm)
            assert (await ada.get("/auth/me")).status_code == 200

    async def test_never_contains_a_shared_secret(self, sqlite_databases: Databases) -> None:
        variables = {**VARIABLES, "JWT_ALGORITHM": "HS256", "JWT_SECRET": "f0r-this-test-0nly-and-long-enough-7632"}
        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM) as run:
            ada = await Identity(run).new_person()

            assert (await ada.get("/auth/me")).status_code == 200
            assert (await run.anonymous.get("/.well-known/jwks.json")).json() == {"keys": []}
            with pytest.raises(SharedSecretInUse, match="JWT_SECRET"):
                await run.context.resource(KeyRing).rotate()


class TestRotation:
    async def test_new_key_is_published_before_it_signs(self, identity: Identity) -> None:
        (old,) = await kids(identity)

        new = await rotate(identity)

        assert set(await kids(identity)) == {old, new}
        assert kid_of((await identity.new_person()).access_token) == old
        identity.advance(LEAD)
        assert kid_of((await identity.sign_in()).access_token) == new

    async def test_old_key_is_published_until_its_last_token_expires(self, identity: Identity) -> None:
        (old,) = await kids(identity)
        new = await rotate(identity)
        identity.advance(LEAD - 2 * KeyRing.CACHE_SECONDS)
        last = (await identity.new_person()).access_token

        identity.advance(3599)
        assert (kid_of(last), await identity.reason(last)) == (old, None)
        identity.advance(60)
        assert await kids(identity) == [new]

    async def test_at_once_signs_with_the_new_key(self, identity: Identity) -> None:
        ada = await identity.new_person()

        new = await rotate(identity, at_once=True)

        assert kid_of((await identity.sign_in()).access_token) == new
        assert await identity.reason(ada.access_token) is None

    async def test_at_once_takes_precedence_over_scheduled_keys(self, identity: Identity) -> None:
        (old,) = await kids(identity)
        ada = await identity.new_person()
        to_come = [await rotate(identity), await rotate(identity)]

        new = await rotate(identity, at_once=True)

        assert kid_of((await identity.sign_in()).access_token) == new
        assert set(await kids(identity)) == {old, *to_come, new}
        assert await identity.reason(ada.access_token) is None

    async def test_withdrawal_invalidates_all_tokens(self, identity: Identity) -> None:
        ada = await identity.new_person()

        new = await rotate(identity, withdraw=True)

        assert await kids(identity) == [new]
        assert await identity.reason(ada.access_token) == "bad_signature"

    async def test_job_rotates_old_keys_and_deletes_expired_ones(self, identity: Identity) -> None:
        run = identity.run.context
        await rotate_signing_keys.function(run)
        assert len(await kids(identity)) == 1

        identity.advance(90 * DAY)
        await rotate_signing_keys.function(run)
        assert len(await kids(identity)) == 2

        identity.advance(DAY)
        await rotate_signing_keys.function(run)
        async with run.reader() as reader:
            assert len(await reader.all(select(StoredKey))) == 1


class TestStoredKeys:
    async def test_are_used_after_a_restart(self, sqlite_databases: Databases) -> None:
        variables, clock = VARIABLES | SECRET, ManualClock()
        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM, clock=clock) as run:
            token = (await Identity(run).new_person()).access_token

        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM, clock=clock) as run:
            assert await Identity(run).reason(token) is None

    async def test_another_secret_key_makes_the_service_not_ready(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases, variables=VARIABLES | SECRET, system=SYSTEM):
            pass

        other = {"SECRET_KEY": "another secret key of many letters more"}
        with capture_logs() as lines:
            async with run_service(service, sqlite_databases, variables=VARIABLES | other, system=SYSTEM):
                pass
        assert "restore the former SECRET_KEY" in next(
            line["error"] for line in lines if line["event"] == "signing_key_unreadable"
        )
        async with run_service(service, sqlite_databases, variables=VARIABLES | other, system=SYSTEM) as run:
            with pytest.raises(KeyDecryptionFailed):
                await run.context.resource(KeyRing).check()
            assert (await run.anonymous.get("/health/ready")).status_code == 503

            await run.context.resource(KeyRing).rotate(withdraw=True)

            await run.context.resource(KeyRing).check()
            await Identity(run).administrator()

    async def test_changed_algorithm_publishes_a_new_key(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases, variables=VARIABLES | SECRET, system=SYSTEM):
            pass

        changed = VARIABLES | SECRET | {"JWT_ALGORITHM": "ES256"}
        async with run_service(service, sqlite_databases, variables=changed, system=SYSTEM) as run:
            identity = Identity(run)
            assert len(await kids(identity)) == 2
            identity.advance(LEAD)
            ada = await identity.new_person()
            assert UnverifiedToken.parse(ada.access_token).algorithm == "ES256"


class TestMetadata:
    async def test_lists_the_endpoints_and_grants(self, embedded: Identity) -> None:
        answer = await embedded.anonymous.get("/.well-known/oauth-authorization-server")

        offered = answer.json()
        assert offered["issuer"] == "http://localhost:1"
        assert offered["token_endpoint"] == "http://localhost:1/oauth/token"
        assert offered["jwks_uri"] == "http://localhost:1/.well-known/jwks.json"
        assert set(offered["grant_types_supported"]) == {
            "password",
            "refresh_token",
            "client_credentials",
            "authorization_code",
        }
