"""Secrets and their digests, the order of signing keys, and the encryption of private keys at rest."""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Literal, Self

import orjson

from portico.kit.auth import EVERYTHING, AccessClaims, SealBroken, Sealer, SigningKey
from portico.kit.foundation import latest_due
from portico.services.identity.errors import KeyDecryptionFailed

LOCKOUT_WINDOW: Final = timedelta(minutes=15)
LOCKOUT_DURATION: Final = timedelta(minutes=15)
TICKET_LIFETIME: Final = timedelta(seconds=30)
MAIL_WINDOW: Final = timedelta(hours=1)
MAX_MAILS: Final = 5
"""How many mails for one purpose a user gets within MAIL_WINDOW."""

MailPurpose = Literal["reset_password", "verify_email"]
"""What a mailed token is for. It works for nothing else."""

_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed access token and its claims."""

    text: str
    claims: AccessClaims

    @property
    def expires_in(self) -> int:
        """Lifetime in seconds."""
        return int((self.claims.expires_at - self.claims.issued_at).total_seconds())


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The id and the secret that an OAuth client sent."""

    client_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class LoginKey:
    """What failed sign-ins are counted by: the account name that was entered, and the client's address.

    A client that has proved itself before is counted alone, by a name of its own and without the address.
    """

    account: str
    address: str | None

    @classmethod
    def of_device(cls, device: str, account: str) -> Self:
        """Return the key of a device from which this account signed in before."""
        return cls(f"device {device} of {account}", None)

    @classmethod
    def of_session(cls, session_id: str) -> Self:
        """Return the key of a signed-in user who enters the current password again."""
        return cls(f"session {session_id}", None)

    @property
    def account_key(self) -> str:
        return digest_of(f"account:{self.account}")

    @property
    def address_key(self) -> str | None:
        return None if self.address is None else digest_of(f"address:{self.address}")

    @property
    def keys(self) -> list[str]:
        """The keys in the order in which their rows are locked, the same in every transaction."""
        return sorted(key for key in (self.account_key, self.address_key) if key is not None)


def new_secret() -> str:
    """Return 256 random bits as URL-safe text."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(text: str) -> str:
    """Return the SHA-256 digest under which a secret is stored. Random secrets of 256 bits need no salt."""
    return hashlib.sha256(text.encode()).hexdigest()


def delegated(scope: Iterable[str], permissions: Collection[str]) -> list[str]:
    """Return the part of a client's `scope` that a user with `permissions` can delegate to it."""
    everything = EVERYTHING in permissions
    return [each for each in scope if ":" not in each or everything or each in permissions]


def half_hash(token: str, algorithm: str) -> str:
    """Return the left half of a token's hash, for the claim `at_hash` (OpenID Connect Core 1.0 section 3.1.3.6).

    The hash is that of the ID token's signature algorithm. Ed25519 uses SHA-512.
    """
    digest = (hashlib.sha512 if algorithm == "EdDSA" else hashlib.sha256)(token.encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def failures_in_window(failures: Sequence[float], now: datetime) -> list[float]:
    """Return the failures (Unix times in seconds) that still count at `now`."""
    latest = latest_due(now, timedelta(0)).timestamp()
    return [moment for moment in failures if (now - LOCKOUT_WINDOW).timestamp() < moment <= latest]


@dataclass(frozen=True, slots=True)
class ScheduledKey:
    """A key of the key ring and the moment from which it signs."""

    key: SigningKey
    signs_from: datetime


def keys_in_force(keys: Sequence[ScheduledKey], now: datetime, *, lifetime: timedelta) -> list[ScheduledKey]:
    """Return those of `keys`, oldest first, that verify tokens: a key does until `lifetime` after its successor signs."""
    verifying = [key for key, successor in pairwise(keys) if now < successor.signs_from + lifetime]
    return [*verifying, *keys[-1:]]


def signing_key_at(keys: Sequence[ScheduledKey], now: datetime) -> SigningKey:
    """Return that of `keys`, oldest first, that signs at `now`."""
    return next((each.key for each in reversed(keys) if each.signs_from <= now), keys[0].key)


class KeyCipher:
    """Encryption of signing keys at rest, with a key derived from SECRET_KEY."""

    def __init__(self, secret_key: str) -> None:
        self._sealer = Sealer(secret_key, "portico identity signing keys")

    def encrypt(self, key: SigningKey) -> str:
        """Return the private key encrypted and bound to its kid, so that rows cannot be exchanged."""
        return self._sealer.seal(orjson.dumps(key.private_jwk()), key.kid)

    def decrypt(self, kid: str, encrypted: str) -> SigningKey:
        """Return the decrypted key. Raises KeyDecryptionFailed."""
        try:
            return SigningKey.from_jwk(orjson.loads(self._sealer.open(encrypted, kid)))
        except SealBroken as error:
            raise KeyDecryptionFailed(kid) from error
