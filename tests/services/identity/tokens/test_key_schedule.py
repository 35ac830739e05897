from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from portico.kit.auth.keys import SigningKey
from portico.services.identity.tokens.domain import ScheduledKey, keys_in_force, signing_key_at
from portico.testing.clock import START

KEYS = [SigningKey.generate("EdDSA") for _ in range(5)]


def ring_of(*seconds: int) -> list[ScheduledKey]:
    return [ScheduledKey(key, START + timedelta(seconds=each)) for key, each in zip(KEYS, seconds, strict=False)]


class TestTheSigningKey:
    def test_is_the_last_that_has_taken_over(self) -> None:
        ring = ring_of(0, 100, 200)

        assert signing_key_at(ring, START + timedelta(seconds=199)) is KEYS[1]
        assert signing_key_at(ring, START + timedelta(seconds=200)) is KEYS[2]

    def test_is_the_first_where_none_has_yet(self) -> None:
        assert signing_key_at(ring_of(10), START) is KEYS[0]


class TestKeysInForce:
    @given(
        st.lists(st.integers(0, 10_000), min_size=1, max_size=5).map(sorted),
        st.integers(0, 12_000),
        st.integers(1, 5_000),
        st.floats(0, 1, exclude_max=True),
    )
    def test_hold_the_key_of_every_token_that_lives(
        self, starts: list[int], signed_at: int, lasting: int, age: float
    ) -> None:
        ring, lifetime = ring_of(*starts), timedelta(seconds=lasting)
        signed = START + timedelta(seconds=max(signed_at, starts[0]))
        signer = signing_key_at(ring, signed)

        verified = signed + lifetime * age

        assert signer in [each.key for each in keys_in_force(ring, verified, lifetime=lifetime)]

    def test_hold_one_that_takes_over_later(self) -> None:
        assert [each.key for each in keys_in_force(ring_of(0, 900), START, lifetime=timedelta(hours=1))] == KEYS[:2]

    def test_let_go_of_a_key_whose_last_token_has_expired(self) -> None:
        ring = ring_of(0, 900)

        assert len(keys_in_force(ring, START + timedelta(seconds=900 + 3600), lifetime=timedelta(hours=1))) == 1
