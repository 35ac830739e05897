"""Which key signs and which verify; private keys at rest: AES-256-GCM under a key derived from SECRET_KEY."""

import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portico.kit.auth import SigningKey
from portico.services.identity.keys.errors import SealBroken

_NONCE_BYTES: Final = 12  # NIST SP 800-38D section 8.2


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key of the ring and when it takes over."""

    key: SigningKey
    signs_from: datetime


def in_force(keys: Sequence[RingKey], now: datetime, *, lasting: timedelta) -> list[RingKey]:
    """Of `keys`, oldest first, those that may verify: a key does until `lasting` after its successor took over."""
    verifying = [key for key, successor in pairwise(keys) if now < successor.signs_from + lasting]
    return [*verifying, *keys[-1:]]


def signing_key(keys: Sequence[RingKey], now: datetime) -> SigningKey:
    """Of `keys`, oldest first, the one that signs now: the last that has taken over."""
    return next((each.key for each in reversed(keys) if each.signs_from <= now), keys[0].key)


class Sealer:
    """Encrypts signing keys and decrypts them."""

    def __init__(self, secret_key: str) -> None:
        derived = HKDF(SHA256(), length=32, salt=None, info=b"portico identity signing keys").derive(
            secret_key.encode()
        )
        self._cipher = AESGCM(derived)

    def seal(self, key: SigningKey) -> str:
        """The private key encrypted, bound to its kid: a row can't pass for another."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, orjson.dumps(key.private_jwk()), key.kid.encode())
        return b64encode(nonce + sealed).decode()

    def open(self, kid: str, sealed: str) -> SigningKey:
        """The key that was sealed. Raises SealBroken."""
        raw = b64decode(sealed)
        try:
            plain = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], kid.encode())
        except InvalidTag as error:
            raise SealBroken(kid) from error
        return SigningKey.from_jwk(orjson.loads(plain))
