from typing import Annotated, Any

from fastapi import Query, Response

from portico.kit import Context, Page, Principal, Reads, Router, Slice, UserId, permitted, provided
from portico.services.identity.models import AuditEntry
from portico.services.identity.repository import AuditLog
from portico.services.identity.schemas import AuditEntryRead, KeySetRead
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.key_ring import KeyRing

audit_log = Router(prefix="/audit", tags=["audit"])
discovery = Router(tags=["discovery"], prefixed=False)


@audit_log.get("", response_model=list[AuditEntryRead])
async def list_audit_entries(
    _caller: Annotated[Principal, permitted("audit:read")],
    reads: Reads,
    page: Page,
    user_id: Annotated[UserId | None, Query(description="Only actions on this user")] = None,
    action: Annotated[str | None, Query(max_length=48, description="Only this action, such as sign_in.failed")] = None,
) -> Slice[AuditEntry]:
    """List security-relevant actions, newest first."""
    return await AuditLog(reads).search(page, user_id=user_id, action=action)


@discovery.get("/.well-known/jwks.json", quiet=True)
async def read_key_set(ring: Annotated[KeyRing, provided(KeyRing)], response: Response) -> KeySetRead:
    """Return the public keys that verify access tokens (RFC 7517), including the one that will sign next."""
    response.headers["cache-control"] = "public, max-age=60"
    return KeySetRead(keys=await ring.public_keys())


@discovery.get("/.well-known/oauth-authorization-server")
async def read_metadata(context: Context) -> dict[str, Any]:
    """Return identity's endpoints and capabilities for standard clients (RFC 8414)."""
    root = context.settings_of(IdentitySettings).issuer_of(context.system)
    paths = root + context.system.prefix
    return {
        "issuer": root,
        "token_endpoint": f"{paths}/oauth/token",
        "introspection_endpoint": f"{paths}/oauth/introspect",
        "revocation_endpoint": f"{paths}/oauth/revoke",
        "jwks_uri": f"{root}/.well-known/jwks.json",
        "grant_types_supported": ["password", "refresh_token", "client_credentials"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": sorted(
            {permission for permissions in context.system.roles.values() for permission in permissions}
        ),
    }
