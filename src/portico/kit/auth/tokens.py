"""Access tokens as in RFC 9068: claims, signing and validation."""

import binascii
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from portico.kit.auth.keys import SigningKey, VerifyingKey
from portico.kit.auth.principal import SERVICE_PREFIX, Principal

Reason = Literal["expired", "malformed", "bad_signature", "revoked", "user_inactive"]

MAX_TOKEN_LENGTH: Final = 8 * 1024
LEEWAY: Final = 5
"""Tolerated clock difference (seconds) between machines."""
_MAX_TIMESTAMP: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
_SEGMENTS: Final = 3
_ACCESS_TOKEN: Final = ("at+jwt", "application/at+jwt")
ID_TOKEN: Final = ("jwt",)


class InvalidToken(Exception):
    """The token is not valid. `reason` is one of the five values of `POST /validate-token`."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """Claims of an access token. `issued_at` and `expires_at` are whole seconds.

    `client_id` is the registered OAuth client that the token was issued to; None for the system's own clients.
    """

    subject: str
    token_id: str
    session_id: str | None
    issued_at: datetime
    expires_at: datetime
    scope: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    client_id: str | None = None

    def principal(self, email: str | None = None) -> Principal:
        return Principal(
            subject=self.subject,
            kind="service" if self.subject.startswith(SERVICE_PREFIX) else "user",
            permissions=frozenset(self.scope),
            roles=self.roles,
            token_id=self.token_id,
            session_id=self.session_id,
            issued_at=self.issued_at,
            expires_at=self.expires_at,
            email=email,
            client_id=self.client_id,
        )


@dataclass(frozen=True, slots=True)
class TokenFormat:
    """Issuer and audience of tokens: signers write them and verifiers require them (RFC 9068 section 4)."""

    issuer: str
    audience: str

    def sign(self, claims: AccessClaims, key: SigningKey) -> str:
        """Return a signed token with `claims`."""
        return sign_jwt(self._payload(claims), key, kind="at+jwt")

    def _payload(self, claims: AccessClaims) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": claims.subject,
            "client_id": claims.client_id or self._own_client(claims),
            "iat": int(claims.issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
            "jti": claims.token_id,
            "scope": " ".join(claims.scope),
            "roles": list(claims.roles),
        }
        return payload if claims.session_id is None else payload | {"sid": claims.session_id}

    def _own_client(self, claims: AccessClaims) -> str:
        return claims.subject.removeprefix(SERVICE_PREFIX) if claims.session_id is None else self.audience

    def claims_of(self, payload: dict[str, Any], now: datetime) -> AccessClaims:
        """Return the claims of a payload with a valid signature.

        Raises InvalidToken for another issuer, audience or time.
        """
        if payload.get("iss") != self.issuer:
            raise InvalidToken("malformed", "the token has another issuer")
        audience = payload.get("aud")
        if self.audience not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken("malformed", "the token has another audience")
        claims = _read_claims(payload)
        if claims.client_id == self._own_client(claims):
            claims = replace(claims, client_id=None)
        if claims.expires_at.timestamp() + LEEWAY <= now.timestamp():
            raise InvalidToken("expired", "the token has expired")
        not_before = max(_seconds(payload, "nbf") if "nbf" in payload else 0, claims.issued_at.timestamp())
        if not_before - LEEWAY > now.timestamp():
            raise InvalidToken("malformed", "the token is not valid yet")
        return claims


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A parsed token. Do not trust its content before its signature is verified."""

    kid: str
    algorithm: str
    payload: bytes
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, token: str, *, kinds: tuple[str, ...] = _ACCESS_TOKEN) -> "UnverifiedToken":
        """Parse `token`. Raises InvalidToken (malformed) unless it is signed, of one of `kinds` and at most 8 KiB."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken("malformed", "the token is too long")
        segments = token.split(".")
        if len(segments) != _SEGMENTS or not token.isascii():
            raise InvalidToken("malformed", "the token does not have three parts")
        try:
            head, payload, signature = (urlsafe_b64decode(segment.encode("ascii")) for segment in segments)
        except (binascii.Error, ValueError) as error:
            raise InvalidToken("malformed", "a part of the token is not base64url") from error
        header = _parse_object(head)
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(kid, str) or not isinstance(algorithm, str):
            raise InvalidToken("malformed", "the token does not name its key and algorithm")
        _check_header(header, kinds)
        return cls(kid, algorithm, payload, token.rpartition(".")[0].encode("ascii"), signature)

    def verify(self, key: VerifyingKey) -> dict[str, Any]:
        """Verify the signature with `key` and return the payload. Raises InvalidToken (bad_signature)."""
        # The key determines the algorithm: a public RSA key is never used as HMAC secret, and `none` is never accepted.
        if self.algorithm != key.algorithm or not key.verifies(self.signed, self.signature):
            raise InvalidToken("bad_signature", "the signature was not made with the named key")
        return _parse_object(self.payload)

    def trusted_payload(self) -> dict[str, Any]:
        """Return the payload of a token that identity has just validated."""
        return _parse_object(self.payload)


def _check_header(header: dict[str, Any], kinds: tuple[str, ...]) -> None:
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower() not in kinds:
        raise InvalidToken("malformed", f"this is not a token of the type {kinds[0]}")
    if "crit" in header:
        raise InvalidToken("malformed", "the token requires an unknown extension")


def sign_jwt(payload: dict[str, Any], key: SigningKey, *, kind: str) -> str:
    """Return a signed JWT of a type (RFC 8725 section 3.11), so that it is not accepted in the place of another."""
    signed = _encode({"alg": key.algorithm, "kid": key.kid, "typ": kind}) + b"." + _encode(payload)
    return (signed + b"." + urlsafe_b64encode(key.sign(signed))).decode("ascii")


def _encode(document: dict[str, Any]) -> bytes:
    return urlsafe_b64encode(orjson.dumps(document))


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidToken("malformed", "a part of the token is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidToken("malformed", "a part of the token is not an object")
    return document


def _read_claims(payload: dict[str, Any]) -> AccessClaims:
    scope = payload.get("scope", "")
    roles = payload.get("roles", [])
    session_id = payload.get("sid")
    if (
        not isinstance(scope, str)
        or not isinstance(roles, list)
        or not all(isinstance(role, str) for role in roles)
        or not isinstance(session_id, str | None)
    ):
        raise InvalidToken("malformed", "a claim of the token is of the wrong type")
    return AccessClaims(
        subject=_text(payload, "sub"),
        token_id=_text(payload, "jti"),
        session_id=session_id,
        issued_at=datetime.fromtimestamp(_seconds(payload, "iat"), UTC),
        expires_at=datetime.fromtimestamp(_seconds(payload, "exp"), UTC),
        scope=tuple(scope.split()),
        roles=tuple(roles),
        client_id=_text(payload, "client_id"),
    )


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidToken("malformed", f"the token has no valid claim {name}")
    return value


def _seconds(payload: dict[str, Any], name: str) -> float:
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_TIMESTAMP:
        raise InvalidToken("malformed", f"the token has no valid claim {name}")
    return value
