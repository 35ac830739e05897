from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from portico.kit.auth.revocations import Revocation, RevocationSet
from portico.kit.auth.tokens import LEEWAY
from portico.testing.clock import START, ManualClock
from portico.testing.issuer import Issuer


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class TestRevocation:
    def test_of_a_session_revokes_its_tokens_only(self) -> None:
        issuer, revoked = Issuer(ManualClock()), RevocationSet()
        mine, other = issuer.claims().principal(), issuer.claims().principal()

        revoked.add(Revocation("session", mine.session_id or "", mine.expires_at), START)

        assert revoked.covers(mine)
        assert not revoked.covers(other)

    def test_of_a_token_revokes_that_token(self) -> None:
        issuer, revoked = Issuer(ManualClock()), RevocationSet()
        service, other = issuer.claims("service:a").principal(), issuer.claims("service:a").principal()

        revoked.add(Revocation("token", service.token_id, service.expires_at), START)

        assert revoked.covers(service)
        assert not revoked.covers(other)

    def test_of_a_user_revokes_the_tokens_issued_before(self) -> None:
        clock = ManualClock()
        issuer, revoked = Issuer(clock), RevocationSet()
        old = issuer.claims()
        clock.advance(1)
        new = issuer.claims(old.subject)

        revoked.add(Revocation("user", old.subject, old.expires_at, issued_before=clock.now()), clock.now())

        assert revoked.covers(old.principal())
        assert not revoked.covers(new.principal())

    def test_a_later_revocation_of_a_user_takes_precedence(self) -> None:
        clock = ManualClock()
        issuer, revoked = Issuer(clock), RevocationSet()
        claims = issuer.claims()
        early = Revocation("user", claims.subject, START + at(3600), issued_before=START)
        late = Revocation("user", claims.subject, START + at(3601), issued_before=START + at(1))

        for mark in (late, early):
            revoked.add(mark, START)

        assert revoked.covers(claims.principal())

    def test_is_dropped_after_its_tokens_have_expired(self) -> None:
        revoked = RevocationSet()
        revoked.add(Revocation("session", "old", START + at(60)), START)

        revoked.add(Revocation("session", "new", START + at(600)), START + at(60 + LEEWAY))

        assert len(revoked) == 1

    def test_of_a_user_outlives_an_earlier_one(self) -> None:
        issuer, revoked = Issuer(ManualClock()), RevocationSet()
        claims = issuer.claims(lasting=7200)
        for after in (60, 7200):
            revoked.add(Revocation("user", claims.subject, START + at(after), START + at(after)), START)

        revoked.add(Revocation("session", "other", START + at(9000)), START + at(600))

        assert revoked.covers(claims.principal())


class TestFullSet:
    def test_shortens_lifetimes_and_extends_none(self) -> None:
        issuer, revoked = Issuer(ManualClock()), RevocationSet(limit=2)
        ended = [issuer.claims(lasting=lasting).principal() for lasting in (100, 300, 200)]
        untouched = [issuer.claims(lasting=lasting).principal() for lasting in (99, 101)]

        for principal in ended:
            revoked.add(Revocation("session", principal.session_id or "", principal.expires_at), START)

        assert len(revoked) == 2
        assert all(revoked.covers(principal) for principal in ended)
        assert [revoked.covers(principal) for principal in untouched] == [True, False]

    @given(
        st.lists(st.tuples(st.integers(1, 500), st.sampled_from(["session", "token"])), max_size=40), st.integers(1, 10)
    )
    def test_never_accepts_a_revoked_token(self, ends: list[tuple[int, str]], most: int) -> None:
        issuer, revoked = Issuer(ManualClock()), RevocationSet(most)
        ended = []
        for lasting, kind in ends:
            principal = issuer.claims(lasting=lasting).principal()
            name = principal.token_id if kind == "token" else principal.session_id
            revoked.add(Revocation("token" if kind == "token" else "session", name or "", principal.expires_at), START)
            ended.append(principal)

        assert all(revoked.covers(principal) for principal in ended)
        assert len(revoked) <= most
