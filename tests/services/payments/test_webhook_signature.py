import hmac
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.services.payments.errors import SignatureInvalid, SignatureOld
from portico.services.payments.provider import sign, verify
from portico.testing.clock import START

BODY, SECRET = b'{"id":"evt_1"}', b"a secret shared with the provider"
TIME = int(START.timestamp())
GOOD = sign(BODY, SECRET, now=START)
DIGEST = GOOD.partition("v1=")[2]


def check(header: str | None, body: bytes = BODY, secret: bytes = SECRET, *, age: float = 0) -> None:
    verify(body, header, secret, now=START + timedelta(seconds=age), tolerance=300)


class TestSignature:
    def test_has_stripes_format(self) -> None:
        expected = hmac.new(SECRET, f"{TIME}.".encode() + BODY, "sha256").hexdigest()

        assert f"t={TIME},v1={expected}" == GOOD

    @pytest.mark.parametrize(
        "header",
        [
            GOOD,
            f"v1={DIGEST},t={TIME}",
            f"t={TIME}, v1={DIGEST}",
            f"t={TIME},v0=abc,v1={DIGEST}",
            f"t={TIME},v1={'0' * 64},v1={DIGEST}",  # during a rotation there is one per secret
        ],
    )
    def test_valid_header_is_accepted(self, header: str) -> None:
        check(header)

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "t=,v1=",
            DIGEST,
            f"t={TIME}",
            f"v1={DIGEST}",
            f"t={TIME},v1=",
            f"t={TIME},v1={'0' * 64}",
            f"t={TIME},v1={DIGEST[:-1]}",
            f"t={TIME},v1={DIGEST.upper()}",
            f"t={TIME},v0={DIGEST}",
            f"t={TIME + 1},v1={DIGEST}",
            f"t=0{TIME},v1={DIGEST}",
            f"t=-{TIME},v1={DIGEST}",
            f"t={TIME}.0,v1={DIGEST}",
            f"t={TIME},t={TIME},v1={DIGEST}",
            f"t={TIME},v1=ü{DIGEST}",
            f"t={'9' * 400},v1={DIGEST}",
            ",".join(["v1=x"] * 100),
        ],
    )
    def test_invalid_header_is_rejected(self, header: str | None) -> None:
        with pytest.raises(SignatureInvalid):
            check(header)

    def test_depends_on_body_and_secret(self) -> None:
        with pytest.raises(SignatureInvalid):
            check(GOOD, body=BODY + b" ")
        with pytest.raises(SignatureInvalid):
            check(GOOD, secret=SECRET + b"!")

    @pytest.mark.parametrize("age", [-300, -1, 0, 299, 300])
    def test_is_valid_for_five_minutes(self, age: float) -> None:
        check(GOOD, age=age)

    @pytest.mark.parametrize("age", [-301, 301, 86_400])
    def test_expires_after_five_minutes(self, age: float) -> None:
        with pytest.raises(SignatureOld):
            check(GOOD, age=age)

    def test_age_is_checked_after_the_signature(self) -> None:
        with pytest.raises(SignatureInvalid):
            check(f"t={TIME - 10_000},v1={DIGEST}")

    @given(st.text(max_size=200))
    def test_arbitrary_text_is_rejected(self, header: str) -> None:
        with pytest.raises(SignatureInvalid):
            check(header)
