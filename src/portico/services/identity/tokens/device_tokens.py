"""Tokens by which a device is recognized that an account signed in from before (OWASP "device cookies").

A device token grants nothing. It only decides by what failed sign-ins are counted, so that failures elsewhere do not lock
the device out. It is not stored: it names a device and an expiry, and is signed for one account.
"""

import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import Response

DEVICE_COOKIE: Final = "portico_device"
DEVICE_TOKEN_LIFETIME: Final = timedelta(days=180)
_DEVICE_BYTES: Final = 16
_MAX_LENGTH: Final = 200


class DeviceTokens:
    """Issue and check device tokens, with a key derived from SECRET_KEY."""

    def __init__(self, secret_key: str) -> None:
        derivation = HKDF(SHA256(), length=32, salt=None, info=b"portico identity device tokens")
        self._key = derivation.derive(secret_key.encode())

    def issue(self, account: str, now: datetime) -> str:
        """Return a token for a new device of the account."""
        device, expires = secrets.token_hex(_DEVICE_BYTES), int((now + DEVICE_TOKEN_LIFETIME).timestamp())
        return f"{device}.{expires}.{self._signature(device, expires, account)}"

    def find_device(self, token: str | None, account: str, now: datetime) -> str | None:
        """Return the device that `token` names, or None unless it was issued for the account and has not expired."""
        if token is None or len(token) > _MAX_LENGTH or not token.isascii():
            return None
        device, _, rest = token.partition(".")
        expires, _, signature = rest.partition(".")
        if not expires.isdigit() or not hmac.compare_digest(signature, self._signature(device, int(expires), account)):
            return None
        return device if datetime.fromtimestamp(int(expires), UTC) > now else None

    def _signature(self, device: str, expires: int, account: str) -> str:
        return hmac.new(self._key, f"{device}.{expires}.{account}".encode(), "sha256").hexdigest()


def set_device_cookie(response: Response, token: str, *, secure: bool) -> None:
    """Store a device token in the browser. `secure` keeps it from being sent without TLS."""
    lifetime = int(DEVICE_TOKEN_LIFETIME.total_seconds())
    response.set_cookie(DEVICE_COOKIE, token, max_age=lifetime, secure=secure, httponly=True, samesite="strict")
