import asyncio
import dataclasses
from datetime import timedelta

import pytest

from portico.kit.auth.introspection import IntrospectionVerifier
from portico.kit.auth.keys import SigningKey
from portico.kit.auth.revocations import Revocation, RevocationPage
from portico.kit.auth.tokens import LEEWAY, InvalidToken, UnverifiedToken
from portico.kit.auth.verification import (
    KeyVerifier,
    Validation,
    VerificationUnavailable,
    fingerprint,
)
from portico.testing.clock import ManualClock
from portico.testing.issuer import FORM, Issuer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def issuer(clock: ManualClock) -> Issuer:
    return Issuer(clock)


@pytest.fixture
def by_keys(issuer: Issuer, clock: ManualClock) -> KeyVerifier:
    return KeyVerifier(issuer, FORM, clock)


@pytest.fixture
def by_introspection(issuer: Issuer, clock: ManualClock) -> IntrospectionVerifier:
    return IntrospectionVerifier(issuer, FORM, clock)


async def reason_of(verifier: KeyVerifier | IntrospectionVerifier, token: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(token)
    return caught.value.reason


class TestKeyVerifier:
    async def test_returns_the_bearer(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        claims = issuer.claims(permissions=["products:write"])

        principal = await by_keys.verify(issuer.sign(claims))

        assert (principal.subject, principal.permissions) == (claims.subject, {"products:write"})

    async def test_works_without_identity_once_it_has_keys(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        await by_keys.refresh_keys()
        issuer.down = True

        assert (await by_keys.verify(issuer.token("service:catalog"))).service == "catalog"

    async def test_is_unavailable_if_it_never_loaded_a_key(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        issuer.down = True

        with pytest.raises(VerificationUnavailable):
            await by_keys.verify(issuer.token())

    async def test_recovers_when_identity_is_available(
        self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        issuer.down = True
        with pytest.raises(VerificationUnavailable):
            await by_keys.verify(issuer.token())
        issuer.down = False
        clock.advance(1)

        await by_keys.verify(issuer.token())

    async def test_rejects_a_cached_token_that_has_expired(
        self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        token = issuer.token(lasting=60)
        await by_keys.verify(token)

        clock.advance(60 + LEEWAY)

        assert await reason_of(by_keys, token) == "expired"

    async def test_recalls_a_verified_token_until_it_expires(
        self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        token = issuer.token(lasting=60)
        unknown = by_keys.recall(fingerprint(token))
        bearer = await by_keys.verify(token)
        known = by_keys.recall(fingerprint(token))

        clock.advance(60 + LEEWAY)

        assert (unknown, known, by_keys.recall(fingerprint(token))) == (None, bearer, None)

    async def test_verifies_a_token_without_waiting_once_its_key_is_known(
        self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        token, claims = issuer.token(lasting=60), issuer.claims()
        other = issuer.sign(claims)
        unknown = by_keys.recall(fingerprint(token), token)
        await by_keys.refresh_keys()

        bearer = by_keys.recall(fingerprint(token), token)

        assert unknown is None
        assert bearer == await by_keys.verify(token)
        assert by_keys.recall(fingerprint(token)) is bearer
        by_keys.revoke(Revocation("token", claims.token_id, clock.now() + timedelta(hours=1)))
        assert by_keys.recall(fingerprint(other), other) is None

    async def test_a_token_that_is_refused_without_waiting_is_verified_once(
        self, by_keys: KeyVerifier, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await by_keys.refresh_keys()
        forged = issuer.token()[:-8] + "AAAAAAAA"
        verified: list[str] = []
        really = UnverifiedToken.parse

        def parse(token: str) -> UnverifiedToken:
            verified.append(token)
            return really(token)

        monkeypatch.setattr(UnverifiedToken, "parse", parse)

        assert by_keys.recall(fingerprint(forged), forged) is None
        assert await reason_of(by_keys, forged) == "bad_signature"
        assert len(verified) == 1
        assert await reason_of(by_keys, forged) == "bad_signature"
        assert len(verified) == 2

    async def test_recalls_no_revoked_token(self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock) -> None:
        token = issuer.token()
        bearer = await by_keys.verify(token)
        before = by_keys.changes

        by_keys.revoke(Revocation("token", bearer.token_id, clock.now() + timedelta(hours=1)))

        assert by_keys.recall(fingerprint(token)) is None
        assert by_keys.changes != before

    async def test_a_withdrawn_key_is_a_change(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        token = issuer.token()
        await by_keys.verify(token)
        before = by_keys.changes

        await by_keys.refresh_keys()
        unchanged = by_keys.changes
        issuer.keys = [SigningKey.generate("EdDSA")]
        await by_keys.refresh_keys()

        assert (unchanged, by_keys.recall(fingerprint(token))) == (before, None)
        assert by_keys.changes != before

    async def test_limits_the_number_of_cached_tokens(self, issuer: Issuer, clock: ManualClock) -> None:
        verifier = KeyVerifier(issuer, FORM, clock, max_tokens=3)

        for _ in range(10):
            await verifier.verify(issuer.token())

        assert len(verifier._verified) == 3

    async def test_rejects_a_forged_token(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        forged = dataclasses.replace(SigningKey.generate("EdDSA"), kid=issuer.keys[0].kid)

        assert await reason_of(by_keys, FORM.sign(issuer.claims(), forged)) == "bad_signature"


class TestUnknownKey:
    async def test_is_looked_up_once(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        await by_keys.refresh_keys()
        issuer.keys.append(SigningKey.generate("EdDSA"))

        await by_keys.verify(issuer.token())

        assert issuer.request_counts["keys"] == 2

    async def test_forged_key_ids_cause_one_lookup_in_ten_seconds(
        self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        await by_keys.refresh_keys()
        forgeries = [FORM.sign(issuer.claims(), SigningKey.generate("EdDSA")) for _ in range(50)]

        reasons = await asyncio.gather(*(reason_of(by_keys, token) for token in forgeries))

        assert set(reasons) == {"bad_signature"}
        assert issuer.request_counts["keys"] == 2
        clock.advance(by_keys.KEY_LOOKUP_INTERVAL)
        await reason_of(by_keys, forgeries[0])
        assert issuer.request_counts["keys"] == 3

    async def test_is_rejected_while_identity_is_unavailable(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        await by_keys.refresh_keys()
        issuer.down = True

        assert await reason_of(by_keys, FORM.sign(issuer.claims(), SigningKey.generate("EdDSA"))) == "bad_signature"


class TestWithdrawnKey:
    async def test_invalidates_its_tokens(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        token = issuer.token()
        await by_keys.verify(token)
        issuer.keys = [SigningKey.generate("EdDSA")]

        await by_keys.refresh_keys()

        assert await reason_of(by_keys, token) == "bad_signature"

    async def test_is_kept_if_the_response_is_invalid(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        token = issuer.token()
        await by_keys.refresh_keys()
        issuer.keys = []

        with pytest.raises(VerificationUnavailable):
            await by_keys.refresh_keys()

        await by_keys.verify(token)


class TestRevokedSession:
    async def test_is_rejected_after_the_next_poll(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        claims = issuer.claims()
        token = issuer.sign(claims)
        await by_keys.verify(token)

        issuer.revoke_session(claims)
        await by_keys.poll_revocations()

        assert await reason_of(by_keys, token) == "revoked"

    async def test_stays_rejected_while_identity_is_unavailable(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        claims = issuer.claims()
        token = issuer.sign(claims)
        await by_keys.refresh_keys()
        issuer.revoke_session(claims)
        await by_keys.poll_revocations()
        issuer.down = True

        with pytest.raises(VerificationUnavailable):
            await by_keys.poll_revocations()

        assert await reason_of(by_keys, token) == "revoked"

    async def test_is_read_from_a_later_page_too(self, issuer: Issuer, clock: ManualClock) -> None:
        class Paged(Issuer):
            async def fetch_revocations(self, since: str | None, *, wait: float = 0) -> RevocationPage:
                at = int(since or 0)
                return RevocationPage(
                    tuple(self.revocations[at : at + 1]), str(at + 1), more=at + 1 < len(self.revocations)
                )

        paged = Paged(clock)
        verifier = KeyVerifier(paged, FORM, clock)
        ended = [paged.claims() for _ in range(3)]
        for claims in ended:
            paged.revoke_session(claims)

        await verifier.poll_revocations()

        assert [await reason_of(verifier, paged.sign(claims)) for claims in ended] == ["revoked"] * 3


class TestRevocationByEvent:
    async def test_takes_effect_before_the_feed_is_polled(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        ended, other = issuer.claims(), issuer.claims()
        await by_keys.verify(issuer.sign(ended))

        by_keys.revoke(Revocation("session", ended.session_id or "", ended.expires_at))

        assert await reason_of(by_keys, issuer.sign(ended)) == "revoked"
        await by_keys.verify(issuer.sign(other))
        assert issuer.request_counts["revocations"] == 0

    async def test_has_no_effect_after_the_feed(self, by_keys: KeyVerifier, issuer: Issuer) -> None:
        claims = issuer.claims()
        issuer.revoke_session(claims)
        await by_keys.poll_revocations()

        by_keys.revoke(issuer.revocations[0])

        assert len(by_keys._revoked) == 1

    async def test_is_dropped_when_its_tokens_have_expired(
        self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        by_keys.revoke(Revocation("session", "old", issuer.claims(lasting=60).expires_at))

        clock.advance(60 + LEEWAY)
        by_keys.revoke(Revocation("session", "new", issuer.claims(lasting=60).expires_at))

        assert len(by_keys._revoked) == 1


class TestRun:
    async def test_fetches_keys_and_polls_the_feed(self, issuer: Issuer, clock: ManualClock) -> None:
        polled = asyncio.Event()

        class Heard(Issuer):
            async def fetch_revocations(self, since: str | None, *, wait: float = 0) -> RevocationPage:
                if self.request_counts["revocations"] == 3:
                    polled.set()
                return await super().fetch_revocations(since, wait=wait)

        heard = Heard(clock)
        verifier = KeyVerifier(heard, FORM, clock, poll_every=0)

        running = asyncio.create_task(verifier.run())
        await asyncio.wait_for(polled.wait(), 60)
        heard.down = True
        await verifier.verify(heard.token())
        running.cancel()

        with pytest.raises(asyncio.CancelledError):
            await running

    async def test_a_second_run_returns_at_once(self, issuer: Issuer, clock: ManualClock) -> None:
        verifier = KeyVerifier(issuer, FORM, clock)
        running = asyncio.create_task(verifier.run())
        await asyncio.sleep(0)

        async with asyncio.timeout(5):
            await verifier.run()

        assert not running.done()
        running.cancel()
        await asyncio.wait({running})

    async def test_of_introspection_returns_at_once(self, by_introspection: IntrospectionVerifier) -> None:
        async with asyncio.timeout(60):
            assert await by_introspection.run() is None


class TestIntrospectionVerifier:
    async def test_returns_the_bearer(self, by_introspection: IntrospectionVerifier, issuer: Issuer) -> None:
        claims = issuer.claims(permissions=["products:write"], roles=["seller"])

        principal = await by_introspection.verify(issuer.sign(claims))

        assert principal == claims.principal()

    async def test_caches_a_result_for_a_second(
        self, by_introspection: IntrospectionVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        claims = issuer.claims()
        token = issuer.sign(claims)
        await by_introspection.verify(token)
        issuer.revoke_session(claims)

        clock.advance(0.9)
        await by_introspection.verify(token)
        clock.advance(0.1)

        assert await reason_of(by_introspection, token) == "revoked"

    async def test_concurrent_callers_share_one_introspection(
        self, by_introspection: IntrospectionVerifier, issuer: Issuer
    ) -> None:
        token = issuer.token()

        await asyncio.gather(*(by_introspection.verify(token) for _ in range(20)))

        assert issuer.request_counts["validate"] == 1

    async def test_probes_a_failing_identity_once_a_second(self, issuer: Issuer, clock: ManualClock) -> None:
        knocked: list[bool] = []

        class Closed(Issuer):
            async def validate(self, token: str, *, probe: bool = False) -> Validation:  # it is not read
                knocked.append(probe)
                raise VerificationUnavailable(1.0)

        verifier = IntrospectionVerifier(Closed(clock), issuer.form, clock)
        for seconds in (0.0, 0.5, 0.5, 0.5):
            clock.advance(seconds)
            with pytest.raises(VerificationUnavailable):
                await verifier.verify(issuer.token())

        assert knocked == [True, False, True, False]

    async def test_a_cancelled_caller_does_not_affect_others(self, issuer: Issuer, clock: ManualClock) -> None:
        answering = asyncio.Event()

        class Slow(Issuer):
            async def validate(self, token: str, *, probe: bool = False) -> Validation:
                await answering.wait()
                return await super().validate(token)

        slow = Slow(clock)
        verifier, token = IntrospectionVerifier(slow, FORM, clock), slow.token("service:catalog")
        first, second = (asyncio.create_task(verifier.verify(token)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        answering.set()

        assert (await second).service == "catalog"
        assert first.cancelled()

    async def test_is_unavailable_without_identity(
        self, by_introspection: IntrospectionVerifier, issuer: Issuer
    ) -> None:
        issuer.down = True

        with pytest.raises(VerificationUnavailable):
            await by_introspection.verify(issuer.token())
        issuer.down = False
        await by_introspection.verify(issuer.token())

    async def test_raises_identitys_reason(
        self, by_introspection: IntrospectionVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        token = issuer.token(lasting=1)
        clock.advance(10)

        assert await reason_of(by_introspection, token) == "expired"

    async def test_rejects_malformed_tokens_without_a_call(
        self, by_introspection: IntrospectionVerifier, issuer: Issuer
    ) -> None:
        assert await reason_of(by_introspection, "nonsense") == "malformed"
        assert issuer.request_counts["validate"] == 0

    async def test_checks_issuer_and_audience_itself(self, issuer: Issuer, clock: ManualClock) -> None:
        clinic = IntrospectionVerifier(issuer, dataclasses.replace(FORM, audience="clinic"), clock)

        assert await reason_of(clinic, issuer.token()) == "malformed"

    async def test_limits_the_number_of_cached_results(self, issuer: Issuer, clock: ManualClock) -> None:
        verifier = IntrospectionVerifier(issuer, FORM, clock, max_tokens=3)

        for _ in range(10):
            await verifier.verify(issuer.token())

        assert len(verifier._results) == 3


class TestUserRevocation:
    async def test_revokes_older_tokens_in_a_running_verifier(
        self, by_keys: KeyVerifier, issuer: Issuer, clock: ManualClock
    ) -> None:
        old = issuer.claims()
        clock.advance(5)
        issuer.revocations.append(Revocation("user", old.subject, old.expires_at, issued_before=clock.now()))

        await by_keys.poll_revocations()

        assert await reason_of(by_keys, issuer.sign(old)) == "revoked"
        await by_keys.verify(issuer.token(old.subject))
