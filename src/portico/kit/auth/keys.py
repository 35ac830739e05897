"""Keys that sign and verify access tokens. A key knows its one algorithm; what a token's header says never chooses it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast, get_args

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, OctKey, OKPKey
from joserfc.jws import JWSRegistry

Algorithm = Literal["EdDSA", "ES256", "RS256", "HS256"]
PublicAlgorithm = Literal["EdDSA", "ES256", "RS256"]

ALGORITHMS: Final = frozenset(get_args(Algorithm))
PUBLIC_ALGORITHMS: Final = frozenset(get_args(PublicAlgorithm))
LEAST_RSA_BITS: Final = 2048
LEAST_SECRET_BYTES: Final = 32
MOST_KEYS: Final = 32
MOST_KID_LENGTH: Final = 200

_SHAPES: Final[dict[str, tuple[str, str | int]]] = {
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "RS256": ("RSA", LEAST_RSA_BITS),
}


class UnusableKey(ValueError):
    """A key that is no key, is too weak, or does not fit its algorithm."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """What tells a true signature from a forged one, by exactly one algorithm."""

    kid: str
    algorithm: Algorithm
    key: Key

    @classmethod
    def from_jwk(cls, document: Mapping[str, Any]) -> Self:
        """A public key as published (RFC 7517). Raises UnusableKey; a symmetric key is never one."""
        kid, algorithm = document.get("kid"), document.get("alg")
        if not isinstance(kid, str) or not 0 < len(kid) <= MOST_KID_LENGTH:
            raise UnusableKey("a published key needs a kid")
        if algorithm not in PUBLIC_ALGORITHMS:
            raise UnusableKey(f"algorithm {algorithm!r} is not one of {', '.join(sorted(PUBLIC_ALGORITHMS))}")
        return cls(kid, cast("Algorithm", algorithm), _imported(document, cast("Algorithm", algorithm)))

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` was made over `signed` with this key."""
        # joserfc's own entry points take the algorithm from the header and warn about the name EdDSA (RFC 9864).
        return JWSRegistry.algorithms[self.algorithm].verify(signed, signature, self.key)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, or for HS256 the shared secret, that only identity holds."""

    kid: str
    algorithm: Algorithm
    key: Key

    @classmethod
    def generate(cls, algorithm: PublicAlgorithm) -> Self:
        """A fresh private key, named by its RFC 7638 thumbprint. RSA takes about a tenth of a second: use a thread."""
        kind, shape = _SHAPES[algorithm]
        key = JWKRegistry.generate_key(kind, shape, private=True)
        return cls(key.thumbprint(), algorithm, key)

    @classmethod
    def of_secret(cls, secret: str) -> Self:
        """The HS256 key made of a shared secret of 32 bytes or more (RFC 7518 section 3.2). Raises UnusableKey."""
        if len(secret.encode()) < LEAST_SECRET_BYTES:
            raise UnusableKey(f"an HS256 secret has at least {LEAST_SECRET_BYTES} bytes")
        # The kid must not be a thumbprint: that of a secret would let anyone test guesses of it offline.
        return cls("hs256", "HS256", OctKey.import_key(secret))

    @classmethod
    def from_jwk(cls, document: Mapping[str, Any]) -> Self:
        """A private key as `private_jwk` wrote it. Raises UnusableKey."""
        public = VerifyingKey.from_jwk(document)
        if not public.key.is_private:
            raise UnusableKey("a signing key needs its private part")
        return cls(public.kid, public.algorithm, public.key)

    def sign(self, signed: bytes) -> bytes:
        return JWSRegistry.algorithms[self.algorithm].sign(signed, self.key)

    @property
    def verifying(self) -> VerifyingKey:
        return VerifyingKey(self.kid, self.algorithm, self.key)

    def private_jwk(self) -> dict[str, Any]:
        """The whole key. A secret: encrypt it before it rests anywhere."""
        return self.key.as_dict(private=True) | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def public_jwk(self) -> dict[str, Any]:
        """The public half, as published (RFC 7517). Raises UnusableKey for HS256, which has none."""
        if self.algorithm not in PUBLIC_ALGORITHMS:
            raise UnusableKey("a shared secret is never published")
        return self.key.as_dict(private=False) | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}


def read_key_set(document: object) -> dict[str, VerifyingKey]:
    """The usable keys of a JWK set, by kid. Keys it does not understand are left out (RFC 7517 section 5).

    Raises UnusableKey where the document is no key set.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise UnusableKey("a key set is an object with a list of keys")
    found: dict[str, VerifyingKey] = {}
    for entry in listed[:MOST_KEYS]:
        if isinstance(entry, dict) and entry.get("alg") in PUBLIC_ALGORITHMS:
            key = VerifyingKey.from_jwk(entry)
            found[key.kid] = key
    return found


def _imported(document: Mapping[str, Any], algorithm: Algorithm) -> Key:
    kind, _ = _SHAPES[algorithm]
    if document.get("kty") != kind:
        raise UnusableKey(f"an {algorithm} key is of type {kind}")
    try:
        key = JWKRegistry.import_key(dict(document))
        JWSRegistry.algorithms[algorithm].check_key(key)
        _refuse_weak(key)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise UnusableKey(f"this {algorithm} key can't be read") from error
    return key


def _refuse_weak(key: Key) -> None:
    if isinstance(key, OKPKey) and key.curve_name != "Ed25519":
        raise UnusableKey("EdDSA is used with Ed25519 only")
    raw = key.raw_value
    if isinstance(raw, RSAPrivateKey | RSAPublicKey) and raw.key_size < LEAST_RSA_BITS:
        raise UnusableKey(f"an RSA key has at least {LEAST_RSA_BITS} bits")
