import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.kit.data.migrations import MigrationSet, downgrade, upgrade
from portico.services.identity import service
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, run_service

LEEWAY = 10
DAY = 86_400
NUMBERS = itertools.count()


async def refresh(identity: Identity, token: str) -> Answer:
    return await identity.anonymous.post("/auth/refresh", json={"refresh_token": token})


class TestRefresh:
    async def test_returns_a_new_pair(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await refresh(identity, ada.refresh_token)

        assert answer.status_code == 200
        given: dict[str, Any] = answer.json()
        assert given["refresh_token"] != ada.refresh_token
        assert (await identity.person(given).get("/auth/me")).status_code == 200

    async def test_used_token_is_accepted_within_the_leeway(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await refresh(identity, ada.refresh_token)

        identity.advance(LEEWAY)
        again = await refresh(identity, ada.refresh_token)

        assert again.status_code == 200
        assert (await identity.person(again.json()).get("/auth/me")).status_code == 200

    async def test_reuse_of_a_rotated_refresh_token_revokes_the_family(self, identity: Identity) -> None:
        ada = await identity.new_person()
        newest = (await refresh(identity, ada.refresh_token)).json()
        identity.advance(LEEWAY + 1)

        stolen = await refresh(identity, ada.refresh_token)

        assert (stolen.status_code, stolen.json()["code"]) == (401, "refresh_refused")
        assert (await refresh(identity, newest["refresh_token"])).status_code == 401
        assert await identity.reason(newest["access_token"]) == "revoked"
        assert len(await identity.audited("refresh_token.reused")) == 1

    async def test_reuse_does_not_affect_other_sessions(self, identity: Identity) -> None:
        ada = await identity.new_person()
        other = await identity.sign_in()
        await refresh(identity, ada.refresh_token)
        identity.advance(LEEWAY + 1)
        await refresh(identity, ada.refresh_token)

        assert (await other.get("/auth/me")).status_code == 200

    async def test_unknown_token_is_rejected(self, embedded: Identity) -> None:
        assert (await refresh(embedded, "nonsense")).status_code == 401

    async def test_token_expires_after_thirty_unused_days(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        embedded.advance(30 * 86_400)

        assert (await refresh(embedded, ada.refresh_token)).status_code == 401

    async def test_each_refresh_extends_the_session(self, embedded: Identity) -> None:
        token = (await embedded.new_person()).refresh_token
        for _ in range(4):
            embedded.advance(20 * 86_400)
            token = (await refresh(embedded, token)).json()["refresh_token"]

        assert (await refresh(embedded, token)).status_code == 200

    async def test_session_ends_after_ninety_days_however_often_it_is_refreshed(self, embedded: Identity) -> None:
        ada = await embedded.new_person()
        token = ada.refresh_token
        for _ in range(3):
            embedded.advance(29.9 * DAY)
            token = (await refresh(embedded, token)).json()["refresh_token"]
        last = embedded.person((await refresh(embedded, token)).json())

        (listed,) = (await last.get("/auth/sessions")).json()
        assert (listed["expires_at"], listed["ends_at"]) == ("2026-04-05T09:00:00Z", "2026-04-05T09:00:00Z")
        embedded.advance(0.3 * DAY)
        assert (await refresh(embedded, last.refresh_token)).status_code == 401

    async def test_access_token_expires_with_its_session(self, embedded: Identity) -> None:
        token = (await embedded.new_person()).refresh_token
        for _ in range(3):
            embedded.advance(30 * DAY - 1)
            answer = await refresh(embedded, token)
            token = answer.json()["refresh_token"]

        assert answer.json()["expires_in"] == 3

    async def test_of_concurrent_refreshes_two_succeed(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answers = await asyncio.gather(*(refresh(identity, ada.refresh_token) for _ in range(5)))

        assert sorted(answer.status_code for answer in answers) == [200, 200, 401, 401, 401]
        for answer in answers:
            if answer.status_code == 200:
                assert (await refresh(identity, answer.json()["refresh_token"])).status_code == 200

    async def test_sibling_used_after_the_leeway_ends_the_family(self, identity: Identity) -> None:
        ada = await identity.new_person()
        first = (await refresh(identity, ada.refresh_token)).json()["refresh_token"]
        second = (await refresh(identity, ada.refresh_token)).json()["refresh_token"]
        newest = (await refresh(identity, first)).json()

        identity.advance(LEEWAY + 1)

        assert (await refresh(identity, second)).status_code == 401
        assert (await refresh(identity, newest["refresh_token"])).status_code == 401
        assert await identity.reason(newest["access_token"]) == "revoked"
        assert len(await identity.audited("refresh_token.reused")) == 1

    async def test_siblings_that_are_used_at_the_same_time_after_the_leeway_end_the_family(
        self, identity: Identity
    ) -> None:
        """Two parties that refresh by the same schedule are two parties all the same."""
        ada = await identity.new_person()
        first = (await refresh(identity, ada.refresh_token)).json()["refresh_token"]
        second = (await refresh(identity, ada.refresh_token)).json()["refresh_token"]

        identity.advance(LEEWAY + 1)
        newest = await refresh(identity, first)

        assert newest.status_code == 200
        assert (await refresh(identity, second)).status_code == 401
        assert (await refresh(identity, newest.json()["refresh_token"])).status_code == 401
        assert len(await identity.audited("refresh_token.reused")) == 1

    async def test_sibling_of_a_token_that_was_never_used_is_accepted(self, identity: Identity) -> None:
        """The response with the first successor was lost, so only the second one is in use."""
        ada = await identity.new_person()
        await refresh(identity, ada.refresh_token)
        second = (await refresh(identity, ada.refresh_token)).json()["refresh_token"]

        identity.advance(LEEWAY + 1)

        assert (await refresh(identity, second)).status_code == 200

    async def test_deactivated_user_cannot_refresh(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()
        await admin.patch(f"/users/{ada.user_id}", json={"is_active": False})

        assert (await refresh(embedded, ada.refresh_token)).status_code == 401


@dataclass
class Held:
    """A refresh token, its branch of the family, when it was issued, and the times at which it was accepted."""

    text: str
    path: tuple[int, ...]
    issued: float
    uses: list[float] = field(default_factory=list)


class TokenFamily(RuleBasedStateMachine):
    """Present any token of a family at any time, as its owner and a thief might.

    The model knows the whole tree of tokens. The service must agree with it on every answer.
    """

    databases: ClassVar[Databases]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 0.0
        self.is_alive = True
        self.held: list[Held] = []

    @initialize()
    def sign_in(self) -> None:
        variables = VARIABLES | {"SECRET_KEY": "the same secret at every start of it"}
        self.service = run_service(service, self.databases, variables=variables, system=SYSTEM)
        self.identity = Identity(self.loop.run_until_complete(self.service.__aenter__()))
        person = self.loop.run_until_complete(self.identity.new_person(f"ada{next(NUMBERS)}@example.com"))
        self.held.append(Held(person.refresh_token, (), 0))

    @rule(seconds=st.sampled_from([1, 4, LEEWAY + 1]))
    def wait(self, seconds: float) -> None:
        self.identity.advance(seconds)
        self.now += seconds

    @rule(which=st.integers(0, 20))
    def present(self, which: int) -> None:
        token = self.held[-1 - which % len(self.held)]
        ancestors = [token.path[:length] for length in range(len(token.path))]
        others = [each for each in self.held if len(each.path) >= len(token.path) and each.path not in ancestors]
        if any(each.uses and self.now > each.uses[0] + LEEWAY for each in others):
            self.is_alive = False
        siblings = [each for each in self.held if len(each.path) == len(token.path) and each is not token]
        if any(each.uses and self.now > min(each.issued, token.issued) + LEEWAY for each in siblings):
            self.is_alive = False
        accepted = self.is_alive and len(token.uses) < 2
        answer = self.loop.run_until_complete(refresh(self.identity, token.text))
        assert answer.status_code == (200 if accepted else 401)
        if accepted:
            self.held.append(Held(answer.json()["refresh_token"], (*token.path, len(token.uses)), self.now))
            token.uses.append(self.now)

    @invariant()
    def no_two_branches_go_on(self) -> None:
        """Two tokens of one generation are only ever used within the leeway of the older one."""
        if self.is_alive:
            for one, other in itertools.combinations(self.held, 2):
                if len(one.path) == len(other.path) and one.uses and other.uses:
                    assert max(one.uses[0], other.uses[0]) <= min(one.issued, other.issued) + LEEWAY

    def teardown(self) -> None:
        if hasattr(self, "service"):
            self.loop.run_until_complete(self.service.__aexit__(None, None, None))
        self.loop.close()


def test_token_family(sqlite_databases: Databases) -> None:
    machine = type("TokenFamily", (TokenFamily,), {"databases": sqlite_databases})
    examples = settings(max_examples=15, stateful_step_count=12, deadline=None)
    run_state_machine_as_test(machine, settings=examples)


async def test_migration_keeps_existing_sessions_and_detects_reuse_in_them(identity: Identity) -> None:
    ada, eve = await identity.new_person(), await identity.new_person("eve@example.com")
    current = (await refresh(identity, ada.refresh_token)).json()["refresh_token"]
    await refresh(identity, eve.refresh_token)
    assert service.migrations is not None
    migrations = MigrationSet("identity", service.migrations, service.tables)
    await downgrade(identity.run.context.database, migrations, "0001")

    await upgrade(identity.run.context.database, [migrations])

    identity.advance(LEEWAY + 1)
    assert (await refresh(identity, current)).status_code == 200
    assert (await refresh(identity, eve.refresh_token)).status_code == 401
    assert len(await identity.audited("refresh_token.reused")) == 1
