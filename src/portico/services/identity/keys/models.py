from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from portico.kit.auth import SigningKey
from portico.kit.data import ExactText, LongText, Payload
from portico.services.identity.keys.domain import Sealer
from portico.services.identity.models import Table


class StoredKey(Table):
    """A signing key. It signs from `signs_from` until the next one does, and verifies until its last token has expired."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(ExactText(16))
    public: Mapped[dict[str, Any]] = mapped_column(Payload)
    sealed: Mapped[str] = mapped_column(LongText)
    signs_from: Mapped[datetime]
    created_at: Mapped[datetime]

    @classmethod
    def of(cls, key: SigningKey, sealer: Sealer, *, signs_from: datetime, now: datetime) -> "StoredKey":
        return cls(
            kid=key.kid,
            algorithm=key.algorithm,
            public=key.public_jwk(),
            sealed=sealer.seal(key),
            signs_from=signs_from,
            created_at=now,
        )
