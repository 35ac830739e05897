import base64
import dataclasses
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from portico.kit.auth.keys import (
    PUBLIC_ALGORITHMS,
    PublicAlgorithm,
    SigningKey,
    UnusableKey,
    VerifyingKey,
    read_key_set,
)
from portico.kit.auth.tokens import MAX_TOKEN_LENGTH, AccessClaims, InvalidToken, TokenFormat, UnverifiedToken
from portico.testing.clock import ManualClock
from portico.testing.issuer import FORM, Issuer

KEY = SigningKey.generate("EdDSA")


def b64(document: Any) -> bytes:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def forged(header: dict[str, Any], payload: Any, key: SigningKey | None = KEY) -> str:
    signed = b64(header) + b"." + b64(payload)
    return (signed + b"." + (b64(key.sign(signed)) if key else b"")).decode()


def payload_of(token: str) -> dict[str, Any]:
    segment = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return found


HEADER = {"alg": "EdDSA", "kid": KEY.kid, "typ": "at+jwt"}


class Bench:
    """Verifies tokens with one key."""

    def __init__(self, key: SigningKey = KEY, form: TokenFormat = FORM) -> None:
        self.clock = ManualClock()
        self.issuer = Issuer(self.clock, form)
        self.issuer.keys = [key]
        self.key = key.verifying

    def read(self, token: str) -> AccessClaims:
        return FORM.claims_of(UnverifiedToken.parse(token).verify(self.key), self.clock.now())

    def reason(self, token: str) -> str:
        with pytest.raises(InvalidToken) as caught:
            self.read(token)
        return caught.value.reason

    def payload(self, **changes: Any) -> dict[str, Any]:
        return payload_of(self.issuer.token()) | changes


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestToken:
    @pytest.mark.parametrize("algorithm", sorted(PUBLIC_ALGORITHMS))
    def test_contains_the_signed_claims(self, algorithm: PublicAlgorithm) -> None:
        bench = Bench(SigningKey.generate(algorithm))
        claims = bench.issuer.claims(permissions=["products:write", "stock:read"], roles=["seller"])

        assert bench.read(bench.issuer.sign(claims)) == claims

    def test_has_the_claims_of_rfc_9068(self, bench: Bench) -> None:
        claims = bench.issuer.claims(permissions=["a:b", "c:d"], roles=["seller"])

        assert payload_of(bench.issuer.sign(claims)) == {
            "iss": "http://localhost:1",
            "aud": "catalog",
            "sub": claims.subject,
            "client_id": "catalog",
            "sid": claims.session_id,
            "iat": int(claims.issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
            "jti": claims.token_id,
            "scope": "a:b c:d",
            "roles": ["seller"],
        }

    def test_names_the_registered_client(self, bench: Bench) -> None:
        claims = dataclasses.replace(bench.issuer.claims(permissions=["openid"]), client_id="client_1")
        token = bench.issuer.sign(claims)

        assert payload_of(token)["client_id"] == "client_1"
        assert (bench.read(token), bench.read(token).principal().client_id) == (claims, "client_1")

    def test_of_a_service_has_no_session(self, bench: Bench) -> None:
        principal = bench.read(bench.issuer.token("service:catalog")).principal()

        assert (principal.kind, principal.service, principal.session_id) == ("service", "catalog", None)

    def test_signed_with_a_shared_secret_is_verified_with_it(self) -> None:
        bench = Bench(SigningKey.of_secret("s" * 32))

        assert bench.read(bench.issuer.token()).subject.startswith("user_")


class TestExpiry:
    def test_has_a_leeway_for_clock_differences(self, bench: Bench) -> None:
        token = bench.issuer.token(lasting=60)

        bench.clock.advance(64)
        bench.read(token)
        bench.clock.advance(1)

        assert bench.reason(token) == "expired"

    def test_a_token_issued_in_the_future_is_rejected(self, bench: Bench) -> None:
        early = bench.payload(iat=int(bench.clock.now().timestamp()) + 6)

        assert bench.reason(forged(HEADER, early)) == "malformed"

    def test_not_before_is_respected(self, bench: Bench) -> None:
        token = forged(HEADER, bench.payload(nbf=int(bench.clock.now().timestamp()) + 60))

        assert bench.reason(token) == "malformed"
        bench.clock.advance(55)
        bench.read(token)


class TestForgery:
    def test_without_a_signature_is_rejected(self, bench: Bench) -> None:
        for algorithm in ("none", "None", "NONE", ""):
            assert bench.reason(forged(HEADER | {"alg": algorithm}, bench.payload(), key=None)) == "bad_signature"

    def test_with_another_keys_signature_is_rejected(self, bench: Bench) -> None:
        assert bench.reason(forged(HEADER, bench.payload(), SigningKey.generate("EdDSA"))) == "bad_signature"

    def test_with_changed_claims_is_rejected(self, bench: Bench) -> None:
        head, _, signature = bench.issuer.token().split(".")
        claims = b64(bench.payload(scope="*")).decode()

        assert bench.reason(f"{head}.{claims}.{signature}") == "bad_signature"

    def test_that_uses_a_public_key_as_secret_is_rejected(self) -> None:
        key = SigningKey.generate("RS256")
        assert isinstance(key.key, RSAKey)
        public = key.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        bench = Bench(key)
        signed = b64({"alg": "HS256", "kid": key.kid, "typ": "at+jwt"}) + b"." + b64(bench.payload())
        token = signed + b"." + b64(hmac.new(public, signed, hashlib.sha256).digest())

        assert bench.reason(token.decode()) == "bad_signature"

    def test_with_an_embedded_key_is_rejected(self, bench: Bench) -> None:
        own = SigningKey.generate("EdDSA")

        assert bench.reason(forged(HEADER | {"jwk": own.public_jwk()}, bench.payload(), own)) == "bad_signature"


class TestMalformedToken:
    @pytest.mark.parametrize("kind", ["JWT", "jwt", "id+jwt", "refresh+jwt", None, 5])
    def test_of_another_type_is_rejected(self, bench: Bench, kind: object) -> None:
        assert bench.reason(forged(HEADER | {"typ": kind}, bench.payload())) == "malformed"

    def test_may_have_the_full_type(self, bench: Bench) -> None:
        payload = bench.payload()

        assert bench.read(forged(HEADER | {"typ": "application/AT+JWT"}, payload)).subject == payload["sub"]

    def test_with_an_unknown_critical_header_is_rejected(self, bench: Bench) -> None:
        assert bench.reason(forged(HEADER | {"crit": ["exp"]}, bench.payload())) == "malformed"

    @pytest.mark.parametrize("change", [{"iss": "elsewhere"}, {"aud": "clinic"}, {"aud": ["clinic"]}, {"aud": None}])
    def test_for_another_issuer_or_audience_is_rejected(self, bench: Bench, change: dict[str, Any]) -> None:
        assert bench.reason(forged(HEADER, bench.payload(**change))) == "malformed"

    def test_for_several_audiences_is_accepted_by_each(self, bench: Bench) -> None:
        payload = bench.payload(aud=["clinic", "catalog"])

        assert bench.read(forged(HEADER, payload)).subject == payload["sub"]

    @pytest.mark.parametrize("name", ["iss", "aud", "sub", "client_id", "iat", "exp", "jti"])
    def test_without_a_required_claim_is_rejected(self, bench: Bench, name: str) -> None:
        payload = bench.payload()
        del payload[name]

        assert bench.reason(forged(HEADER, payload)) == "malformed"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("exp", "soon"),
            ("exp", True),
            ("exp", -1),
            ("exp", 1e300),
            ("exp", 10**30),
            ("iat", None),
            ("nbf", "now"),
            ("sub", 5),
            ("sub", ""),
            ("jti", []),
            ("sid", 5),
            ("scope", ["a"]),
            ("roles", "admin"),
            ("roles", [1]),
        ],
    )
    def test_with_a_claim_of_another_type_is_rejected(self, bench: Bench, name: str, value: object) -> None:
        assert bench.reason(forged(HEADER, bench.payload(**{name: value}))) == "malformed"

    def test_that_is_too_long_is_rejected_without_parsing(self, bench: Bench) -> None:
        assert bench.reason(forged(HEADER, bench.payload(padding="x" * MAX_TOKEN_LENGTH))) == "malformed"

    def test_with_deeply_nested_json_is_rejected(self, bench: Bench) -> None:
        assert bench.reason(forged(HEADER, b"[" * 5000)) == "malformed"
        assert bench.reason((b64(b"[" * 5000) + b".e30.e30").decode()) == "malformed"

    @pytest.mark.parametrize("token", ["", ".", "..", "...", "a.b.c", "é.é.é", "\ud800.a.b", "a" * 100, "e30.e30.e30"])
    def test_with_wrong_structure_is_rejected(self, bench: Bench, token: str) -> None:
        assert bench.reason(token) == "malformed"


READER = Bench()
TRUE_PARTS = READER.issuer.token().split(".")


class TestFuzzing:
    @given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
    def test_any_text_is_rejected(self, token: str) -> None:
        with pytest.raises(InvalidToken):
            READER.read(token)

    @given(st.lists(st.binary().map(lambda raw: b64(raw).decode()), min_size=3, max_size=3))
    def test_any_three_parts_are_rejected(self, parts: list[str]) -> None:
        with pytest.raises(InvalidToken):
            READER.read(".".join(parts))

    @given(
        st.dictionaries(
            st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "b64"]), st.none() | st.text() | st.integers()
        )
    )
    def test_any_header_is_rejected(self, header: dict[str, Any]) -> None:
        with pytest.raises(InvalidToken):
            READER.read(f"{b64(header).decode()}.{TRUE_PARTS[1]}.{TRUE_PARTS[2]}")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_signed_payload_is_rejected(self, payload: Any) -> None:
        with pytest.raises(InvalidToken):
            READER.read(forged(HEADER, payload))

    @given(st.integers(0, 2), st.integers(min_value=0), st.characters())
    def test_any_changed_character_is_rejected(self, part: int, at: int, letter: str) -> None:
        parts = list(TRUE_PARTS)
        place = at % len(parts[part])
        parts[part] = parts[part][:place] + letter + parts[part][place + 1 :]
        if parts != TRUE_PARTS:
            with pytest.raises(InvalidToken):
                READER.read(".".join(parts))


class TestKeySet:
    def test_published_keys_are_read(self) -> None:
        keys = [SigningKey.generate(algorithm) for algorithm in ("EdDSA", "ES256", "RS256")]

        read = read_key_set({"keys": [key.public_jwk() for key in keys]})

        assert {kid: key.algorithm for kid, key in read.items()} == {key.kid: key.algorithm for key in keys}
        assert not any(key.key.is_private for key in read.values())

    def test_unknown_keys_are_ignored(self) -> None:
        assert read_key_set({"keys": [{"kty": "AKP", "alg": "ML-DSA-44"}, "nonsense", KEY.public_jwk()]}).keys() == {
            KEY.kid
        }

    def test_shared_secrets_are_ignored(self) -> None:
        assert read_key_set({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1", "alg": "HS256"}]}) == {}

    @pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, "keys"])
    def test_other_documents_are_rejected(self, document: object) -> None:
        with pytest.raises(UnusableKey):
            read_key_set(document)

    @pytest.mark.parametrize(
        "change",
        [
            {"kid": None},
            {"kid": "k" * 201},
            {"alg": "RS256"},
            {"alg": "ES256"},
            {"crv": "Ed448"},
            {"crv": "X25519"},
            {"x": "short"},
            {"use": "enc"},
        ],
    )
    def test_a_key_that_does_not_fit_its_algorithm_is_rejected(self, change: dict[str, Any]) -> None:
        with pytest.raises(UnusableKey):
            read_key_set({"keys": [KEY.public_jwk() | change]})

    @pytest.mark.filterwarnings("ignore:Key size should be")
    def test_a_weak_key_is_rejected(self) -> None:
        weak = RSAKey.generate_key(1024, auto_kid=True).as_dict(private=False) | {"alg": "RS256"}

        with pytest.raises(UnusableKey):
            read_key_set({"keys": [weak]})


class TestSigningKey:
    @pytest.mark.parametrize("algorithm", sorted(PUBLIC_ALGORITHMS))
    def test_is_restored_from_its_jwk(self, algorithm: PublicAlgorithm) -> None:
        key = SigningKey.generate(algorithm)

        again = SigningKey.from_jwk(key.private_jwk())

        assert again.kid == key.kid
        assert key.verifying.verifies(b"said", again.sign(b"said"))

    def test_is_not_restored_from_a_public_key(self) -> None:
        with pytest.raises(UnusableKey):
            SigningKey.from_jwk(KEY.public_jwk())

    def test_a_short_secret_is_rejected(self) -> None:
        with pytest.raises(UnusableKey):
            SigningKey.of_secret("s" * 31)

    def test_a_shared_secret_is_never_published(self) -> None:
        with pytest.raises(UnusableKey):
            SigningKey.of_secret("s" * 32).public_jwk()

    def test_does_not_verify_signatures_of_another_key(self) -> None:
        other = dataclasses.replace(SigningKey.generate("EdDSA"), kid=KEY.kid)

        assert not VerifyingKey.from_jwk(KEY.public_jwk()).verifies(b"said", other.sign(b"said"))
