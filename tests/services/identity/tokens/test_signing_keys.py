from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.auth.keys import SigningKey
from portico.services.identity.errors import KeyDecryptionFailed
from portico.services.identity.tokens.domain import KeyCipher, ScheduledKey, keys_in_force, signing_key_at
from portico.testing.clock import START

KEYS = [SigningKey.generate("EdDSA") for _ in range(5)]


def ring_of(*seconds: int) -> list[ScheduledKey]:
    return [ScheduledKey(key, START + timedelta(seconds=each)) for key, each in zip(KEYS, seconds, strict=False)]


class TestSigningKeyAt:
    def test_is_the_last_key_that_has_taken_over(self) -> None:
        ring = ring_of(0, 100, 200)

        assert signing_key_at(ring, START + timedelta(seconds=199)) is KEYS[1]
        assert signing_key_at(ring, START + timedelta(seconds=200)) is KEYS[2]

    def test_is_the_first_key_if_none_has_taken_over(self) -> None:
        assert signing_key_at(ring_of(10), START) is KEYS[0]


class TestKeysInForce:
    @given(
        st.lists(st.integers(0, 10_000), min_size=1, max_size=5).map(sorted),
        st.integers(0, 12_000),
        st.integers(1, 5_000),
        st.floats(0, 1, exclude_max=True),
    )
    def test_include_the_key_of_every_unexpired_token(
        self, starts: list[int], signed_at: int, lasting: int, age: float
    ) -> None:
        ring, lifetime = ring_of(*starts), timedelta(seconds=lasting)
        signed = START + timedelta(seconds=max(signed_at, starts[0]))
        signer = signing_key_at(ring, signed)

        verified = signed + lifetime * age

        assert signer in [each.key for each in keys_in_force(ring, verified, lifetime=lifetime)]

    def test_include_a_key_that_takes_over_later(self) -> None:
        assert [each.key for each in keys_in_force(ring_of(0, 900), START, lifetime=timedelta(hours=1))] == KEYS[:2]

    def test_exclude_a_key_whose_last_token_has_expired(self) -> None:
        ring = ring_of(0, 900)

        assert len(keys_in_force(ring, START + timedelta(seconds=900 + 3600), lifetime=timedelta(hours=1))) == 1


class TestKeyCipher:
    def test_decrypts_with_the_same_secret(self) -> None:
        opened = KeyCipher("s" * 40).decrypt(KEYS[0].kid, KeyCipher("s" * 40).encrypt(KEYS[0]))

        assert KEYS[0].verifying.verifies(b"said", opened.sign(b"said"))

    def test_rejects_another_secret(self) -> None:
        with pytest.raises(KeyDecryptionFailed, match="SECRET_KEY"):
            KeyCipher("t" * 40).decrypt(KEYS[0].kid, KeyCipher("s" * 40).encrypt(KEYS[0]))

    def test_rejects_another_kid(self) -> None:
        sealer = KeyCipher("s" * 40)

        with pytest.raises(KeyDecryptionFailed):
            sealer.decrypt("other", sealer.encrypt(KEYS[0]))

    def test_ciphertext_does_not_contain_the_key(self) -> None:
        assert str(KEYS[0].private_jwk()["d"]) not in KeyCipher("s" * 40).encrypt(KEYS[0])
