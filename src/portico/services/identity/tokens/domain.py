import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from portico.kit.auth import AccessClaims

_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and what it says."""

    text: str
    claims: AccessClaims

    @property
    def expires_in(self) -> int:
        """Seconds that it lives."""
        return int((self.claims.expires_at - self.claims.issued_at).total_seconds())


def new_secret() -> str:
    """256 bits of chance, for a URL."""
    return secrets.token_urlsafe(_BYTES)


def digest_of(secret: str) -> str:
    """What stands for `secret` at rest. So much chance needs no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()
