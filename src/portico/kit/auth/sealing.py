"""Authenticated encryption of short secrets: private keys at rest, and tokens that an event carries."""

import binascii
import secrets
from base64 import b64decode, b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12  # NIST SP 800-38D section 8.2


class SealBroken(Exception):
    """The text was sealed with another secret, for something else, or changed."""


class Sealer:
    """Encrypt with AES-256-GCM and a key that is derived from `secret` for one purpose (HKDF)."""

    def __init__(self, secret: str, purpose: str) -> None:
        derivation = HKDF(SHA256(), length=32, salt=None, info=purpose.encode())
        self._cipher = AESGCM(derivation.derive(secret.encode()))

    def seal(self, plain: bytes, bound_to: str) -> str:
        """Return `plain` encrypted, in Base64. It opens only with the same `bound_to`, so that texts cannot be exchanged."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return b64encode(nonce + self._cipher.encrypt(nonce, plain, bound_to.encode())).decode()

    def open(self, sealed: str, bound_to: str) -> bytes:
        """Return what was sealed. Raises SealBroken."""
        try:
            raw = b64decode(sealed, validate=True)
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound_to.encode())
        except (binascii.Error, ValueError, InvalidTag) as error:
            raise SealBroken from error
