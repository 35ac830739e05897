import pytest

from portico.kit.auth.keys import SigningKey
from portico.services.identity.keys.domain import Sealer
from portico.services.identity.keys.errors import SealBroken

KEY = SigningKey.generate("EdDSA")


class TestASealedKey:
    def test_opens_with_the_secret_it_was_sealed_with(self) -> None:
        opened = Sealer("s" * 40).open(KEY.kid, Sealer("s" * 40).seal(KEY))

        assert KEY.verifying.verifies(b"said", opened.sign(b"said"))

    def test_does_not_open_with_another(self) -> None:
        with pytest.raises(SealBroken, match="SECRET_KEY"):
            Sealer("t" * 40).open(KEY.kid, Sealer("s" * 40).seal(KEY))

    def test_does_not_pass_for_another_key(self) -> None:
        sealer = Sealer("s" * 40)

        with pytest.raises(SealBroken):
            sealer.open("other", sealer.seal(KEY))

    def test_does_not_show_the_key(self) -> None:
        assert str(KEY.private_jwk()["d"]) not in Sealer("s" * 40).seal(KEY)
