"""Use cases of registered clients."""

from collections.abc import Mapping
from typing import Any

from portico.kit import ClientInfo, UnitOfWork
from portico.services.identity.errors import ClientNotFound
from portico.services.identity.oauth.models import ClientId, OAuthClient
from portico.services.identity.oauth.repository import Clients, lock_sessions_of_client
from portico.services.identity.repository import audit
from portico.services.identity.service import end_session
from portico.services.identity.tokens.domain import digest_of, new_secret


async def register_client(
    work: UnitOfWork, values: Mapping[str, Any], *, confidential: bool, actor: str, client_info: ClientInfo | None
) -> tuple[OAuthClient, str | None]:
    """Register a client. Return it and the secret of a confidential one, which is stored as a digest only."""
    secret = new_secret() if confidential else None
    client = OAuthClient(
        **values,
        secret_digest=None if secret is None else digest_of(secret),
        created_at=work.now,
        updated_at=work.now,
    )
    work.add(client)
    audit(work, "client.registered", actor=actor, client=client_info, client_id=client.client_id, name=client.name)
    await work.flush()
    return client, secret


def change_client(
    work: UnitOfWork, client: OAuthClient, values: Mapping[str, Any], *, actor: str, client_info: ClientInfo
) -> None:
    """Change a locked client's name, addresses or scope."""
    for name, value in values.items():
        setattr(client, name, value)
    client.updated_at = work.now
    audit(
        work,
        "client.changed",
        actor=actor,
        client=client_info,
        client_id=client.client_id,
        changed=sorted(values),
    )


def renew_client_secret(work: UnitOfWork, client: OAuthClient, *, actor: str, client_info: ClientInfo) -> str:
    """Replace the secret of a locked client and return it. Raises ClientNotFound for a public client."""
    if not client.confidential:
        raise ClientNotFound(client_id=client.client_id)
    secret = new_secret()
    client.secret_digest = digest_of(secret)
    client.updated_at = work.now
    audit(work, "client.secret_renewed", actor=actor, client=client_info, client_id=client.client_id)
    return secret


async def delete_client(work: UnitOfWork, client_id: ClientId, *, actor: str, client_info: ClientInfo | None) -> None:
    """Delete a client and end all sessions that it opened. Raises ClientNotFound."""
    client = await Clients(work).get_active(client_id, lock=True)
    client.deleted_at = work.now
    for session in await lock_sessions_of_client(work, client_id):
        end_session(work, session, actor=actor, client=client_info, reason="client_deleted")
    audit(work, "client.deleted", actor=actor, client=client_info, client_id=client_id)
