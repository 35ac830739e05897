import pytest

from portico.kit.auth.keys import SigningKey
from portico.services.identity.errors import KeyDecryptionFailed
from portico.services.identity.tokens.domain import KeyCipher

KEY = SigningKey.generate("EdDSA")


class TestASealedKey:
    def test_opens_with_the_secret_it_was_sealed_with(self) -> None:
        opened = KeyCipher("s" * 40).decrypt(KEY.kid, KeyCipher("s" * 40).encrypt(KEY))

        assert KEY.verifying.verifies(b"said", opened.sign(b"said"))

    def test_does_not_open_with_another(self) -> None:
        with pytest.raises(KeyDecryptionFailed, match="SECRET_KEY"):
            KeyCipher("t" * 40).decrypt(KEY.kid, KeyCipher("s" * 40).encrypt(KEY))

    def test_does_not_pass_for_another_key(self) -> None:
        sealer = KeyCipher("s" * 40)

        with pytest.raises(KeyDecryptionFailed):
            sealer.decrypt("other", sealer.encrypt(KEY))

    def test_does_not_show_the_key(self) -> None:
        assert str(KEY.private_jwk()["d"]) not in KeyCipher("s" * 40).encrypt(KEY)
