"""Keys that sign and verify access tokens. A key has one algorithm; a token's header never chooses it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast, get_args

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, OctKey, OKPKey
from joserfc.jws import JWSRegistry

Algorithm = Literal["EdDSA", "ES256", "RS256", "HS256"]
PublicAlgorithm = Literal["EdDSA", "ES256", "RS256"]

PUBLIC_ALGORITHMS: Final = frozenset(get_args(PublicAlgorithm))
MIN_RSA_BITS: Final = 2048
MIN_SECRET_BYTES: Final = 32
MAX_KEYS: Final = 32
MAX_KID_LENGTH: Final = 200

_KEY_TYPES: Final[dict[str, tuple[str, str | int]]] = {
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "RS256": ("RSA", MIN_RSA_BITS),
}


class UnusableKey(ValueError):
    """The key is malformed, too weak or does not fit its algorithm."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key that verifies signatures with exactly one algorithm."""

    kid: str
    algorithm: Algorithm
    key: Key

    @classmethod
    def from_jwk(cls, document: Mapping[str, Any]) -> Self:
        """Return a public key from its published form (RFC 7517). Raises UnusableKey, also for symmetric keys."""
        kid, algorithm = document.get("kid"), document.get("alg")
        if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_LENGTH:
            raise UnusableKey("The published key has no kid.")
        if algorithm not in PUBLIC_ALGORITHMS:
            raise UnusableKey(f"The algorithm {algorithm!r} is not one of {', '.join(sorted(PUBLIC_ALGORITHMS))}.")
        return cls(kid, cast("Algorithm", algorithm), _import_key(document, cast("Algorithm", algorithm)))

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Return whether `signature` is a signature of `signed` by this key."""
        # joserfc's public functions take the algorithm from the header and warn about the name EdDSA (RFC 9864).
        return JWSRegistry.algorithms[self.algorithm].verify(signed, signature, self.key)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, or the shared secret of HS256. Only identity has it."""

    kid: str
    algorithm: Algorithm
    key: Key

    @classmethod
    def generate(cls, algorithm: PublicAlgorithm) -> Self:
        """Return a new private key with its RFC 7638 thumbprint as kid. RSA takes 0.1 s: call it in a thread."""
        kind, shape = _KEY_TYPES[algorithm]
        key = JWKRegistry.generate_key(kind, shape, private=True)
        return cls(key.thumbprint(), algorithm, key)

    @classmethod
    def of_secret(cls, secret: str) -> Self:
        """Return the HS256 key of a shared secret of at least 32 bytes (RFC 7518 section 3.2). Raises UnusableKey."""
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise UnusableKey(f"An HS256 secret needs at least {MIN_SECRET_BYTES} bytes.")
        # The kid must not be a thumbprint, because it would allow to test guesses of the secret offline.
        return cls("hs256", "HS256", OctKey.import_key(secret))

    @classmethod
    def from_jwk(cls, document: Mapping[str, Any]) -> Self:
        """Return a private key written by `private_jwk`. Raises UnusableKey."""
        public = VerifyingKey.from_jwk(document)
        if not public.key.is_private:
            raise UnusableKey("The signing key has no private part.")
        return cls(public.kid, public.algorithm, public.key)

    def sign(self, signed: bytes) -> bytes:
        return JWSRegistry.algorithms[self.algorithm].sign(signed, self.key)

    @property
    def verifying(self) -> VerifyingKey:
        return VerifyingKey(self.kid, self.algorithm, self.key)

    def private_jwk(self) -> dict[str, Any]:
        """Return the whole key. It is a secret: encrypt it before storing it."""
        return self.key.as_dict(private=True) | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key for publication (RFC 7517). Raises UnusableKey for HS256, which has none."""
        if self.algorithm not in PUBLIC_ALGORITHMS:
            raise UnusableKey("A shared secret is never published.")
        return self.key.as_dict(private=False) | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}


def read_key_set(document: object) -> dict[str, VerifyingKey]:
    """Return the usable keys of a JWK set by kid. Unknown kinds of keys are ignored (RFC 7517 section 5).

    Raises:
        UnusableKey: the document is not a key set, or one of its keys is malformed or weak.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise UnusableKey("A key set is an object with a list of keys.")
    found: dict[str, VerifyingKey] = {}
    for entry in listed[:MAX_KEYS]:
        if isinstance(entry, dict) and entry.get("alg") in PUBLIC_ALGORITHMS:
            key = VerifyingKey.from_jwk(entry)
            found[key.kid] = key
    return found


def _import_key(document: Mapping[str, Any], algorithm: Algorithm) -> Key:
    kind, _ = _KEY_TYPES[algorithm]
    if document.get("kty") != kind:
        raise UnusableKey(f"An {algorithm} key has the type {kind}.")
    try:
        key = JWKRegistry.import_key(dict(document))
        JWSRegistry.algorithms[algorithm].check_key(key)
        _reject_weak(key)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise UnusableKey(f"This {algorithm} key cannot be read.") from error
    return key


def _reject_weak(key: Key) -> None:
    if isinstance(key, OKPKey) and key.curve_name != "Ed25519":
        raise UnusableKey("EdDSA is supported with Ed25519 only.")
    raw = key.raw_value
    if isinstance(raw, RSAPrivateKey | RSAPublicKey) and raw.key_size < MIN_RSA_BITS:
        raise UnusableKey(f"An RSA key needs at least {MIN_RSA_BITS} bits.")
