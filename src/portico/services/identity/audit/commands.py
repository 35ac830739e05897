from typing import Any, Literal

from portico.kit import ClientInfo, UnitOfWork
from portico.services.identity.audit.models import AuditEntry

Action = Literal[
    "user.registered",
    "user.created",
    "user.updated",
    "user.deleted",
    "user.roles_changed",
    "user.password_changed",
    "role.created",
    "sign_in.succeeded",
    "sign_in.failed",
    "sign_in.locked",
    "session.revoked",
    "refresh_token.reused",
    "token.revoked",
    "client.refused",
    "keys.rotated",
]


def record(
    work: UnitOfWork,
    action: Action,
    *,
    actor: str | None = None,
    user_id: str | None = None,
    device: ClientInfo | None = None,
    **details: Any,
) -> None:
    """Enter in the audit log, with what `work` changes, that `actor` did `action` to `user_id`."""
    work.add(
        AuditEntry(
            at=work.now,
            action=action,
            actor=actor,
            user_id=user_id,
            address=device.address[:64] if device else None,
            details=details,
        )
    )
